package web

import (
	"net/http"
	"slices"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// accountPage is a person's own security page.
func (s *Web) accountPage(c *call) error {
	v, err := c.account()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.AccountPage(v))
}

func (c *call) account() (view.Account, error) {
	doc, _, err := c.Sessions.Policy(c.ctx(), c.live.WorkspaceID)
	if err != nil {
		return view.Account{}, err
	}
	own, err := c.Directory.Credentials(c.ctx(), c.live.WorkspaceID, c.live.UserID)
	if err != nil {
		return view.Account{}, err
	}
	list, err := c.Sessions.Sessions(c.ctx(), c.live)
	if err != nil {
		return view.Account{}, err
	}
	v := view.Account{Identifier: c.live.Email, ConfirmedAt: c.live.FreshAt, KeyMade: own.KeyMade, OldKeyStops: own.OldKeyStops, PINChanged: own.PINSet,
		PINLength: doc.PIN.Length, Sessions: sessionRows(list), CodesLeft: own.CodesLeft, CodesTotal: own.CodesTotal}
	if doc.PIN.MaxAgeDays > 0 && !own.PINSet.IsZero() {
		v.PINDue = own.PINSet.AddDate(0, 0, doc.PIN.MaxAgeDays)
	}
	entries, err := c.Recorder.Events(c.ctx(), c.live.WorkspaceID, record.Filter{User: c.live.UserID, Limit: 12})
	if err != nil {
		return view.Account{}, err
	}
	if v.Activity, err = c.told(entries); err != nil {
		return view.Account{}, err
	}
	v.Frame = c.frame()
	v.Frame.Standing, err = c.unfinishedNotes()
	return v, err
}

// unfinishedNotes reminds of emergencies that the person used and has not
// explained yet.
func (c *call) unfinishedNotes() ([]view.Notice, error) {
	if c.live.Grant != nil {
		return nil, nil
	}
	grants, err := c.BreakGlass.List(c.ctx(), c.plainWho())
	if err != nil {
		return nil, err
	}
	var out []view.Notice
	for _, g := range grants {
		if g.Subject != c.live.UserID || g.Drill || g.EndedAt == nil || c.Now().Sub(*g.EndedAt) > noteWithin {
			continue
		}
		if g, err = c.BreakGlass.Get(c.ctx(), c.plainWho(), g.ID); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(g.Entries, func(e breakglass.Entry) bool { return e.Kind == "note" && e.Actor == c.live.UserID }) {
			out = append(out, view.Notice{Tone: view.Warn, Title: "Finish your note on " + g.Ref + ".", Text: "Say what happened, while you remember it.",
				Link: view.Link{Label: "Write it", URL: ownGrantURL(g.ID)}})
		}
	}
	return out, nil
}

func sessionRows(list []session.Listed) []view.Session {
	var out []view.Session
	for _, l := range list {
		row := view.Session{ID: l.ID, Place: l.UserAgent, State: string(l.State), LastActive: l.LastActivity, Here: l.This, Emergency: l.GrantID != ""}
		if l.IP != "" {
			row.Place += " · " + l.IP
		}
		if l.Parked {
			row.State = "parked"
		}
		out = append(out, row)
	}
	return out
}

// changePIN sets a new PIN; the present one is the proof.
func (s *Web) changePIN(c *call) error {
	_, err := c.Signin.ChangePIN(c.ctx(), signin.Who{Live: c.live, Visit: c.visit}, c.secret("current_pin"), c.secret("new_pin"))
	if err == nil {
		return c.done(view.PageAccount, "pin_changed")
	}
	bad, rest := c.wrong(err, map[string]string{"wrong_pin": "current_pin"}, "current_pin", "new_pin")
	if rest != nil {
		return rest
	}
	if n, _ := triesLeft(err); n > 0 {
		bad.fields["current_pin"] = "That is not your PIN. " + tries(n) + " left, then this session ends."
	}
	v, err := c.account()
	if err != nil {
		return err
	}
	v.Errors = bad.fields
	return c.show(bad.status, view.AccountPage(v))
}

// replaceKey gives a new key, and shows it once.
func (s *Web) replaceKey(c *call) error {
	who, err := c.who(policy.ActCredentials)
	var key identity.Secret
	stops := c.Now()
	if err == nil {
		key, stops, err = c.Signin.RotateKey(c.ctx(), who)
	}
	if err != nil {
		return c.confirm(err, asking{act: "replace your key", detail: "The old one works a few days more, so that nobody is caught out.", back: view.PageAccount})
	}
	v := view.KeyOnce{Frame: c.frame(), Action: view.PostKeySaved, Name: c.live.Name, Identifier: c.live.Email, Address: s.signInAddress(), Key: identity.FormatKey(key)}
	if stops.After(c.Now()) {
		v.OldKeyStops = stops
	}
	return c.show(http.StatusOK, view.KeyOncePage(v))
}

func (s *Web) keySaved(c *call) error {
	if again, ok := c.keptKey(view.PostKeySaved); !ok {
		return c.show(http.StatusUnprocessableEntity, view.KeyOncePage(again))
	}
	return c.done(view.PageAccount, "key_kept")
}

// newRecoveryCodes makes ten new ones in place of the old, and shows them once.
func (s *Web) newRecoveryCodes(c *call) error {
	who, err := c.who(policy.ActFactors)
	var codes []identity.Secret
	if err == nil {
		codes, err = s.Directory.NewRecoveryCodes(c.ctx(), who)
	}
	if err != nil {
		return c.confirm(err, asking{act: "make new recovery codes", detail: "The old ones stop at once.", back: view.PageAccount})
	}
	return c.show(http.StatusOK, view.RecoverySheetPage(view.RecoverySheet{Frame: c.frame(), Name: c.live.Name, Identifier: c.live.Email, Address: s.signInAddress(),
		Codes: revealed(codes), MadeAt: c.Now(), Next: view.Link{Label: "Done", URL: view.PageAccount}}))
}

// endSession ends one of the person's own sessions.
func (s *Web) endSession(c *call) error {
	id := c.r.PathValue("id")
	if err := c.Sessions.EndOwn(c.ctx(), c.visit, c.live, id); err != nil {
		return err
	}
	if id == c.live.ID {
		return c.redirect(view.PageSignIn + "?resume=0")
	}
	return c.done(view.PageAccount, "session_ended")
}

func (s *Web) endOthers(c *call) error {
	if _, err := c.Sessions.EndOthers(c.ctx(), c.visit, c.live); err != nil {
		return err
	}
	return c.done(view.PageAccount, "others_ended")
}

// endEverywhere ends all of the person's sessions, this one last.
func (s *Web) endEverywhere(c *call) error {
	if _, err := c.Sessions.EndOthers(c.ctx(), c.visit, c.live); err != nil {
		return err
	}
	return s.signOut(c)
}
