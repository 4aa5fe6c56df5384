package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
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
