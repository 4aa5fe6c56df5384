package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// emergencyPage asks who opens emergency access, for whom and why; inside a
// grant it shows that.
func (s *Web) emergencyPage(c *call) error {
	switch {
	case c.open() && c.live.Grant != nil:
		g, err := c.BreakGlass.Get(c.ctx(), c.plainWho(), c.live.Grant.ID)
		if err != nil {
			return err
		}
		return c.showGrant(http.StatusOK, g, c.callback(), nil)
	case c.locked() && c.live.Grant != nil:
		return c.show(http.StatusOK, view.LockPage(c.lockScreen(view.PageEmergency)))
	}
	q := c.r.URL.Query()
	v, err := c.emergencyForm(q.Get("workspace"))
	if err != nil {
		return err
	}
	v.Drill, v.CallbackURL, v.IdempotencyKey = q.Get("drill") == "1", c.callback(), c.newIdempotencyKey()
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.EmergencyPage(v))
}

// newIdempotencyKey makes a form's repetition harmless. The time in it tells a
// drill how long it took.
func (c *call) newIdempotencyKey() string {
	return strconv.FormatInt(c.Now().UnixMilli(), 10) + "-" + identity.NewToken().Reveal()
}

// drillTook is how long ago a form's key was made; nothing where that makes no
// sense.
func (c *call) drillTook(key string) time.Duration {
	begun, _, _ := strings.Cut(key, "-")
	ms, err := strconv.ParseInt(begun, 10, 64)
	took := c.Now().Sub(time.UnixMilli(ms))
	if err != nil || took < 0 || took > time.Hour {
		return 0
	}
	return took
}

// maxListed is how many clinics are listed to strangers. Where there are more,
// the page's address names one.
const maxListed = 12

// emergencyForm is the empty form, for this browser's session and workspace.
func (c *call) emergencyForm(slug string) (view.Emergency, error) {
	v := view.Emergency{Workspace: slug}
	w, err := c.emergencyWorkspace(slug, &v)
	if err != nil || w.ID == "" {
		return v, err
	}
	c.space, v.Workspace = w, w.Slug
	doc, _, err := c.Sessions.Policy(c.ctx(), w.ID)
	if err != nil {
		return v, err
	}
	v.PINLength, v.Minutes = doc.PIN.Length, doc.BreakGlass.Minutes
	if c.live == nil || c.live.Class != identity.Administration || c.live.WorkspaceID != w.ID {
		return v, nil
	}
	v.Own = &view.Authority{Name: c.live.Name, Locked: c.locked()}
	// An administrator, locked or not: whom they may open for is no secret here.
	users, err := c.Directory.Users(c.ctx(), signin.CLI(), w.ID)
	for _, u := range users {
		if u.ID != c.live.UserID && u.DisabledAt.IsZero() && !u.Visiting && len(v.Own.People) < maxOptions {
			v.Own.People = append(v.Own.People, view.Option{Value: u.ID, Label: u.Name})
		}
	}
	slices.SortFunc(v.Own.People, func(a, b view.Option) int { return strings.Compare(a.Label, b.Label) })
	return v, err
}

// emergencyWorkspace is the one that is named, else this browser's session's, else
// the only one. Where there are a few, the form lists them.
func (c *call) emergencyWorkspace(slug string, v *view.Emergency) (directory.Workspace, error) {
	if slug == "" && c.live != nil {
		return c.Directory.Workspace(c.ctx(), c.live.WorkspaceID)
	}
	w, err := c.findWorkspace(slug)
	if err != nil || w.ID != "" || slug != "" {
		return w, err
	}
	all, err := c.Directory.Workspaces(c.ctx())
	if err == nil && len(all) <= maxListed {
		for _, w := range all {
			v.Workspaces = append(v.Workspaces, view.Option{Value: w.Slug, Label: w.Name})
		}
	}
	return directory.Workspace{}, err
}

