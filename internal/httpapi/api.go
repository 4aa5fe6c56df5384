package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

// Config is what the API works with.
type Config struct {
	Sessions   *session.Manager
	Signin     *signin.Machine
	Directory  *directory.Directory
	BreakGlass *breakglass.BreakGlass
	Recorder   *record.Recorder
	Keys       *keyring.Ring
	// Export is record.Export on the store. Needed.
	Export func(ctx context.Context, in record.ExportInput, w io.Writer) error
	// Mail says whether messages can leave by mail.
	Mail bool
	// Version is shown in the OpenAPI document.
	Version string
	// Now is the time of the store's clock. Needed.
	Now func() time.Time
	// Stopping ends the event streams once it is closed, so that a server that
	// stops need not wait for them; nil means never.
	Stopping <-chan struct{}
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// API is the JSON API. It is safe for concurrent use.
type API struct {
	Config
	routes  *http.ServeMux // of this package alone
	huma    huma.API
	fields  map[string]bool // every name that a request body may hold
	outside []string        // routes that the adapter does not serve
	openAPI []byte
}

// New makes the API with all its routes.
func New(c Config) (*API, error) {
	if c.Sessions == nil || c.Signin == nil || c.Directory == nil || c.BreakGlass == nil || c.Recorder == nil || c.Keys == nil ||
		c.Export == nil || c.Now == nil {
		return nil, errors.New("httpapi: a field of Config is missing")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	a := &API{Config: c, routes: http.NewServeMux(), fields: map[string]bool{}}
	a.huma = humago.New(a.routes, document(c.Version))
	a.signInRoutes()
	a.sessionRoutes()
	a.eventRoutes()
	a.authzRoutes()
	a.breakGlassRoutes()
	a.peopleRoutes()
	a.workspaceRoutes()
	a.auditRoutes()
	return a, a.openAPIRoutes()
}

// need says who may call a route at all. Rights beyond that are the act's.
type need int

const (
	// anybody: no session is looked for.
	anybody need = iota
	// perhaps: a session is handed on where there is one, locked or not.
	perhaps
	// lockedToo: a session, locked or not.
	lockedToo
	// active: a session that is not locked; else 423.
	active
)

// route is one line of the API.
type route struct {
	method, path string
	id           string // of the operation, in OpenAPI and in the record
	summary      string
	tag          string
	need         need
	use          session.Use  // how the session is checked; Renew by default
	status       int          // of success; 200 by default
	quiet        bool         // a locked session's call leaves no event
	raw          *huma.Schema // of a body that the act reads itself
}

// none is the input of a route that takes nothing.
type none struct{}

// add registers a route: the body is read strictly and checked against the
// input's schema, the session is found, the act is called, and what it refuses
// is translated.
func add[I, O any](a *API, rt route, act func(context.Context, signin.Who, *I) (*O, error)) {
	if rt.status == 0 {
		rt.status = http.StatusOK
	}
	op := huma.Operation{
		OperationID: rt.id, Method: rt.method, Path: rt.path, Summary: rt.summary, Tags: []string{rt.tag}, DefaultStatus: rt.status,
		MaxBodyBytes: edge.MaxBody + 1, BodyReadTimeout: -1, // read before, and bounded there
		Middlewares: huma.Middlewares{a.strict},
	}
	if rt.need == lockedToo || rt.need == active {
		op.Security = []map[string][]string{{"session": {}}}
	}
	if rt.raw != nil {
		op.SkipValidateBody = true
		op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: rt.raw}}}
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		who, err := a.who(ctx, rt)
		if err != nil {
			return nil, edge.ProblemOf(ctx, err)
		}
		out, err := act(ctx, who, in)
		if err != nil {
			return nil, edge.ProblemOf(ctx, err)
		}
		return out, nil
	})
}

// who finds out who calls. A refusal to somebody whose session is locked is
// recorded: it was their act.
func (a *API) who(ctx context.Context, rt route) (signin.Who, error) {
	who := signin.Who{Visit: edge.VisitOf(ctx), StepUp: identity.Secret(header(ctx, "Mitral-Step-Up"))}
	if rt.need == anybody {
		return who, nil
	}
	live, err := a.Sessions.Check(ctx, who.Visit, rt.use)
	who.Live = live
	switch {
	case err == nil, errors.Is(err, session.ErrLocked) && rt.need != active:
		return who, nil
	case errors.Is(err, session.ErrSignedOut) && rt.need == perhaps:
		who.Live = nil
		return who, nil
	case errors.Is(err, session.ErrLocked) && !rt.quiet && rt.method != http.MethodGet:
		return who, a.Signin.RecordRefusal(ctx, who, live.WorkspaceID, rt.id, edge.SessionLocked())
	}
	return who, err
}

type requestKey struct{}

// request is the HTTP request behind a handler's context.
func request(ctx context.Context) *http.Request {
	r, _ := ctx.Value(requestKey{}).(*http.Request)
	return r
}

// header returns a header of the request, trimmed; "" outside one.
func header(ctx context.Context, name string) string {
	r := request(ctx)
	if r == nil {
		return ""
	}
	return strings.TrimSpace(r.Header.Get(name))
}

// strict reads the body before the framework does, so that what it checks and
// what the act is handed are the same.
func (a *API) strict(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	if op := ctx.Operation(); op.RequestBody != nil {
		body, err := edge.ReadJSON(w, r, func(name string) bool { return a.fields[name] })
		if err == nil && len(body) == 0 && op.RequestBody.Required {
			err = missingBody()
		}
		if err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	next(huma.WithValue(ctx, requestKey{}, r))
}

func missingBody() error {
	r := identity.Refuse(identity.Malformed, "malformed", "The request has no body.")
	r.Fields = []identity.FieldError{{Field: "body", Code: "missing", Detail: "A JSON object is needed."}}
	return r
}

// headerText refuses a header that would be kept or shown and is no text.
func headerText(field, value string, longest int) error {
	if !printable(value) || len(value) > longest {
		return identity.RefuseField(field, "not_text", "Use plain text, not too long.")
	}
	return nil
}
