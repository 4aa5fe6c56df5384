package web_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// J2 and J3 by plain form posts, with the PIN in between because the sign-in is
// six minutes old: nothing typed is lost.
func TestAdminAddsAPerson(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	d.Advance(6 * time.Minute)
	p := b.get("/admin/people/new")
	p = b.submit(p, view.PostPeople, "name", "Nadia Rahman", "email", "nadia", "role", "", "channel", "letter").is(422).says("Choose one")
	p = b.submit(p, view.PostPeople, "role", "nurse").is(422).says("This is not a mail address")
	p = b.submit(p, view.PostPeople, "email", "nadia@hope.example", "phone", "12").is(422).says("Write the number with its country")
	p = b.submit(p, view.PostPeople, "phone", "").is(200).says("To add Nadia Rahman, enter your PIN")
	p = b.submit(p, view.PostPeople, "pin", "0000").is(401).says("tries left")
	p = b.submit(p, view.PostPeople, "pin", d.Admin.PIN.Reveal()).is(200).says("Nadia Rahman is added", "Claim code")
	claim := p.find(`<pre class="box" id="claim-url"[^>]*>([^<]+)<`)
	code := p.find(`<p class="key">([0-9]{6})</p>`)
	b.get("/admin/people?q=nadia").says("Nadia Rahman", "Not claimed yet").hides("An Administrator</b></a>")

	post := view.PostClaim(mitraltest.ClaimToken(claim).Reveal())
	c := d.browser()
	c.submit(c.get(parsed(t, claim).Path), post, "code", code, "pin", "9713").is(200).says("Your key")
	b.get("/admin/people?q=nadia").says("Active")

	p = b.get("/admin/people/new")
	b.submit(p, view.PostPeople, "name", "Another", "email", "NADIA@hope.example", "role", "nurse", "channel", "letter").is(409).says("has this address already")
}

func TestAdminMailsALink(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	p := b.submit(b.get("/admin/people/new"), view.PostPeople, "name", "Nadia Rahman", "email", "nadia@hope.example", "role", "nurse", "channel", "mail").is(200)
	p.says("The link is on its way").hides("/claim/")
}

func TestAdminChangesAPerson(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b, n := d.signedIn(d.Admin), d.signedIn(nurse)
	path := view.PersonURL(nurse.ID)
	p := b.get(path).says("A nurse", "Active", nurse.Email, "Chrome, Linux")
	p = b.submit(p, view.PostPerson(nurse.ID, ""), "name", "", "phone", "x").is(422)
	p = b.submit(p, view.PostPerson(nurse.ID, ""), "name", "Nadia Rahman", "phone", "+44 20 7946 0102", "role", "doctor").at(path).says("Saved", "Nadia Rahman")
	if got := p.form(view.PostPerson(nurse.ID, "")).Get("role"); got != "doctor" {
		t.Errorf("the role is %q afterwards", got)
	}
	n.get("/account").says("Nadia Rahman", "Doctor") // in the open session, too

	b.submit(p, view.PostPerson(nurse.ID, "sign-out")).at(path).says("Signed out everywhere")
	n.get("/account").at("/signin")
	n.signIn(nurse).is(200)
	p = b.submit(b.get(path), view.PostPerson(nurse.ID, "disable")).at(path).says("Disabled")
	n.get("/account").at("/signin")
	n.signIn(nurse).is(401)
	b.submit(p, view.PostPerson(nurse.ID, "enable")).at(path).says("They can sign in again")
	n.signIn(nurse).is(200)
	b.get("/admin/people/usr_unknown").is(404)
	b.post(view.PostPerson("usr_unknown", "disable"), nil).is(404)
}

