package edge_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

const forward = "/api/v1/authz/forward"

var always = []string{"X-Mitral-User", "X-Mitral-Email", "X-Mitral-Name", "X-Mitral-Roles", "X-Mitral-Workspace", "X-Mitral-Session",
	"X-Mitral-Acr", "X-Mitral-Break-Glass", "X-Mitral-Token"}

// apps of the tests: one for everybody, one for doctors, one for another clinic.
var chartApps = []session.App{
	{Origin: "https://chart.clinic.example"},
	{Origin: "https://lab.clinic.example", Roles: []string{"doctor"}, Audience: "lab"},
	{Origin: "https://other.example", Workspaces: []string{"other-clinic"}},
}

func clinicDesk(t testing.TB) *desk {
	return newDesk(t, setting{public: "https://auth.clinic.example", apps: chartApps, proxies: []string{"127.0.0.0/8"}})
}

// ask is what a proxy sends for a request to an application.
func asked(origin, uri string, more ...string) map[string]string {
	scheme, host, _ := strings.Cut(origin, "://")
	h := map[string]string{"X-Forwarded-Method": "GET", "X-Forwarded-Proto": scheme, "X-Forwarded-Host": host, "X-Forwarded-Uri": uri}
	for i := 0; i+1 < len(more); i += 2 {
		h[more[i]] = more[i+1]
	}
	return h
}

func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token is %q", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var c map[string]any
	must(t, json.Unmarshal(b, &c))
	return c
}

func TestDoorForwardPermits(t *testing.T) {
	t.Parallel()
	d := clinicDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(nurse)
	a := b.ask("GET", forward, "mitral:8080", asked("https://chart.clinic.example", "/patients?q=1"))
	if a.StatusCode != 200 {
		t.Fatalf("%d %s", a.StatusCode, a.text)
	}
	for _, name := range always {
		if values := a.Header.Values(name); len(values) != 1 {
			t.Errorf("%s is sent %d times", name, len(values))
		}
	}
	h := a.Header
	if h.Get("X-Mitral-User") != nurse.ID || h.Get("X-Mitral-Email") != nurse.Email || h.Get("X-Mitral-Roles") != "nurse" ||
		h.Get("X-Mitral-Workspace") != d.Workspace.ID || !strings.HasPrefix(h.Get("X-Mitral-Session"), "ses_") || h.Get("X-Mitral-Acr") != "aal1" ||
		h.Get("X-Mitral-Break-Glass") != "" || h.Get("X-Mitral-Name") != "A%20nurse" {
		t.Errorf("the headers are %v", h)
	}
	if got := h.Values("Set-Cookie"); len(got) != 0 {
		t.Errorf("the forward check renews cookies: %q", got)
	}
	token := h.Get("X-Mitral-Token")
	c := claims(t, token)
	now := d.DB.Clock().Now()
	if left := time.Unix(int64(c["exp"].(float64)), 0).Sub(now); c["aud"] != "https://chart.clinic.example" || left < 30*time.Second || left > time.Minute {
		t.Errorf("the token is for %v and has %v left", c["aud"], left)
	}
	if again := b.ask("GET", forward, "mitral:8080", asked("https://chart.clinic.example", "/x")).Header.Get("X-Mitral-Token"); again != token {
		t.Error("a token with enough left was not kept")
	}
	d.Advance(31 * time.Second)
	if later := b.ask("GET", forward, "mitral:8080", asked("https://chart.clinic.example", "/x")).Header.Get("X-Mitral-Token"); later == token || later == "" {
		t.Error("a token with less than 30 s left was handed out again")
	}
	// The application's own host, without a proxy's headers.
	if a := b.ask("GET", forward, "auth.clinic.example", nil); a.StatusCode != 200 || claims(t, a.Header.Get("X-Mitral-Token"))["aud"] != "https://auth.clinic.example" {
		t.Errorf("for its own Host: %d %v", a.StatusCode, a.Header)
	}
}

