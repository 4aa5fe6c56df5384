package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// Problem is an answer of no as it goes over the wire (RFC 9457). It never
// repeats what was sent. Two problems of one refusal differ in Instance,
// TraceID and RequestID only.
type Problem struct {
	Type      string                `json:"type" doc:"A URI for the kind of problem; code is what programs go by." example:"about:blank"`
	Title     string                `json:"title" doc:"The status in words."`
	Status    int                   `json:"status" doc:"The HTTP status."`
	Code      string                `json:"code" doc:"A stable word for what is wrong."`
	Detail    string                `json:"detail" doc:"A sentence for a person, with the next step."`
	Instance  string                `json:"instance" doc:"Names this occurrence."`
	TraceID   string                `json:"trace_id" doc:"The trace (W3C Trace Context) that the request was part of."`
	RequestID string                `json:"request_id" doc:"The id under which the server's log has the request."`
	Errors    []identity.FieldError `json:"errors,omitempty" doc:"The fields that were not accepted."`
	Action    string                `json:"action,omitempty" doc:"The action that asks for a fresh proof (RFC 9470)."`
	// Extra members, such as the id of the thing in conflict.
	Extra map[string]any `json:"-"`

	header http.Header
}

// Error returns the stable code.
func (p *Problem) Error() string { return p.Code }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns the headers that belong to the answer.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType returns the media type of problem documents, whatever was asked.
func (*Problem) ContentType(string) string { return "application/problem+json" }

// MarshalJSON writes the document with its extra members beside the others.
func (p *Problem) MarshalJSON() ([]byte, error) {
	type plain Problem
	b, err := json.Marshal((*plain)(p))
	if err != nil || len(p.Extra) == 0 {
		return b, err
	}
	members := map[string]any{}
	if err := json.Unmarshal(b, &members); err != nil {
		return nil, err
	}
	extra := maps.Clone(p.Extra)
	maps.Copy(extra, members)
	return json.Marshal(extra)
}

// wire is a refusal of the protocol itself, that no act knows of.
type wire struct {
	status       int
	code, detail string
}

func (w wire) Error() string { return w.code }

// statusOf is what each kind of refusal becomes (contract §2).
var statusOf = map[identity.Kind]int{
	identity.Malformed:       http.StatusBadRequest,
	identity.Invalid:         http.StatusUnprocessableEntity,
	identity.Unauthenticated: http.StatusUnauthorized,
	identity.StepUpNeeded:    http.StatusUnauthorized,
	identity.Forbidden:       http.StatusForbidden,
	identity.Unknown:         http.StatusNotFound,
	identity.Conflict:        http.StatusConflict,
	identity.Gone:            http.StatusGone,
	identity.Stale:           http.StatusPreconditionFailed,
	identity.NoPrecondition:  http.StatusPreconditionRequired,
	identity.Locked:          http.StatusLocked,
	identity.Throttled:       http.StatusTooManyRequests,
	identity.Unavailable:     http.StatusServiceUnavailable,
}

const (
	internalDetail    = "Something went wrong here, not with what you did. Try again; if it stays, tell whoever looks after this server the request id."
	unavailableDetail = "Mitral cannot reach its database. Your work is safe; try again in a moment."
	retryUnavailable  = 5 * time.Second
)

// ProblemOf turns the error of an act into what is answered: the one place
// where that happens. A refusal is answered as it is; a session that is missing
// or locked, and a database that is away, by their own codes. Everything else
// is a fault: it is logged in full, and the answer says nothing about it.
func ProblemOf(ctx context.Context, err error) *Problem {
	q := of(ctx)
	var (
		made    *Problem
		refusal *identity.Refusal
		bare    wire
		tooLong *http.MaxBytesError
	)
	switch {
	case errors.As(err, &made):
		return made
	case errors.As(err, &refusal):
		return refused(q, refusal)
	case errors.As(err, &bare):
		return newProblem(q, bare.status, bare.code, bare.detail)
	case errors.Is(err, session.ErrSignedOut):
		return refused(q, SignedOut())
	case errors.Is(err, session.ErrLocked):
		return refused(q, SessionLocked())
	case errors.As(err, &tooLong):
		return tooLarge(q)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		r := identity.Refuse(identity.Unavailable, "unavailable", unavailableDetail)
		r.RetryAfter = retryUnavailable
		return refused(q, r)
	}
	if q.edge != nil {
		q.edge.log.ErrorContext(ctx, "a request failed", "request_id", q.id, "route", q.route, "error", err.Error())
	}
	return newProblem(q, http.StatusInternalServerError, "internal", internalDetail)
}

