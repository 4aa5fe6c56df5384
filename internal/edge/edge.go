package edge

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5/middleware"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

// Config is what the edge works with.
type Config struct {
	// Sessions is needed; its applications decide which hosts are answered,
	// which origins may call, and what the forward check lets pass.
	Sessions *session.Manager
	// Signin records what the forward check refuses to somebody who is signed
	// in. Needed.
	Signin *signin.Machine
	// PublicURL is the origin that people's browsers use. Needed.
	PublicURL *url.URL
	// TrustedProxies are the peers whose forwarded headers count; none by
	// default.
	TrustedProxies []netip.Prefix
	// OnlyFromProxies has every other peer refused: plain http is lawful here
	// only because a declared proxy stands in front.
	OnlyFromProxies bool
	// Now is the time of the store's clock. Needed.
	Now func() time.Time
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Edge is the chain in front of every door. It is safe for concurrent use.
type Edge struct {
	sessions *session.Manager
	signin   *signin.Machine
	public   string // without a slash at its end
	secure   bool
	trusted  []netip.Prefix
	only     bool
	now      func() time.Time
	log      *slog.Logger

	hosts   map[string]string // as a Host header has them → origin
	cross   *http.CrossOriginProtection
	address func(http.Handler) http.Handler
	policy  [2]string // Content-Security-Policy around the nonce
	tokens  tokens
}

// New makes the edge.
func New(c Config) (*Edge, error) {
	if c.Sessions == nil || c.Signin == nil || c.PublicURL == nil || c.PublicURL.Host == "" || c.Now == nil {
		return nil, errors.New("edge: Sessions, Signin, PublicURL and Now are needed")
	}
	if c.OnlyFromProxies && len(c.TrustedProxies) == 0 {
		return nil, errors.New("edge: OnlyFromProxies needs TrustedProxies")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	e := &Edge{
		sessions: c.Sessions, signin: c.Signin,
		public: c.PublicURL.Scheme + "://" + c.PublicURL.Host, secure: c.PublicURL.Scheme == "https",
		trusted: slices.Clone(c.TrustedProxies), only: c.OnlyFromProxies, now: c.Now, log: c.Log,
		hosts: map[string]string{}, cross: http.NewCrossOriginProtection(),
	}
	origins := []string{e.public}
	for _, app := range c.Sessions.Apps() {
		if app.Origin != e.public {
			origins = append(origins, app.Origin)
		}
	}
	for _, origin := range origins {
		if err := e.cross.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("couldn't use the origin of an app: %w", err)
		}
		for _, host := range hostsOf(origin) {
			if _, taken := e.hosts[host]; !taken {
				e.hosts[host] = origin
			}
		}
	}
	e.address = middleware.ClientIPFromRemoteAddr
	if len(e.trusted) > 0 {
		var cidrs []string
		for _, p := range e.trusted {
			cidrs = append(cidrs, p.String())
		}
		e.address = middleware.ClientIPFromXFF(cidrs...)
	}
	e.policy = contentSecurityPolicy(origins)
	return e, nil
}

// layer is one link of the chain. It serves the request itself or hands it on.
type layer func(next http.Handler) http.Handler

// Wrap puts the chain in front of a handler. The order is the order in which a
// request meets them.
func (e *Edge) Wrap(next http.Handler) http.Handler {
	for _, l := range slices.Backward([]layer{
		e.begin,         // an id, a nonce, and one log line when it is over
		e.recover,       // a panic is a fault like any other
		e.headers,       // what browsers may do with any answer, a refusal's too
		e.clientAddress, // whose request it is, once proxies are taken off
		e.onlyDeclared,  // behind a proxy nobody else is spoken to
		e.onlyOurHosts,  // a name that is not ours is answered 421
		e.crossSite,     // CORS for the applications, 403 for everybody else's pages
		e.limit,         // no body over MaxBody
		routed,          // remembers which route answered, for the log line
	}) {
		next = l(next)
	}
	return next
}

// request is what is known of one request while it is answered. It belongs to
// the request's goroutine.
type request struct {
	edge             *Edge
	id, trace, nonce string
	path             string
	origin           string
	client           identity.Client
	http             *http.Request // as the doors see it
	visit            *session.Visit
	begun            time.Time
	route            string
}

type requestKey struct{}

// of returns the request behind a context, or an empty one outside the chain.
func of(ctx context.Context) *request {
	if q, ok := ctx.Value(requestKey{}).(*request); ok {
		return q
	}
	return &request{}
}

// VisitOf returns the request's visit: its cookies, and those of the answer,
// which leave with the answer's header. It is nil outside the chain.
func VisitOf(ctx context.Context) *session.Visit {
	q := of(ctx)
	if q.visit == nil && q.http != nil {
		q.visit = q.edge.sessions.Visit(q.http, q.client)
	}
	return q.visit
}

// Nonce returns the nonce that scripts in this answer carry (CSP Level 3).
func Nonce(ctx context.Context) string { return of(ctx).nonce }

// RequestID returns the id under which this request is logged.
func RequestID(ctx context.Context) string { return of(ctx).id }

// OriginOf returns the origin that the request was made to: the public URL's or
// an application's that passes Mitral's paths on.
func OriginOf(ctx context.Context) string { return of(ctx).origin }

// anybody reports paths that answer any host and any peer: what load balancers
// ask.
func anybody(path string) bool { return path == "/healthz" || path == "/readyz" }

func (e *Edge) begin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{edge: e, id: e.requestID(r), trace: e.traceID(r), nonce: nonce(), path: r.URL.Path, origin: e.public, begun: time.Now()}
		a := &answer{ResponseWriter: w, request: q}
		a.Header().Set("X-Request-Id", q.id)
		defer func() {
			if a.status == 0 {
				a.WriteHeader(http.StatusOK)
			}
			e.logLine(r, q, a)
		}()
		next.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), requestKey{}, q)))
	})
}

