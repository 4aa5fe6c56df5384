package web_test

import (
	"testing"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/web/view"
)

// One path through the door, without JavaScript: sign in, look, lock, come back
// with the PIN, sign out.
func TestDoorSignInLockUnlockSignOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.browser()

	b.get("/account").is(200).at("/signin").says("Sign in to Hope Clinic", "You are signed out here")
	p := b.signIn(nurse).is(200).at("/account").says("My security", "You sign in as "+nurse.Email)

	p = b.submit(p, view.PostLock).is(200).at("/api/v1/session/resume").says("Locked.")
	b.get("/account").is(423).says("Locked.")
	p = b.submit(p, view.PostUnlock, "pin", "0000").is(401).says("4 tries left")
	p = b.submit(p, view.PostUnlock, "pin", nurse.PIN.Reveal()).is(200).at("/account")

	b.submit(p, view.PostSignOut).is(200).at("/signin")
	b.get("/account").is(200).at("/signin")
}
