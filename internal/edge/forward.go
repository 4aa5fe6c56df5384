package edge

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

const forwardPath = "/api/v1/authz/forward"

// The headers by which an application behind the proxy knows who is there.
// Every one is in every answer, empty where there is nothing to say: a proxy
// that copies what is there would else pass on what a client sent.
var forwardHeaders = []string{"X-Mitral-User", "X-Mitral-Email", "X-Mitral-Name", "X-Mitral-Roles", "X-Mitral-Workspace",
	"X-Mitral-Session", "X-Mitral-Acr", "X-Mitral-Break-Glass", "X-Mitral-Token"}

// Mount adds the forward check to a mux.
func (e *Edge) Mount(mux *http.ServeMux) {
	mux.HandleFunc("GET "+forwardPath, e.forward)
}

// asked is the request that a proxy asks about.
type asked struct {
	app    session.App
	origin string
	uri    string // what a page load comes back to
	page   bool   // a browser loads a page, and can be sent to sign in
	status bool   // the proxy understands statuses only (nginx)
}

// forward answers whether a request may pass to an application: 200 with who
// asks, 302 to the sign-in page for page loads, else 401, 423, 403 or 503.
func (e *Edge) forward(w http.ResponseWriter, r *http.Request) {
	for _, name := range forwardHeaders {
		w.Header()[name] = []string{""}
	}
	a, err := e.asked(r)
	if err != nil {
		WriteProblem(w, r, err)
		return
	}
	v := VisitOf(r.Context())
	live, err := e.sessions.Check(r.Context(), v, session.Peek)
	if err == nil {
		err = e.serves(r, a, live)
	}
	if err == nil && r.Header.Get("Sec-Fetch-User") == "?1" {
		e.sessions.Touch(live)
	}
	var token string
	if err == nil {
		token, err = e.tokens.get(r.Context(), e.sessions, live, a.app.Audience, e.now())
	}
	if err != nil {
		e.refuseForward(w, r, a, err)
		return
	}
	h := w.Header()
	h.Set("X-Mitral-User", live.UserID)
	h.Set("X-Mitral-Email", live.Email)
	h.Set("X-Mitral-Name", url.PathEscape(live.Name))
	h.Set("X-Mitral-Roles", string(live.Role))
	h.Set("X-Mitral-Workspace", live.WorkspaceID)
	h.Set("X-Mitral-Session", live.ID)
	h.Set("X-Mitral-Acr", string(live.ACR))
	if live.Grant != nil {
		h.Set("X-Mitral-Break-Glass", live.Grant.ID)
	}
	h.Set("X-Mitral-Token", token)
	w.WriteHeader(http.StatusOK)
}

// asked reads the request that is asked about: from a declared proxy's
// X-Forwarded-… headers, else from this request's own Host. Anybody else who
// sends such headers is refused, so that nobody takes the answer for another
// application's.
func (e *Edge) asked(r *http.Request) (asked, error) {
	h := r.Header
	a := asked{origin: OriginOf(r.Context()), uri: "/", page: h.Get("Sec-Fetch-Mode") == "navigate", status: r.URL.Query().Get("style") == "status"}
	if forwarded(h) {
		if !e.fromProxy(r) {
			return a, identity.Refuse(identity.Forbidden, "not_a_proxy", "Forwarded headers count from declared proxies only: see MITRAL_TRUSTED_PROXIES.")
		}
		host, proto := only(h, "X-Forwarded-Host"), only(h, "X-Forwarded-Proto")
		if host == "" && len(h.Values("X-Forwarded-Host")) == 0 {
			host = r.Host
		}
		if proto == "" && len(h.Values("X-Forwarded-Proto")) == 0 {
			proto, _, _ = strings.Cut(e.public, "://")
		}
		a.origin = e.originAt(strings.ToLower(proto), strings.ToLower(host))
		if uri := only(h, "X-Forwarded-Uri"); isLocal(uri) && isLoad(only(h, "X-Forwarded-Method")) {
			a.uri = uri
		}
	}
	app, ok := e.sessions.AppAt(a.origin)
	if !ok {
		return a, identity.Refuse(identity.Forbidden, "unknown_app", "No application is registered under this address: see MITRAL_APPS.")
	}
	a.app = app
	return a, nil
}

func forwarded(h http.Header) bool {
	for _, name := range []string{"X-Forwarded-Method", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri"} {
		if len(h.Values(name)) > 0 {
			return true
		}
	}
	return false
}