// logLine writes the one line of a request. It names the route, never the path:
// a path may hold a claim's token.
func (e *Edge) logLine(r *http.Request, q *request, a *answer) {
	level := slog.LevelInfo
	if anybody(r.URL.Path) {
		level = slog.LevelDebug
	}
	route := q.route
	if route == "" {
		route = "none"
	}
	e.log.LogAttrs(context.WithoutCancel(r.Context()), level, "request",
		slog.String("request_id", q.id), slog.String("trace_id", q.trace), slog.String("method", method(r)), slog.String("route", route),
		slog.Int("status", a.status), slog.Int64("bytes", a.bytes), slog.Int64("took_us", time.Since(q.begun).Microseconds()),
		slog.String("ip", q.client.Address()), slog.String("user_agent", q.client.UserAgent))
}

// method keeps the log from holding whatever somebody sends as a method.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "other"
}

func (e *Edge) recover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { //nolint:contextcheck // the context is the request's own
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p) // the server's own way to drop a connection
			}
			e.log.ErrorContext(r.Context(), "a handler panicked", "request_id", RequestID(r.Context()),
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if a, ok := w.(*answer); ok && a.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			writeProblem(w, newProblem(of(r.Context()), http.StatusInternalServerError, "internal", internalDetail))
		}()
		next.ServeHTTP(w, r)
	})
}

func routed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := of(r.Context())
		q.http = r
		defer func() { q.route = r.Pattern }()
		next.ServeHTTP(w, r)
	})
}

var (
	idShape    = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)
	traceShape = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$`)
)

// requestID is a declared proxy's, or a fresh one.
func (e *Edge) requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); e.fromProxy(r) && idShape.MatchString(id) {
		return id
	}
	return identity.NewID("req")
}

// traceID is that of a declared proxy's traceparent (W3C Trace Context §3.2), or
// a fresh one.
func (e *Edge) traceID(r *http.Request) string {
	if m := traceShape.FindStringSubmatch(r.Header.Get("Traceparent")); e.fromProxy(r) && m != nil && strings.Trim(m[1], "0") != "" {
		return m[1]
	}
	var b [16]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func nonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
