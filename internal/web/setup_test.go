package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/web/view"
)

// The first run (J1) by plain form posts: four screens from nothing to a clinic.
func TestSetupJourney(t *testing.T) {
	t.Parallel()
	d := newEmptyDesk(t, mitraltest.PublicURL)
	b := d.browser()
	p := b.get("/").is(200).at("/setup").says("Your clinic")
	p = b.submit(p, view.PostSetupClinic, "name", "", "time_zone", "Mars/Olympus").is(422).says("Type your clinic's name", "Europe/London")
	p = b.submit(p, view.PostSetupClinic, "name", "Hope Clinic", "time_zone", "Africa/Nairobi", "reach", "this_pc").is(200).at("/setup").says("You, the first administrator")
	b.get("/setup").says("You, the first administrator")
	d.browser().get("/setup").says("Your clinic") // another browser begins at the beginning

	p = b.submit(p, view.PostSetupYou, "name", "Ada Admin", "email", "ada", "phone", "", "pin", "1234").is(422).says("This is not a mail address")
	p = b.submit(p, view.PostSetupYou, "email", "ada@hope.example", "pin", "1234").is(422).says("Too easy to guess")
	if got := p.form(view.PostSetupYou).Get("name"); got != "Ada Admin" {
		t.Errorf("after a refusal the form holds the name %q", got)
	}
	p = b.submit(p, view.PostSetupYou, "phone", "+44 20 7946 0101", "pin", "8264").is(200).at("/setup").says("Print your safety sheet", "BG-A-01", "BG-A-02", "Hope Clinic")
	key := p.form(view.PostSetupSheet).Get("key")
	if _, err := identity.ParseKey(key); err != nil {
		t.Fatalf("the sheet holds no key: %v", err)
	}
	again := b.get("/setup")
	if again.form(view.PostSetupSheet).Get("key") != key {
		t.Error("loaded again, the sheet is another one")
	}
	d.browser().get("/setup").is(410).hides(key, "BG-A-01")

	p = b.submit(p, view.PostSetupSheet, "kept", "1").is(200).at("/setup").says("Who else?").hides(key)
	b.get("/setup").says("Who else?").hides(key)
	p = b.submit(p, view.PostSetupPeople, "name", "Pri Vacy", "email", "ada@hope.example", "role", "privacy_reviewer").is(409).says("has this address already")
	p = b.submit(p, view.PostSetupPeople, "email", "pri@hope.example").is(200).at("/setup").says("Hope Clinic is ready", "Claim code", "2 of 5")
	claim := p.find(`<pre class="box" id="claim-url"[^>]*>([^<]+)<`)
	b.get("/setup").says("Hope Clinic is ready")

	admin := mitraltest.Person{Email: "ada@hope.example", Key: identity.Secret(key), PIN: "8264"}
	d.browser().signIn(admin).at("/admin").says("Overview", "Ready for a bad day?")
	d.browser().get(parsed(t, claim).Path).is(200).says("For PV").hides("Pri Vacy")

	for _, e := range allEvents(t, d) {
		if e.Type == "user.create" && e.Actor == "" {
			t.Error("a person was added by nobody")
		}
	}
}

func TestSetupCanGoOnWithoutASecondPerson(t *testing.T) {
	t.Parallel()
	d := newEmptyDesk(t, mitraltest.PublicURL)
	b := d.browser()
	p := b.submit(b.get("/setup"), view.PostSetupClinic, "name", "Hope Clinic")
	p = b.submit(p, view.PostSetupYou, "name", "Ada Admin", "email", "ada@hope.example", "pin", "8264")
	b.submit(p, view.PostSetupSheet) // nothing was put away: that light stays off
	p = b.post(view.PostSetupPeople, url.Values{"skip": {"1"}}).is(200).says("Hope Clinic is ready", "0 of 5")
	p.hides("claim-url")
}