// emergency opens emergency access, or practises it.
func (s *Web) emergency(c *call) error {
	in := c.start()
	took := c.drillTook(in.IdempotencyKey)
	who, err := c.plainWho(), error(nil)
	if in.Kind != breakglass.KindSealed {
		if c.live == nil {
			return c.redirect(with(view.PageSignIn+"?resume=0", callbackField, view.PageEmergency))
		}
		who, err = c.who(policy.ActBreakGlass)
	}
	var started breakglass.Started
	if err == nil {
		started, err = c.BreakGlass.Start(c.ctx(), who, in)
	}
	if err != nil {
		return c.emergencyAgain(err, in)
	}
	callback := c.callback()
	if started.Session != nil || in.Kind == breakglass.KindSelf && !started.Drill {
		return c.redirect(with(view.PageEmergency, callbackField, callback))
	}
	if c.live == nil { // a stranger's drill
		if c.space, err = c.findWorkspace(in.Workspace); err != nil {
			return err
		}
	}
	return c.showGrant(http.StatusOK, started.Grant, callback, func(v *view.Grant) {
		v.Drill, v.Took = started.Drill, took
		if started.PickupCode != "" {
			v.PickupCode, v.PickupMinutes = identity.FormatCode(started.PickupCode), int(breakglass.PickupLife/time.Minute)
		}
		v.Receipt = started.Audit.Receipt
	})
}

// start reads the form. Of the answers that were not chosen nothing is taken.
func (c *call) start() breakglass.StartInput {
	in := breakglass.StartInput{Kind: breakglass.KindSealed, Workspace: c.field("workspace"), Category: c.field("category"), Reason: c.field("reason"),
		PatientRef: c.field("patient_ref"), Unidentified: c.form.Get("unidentified") == "1", Drill: c.form.Get("drill") == "1", IdempotencyKey: c.field("idempotency_key")}
	if c.field("authority") == "own" {
		in.Kind, in.Subject = breakglass.KindSelf, c.field("for")
		if in.Subject != "" {
			in.Kind = breakglass.KindNamed
		}
		return in
	}
	in.SealedCode, in.PIN = c.secret("sealed_code"), c.secret("pin")
	if c.field("who") == "visiting" {
		in.Visiting = &breakglass.Visiting{Name: c.field("visiting_name"), RegNo: c.field("visiting_reg_no")}
	} else {
		in.Subject = c.field("subject")
	}
	return in
}

var (
	ownFields    = map[string]string{"subject": "for", "unknown_subject": "for", "subject_disabled": "for", "wrong_pin": "pin", "insufficient_user_authentication": "pin"}
	sealedFields = map[string]string{"visiting.name": "visiting_name", "visiting.reg_no": "visiting_reg_no", "wrong_code": "sealed_code", "wrong_pin": "pin",
		"unknown_subject": "subject", "subject_disabled": "subject", "unknown_workspace": "workspace"}
)

// emergencyAgain shows the form with what was wrong. Everything typed is still
// there, but for codes and PINs.
func (c *call) emergencyAgain(err error, in breakglass.StartInput) error {
	rename := sealedFields
	if in.Kind != breakglass.KindSealed {
		rename = ownFields
	}
	bad, rest := c.wrong(err, rename, "workspace", "for", "sealed_code", "subject", "visiting_name", "visiting_reg_no", "pin", "category", "reason", "patient_ref")
	if rest != nil {
		return rest
	}
	if r := refusalOf(err); r.Kind == identity.StepUpNeeded {
		bad.fields["pin"] = "Type your PIN: it confirms that it is you."
	} else if n, _ := triesLeft(err); n > 0 {
		bad.fields["pin"] = "That is not your PIN. " + tries(n) + " left."
	}
	v, err := c.emergencyForm(in.Workspace)
	if err != nil {
		return err
	}
	v.Authority, v.For, v.Who = c.field("authority"), c.field("for"), c.field("who")
	v.Subject, v.VisitingName, v.VisitingRegNo = c.field("subject"), c.field("visiting_name"), c.field("visiting_reg_no")
	v.Category, v.Reason, v.PatientRef, v.Unidentified, v.Drill = in.Category, in.Reason, in.PatientRef, in.Unidentified, in.Drill
	v.CallbackURL, v.IdempotencyKey = c.callback(), in.IdempotencyKey
	if v.IdempotencyKey == "" || bad.fields[""] != "" {
		v.IdempotencyKey = c.newIdempotencyKey()
	}
	v.Errors, v.RetryAfter, v.Frame = bad.fields, bad.retry, c.frame()
	return c.show(bad.status, view.EmergencyPage(v))
}

