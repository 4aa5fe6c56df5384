package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/web"
	"github.com/mitral-health/mitral/internal/web/view"
)

// maxWeight is what a page may weigh with everything it loads (product §6).
const maxWeight = 60_000

func TestPagesAreForWhoMay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse, reviewer := d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer)
	if _, _, ok := d.Recorder.Await(t.Context(), d.Events()[0].ID, 10*time.Second); !ok {
		t.Fatal("there is no checkpoint yet")
	}
	out, admins, nurses, reviewers := d.browser(), d.signedIn(d.Admin), d.signedIn(nurse), d.signedIn(reviewer)
	locked := d.signedIn(nurse)
	locked.submit(locked.get("/account"), view.PostLock).says("Locked.")

	person := view.PersonURL(nurse.ID)
	for _, tt := range []struct {
		path                   string
		says                   string
		admin, nurse, reviewer int
	}{
		{"/account", "My security", 200, 200, 200},
		{"/admin", "Overview", 200, 403, 200},
		{"/admin/people", "People", 200, 403, 403},
		{"/admin/people/new", "Add a person", 200, 403, 403},
		{person, "Details", 200, 403, 403},
		{"/admin/break-glass", "Break-glass", 200, 403, 200},
		{"/admin/sealed-codes", "Sealed codes", 200, 403, 403},
		{"/admin/record", "The record", 200, 403, 200},
		{"/admin/record/checkpoint", "Checkpoint", 200, 403, 200},
		{"/admin/policy", "Policy", 200, 403, 403},
		{"/admin/policy?tab=document", "The policy, as JSON", 200, 403, 403},
		{"/admin/health", "Health", 200, 403, 403},
	} {
		out.get(tt.path).is(200).at("/signin")
		locked.get(tt.path).is(423).says("Locked.").hides("<mitral-lock")
		admins.get(tt.path).is(tt.admin).says(tt.says).light()
		nurses.get(tt.path).is(tt.nurse).light()
		reviewers.get(tt.path).is(tt.reviewer).light()
	}
	if n := d.events("authz.refused", "denied"); n == 0 {
		t.Error("nothing that was refused is in the record")
	}
	for path, words := range map[string]string{"/emergency": "I have a sealed code", "/emergency?drill=1": "nothing opens", "/signin?resume=0": "Sign in to Hope Clinic"} {
		out.get(path).is(200).says(words).light()
	}
	out.get("/setup").is(410).says("has its clinic already")
	out.get("/no/such/page").is(404).says("There is no such page")
	out.get("/claim/nothing").is(404)
	out.get("/").is(200).at("/signin")
	out.get("/demo").is(404)
	out.get("/demo/outbox").is(404)
	out.get("/demo/gallery").is(404)
	out.get("/demo/chart").is(404)
}

// light fails when a page weighs too much, or says something in another way than
// browsers may read.
func (p *page) light() *page {
	p.t.Helper()
	if !strings.HasPrefix(p.header.Get("Content-Type"), "text/html") || p.header.Get("Cache-Control") != "no-store" {
		p.t.Errorf("%s is %q, %q", p.url.Path, p.header.Get("Content-Type"), p.header.Get("Cache-Control"))
	}
	weight := len(p.text)
	for _, name := range []string{"mitral.css", "page.js", "countdown.js", "icon.svg"} {
		weight += assetSize(p.t, name)
	}
	if strings.Contains(p.text, view.LockModule) {
		weight += 20_000
	}
	if weight > maxWeight {
		p.t.Errorf("%s weighs %d bytes with what it loads", p.url.Path, weight)
	}
	return p
}

func assetSize(t *testing.T, name string) int {
	t.Helper()
	return get(http.MethodGet, web.Asset(name)).Body.Len()
}

func TestDemoPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(c *web.Config) {
		c.Demo = &web.Demo{People: [][4]string{{"admin", "admin@hope.example", "AAAA-AAAA-AAAA-AA", "1357"}},
			Sent: func() []notify.Shown {
				return []notify.Shown{{Channel: "sms", To: "+442079460101", Text: "EMERGENCY ACCESS at Hope Clinic", At: time.Now()}}
			},
			Chart: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("the chart")) })}
	})
	b := d.browser()
	b.get("/").is(200).at("/demo").says("An Administrator", "admin@hope.example", "1357", "Six things to try")
	b.get("/demo/outbox").is(200).says("EMERGENCY ACCESS at Hope Clinic", "+442079460101").light()
	b.get("/demo/gallery").is(200).light()
	b.get("/demo/chart").is(200)
	b.get("/signin?resume=0").says("Demo: a made-up clinic")
	b.signIn(d.Add(identity.Nurse)).at("/demo/chart")
}

