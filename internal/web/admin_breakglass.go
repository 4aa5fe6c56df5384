package web

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/web/view"
)

const (
	pageGrants = 40
	// verdictWithin is how long a verdict may take before the clinic is reminded.
	verdictWithin = 72 * time.Hour
)

// breakGlassPage lists grants: open ones, those that wait for somebody, the
// rest.
func (s *Web) breakGlassPage(c *call) error {
	if err := c.allowed(policy.ActAuditRead, "break_glass.list"); err != nil {
		return err
	}
	grants, err := c.BreakGlass.List(c.ctx(), c.plainWho())
	if err != nil {
		return err
	}
	from, _ := strconv.Atoi(c.r.URL.Query().Get("from"))
	from = max(0, min(from, len(grants)))
	to := min(from+pageGrants, len(grants))
	v := view.BreakGlass{}
	if to < len(grants) {
		v.Older = with(view.PageBreakGlass, "from", strconv.Itoa(to))
	}
	if v.Open, v.Waiting, v.Done, err = c.sorted(grants[from:to]); err != nil {
		return err
	}
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.BreakGlassPage(v))
}

// sorted tells grants that are open from those that wait and those that are
// done.
func (c *call) sorted(grants []breakglass.Grant) (open, waiting, done []view.GrantRow, err error) {
	names, err := c.names()
	if err != nil {
		return nil, nil, nil, err
	}
	for _, g := range grants {
		row := grantRow(g, names)
		switch {
		case g.State == breakglass.StateActive:
			open = append(open, row)
		case !g.Drill && (g.Review != breakglass.ReviewDone || row.Unacknowledged):
			waiting = append(waiting, row)
		default:
			done = append(done, row)
		}
	}
	return open, waiting, done, nil
}

func grantRow(g breakglass.Grant, names func(string) string) view.GrantRow {
	row := view.GrantRow{ID: g.ID, Ref: g.Ref, Subject: subjectName(g, names), Category: g.Category, StartedAt: g.StartedAt, State: g.State, Review: g.Review,
		Left: time.Duration(g.RemainingS) * time.Second, Drill: g.Drill, Unacknowledged: !g.Drill && g.AcknowledgedAt == nil && g.Review != breakglass.ReviewDone}
	if g.Review == breakglass.ReviewAwaiting && g.EndedAt != nil && !g.Drill {
		row.DueAt = g.EndedAt.Add(verdictWithin)
	}
	return row
}

// storyPage tells one grant from start to verdict.
func (s *Web) storyPage(c *call) error {
	v, err := c.story()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.StoryPage(v))
}

// fixes are what could have made a grant unnecessary.
var fixes = []view.Option{
	{Value: "a new PIN for them", Label: "A new PIN for them"}, {Value: "a new key for them", Label: "A new key for them"},
	{Value: "another role for them", Label: "Another role for them"}, {Value: "an account for them", Label: "An account for them"},
	{Value: "another way to sign in during an outage", Label: "Another way to sign in during an outage"},
	{Value: "more administrators", Label: "More administrators"}, {Value: "something else, see the comment", Label: "Something else: see the comment"},
}

func (c *call) story() (view.Story, error) {
	var v view.Story
	g, err := c.BreakGlass.Get(c.ctx(), c.plainWho(), c.r.PathValue("id"))
	if err != nil {
		return v, err
	}
	names, err := c.names()
	if err != nil {
		return v, err
	}
	called, err := c.called()
	if err != nil {
		return v, err
	}
	v = view.Story{Row: grantRow(g, names), Invoker: actorName(g.Invoker, names), Reason: g.Reason, Kind: g.Kind, Identity: g.Identity, Patients: g.Patients,
		Told: toldOf(g, names), Earlier: g.Earlier, Fixes: fixes}
	if g.EndedAt != nil {
		v.EndedAt = *g.EndedAt
	}
	v.Index, v.Checkpoint = c.recorded(g)
	for _, m := range g.Timeline {
		if reason, _ := m.Event.Detail["reason"].(string); reason == "insufficient_user_authentication" {
			continue // nobody did anything: the PIN was asked for
		}
		v.Timeline = append(v.Timeline, view.Moment{At: m.At, Said: record.Sentence(m.Event, called), Red: turns(m.Type)})
		if m.Type == "break_glass.start" {
			v.Place, v.Address = m.Event.Client.UserAgent, m.Event.Client.Address()
		}
	}
	v.NormalPath = []view.Light{{Name: "The normal way", Tone: view.Good, Text: "was closed"}}
	if slices.Contains(g.Flags, breakglass.FlagNormalPath) {
		v.NormalPath[0] = view.Light{Name: "The normal way", Tone: view.Warn, Text: "key and PIN would have worked"}
	}
	tellEntries(&v, g, names)
	if err := c.storyRights(&v, g); err != nil {
		return v, err
	}
	v.Frame = c.frame()
	return v, nil
}

// turns reports the events that begin and end a grant.
func turns(event string) bool {
	return event == "break_glass.start" || event == "break_glass.end" || event == "break_glass.expire"
}

