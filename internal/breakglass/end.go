package breakglass

import (
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// End closes a grant and all sessions inside it. Holder, subject and invoker
// end it; another administrator or a reviewer revokes it, with a step-up for
// break_glass. Of two ends the first wins, the other is refused with the state
// that it came to.
func (b *BreakGlass) End(ctx context.Context, who signin.Who, id string) (Grant, error) {
	live := who.Live
	if live == nil {
		return Grant{}, errSignedOut
	}
	doc, _, err := b.sessions.Policy(ctx, live.WorkspaceID)
	if err != nil {
		return Grant{}, err
	}
	err = b.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
		return refuseEnd(tx, id, b.end(tx, who, doc, id))
	})
	if errors.Is(err, errLost) {
		err = b.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
			g, err := tx.Grant(id)
			if err != nil {
				return err
			}
			return refuseEnd(tx, id, endedAlready(g))
		})
	}
	if err != nil {
		return Grant{}, err
	}
	return b.read(ctx, live.WorkspaceID, id)
}

func (b *BreakGlass) end(tx *store.Tx, who signin.Who, doc policy.Document, id string) error {
	live := who.Live
	g, err := tx.Grant(id)
	if errors.Is(err, store.ErrNoRows) {
		return errNoGrant
	}
	if err != nil {
		return err
	}
	own := mine(live, g)
	switch {
	case live.Grant != nil && live.Grant.ID != id:
		return errInside
	case !own && !doc.MayRevoke(live.Role):
		return errNotYours
	case g.State != StateActive:
		return endedAlready(g)
	}
	state := StateEnded
	if !own {
		state = StateRevoked
		if err := b.signin.Confirm(tx, live, doc, policy.ActBreakGlass, who.StepUp, ""); err != nil {
			return err
		}
	}
	return b.close(tx, g, closing{state: state, at: tx.Micros(), by: live.UserID, event: "break_glass.end"})
}

// mine reports whether a session belongs to a grant's holder, subject or
// invoker.
func mine(live *session.Live, g store.Grant) bool {
	return live.Grant != nil && live.Grant.ID == g.ID || live.UserID == g.SubjectID || live.UserID == g.Invoker
}

func endedAlready(g store.Grant) error {
	r := identity.Refuse(identity.Conflict, "break_glass_over", "Emergency access "+g.Ref+" is over already.")
	r.Extra = map[string]any{"state": g.State}
	return r
}

// refuseEnd leaves the event of an end that was refused.
func refuseEnd(tx *store.Tx, id string, err error) error {
	var r *identity.Refusal
	if !errors.As(err, &r) {
		return err
	}
	e := audit.Event{Type: "break_glass.end", Outcome: audit.Denied, Detail: audit.Detail{"reason": r.Code}}
	if r.Kind != identity.Unknown {
		e.Grant = id
	}
	if _, err := tx.Record(e); err != nil {
		return err
	}
	return r
}

// closing is how a grant is closed.
type closing struct {
	state string
	at    int64
	by    string // user id or "system"
	event string
}

// close ends a grant: its event first, then the row, the sessions, a visitor's
// user, and the messages. errLost says that it was closed before; the
// transaction must then be given up.
func (b *BreakGlass) close(tx *store.Tx, g store.Grant, c closing) error {
	e := audit.Event{Type: c.event, Outcome: audit.Success, Actor: c.by,
		Detail: audit.Detail{"ref": g.Ref, "state": c.state, "seconds": (c.at - g.StartedAt) / int64(time.Second/time.Microsecond)}}
	if g.SubjectID != c.by {
		e.User = g.SubjectID
	}
	eventID, err := tx.Record(about(g, e))
	if err != nil {
		return err
	}
	n, err := tx.EndGrant(store.EndGrantParams{ID: g.ID, State: c.state, EndedAt: c.at, EndedBy: c.by})
	if err != nil {
		return err
	}
	if n == 0 {
		return errLost
	}
	if _, err := b.sessions.EndGrant(tx, g.ID, session.ReasonGrantOver); err != nil {
		return err
	}
	if err := b.endVisit(tx, g); err != nil {
		return err
	}
	if err := b.noteReviewers(tx, g); err != nil {
		return err
	}
	g, err = tx.Grant(g.ID)
	if err != nil {
		return err
	}
	return b.tellEnd(tx, g, eventID)
}

// endVisit switches the provisional user of a visitor off.
func (b *BreakGlass) endVisit(tx *store.Tx, g store.Grant) error {
	if g.Identity != IdentityVisiting {
		return nil
	}
	u, err := tx.User(g.SubjectID)
	if err != nil || u.Visiting == 0 || u.DisabledAt > 0 {
		return err
	}
	if err := tx.SetUserDisabled(store.SetUserDisabledParams{ID: u.ID, DisabledAt: tx.Micros()}); err != nil {
		return err
	}
	if _, err := tx.Record(about(g, audit.Event{Type: "user.disable", Outcome: audit.Success, User: u.ID, Detail: audit.Detail{"visiting": true}})); err != nil {
		return err
	}
	_, err = b.sessions.EndAll(tx, u.ID, "user_disabled", "")
	return err
}

// noteReviewers flags a grant that nobody independent could review.
func (b *BreakGlass) noteReviewers(tx *store.Tx, g store.Grant) error {
	doc, err := document(tx)
	if err != nil {
		return err
	}
	users, err := tx.Users()
	if err != nil {
		return err
	}
	minter, err := minterOf(tx, g)
	if err != nil {
		return err
	}
	for _, u := range users {
		may := doc.MayDo(identity.Role(u.Role), policy.ActReview, false).Verdict == policy.Permit
		if may && u.DisabledAt == 0 && u.ID != g.SubjectID && u.ID != g.Invoker && u.ID != minter {
			return nil
		}
	}
	return flag(tx, g.ID, FlagNoIndependent)
}

// minterOf returns who made the sealed code that opened a grant, or "".
func minterOf(tx *store.Tx, g store.Grant) (string, error) {
	if g.CodeID == "" {
		return "", nil
	}
	codes, err := tx.SealedCodes()
	for _, c := range codes {
		if c.ID == g.CodeID {
			return c.MintedBy, nil
		}
	}
	return "", err
}
