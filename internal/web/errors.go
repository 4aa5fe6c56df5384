package web

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/web/view"
)

// errAnswered says that the answer is on its way: there is nothing more to do.
var errAnswered = errors.New("answered")

// fail answers a call that came to an error: where nobody is signed in it leads
// to sign-in and back, where the session is locked it shows the lock screen,
// and else it says in words what happened.
func (c *call) fail(err error) {
	if errors.Is(err, errAnswered) {
		return
	}
	if refusal := refusalOf(err); refusal != nil && refusal.Code == "session_ended" {
		err = c.redirect(view.PageSignIn + "?error=session_ended")
	} else if errors.Is(err, session.ErrSignedOut) || refusal != nil && refusal.Code == "signed_out" {
		err = c.redirect(with(resumePath, callbackField, c.back()))
	} else if errors.Is(err, session.ErrLocked) && c.live != nil {
		err = c.show(http.StatusLocked, view.LockPage(c.lockScreen(c.back())))
	} else {
		err = c.problem(err)
	}
	if err != nil {
		edge.WriteProblem(c.w, c.r, err)
	}
}

// refusalOf is the refusal in an error, or nil.
func refusalOf(err error) *identity.Refusal {
	var r *identity.Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// problem shows an error as a page.
func (c *call) problem(err error) error {
	p := edge.ProblemOf(c.ctx(), err)
	v := view.Problem{Status: p.Status, Trace: p.RequestID, Retry: c.retry(p.Status)}
	for name, values := range p.GetHeaders() {
		c.w.Header()[name] = values
	}
	if refusal := refusalOf(err); refusal != nil {
		v.RetryAfter = seconds(refusal.RetryAfter)
		if refusal.Code != "forbidden" { // the page has better words for that
			v.Text = refusal.Detail
		}
		switch refusal.Code {
		case "bg_forbidden_action":
			v.Title, v.Next = "Not in emergency access", view.Link{Label: "Back to the emergency", URL: view.PageEmergency}
		case "break_glass_unavailable":
			v.Title, v.Paper = "Emergency access cannot be opened now", true
		case "already_set_up":
			v.Title = "This server is set up already"
		case "cross_site":
			v.Title = "Not from that page"
		}
	}
	if p.Status == http.StatusServiceUnavailable {
		v.RetryAfter, _ = strconv.Atoi(c.w.Header().Get("Retry-After"))
		v.Paper = v.Paper || strings.Contains(c.r.URL.Path, view.PageEmergency)
	}
	v.Frame = c.frame()
	return c.show(p.Status, view.ProblemPage(v))
}

// retry is what Try again loads, where that makes sense.
func (c *call) retry(status int) string {
	if c.r.Method != http.MethodGet || status < http.StatusTooManyRequests {
		return ""
	}
	return c.r.URL.RequestURI()
}

// wrong is what is said beside a form that was not accepted.
type wrong struct {
	status int
	fields view.FieldErrors
	retry  int // seconds
}

// wrong turns a refusal into what stands beside the form's fields: each under
// the name that rename gives it (by the refusal's field or code), or its own,
// and whatever is about none of fields under "". Faults, and what is no matter of
// the form, are handed back.
func (c *call) wrong(err error, rename map[string]string, fields ...string) (wrong, error) {
	refusal := refusalOf(err)
	if refusal == nil {
		return wrong{}, err
	}
	switch refusal.Code {
	case "session_ended", "signed_out", "session_locked":
		return wrong{}, err
	}
	p := edge.ProblemOf(c.ctx(), err)
	out := wrong{status: p.Status, fields: view.FieldErrors{}, retry: seconds(refusal.RetryAfter)}
	_, beside := rename[refusal.Code]
	switch refusal.Kind {
	case identity.Unavailable, identity.StepUpNeeded, identity.Gone, identity.Unknown, identity.Locked:
		if !beside {
			return wrong{}, err
		}
	case identity.Throttled:
		c.w.Header().Set("Retry-After", strconv.Itoa(max(1, out.retry)))
		if refusal.Code != "throttled" { // the page has better words for that
			out.fields[""] = refusal.Detail
		}
		return out, nil
	default:
	}
	for _, f := range refusal.Fields {
		name := f.Field
		if other, ok := rename[name]; ok {
			name = other
		}
		if !slices.Contains(fields, name) {
			name = ""
		}
		if out.fields[name] == "" {
			out.fields[name] = sentence(f.Detail)
		}
	}
	if len(refusal.Fields) == 0 {
		out.fields[rename[refusal.Code]] = refusal.Detail
	}
	return out, nil
}

// sentence begins with a capital: rules word themselves as parts of one.
func sentence(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + s[n:]
}

// invalid is wrong for what a page finds by itself.
func invalid(field, detail string) wrong {
	return wrong{status: http.StatusUnprocessableEntity, fields: view.FieldErrors{field: detail}}
}

// seconds rounds up, so that who waits that long has waited long enough.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// triesLeft is how many more wrong proofs a refusal leaves; none is false where
// it says nothing of that, and true where this was the last.
func triesLeft(err error) (n int, none bool) {
	if refusal := refusalOf(err); refusal != nil {
		switch left := refusal.Extra["tries_left"].(type) {
		case int64:
			return int(left), left <= 0
		case int:
			return left, left <= 0
		}
	}
	return 0, false
}

// unproven says that the PIN of a form, meant as a fresh proof, did not do.
type unproven struct{ err error }

func (u *unproven) Error() string { return "the proof did not do: " + u.err.Error() }
func (u *unproven) Unwrap() error { return u.err }

// asking is an act that may ask for a fresh proof, in words.
type asking struct {
	act    string // after "To": "reissue the key of Omar Haddad"
	detail string
	action string // where the form goes on; "" is its own path
	back   string
}

// confirm shows the page that asks for the PIN, when that is what err says; the
// form's fields go along and nothing typed is lost. Other errors are handed
// back.
func (c *call) confirm(err error, a asking) error {
	var bad *unproven
	refusal := refusalOf(err)
	isBad := errors.As(err, &bad)
	if refusal == nil || !isBad && refusal.Kind != identity.StepUpNeeded {
		return err
	}
	v := view.StepUp{Act: a.act, Detail: a.detail, Action: a.action, Back: a.back, PINLength: c.pinLength()}
	if v.Action == "" {
		v.Action = c.r.URL.Path
	}
	status := http.StatusOK
	if isBad {
		out, rest := c.wrong(err, map[string]string{"wrong_pin": "pin"}, "pin")
		if rest != nil {
			return bad.err
		}
		status, v.Errors, v.RetryAfter = out.status, out.fields, out.retry
		if n, _ := triesLeft(err); n > 0 {
			v.Errors["pin"] = "That is not your PIN. " + tries(n) + " left."
		}
		if len(refusal.Fields) > 0 && refusal.Fields[0].Field == "method" {
			v.Errors[""] = "Your clinic's policy asks for a passkey or an app code here, and you have none yet."
		}
	} else if c.secret("pin") != "" {
		v.Errors = view.FieldErrors{"": "That took a while. Confirm once more."}
	}
	v.Carry = carried(c.form)
	v.Frame = c.frame()
	if err := c.show(status, view.StepUpPage(v)); err != nil {
		return err
	}
	return errAnswered
}

func tries(n int) string {
	if n == 1 {
		return "One try"
	}
	return strconv.Itoa(n) + " tries"
}

// carried are the fields of an interrupted form, but for its PIN.
func carried(form url.Values) []view.Hidden {
	var out []view.Hidden
	for _, name := range slices.Sorted(maps.Keys(form)) {
		if name == "pin" {
			continue
		}
		for _, value := range form[name] {
			out = append(out, view.Hidden{Name: name, Value: value})
		}
	}
	return out
}

// nothingHere answers addresses that have no page.
func (s *Web) nothingHere(c *call) error {
	return identity.Refuse(identity.Unknown, "not_found", "")
}
