package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// errUnchanged takes back an act that found nothing left to do.
var errUnchanged = errors.New("somebody did this before")

// bySystem is who acts when nobody does.
var bySystem = audit.By{Actor: audit.ActorSystem}

// about fills an event in with the session that it is about.
func (m *Manager) about(h *held, e audit.Event) audit.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return aboutRow(h.row, h.grant, e)
}

func aboutRow(row store.Session, grant *Grant, e audit.Event) audit.Event {
	e.User, e.Session, e.Grant = row.UserID, row.ID, row.GrantID
	if grant != nil {
		e.Purpose = grant.Purpose()
	}
	return e
}

// Apply has this node's memory follow a session's row, as the transaction
// returns it, once the transaction has committed.
func (m *Manager) Apply(tx *store.Tx, row store.Session) {
	h := m.table.get(row.ID)
	if h == nil {
		return
	}
	h.mu.Lock()
	grant, same := h.grant, h.row.GrantID == row.GrantID
	h.mu.Unlock()
	if !same {
		var err error
		if grant, err = readGrant(tx, row.GrantID); err != nil {
			return // the next poll tells
		}
	}
	tx.After(func() { h.learn(row, grant, true) })
}

// follows is Apply for a session whose row is still to be read.
func (m *Manager) follows(tx *store.Tx, sessionID string) error {
	row, err := tx.Session(sessionID)
	if err != nil {
		return fmt.Errorf("couldn't read a session: %w", err)
	}
	m.Apply(tx, row)
	return nil
}

// Lock locks the visit's session, for a reason such as ReasonUser, and gives
// the browser the lock's cookie. One that is locked already stays so. It
// returns the session as it is then; ErrSignedOut when it has ended. v may be
// nil.
func (m *Manager) Lock(ctx context.Context, v *Visit, live *Live, reason string) (*Live, error) {
	h, err := m.load(ctx, live.ID)
	if err != nil {
		return nil, err
	}
	by := bySystem
	if v != nil {
		by = live.By(v.Client)
	}
	err = m.db.Workspace(ctx, by, h.workspace, func(tx *store.Tx) error {
		n, err := tx.LockSession(h.id, m.lockEnd(h, tx.Micros()))
		if err != nil {
			return err
		}
		if n == 0 {
			return errUnchanged
		}
		if err := m.follows(tx, h.id); err != nil {
			return err
		}
		_, err = tx.Record(m.about(h, audit.Event{Type: "session.lock", Outcome: audit.Success, Detail: audit.Detail{"reason": reason}}))
		return err
	})
	if errors.Is(err, errUnchanged) {
		err = m.reread(ctx, h)
	}
	if err != nil {
		return nil, known(err)
	}
	now := m.clock.Now()
	is, err := m.standing(ctx, h, now)
	if errors.Is(err, ErrLocked) {
		if v != nil {
			m.relock(ctx, v, h, is, now)
		}
		return is, nil
	}
	return is, err
}

// lockEnd returns until when a session that locks at a moment can be unlocked.
func (m *Manager) lockEnd(h *held, from int64) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	rules := h.currentRules(h.person.row.Load())
	return min(from+rules.LockTTL.Microseconds(), h.absolute(rules))
}

// lockIdle locks a session that looks idle, unless the database knows of later
// activity, on another node. It counts from when the person was last there.
func (m *Manager) lockIdle(ctx context.Context, h *held, now time.Time) error {
	h.mu.Lock()
	idle, last := h.currentRules(h.person.row.Load()).Idle.Microseconds(), h.activity
	h.mu.Unlock()
	ends := m.lockEnd(h, last+idle)
	err := m.db.Workspace(ctx, bySystem, h.workspace, func(tx *store.Tx) error {
		n, err := tx.LockIdleSession(h.id, ends, now.UnixMicro()-idle)
		if err != nil {
			return err
		}
		if n == 0 {
			return errUnchanged
		}
		if err := m.follows(tx, h.id); err != nil {
			return err
		}
		_, err = tx.Record(m.about(h, audit.Event{Type: "session.lock", Outcome: audit.Success, Detail: audit.Detail{"reason": ReasonIdle}}))
		return err
	})
	if errors.Is(err, errUnchanged) {
		return m.reread(ctx, h)
	}
	return err
}

