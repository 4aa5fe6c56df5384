package authjs_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/authjs"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

const (
	public = "https://auth.clinic.example"
	base   = "/api/v1/auth"
)

// desk is a server with the chain and this door, over real HTTP.
type desk struct {
	*mitraltest.Clinic
	t      *testing.T
	server *httptest.Server
}

func newDesk(t *testing.T, dialect session.Dialect) *desk {
	t.Helper()
	d := &desk{Clinic: mitraltest.NewClinic(t, "sqlite:"+filepath.Join(t.TempDir(), "mitral.db"), ""), t: t}
	address, err := url.Parse(public)
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	d.Sessions, err = session.New(session.Config{DB: d.DB, Keys: d.Keys, PublicURL: address, Dialect: dialect,
		Apps: []session.App{{Origin: "https://chart.clinic.example"}}, Log: log})
	must(t, err)
	d.Signin, err = signin.New(signin.Config{DB: d.DB, Keys: d.Keys, Sessions: d.Sessions, Outbox: d.Outbox, Slots: signin.NewSlots(d.DB.Clock().Now), Log: log})
	must(t, err)
	e, err := edge.New(edge.Config{Sessions: d.Sessions, Signin: d.Signin, PublicURL: address, Now: d.DB.Clock().Now, Log: log})
	must(t, err)
	door, err := authjs.New(authjs.Config{Sessions: d.Sessions, Signin: d.Signin, Keys: d.Keys, Log: log})
	must(t, err)
	mux := http.NewServeMux()
	door.Mount(mux)
	d.server = httptest.NewServer(e.Wrap(mux))
	t.Cleanup(d.server.Close)
	return d
}

// browser keeps cookies by name, wherever it is led.
type browser struct {
	*desk
	cookies map[string]string
	host    string
}

func (d *desk) browser() *browser {
	return &browser{d, map[string]string{}, "auth.clinic.example"}
}

type answer struct {
	*http.Response
	text string
}

func (b *browser) ask(method, path string, headers map[string]string, body string) *answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, strings.NewReader(body))
	must(b.t, err)
	r.Host = b.host
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	must(b.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	must(b.t, err)
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return &answer{resp, string(text)}
}

func (b *browser) get(path string) *answer { b.t.Helper(); return b.ask("GET", path, nil, "") }

// post sends a form as one dialect's client does: v4 asks for JSON in the body,
// v5 by a header, "form" not at all.
func (b *browser) post(style, path string, fields url.Values) *answer {
	b.t.Helper()
	headers := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
	switch style {
	case "v4":
		fields.Set("json", "true")
	case "v5":
		headers["X-Auth-Return-Redirect"] = "1"
	}
	return b.ask("POST", path, headers, fields.Encode())
}

// csrf fetches the token and keeps its cookie.
func (b *browser) csrf() string {
	b.t.Helper()
	var out struct {
		Token string `json:"csrfToken"`
	}
	must(b.t, json.Unmarshal([]byte(b.get(base+"/csrf").text), &out))
	return out.Token
}

// signIn sends credentials in a style.
func (b *browser) signIn(style string, p mitraltest.Person, more url.Values) *answer {
	b.t.Helper()
	f := url.Values{"identifier": {p.Email}, "key": {p.Key.Reveal()}, "pin": {p.PIN.Reveal()}, "csrfToken": {b.csrf()}, "callbackUrl": {"/work"}}
	for name, values := range more {
		f[name] = values
	}
	return b.post(style, base+"/callback/key-pin", f)
}

func (a *answer) url(t *testing.T) string {
	t.Helper()
	var out struct {
		URL string `json:"url"`
	}
	must(t, json.Unmarshal([]byte(a.text), &out))
	u, err := url.Parse(out.URL)
	if err != nil || !u.IsAbs() {
		t.Errorf("the answer's url is %q, want an absolute one: %s", out.URL, a.text)
	}
	return out.URL
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
