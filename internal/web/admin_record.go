package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// pageEvents keeps a page of the record under 60 kB.
const pageEvents = 40

// recordPage tells the record as sentences. Reading it is itself an event, and
// asks for a proof that is not too old; with the PIN it comes as a form.
func (s *Web) recordPage(c *call) error {
	q := c.r.URL.Query()
	if c.form != nil {
		q = c.form
	}
	people, err := c.peopleOptions()
	if err != nil {
		return err
	}
	filter, bad := c.recordFilter(q, people)
	who, err := c.who(policy.ActAuditRead)
	if err == nil {
		err = c.readsRecord(who, filter)
	}
	if err != nil {
		if c.form == nil {
			c.form = filterForm(q)
		}
		return c.confirm(err, asking{act: "read the record", action: postRecord, back: view.PageAdmin})
	}
	entries, err := c.Recorder.Events(c.ctx(), c.live.WorkspaceID, filter)
	if err != nil {
		return err
	}
	status, err := c.Recorder.Status(c.ctx())
	if err != nil {
		return err
	}
	v := view.Record{People: people, Person: filter.User, Type: filter.Kind, From: q.Get("from"), To: q.Get("to"), Types: recordTypes, Verified: view.Verified{Size: status.Size}}
	if v.Events, err = c.told(entries); err != nil {
		return err
	}
	if len(entries) == pageEvents {
		v.Older = recordURL(q, entries[len(entries)-1].Index)
	}
	if filter.Before > 0 {
		v.Newer = recordURL(q, 0) // the newest: where the page before ended is not kept
	}
	v.Frame = c.frame()
	if bad != "" {
		v.Frame.Notice = view.Notice{Tone: view.Warn, Title: bad}
	}
	return c.show(http.StatusOK, view.RecordPage(v))
}

// filterForm is the filter in an address, as a form carries it on.
func filterForm(q url.Values) url.Values {
	form := url.Values{}
	for _, name := range []string{"person", "type", "from", "to", "before"} {
		if q.Get(name) != "" {
			form.Set(name, q.Get(name))
		}
	}
	return form
}

func recordURL(q url.Values, before int64) string {
	form := filterForm(q)
	form.Del("before")
	if before > 0 {
		form.Set("before", strconv.FormatInt(before, 10))
	}
	if len(form) == 0 {
		return view.PageRecord
	}
	return view.PageRecord + "?" + form.Encode()
}

// recordFilter reads the filter; bad says what of it was not understood. Days
// are the clinic's.
func (c *call) recordFilter(q url.Values, people []view.Option) (f record.Filter, bad string) {
	f = record.Filter{Limit: pageEvents, User: oneOf(people, q.Get("person")), Kind: oneOf(recordTypes, q.Get("type"))}
	f.Before, _ = strconv.ParseInt(q.Get("before"), 10, 64)
	zone := c.now().Location()
	for _, day := range []struct {
		name string
		to   *time.Time
		add  int
	}{{"from", &f.From, 0}, {"to", &f.To, 1}} {
		if q.Get(day.name) == "" {
			continue
		}
		at, err := time.ParseInLocation(time.DateOnly, q.Get(day.name), zone)
		if err != nil {
			bad = "Write days as 2026-03-31. That one was left out."
			continue
		}
		*day.to = at.AddDate(0, 0, day.add)
	}
	return f, bad
}

// oneOf is the value where the options have it, else "".
func oneOf(options []view.Option, value string) string {
	if slices.ContainsFunc(options, func(o view.Option) bool { return o.Value == value }) {
		return value
	}
	return ""
}

// recordTypes are the subjects of events.
var recordTypes = []view.Option{
	{Value: "sign_in", Label: "Signing in"}, {Value: "sign_out", Label: "Signing out"}, {Value: "session", Label: "Sessions, locks"},
	{Value: "step_up", Label: "Confirmations"}, {Value: "break_glass", Label: "Emergency access"}, {Value: "user", Label: "People"},
	{Value: "claim", Label: "Claims"}, {Value: "factor", Label: "Keys, PINs and codes"}, {Value: "policy", Label: "Policy"},
	{Value: "authz", Label: "Permissions asked"}, {Value: "audit", Label: "Reading the record"}, {Value: "message", Label: "Messages"},
}

