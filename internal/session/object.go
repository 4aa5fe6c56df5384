package session

import (
	"context"
	"fmt"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// isoMillis is how JavaScript writes a time: what Auth.js clients expect.
const isoMillis = "2006-01-02T15:04:05.000Z"

// Object returns the body of GET session: the Auth.js session with "mitral"
// beside it (contract §2.2). Times are RFC 3339, "expires" with milliseconds as
// Auth.js writes it.
func (m *Manager) Object(live *Live) map[string]any {
	amr := live.AMR
	if amr == nil {
		amr = []string{}
	}
	mitral := map[string]any{
		"session_id": live.ID, "workspace_id": live.WorkspaceID, "roles": []string{string(live.Role)},
		"acr": string(live.ACR), "amr": amr, "auth_time": rfc3339(live.AuthTime), "state": string(live.State),
		"idle_expires_at": rfc3339(live.IdleExpiresAt), "absolute_expires_at": rfc3339(live.AbsoluteExpiresAt),
		"pin_length": live.PINLength,
	}
	if live.State == Locked {
		mitral["lock_expires_at"] = rfc3339(live.LockExpiresAt)
	}
	if g := live.Grant; g != nil {
		mitral["break_glass"] = map[string]any{
			"id": g.ID, "ref": g.Ref, "category": g.Category, "reason": g.Reason, "identity": g.Identity,
			"started_at": rfc3339(g.StartedAt), "expires_at": rfc3339(live.AbsoluteExpiresAt),
			"remaining_s": seconds(live.AbsoluteExpiresAt.Sub(m.clock.Now())),
		}
	}
	expires := live.AbsoluteExpiresAt
	if live.IdleExpiresAt.Before(expires) {
		expires = live.IdleExpiresAt
	}
	return map[string]any{
		"user":    map[string]any{"id": live.UserID, "name": live.Name, "email": live.Email, "image": nil},
		"expires": expires.UTC().Format(isoMillis),
		"mitral":  mitral,
	}
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Empty returns the body of GET session when nobody is signed in: "null" in v5,
// "{}" in v4.
func (m *Manager) Empty() []byte {
	if m.codec.Dialect == V4 {
		return []byte("{}")
	}
	return []byte("null")
}

// Listed is one of a person's sessions as they see it.
type Listed struct {
	ID, DeviceID, Method    string
	UserAgent, IP           string
	State                   State
	Parked, This            bool
	ACR                     identity.ACR
	GrantID                 string
	CreatedAt, LastActivity time.Time
	// ExpiresAt is when it ends, or, locked, can no longer be unlocked.
	ExpiresAt time.Time
}

// Sessions returns a person's sessions that have not ended, the most recently
// used first.
func (m *Manager) Sessions(ctx context.Context, live *Live) ([]Listed, error) {
	var rows []store.Session
	var user store.User
	var r *rules
	err := m.db.Read(ctx, live.WorkspaceID, func(tx *store.Tx) (err error) {
		if user, err = tx.User(live.UserID); err != nil {
			return err
		}
		if r, err = m.spaceIn(tx); err != nil {
			return err
		}
		rows, err = tx.OpenSessions(live.UserID)
		return err
	})
	if err != nil {
		return nil, known(fmt.Errorf("couldn't read a person's sessions: %w", err))
	}
	var out []Listed
	now := m.clock.Now()
	for _, row := range rows {
		h := m.table.get(row.ID)
		if h == nil {
			h = preview(loaded{row: row, user: user, space: r})
		}
		is, where := h.look(now)
		if where == isOver {
			continue
		}
		l := Listed{ID: row.ID, DeviceID: row.DeviceID, Method: row.Method, UserAgent: row.UserAgent, IP: row.IP, State: is.State,
			Parked: is.Parked, This: row.ID == live.ID, ACR: is.ACR, GrantID: row.GrantID, CreatedAt: is.CreatedAt,
			LastActivity: is.LastActivity, ExpiresAt: is.AbsoluteExpiresAt}
		if is.State == Locked {
			l.ExpiresAt = is.LockExpiresAt
		}
		out = append(out, l)
	}
	return out, nil
}