// F13: an application is told yes for its own workspace and roles only, and every
// header is always there, so that nothing a client sent comes through.
func TestF13ForwardIsForTheApplicationsOwnPeople(t *testing.T) {
	t.Parallel()
	d := clinicDesk(t)
	nurse, doctor := d.signedIn(d.Add(identity.Nurse)), d.signedIn(d.Add(identity.Doctor))
	other, err := d.Directory.Setup(context.Background(), directory.SetupInput{WorkspaceName: "Other Clinic", AdminEmail: "admin@other.example",
		AdminName: "An Administrator", PIN: "8264", Another: true, ByOperator: true})
	must(t, err)
	stranger := d.signedIn(mitraltest.Person{ID: other.User.ID, Email: "admin@other.example", Key: other.Key, PIN: "8264"})
	for _, tt := range []struct {
		name   string
		b      *browser
		origin string
		status int
	}{
		{"a nurse, an application for everybody", nurse, "https://chart.clinic.example", 200},
		{"a doctor, an application for doctors", doctor, "https://lab.clinic.example", 200},
		{"a nurse, an application for doctors", nurse, "https://lab.clinic.example", 403},
		{"another clinic's, an application of theirs", stranger, "https://other.example", 200},
		{"a doctor, another clinic's application", doctor, "https://other.example", 403},
		{"an address that nobody registered", doctor, "https://evil.example", 403},
		{"the right host by the wrong scheme", doctor, "http://chart.clinic.example", 403},
		{"the public URL itself", doctor, "https://auth.clinic.example", 200},
	} {
		for _, style := range []string{"", "?style=status"} {
			a := tt.b.ask("GET", forward+style, "mitral:8080", asked(tt.origin, "/", "Sec-Fetch-Mode", "navigate"))
			if a.StatusCode != tt.status {
				t.Errorf("%s%s: %d %s, want %d", tt.name, style, a.StatusCode, a.text, tt.status)
			}
			for _, name := range always {
				if values, sent := a.Header[name]; !sent || len(values) != 1 || tt.status == 403 && values[0] != "" {
					t.Errorf("%s: %s is %q", tt.name, name, values)
				}
			}
		}
	}
	refused := 0
	for _, e := range d.Events() {
		if e.Type == "authz.refused" && strings.Contains(e.Leaf, `"operation":"forward"`) {
			refused++
		}
	}
	if refused != 4 { // two people who were refused, each asked in two styles
		t.Errorf("%d refusals are recorded, want 4", refused)
	}
}

func TestForwardRefusals(t *testing.T) {
	t.Parallel()
	d := clinicDesk(t)
	p := d.Add(identity.Nurse)
	locked, out := d.signedIn(p), &browser{d, map[string]string{}}
	lock(t, d, locked)
	deep := "https://chart.clinic.example/patients/7?tab=notes&x=1"
	signIn := "https://chart.clinic.example/signin?callbackUrl=" + url.QueryEscape(deep)
	for _, tt := range []struct {
		name             string
		b                *browser
		style, mode      string
		status           int
		location, reason string
		redirect         string
	}{
		{"page", out, "", "navigate", 302, signIn, "signed_out", ""},
		{"call", out, "", "cors", 401, "", "signed_out", ""},
		{"page, status", out, "?style=status", "navigate", 401, "", "signed_out", signIn},
		{"call, status", out, "?style=status", "cors", 401, "", "signed_out", ""},
		{"locked page", locked, "", "navigate", 302, signIn, "locked", ""},
		{"locked call", locked, "", "cors", 423, "", "locked", ""},
		{"locked page, status", locked, "?style=status", "navigate", 401, "", "locked", signIn},
		{"locked call, status", locked, "?style=status", "", 401, "", "locked", ""},
	} {
		a := tt.b.ask("GET", forward+tt.style, "mitral:8080", asked("https://chart.clinic.example", "/patients/7?tab=notes&x=1", "Sec-Fetch-Mode", tt.mode))
		if a.StatusCode != tt.status || a.Header.Get("Location") != tt.location || a.Header.Get("X-Mitral-Reason") != tt.reason || a.Header.Get("X-Mitral-Redirect") != tt.redirect {
			t.Errorf("%s: %d %v", tt.name, a.StatusCode, a.Header)
		}
	}
	// What can't be loaded again, or would leave the origin, comes back to its start.
	home := "https://chart.clinic.example/signin?callbackUrl=" + url.QueryEscape("https://chart.clinic.example/")
	for _, h := range []map[string]string{
		asked("https://chart.clinic.example", "https://evil.example/"), asked("https://chart.clinic.example", "/a\\b"),
		asked("https://chart.clinic.example", "/save", "X-Forwarded-Method", "POST"),
	} {
		h["Sec-Fetch-Mode"] = "navigate"
		if got := out.ask("GET", forward, "mitral:8080", h).Header.Get("Location"); got != home {
			t.Errorf("%v leads to %s", h, got)
		}
	}
}

