package web

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/web/view"
)

// overviewPage is the console's first page: what needs an administrator now.
func (s *Web) overviewPage(c *call) error {
	if c.live.Class == identity.Review && c.live.Grant == nil {
		return c.redirect(view.PageBreakGlass)
	}
	v := view.Overview{}
	var grants []breakglass.Grant
	var err error
	if v.Readiness, grants, err = c.readiness(); err != nil {
		return err
	}
	if v.Open, v.Waiting, _, err = c.sorted(grants); err != nil {
		return err
	}
	v.Waiting = v.Waiting[:min(len(v.Waiting), 10)]
	if v.Latest, err = c.watched(record.Filter{Limit: 8}); err != nil {
		return err
	}
	v.Frame = c.frame()
	v.Frame.Standing = undelivered(grants)
	return c.show(http.StatusOK, view.OverviewPage(v))
}

// undelivered says that nobody was told of an emergency, as long as that is so.
func undelivered(grants []breakglass.Grant) []view.Notice {
	var out []view.Notice
	for _, g := range grants {
		if slices.Contains(g.Flags, breakglass.FlagUndelivered) && g.AcknowledgedAt == nil {
			out = append(out, view.Notice{Tone: view.Bad, Title: "Nobody could be told of " + g.Ref + ".", Text: "Mail and text messages did not get through. Look at it now.",
				Link: view.Link{Label: "Open it", URL: view.GrantURL(g.ID)}})
		}
	}
	return out[:min(len(out), 3)]
}

// drillEvery is how often a clinic should practise.
const drillEvery = 90 * 24 * time.Hour

// readiness says how ready the clinic is for a bad day, and returns the grants it
// looked at. It is for administrators: others are refused.
func (c *call) readiness() (view.Readiness, []breakglass.Grant, error) {
	users, err := c.Directory.Users(c.ctx(), c.plainWho(), c.live.WorkspaceID)
	if err != nil {
		return view.Readiness{}, nil, err
	}
	doc, _, err := c.Sessions.Policy(c.ctx(), c.live.WorkspaceID)
	if err != nil {
		return view.Readiness{}, nil, err
	}
	codes, err := c.BreakGlass.Codes(c.ctx(), c.plainWho())
	if err != nil {
		return view.Readiness{}, nil, err
	}
	grants, err := c.BreakGlass.List(c.ctx(), c.plainWho())
	if err != nil {
		return view.Readiness{}, nil, err
	}
	administrators, reviewer := 0, false
	for _, u := range users {
		if administers(doc, u) {
			administrators++
		}
		rules, _ := doc.Role(u.Role)
		reviewer = reviewer || rules.Class == identity.Review && u.DisabledAt.IsZero()
	}
	drilled := slices.ContainsFunc(grants, func(g breakglass.Grant) bool { return g.Drill && c.Now().Sub(g.StartedAt) < drillEvery })
	return view.Readiness{Lights: []view.Light{
		administratorsLight(administrators),
		reviewerLight(reviewer),
		codesLight(codes, c.Now()),
		c.messagesLight(),
		drillLight(drilled),
	}}, grants, nil
}

// firstReadiness is readiness as setup ends, before anybody has signed in.
func (c *call) firstReadiness(v setup) view.Readiness {
	letters := view.Light{Name: "Sealed codes", Tone: view.Warn, Text: "Put one copy of the letters away from this computer"}
	if v.Kept {
		letters.Tone, letters.Text = view.Good, "Two, in two places"
	}
	return view.Readiness{Lights: []view.Light{
		administratorsLight(1),
		reviewerLight(v.Another != nil && v.Another.Role == identity.PrivacyReviewer),
		letters,
		c.messagesLight(),
		drillLight(false),
	}}
}

func administratorsLight(n int) view.Light {
	if n >= 2 {
		return view.Light{Name: "Administrators", Tone: view.Good, Text: fmt.Sprintf("%d can sign in", n)}
	}
	return view.Light{Name: "Administrators", Tone: view.Warn, Text: "Only one can sign in: a second can let them back in", Link: view.Link{Label: "Add one", URL: view.PageNewPerson}}
}

func reviewerLight(there bool) view.Light {
	if there {
		return view.Light{Name: "Privacy reviewer", Tone: view.Good, Text: "There is one"}
	}
	return view.Light{Name: "Privacy reviewer", Tone: view.Warn, Text: "Somebody outside the daily work should look at emergencies", Link: view.Link{Label: "Add one", URL: view.PageNewPerson}}
}

func codesLight(codes []breakglass.Code, now time.Time) view.Light {
	link := view.Link{Label: "Make some", URL: view.PageCodes}
	ready, old := 0, false
	for _, code := range codes {
		if code.State == breakglass.CodeReady {
			ready++
			old = old || now.After(code.ReplaceBy)
		}
	}
	switch {
	case ready == 0:
		return view.Light{Name: "Sealed codes", Tone: view.Bad, Text: "None is left: without an administrator nobody gets in", Link: link}
	case ready == 1:
		return view.Light{Name: "Sealed codes", Tone: view.Warn, Text: "One is left; keep two at least", Link: link}
	case old:
		return view.Light{Name: "Sealed codes", Tone: view.Warn, Text: "Some are older than half a year: replace them", Link: link}
	}
	return view.Light{Name: "Sealed codes", Tone: view.Good, Text: fmt.Sprintf("%d are ready", ready)}
}

func (c *call) messagesLight() view.Light {
	switch {
	case c.Mail && c.SMS:
		return view.Light{Name: "Messages", Tone: view.Good, Text: "Mail and text messages can be sent"}
	case c.Mail:
		return view.Light{Name: "Messages", Tone: view.Warn, Text: "Only mail can be sent: at night a text message is seen sooner"}
	case c.SMS:
		return view.Light{Name: "Messages", Tone: view.Warn, Text: "Only text messages can be sent"}
	}
	return view.Light{Name: "Messages", Tone: view.Bad, Text: "Nothing can be sent: whoever runs the server sets up mail or text messages"}
}

func drillLight(done bool) view.Light {
	if done {
		return view.Light{Name: "Drill", Tone: view.Good, Text: "Practised within three months"}
	}
	return view.Light{Name: "Drill", Tone: view.Warn, Text: "Practise once every three months: it opens nothing", Link: view.Link{Label: "Start one", URL: view.PageEmergency + "?drill=1"}}
}

// healthPage shows readiness and the server's own checks.
func (s *Web) healthPage(c *call) error {
	v := view.Health{Version: s.Version}
	var err error
	if v.Readiness, _, err = c.readiness(); err != nil {
		return err
	}
	if s.Checks != nil {
		v.Checks = s.Checks(c.ctx())
	}
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.HealthPage(v))
}
