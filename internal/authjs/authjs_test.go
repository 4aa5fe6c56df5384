package authjs_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
)

func TestProviders(t *testing.T) {
	t.Parallel()
	b := newDesk(t, session.V5).browser()
	a := b.get(base + "/providers")
	var got map[string]map[string]string
	must(t, json.Unmarshal([]byte(a.text), &got))
	want := map[string]string{"id": "key-pin", "name": "Key and PIN", "type": "credentials",
		"signinUrl": public + base + "/signin/key-pin", "callbackUrl": public + base + "/callback/key-pin"}
	for name, value := range want {
		if got["key-pin"][name] != value {
			t.Errorf("%s is %q, want %q", name, got["key-pin"][name], value)
		}
	}
	if a.Header.Get("Set-Cookie") != "" || a.Header.Get("Cache-Control") != "no-store" || !strings.Contains(strings.Join(a.Header.Values("Vary"), ","), "Cookie") {
		t.Errorf("the headers are %v", a.Header)
	}
}

func TestSignedOutBodies(t *testing.T) {
	t.Parallel()
	for dialect, want := range map[session.Dialect]string{session.V4: "{}", session.V5: "null"} {
		b := newDesk(t, dialect).browser()
		a := b.get(base + "/session")
		if a.StatusCode != 200 || a.text != want || a.Header.Get("Content-Type") != "application/json" ||
			a.Header.Get("Cache-Control") != "private, no-cache, no-store" || a.Header.Get("Pragma") != "no-cache" || a.Header.Get("Expires") != "0" {
			t.Errorf("%s: %d %q %v", dialect, a.StatusCode, a.text, a.Header)
		}
	}
}

func TestCSRFTokens(t *testing.T) {
	t.Parallel()
	for dialect, name := range map[session.Dialect]string{session.V4: "__Host-next-auth.csrf-token", session.V5: "__Host-authjs.csrf-token"} {
		d := newDesk(t, dialect)
		b := d.browser()
		token := b.csrf()
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(token) || !strings.HasPrefix(b.cookies[name], token+"%7C") {
			t.Errorf("%s: the token is %q, the cookies %v", dialect, token, b.cookies)
		}
		if again := b.csrf(); again != token {
			t.Errorf("%s: the token did not live on", dialect)
		}
		// A planted cookie that this keyring never tagged is replaced.
		b.cookies[name] = strings.Repeat("0", 64) + "%7C" + strings.Repeat("0", 64)
		if b.csrf() == strings.Repeat("0", 64) {
			t.Errorf("%s: a forged token was believed", dialect)
		}
	}
}

// The tables of authjs.md §5, both dialects, fetch and form style.
func TestCredentials(t *testing.T) {
	t.Parallel()
	const in, out = public + base, public + "/work"
	for dialect, cookie := range map[session.Dialect]string{session.V4: "__Secure-next-auth.session-token", session.V5: "__Secure-authjs.session-token"} {
		d := newDesk(t, dialect)
		p := d.Add(identity.Nurse)
		wrong := p
		wrong.PIN = "1357"
		nobody := mitraltest.Person{Email: "nobody@hope.example", Key: p.Key, PIN: p.PIN}
		malformed := p
		malformed.PIN = "12"
		for _, tt := range []struct {
			style  string
			p      mitraltest.Person
			status int
			lead   string
		}{
			{"v4", p, 200, out}, {"v5", p, 200, out}, {"form", p, 302, out},
			{"v4", wrong, 401, in + "/error?error=CredentialsSignin&provider=key-pin"}, {"v4", nobody, 401, in + "/error?error=CredentialsSignin&provider=key-pin"},
			{"v5", wrong, 200, in + "/signin?error=CredentialsSignin&code=credentials"}, {"v5", malformed, 200, in + "/signin?error=CredentialsSignin&code=credentials"},
			{"form", wrong, 302, map[session.Dialect]string{session.V4: in + "/error?error=CredentialsSignin&provider=key-pin",
				session.V5: in + "/signin?error=CredentialsSignin&code=credentials"}[dialect]},
		} {
			b := d.browser()
			a := b.signIn(tt.style, tt.p, nil)
			lead := a.Header.Get("Location")
			if tt.style != "form" {
				lead = a.url(t)
			}
			if a.StatusCode != tt.status || lead != tt.lead {
				t.Errorf("%s server, %s client, %s: %d to %s, want %d to %s", dialect, tt.style, tt.p.Email, a.StatusCode, lead, tt.status, tt.lead)
			}
			_, signed := b.cookies[cookie]
			if signed != (tt.lead == out) {
				t.Errorf("%s server, %s client: a session cookie is there: %v", dialect, tt.style, signed)
			}
		}
	}
}

func TestDoorSessionAfterSignInAndOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.V5)
	p := d.Add(identity.Nurse)
	b := d.browser()
	b.signIn("v5", p, nil)
	a := b.get(base + "/session")
	var got struct {
		User    map[string]any
		Expires string
		Mitral  map[string]any
	}
	must(t, json.Unmarshal([]byte(a.text), &got))
	if got.User["id"] != p.ID || got.User["email"] != p.Email || got.User["image"] != nil || got.Mitral["state"] != "active" || got.Mitral["workspace_id"] != d.Workspace.ID {
		t.Errorf("the session is %s", a.text)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", got.Expires); err != nil {
		t.Errorf("expires is %q", got.Expires)
	}
	if a.Header.Get("Set-Cookie") != "" {
		t.Errorf("a fresh cookie was set again: %q", a.Header.Values("Set-Cookie"))
	}
	// update() answers the session and takes nothing; without the token it is refused.
	body := `{"csrfToken":"` + b.csrf() + `","data":{"name":"Somebody Else"}}`
	json5 := map[string]string{"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
	if a := b.ask("POST", base+"/session", json5, body); a.StatusCode != 200 || !strings.Contains(a.text, p.ID) || strings.Contains(a.text, "Somebody") {
		t.Errorf("update: %d %s", a.StatusCode, a.text)
	}
	if a := b.ask("POST", base+"/session", json5, `{"data":{}}`); a.StatusCode != 400 || a.text != "null" {
		t.Errorf("update without a token: %d %s", a.StatusCode, a.text)
	}
	// Sign-out asks for the token too, and then really ends the session.
	kept := map[string]string{}
	for name, value := range b.cookies {
		kept[name] = value
	}
	if a := b.post("v5", base+"/signout", url.Values{}); a.StatusCode != 200 || a.url(t) != public+base+"/signin?error=MissingCSRF" {
		t.Errorf("sign-out without a token: %d %s", a.StatusCode, a.text)
	}
	if a := b.get(base + "/session"); a.text == "null" {
		t.Error("a sign-out without a token signed out")
	}
	if a := b.post("v5", base+"/signout", url.Values{"csrfToken": {b.csrf()}, "callbackUrl": {"/bye"}}); a.StatusCode != 200 || a.url(t) != public+"/bye" {
		t.Errorf("sign-out: %d %s", a.StatusCode, a.text)
	}
	if _, there := b.cookies["__Secure-authjs.session-token"]; there {
		t.Error("the session cookie was not cleared")
	}
	b.cookies = kept
	if a := b.get(base + "/session"); a.text != "null" {
		t.Errorf("the old cookies still sign in: %s", a.text)
	}
}

// A locked session is the same object, 200, so that clients do not sign out.
func TestLockedSession(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.V5)
	b := d.browser()
	b.signIn("v5", d.Add(identity.Nurse), nil)
	d.Advance(16 * time.Minute)
	a := b.get(base + "/session")
	if a.StatusCode != 200 || !strings.Contains(a.text, `"state":"locked"`) || !strings.Contains(a.text, "lock_expires_at") {
		t.Errorf("after 16 minutes: %d %s", a.StatusCode, a.text)
	}
}

func TestBadCSRF(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.V5)
	p := d.Add(identity.Nurse)
	for _, tt := range []struct {
		style, path string
		status      int
		lead        string
	}{
		{"v4", "/callback/key-pin", 200, "/signin?csrf=true"}, {"v5", "/callback/key-pin", 200, "/signin?error=MissingCSRF"},
		{"form", "/callback/key-pin", 302, "/signin?error=MissingCSRF"},
		{"v4", "/signout", 200, "/signout?csrf=true"}, {"v5", "/signout", 200, "/signin?error=MissingCSRF"},
		{"v4", "/signin/key-pin", 200, "/signin?csrf=true"}, {"v4", "/signin/unheard", 200, "/signin?csrf=true"},
		{"v5", "/signin/unheard", 200, "/error?error=Configuration"}, {"v5", "/callback/unheard", 200, "/error?error=Configuration"},
	} {
		b := d.browser()
		other := d.browser()
		f := url.Values{"identifier": {p.Email}, "key": {p.Key.Reveal()}, "pin": {p.PIN.Reveal()}, "csrfToken": {other.csrf()}}
		b.csrf()
		a := b.post(tt.style, base+tt.path, f)
		lead := a.Header.Get("Location")
		if tt.style != "form" {
			lead = a.url(t)
		}
		if a.StatusCode != tt.status || lead != public+base+tt.lead {
			t.Errorf("%s %s: %d to %s", tt.style, tt.path, a.StatusCode, lead)
		}
		if _, signed := b.cookies["__Secure-authjs.session-token"]; signed {
			t.Errorf("%s %s: signed in with another browser's token", tt.style, tt.path)
		}
	}
}

