package web_test

import (
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
	"github.com/mitral-health/mitral/internal/web/view"
)

func allEvents(t *testing.T, d *desk) []store.AuditEvent {
	t.Helper()
	all, err := d.Directory.Workspaces(t.Context())
	need(t, err)
	var out []store.AuditEvent
	need(t, d.DB.ReadSystem(t.Context(), func(tx *store.SystemTx) error {
		for _, w := range all {
			events, err := tx.AllEvents(w.ID)
			if err != nil {
				return err
			}
			out = append(out, events...)
		}
		return nil
	}))
	return out
}

// invite adds somebody and returns their claim.
func (d *desk) invite(role identity.Role) (directory.User, directory.Claim) {
	d.t.Helper()
	u, err := d.Directory.AddUser(d.t.Context(), signin.CLI(), d.Workspace.ID, directory.NewUser{Email: "nadia@hope.example", Name: "Nadia Rahman", Role: role})
	need(d.t, err)
	claim, err := d.Directory.NewClaim(d.t.Context(), signin.CLI(), d.Workspace.ID, u.ID, directory.NewClaim{Channel: "letter"})
	need(d.t, err)
	return u, claim
}

// J3 by plain form posts: the link shows, the code and a PIN take the key, the
// key is confirmed, the recovery codes are printed.
func TestClaimJourney(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, claim := d.invite(identity.Nurse)
	at := parsed(t, claim.URL).Path
	post := view.PostClaim(mitraltest.ClaimToken(claim.URL).Reveal())
	b := d.browser()
	for range 3 { // mail scanners
		d.browser().get(at).is(200).says("Welcome to Hope Clinic", "For NR").hides("Nadia", "nadia@")
	}
	p := b.get(at)
	p = b.submit(p, post, "code", "000000", "pin", "9713").is(401).says("4 tries left").hides("9713")
	p = b.submit(p, post, "code", claim.Code.Reveal(), "pin", "1234").is(422).says("Too easy to guess")
	p = b.submit(p, post, "code", claim.Code.Reveal(), "pin", "9713").is(200).says("Your key").hides("9713")

	form := p.form(post + "/saved")
	key := form.Get("key")
	canonical, err := identity.ParseKey(key)
	need(t, err)
	if len(form["recovery_code"]) != 10 {
		t.Errorf("%d recovery codes come along", len(form["recovery_code"]))
	}
	p = b.submit(p, post+"/saved", "last_two", "??").is(422).says("These are not the last two")
	b.submit(p, post+"/saved", "last_two", key[len(key)-2:]).is(200).says("Your recovery codes", form.Get("recovery_code"))
	b.get(at).is(410).says("This link was used")
	b.post(post, map[string][]string{"code": {claim.Code.Reveal()}, "pin": {"9713"}}).is(410)
	b.get("/account").at("/signin") // a claim signs nobody in
	d.browser().signIn(mitraltest.Person{Email: "nadia@hope.example", Key: canonical, PIN: "9713"}).at("/account")
}

func TestClaimIsVoidAfterFiveWrongCodes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, claim := d.invite(identity.Nurse)
	post := view.PostClaim(mitraltest.ClaimToken(claim.URL).Reveal())
	b := d.browser()
	p := b.get(parsed(t, claim.URL).Path)
	for range 4 {
		p = b.submit(p, post, "code", "000000", "pin", "9713").is(401)
	}
	b.submit(p, post, "code", "000000", "pin", "9713").is(410)
	b.submit(p, post, "code", claim.Code.Reveal(), "pin", "9713").is(410)
	if n := d.events("claim.complete", audit.Denied); n != 5 {
		t.Errorf("%d wrong codes are in the record, want 5", n)
	}
}

func TestClaimRunsOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	_, claim := d.invite(identity.Nurse)
	d.Advance(71 * time.Hour)
	d.browser().get(parsed(t, claim.URL).Path).is(200)
	d.Advance(2 * time.Hour)
	d.browser().get(parsed(t, claim.URL).Path).is(410)
}

// A new key for somebody who has one asks for the PIN they have, and has no
// recovery codes to show.
func TestClaimReissue(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(nurse)
	claim, err := d.Directory.NewClaim(t.Context(), signin.CLI(), d.Workspace.ID, nurse.ID, directory.NewClaim{Channel: "letter"})
	need(t, err)
	post := view.PostClaim(mitraltest.ClaimToken(claim.URL).Reveal())
	other := d.browser()
	p := other.get(parsed(t, claim.URL).Path).says("The one you have now; it stays")
	p = other.submit(p, post, "code", claim.Code.Reveal(), "pin", "9713").is(401)
	p = other.submit(p, post, "code", claim.Code.Reveal(), "pin", nurse.PIN.Reveal()).is(200).says("Your key")
	key := p.form(post + "/saved").Get("key")
	other.submit(p, post+"/saved", "last_two", key[len(key)-2:]).is(200).at("/signin").says("You have your key")
	b.get("/account").is(423).says("Locked.") // their sessions are put aside
	other.get("/signin?resume=0").hides("You have your key")
}
