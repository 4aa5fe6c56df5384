package breakglass

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// The verdicts of a review. VerdictNeedsInfo asks back and can be repeated; any
// other is the last word.
const (
	VerdictAppropriate   = "appropriate"
	VerdictProcessGap    = "appropriate_process_gap"
	VerdictInappropriate = "inappropriate"
	VerdictDrill         = "drill"
	VerdictNeedsInfo     = "needs_info"
)

const (
	minComment = 10
	maxText    = 4000
	maxFix     = 200
	// independence is for how long somebody whom subject or invoker made or
	// changed counts as theirs.
	independence = 30 * 24 * time.Hour
)

// Acknowledge records that an administrator or reviewer has seen a grant. Seen
// by subject or invoker it can be acknowledged by somebody else still. Done
// twice it changes nothing.
func (b *BreakGlass) Acknowledge(ctx context.Context, who signin.Who, id string) (Grant, error) {
	return b.add(ctx, who, id, "acknowledge", func(tx *store.Tx, g store.Grant, doc policy.Document) error {
		if !overseer(who.Live, doc) {
			return errNotYours
		}
		if g.AcknowledgedBy == who.Live.UserID || g.AcknowledgedAt > 0 && g.AcknowledgedBy != g.SubjectID && g.AcknowledgedBy != g.Invoker {
			return nil
		}
		if _, err := tx.Record(about(g, audit.Event{Type: "break_glass.acknowledge", Outcome: audit.Success, Detail: audit.Detail{"ref": g.Ref}})); err != nil {
			return err
		}
		n, err := tx.AcknowledgeGrant(id, who.Live.UserID)
		if err == nil && n == 0 {
			return errLost // somebody else's counts as well
		}
		return err
	})
}

// Note adds a text to a grant. Holder, subject and invoker finish their account
// with it, and answer a reviewer's question; administrators and reviewers may
// add to it.
func (b *BreakGlass) Note(ctx context.Context, who signin.Who, id, text string) (Grant, error) {
	text = strings.TrimSpace(text)
	if err := checkText("text", text, 1); err != nil {
		return Grant{}, err
	}
	return b.add(ctx, who, id, "note", func(tx *store.Tx, g store.Grant, doc policy.Document) error {
		own := mine(who.Live, g)
		if !own && !overseer(who.Live, doc) {
			return errNotYours
		}
		if err := b.write(tx, g, "break_glass.note", entryNote, who.Live.UserID, text); err != nil {
			return err
		}
		if !own || g.Review != ReviewAsked {
			return nil
		}
		_, err := tx.ReviewGrant(id, g.ReviewerID, ReviewAwaiting) // the question is answered
		return err
	})
}

// AddPatient adds a patient's reference to an open grant, for its holder,
// subject or invoker.
func (b *BreakGlass) AddPatient(ctx context.Context, who signin.Who, id, ref string) (Grant, error) {
	ref = strings.TrimSpace(ref)
	if code, detail := badRef(ref); code != "" {
		return Grant{}, identity.RefuseField("patient_ref", code, detail)
	}
	if ref == "" {
		return Grant{}, identity.RefuseField("patient_ref", "missing", "Type the record's number of the patient.")
	}
	return b.add(ctx, who, id, "patient", func(tx *store.Tx, g store.Grant, _ policy.Document) error {
		if !mine(who.Live, g) {
			return errNotYours
		}
		if g.State != StateActive {
			return endedAlready(g)
		}
		return b.write(tx, g, "break_glass.patient", entryPatient, who.Live.UserID, ref)
	})
}

// add runs one act on a grant. Its refusals leave an event of that act.
func (b *BreakGlass) add(ctx context.Context, who signin.Who, id, act string, f func(*store.Tx, store.Grant, policy.Document) error) (Grant, error) {
	live := who.Live
	if live == nil {
		return Grant{}, errSignedOut
	}
	doc, _, err := b.sessions.Policy(ctx, live.WorkspaceID)
	if err != nil {
		return Grant{}, err
	}
	err = b.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
		g, err := tx.Grant(id)
		switch {
		case errors.Is(err, store.ErrNoRows):
			err = errNoGrant
		case err == nil && live.Grant != nil && live.Grant.ID != id:
			err = errInside
		case err == nil:
			err = f(tx, g, doc)
		}
		var r *identity.Refusal
		if !errors.As(err, &r) {
			return err
		}
		if _, err := tx.Record(audit.Event{Type: "break_glass." + act, Outcome: audit.Denied, Detail: audit.Detail{"reason": r.Code}}); err != nil {
			return err
		}
		return r
	})
	if err != nil && !errors.Is(err, errLost) {
		return Grant{}, err
	}
	return b.read(ctx, live.WorkspaceID, id)
}

