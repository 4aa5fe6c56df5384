package breakglass

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	// awaitIndex is how long an answer waits for the record's index.
	awaitIndex = 2 * time.Second
	// manyOpen is how many open grants of a workspace are nothing unusual.
	manyOpen = 3
	// chainSpan is within what time grants of one person are a chain.
	chainSpan = 12 * time.Hour
	// sameReasons is how many earlier reasons a new one must differ from.
	sameReasons = 3
)

// Started is the answer to a start.
type Started struct {
	Grant
	// Attached says that a right sealed code met an open grant: the session was
	// put inside that one, and the code is unspent.
	Attached bool `json:"-"`
	// PickupCode lets the subject of a named start take it up in a browser that is
	// not signed in; canonical, shown once.
	PickupCode identity.Secret `json:"-"`
	Audit      Audit           `json:"audit"`
	// Session is the emergency session that a sealed code opened in this browser.
	// Of oneself it is the session that was there already.
	Session *session.Live `json:"-"`
}

// Audit says where the record has an event: its index and a signed checkpoint
// that covers it, or, where that took too long, a receipt.
type Audit struct {
	Index      *int64  `json:"index"`
	Checkpoint *string `json:"checkpoint"`
	// Receipt is the event's id, its leaf's hash and Mitral's own tag on both.
	Receipt string `json:"receipt,omitempty"`
}

// Start opens emergency access, or practises it. What it refuses with 400, 409,
// 422 or 503 leaves step-up token and sealed code unspent. Who started it once
// more in the same browser with the same IdempotencyKey gets the same answer.
func (b *BreakGlass) Start(ctx context.Context, who signin.Who, in StartInput) (Started, error) {
	if who.Visit == nil {
		return Started{}, errNotYours
	}
	if err := b.Resume(ctx); err != nil {
		return Started{}, paper(err)
	}
	var s Started
	var err error
	if in.Kind == KindSealed {
		s, err = b.startSealed(ctx, who, in)
	} else {
		s, err = b.startLive(ctx, who, in)
	}
	return s, paper(err)
}

// opened is what a deciding transaction came to.
type opened struct {
	grant    store.Grant
	eventID  string // what the answer's audit is about
	attached bool
	live     *session.Live
	pickup   identity.Secret
}

// startLive is a start by an administrator who is signed in or locked here, for
// themself or for somebody they name.
func (b *BreakGlass) startLive(ctx context.Context, who signin.Who, in StartInput) (Started, error) {
	live := who.Live
	if live == nil {
		return Started{}, errSignedOut
	}
	once := b.once(who.Visit.Client.Device, live.WorkspaceID, in)
	if again, found, err := b.again(ctx, live.WorkspaceID, once, live.UserID); found || err != nil {
		return again, err
	}
	a := liveStart{BreakGlass: b, who: who, in: in, once: once}
	if err := a.permitted(ctx); err != nil {
		return Started{}, b.recordDenied(ctx, who.By(), live.WorkspaceID, in.Kind, "", err)
	}
	if err := a.in.check(); err != nil {
		return Started{}, err
	}
	if a.in.Kind == KindNamed && a.in.Subject == live.UserID {
		return Started{}, identity.RefuseField("subject", "self", "Open it for yourself instead.")
	}
	if err := a.prepare(ctx); err != nil {
		return Started{}, err
	}
	var out opened
	err := b.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
		out = opened{}
		return b.denied(tx, "", a.in.Kind, a.subjectID(), a.decide(tx, &out))
	})
	if store.Conflict(err) || errors.Is(err, errLost) {
		// Another start for the same person, or with the same key, was first.
		if again, found, err := b.again(ctx, live.WorkspaceID, once, live.UserID); found || err != nil {
			return again, err
		}
		err = b.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
			return b.denied(tx, "", a.in.Kind, a.subjectID(), openAlready(tx.OpenGrantOf(a.subjectID())))
		})
	}
	if err != nil {
		return Started{}, err
	}
	return b.answer(ctx, live.WorkspaceID, out), nil
}

// liveStart is one such start on its way.
type liveStart struct {
	*BreakGlass
	who    signin.Who
	in     StartInput
	once   once
	doc    policy.Document
	id     string
	pickup preparedPickup
}

func (a *liveStart) subjectID() string {
	if a.in.Kind == KindNamed {
		return a.in.Subject
	}
	return a.who.Live.UserID
}

// permitted asks whether this person may open emergency access at all.
func (a *liveStart) permitted(ctx context.Context) error {
	if g := a.who.Live.Grant; g != nil {
		return inside(g)
	}
	var err error
	if a.doc, _, err = a.sessions.Policy(ctx, a.who.Live.WorkspaceID); err != nil {
		return err
	}
	if !a.doc.BreakGlass.Enabled {
		return errOff()
	}
	return a.signin.Allowed(ctx, a.who, policy.ActBreakGlass)
}