// readsRecord asks whether the record may be read now, and records that it was.
func (c *call) readsRecord(who signin.Who, f record.Filter) error {
	e := audit.Event{Type: "audit.read", Outcome: audit.Success, User: f.User, Detail: audit.Detail{}}
	if f.Kind != "" {
		e.Detail["kind"] = f.Kind
	}
	return c.Signin.Witness(c.ctx(), who, policy.ActAuditRead, "audit.read", e)
}

// watched tells the newest events that fit a filter, on a page that shows more
// than the record. Where a fresh proof would be asked for, it says so instead.
func (c *call) watched(f record.Filter) ([]view.Event, error) {
	err := c.readsRecord(c.plainWho(), f)
	if r := refusalOf(err); r != nil && r.Kind == identity.StepUpNeeded {
		return []view.Event{{Index: -1, At: c.Now(), Who: "The record", Did: "is shown after you confirm that it is you.",
			Link: view.Link{Label: "Open it", URL: recordURL(url.Values{"person": {f.User}}, 0)}}}, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := c.Recorder.Events(c.ctx(), c.live.WorkspaceID, f)
	if err != nil {
		return nil, err
	}
	return c.told(slices.DeleteFunc(entries, func(e record.Entry) bool { return e.Type == "audit.read" }))
}

// told turns entries into sentences, each with its actor in front.
func (c *call) told(entries []record.Entry) ([]view.Event, error) {
	called, err := c.called()
	if err != nil {
		return nil, err
	}
	out := make([]view.Event, len(entries))
	for i, e := range entries {
		out[i] = view.Event{Index: e.Index, At: e.At, Did: record.Sentence(e, called), Detail: placeOf(e), Refused: e.Outcome != audit.Success}
		for _, id := range []string{e.Actor, e.User} {
			if name := called(id); name != "" && strings.HasPrefix(out[i].Did, name+" ") {
				out[i].Who, out[i].Did = name, strings.TrimPrefix(out[i].Did, name+" ")
				break
			}
		}
		if e.Grant != "" && c.mayWatch() {
			out[i].Link = view.Link{Label: "Show", URL: view.GrantURL(e.Grant)}
		}
	}
	return out, nil
}

// called is names for sentences: "" for an id that is nobody's.
func (c *call) called() (func(id string) string, error) {
	names, err := c.names()
	return func(id string) string {
		if name := names(id); name != id {
			return name
		}
		return ""
	}, err
}

// placeOf is where an event came from, and, of an emergency, its reason.
func placeOf(e record.Entry) string {
	if reason, ok := e.Detail["reason"].(string); ok && e.Type == "break_glass.start" && e.Outcome == audit.Success {
		return "“" + reason + "”"
	}
	return e.Client.Address()
}

// maxOptions keeps a list of people to what a page can carry.
const maxOptions = 150

// peopleOptions are the workspace's people to choose from, by name. Whoever
// reads the record meets all of them in it; so nobody's right to list people is
// asked.
func (c *call) peopleOptions() ([]view.Option, error) {
	users, err := c.Directory.Users(c.ctx(), signin.CLI(), c.live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(users, func(a, b directory.User) int { return strings.Compare(a.Name, b.Name) })
	var out []view.Option
	for _, u := range users[:min(len(users), maxOptions)] {
		out = append(out, view.Option{Value: u.ID, Label: u.Name})
	}
	return out, nil
}

// checkpointPage shows the newest signed note of the log.
func (s *Web) checkpointPage(c *call) error {
	if err := c.allowed(policy.ActAuditRead, "audit.checkpoint"); err != nil {
		return err
	}
	note, err := c.Recorder.Latest(c.ctx())
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.CheckpointPage(view.Checkpoint{Frame: c.frame(), Note: note, VerifierKeys: []string{c.Keys.LogVerifierKey()}}))
}