// Throttling is told in a way that both clients can show.
func TestThrottledClients(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.V5)
	nobody := mitraltest.Person{Email: "nobody@hope.example", Key: identity.NewKey(), PIN: "8264"}
	b := d.browser()
	token := b.csrf()
	f := func() url.Values {
		return url.Values{"identifier": {nobody.Email}, "key": {nobody.Key.Reveal()}, "pin": {"8264"}, "csrfToken": {token}}
	}
	for i := range 20 {
		if a := b.post("v4", base+"/callback/key-pin", f()); a.StatusCode != 401 {
			t.Fatalf("failure %d: %d %s", i, a.StatusCode, a.text)
		}
	}
	for _, style := range []string{"v4", "v5"} {
		a := b.post(style, base+"/callback/key-pin", f())
		if a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") == "" || a.url(t) != public+base+"/error?error=RateLimited&code=rate_limited" {
			t.Errorf("%s: %d %s", style, a.StatusCode, a.text)
		}
	}
	if a := b.post("form", base+"/callback/key-pin", f()); a.StatusCode != 302 || !strings.Contains(a.Header.Get("Location"), "error=RateLimited") {
		t.Errorf("form: %d %v", a.StatusCode, a.Header)
	}
	// What clients read all the time never counts.
	for range 30 {
		if a := b.get(base + "/session"); a.StatusCode != 200 {
			t.Fatalf("a session read: %d", a.StatusCode)
		}
	}
}

func TestCallbackURLs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.V5)
	p := d.Add(identity.Nurse)
	for asked, want := range map[string]string{
		"/work?x=1":                           public + "/work?x=1",
		public + "/work":                      public + "/work",
		"https://chart.clinic.example/p/7":    "https://chart.clinic.example/p/7",
		"//evil.example/x":                    public + "//evil.example/x",
		`/\evil.example`:                      public + `/%5Cevil.example`,
		"https://evil.example/":               public,
		"https://chart.clinic.example.evil/":  public,
		"https://chart.clinic.example@evil/":  public,
		"https://x@chart.clinic.example/":     public,
		"http://chart.clinic.example/":        public,
		"javascript:alert(1)":                 public,
		"data:text/html,x":                    public,
		"work":                                public,
		"https://chart.clinic.example:bad/":   public,
		"":                                    public,
		strings.Repeat("/", 3000):             public,
		"https://chart.clinic.example\\.evil": public,
	} {
		b := d.browser()
		a := b.signIn("v5", p, url.Values{"callbackUrl": {asked}})
		if a.StatusCode != 200 || a.url(t) != want {
			t.Errorf("%.60q leads to %s, want %s", asked, a.text, want)
		}
	}
	// From the query, and from the cookie that it leaves.
	b := d.browser()
	b.get(base + "/csrf?callbackUrl=" + url.QueryEscape("https://chart.clinic.example/deep"))
	f := url.Values{"identifier": {p.Email}, "key": {p.Key.Reveal()}, "pin": {p.PIN.Reveal()}}
	f.Set("csrfToken", cookieToken(b))
	if a := b.post("v5", base+"/callback/key-pin", f); a.url(t) != "https://chart.clinic.example/deep" {
		t.Errorf("the cookie's address was not used: %s", a.text)
	}
}

func cookieToken(b *browser) string {
	token, _, _ := strings.Cut(b.cookies["__Host-authjs.csrf-token"], "%7C")
	return token
}

func TestPagesLeadToOurs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		dialect    session.Dialect
		path, lead string
	}{
		{session.V5, base + "/signin", "/signin"},
		{session.V5, base + "/signin?callbackUrl=%2Fwork&error=CredentialsSignin&code=credentials", "/signin?callbackUrl=" + url.QueryEscape(public+"/work") + "&code=credentials&error=CredentialsSignin"},
		{session.V4, base + "/signin?csrf=true", "/signin?error=MissingCSRF"},
		{session.V5, base + "/signin?error=%3Cscript%3E", "/signin"},
		{session.V5, base + "/signin/key-pin", "/signin?error=Configuration"},
		{session.V4, base + "/signin/key-pin", "/signin"},
		{session.V5, base + "/error?error=AccessDenied", "/signin?error=AccessDenied"},
		{session.V5, base + "/error", "/signin?error=Configuration"},
		{session.V5, base + "/signout", "/account"},
		{session.V4, "/api/auth/signin?error=SessionRequired&callbackUrl=https%3A%2F%2Fchart.clinic.example%2F7",
			"/signin?callbackUrl=" + url.QueryEscape("https://chart.clinic.example/7") + "&error=SessionRequired"},
	} {
		a := newDesk(t, tt.dialect).browser().get(tt.path)
		if a.StatusCode != 302 || a.Header.Get("Location") != public+tt.lead {
			t.Errorf("%s %s: %d to %s, want %s", tt.dialect, tt.path, a.StatusCode, a.Header.Get("Location"), tt.lead)
		}
	}
}