// inside refuses a further start within a grant.
func inside(g *session.Grant) error {
	r := identity.Refuse(identity.Conflict, "inside_break_glass", "You are inside emergency access "+g.Ref+" already. End it before you open another.")
	r.Extra = map[string]any{"break_glass": map[string]any{"id": g.ID, "ref": g.Ref}}
	return r
}

// openAlready is the refusal of a second start for somebody, naming the first.
func openAlready(g store.Grant, err error) error {
	if err != nil {
		return fmt.Errorf("couldn't read the open grant: %w", err)
	}
	r := identity.Refuse(identity.Conflict, "break_glass_open", "Emergency access "+g.Ref+" is open for this person already.")
	r.Extra = map[string]any{"break_glass": map[string]any{"id": g.ID, "ref": g.Ref}}
	return r
}

// prepare does what must not happen inside a transaction: it hashes the pick-up
// code.
func (a *liveStart) prepare(ctx context.Context) error {
	a.id = identity.NewID(identity.GrantID)
	if a.in.Kind != KindNamed || a.in.Drill {
		return nil
	}
	var err error
	a.pickup, err = a.preparePickup(ctx, a.id, signin.Lane{Device: a.who.Live.DeviceID, Range: a.who.Visit.Client.Range()})
	return err
}

// decide opens the grant, or refuses: person, open grant, reason, and last the
// step-up, so that only a decision costs its token.
func (a *liveStart) decide(tx *store.Tx, out *opened) error {
	live := a.who.Live
	subject, err := tx.User(a.subjectID())
	if errors.Is(err, store.ErrNoRows) {
		return unknownSubject()
	}
	if err != nil {
		return err
	}
	if subject.DisabledAt > 0 {
		return disabledSubject()
	}
	// The words are looked at first: a grant that was opened with them just now is
	// then also seen to be open.
	words := freshReason(tx, live.UserID, a.in)
	if !a.in.Drill {
		if g, err := tx.OpenGrantOf(subject.ID); !errors.Is(err, store.ErrNoRows) {
			return openAlready(g, err)
		}
	}
	if words != nil {
		return words
	}
	if err := a.signin.Confirm(tx, live, a.doc, policy.ActBreakGlass, a.who.StepUp, ""); err != nil {
		return err
	}
	o := opening{id: a.id, in: a.in, doc: a.doc, subject: subject, invoker: live.UserID, device: live.DeviceID, pickup: a.pickup}
	if err := a.open(tx, o, out); err != nil {
		return err
	}
	if err := a.keep(tx, a.once, *out); err != nil || a.in.Drill {
		return err
	}
	if a.in.Kind == KindNamed {
		_, err := a.attachActive(tx, out.grant, a.doc)
		return err
	}
	return a.become(tx, out)
}

// become puts the administrator's own session inside the grant. One that was
// locked is open from then on: its PIN was typed for the step-up.
func (a *liveStart) become(tx *store.Tx, out *opened) error {
	live, v := a.who.Live, a.who.Visit
	if live.State == session.Locked {
		if _, err := a.sessions.Unlock(tx, v, live, false); err != nil {
			return err
		}
		if _, err := tx.Record(about(out.grant, audit.Event{Type: "session.unlock", Outcome: audit.Success, Method: "step_up"})); err != nil {
			return err
		}
	}
	_, err := a.sessions.AttachGrant(tx, v, live.ID, out.grant.ID, timeOf(out.grant.ExpiresAt))
	return err
}

// idleLag is how far the database's last activity may be behind.
const idleLag = 5 * time.Second

// attachActive puts the subject's sessions that somebody is working in inside a
// named grant and returns which those were. Locked, parked and forgotten ones
// stay as they are until the person has proven themself.
func (b *BreakGlass) attachActive(tx *store.Tx, g store.Grant, doc policy.Document) ([]string, error) {
	subject, err := tx.User(g.SubjectID)
	if err != nil {
		return nil, err
	}
	rules, _ := doc.Role(identity.Role(subject.Role))
	rows, err := tx.OpenSessions(g.SubjectID)
	if err != nil {
		return nil, err
	}
	var taken []string
	for _, row := range rows {
		idleAt := timeOf(row.LastActivity).Add(rules.Idle + idleLag)
		if row.State != string(session.Active) || row.GrantID != "" || !idleAt.After(tx.Now()) {
			continue
		}
		if _, err := b.sessions.AttachGrant(tx, nil, row.ID, g.ID, timeOf(g.ExpiresAt)); err != nil {
			return nil, err
		}
		taken = append(taken, row.ID)
	}
	return taken, nil
}

