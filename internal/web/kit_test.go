package web_test

import (
	"context"
	"crypto/tls"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
	"github.com/mitral-health/mitral/internal/web"
	"github.com/mitral-health/mitral/internal/web/view"
)

// desk is a clinic and its pages behind the chain, over real HTTP.
type desk struct {
	*mitraltest.Clinic
	t      *testing.T
	public *url.URL
	server *httptest.Server
	token  identity.Secret // of setup
}

func newDesk(t *testing.T, more ...func(*web.Config)) *desk {
	t.Helper()
	c := mitraltest.NewClinic(t, "sqlite:"+filepath.Join(t.TempDir(), "mitral.db"), "")
	return open(t, c, mitraltest.PublicURL, more...)
}

// open puts the pages in front of a clinic.
func open(t *testing.T, c *mitraltest.Clinic, publicURL string, more ...func(*web.Config)) *desk {
	t.Helper()
	public, err := url.Parse(publicURL)
	need(t, err)
	d := &desk{Clinic: c, t: t, public: public, token: identity.NewToken()}
	log := slog.New(slog.DiscardHandler)
	b, err := breakglass.New(breakglass.Config{DB: d.DB, Keys: d.Keys, Sessions: d.Sessions, Signin: d.Signin, Directory: d.Directory, Outbox: d.Outbox,
		Recorder: d.Recorder, PublicURL: publicURL, Log: log})
	need(t, err)
	config := web.Config{Sessions: d.Sessions, Signin: d.Signin, Directory: d.Directory, BreakGlass: b, Recorder: d.Recorder, Keys: d.Keys,
		PublicURL: public, Now: d.DB.Clock().Now, Mail: true, Version: "Mitral test", Log: log,
		SetupToken: func(token string) bool { return d.token.Equal(identity.Secret(token)) },
		Checks: func(context.Context) []view.HealthCheck {
			return []view.HealthCheck{{Name: "Clock", Detail: "It is right.", Tone: view.Good}}
		}}
	for _, m := range more {
		m(&config)
	}
	pages, err := web.New(config)
	need(t, err)
	e, err := edge.New(edge.Config{Sessions: d.Sessions, Signin: d.Signin, PublicURL: public, Now: d.DB.Clock().Now, Log: log})
	need(t, err)
	mux := http.NewServeMux()
	e.Mount(mux)
	pages.Mount(mux)
	d.server = httptest.NewUnstartedServer(e.Wrap(mux))
	if public.Scheme == "https" {
		d.server.StartTLS()
	} else {
		d.server.Start()
	}
	t.Cleanup(d.server.Close)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Recorder.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return d
}

// newEmptyDesk is a server on which nobody has set anything up.
func newEmptyDesk(t *testing.T, publicURL string, apps ...session.App) *desk {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	c := &mitraltest.Clinic{Sent: &mitraltest.Sent{}}
	var err error
	c.DB, err = store.Open(store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "mitral.db"), Fold: &audit.Fold{}, Log: log})
	need(t, err)
	t.Cleanup(func() { _ = c.DB.Close() })
	need(t, c.DB.Migrate(context.Background(), ""))
	kek, err := keyring.NewKEK()
	need(t, err)
	wrapped, err := keyring.Create(kek, "localhost/log/1", c.DB.Clock().Now())
	need(t, err)
	c.Keys, err = keyring.Open(kek, wrapped, keyring.Config{Costs: mitraltest.LowCosts})
	need(t, err)
	var first []store.FirstKeyset
	for _, w := range wrapped {
		first = append(first, store.FirstKeyset{Name: w.Name, Blob: w.Blob})
	}
	_, err = c.DB.Found(context.Background(), identity.NewID(identity.InstallID), c.Keys.LogOrigin(), c.Keys.LogVerifierKey(), first)
	need(t, err)
	c.Outbox = notify.New(notify.Config{DB: c.DB, Keys: c.Keys, Mail: c.Sent, SMS: c.Sent, Clock: c.DB.Clock(), Log: log})
	c.Recorder = record.New(record.Config{DB: c.DB, Keys: c.Keys, Holder: identity.NewID(identity.NodeID), Log: log})
	public, err := url.Parse(publicURL)
	need(t, err)
	c.Sessions, err = session.New(session.Config{DB: c.DB, Keys: c.Keys, PublicURL: public, Apps: apps, Log: log})
	need(t, err)
	c.Signin, err = signin.New(signin.Config{DB: c.DB, Keys: c.Keys, Sessions: c.Sessions, Outbox: c.Outbox, Slots: signin.NewSlots(c.DB.Clock().Now), Log: log})
	need(t, err)
	c.Directory, err = directory.New(directory.Config{DB: c.DB, Keys: c.Keys, Sessions: c.Sessions, Signin: c.Signin, Outbox: c.Outbox, PublicURL: publicURL, Log: log})
	need(t, err)
	return open(t, c, publicURL)
}