func TestAdminMakesANewKey(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(d.Admin)
	d.Advance(6 * time.Minute)
	post := view.PostPerson(nurse.ID, "claims")
	p := b.get(view.PersonURL(nurse.ID))
	p = b.submit(p, post, "channel", "letter").is(422).says("Say how you made sure that it is them")
	form := p.form(post)
	form.Set("channel", "letter")
	form.Set("checked", "in_person")
	form["reset"] = []string{"pin", "factors"}
	p = b.post(post, form).is(200).says("To make a new key for A nurse, enter your PIN")
	if got := p.form(post)["reset"]; len(got) != 2 {
		t.Errorf("of the two boxes %v come along", got)
	}
	p = b.submit(p, post, "pin", d.Admin.PIN.Reveal()).is(200).says("A new key for A nurse")
	claim := p.find(`<pre class="box" id="claim-url"[^>]*>([^<]+)<`)
	d.browser().get(parsed(t, claim).Path).says("Choose a PIN")
	b.get(view.PersonURL(nurse.ID)).is(200)
}

func TestAdminCannotRemoveTheLastOne(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	p := b.get(view.PersonURL(d.Admin.ID)).says("The only administrator keeps the role")
	if p.hasForm(view.PostPerson(d.Admin.ID, "disable")) {
		t.Error("disabling the last administrator is offered")
	}
	b.post(view.PostPerson(d.Admin.ID, "disable"), nil).is(409).says("This is the last administrator")
	b.post(view.PostPerson(d.Admin.ID, ""), url.Values{"name": {"An Administrator"}, "role": {"nurse"}}).is(409)
	d.Add(identity.Admin)
	b.post(view.PostPerson(d.Admin.ID, ""), url.Values{"name": {"An Administrator"}, "role": {"admin"}}).is(200).says("Saved")
}

// What a role may not do is refused whoever sends the form.
func TestFormsOfTheConsoleAreForAdministrators(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse, reviewer := d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer)
	for _, b := range []*browser{d.signedIn(nurse), d.signedIn(reviewer)} {
		for path, form := range map[string]url.Values{
			view.PostPeople:                                {"name": {"Eve"}, "email": {"eve@evil.example"}, "role": {"admin"}, "channel": {"letter"}},
			view.PostPerson(d.Admin.ID, ""):                {"name": {"Eve"}},
			view.PostPerson(d.Admin.ID, "claims"):          {"channel": {"letter"}, "checked": {"call"}},
			view.PostPerson(d.Admin.ID, "disable"):         {},
			view.PostPerson(nurse.ID, "enable"):            {},
			view.PostPerson(d.Admin.ID, "sign-out"):        {},
			view.PostCodes:                                 {"count": {"2"}, "location": {"here"}},
			view.PostPolicy:                                {"document": {"{}"}, "confirm": {"1"}},
			view.PostReview("bg_unknown", "stop"):          {},
			view.PostReview("bg_unknown", "acknowledge"):   {},
			"/api/v1/pages/admin/break-glass/x/unknowable": {},
		} {
			if got := b.post(path, form); got.status != 403 && got.status != 404 {
				t.Errorf("%s is %d", path, got.status)
			}
		}
	}
	d.signedIn(d.Admin)
	users, err := d.Directory.Users(t.Context(), signin.CLI(), d.Workspace.ID)
	need(t, err)
	if len(users) != 3 {
		t.Errorf("there are %d people, want 3", len(users))
	}
}

func TestRecordIsToldAsSentences(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse, reviewer := d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer)
	d.signedIn(nurse)
	b := d.signedIn(reviewer)
	p := b.get("/admin/record").is(200).says("A nurse signed in with key and PIN from Chrome, Linux", "Each is chained to all before it")
	b.get("/admin/record?type=claim").says("took over the account").hides("signed in with")
	b.get("/admin/record?person="+nurse.ID).says("A nurse", "signed in with").hides("An Administrator</b>")
	b.get("/admin/record?person=usr_nobody&type=nonsense&from=yesterday").is(200).says("That one was left out")
	b.get("/admin/record?from=2020-01-01&to=2020-01-02").says("Nothing fits")
	if got := p.form("/admin/record"); got == nil {
		t.Error("the record has no filter")
	}
	if n := d.events("audit.read", audit.Success); n != 5 {
		t.Errorf("the record was read %d times by its own account, want 5", n)
	}
	d.Advance(16 * time.Minute)
	b.signIn(reviewer)
	d.Advance(14 * time.Minute)
	b.get("/admin/record").is(200).says("signed in with")
	b.get("/account")
}