// opening is a grant about to be opened: everything it could be refused for has
// been looked at.
type opening struct {
	id       string
	in       StartInput
	doc      policy.Document
	subject  store.User // without an id: a visitor who practises
	invoker  string
	identity string
	device   string
	codeID   string
	pickup   preparedPickup
}

// open writes the grant: event, row, what belongs to it, and the messages.
func (b *BreakGlass) open(tx *store.Tx, o opening, out *opened) error {
	n, err := tx.TakeRef()
	if err != nil {
		return err
	}
	ref := fmt.Sprintf("BG-%04d", n)
	flags, linked, err := b.startFlags(tx, o)
	if err != nil {
		return err
	}
	g := store.Grant{ID: o.id, Category: o.in.Category, Drill: number(o.in.Drill)}
	detail := audit.Detail{"kind": o.in.Kind, "ref": ref, "category": o.in.Category, "reason": o.in.Reason, "identity": o.identity,
		"minutes": int64(o.doc.BreakGlass.Minutes), "linked_to": linked, "flags": strings.Join(flags, " ")}
	if o.in.Drill {
		detail["drill"] = true
	}
	if o.in.Unidentified {
		detail["unidentified"] = true
	}
	if o.in.PatientRef != "" {
		detail["patient_salt"], detail["patient_digest"] = saltedDigest(o.in.PatientRef)
	}
	e := audit.Event{Type: "break_glass.start", Outcome: audit.Success, Actor: o.invoker, Detail: detail}
	if o.subject.ID != o.invoker {
		e.User = o.subject.ID
	}
	if out.eventID, err = tx.Record(about(g, e)); err != nil {
		return err
	}
	window := time.Duration(o.doc.BreakGlass.Minutes) * time.Minute
	err = tx.InsertGrant(store.InsertGrantParams{ID: o.id, Ref: ref, Kind: o.in.Kind, Drill: number(o.in.Drill), SubjectID: o.subject.ID,
		Invoker: o.invoker, Identity: o.identity, Category: o.in.Category, Reason: o.in.Reason, PatientRef: o.in.PatientRef,
		Unidentified: number(o.in.Unidentified), EventID: out.eventID, DeviceID: o.device, CodeID: o.codeID,
		PickupVerifier: append([]byte{}, o.pickup.verifier...), PickupExpiresAt: o.pickup.expiresAt(tx.Now()), Flags: strings.Join(flags, " "),
		ExpiresAt: tx.Now().Add(window).UnixMicro(), Remaining: window.Microseconds()})
	if err != nil {
		return err
	}
	if o.in.Drill { // over before it began: the practice is in the asking and the telling
		_, err := tx.EndGrant(store.EndGrantParams{ID: o.id, State: StateEnded, EndedAt: tx.Micros(), EndedBy: o.invoker})
		if err != nil {
			return err
		}
	}
	if o.in.Visiting != nil {
		if err := addEntry(tx, o.id, entryRegistration, o.invoker, o.in.Visiting.RegNo); err != nil {
			return err
		}
	}
	if out.grant, err = tx.Grant(o.id); err != nil {
		return err
	}
	out.pickup = o.pickup.code
	return b.tellStart(tx, out.grant)
}

// startFlags says what is remarkable about a start, and which grant it follows.
func (b *BreakGlass) startFlags(tx *store.Tx, o opening) (flags []string, linked string, err error) {
	if o.in.Drill {
		return nil, "", nil
	}
	before, err := tx.GrantsOfSubject(o.subject.ID)
	if err != nil {
		return nil, "", err
	}
	chain := 0
	for _, g := range before {
		if g.Drill == 0 && g.StartedAt > tx.Now().Add(-chainSpan).UnixMicro() {
			if chain == 0 {
				linked = g.ID
			}
			chain++
		}
	}
	if chain >= 1 {
		flags = append(flags, FlagChained)
	}
	if chain >= 2 {
		flags = append(flags, FlagAskAck)
	}
	open, err := tx.CountOpenGrants()
	if err != nil {
		return nil, "", err
	}
	if open >= manyOpen {
		flags = append(flags, FlagManyOpen)
		tx.After(func() {
			b.log.Warn("many emergency accesses are open at once", "workspace", tx.WorkspaceID(), "open", open+1)
		})
	}
	normal, err := normalPath(tx, o.subject, o.doc)
	if err != nil {
		return nil, "", err
	}
	if normal {
		flags = append(flags, FlagNormalPath)
	}
	return flags, linked, nil
}

