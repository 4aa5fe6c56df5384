package breakglass

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// CodeSymbols is how many symbols a sealed code has.
const CodeSymbols = 10

// The methods by which sessions of these starts are opened.
const (
	MethodSealed = "sealed_code"
	MethodPickup = "pickup"
)

const (
	wrongCodes = 5         // wrong codes that pause sealed starts
	wrongSpan  = time.Hour // within which they count, and for which they pause
	wrongPINs  = 3         // wrong PINs with one code; the last one opens all the same
	pinSpan    = 30 * 24 * time.Hour
	laneSpan   = time.Second // strangers of a workspace have one try in it
	inClinic   = "clinic"    // policy: break_glass.sealed.where
)

func wrongCode() error {
	return identity.Refuse(identity.Unauthenticated, "wrong_code", "That code does not open anything here. Compare it with the letter and try again.")
}

// spot is the browser that a sealed start comes from.
type spot struct {
	registered bool // a workstation of this workspace
	known      bool // a browser that has signed somebody in here
	clinic     bool // in the clinic: registered, or from the clinic's network
	lane       signin.Lane
	misses     string // the counter of its wrong codes
}

// stranger reports whether nothing is known of the browser.
func (s spot) stranger() bool { return !s.known && !s.clinic }

// sealedStart is a start with a sealed code on its way.
type sealedStart struct {
	*BreakGlass
	who     signin.Who
	v       *session.Visit
	in      StartInput
	once    once
	w       store.Workspace
	doc     policy.Document
	spot    spot
	code    store.SealedCode // without an id: wrong
	subject store.User       // without an id: nobody, or visiting
	proof   signin.PINProof
	id      string
}

// startSealed is a start by whoever holds a sealed code, signed out or locked.
func (b *BreakGlass) startSealed(ctx context.Context, who signin.Who, in StartInput) (Started, error) {
	s := sealedStart{BreakGlass: b, who: who, v: who.Visit, in: in, id: identity.NewID(identity.GrantID)}
	if err := s.in.check(); err != nil {
		return Started{}, err
	}
	if err := s.place(ctx); err != nil {
		return Started{}, err
	}
	s.once = b.once(s.v.Client.Device, s.w.ID, in)
	if again, found, err := s.againInside(ctx); found || err != nil {
		return again, err
	}
	if err := s.admit(ctx); err != nil {
		return Started{}, b.recordStranger(ctx, s, err)
	}
	if err := s.prove(ctx); err != nil {
		return Started{}, b.recordStranger(ctx, s, err)
	}
	var out opened
	var err error
	for range 2 { // once more when another start for the same person was first
		err = b.db.System(ctx, audit.By{Client: s.v.Client}, func(sys *store.SystemTx) error {
			out = opened{}
			return s.decide(sys, &out)
		})
		if !store.Conflict(err) && !errors.Is(err, errLost) {
			break
		}
	}
	if err != nil {
		return Started{}, err
	}
	return b.answer(ctx, s.w.ID, out), nil
}

// place finds out which workspace is meant, and what is known of the browser
// there.
func (s *sealedStart) place(ctx context.Context) error {
	err := s.db.ReadSystem(ctx, func(sys *store.SystemTx) error {
		var err error
		if s.w, err = meantWorkspace(sys, s.who, s.in.Workspace); err != nil {
			return err
		}
		tx := sys.Workspace(s.w.ID)
		s.spot = spot{misses: "sealed:" + s.w.ID + ":" + s.v.Client.Range()}
		if s.v.Client.Device == "" {
			return nil
		}
		d, err := tx.Device(s.v.Client.Device)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		s.spot.known, s.spot.registered = true, d.RegisteredAt > 0
		s.spot.misses = "sealed:" + s.w.ID + ":" + d.ID
		return nil
	})
	if err != nil {
		return err
	}
	if s.doc, _, err = s.sessions.Policy(ctx, s.w.ID); err != nil {
		return err
	}
	s.spot.clinic = s.spot.registered || s.doc.InClinic(s.v.Client.IP)
	return nil
}