// Forwarded headers from anybody but a declared proxy are refused; that same
// peer may ask about itself.
func TestForwardBelievesDeclaredProxiesOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{public: "https://auth.clinic.example", apps: chartApps, proxies: []string{"127.0.0.9/32"}})
	send := func(from, host string, headers http.Header) *answer {
		r, err := http.NewRequestWithContext(t.Context(), "GET", d.server.URL+forward, nil)
		must(t, err)
		r.Host, r.Header = host, headers
		return d.do(r, net.ParseIP(from))
	}
	for _, tt := range []struct {
		name, from, host string
		headers          http.Header
		status           int
	}{
		{"declared", "127.0.0.9", "mitral:8080", http.Header{"X-Forwarded-Host": {"chart.clinic.example"}, "X-Forwarded-Proto": {"https"}}, 401},
		{"declared, scheme left out", "127.0.0.9", "mitral:8080", http.Header{"X-Forwarded-Host": {"chart.clinic.example"}}, 401},
		{"declared, two hosts", "127.0.0.9", "mitral:8080", http.Header{"X-Forwarded-Host": {"chart.clinic.example", "evil.example"}}, 403},
		{"declared, two hosts in one line", "127.0.0.9", "mitral:8080", http.Header{"X-Forwarded-Host": {"evil.example, chart.clinic.example"}}, 403},
		{"undeclared, our host", "127.0.0.7", "auth.clinic.example", http.Header{"X-Forwarded-Host": {"chart.clinic.example"}}, 403},
		{"undeclared, uri only", "127.0.0.7", "auth.clinic.example", http.Header{"X-Forwarded-Uri": {"/"}}, 403},
		{"undeclared, foreign host", "127.0.0.7", "mitral:8080", http.Header{"X-Forwarded-Host": {"chart.clinic.example"}}, 421},
		{"undeclared, about itself", "127.0.0.7", "auth.clinic.example", http.Header{}, 401},
		{"undeclared, about an application", "127.0.0.7", "lab.clinic.example", http.Header{}, 401},
		{"declared, foreign host, no headers", "127.0.0.9", "mitral:8080", http.Header{}, 421},
	} {
		if a := send(tt.from, tt.host, tt.headers); a.StatusCode != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, a.StatusCode, a.text, tt.status)
		}
	}
}

// A person's navigation is activity; nothing else that passes through is.
func TestForwardActivity(t *testing.T) {
	t.Parallel()
	d := clinicDesk(t)
	b := d.signedIn(d.Add(identity.Nurse))
	idleAt := func() time.Time {
		v := d.Sessions.Visit(cookies(b), identity.Client{})
		live, err := d.Sessions.Check(context.Background(), v, session.Renew)
		must(t, err)
		return live.IdleExpiresAt
	}
	was := idleAt()
	d.Advance(time.Minute)
	b.ask("GET", forward, "mitral:8080", asked("https://chart.clinic.example", "/poll", "Sec-Fetch-Mode", "cors"))
	if now := idleAt(); !now.Equal(was) {
		t.Errorf("a poll moved the idle end from %v to %v", was, now)
	}
	b.ask("GET", forward, "mitral:8080", asked("https://chart.clinic.example", "/page", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-User", "?1"))
	if now := idleAt(); now.Sub(was) < time.Minute {
		t.Errorf("a navigation moved the idle end from %v to %v", was, now)
	}
}

func cookies(b *browser) *http.Request {
	r := &http.Request{Header: http.Header{}}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

func lock(t *testing.T, d *desk, b *browser) {
	t.Helper()
	v := d.Sessions.Visit(cookies(b), identity.Client{})
	live, err := d.Sessions.Check(context.Background(), v, session.Renew)
	must(t, err)
	_, err = d.Sessions.Lock(context.Background(), v, live, session.ReasonUser)
	must(t, err)
	for _, c := range v.Cookies() {
		b.cookies[c.Name] = c.Value
	}
}

// F35: tokens of the forward check carry the rights of the moment.
func TestF35ForwardTokenFollowsRights(t *testing.T) {
	t.Parallel()
	d := clinicDesk(t)
	p := d.Add(identity.Nurse)
	b := d.signedIn(p)
	role := func() any {
		a := b.ask("GET", forward, "mitral:8080", asked("https://chart.clinic.example", "/"))
		return claims(t, a.Header.Get("X-Mitral-Token"))["roles"].([]any)[0]
	}
	if got := role(); got != "nurse" {
		t.Fatalf("the role is %v", got)
	}
	doctor := identity.Doctor
	_, err := d.Directory.UpdateUser(context.Background(), signin.CLI(), d.Workspace.ID, p.ID, directory.Change{Role: &doctor})
	must(t, err)
	d.Advance(6 * time.Second) // the change was made by another node: this one polls before it answers
	if got := role(); got != "doctor" {
		t.Errorf("after the change the role is %v", got)
	}
}

// The forward check is in the way of every request to an application.
func BenchmarkForward(b *testing.B) {
	d := clinicDesk(b)
	in := d.signedIn(d.Add(identity.Nurse))
	r := cookies(in)
	r.Method, r.Host, r.RemoteAddr, r.URL = "GET", "mitral:8080", "127.0.0.9:1234", &url.URL{Path: forward}
	for name, value := range asked("https://chart.clinic.example", "/patients") {
		r.Header.Set(name, value)
	}
	for b.Loop() {
		w := httptest.NewRecorder()
		d.server.Config.Handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
}