func TestWhatTheProtocolLacks(t *testing.T) {
	t.Parallel()
	v4, v5 := newDesk(t, session.V4).browser(), newDesk(t, session.V5).browser()
	for _, tt := range []struct{ method, path string }{
		{"PUT", base + "/session"}, {"GET", base + "/callback/key-pin"}, {"DELETE", base + "/csrf"}, {"GET", base + "/webauthn-options/passkey"}, {"POST", base + "/providers"},
	} {
		if a := v5.ask(tt.method, tt.path, nil, ""); a.StatusCode != 400 || strings.TrimSpace(a.text) != `"Bad request."` {
			t.Errorf("v5 %s %s: %d %s", tt.method, tt.path, a.StatusCode, a.text)
		}
		if a := v4.ask(tt.method, tt.path, nil, ""); a.StatusCode != 400 || a.text != "Error: This action with HTTP "+tt.method+" is not supported by NextAuth.js" {
			t.Errorf("v4 %s %s: %d %s", tt.method, tt.path, a.StatusCode, a.text)
		}
	}
	for _, b := range []*browser{v4, v5} {
		if head, get := b.ask("HEAD", base+"/session", nil, ""), b.get(base+"/session"); head.StatusCode != 400 || get.StatusCode != 200 {
			t.Errorf("HEAD: %d, GET: %d", head.StatusCode, get.StatusCode)
		}
	}
	for _, path := range []string{base + "/_log", "/api/auth/_log"} {
		if a := v4.ask("POST", path, map[string]string{"Content-Type": "application/json"}, `{"message":"x"}`); a.StatusCode != 200 || a.text != "" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.text)
		}
		if a := v4.ask("POST", path, map[string]string{"Content-Type": "application/json"}, `"`+strings.Repeat("x", 70_000)+`"`); a.StatusCode != 413 {
			t.Errorf("a long %s: %d", path, a.StatusCode)
		}
	}
	// Bodies that are none are no fault, and sign nobody in.
	for kind, body := range map[string]string{"application/json": `{"csrfToken":`, "text/plain": "x", "application/x-www-form-urlencoded": "a=%ff", "": "x"} {
		if a := v5.ask("POST", base+"/callback/key-pin", map[string]string{"Content-Type": kind, "X-Auth-Return-Redirect": "1"}, body); a.StatusCode != 200 || a.url(t) != public+base+"/signin?error=MissingCSRF" {
			t.Errorf("%s: %d %s", kind, a.StatusCode, a.text)
		}
	}
	// Another site's post is refused before anything else, with an address.
	a := v5.ask("POST", base+"/signout", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, "")
	if a.StatusCode != 403 || !strings.Contains(a.text, "cross_site") || !strings.Contains(a.url(t), "error=AccessDenied") {
		t.Errorf("cross-site sign-out: %d %s", a.StatusCode, a.text)
	}
}

// The same on an application's own origin, whose proxy passes these paths on:
// addresses lead back there.
func TestApplicationsOrigin(t *testing.T) {
	t.Parallel()
	d := newDesk(t, session.V5)
	b := d.browser()
	b.host = "chart.clinic.example"
	if a := b.signIn("v5", d.Add(identity.Nurse), nil); a.url(t) != "https://chart.clinic.example/work" {
		t.Errorf("signing in leads to %s", a.text)
	}
}

// F34: what guards a post is the keyring's, and no cookie of another kind, or of
// a server that shares AUTH_SECRET alone, passes for it.
func TestF34CSRFIsNotAuthSecrets(t *testing.T) {
	t.Parallel()
	d, other := newDesk(t, session.V5), newDesk(t, session.V5)
	p := d.Add(identity.Nurse)
	b, stranger := d.browser(), other.browser()
	foreign := stranger.csrf()
	b.cookies["__Host-authjs.csrf-token"] = stranger.cookies["__Host-authjs.csrf-token"]
	f := url.Values{"identifier": {p.Email}, "key": {p.Key.Reveal()}, "pin": {p.PIN.Reveal()}, "csrfToken": {foreign}}
	if a := b.post("v5", base+"/callback/key-pin", f); a.url(t) != public+base+"/signin?error=MissingCSRF" {
		t.Errorf("another keyring's token: %s", a.text)
	}
	if a := b.signIn("v5", p, nil); a.url(t) != public+"/work" { // the control: its own token
		t.Errorf("its own token: %s", a.text)
	}
}