// meantWorkspace is the one that is named, else the locked session's, the one
// that this browser is registered in, or the only one.
func meantWorkspace(sys *store.SystemTx, who signin.Who, slug string) (store.Workspace, error) {
	if slug != "" {
		w, err := sys.WorkspaceBySlug(slug)
		if errors.Is(err, store.ErrNoRows) {
			return w, identity.RefuseField("workspace", "unknown", "There is no such clinic here.")
		}
		return w, err
	}
	id := ""
	if who.Live != nil {
		id = who.Live.WorkspaceID
	} else if who.Visit.Client.Device != "" {
		var err error
		id, err = sys.WorkspaceOfDevice(who.Visit.Client.Device)
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return store.Workspace{}, err
		}
	}
	all, err := sys.Workspaces()
	if err != nil {
		return store.Workspace{}, err
	}
	for _, w := range all {
		if w.ID == id || len(all) == 1 {
			return w, nil
		}
	}
	return store.Workspace{}, identity.RefuseField("workspace", "missing", "Say which clinic this is.")
}

// againInside answers a repetition from the very session that the start opened.
func (s *sealedStart) againInside(ctx context.Context) (Started, bool, error) {
	live := s.who.Live
	if live == nil || live.Grant == nil {
		return Started{}, false, nil
	}
	var out opened
	var found bool
	err := s.db.Read(ctx, s.w.ID, func(tx *store.Tx) (err error) {
		out, found, err = s.recall(tx, s.once)
		return err
	})
	if err != nil || !found || out.grant.ID != live.Grant.ID {
		return Started{}, false, err
	}
	out.live = live
	return s.answer(ctx, s.w.ID, out), true, nil
}

// admit asks whether a code may be tried here and now.
func (s *sealedStart) admit(ctx context.Context) error {
	switch {
	case s.who.Live != nil && s.who.Live.Grant != nil:
		return inside(s.who.Live.Grant)
	case !s.doc.BreakGlass.Enabled:
		return errOff()
	case s.doc.BreakGlass.Sealed.Where == inClinic && !s.spot.clinic:
		return identity.Refuse(identity.Forbidden, "sealed_elsewhere", "Sealed codes open only at the clinic's own workstations and network.")
	}
	if err := s.paused(ctx); err != nil {
		return err
	}
	if s.spot.stranger() {
		return s.takeTurn(ctx)
	}
	return nil
}