// overseer reports whether a session may look at everybody's grants: an
// administrator's or reviewer's, outside a grant.
func overseer(live *session.Live, doc policy.Document) bool {
	return live.Grant == nil && doc.MayRevoke(live.Role)
}

// write adds an entry to a grant. The record holds its id and a salted hash.
func (b *BreakGlass) write(tx *store.Tx, g store.Grant, event, kind, actor, text string) error {
	id := identity.NewID(identity.NoteID)
	salt, digest := saltedDigest(text)
	_, err := tx.Record(about(g, audit.Event{Type: event, Outcome: audit.Success,
		Detail: audit.Detail{"ref": g.Ref, "entry": id, "salt": salt, "digest": digest}}))
	if err != nil {
		return err
	}
	return tx.InsertGrantEntry(store.InsertGrantEntryParams{ID: id, GrantID: g.ID, Kind: kind, Actor: actor, Text: text})
}

// addEntry adds an entry of which the act's own event tells.
func addEntry(tx *store.Tx, grantID, kind, actor, text string) error {
	return tx.InsertGrantEntry(store.InsertGrantEntryParams{ID: identity.NewID(identity.NoteID), GrantID: grantID, Kind: kind, Actor: actor, Text: text})
}

// saltedDigest is how the record holds a text that it must not show: whoever
// has the text can prove that it is this one.
func saltedDigest(text string) (salt, digest string) {
	salt = identity.NewToken().Reveal()[:26]
	sum := sha256.Sum256([]byte(salt + "\x00" + text))
	return salt, hex.EncodeToString(sum[:])
}

func checkText(field, text string, least int) error {
	switch {
	case utf8.RuneCountInString(text) < least:
		return identity.RefuseField(field, "too_short", "Write at least a few words.")
	case utf8.RuneCountInString(text) > maxText:
		return identity.RefuseField(field, "too_long", "Keep it under 4,000 characters.")
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }):
		return identity.RefuseField(field, "invalid", "Write it in plain text.")
	}
	return nil
}

// ReviewInput is a verdict.
type ReviewInput struct {
	Verdict, Comment string
	// Fix is what would remove the cause, in words of the clinic's.
	Fix string
}

func (in *ReviewInput) check() error {
	in.Comment, in.Fix = strings.TrimSpace(in.Comment), strings.TrimSpace(in.Fix)
	if !slices.Contains([]string{VerdictAppropriate, VerdictProcessGap, VerdictInappropriate, VerdictDrill, VerdictNeedsInfo}, in.Verdict) {
		return identity.RefuseField("verdict", "unknown", "Choose a verdict: appropriate, appropriate with a process gap, inappropriate, drill, or ask back.")
	}
	if err := checkText("comment", in.Comment, minComment); err != nil {
		return err
	}
	if in.Fix != "" && !readable(in.Fix, maxFix) {
		return identity.RefuseField("fix", "invalid", "Name the fix in a few words.")
	}
	return nil
}