// only returns the one value of a header; two of them, also in one line, are
// none: somebody before the proxy may have sent the first.
func only(h http.Header, name string) string {
	values := h.Values(name)
	if len(values) != 1 || name != "X-Forwarded-Uri" && strings.Contains(values[0], ",") {
		return ""
	}
	return values[0]
}

// originAt returns the application's origin behind a scheme and a host, or "".
func (e *Edge) originAt(proto, host string) string {
	if origin := e.hosts[host]; strings.HasPrefix(origin, proto+"://") {
		return origin
	}
	// Two applications may share a host and differ in the scheme.
	for _, app := range e.sessions.Apps() {
		for _, h := range hostsOf(app.Origin) {
			if h == host && strings.HasPrefix(app.Origin, proto+"://") {
				return app.Origin
			}
		}
	}
	return ""
}

// isLocal reports a path and query that stay on their origin.
func isLocal(uri string) bool {
	return strings.HasPrefix(uri, "/") && !strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' })
}

// isLoad reports whether the address can be loaded again: a form's post can't.
func isLoad(method string) bool {
	return method == "" || method == http.MethodGet || method == http.MethodHead
}

// serves refuses people whom the application is not there for, and leaves an
// event of that.
func (e *Edge) serves(r *http.Request, a asked, live *session.Live) error {
	if a.app.Serves(live) {
		return nil
	}
	refusal := identity.Refuse(identity.Forbidden, "app_forbidden", "This application is not open to you. Ask an administrator if you need it.")
	return e.signin.RecordRefusal(r.Context(), signin.Who{Live: live, Visit: VisitOf(r.Context())}, live.WorkspaceID, "forward", refusal)
}

// refuseForward answers no in the way that the proxy and the browser behind it
// can use.
func (e *Edge) refuseForward(w http.ResponseWriter, r *http.Request, a asked, err error) {
	p := ProblemOf(r.Context(), err)
	signInAgain := p.Status == http.StatusUnauthorized || p.Status == http.StatusLocked
	if !signInAgain {
		writeProblem(w, p)
		return
	}
	reason := "signed_out"
	if p.Status == http.StatusLocked {
		reason = "locked"
	}
	w.Header().Set("X-Mitral-Reason", reason)
	signIn := a.origin + "/signin?callbackUrl=" + url.QueryEscape(a.origin+a.uri)
	switch {
	case a.status:
		if a.page {
			w.Header().Set("X-Mitral-Redirect", signIn)
		}
		p.Status, p.Title = http.StatusUnauthorized, http.StatusText(http.StatusUnauthorized)
		writeProblem(w, p)
	case a.page:
		w.Header().Set("Location", signIn)
		w.WriteHeader(http.StatusFound)
	default:
		writeProblem(w, p)
	}
}

const (
	tokenLife = time.Minute
	tokenKeep = 30 * time.Second // a kept token has this much left at least
	tokensMax = 20_000
)

// tokens keeps the access tokens of the forward check, so that a page of fifty
// requests is one signature. The zero value is ready.
type tokens struct {
	mu   sync.Mutex // held for a look or a store, never while signing
	kept map[tokenKey]keptToken
}

// tokenKey is all that a token says: when any of it changes there is another.
type tokenKey struct {
	session, audience, role, acr, grant string
	authTime, freshAt                   int64
}

type keptToken struct {
	text string
	ends time.Time
}

// get returns a token with 30 to 60 seconds left; less only where the session
// or its grant ends before.
func (t *tokens) get(ctx context.Context, m *session.Manager, live *session.Live, audience string, now time.Time) (string, error) {
	key := tokenKey{live.ID, audience, string(live.Role), string(live.ACR), "", live.AuthTime.UnixMicro(), live.FreshAt.UnixMicro()}
	if live.Grant != nil {
		key.grant = live.Grant.ID + " " + strconv.FormatInt(live.Grant.ExpiresAt.UnixMicro(), 10)
	}
	t.mu.Lock()
	k, ok := t.kept[key]
	t.mu.Unlock()
	if ok && k.ends.Sub(now) >= tokenKeep {
		return k.text, nil
	}
	text, left, err := m.AccessToken(ctx, live, audience, tokenLife)
	if err != nil {
		return "", err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.kept) >= tokensMax {
		for old, k := range t.kept {
			if k.ends.Sub(now) < tokenKeep {
				delete(t.kept, old)
			}
		}
	}
	if t.kept == nil || len(t.kept) >= tokensMax {
		t.kept = map[tokenKey]keptToken{}
	}
	t.kept[key] = keptToken{text, now.Add(left)}
	return text, nil
}