// paused refuses where five wrong codes came from, before anything is hashed.
func (s *sealedStart) paused(ctx context.Context) error {
	var row store.CountedWithinRow
	err := s.db.ReadSystem(ctx, func(sys *store.SystemTx) (err error) {
		row, err = sys.CountedWithin(s.spot.misses)
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if row.N >= wrongCodes {
		return pausedUntil(timeOf(row.Until).Sub(s.db.Clock().Now()))
	}
	return nil
}

func pausedUntil(left time.Duration) error {
	r := identity.Refuse(identity.Throttled, "sealed_paused", "Five wrong codes came from here, so sealed codes are paused here for an hour. "+
		"Use another workstation, or phone an administrator.")
	r.RetryAfter = max(left, time.Second)
	return r
}

// takeTurn lets one stranger of a workspace try in a second, whoever they are.
func (s *sealedStart) takeTurn(ctx context.Context) error {
	lane := "sealed-lane:" + s.w.ID
	busy := identity.Refuse(identity.Throttled, "busy", "Somebody else is trying a code. Try again in a moment.")
	busy.RetryAfter = laneSpan
	err := s.db.ReadSystem(ctx, func(sys *store.SystemTx) error {
		_, err := sys.CountedWithin(lane)
		return err
	})
	if err == nil {
		return busy
	}
	if !errors.Is(err, store.ErrNoRows) {
		return err
	}
	var n int64
	err = s.db.Upkeep(ctx, func(up *store.UpkeepTx) (err error) {
		n, err = up.CountWithin(lane, laneSpan.Microseconds())
		return err
	})
	if err == nil && n > 1 {
		return busy
	}
	return err
}

// prove finds the code among the workspace's by one hash, and, once it is
// right, compares the person's PIN.
func (s *sealedStart) prove(ctx context.Context) error {
	var codes []store.SealedCode
	err := s.db.Read(ctx, s.w.ID, func(tx *store.Tx) (err error) {
		if codes, err = tx.SealedCodes(); err != nil {
			return err
		}
		s.subject, err = findPerson(tx, s.in.Subject)
		return err
	})
	if err != nil {
		return err
	}
	if s.spot.lane, err = s.signin.LaneOf(ctx, s.v, s.w.ID, s.subject.ID); err != nil {
		return err
	}
	if s.spot.registered {
		s.spot.lane.Device = s.v.Client.Device
	}
	if s.code, err = s.match(ctx, codes); err != nil || s.code.ID == "" || s.in.PIN == "" || s.subject.ID == "" {
		return err
	}
	s.proof, err = s.signin.ProvePIN(ctx, s.w.ID, s.subject.ID, s.in.PIN, s.spot.lane)
	return err
}

// match returns the workspace's code that was typed, used or not.
func (s *sealedStart) match(ctx context.Context, codes []store.SealedCode) (store.SealedCode, error) {
	set, err := keyring.ParseSet(string(s.w.CodeSalt))
	if err != nil {
		return store.SealedCode{}, err
	}
	code, slip := identity.ParseCode(s.in.SealedCode.Reveal(), CodeSymbols)
	if slip != nil {
		code = s.in.SealedCode // hashed all the same, and fits nothing
	}
	var digest []byte
	var failed error
	if err := s.signin.Hash(ctx, s.spot.lane, func() { digest, failed = set.Hash(code) }); err != nil {
		return store.SealedCode{}, err
	}
	if failed != nil {
		return store.SealedCode{}, failed
	}
	found := store.SealedCode{}
	for _, c := range codes { // all of them, whichever fits
		m, err := s.keys.MatchDigest(digest, c.Digest, "sealed_code", "digest", c.ID)
		if err != nil {
			return found, err
		}
		if m.OK && slip == nil {
			found = c
		}
	}
	return found, nil
}

// findPerson reads a person by user id or mail address; an empty one is nobody.
func findPerson(tx *store.Tx, subject string) (store.User, error) {
	var u store.User
	var err error
	if strings.HasPrefix(subject, identity.UserID+"_") {
		u, err = tx.User(subject)
	} else {
		email, bad := identity.NormalizeEmail(subject)
		if bad != nil {
			return store.User{}, nil //nolint:nilerr // what is no address is nobody's
		}
		u, err = tx.UserByEmail(email)
	}
	if errors.Is(err, store.ErrNoRows) {
		return store.User{}, nil
	}
	return u, err
}

// recordStranger leaves the event of a sealed start that was turned away before
// its code was judged. Anybody can cause that.
func (b *BreakGlass) recordStranger(ctx context.Context, s sealedStart, refusal error) error {
	var r *identity.Refusal
	if !errors.As(refusal, &r) || r.Kind == identity.Unavailable {
		return refusal
	}
	by := audit.By{Client: s.v.Client}
	if s.who.Live != nil && s.who.Live.Grant != nil {
		by = s.who.By()
	}
	return b.db.Workspace(ctx, by, s.w.ID, func(tx *store.Tx) error {
		_, err := tx.Record(audit.Event{Type: "break_glass.start", Outcome: audit.Denied, Anonymous: by.Session == "",
			Detail: audit.Detail{"kind": KindSealed, "reason": r.Code}})
		if err != nil {
			return err
		}
		return r
	})
}

// decide judges the code, counting it where it came from, and opens the grant.
func (s *sealedStart) decide(sys *store.SystemTx, out *opened) error {
	tx := sys.Workspace(s.w.ID)
	if s.in.Visiting != nil {
		s.subject = store.User{} // of a run that was given up
	}
	n, err := sys.CountWithin(s.spot.misses, wrongSpan.Microseconds())
	if err != nil {
		return err
	}
	if n > wrongCodes {
		return s.refuse(tx, pausedUntil(wrongSpan), true)
	}
	if err := s.readCode(tx); err != nil {
		return err
	}
	first, repeated, reused, err := s.earlier(tx)
	if err != nil {
		return err
	}
	if s.code.ID == "" || s.code.UsedAt > 0 && !repeated {
		return s.wrong(tx, n)
	}
	if err := sys.ForgiveCount(s.spot.misses); err != nil {
		return err
	}
	if reused != nil {
		return s.refuse(tx, reused, false)
	}
	if err := s.mayHave(sys, tx); err != nil {
		return s.refuse(tx, err, false)
	}
	who, err := s.settlePIN(sys, tx)
	if err != nil {
		return s.refuse(tx, err, false)
	}
	if repeated {
		return s.reopen(tx, first, who, out)
	}
	return s.refuse(tx, s.openOrAttach(tx, who, out), false)
}

// readCode reads the code that matched once more: it may have been used
// meanwhile.
func (s *sealedStart) readCode(tx *store.Tx) error {
	if s.code.ID == "" {
		return nil
	}
	codes, err := tx.SealedCodes()
	for _, c := range codes {
		if c.ID == s.code.ID {
			s.code = c
		}
	}
	return err
}

// earlier returns what this very request was answered before: by the same
// browser, with the same key, and with the code that opened it. reused is the
// refusal of a key that was used for something else.
func (s *sealedStart) earlier(tx *store.Tx) (first opened, repeated bool, reused, err error) {
	first, repeated, err = s.recall(tx, s.once)
	var r *identity.Refusal
	if errors.As(err, &r) {
		return first, false, r, nil
	}
	repeated = repeated && (s.code.UsedAt == 0 || s.code.GrantID == first.grant.ID)
	return first, repeated, nil, err
}

// wrong refuses a code that is wrong, used, or another clinic's. The fifth
// within the hour pauses where it came from, and the administrators are told.
func (s *sealedStart) wrong(tx *store.Tx, n int64) error {
	reason := "wrong_code"
	if s.code.ID != "" {
		reason = "used_code"
	}
	_, err := tx.Record(audit.Event{Type: "break_glass.start", Outcome: audit.Denied, User: s.subject.ID, Anonymous: true,
		Detail: audit.Detail{"kind": KindSealed, "reason": reason}})
	if err != nil {
		return err
	}
	if n < wrongCodes {
		return wrongCode()
	}
	if _, err := tx.Record(audit.Event{Type: "break_glass.pause", Outcome: audit.Success, Actor: audit.ActorSystem}); err != nil {
		return err
	}
	if err := s.tellAdministrators(tx, templatePaused, "", "", nil); err != nil {
		return err
	}
	return wrongCode()
}

// refuse leaves the event of a start that was refused though its code was
// right, or before it was judged.
func (s *sealedStart) refuse(tx *store.Tx, err error, anonymous bool) error {
	var r *identity.Refusal
	if !errors.As(err, &r) {
		return err
	}
	reason := r.Code
	if len(r.Fields) > 0 {
		reason = r.Fields[0].Code
	}
	e := audit.Event{Type: "break_glass.start", Outcome: audit.Denied, Anonymous: anonymous, Detail: audit.Detail{"kind": KindSealed, "reason": reason}}
	if !anonymous {
		e.Actor, e.User = audit.CodeActor(s.code.Label), s.subject.ID
	}
	if _, err := tx.Record(e); err != nil {
		return err
	}
	return r
}

// mayHave refuses persons that nothing can be opened for, and words that were
// used before.
func (s *sealedStart) mayHave(sys *store.SystemTx, tx *store.Tx) error {
	if s.in.Visiting != nil {
		return nil
	}
	if s.subject.ID == "" {
		return unknownSubject()
	}
	u, err := tx.User(s.subject.ID)
	if err != nil {
		return err
	}
	s.subject = u
	if u.DisabledAt > 0 {
		// Somebody holds a letter and means a person who left: worth knowing, once.
		n, err := sys.CountWithin("sealed-disabled:"+u.ID, wrongSpan.Microseconds())
		if err == nil && n == 1 {
			err = s.tellAdministrators(tx, templateRefused, "", "", map[string]string{"name": u.Name, "code": s.code.Label})
		}
		if err != nil {
			return err
		}
		return disabledSubject()
	}
	return nil
}

// settlePIN says who is at the keyboard, as far as anybody can: the PIN was
// right, or the person is only claimed. The third wrong PIN with a code, or
// none, opens as claimed: care first.
func (s *sealedStart) settlePIN(sys *store.SystemTx, tx *store.Tx) (string, error) {
	if s.in.Visiting != nil {
		return IdentityVisiting, nil
	}
	if !s.proof.Set() {
		return IdentityClaimed, nil // none sent, or the person has none
	}
	right, err := s.signin.SettlePIN(tx, s.proof, signin.PathBreakGlass)
	if err != nil {
		return "", err
	}
	counter := "sealed-pin:" + s.code.ID
	if right {
		return IdentityPIN, sys.ResetCount(counter)
	}
	n, err := sys.CountWithin(counter, pinSpan.Microseconds())
	if err != nil {
		return "", err
	}
	if n < wrongPINs {
		r := identity.Refuse(identity.Unauthenticated, "wrong_pin", "That PIN was not right. The code is not used up: try again.")
		r.Extra = map[string]any{"tries_left": wrongPINs - n}
		return "", r
	}
	return IdentityClaimed, nil
}

// openOrAttach spends the code for a new grant, or, where one is open for the
// person, lends it to that one.
func (s *sealedStart) openOrAttach(tx *store.Tx, who string, out *opened) error {
	words := freshReason(tx, s.subject.ID, s.in)
	if s.in.Visiting == nil && !s.in.Drill {
		g, err := tx.OpenGrantOf(s.subject.ID)
		if err == nil {
			return s.attach(tx, g, who, out)
		}
		if !errors.Is(err, store.ErrNoRows) {
			return err
		}
	}
	if words != nil {
		return words
	}
	if !s.in.Drill {
		n, err := tx.SpendSealedCode(s.code.ID, s.id)
		if err != nil {
			return err
		}
		if n == 0 {
			return errLost // used a moment ago: judged anew, as a used code
		}
		if err := s.makeVisitor(tx); err != nil {
			return err
		}
	}
	o := opening{id: s.id, in: s.in, doc: s.doc, subject: s.subject, invoker: audit.CodeActor(s.code.Label), identity: who,
		device: s.v.Client.Device, codeID: s.code.ID}
	if err := s.open(tx, o, out); err != nil {
		return err
	}
	if !s.in.Drill {
		if err := s.enter(tx, out, who); err != nil {
			return err
		}
	}
	return s.remember(tx, out)
}

// makeVisitor makes the provisional user of somebody who is visiting. It ends
// with the grant.
func (s *sealedStart) makeVisitor(tx *store.Tx) error {
	if s.in.Visiting == nil {
		return nil
	}
	id, role := identity.NewID(identity.UserID), string(s.doc.BreakGlass.Role)
	err := tx.InsertUser(store.InsertUserParams{ID: id, Name: s.in.Visiting.Name, Role: role, Visiting: 1, CreatedBy: audit.CodeActor(s.code.Label),
		RecoverySalt: []byte{}})
	if err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: "user.create", Outcome: audit.Success, Actor: audit.CodeActor(s.code.Label), User: id,
		Detail: audit.Detail{"role": role, "visiting": true}})
	if err != nil {
		return err
	}
	s.subject, err = tx.User(id)
	return err
}