func TestSetupShowsItsCodesForTenMinutes(t *testing.T) {
	t.Parallel()
	d := newEmptyDesk(t, mitraltest.PublicURL)
	b := d.browser()
	p := b.submit(b.get("/setup"), view.PostSetupClinic, "name", "Hope Clinic")
	b.submit(p, view.PostSetupYou, "name", "Ada Admin", "email", "ada@hope.example", "pin", "8264").says("Print your safety sheet")
	d.Advance(9 * time.Minute)
	b.get("/setup").says("Print your safety sheet")
	d.Advance(2 * time.Minute)
	b.get("/setup").is(410)
}

// Off loopback setup opens with the printed token only; loading the page spends
// nothing.
func TestSetupNeedsTheTokenElsewhere(t *testing.T) {
	t.Parallel()
	d := newEmptyDesk(t, "https://clinic.example")
	b := d.browser()
	b.get("/setup").is(403).says("Setup opens on the server itself")
	b.get("/setup?token=" + identity.NewToken().Reveal()).is(403)
	b.post(view.PostSetupClinic, url.Values{"name": {"Evil Clinic"}, "token": {"guess"}}).is(403)
	b.post(view.PostSetupYou, url.Values{"name": {"Eve"}, "email": {"eve@evil.example"}, "pin": {"8264"}}).is(403)

	for range 3 {
		b.get("/setup?token=" + d.token.Reveal()).is(200)
	}
	p := b.get("/setup?token=" + d.token.Reveal()).is(200).says("Your clinic")
	p = b.submit(p, view.PostSetupClinic, "name", "Hope Clinic").is(200).says("You, the first administrator")
	for _, step := range p.steps[1:] {
		if strings.Contains(step, d.token.Reveal()) {
			t.Errorf("the token stands in a later address: %s", step)
		}
	}
	b.submit(p, view.PostSetupYou, "name", "Ada Admin", "email", "ada@clinic.example", "pin", "8264").says("Print your safety sheet")
	d.browser().get("/setup?token=" + d.token.Reveal()).is(410)
	if c := b.cookie("__Host-mitral-setup"); c == "" {
		t.Error("over https the setup's cookie has no __Host- prefix")
	}
}

// Of two who set up at once one wins, and the other is told.
func TestSetupHappensOnce(t *testing.T) {
	t.Parallel()
	d := newEmptyDesk(t, mitraltest.PublicURL)
	first, second := d.browser(), d.browser()
	p := first.submit(first.get("/setup"), view.PostSetupClinic, "name", "Hope Clinic")
	q := second.submit(second.get("/setup"), view.PostSetupClinic, "name", "Other Clinic")
	first.submit(p, view.PostSetupYou, "name", "Ada Admin", "email", "ada@hope.example", "pin", "8264").says("Print your safety sheet")
	second.submit(q, view.PostSetupYou, "name", "Eve", "email", "eve@other.example", "pin", "8264").is(410).says("has its clinic already")
	all, err := d.Directory.Workspaces(t.Context())
	need(t, err)
	if len(all) != 1 || all[0].Name != "Hope Clinic" {
		t.Errorf("the clinics are %v", all)
	}
}

func TestSetupCookieIsNotEnoughByItself(t *testing.T) {
	t.Parallel()
	d := newEmptyDesk(t, mitraltest.PublicURL)
	b := d.browser()
	p := b.submit(b.get("/setup"), view.PostSetupClinic, "name", "Hope Clinic")
	b.submit(p, view.PostSetupYou, "name", "Ada Admin", "email", "ada@hope.example", "pin", "8264")
	thief := d.browser()
	thief.client.Jar.SetCookies(d.public, []*http.Cookie{{Name: "mitral-setup", Value: identity.NewToken().Reveal(), Path: "/"}})
	thief.get("/setup").is(410)
	thief.post(view.PostSetupPeople, url.Values{"name": {"Eve"}, "email": {"eve@evil.example"}, "role": {"admin"}}).is(410)
	b.get("/setup").says("Print your safety sheet")
}
