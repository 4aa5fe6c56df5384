package authjs

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

// Config is what the door works with. All fields are needed but Log.
type Config struct {
	Sessions *session.Manager
	Signin   *signin.Machine
	Keys     *keyring.Ring
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Door answers Auth.js clients. It is safe for concurrent use.
type Door struct {
	sessions *session.Manager
	signin   *signin.Machine
	keys     *keyring.Ring
	log      *slog.Logger
	v4       bool
	secure   bool
}

// base is the path that clients are configured with.
const base = "/api/v1/auth"

// keyPIN is the id of the one provider that this version has; its type is
// credentials.
const keyPIN = "key-pin"

// New makes the door.
func New(c Config) (*Door, error) {
	if c.Sessions == nil || c.Signin == nil || c.Keys == nil {
		return nil, errors.New("authjs: Sessions, Signin and Keys are needed")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Door{sessions: c.Sessions, signin: c.Signin, keys: c.Keys, log: c.Log,
		v4: c.Sessions.Dialect() == session.V4, secure: c.Sessions.Secure()}, nil
}

// Mount adds the routes to a mux that stands behind edge.Wrap.
func (d *Door) Mount(mux *http.ServeMux) {
	routes := map[string]func(http.ResponseWriter, *http.Request, *visit){
		"GET " + base + "/session":              d.session,
		"POST " + base + "/session":             d.update,
		"GET " + base + "/csrf":                 d.csrf,
		"GET " + base + "/providers":            d.providers,
		"GET " + base + "/signin":               d.signInPage,
		"GET " + base + "/signin/{provider}":    d.signInPage,
		"POST " + base + "/signin/{provider}":   d.start,
		"POST " + base + "/callback/{provider}": d.callback,
		"GET " + base + "/signout":              d.signOutPage,
		"POST " + base + "/signout":             d.signOut,
		"GET " + base + "/error":                d.errorPage,
		"GET " + base + "/verify-request":       d.errorPage,
		"POST " + base + "/_log":                d.clientLog,
		"POST /api/auth/_log":                   d.clientLog,
		"GET /api/auth/signin":                  d.fixedSignIn,
		"GET " + base + "/callback/{provider}":  d.unsupported,
		base + "/session":                       d.unsupported,
		base + "/csrf":                          d.unsupported,
		base + "/providers":                     d.unsupported,
		base + "/signin":                        d.unsupported,
		base + "/signin/{provider}":             d.unsupported,
		base + "/callback/{provider}":           d.unsupported,
		base + "/signout":                       d.unsupported,
		base + "/error":                         d.unsupported,
		base + "/verify-request":                d.unsupported,
		base + "/_log":                          d.unsupported,
		base + "/webauthn-options/{provider}":   d.unsupported,
		"/api/auth/":                            d.unsupported,
	}
	for pattern, handle := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Vary", "Cookie")
			if r.Method == http.MethodHead { // which a mux takes for GET, and the protocol does not
				d.unsupported(w, r, nil)
				return
			}
			handle(w, r, d.visit(w, r))
		})
	}
}

// visit is one request of a client, read once.
type visit struct {
	*session.Visit
	origin string     // the public origin that the client knows
	form   url.Values // the body's fields, from a form or from JSON; none when there is no readable body
	tooBig error      // a body over the limit
	fetch  style
}

// style is in which way the client wants its answer.
type style int

const (
	formPost style = iota // a redirect
	fetchV4               // JSON, by the statuses of v4
	fetchV5               // JSON, by those of v5
)

func (d *Door) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{Visit: edge.VisitOf(r.Context()), origin: edge.OriginOf(r.Context()), form: url.Values{}}
	if r.Method == http.MethodPost {
		v.form, v.tooBig = readBody(w, r)
	}
	switch {
	case len(r.Header.Values("X-Auth-Return-Redirect")) > 0:
		v.fetch = fetchV5
	case v.form.Get("json") == "true":
		v.fetch = fetchV4
	}
	return v
}