// browser keeps cookies, comes from an address range of its own, and sends forms
// as a browser without JavaScript does.
type browser struct {
	*desk
	client *http.Client
	from   string // of the page that is open
}

func (d *desk) browser() *browser {
	d.t.Helper()
	jar, err := cookiejar.New(nil)
	need(d.t, err)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: d.NewDevice().IP.AsSlice()}}
	address := d.server.Listener.Addr().String()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	d.t.Cleanup(transport.CloseIdleConnections)
	return &browser{d, &http.Client{Jar: jar, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, ""}
}

// page is what a browser shows after it has followed where it was led.
type page struct {
	t      *testing.T
	status int
	url    *url.URL
	header http.Header
	text   string
	steps  []string // the addresses that led here
}

// get opens an address as a person does.
func (b *browser) get(path string) *page {
	b.t.Helper()
	return b.follow(http.MethodGet, path, nil, nil)
}

// post sends form fields as they are.
func (b *browser) post(path string, form url.Values) *page {
	b.t.Helper()
	return b.follow(http.MethodPost, path, form, nil)
}

// submit fills the form of the open page that posts to action, and sends it
// with everything that stands in it.
func (b *browser) submit(p *page, action string, fields ...string) *page {
	b.t.Helper()
	form := p.form(action)
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.post(action, form)
}

// follow asks, and goes where the answer leads, ten times at most.
func (b *browser) follow(method, path string, form url.Values, header http.Header) *page {
	b.t.Helper()
	at := b.public.ResolveReference(parsed(b.t, path))
	var steps []string
	for range 10 {
		resp := b.once(method, at, form, header)
		body, err := io.ReadAll(resp.Body)
		need(b.t, err)
		_ = resp.Body.Close()
		steps = append(steps, at.RequestURI())
		if resp.StatusCode != http.StatusSeeOther {
			b.from = at.String()
			return &page{b.t, resp.StatusCode, at, resp.Header, string(body), steps}
		}
		at = at.ResolveReference(parsed(b.t, resp.Header.Get("Location")))
		method, form = http.MethodGet, nil
		if at.Host != b.public.Host {
			return &page{b.t, resp.StatusCode, at, resp.Header, "", append(steps, at.String())}
		}
	}
	b.t.Fatalf("led in circles: %v", steps)
	return nil
}

func (b *browser) once(method string, at *url.URL, form url.Values, header http.Header) *http.Response {
	b.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, at.String(), strings.NewReader(form.Encode()))
	need(b.t, err)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Sec-Fetch-User", "?1")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36")
	if b.from != "" {
		r.Header.Set("Referer", b.from)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.public.Scheme+"://"+b.public.Host)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := b.client.Do(r)
	need(b.t, err)
	return resp
}

// forget drops the session cookie, as a browser does after two minutes.
func (b *browser) forget() {
	for _, c := range b.client.Jar.Cookies(b.public) {
		if strings.Contains(c.Name, "session-token") {
			c.MaxAge, c.Path = -1, "/"
			b.client.Jar.SetCookies(b.public, []*http.Cookie{c})
		}
	}
}

// cookie returns the value of the cookie whose name contains part.
func (b *browser) cookie(part string) string {
	for _, c := range b.client.Jar.Cookies(b.public) {
		if strings.Contains(c.Name, part) {
			return c.Value
		}
	}
	return ""
}

// signIn signs somebody in by the two steps of the form, and returns where that
// led.
func (b *browser) signIn(who mitraltest.Person) *page {
	b.t.Helper()
	p := b.get("/signin?resume=0")
	p = b.submit(p, view.PostSignIn, "identifier", who.Email, "key", who.Key.Reveal())
	return b.submit(p, view.PostSignIn, "pin", who.PIN.Reveal())
}

// signedIn is a browser in which somebody has signed in.
func (d *desk) signedIn(who mitraltest.Person) *browser {
	d.t.Helper()
	b := d.browser()
	b.signIn(who).is(http.StatusOK)
	return b
}