// tellEntries puts what was added to a grant where it is read.
func tellEntries(v *view.Story, g breakglass.Grant, names func(string) string) {
	for _, e := range g.Entries {
		switch {
		case e.Kind == "note":
			v.Notes = append(v.Notes, view.StoryNote{By: actorName(e.Actor, names), At: e.At, Text: e.Text})
		case e.Kind == "registration":
			v.Notes = append(v.Notes, view.StoryNote{By: subjectName(g, names), At: e.At, Text: "Registration number: " + e.Text})
		case e.Kind == "review" && e.Verdict == breakglass.VerdictNeedsInfo:
			v.Notes = append(v.Notes, view.StoryNote{By: actorName(e.Actor, names) + " asked", At: e.At, Text: e.Text})
		case e.Kind == "review":
			v.Verdict, v.Comment, v.Reviewer, v.ReviewedAt = e.Verdict, e.Text, actorName(e.Actor, names), e.At
			if e.Fix != "" {
				v.Comment += " Fix: " + e.Fix + "."
			}
		}
	}
}

// storyRights says what whoever looks may do. The acts decide once more.
func (c *call) storyRights(v *view.Story, g breakglass.Grant) error {
	doc, _, err := c.Sessions.Policy(c.ctx(), c.live.WorkspaceID)
	if err != nil {
		return err
	}
	watches := c.mayWatch() && c.live.Grant == nil
	v.MayAcknowledge = watches && !g.Drill && g.AcknowledgedBy != c.live.UserID &&
		(g.AcknowledgedAt == nil || g.AcknowledgedBy == g.Subject || g.AcknowledgedBy == g.Invoker)
	v.MayStop = g.State == breakglass.StateActive
	v.MayNote = true
	part := g.Subject == c.live.UserID || g.Invoker == c.live.UserID
	v.MayReview = watches && !part && g.State != breakglass.StateActive && g.Review != breakglass.ReviewDone &&
		doc.MayDo(c.live.Role, policy.ActReview, false).Verdict == policy.Permit
	if part {
		v.WhyNot = "You had a part in this. The verdict comes from somebody who had none."
	}
	return nil
}

func (s *Web) acknowledge(c *call) error {
	id := c.r.PathValue("id")
	if _, err := c.BreakGlass.Acknowledge(c.ctx(), c.plainWho(), id); err != nil {
		return err
	}
	return c.done(view.GrantURL(id), "acknowledged")
}

// stopGrant ends somebody's grant early. For another person's it asks for the
// PIN.
func (s *Web) stopGrant(c *call) error {
	id := c.r.PathValue("id")
	who, err := c.who(policy.ActBreakGlass)
	if err == nil {
		_, err = c.BreakGlass.End(c.ctx(), who, id)
	}
	if err != nil {
		bad, err := c.wrong(c.confirm(err, asking{act: "stop this emergency access", detail: "Every session inside it ends at once.", back: view.GrantURL(id)}), nil)
		if err != nil {
			return err
		}
		return c.storyAgain(bad, func(*view.Story) {})
	}
	return c.done(view.GrantURL(id), "grant_stopped")
}

func (s *Web) addNote(c *call) error {
	id, text := c.r.PathValue("id"), c.form.Get("text")
	_, err := c.BreakGlass.Note(c.ctx(), c.plainWho(), id, text)
	if err == nil {
		return c.done(view.GrantURL(id), "note_added")
	}
	bad, err := c.wrong(err, nil, "text")
	if err != nil {
		return err
	}
	return c.storyAgain(bad, func(v *view.Story) { v.NewNote = text })
}

// review records a verdict, or asks back.
func (s *Web) review(c *call) error {
	id := c.r.PathValue("id")
	in := breakglass.ReviewInput{Verdict: c.field("verdict"), Comment: c.form.Get("comment"), Fix: c.field("fix")}
	typed := func(v *view.Story) { v.NewVerdict, v.NewComment, v.NewFix = in.Verdict, in.Comment, in.Fix }
	if in.Verdict == breakglass.VerdictProcessGap && in.Fix == "" {
		return c.storyAgain(invalid("fix", "Say what would have made it unnecessary."), typed)
	}
	who, err := c.who(policy.ActReview)
	if err == nil {
		_, err = c.BreakGlass.Review(c.ctx(), who, id, in)
	}
	if err != nil {
		bad, err := c.wrong(c.confirm(err, asking{act: "record your verdict", detail: "It cannot be undone.", back: view.GrantURL(id)}), nil, "verdict", "comment", "fix")
		if err != nil {
			return err
		}
		return c.storyAgain(bad, typed)
	}
	if in.Verdict == breakglass.VerdictNeedsInfo {
		return c.done(view.GrantURL(id), "asked")
	}
	return c.done(view.GrantURL(id), "reviewed")
}

func (c *call) storyAgain(bad wrong, typed func(*view.Story)) error {
	v, err := c.story()
	if err != nil {
		return err
	}
	typed(&v)
	v.Errors = bad.fields
	return c.show(bad.status, view.StoryPage(v))
}