// readBody returns the fields of a form or a flat JSON object. Anything else is
// no body, as in the original; only one that is too large is refused.
func readBody(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	fields := url.Values{}
	var tooBig *http.MaxBytesError
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if strings.TrimSpace(strings.ToLower(kind)) == "application/x-www-form-urlencoded" {
		form, err := edge.ReadForm(w, r)
		if errors.As(err, &tooBig) {
			return fields, err
		}
		if form != nil {
			fields = form
		}
		return fields, nil
	}
	body, err := edge.ReadJSON(w, r, nil)
	if errors.As(err, &tooBig) {
		return fields, err
	}
	for name, value := range membersOf(body) {
		switch value := value.(type) {
		case string:
			fields.Set(name, value)
		case bool:
			if value {
				fields.Set(name, "true")
			}
		}
	}
	return fields, nil
}

// membersOf returns a JSON object's members, none where it is no object.
func membersOf(body []byte) map[string]any {
	var members map[string]any
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	return members
}

// providers lists the ways to sign in that these clients can start.
func (d *Door) providers(w http.ResponseWriter, _ *http.Request, v *visit) {
	writeJSON(w, http.StatusOK, map[string]any{keyPIN: map[string]string{
		"id": keyPIN, "name": "Key and PIN", "type": "credentials",
		"signinUrl": v.origin + base + "/signin/" + keyPIN, "callbackUrl": v.origin + base + "/callback/" + keyPIN,
	}})
}

// session answers who is signed in; a locked session with the same object, and
// 503, never signed out, when that cannot be known.
func (d *Door) session(w http.ResponseWriter, r *http.Request, v *visit) {
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache, no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
	d.answerSession(w, r, v)
}

func (d *Door) answerSession(w http.ResponseWriter, r *http.Request, v *visit) {
	live, err := d.sessions.Check(r.Context(), v.Visit, session.Renew)
	if err != nil && !errors.Is(err, session.ErrLocked) && !errors.Is(err, session.ErrSignedOut) {
		edge.WriteProblem(w, r, err)
		return
	}
	d.keep(v, r)
	if errors.Is(err, session.ErrSignedOut) {
		d.writeEmpty(w, http.StatusOK)
		return
	}
	writeJSON(w, http.StatusOK, d.sessions.Object(live))
}

func (d *Door) writeEmpty(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(d.sessions.Empty())
}

// update is the client's update(): nothing in a session of Mitral's is the
// client's to change, so it answers as GET does.
func (d *Door) update(w http.ResponseWriter, r *http.Request, v *visit) {
	if !d.csrfGood(v) {
		d.writeEmpty(w, http.StatusBadRequest)
		return
	}
	d.answerSession(w, r, v)
}

// signOut ends the session behind the browser, if there is one.
func (d *Door) signOut(w http.ResponseWriter, r *http.Request, v *visit) {
	if d.refusedEarly(w, r, v) {
		return
	}
	if !d.csrfGood(v) {
		d.badCSRF(w, v, "/signout")
		return
	}
	if err := d.sessions.SignOut(r.Context(), v.Visit); err != nil {
		d.fail(w, r, v, err)
		return
	}
	d.keep(v, r)
	d.lead(w, v, http.StatusOK, d.callbackURL(v, r))
}

// callback takes the credentials of key + PIN. What is wrong with them is one
// answer.
func (d *Door) callback(w http.ResponseWriter, r *http.Request, v *visit) {
	if d.refusedEarly(w, r, v) {
		return
	}
	if r.PathValue("provider") != keyPIN {
		d.lead(w, v, http.StatusOK, v.origin+base+"/error?error=Configuration")
		return
	}
	if !d.csrfGood(v) {
		d.badCSRF(w, v, "/signin")
		return
	}
	out, err := d.signin.KeyPIN(r.Context(), v.Visit, signin.KeyPIN{
		Identifier: v.form.Get("identifier"), Workspace: v.form.Get("workspace"),
		Key: identity.Secret(v.form.Get("key")), PIN: identity.Secret(v.form.Get("pin")),
	})
	var refusal *identity.Refusal
	switch {
	case errors.As(err, &refusal) && (refusal.Kind == identity.Unauthenticated || refusal.Kind == identity.Invalid):
		d.wrong(w, v)
	case err != nil:
		d.fail(w, r, v, err)
	case out.Session == nil:
		// Half way in: the page asks for the rest. There is no session cookie yet.
		d.keep(v, r)
		d.lead(w, v, http.StatusOK, v.origin+"/signin?resume=0&step=next&callbackUrl="+url.QueryEscape(d.callbackURL(v, r)))
	default:
		d.keep(v, r)
		d.lead(w, v, http.StatusOK, d.callbackURL(v, r))
	}
}