// normalPath reports whether the person could have signed in with key and PIN.
func normalPath(tx *store.Tx, u store.User, doc policy.Document) (bool, error) {
	rules, _ := doc.Role(identity.Role(u.Role))
	keys, err := tx.LiveUserKeys(u.ID)
	if err != nil {
		return false, err
	}
	_, err = tx.UserPin(u.ID)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return false, err
	}
	if err != nil || len(keys) == 0 || u.PausedUntil > tx.Micros() || !slices.Contains(rules.Methods, policy.KeyPIN) {
		return false, nil //nolint:nilerr // no PIN is an answer
	}
	proven := policy.Proven{Role: identity.Role(u.Role), Method: policy.KeyPIN, FirstSignIn: timeOf(u.SignedInAt)}
	return doc.Accepts(proven, tx.Now()).State == policy.SignedIn, nil
}

// freshReason refuses the words that a person gave for one of their last three
// starts. author is who types: the administrator, or the holder of a code.
func freshReason(tx *store.Tx, author string, in StartInput) error {
	if author == "" || in.Drill {
		return nil
	}
	before, err := tx.GrantsOfPerson(author)
	if err != nil {
		return err
	}
	n := 0
	for _, g := range before {
		typedBy := g.Invoker
		if g.Kind == KindSealed {
			typedBy = g.SubjectID
		}
		if typedBy != author || g.Drill > 0 {
			continue
		}
		if sameReason(g.Reason, in.Reason) {
			return identity.RefuseField("reason", "same_as_before", "You gave exactly this reason before. Say what is different now.")
		}
		if n++; n == sameReasons {
			break
		}
	}
	return nil
}

func unknownSubject() error {
	return identity.Refuse(identity.Unknown, "unknown_subject", "There is no such person here.")
}

func disabledSubject() error {
	return identity.Refuse(identity.Forbidden, "subject_disabled", "This person's account is switched off, so emergency access cannot be opened for them.")
}

// denied leaves the event of a start that was refused, and hands the refusal
// on. actor is "" for who acts anyway. Input that was not accepted leaves none:
// nothing was tried.
func (b *BreakGlass) denied(tx *store.Tx, actor, kind, subjectID string, err error) error {
	var r *identity.Refusal
	if !errors.As(err, &r) || r.Kind == identity.Invalid {
		return err
	}
	e := audit.Event{Type: "break_glass.start", Outcome: audit.Denied, Actor: actor, User: subjectID, Detail: audit.Detail{"kind": kind, "reason": r.Code}}
	if r.Kind == identity.Unknown {
		e.User = "" // an identifier that matched nobody is not recorded
	}
	if _, err := tx.Record(e); err != nil {
		return err
	}
	return r
}

// recordDenied is denied for a start that was refused before its transaction.
func (b *BreakGlass) recordDenied(ctx context.Context, by audit.By, workspaceID, kind, subjectID string, refusal error) error {
	var r *identity.Refusal
	if !errors.As(refusal, &r) || r.Kind == identity.Unavailable {
		return refusal
	}
	return b.db.Workspace(ctx, by, workspaceID, func(tx *store.Tx) error {
		return b.denied(tx, "", kind, subjectID, r)
	})
}

// answer makes the answer to what has committed: it waits a little for the
// record, and reads how far the messages have come.
func (b *BreakGlass) answer(ctx context.Context, workspaceID string, o opened) Started {
	s := Started{Attached: o.attached, PickupCode: o.pickup, Session: o.live}
	index, checkpoint, ok := b.recorder.Await(ctx, o.eventID, awaitIndex)
	if ok {
		s.Audit = Audit{Index: &index, Checkpoint: &checkpoint}
	}
	err := b.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		row, err := tx.Grant(o.grant.ID)
		if err != nil {
			return err
		}
		if !ok {
			if s.Audit.Receipt, err = b.receipt(tx, row.ID, o.eventID); err != nil {
				return err
			}
		}
		s.Grant, err = b.show(tx, row)
		return err
	})
	if err != nil { // it is open all the same, and is answered with what is known
		b.log.WarnContext(ctx, "couldn't read emergency access that was just opened", "grant", o.grant.ID, "error", err)
		s.Grant = b.plain(o.grant)
	}
	return s
}

// receipt is what stands in for index and checkpoint.
func (b *BreakGlass) receipt(tx *store.Tx, grantID, eventID string) (string, error) {
	leaf, err := leafOf(tx, grantID, eventID)
	if err != nil {
		return "", err
	}
	hash := audit.LeafHash([]byte(leaf)).String()
	return eventID + " " + hash + " " + b.keys.Tag("receipt", eventID, hash), nil
}

// leafOf returns an event of a grant as it is recorded.
func leafOf(tx *store.Tx, grantID, eventID string) (string, error) {
	events, err := tx.EventsOfGrant(grantID)
	if err != nil {
		return "", err
	}
	for _, e := range events {
		if e.ID == eventID {
			return e.Leaf, nil
		}
	}
	return "", fmt.Errorf("couldn't find event %s: %w", eventID, store.ErrNoRows)
}