// pickup takes up what an administrator has opened for this person.
func (s *Web) pickup(c *call) error {
	in := breakglass.PickupInput{Identifier: c.field("identifier"), Code: c.secret("code"), PIN: c.secret("pin"), Workspace: c.field("workspace")}
	_, err := c.BreakGlass.Pickup(c.ctx(), c.plainWho(), in)
	if err == nil {
		return c.redirect(with(view.PageEmergency, callbackField, c.callback()))
	}
	bad, rest := c.wrong(err, map[string]string{"identifier": "pickup_identifier", "code": "pickup_code", "pin": "pickup_pin", "wrong_code": "pickup_code",
		"wrong_pin": "pickup_pin", "unknown_workspace": "pickup"}, "pickup_identifier", "pickup_code", "pickup_pin", "pickup")
	if rest != nil {
		return rest
	}
	v, err := c.emergencyForm(in.Workspace)
	if err != nil {
		return err
	}
	if said := bad.fields[""]; said != "" {
		bad.fields["pickup"] = said
		delete(bad.fields, "")
	}
	v.Authority, v.PickupIdentifier, v.CallbackURL, v.IdempotencyKey = "pickup", in.Identifier, c.callback(), c.newIdempotencyKey()
	v.Errors, v.RetryAfter, v.Frame = bad.fields, bad.retry, c.frame()
	return c.show(bad.status, view.EmergencyPage(v))
}

// showGrant shows an open grant to who holds it or opened it. more adds what
// only the answer that opened it knows.
func (c *call) showGrant(status int, g breakglass.Grant, callback string, more func(*view.Grant)) error {
	names, err := c.names()
	if err != nil {
		return err
	}
	v := view.Grant{ID: g.ID, Ref: g.Ref, Subject: subjectName(g, names), Invoker: actorName(g.Invoker, names), Category: g.Category, Reason: g.Reason, StartedAt: g.StartedAt,
		ExpiresAt: g.ExpiresAt, Left: time.Duration(g.RemainingS) * time.Second, Claimed: g.Identity == breakglass.IdentityClaimed, Told: toldOf(g, names),
		Unreached: slices.Contains(g.Flags, breakglass.FlagUndelivered), Phones: phonesOf(g), Patients: g.Patients, Work: c.work(callback),
		MayEnd: g.State == breakglass.StateActive, Holder: c.live != nil && c.live.Grant != nil && c.live.Grant.ID == g.ID}
	v.Index, v.Checkpoint = c.recorded(g)
	if more != nil {
		more(&v)
	}
	v.Frame = c.frame()
	return c.show(status, view.GrantPage(v))
}

// recorded is where the record has a grant's start; index below 0 where it has
// no signed checkpoint over it yet.
func (c *call) recorded(g breakglass.Grant) (int64, string) {
	for _, m := range g.Timeline {
		if m.Type == "break_glass.start" && m.Outcome == string(audit.Success) {
			if index, note, ok := c.Recorder.Await(c.ctx(), m.ID, 0); ok {
				return index, note
			}
		}
	}
	return -1, ""
}

// work is where to go on working inside a grant.
func (c *call) work(callback string) view.Link {
	to := callback
	if to == "" && !c.atHome() {
		to = edge.OriginOf(c.ctx()) + "/"
	}
	if to == "" && c.Demo != nil {
		to = view.PageChart
	}
	if to == "" || to == view.PageEmergency {
		return view.Link{}
	}
	return view.Link{Label: "Go on working", URL: to}
}

func subjectName(g breakglass.Grant, names func(string) string) string {
	if g.Subject == "" {
		return "Somebody visiting"
	}
	return names(g.Subject)
}

// actorName is what whoever acted is called: a person, a code, the operator.
func actorName(actor string, names func(string) string) string {
	label, code := strings.CutPrefix(actor, audit.CodeActor(""))
	switch {
	case code:
		return "Sealed code " + label
	case actor == audit.ActorCLI:
		return "The operator"
	case actor == audit.ActorSystem:
		return "Mitral"
	}
	return names(actor)
}

func toldOf(g breakglass.Grant, names func(string) string) []view.Told {
	var out []view.Told
	for _, n := range g.Notified {
		t := view.Told{Channel: n.Channel, To: n.To, State: n.State, At: n.SentAt}
		if name := names(n.UserID); name != n.UserID {
			t.Name = name
		}
		out = append(out, t)
	}
	return out
}