// attach puts a session of the person inside the grant that is open for them.
func (s *sealedStart) attach(tx *store.Tx, g store.Grant, who string, out *opened) error {
	n, err := tx.LendSealedCode(s.code.ID, g.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		return errLost // it opened this very grant a moment ago: judged anew, as a used code
	}
	out.grant, out.attached = g, true
	if who == IdentityClaimed && g.Identity != IdentityClaimed {
		if err := tx.SetGrantIdentity(g.ID, IdentityClaimed); err != nil {
			return err
		}
	}
	out.eventID, err = tx.Record(about(g, audit.Event{Type: "break_glass.attach", Outcome: audit.Success, Actor: audit.CodeActor(s.code.Label),
		User: s.subject.ID, Detail: audit.Detail{"ref": g.Ref, "category": s.in.Category, "reason": s.in.Reason, "identity": who}}))
	if err != nil {
		return err
	}
	if err := s.enter(tx, out, who); err != nil {
		return err
	}
	return s.remember(tx, out)
}

// reopen gives a repeated request what the first one got: the answer to it may
// have been lost together with its cookies.
func (s *sealedStart) reopen(tx *store.Tx, first opened, who string, out *opened) error {
	*out = first
	if first.grant.Drill > 0 || first.grant.State != StateActive {
		return s.noteRepetition(tx)
	}
	rows, err := tx.OpenSessionsOfGrant(first.grant.ID)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.DeviceID == s.v.Client.Device {
			if _, err := s.sessions.End(tx, row.ID, session.ReasonReplaced); err != nil {
				return err
			}
		}
	}
	return s.enter(tx, out, who)
}