// is fails unless the page has the status, and returns it.
func (p *page) is(status int) *page {
	p.t.Helper()
	if p.status != status {
		p.t.Fatalf("%s is %d, want %d: %s", strings.Join(p.steps, " → "), p.status, status, p.words())
	}
	return p
}

// at fails unless the page is at a path.
func (p *page) at(path string) *page {
	p.t.Helper()
	if p.url.Path != path {
		p.t.Fatalf("led to %s, want %s: %s", strings.Join(p.steps, " → "), path, p.words())
	}
	return p
}

// says fails unless the page says all of it.
func (p *page) says(words ...string) *page {
	p.t.Helper()
	text := p.words()
	for _, w := range words {
		if !strings.Contains(text, w) {
			p.t.Fatalf("%s (%d) does not say %q: %s", p.url.Path, p.status, w, text)
		}
	}
	return p
}

// hides fails if the page holds any of it, anywhere.
func (p *page) hides(words ...string) *page {
	p.t.Helper()
	for _, w := range words {
		if strings.Contains(p.text, w) {
			p.t.Fatalf("%s holds %q", p.url.Path, w)
		}
	}
	return p
}

var (
	tags      = regexp.MustCompile(`(?s)<(script|style|svg)\b.*?</(script|style|svg)>|<[^>]*>`)
	spaces    = regexp.MustCompile(`\s+`)
	forms     = regexp.MustCompile(`(?s)<form\b([^>]*)>(.*?)</form>`)
	controls  = regexp.MustCompile(`(?s)<(input|textarea|select)\b([^>]*)>`)
	attribute = regexp.MustCompile(`([a-z_-]+)(?:="([^"]*)")?`)
	options   = regexp.MustCompile(`(?s)<option\b([^>]*)>`)
)

// words is the page's text as it is read.
func (p *page) words() string {
	text := spaces.ReplaceAllString(html.UnescapeString(tags.ReplaceAllString(p.text, " ")), " ")
	return strings.TrimSpace(strings.NewReplacer(" ,", ",", " .", ".").Replace(text))
}

// form is what the form that posts to action holds as it was loaded.
func (p *page) form(action string) url.Values {
	p.t.Helper()
	for _, f := range forms.FindAllStringSubmatch(p.text, -1) {
		if attributes(f[1])["action"] == action {
			return fieldsOf(f[2])
		}
	}
	p.t.Fatalf("%s (%d) has no form for %s: %s", p.url.Path, p.status, action, p.words())
	return nil
}

// hasForm reports whether a form of the page posts to action.
func (p *page) hasForm(action string) bool {
	for _, f := range forms.FindAllStringSubmatch(p.text, -1) {
		if attributes(f[1])["action"] == action {
			return true
		}
	}
	return false
}

func fieldsOf(body string) url.Values {
	out := url.Values{}
	for _, at := range controls.FindAllStringSubmatchIndex(body, -1) {
		kind, a := body[at[2]:at[3]], attributes(body[at[4]:at[5]])
		name, value := a["name"], a["value"]
		_, checked := a["checked"]
		switch {
		case name == "", (a["type"] == "checkbox" || a["type"] == "radio") && !checked:
			continue
		case kind == "textarea":
			rest, _, _ := strings.Cut(body[at[1]:], "</textarea>")
			value = html.UnescapeString(rest)
		case kind == "select":
			rest, _, _ := strings.Cut(body[at[1]:], "</select>")
			value = chosen(rest)
		}
		out.Add(name, value)
	}
	return out
}

func chosen(list string) string {
	first := ""
	for i, o := range options.FindAllStringSubmatch(list, -1) {
		a := attributes(o[1])
		if _, ok := a["selected"]; ok {
			return a["value"]
		}
		if i == 0 {
			first = a["value"]
		}
	}
	return first
}

func attributes(text string) map[string]string {
	out := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(text, -1) {
		out[m[1]] = html.UnescapeString(m[2])
	}
	return out
}

// find returns the first part of the page that the expression's group matches.
func (p *page) find(expression string) string {
	p.t.Helper()
	m := regexp.MustCompile(expression).FindStringSubmatch(p.text)
	if m == nil {
		p.t.Fatalf("%s has nothing like %s: %s", p.url.Path, expression, p.words())
	}
	return html.UnescapeString(m[1])
}

func parsed(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	need(t, err)
	return u
}

func need(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// events counts the workspace's events of a type and outcome.
func (d *desk) events(kind string, outcome audit.Outcome) int {
	n := 0
	for _, e := range d.Events() {
		if e.Type == kind && e.Outcome == string(outcome) {
			n++
		}
	}
	return n
}