func phonesOf(g breakglass.Grant) []view.Contact {
	var out []view.Contact
	for _, p := range g.Phones {
		out = append(out, view.Contact{Name: p.Name, Role: "Phone", Phone: p.Phone})
	}
	return out
}

// ownGrantPage is somebody's own grant, open or over: there the note is
// finished.
func (s *Web) ownGrantPage(c *call) error {
	g, err := c.BreakGlass.Get(c.ctx(), c.plainWho(), c.r.PathValue("id"))
	if err != nil {
		return err
	}
	if g.State == breakglass.StateActive {
		return c.showGrant(http.StatusOK, g, "", nil)
	}
	v := c.grantOver(g)
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.GrantOverPage(v))
}

// noteWithin is how long the person has for the note that explains it all.
const noteWithin = 24 * time.Hour

func (c *call) grantOver(g breakglass.Grant) view.GrantOver {
	v := view.GrantOver{ID: g.ID, Ref: g.Ref, StartedAt: g.StartedAt, EndedAt: c.Now(), State: g.State, MayNote: c.open() && !g.Drill}
	if g.EndedAt != nil {
		v.EndedAt = *g.EndedAt
	}
	v.NoteBy = v.EndedAt.Add(noteWithin)
	if g.Identity == breakglass.IdentityVisiting {
		v.MayNote, v.Next = false, view.Link{Label: "Done", URL: view.PageSignIn + "?resume=0"} // their account is over, too
	} else if !v.MayNote && !g.Drill {
		v.Next = view.Link{Label: "Sign in, and finish your note", URL: with(view.PageSignIn+"?resume=0", callbackField, ownGrantURL(g.ID))}
	}
	return v
}

func ownGrantURL(id string) string { return view.PageEmergency + "/" + id }

// endGrant ends a grant early. With it ends the session inside.
func (s *Web) endGrant(c *call) error {
	id := c.r.PathValue("id")
	who, err := c.who(policy.ActBreakGlass)
	var g breakglass.Grant
	if err == nil {
		g, err = c.BreakGlass.End(c.ctx(), who, id)
	}
	if err != nil {
		return c.confirm(err, asking{act: "stop this emergency access", back: view.GrantURL(id)})
	}
	if c.live.Grant == nil || c.live.Grant.ID != id {
		return c.done(c.grantPage(id), "grant_ended")
	}
	c.now() // the clinic's name and time, before the session is gone
	c.live = nil
	v := c.grantOver(g)
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.GrantOverPage(v))
}

// grantPage is where the person sees a grant: the console, where they have one.
func (c *call) grantPage(id string) string {
	if c.mayWatch() {
		return view.GrantURL(id)
	}
	return ownGrantURL(id)
}

// addPatient adds a patient's reference to the grant that this session is in.
func (s *Web) addPatient(c *call) error {
	id := c.r.PathValue("id")
	_, err := c.BreakGlass.AddPatient(c.ctx(), c.plainWho(), id, c.field("patient_ref"))
	if err == nil {
		return c.done(view.PageEmergency, "patient_added")
	}
	bad, rest := c.wrong(err, nil, "patient_ref")
	if rest != nil || bad.fields["patient_ref"] == "" {
		return err
	}
	g, err := c.BreakGlass.Get(c.ctx(), c.plainWho(), id)
	if err != nil {
		return err
	}
	return c.showGrant(bad.status, g, "", func(v *view.Grant) { v.Errors = bad.fields })
}

// finishNote adds the account of somebody who used a grant.
func (s *Web) finishNote(c *call) error {
	id := c.r.PathValue("id")
	_, err := c.BreakGlass.Note(c.ctx(), c.plainWho(), id, c.form.Get("text"))
	if err == nil {
		return c.done(view.PageAccount, "note_added")
	}
	bad, err := c.wrong(err, nil, "text")
	if err != nil {
		return err
	}
	g, err := c.BreakGlass.Get(c.ctx(), c.plainWho(), id)
	if err != nil {
		return err
	}
	v := c.grantOver(g)
	v.Note, v.Errors, v.Frame = c.form.Get("text"), bad.fields, c.frame()
	return c.show(bad.status, view.GrantOverPage(v))
}