// noteRepetition leaves the event of a repetition that changes nothing.
func (s *sealedStart) noteRepetition(tx *store.Tx) error {
	_, err := tx.Record(audit.Event{Type: "break_glass.repeat", Outcome: audit.Success, Actor: audit.CodeActor(s.code.Label), User: s.subject.ID})
	return err
}

// enter opens the emergency session in this browser.
func (s *sealedStart) enter(tx *store.Tx, out *opened, who string) error {
	acr, amr := identity.ACREmergency, []string{identity.AMROTP}
	if who == IdentityPIN {
		amr = append(amr, identity.AMRPIN)
	} else {
		acr = identity.ACREmergencyClaimed
	}
	var err error
	out.live, err = s.enterGrant(tx, s.v, out.grant, s.subject.ID, MethodSealed, acr, amr)
	if err != nil || who != IdentityPIN {
		return err
	}
	return tx.KnowDevice(out.live.DeviceID, s.subject.ID)
}

// enterGrant opens a session of a person inside a grant and records it.
func (b *BreakGlass) enterGrant(tx *store.Tx, v *session.Visit, g store.Grant, userID, method string, acr identity.ACR, amr []string) (*session.Live, error) {
	live, err := b.sessions.Start(tx, v, session.Opening{UserID: userID, Method: method, ACR: acr, AMR: amr, GrantID: g.ID, EndsBy: timeOf(g.ExpiresAt)})
	if errors.Is(err, session.ErrDisabled) {
		return nil, disabledSubject()
	}
	if err != nil {
		return nil, err
	}
	if err := tx.SeeDevice(live.DeviceID); err != nil {
		return nil, err
	}
	_, err = tx.Record(about(g, audit.Event{Type: "sign_in." + method, Outcome: audit.Success, Actor: userID, Method: method, Session: live.ID,
		Detail: audit.Detail{"acr": string(acr)}}))
	return live, err
}

// remember keeps the answer for a repetition. A browser that was nobody yet has
// a device from this answer on.
func (s *sealedStart) remember(tx *store.Tx, out *opened) error {
	o := s.once
	if o.device == "" && out.live != nil {
		o.device = out.live.DeviceID
	}
	return s.keep(tx, o, *out)
}

// tellAdministrators sends a notice to every administrator, those of the last
// week and their late addresses included, but not to the one who acts.
func (b *BreakGlass) tellAdministrators(tx *store.Tx, template, grantID, except string, data map[string]string) error {
	to, err := directory.Recipients(tx, "")
	if err != nil {
		return err
	}
	for _, r := range to {
		if r.Kind != directory.Administrator || r.UserID == except {
			continue
		}
		if err := b.outbox.Enqueue(tx, messagesTo(r, template, grantID, data, true)...); err != nil {
			return err
		}
	}
	return nil
}