// Review gives the verdict on a grant that is over, or asks back. Step-up:
// review. Nobody reviews what they opened, used or made the code for, and
// nobody a second time.
func (b *BreakGlass) Review(ctx context.Context, who signin.Who, id string, in ReviewInput) (Grant, error) {
	live := who.Live
	if live == nil {
		return Grant{}, errSignedOut
	}
	if err := in.check(); err != nil {
		return Grant{}, err
	}
	if live.Grant == nil {
		if err := b.independent(ctx, live, id); err != nil {
			return Grant{}, b.signin.RecordRefusal(ctx, who, live.WorkspaceID, "break_glass.review", err)
		}
	}
	var g store.Grant
	check := func(tx *store.Tx) (err error) {
		if g, err = tx.Grant(id); errors.Is(err, store.ErrNoRows) {
			return errNoGrant
		}
		if err != nil {
			return err
		}
		return mayReview(tx, live.UserID, g)
	}
	err := b.signin.Act(ctx, who, live.WorkspaceID, policy.ActReview, "break_glass.review", check, func(tx *store.Tx) error {
		return b.judgeGrant(tx, g, live.UserID, in)
	})
	if errors.Is(err, errLost) {
		return Grant{}, b.signin.RecordRefusal(ctx, who, live.WorkspaceID, "break_glass.review", reviewed())
	}
	if err != nil {
		return Grant{}, err
	}
	return b.read(ctx, live.WorkspaceID, id)
}

func reviewed() error {
	return identity.Refuse(identity.Conflict, "already_reviewed", "This has its verdict already. Add a note instead.")
}

func notIndependent() error {
	return identity.Refuse(identity.Conflict, "not_independent", "Somebody else has to review this: you opened it, used it, or made its code.")
}

// independent refuses the subject, who may be of a role that reviews nothing:
// it is their own case that they are told of.
func (b *BreakGlass) independent(ctx context.Context, live *session.Live, id string) error {
	return b.db.Read(ctx, live.WorkspaceID, func(tx *store.Tx) error {
		g, err := tx.Grant(id)
		if err == nil && g.SubjectID == live.UserID {
			return notIndependent()
		}
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		return err
	})
}

// mayReview refuses those who are part of it, and what has no place for a
// verdict.
func mayReview(tx *store.Tx, userID string, g store.Grant) error {
	minter, err := minterOf(tx, g)
	if err != nil {
		return err
	}
	switch {
	case userID == g.SubjectID, userID == g.Invoker, userID == minter:
		return notIndependent()
	case g.State == StateActive:
		return identity.Refuse(identity.Conflict, "still_open", "It is still open. Review it once it has ended.")
	case g.Review == ReviewDone:
		return reviewed()
	}
	return nil
}

func (b *BreakGlass) judgeGrant(tx *store.Tx, g store.Grant, userID string, in ReviewInput) error {
	id := identity.NewID(identity.NoteID)
	salt, digest := saltedDigest(in.Comment)
	_, err := tx.Record(about(g, audit.Event{Type: "break_glass.review", Outcome: audit.Success, User: g.SubjectID,
		Detail: audit.Detail{"ref": g.Ref, "verdict": in.Verdict, "entry": id, "salt": salt, "digest": digest}}))
	if err != nil {
		return err
	}
	state := ReviewDone
	if in.Verdict == VerdictNeedsInfo {
		state = ReviewAsked
	}
	n, err := tx.ReviewGrant(g.ID, userID, state)
	if err != nil {
		return err
	}
	if n == 0 {
		return errLost
	}
	err = tx.InsertGrantEntry(store.InsertGrantEntryParams{ID: id, GrantID: g.ID, Kind: entryReview, Actor: userID, Text: in.Comment,
		Verdict: in.Verdict, Fix: in.Fix})
	if err != nil {
		return err
	}
	if state == ReviewAsked {
		return b.tellAsked(tx, g)
	}
	depends, err := dependent(tx, userID, g)
	if err != nil {
		return err
	}
	return setFlag(tx, g.ID, FlagNoIndependent, depends)
}

// dependent reports whether a reviewer owes account, role or key of the last
// thirty days to somebody who is part of the grant.
func dependent(tx *store.Tx, userID string, g store.Grant) (bool, error) {
	minter, err := minterOf(tx, g)
	if err != nil {
		return false, err
	}
	part := func(id string) bool { return id != "" && (id == g.SubjectID || id == g.Invoker || id == minter) }
	u, err := tx.User(userID)
	if err != nil {
		return false, err
	}
	since := tx.Now().Add(-independence).UnixMicro()
	if u.CreatedAt > since && part(u.CreatedBy) || u.RoleChangedAt > since && part(u.RoleChangedBy) {
		return true, nil
	}
	claims, err := tx.ClaimsOf(userID, since)
	return slices.ContainsFunc(claims, func(c store.Claim) bool { return part(c.CreatedBy) }), err
}