func TestOnlyOurOwnPagesPostForms(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	p := b.get("/account")
	for name, header := range map[string]http.Header{
		"another site":    {"Sec-Fetch-Site": {"cross-site"}},
		"a sibling":       {"Sec-Fetch-Site": {"same-site"}},
		"an old browser":  {"Sec-Fetch-Site": {""}, "Origin": {"https://elsewhere.example"}},
		"no known origin": {"Sec-Fetch-Site": {""}, "Origin": {"null"}},
	} {
		if got := b.follow(http.MethodPost, view.PostSignOut, p.form(view.PostSignOut), header); got.status != 403 {
			t.Errorf("a form sent by %s is %d, want 403", name, got.status)
		}
	}
	b.get("/account").is(200).at("/account")
	b.submit(p, view.PostSignOut).at("/signin")
	b.get("/account").at("/signin")
}

func TestFormsAreForms(t *testing.T) {
	t.Parallel()
	b := newDesk(t).browser()
	if got := b.follow(http.MethodPost, view.PostSignIn, nil, http.Header{"Content-Type": {"application/json"}}); got.status != 415 {
		t.Errorf("JSON is %d, want 415", got.status)
	}
	b.post(view.PostSignIn, map[string][]string{"identifier": {strings.Repeat("a", 70_000)}}).is(413)
	b.post(view.PostSignIn, map[string][]string{"identifier": {"\xff"}}).is(400)
}

func TestSDKModuleIsKeptForFiveMinutes(t *testing.T) {
	t.Parallel()
	b := newDesk(t).browser()
	p := b.get(view.LockModule).is(200)
	if p.header.Get("Content-Type") != "text/javascript; charset=utf-8" || p.header.Get("Cache-Control") != "public, max-age=300" || p.header.Get("ETag") == "" {
		t.Errorf("the module's headers are %v", p.header)
	}
	if got := b.follow(http.MethodGet, view.LockModule, nil, http.Header{"If-None-Match": {p.header.Get("ETag")}}); got.status != 304 {
		t.Errorf("a known module is %d, want 304", got.status)
	}
}

// The answer to a form stands under the form's own path; whoever loads that
// again, or comes back to it after an hour, gets the page.
func TestAddressesOfFormsLeadToTheirPages(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(d.Admin)
	for path, want := range map[string]string{
		view.PostPIN:                           "/account",
		view.PostPeople:                        "/admin/people",
		view.PostPerson(nurse.ID, "claims"):    view.PersonURL(nurse.ID),
		view.PostCodes:                         "/admin/sealed-codes",
		view.PostPolicy:                        "/admin/policy",
		view.PostReview("grt_x", "stop"):       "/admin/break-glass/grt_x",
		view.PostEmergency:                     "/emergency",
		view.PostPickup:                        "/emergency",
		view.PostGrant("grt_x", "end"):         "/emergency/grt_x",
		view.PostSetupYou:                      "/setup",
		view.PostClaim("abc"):                  "/claim/abc",
		view.PostClaimSaved("abc"):             "/claim/abc",
		view.PostSignIn:                        "/admin",
		view.PostUnlock:                        "/admin",
		"/api/v1/pages/admin/record":           "/admin/record",
		"/api/v1/pages/nothing/of/the/kind/at": "/account",
	} {
		b.from = ""
		b.get(path).at(want)
	}
}

// With the database gone the pages say so, and emergency access says what to do
// on paper.
func TestWithoutADatabase(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		return // it takes a database server that can be stopped
	}
	server, err := mitraltest.StartPostgres()
	need(t, err)
	t.Cleanup(func() { _ = server.Close() })
	owner, app := server.Database(t)
	d := open(t, mitraltest.NewClinic(t, app, owner), mitraltest.PublicURL)
	b := d.signedIn(d.Admin)
	out := d.browser()
	asked := out.get("/emergency")
	need(t, server.Stop())
	for _, path := range []string{"/signin?resume=0", "/setup", "/admin/people"} {
		if p := b.get(path); p.status != 503 || p.header.Get("Retry-After") == "" {
			t.Errorf("%s is %d without a database, Retry-After %q", path, p.status, p.header.Get("Retry-After"))
		}
	}
	out.get("/emergency").is(503).says("Work on paper until it is back")
	out.submit(asked, view.PostEmergency, "who", "visiting", "visiting_name", "Sam Locum", "visiting_reg_no", "1", "category", "cover_or_visiting",
		"reason", "Locum for tonight only", "sealed_code", d.Setup.SealedCodes[0].Code.Reveal()).is(503).says("Work on paper until it is back", "keep the letter")
}