// Fifteen minutes after the last proof the record asks for the PIN, and then
// shows what was asked for.
func TestRecordAsksForThePIN(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	d.signedIn(nurse)
	b := d.signedIn(d.Admin)
	d.Advance(16 * time.Minute)
	b.get(view.PersonURL(nurse.ID)).is(200).says("The record is shown after you confirm that it is you").hides("signed in with key")
	p := b.get("/admin/record?type=sign_in").is(200).says("To read the record, enter your PIN").hides("signed in with key")
	p = b.submit(p, "/api/v1/pages/admin/record", "pin", "0000").is(401)
	b.submit(p, "/api/v1/pages/admin/record", "pin", d.Admin.PIN.Reveal()).is(200).says("A nurse signed in with key and PIN").hides("took over the account")
	b.get("/admin/record").is(200).says("took over the account")
}

func TestRecordIsTurnedPageByPage(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range 15 {
		d.Add(identity.Nurse)
	}
	b := d.signedIn(d.Admin)
	p := b.get("/admin/record").light()
	seen := strings.Count(p.text, "<time ")
	for range 10 {
		if !strings.Contains(p.text, ">Older<") {
			break
		}
		p = b.get(p.find(`<a class="button" href="([^"]+)">Older<`)).is(200).says("Newer")
		seen += strings.Count(p.text, "<time ")
	}
	if want := len(d.Events()); seen < want-12 || seen > want {
		t.Errorf("%d events were shown of %d", seen, want)
	}
}

func TestPolicyIsChangedKnowingly(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	b.get("/admin/policy").says("Ways to sign in", "key and PIN")
	b.get("/admin/policy?tab=roles").says("Nurse", "locks after 15 minutes")
	b.get("/admin/policy?tab=emergency").says("60 minutes")
	p := b.get("/admin/policy?tab=document")
	same := p.form(view.PostPolicy)
	b.post(view.PostPolicy, same).says("This changes nothing")

	p = b.submit(p, view.PostPolicy, "document", `{"methods":["nonsense"]}`).is(422).says("Mend this first", "methods")
	looser := strings.Replace(same.Get("document"), `"idle": "15m"`, `"idle": "20m"`, 1)
	p = b.submit(p, view.PostPolicy, "document", looser).is(200).says("This is what changes", "20 min", "Weaker")
	p = b.submit(p, view.PostPolicy, "confirm", "1").is(422).says("Say why")
	b.submit(p, view.PostPolicy, "confirm", "1", "reason", "long dressings").at("/admin/policy").says("The policy is changed")
	b.post(view.PostPolicy, url.Values{"document": {same.Get("document")}, "etag": {same.Get("etag")}, "confirm": {"1"}}).is(412).says("has changed since you read it")

	d.Advance(6 * time.Minute)
	p = b.get("/admin/policy?tab=document")
	tighter := strings.Replace(p.form(view.PostPolicy).Get("document"), `"idle": "20m"`, `"idle": "10m"`, 1)
	p = b.submit(p, view.PostPolicy, "document", tighter)
	p = b.submit(p, view.PostPolicy, "confirm", "1").is(200).says("To change the policy, enter your PIN")
	b.submit(p, view.PostPolicy, "pin", d.Admin.PIN.Reveal()).at("/admin/policy").says("The policy is changed")
	doc, rev, err := d.Directory.Policy(t.Context(), signin.CLI(), d.Workspace.ID)
	need(t, err)
	if rev != 3 || doc.Roles == nil {
		t.Errorf("the policy is at revision %d", rev)
	}
}

func TestOverviewAndHealth(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	b.get("/admin").says("Only one can sign in", "2 are ready", "Only mail can be sent", "Practise once")
	b.get("/admin/health").says("Clock", "It is right", "Mitral test")
	d.Add(identity.Admin)
	d.Add(identity.PrivacyReviewer)
	b.get("/admin").says("2 can sign in", "There is one")
	d.signedIn(d.Add(identity.PrivacyReviewer)).get("/admin").at("/admin/break-glass")
}
