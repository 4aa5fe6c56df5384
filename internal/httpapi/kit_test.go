package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/httpapi"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/record"
)

// desk is a clinic behind the chain and this API, over real HTTP.
type desk struct {
	*mitraltest.Clinic
	t      *testing.T
	api    *httpapi.API
	server *httptest.Server
	stop   chan struct{}
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return deskOf(t, mitraltest.NewClinic(t, "sqlite:"+filepath.Join(t.TempDir(), "mitral.db"), ""))
}

// onBoth runs a journey on SQLite and on PostgreSQL.
func onBoth(t *testing.T, journey func(*testing.T, *desk)) {
	t.Helper()
	t.Parallel()
	mitraltest.ForEachDatabase(t, func(t *testing.T, c *mitraltest.Clinic) { journey(t, deskOf(t, c)) })
}

func deskOf(t *testing.T, c *mitraltest.Clinic) *desk {
	t.Helper()
	d := &desk{Clinic: c, t: t, stop: make(chan struct{})}
	log := slog.New(slog.DiscardHandler)
	public, err := url.Parse(mitraltest.PublicURL)
	must(t, err)
	b, err := breakglass.New(breakglass.Config{DB: d.DB, Keys: d.Keys, Sessions: d.Sessions, Signin: d.Signin, Directory: d.Directory, Outbox: d.Outbox,
		Recorder: d.Recorder, PublicURL: mitraltest.PublicURL, Log: log})
	must(t, err)
	e, err := edge.New(edge.Config{Sessions: d.Sessions, Signin: d.Signin, PublicURL: public, Now: d.DB.Clock().Now, Log: log})
	must(t, err)
	d.api, err = httpapi.New(httpapi.Config{Sessions: d.Sessions, Signin: d.Signin, Directory: d.Directory, BreakGlass: b, Recorder: d.Recorder, Keys: d.Keys,
		Export: func(ctx context.Context, in record.ExportInput, w io.Writer) error {
			return record.Export(ctx, d.DB, in, w)
		},
		Now:      d.DB.Clock().Now,
		Stopping: d.stop,
		Log:      log})
	must(t, err)
	mux := http.NewServeMux()
	e.Mount(mux)
	d.api.Mount(mux)
	d.server = httptest.NewServer(e.Wrap(mux))
	t.Cleanup(d.server.Close)
	return d
}

// record runs the recorder until the test ends.
func (d *desk) record() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = d.Recorder.Run(ctx) }()
	d.t.Cleanup(func() { stop(); <-done })
}

// browser keeps cookies and comes from an address range of its own.
type browser struct {
	*desk
	cookies map[string]string
	from    net.IP
}

func (d *desk) browser() *browser {
	return &browser{d, map[string]string{}, d.NewDevice().IP.AsSlice()}
}

// signedIn is a browser in which somebody has signed in.
func (d *desk) signedIn(p mitraltest.Person) *browser {
	d.t.Helper()
	b := d.browser()
	if a := b.signIn(p); a.status != 200 || a.get("state") != "signed_in" {
		d.t.Fatalf("signing in: %d %s", a.status, a.text)
	}
	return b
}

func (b *browser) signIn(p mitraltest.Person) *answer {
	b.t.Helper()
	return b.post("/api/v1/auth/key-pin", object{"identifier": p.Email, "key": p.Key.Reveal(), "pin": p.PIN.Reveal()})
}

// confirm gets a step-up token.
func (b *browser) confirm(p mitraltest.Person, action string) map[string]string {
	b.t.Helper()
	a := b.post("/api/v1/session/step-up", object{"action": action, "method": "pin", "pin": p.PIN.Reveal()}).must(200)
	return map[string]string{"Mitral-Step-Up": a.get("step_up_token").(string)}
}

type object map[string]any

type answer struct {
	t      *testing.T
	status int
	header http.Header
	text   string
}

// ask sends a body as it is; a string body has no media type of its own.
func (b *browser) ask(method, path string, headers map[string]string, body string) *answer {
	b.t.Helper()
	var sent io.Reader
	if body != "" {
		sent = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.server.URL+path, sent)
	must(b.t, err)
	r.Host = "localhost:8080"
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: b.from}}).DialContext},
	}
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
	return &answer{b.t, resp.StatusCode, resp.Header, string(text)}
}

func (b *browser) get(path string) *answer { b.t.Helper(); return b.ask("GET", path, nil, "") }

func (b *browser) send(method, path string, body any, headers map[string]string) *answer {
	b.t.Helper()
	text, err := json.Marshal(body)
	must(b.t, err)
	all := map[string]string{"Content-Type": "application/json"}
	for name, value := range headers {
		all[name] = value
	}
	return b.ask(method, path, all, string(text))
}

func (b *browser) post(path string, body any) *answer {
	b.t.Helper()
	return b.send("POST", path, body, nil)
}

// must fails the test unless the answer has this status.
func (a *answer) must(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%d %s, want %d", a.status, a.text, status)
	}
	return a
}

// refused fails the test unless the answer is this problem.
func (a *answer) refused(status int, code string) *answer {
	a.t.Helper()
	if a.status != status || a.header.Get("Content-Type") != "application/problem+json" || a.get("code") != code {
		a.t.Errorf("%d %s, want %d %s", a.status, a.text, status, code)
	}
	return a
}

// get follows members and indexes into the answer's JSON; nil where there is
// nothing.
func (a *answer) get(path ...any) any {
	a.t.Helper()
	var v any
	must(a.t, json.Unmarshal([]byte(a.text), &v))
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

// events counts the recorded events of a type and outcome.
func (d *desk) events(typ string, outcome audit.Outcome) int {
	n := 0
	for _, e := range d.Events() {
		if e.Type == typ && e.Outcome == string(outcome) {
			n++
		}
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