// under is the same server as browsers see it under an application's origin,
// whose proxy passes Mitral's paths on.
func (d *desk) under(origin string) *desk {
	d.t.Helper()
	other := *d
	other.public = parsed(d.t, origin)
	return &other
}

// An application may call the API with the person's cookies, but no page of its
// own sends our forms. Behind its proxy our pages are at home on its origin.
func TestApplicationsShowNoFormsOfOurs(t *testing.T) {
	t.Parallel()
	const app = "http://chart.localhost:9000"
	d := newEmptyDesk(t, mitraltest.PublicURL, session.App{Origin: app})
	set, err := d.Directory.Setup(t.Context(), directory.SetupInput{WorkspaceName: "Hope Clinic", AdminEmail: "admin@hope.example", AdminName: "An Administrator", PIN: "8264", ByOperator: true})
	need(t, err)
	admin := mitraltest.Person{ID: set.User.ID, Email: set.User.Email, Key: set.Key, PIN: "8264"}
	b := d.signedIn(admin)
	p := b.get("/account")
	for _, site := range []string{"same-site", "cross-site", ""} {
		got := b.follow(http.MethodPost, view.PostSignOut, p.form(view.PostSignOut), http.Header{"Origin": {app}, "Sec-Fetch-Site": {site}})
		got.is(403).says("Not from that page")
	}
	b.get("/account").is(200).at("/account")

	c := d.under(app).browser()
	c.get("/emergency").is(200)
	q := c.get("/signin?callbackUrl=" + url.QueryEscape(app+"/patients/7")).is(200)
	q = c.submit(q, view.PostSignIn, "identifier", admin.Email, "key", admin.Key.Reveal())
	q = c.submit(q, view.PostSignIn, "pin", admin.PIN.Reveal())
	if got := q.url.String(); got != app+"/patients/7" {
		t.Errorf("sign-in behind the application's proxy leads to %s", got)
	}
	if steps := c.get("/signin").steps; len(steps) < 3 || steps[2] != "/" {
		t.Errorf("without an address it leads to %v, want the application", steps)
	}
	if got := b.get("/signin?callbackUrl=" + url.QueryEscape(app+"/patients/7")).url.String(); got != app+"/patients/7" {
		t.Errorf("from our own origin sign-in leads to %s", got)
	}
}

// On a server of several clinics a page belongs to the one that its address
// names; the emergency page lets a stranger choose.
func TestSeveralClinics(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	other, err := d.Directory.Setup(t.Context(), directory.SetupInput{WorkspaceName: "Other Clinic", AdminEmail: nurse.Email, AdminName: "Somebody Else", PIN: "8264", Another: true, ByOperator: true})
	need(t, err)
	b := d.browser()
	b.get("/signin?resume=0").says("Sign in to Mitral").hides("Hope Clinic", "Other Clinic")
	b.signIn(nurse).is(401).says(view.Refused) // two people have that address
	p := b.get("/signin?workspace=hope-clinic").says("Sign in to Hope Clinic")
	p = b.submit(p, view.PostSignIn, "identifier", nurse.Email, "key", nurse.Key.Reveal())
	b.submit(p, view.PostSignIn, "pin", nurse.PIN.Reveal()).at("/account").says("A nurse", "Hope Clinic")
	b.get("/signin?resume=0&workspace=no-such-clinic").is(200).says("Sign in to Mitral")

	v := d.browser()
	q := v.get("/emergency").says("Choose your clinic", "Hope Clinic", "Other Clinic")
	fields := []string{"who", "visiting", "visiting_name", "Sam Locum", "visiting_reg_no", "1", "category", "cover_or_visiting", "reason", "Locum for tonight only",
		"sealed_code", other.SealedCodes[0].Code.Reveal()}
	q = v.submit(q, view.PostEmergency, fields...).is(422).says("Say which clinic this is")
	q = v.submit(q, view.PostEmergency, append(fields, "workspace", "hope-clinic")...).is(401)
	d.Advance(2 * time.Second)
	v.submit(q, view.PostEmergency, append(fields, "workspace", other.Workspace.Slug)...).is(200).at("/emergency").says("Emergency access is open", "Other Clinic")
}