// Unlock opens a locked or parked session again, in the transaction in which
// its person was proven; the caller records it. fresh says that the proof
// counts as a new sign-in for step-up (a passkey does, a PIN never). The
// session gets a new skey and, once committed, v its cookie. It is refused from
// another browser than the one that the session was started on, and when the
// session is over.
func (m *Manager) Unlock(tx *store.Tx, v *Visit, live *Live, fresh bool) (*Live, error) {
	if !v.Holds(live) {
		return nil, identity.Refuse(identity.Forbidden, "other_browser", "A session is unlocked on the browser it was started on. Sign in here instead.")
	}
	_, hash, sealed, err := m.newSkey(live.ID)
	if err != nil {
		return nil, err
	}
	var isFresh int64
	if fresh {
		isFresh = 1
	}
	n, err := tx.UnlockSession(store.UnlockSessionParams{ID: live.ID, SkeyHash: hash, SkeySealed: sealed, Fresh: isFresh})
	if err != nil {
		return nil, fmt.Errorf("couldn't unlock a session: %w", err)
	}
	row, err := tx.Session(live.ID)
	if err != nil {
		return nil, fmt.Errorf("couldn't read a session: %w", err)
	}
	if n == 0 && row.State != string(Active) {
		return nil, identity.Refuse(identity.Unauthenticated, "session_ended", "This session is over. Sign in again.")
	}
	return m.reopen(tx, v, row)
}

// reopen gives the visit, once the transaction has committed, the cookie of a
// session whose row has just been changed, and returns how it stands.
func (m *Manager) reopen(tx *store.Tx, v *Visit, row store.Session) (*Live, error) {
	l := loaded{row: row}
	if err := l.rest(tx); err != nil {
		return nil, err
	}
	live, where := preview(l).look(tx.Now())
	if where != isOpen {
		return nil, identity.Refuse(identity.Unauthenticated, "session_ended", "This session is over. Sign in again.")
	}
	if err := m.limit(tx, l.space, row.UserID, row.ID); err != nil {
		return nil, err
	}
	tx.After(func() {
		h := m.hold(l)
		h.learn(row, l.grant, true)
		if err := m.setSession(v, h, live, tx.Now()); err != nil {
			m.log.Error("couldn't make a session cookie", "session", row.ID, "error", err)
		}
	})
	return live, nil
}

// preview is a session that is in no table: to look at a row that has not
// committed.
func preview(l loaded) *held {
	h := &held{id: l.row.ID, workspace: l.row.WorkspaceID, user: l.row.UserID, row: l.row, grant: l.grant, activity: l.row.LastActivity,
		person: &person{}, space: &space{}}
	h.person.learn(l.user)
	h.space.learn(l.space)
	return h
}

// park puts a session aside: to everybody it is locked.
func (m *Manager) park(tx *store.Tx, r *rules, row store.Session, reason string) error {
	user, err := tx.User(row.UserID)
	if err != nil {
		return fmt.Errorf("couldn't read a session's user: %w", err)
	}
	ttl := rulesFor(r, user.Role, row.GrantID != "").LockTTL
	ends := row.LockExpiresAt // a locked one gains nothing
	if ends == 0 {
		ends = min(tx.Now().Add(ttl).UnixMicro(), row.AbsoluteAt)
	}
	n, err := tx.ParkSession(row.ID, ends)
	if err != nil {
		return fmt.Errorf("couldn't park a session: %w", err)
	}
	if n == 0 {
		return nil
	}
	if err := m.follows(tx, row.ID); err != nil {
		return err
	}
	grant, err := readGrant(tx, row.GrantID)
	if err != nil {
		return err
	}
	_, err = tx.Record(aboutRow(row, grant, audit.Event{Type: "session.park", Outcome: audit.Success, Detail: audit.Detail{"reason": reason}}))
	return err
}

// Park puts the visit's session aside, for somebody else to sign in: to its
// person it is locked.
func (m *Manager) Park(ctx context.Context, v *Visit, live *Live, reason string) error {
	err := m.db.Workspace(ctx, live.By(v.Client), live.WorkspaceID, func(tx *store.Tx) error {
		row, err := tx.Session(live.ID)
		if err != nil {
			return fmt.Errorf("couldn't read a session: %w", err)
		}
		if row.State != string(Active) && row.State != string(Locked) {
			return errUnchanged
		}
		r, err := m.spaceIn(tx)
		if err != nil {
			return err
		}
		return m.park(tx, r, row, reason)
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return known(err)
}

// ParkAll parks a person's open sessions but one ("" for all) and returns how
// many that were.
func (m *Manager) ParkAll(tx *store.Tx, userID, reason, except string) (int, error) {
	r, err := m.spaceIn(tx)
	if err != nil {
		return 0, err
	}
	return each(tx, userID, except, func(row store.Session) (bool, error) {
		if row.State == string(parked) {
			return false, nil
		}
		return true, m.park(tx, r, row, reason)
	})
}

// each runs f over a person's sessions that have not ended, and counts.
func each(tx *store.Tx, userID, except string, f func(store.Session) (bool, error)) (int, error) {
	rows, err := tx.OpenSessions(userID)
	if err != nil {
		return 0, fmt.Errorf("couldn't read a person's sessions: %w", err)
	}
	n := 0
	for _, row := range rows {
		if row.ID == except {
			continue
		}
		did, err := f(row)
		if err != nil {
			return 0, err
		}
		if did {
			n++
		}
	}
	return n, nil
}
