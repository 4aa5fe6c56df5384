package httpapi

import (
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
)

// The framework's own errors repeat the value they complain of, and sometimes
// the parser's text about it. They are replaced for good: this program has no
// other use of the framework.
func init() {
	huma.NewError = func(status int, _ string, errs ...error) huma.StatusError { return problemOf(nil, status, errs) }
	huma.NewErrorWithContext = func(ctx huma.Context, status int, _ string, errs ...error) huma.StatusError {
		return problemOf(ctx, status, errs)
	}
}

// problemOf words what the framework found by field and code alone.
func problemOf(ctx huma.Context, status int, errs []error) *edge.Problem {
	if ctx == nil {
		return &edge.Problem{Status: status}
	}
	kind, code, detail := identity.Invalid, "invalid", "Some of what was sent is not accepted."
	if status == http.StatusBadRequest {
		kind, code, detail = identity.Malformed, "malformed", "The request could not be read."
	}
	if status >= http.StatusInternalServerError || status == http.StatusNotAcceptable {
		return edge.ProblemOf(ctx.Context(), errFramework{})
	}
	refusal := identity.Refuse(kind, code, detail)
	for _, err := range errs {
		d, ok := err.(huma.ErrorDetailer)
		if !ok {
			continue
		}
		refusal.Fields = append(refusal.Fields, fieldOf(d.ErrorDetail()))
	}
	if len(refusal.Fields) == 0 {
		refusal.Fields = []identity.FieldError{{Field: "body", Code: "invalid", Detail: detail}}
	}
	return edge.ProblemOf(ctx.Context(), refusal)
}

type errFramework struct{}

func (errFramework) Error() string { return "the framework could not answer" }

var (
	requiredProperty = regexp.MustCompile(`^expected required property (\S+) to be present$`)
	place            = regexp.MustCompile(`^(body|path|query|header|cookie)\.`)
)

// fieldOf turns the framework's words into a field, a code and our own sentence.
// Only names of the schema reach it: bodies may hold any other member unheard.
func fieldOf(d *huma.ErrorDetail) identity.FieldError {
	field := place.ReplaceAllString(d.Location, "")
	if m := requiredProperty.FindStringSubmatch(d.Message); m != nil {
		return identity.FieldError{Field: strings.TrimPrefix(strings.TrimPrefix(field+".", "body.")+m[1], "."), Code: "missing", Detail: "This is needed."}
	}
	for _, c := range codes {
		if strings.HasPrefix(d.Message, c.begins) {
			return identity.FieldError{Field: field, Code: c.code, Detail: c.detail}
		}
	}
	return identity.FieldError{Field: field, Code: "invalid", Detail: "This is not accepted."}
}

var codes = []struct{ begins, code, detail string }{
	{"required ", "missing", "This is needed."},
	{"expected string to", "format", "This is not in the form that is asked for."},
	{"expected string", "type", "This must be text."},
	{"expected boolean", "type", "This must be true or false."},
	{"expected integer", "type", "This must be a whole number."},
	{"invalid integer", "type", "This must be a whole number."},
	{"expected number >", "bounds", "This number is too small."},
	{"expected number <", "bounds", "This number is too large."},
	{"expected number", "type", "This must be a number."},
	{"expected array length", "bounds", "There are too many or too few of these."},
	{"expected array", "type", "This must be a list."},
	{"expected object", "type", "This must be an object."},
	{"expected length <=", "too_long", "This is too long."},
	{"expected length >=", "too_short", "This is too short."},
	{"expected value to be one of", "unknown", "This is none of the words that are known here."},
	{"invalid date/time", "format", "Write a time such as 2026-01-31T09:00:00Z."},
}

// printable reports text that can be kept and shown.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
