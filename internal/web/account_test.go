package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/web/view"
)

func TestAccountChangesThePIN(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(nurse)
	p := b.get("/account").says("Changed today", "Chrome, Linux", "signed in with key and PIN")
	p = b.submit(p, view.PostPIN, "current_pin", "0000", "new_pin", "9713").is(401).says("That is not your PIN. 4 tries left").hides("9713")
	p = b.submit(p, view.PostPIN, "current_pin", nurse.PIN.Reveal(), "new_pin", "1111").is(422).says("Too easy to guess")
	b.submit(p, view.PostPIN, "current_pin", nurse.PIN.Reveal(), "new_pin", "9713").at("/account").says("Your PIN is changed")
	b.get("/account").hides("Your PIN is changed") // said once
	d.browser().signIn(nurse).is(401)
	nurse.PIN = "9713"
	d.browser().signIn(nurse).is(200)
}

// A stale sign-in is asked for the PIN; a fresh one is not.
func TestAccountReplacesTheKey(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(nurse)
	d.Advance(6 * time.Minute)
	p := b.get("/account")
	p = b.submit(p, view.PostKey).is(200).says("To replace your key, enter your PIN")
	p = b.submit(p, view.PostKey, "pin", "0000").is(401).says("That is not your PIN. 4 tries left").hides(`value="0000"`)
	p = b.submit(p, view.PostKey, "pin", nurse.PIN.Reveal()).is(200).says("Your key", "Your old key still works until")
	key := p.form(view.PostKeySaved).Get("key")
	p = b.submit(p, view.PostKeySaved, "last_two", "").is(422).says("These are not the last two")
	b.submit(p, view.PostKeySaved, "last_two", key[len(key)-2:]).at("/account").says("Your new key is yours")
	d.browser().signIn(nurse).is(200) // the overlap
	canonical, err := identity.ParseKey(key)
	need(t, err)
	nurse.Key = canonical
	d.browser().signIn(nurse).is(200)
	b.submit(b.get("/account"), view.PostKey).is(200).says("Your key") // confirmed a moment ago
}

func TestAccountFiveWrongPINsEndTheSession(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(nurse)
	d.Advance(6 * time.Minute)
	p := b.submit(b.get("/account"), view.PostKey)
	for range 4 {
		p = b.submit(p, view.PostKey, "pin", "0000").is(401)
	}
	b.submit(p, view.PostKey, "pin", "0000").at("/signin").says("that session is over")
	b.get("/account").at("/signin")
	d.browser().signIn(nurse).is(200)
}

func TestAccountEndsSessions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse, doctor := d.Add(identity.Nurse), d.Add(identity.Doctor)
	one, two, three, other := d.signedIn(nurse), d.signedIn(nurse), d.signedIn(nurse), d.signedIn(doctor)
	p := one.get("/account").says("this one")
	id := p.find(`action="/api/v1/pages/account/sessions/(ses_[a-z0-9]+)/end"`)
	one.submit(p, view.PostSession(id, "end")).at("/account").says("That session is ended")
	one.post(view.PostSession(id, "end"), nil).is(404)

	p = one.get("/account")
	left := p.find(`action="/api/v1/pages/account/sessions/(ses_[a-z0-9]+)/end"`)
	other.post(view.PostSession(left, "end"), nil).is(404) // somebody else's is unknown

	one.submit(p, view.PostEndOthers).at("/account").says("All your other sessions are ended")
	two.get("/account").at("/signin")
	three.get("/account").at("/signin")
	one.submit(one.get("/account"), view.PostEverywhere).at("/signin")
	one.get("/account").at("/signin")
	other.get("/account").at("/account")
}

func TestAccountMakesRecoveryCodes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	d.Advance(6 * time.Minute)
	p := b.submit(b.get("/account").says("10 of 10"), view.PostRecovery).is(200).says("To make new recovery codes, enter your PIN")
	p = b.submit(p, view.PostRecovery, "pin", d.Admin.PIN.Reveal()).is(200).says("Your recovery codes", "Each works once")
	p.hides(d.Setup.RecoveryCodes[0].Reveal())
	if n := strings.Count(p.text, "<li>"); n < 10 {
		t.Errorf("%d codes are shown", n)
	}
}

func TestAccountIsAPersonsOwn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse, doctor := d.Add(identity.Nurse), d.Add(identity.Doctor)
	d.signedIn(doctor)
	d.signedIn(nurse).get("/account").says("A nurse").hides("A doctor", doctor.Email)
}
