package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// End ends a session and records it; false when it had ended before.
func (m *Manager) End(tx *store.Tx, sessionID, reason string) (bool, error) {
	row, err := tx.Session(sessionID)
	if errors.Is(err, store.ErrNoRows) || err == nil && row.State == string(Ended) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("couldn't read a session: %w", err)
	}
	return m.endRow(tx, row, audit.Event{Type: "session.end", Outcome: audit.Success, Detail: audit.Detail{"reason": reason}}, reason)
}

func (m *Manager) endRow(tx *store.Tx, row store.Session, e audit.Event, reason string) (bool, error) {
	n, err := tx.EndSession(row.ID, reason)
	if err != nil {
		return false, fmt.Errorf("couldn't end a session: %w", err)
	}
	if n == 0 {
		return false, nil
	}
	if err := m.follows(tx, row.ID); err != nil {
		return false, err
	}
	grant, err := readGrant(tx, row.GrantID)
	if err != nil {
		return false, err
	}
	_, err = tx.Record(aboutRow(row, grant, e))
	return true, err
}

// EndAll ends a person's sessions but one ("" for all) and returns how many
// that were. It records each.
func (m *Manager) EndAll(tx *store.Tx, userID, reason, exceptSession string) (int, error) {
	return each(tx, userID, exceptSession, func(row store.Session) (bool, error) { return m.End(tx, row.ID, reason) })
}

// EndGrant ends all sessions that are inside a grant and returns how many that
// were. It records each.
func (m *Manager) EndGrant(tx *store.Tx, grantID, reason string) (int, error) {
	rows, err := tx.OpenSessionsOfGrant(grantID)
	if err != nil {
		return 0, fmt.Errorf("couldn't read a grant's sessions: %w", err)
	}
	n := 0
	for _, row := range rows {
		ended, err := m.End(tx, row.ID, reason)
		if err != nil {
			return 0, err
		}
		if ended {
			n++
		}
	}
	return n, nil
}

// endOverdue ends a session that is found past its time, with its event. The
// sweeper does what this could not.
func (m *Manager) endOverdue(ctx context.Context, h *held) {
	h.mu.Lock()
	row, ended := h.row, h.row.State == string(Ended)
	reason := overdueReason(row, h.grant, m.clock.Now().UnixMicro())
	h.mu.Unlock()
	if h.person.row.Load().DisabledAt > 0 {
		reason = ReasonDisabled
	}
	if ended || m.cutOff(m.clock.Now()) {
		return
	}
	if err := m.endNow(ctx, row.WorkspaceID, row.ID, reason); err != nil {
		m.log.WarnContext(ctx, "couldn't end a session whose time is over", "session", row.ID, "error", err)
	}
}

func overdueReason(row store.Session, grant *Grant, now int64) string {
	switch {
	case grant != nil && grant.ExpiresAt.UnixMicro() <= now, row.GrantID != "" && row.AbsoluteAt <= now:
		return ReasonGrantOver
	case row.LockExpiresAt > 0 && row.LockExpiresAt <= now && row.AbsoluteAt > row.LockExpiresAt:
		return ReasonLockExpired
	}
	return ReasonAbsolute
}

func (m *Manager) endNow(ctx context.Context, workspaceID, sessionID, reason string) error {
	err := m.db.Workspace(ctx, bySystem, workspaceID, func(tx *store.Tx) error {
		ended, err := m.End(tx, sessionID, reason)
		if err == nil && !ended {
			return errUnchanged
		}
		return err
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// EndOwn ends one of a person's own sessions. Another's, or one that is over,
// is unknown.
func (m *Manager) EndOwn(ctx context.Context, v *Visit, live *Live, sessionID string) error {
	err := m.db.Workspace(ctx, live.By(v.Client), live.WorkspaceID, func(tx *store.Tx) error {
		row, err := tx.Session(sessionID)
		if errors.Is(err, store.ErrNoRows) || err == nil && (row.UserID != live.UserID || row.State == string(Ended)) {
			return errUnchanged
		}
		if err != nil {
			return err
		}
		ended, err := m.End(tx, sessionID, ReasonUser)
		if err == nil && !ended {
			return errUnchanged
		}
		return err
	})
	switch {
	case errors.Is(err, errUnchanged):
		return identity.Refuse(identity.Unknown, "unknown_session", "There is no such session. It may have ended already.")
	case err != nil:
		return known(err)
	}
	if sessionID == live.ID {
		m.clear(v)
	}
	return nil
}

// EndOthers ends a person's other sessions and returns how many that were.
func (m *Manager) EndOthers(ctx context.Context, v *Visit, live *Live) (int, error) {
	n := 0
	err := m.db.Workspace(ctx, live.By(v.Client), live.WorkspaceID, func(tx *store.Tx) (err error) {
		if n, err = m.EndAll(tx, live.UserID, ReasonUser, live.ID); err == nil && n == 0 {
			return errUnchanged
		}
		return err
	})
	if errors.Is(err, errUnchanged) {
		return 0, nil
	}
	return n, known(err)
}

// SignOut ends the visit's session, locked or not, and takes its cookies from
// the browser. Where nobody is signed in only the cookies go. When the database
// is gone they go too, and the refusal says that the session did not.
func (m *Manager) SignOut(ctx context.Context, v *Visit) error {
	live, err := m.check(ctx, v, Name)
	if v.duplicate {
		return nil // clearing would leave the planted one
	}
	defer m.clear(v)
	if errors.Is(err, ErrSignedOut) {
		return nil
	}
	if err != nil && !errors.Is(err, ErrLocked) {
		return err
	}
	err = m.db.Workspace(ctx, live.By(v.Client), live.WorkspaceID, func(tx *store.Tx) error {
		row, err := tx.Session(live.ID)
		if err != nil {
			return err
		}
		ended, err := m.endRow(tx, row, audit.Event{Type: "sign_out.user", Outcome: audit.Success}, ReasonSignOut)
		if err == nil && !ended {
			return errUnchanged
		}
		return err
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return known(err)
}