// wrong is the one answer to credentials that are not right.
func (d *Door) wrong(w http.ResponseWriter, v *visit) {
	if d.style(v) == fetchV4 {
		d.lead(w, v, http.StatusUnauthorized, v.origin+base+"/error?error=CredentialsSignin&provider="+keyPIN)
		return
	}
	d.lead(w, v, http.StatusOK, v.origin+base+"/signin?error=CredentialsSignin&code=credentials")
}

// start begins other ways than credentials, of which this version has none;
// key + PIN is asked for on the sign-in page.
func (d *Door) start(w http.ResponseWriter, r *http.Request, v *visit) {
	if d.refusedEarly(w, r, v) {
		return
	}
	known := r.PathValue("provider") == keyPIN
	switch {
	case !known && d.style(v) != fetchV4:
		d.lead(w, v, http.StatusOK, v.origin+base+"/error?error=Configuration")
	case !known || !d.csrfGood(v):
		d.badCSRF(w, v, "/signin")
	default:
		d.keep(v, r)
		d.lead(w, v, http.StatusOK, v.origin+"/signin?callbackUrl="+url.QueryEscape(d.callbackURL(v, r)))
	}
}

// style is fetchV4 or fetchV5 also for form posts, by the server's dialect: it
// decides which addresses are answered.
func (d *Door) style(v *visit) style {
	switch {
	case v.fetch != formPost:
		return v.fetch
	case d.v4:
		return fetchV4
	}
	return fetchV5
}

func (d *Door) badCSRF(w http.ResponseWriter, v *visit, page string) {
	if d.style(v) == fetchV4 {
		d.lead(w, v, http.StatusOK, v.origin+base+page+"?csrf=true")
		return
	}
	d.lead(w, v, http.StatusOK, v.origin+base+"/signin?error=MissingCSRF")
}

// lead answers where to go next: as JSON with a status, or by a redirect.
func (d *Door) lead(w http.ResponseWriter, v *visit, status int, to string) {
	if v.fetch == formPost {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
		return
	}
	writeJSON(w, status, map[string]string{"url": to})
}

// fail answers a refusal or fault that is not about the credentials. The
// problem document of these routes carries an address for the client.
func (d *Door) fail(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	p := edge.ProblemOf(r.Context(), err)
	if v.fetch != formPost {
		edge.WriteProblem(w, r, p)
		return
	}
	to, _ := p.Extra["url"].(string)
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	d.lead(w, v, p.Status, to)
}

func (d *Door) refusedEarly(w http.ResponseWriter, r *http.Request, v *visit) bool {
	if v.tooBig != nil {
		d.fail(w, r, v, v.tooBig)
	}
	return v.tooBig != nil
}

// clientLog takes the error reports of v4 clients and keeps none of them.
func (d *Door) clientLog(w http.ResponseWriter, r *http.Request, v *visit) {
	if v.tooBig != nil {
		edge.WriteProblem(w, r, v.tooBig)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// unsupported answers what the protocol has no answer to.
func (d *Door) unsupported(w http.ResponseWriter, r *http.Request, _ *visit) {
	if d.v4 {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("Error: This action with HTTP " + methods[r.Method] + " is not supported by NextAuth.js"))
		return
	}
	writeJSON(w, http.StatusBadRequest, "Bad request.")
}

// methods keeps an answer from repeating whatever was sent as one.
var methods = map[string]string{http.MethodGet: "GET", http.MethodHead: "HEAD", http.MethodPost: "POST", http.MethodPut: "PUT",
	http.MethodPatch: "PATCH", http.MethodDelete: "DELETE", http.MethodOptions: "OPTIONS"}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
}
