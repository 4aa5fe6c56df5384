package edge_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

// desk is a server with the whole chain in front of a mux, over real HTTP.
type desk struct {
	*mitraltest.Clinic
	t      testing.TB
	mux    *http.ServeMux
	server *httptest.Server
	log    *buffer
}

// setting is what a test wants otherwise.
type setting struct {
	public  string // mitraltest.PublicURL by default
	apps    []session.App
	proxies []string
	only    bool
}

func newDesk(t testing.TB, s setting) *desk {
	t.Helper()
	d := &desk{Clinic: mitraltest.NewClinic(t, "sqlite:"+filepath.Join(t.TempDir(), "mitral.db"), ""), t: t, mux: http.NewServeMux(), log: &buffer{}}
	if s.public == "" {
		s.public = mitraltest.PublicURL
	}
	public, err := url.Parse(s.public)
	must(t, err)
	log := slog.New(slog.NewJSONHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d.Sessions, err = session.New(session.Config{DB: d.DB, Keys: d.Keys, PublicURL: public, Apps: s.apps, Log: log})
	must(t, err)
	d.Signin, err = signin.New(signin.Config{DB: d.DB, Keys: d.Keys, Sessions: d.Sessions, Outbox: d.Outbox, Slots: signin.NewSlots(d.DB.Clock().Now), Log: log})
	must(t, err)
	var proxies []netip.Prefix
	for _, p := range s.proxies {
		proxies = append(proxies, netip.MustParsePrefix(p))
	}
	e, err := edge.New(edge.Config{Sessions: d.Sessions, Signin: d.Signin, PublicURL: public, TrustedProxies: proxies, OnlyFromProxies: s.only,
		Now: d.DB.Clock().Now, Log: log})
	must(t, err)
	e.Mount(d.mux)
	d.server = httptest.NewServer(e.Wrap(d.mux))
	t.Cleanup(d.server.Close)
	return d
}

// ask is one request. Its Host is the public URL's unless the headers say so.
func (d *desk) ask(method, path, host string, headers map[string]string, body io.Reader) *answer {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.server.URL+path, body)
	must(d.t, err)
	r.Host = host
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	return d.do(r, nil)
}

func (d *desk) get(path string) *answer {
	d.t.Helper()
	return d.ask("GET", path, "localhost:8080", nil, nil)
}

// do sends a request as it is; from is the address that it comes from.
func (d *desk) do(r *http.Request, from net.IP) *answer {
	d.t.Helper()
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext},
	}
	resp, err := client.Do(r)
	must(d.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	must(d.t, err)
	return &answer{resp, string(text)}
}

type answer struct {
	*http.Response
	text string
}

// problem reads a problem document.
func (a *answer) problem(t *testing.T) map[string]any {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("the answer %d is %q, want a problem document: %s", a.StatusCode, got, a.text)
	}
	var p map[string]any
	must(t, json.Unmarshal([]byte(a.text), &p))
	return p
}

// browser is a jar with an address: cookies go wherever they are taken.
type browser struct {
	d       *desk
	cookies map[string]string
}

// signedIn is a browser in which somebody has signed in.
func (d *desk) signedIn(p mitraltest.Person) *browser {
	d.t.Helper()
	b := &browser{d, map[string]string{}}
	d.mux.HandleFunc("POST /test/sign-in/"+p.ID, func(w http.ResponseWriter, r *http.Request) {
		_, err := d.Signin.KeyPIN(r.Context(), edge.VisitOf(r.Context()), signin.KeyPIN{Identifier: p.Email, Key: p.Key, PIN: p.PIN})
		if err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	u, _ := url.Parse(d.server.URL)
	if a := b.ask("POST", "/test/sign-in/"+p.ID, hostOf(d), nil); a.StatusCode != http.StatusNoContent {
		d.t.Fatalf("signing in: %d %s (%s)", a.StatusCode, a.text, u.Host)
	}
	return b
}

func hostOf(d *desk) string {
	u, _ := url.Parse(d.Sessions.Apps()[len(d.Sessions.Apps())-1].Origin)
	return u.Host
}

func (b *browser) ask(method, path, host string, headers map[string]string) *answer {
	b.d.t.Helper()
	r, err := http.NewRequestWithContext(b.d.t.Context(), method, b.d.server.URL+path, nil)
	must(b.d.t, err)
	r.Host = host
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	a := b.d.do(r, nil)
	for _, c := range a.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return a
}

type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in %q", part, text)
	}
}