// SignedOut is the refusal of a call that needs a session and finds none.
func SignedOut() *identity.Refusal {
	return identity.Refuse(identity.Unauthenticated, "signed_out", "Sign in first.")
}

// SessionLocked is the refusal of a call that needs a session and finds it
// locked.
func SessionLocked() *identity.Refusal {
	return identity.Refuse(identity.Locked, "session_locked", "The session is locked. Unlock it first; nothing is lost.")
}

// WriteProblem answers a request with what an error comes to.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	writeProblem(w, ProblemOf(r.Context(), err))
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	body, err := json.Marshal(p)
	if err != nil { // only an Extra that is no JSON could do this
		body = []byte(`{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal"}`)
		p.Status = http.StatusInternalServerError
	}
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}

func newProblem(q *request, status int, code, detail string) *Problem {
	p := &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: detail,
		Instance: "urn:mitral:request:" + q.id, TraceID: q.trace, RequestID: q.id, header: http.Header{}}
	if isAuthJS(q.path) {
		// Its clients do new URL(data.url) whatever the status.
		p.Extra = map[string]any{"url": q.origin + "/api/v1/auth/error?error=" + authJSError(status)}
	}
	return p
}

func refused(q *request, r *identity.Refusal) *Problem {
	status, known := statusOf[r.Kind]
	if !known {
		status = http.StatusForbidden
	}
	p := newProblem(q, status, r.Code, r.Detail)
	p.Errors = r.Fields
	if len(r.Extra) > 0 {
		p.Extra = maps.Clone(r.Extra)
	}
	switch r.Kind {
	case identity.StepUpNeeded:
		p.Action = r.Action
		p.header.Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_user_authentication", max_age="%d", action="%s"`,
			int(r.MaxAge/time.Second), quotable(r.Action)))
	case identity.Unauthenticated:
		p.header.Set("WWW-Authenticate", "Bearer")
	case identity.Throttled, identity.Unavailable:
		p.header.Set("Retry-After", strconv.Itoa(retryAfter(r.RetryAfter)))
	default: // the status says it all
	}
	return p
}

// retryAfter is in whole seconds, one at least, rounded up so that who waits
// that long has waited long enough.
func retryAfter(d time.Duration) int {
	return max(1, int((d+time.Second-1)/time.Second))
}

// quotable keeps a quoted-string from being left: actions have no such signs.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
}

// isAuthJS reports the routes whose clients expect an address in every answer.
func isAuthJS(path string) bool {
	rest, ok := strings.CutPrefix(path, "/api/v1/auth/")
	if !ok {
		return false
	}
	action, _, _ := strings.Cut(rest, "/")
	return action == "signin" || action == "signout" || action == "callback"
}

// authJSError is the word that an Auth.js client finds in the address.
func authJSError(status int) string {
	switch status {
	case http.StatusTooManyRequests:
		return "RateLimited&code=rate_limited"
	case http.StatusServiceUnavailable:
		return "Unavailable&code=unavailable"
	case http.StatusForbidden, http.StatusUnauthorized:
		return "AccessDenied"
	}
	return "Configuration"
}

// WriteStatus answers a refusal of the protocol itself, that no act knows of.
func WriteStatus(w http.ResponseWriter, r *http.Request, status int, code, detail string) {
	WriteProblem(w, r, wire{status, code, detail})
}
