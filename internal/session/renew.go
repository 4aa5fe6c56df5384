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

const (
	// rotateAfter is how old the refresh token or the skey may be and a renewal
	// still only re-date the cookie.
	rotateAfter = 5 * time.Minute
	// reuseGrace is how long a rotated token is a slow twin and no thief.
	reuseGrace = 10 * time.Second
	// askFor bounds what a renewal waits for a database that does not answer:
	// the session is known, only its cookie is due.
	askFor = 2 * time.Second
)

// weight is what a refresh token that came along is worth.
type weight int

const (
	worthless weight = iota // unknown, or none came along
	alive                   // the newest of its family
	twin                    // rotated a moment ago by a parallel request: good, but its successor is underway
	orphaned                // rotated long ago, and the answer with the successor was lost
)

type weighed struct {
	weight  weight
	row     store.RefreshToken
	done    bool // it was looked at
	offline bool // the database is gone: memory answered, nothing is rotated
}

// weigh looks at the visit's refresh token. A token that was used up, or comes
// from another device, ends its family: then the error is ErrSignedOut.
func (m *Manager) weigh(ctx context.Context, h *held, v *Visit, now time.Time) (weighed, error) {
	w := weighed{done: true}
	if v.refresh.session != h.id || !m.ours(v.refresh) {
		return w, nil
	}
	var next store.RefreshToken
	err := store.ErrUnavailable
	if !m.cutOff(now) {
		asking, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		err = m.db.Read(asking, h.workspace, func(tx *store.Tx) (err error) {
			if w.row, err = tx.RefreshToken(v.refresh.hash()); err != nil || w.row.RotatedAt == 0 {
				return err
			}
			next, err = tx.RefreshToken(w.row.Successor)
			if errors.Is(err, store.ErrNoRows) {
				return nil
			}
			return err
		})
	}
	switch {
	case errors.Is(err, store.ErrNoRows):
		return w, nil
	case errors.Is(err, store.ErrUnavailable):
		return h.weighFromMemory(v), nil
	case err != nil:
		return w, err
	}
	sameDevice := v.Client.Device != "" && v.Client.Device == w.row.DeviceID
	rotated := time.Duration(now.UnixMicro()-w.row.RotatedAt) * time.Microsecond
	switch {
	case !sameDevice:
		return w, m.endReused(ctx, h, v, "device")
	case w.row.RotatedAt == 0:
		w.weight = alive
		h.mu.Lock()
		h.token = w.row
		h.mu.Unlock()
	case rotated <= reuseGrace:
		w.weight = twin
	case next.Hash != "" && next.PresentedAt == 0 && next.RotatedAt == 0 && next.IPRange == v.Client.Range():
		w.weight = orphaned
	default:
		return w, m.endReused(ctx, h, v, "used_up")
	}
	return w, nil
}

// weighFromMemory answers while the database is gone: the token that this node
// saw last is good on its own device.
func (h *held) weighFromMemory(v *Visit) weighed {
	w := weighed{done: true, offline: true}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.token.Hash == v.refresh.hash() && v.Client.Device != "" && h.token.DeviceID == v.Client.Device {
		w.weight, w.row = alive, h.token
	}
	return w
}

// renew does what the refresh token allows: it rotates token and skey where
// that is due and notes a token's first use. found says afterwards whether the
// session cookie may be made anew.
func (m *Manager) renew(ctx context.Context, v *Visit, f *found, use Use, now time.Time) error {
	if !f.token.done {
		var err error
		if f.token, err = m.weigh(ctx, f.held, v, now); err != nil {
			return err
		}
	}
	w := f.token
	f.due = w.weight != worthless
	if w.offline {
		return nil
	}
	switch w.weight {
	case alive:
		if use == Refresh || m.aged(f.held, w.row, now) {
			return m.rotate(ctx, f.held, v, w)
		}
		if w.row.PresentedAt == 0 {
			m.present(ctx, f.held, w.row.Hash)
		}
	case orphaned:
		return m.rotate(ctx, f.held, v, w)
	}
	return nil
}

// aged reports whether token or skey are due for rotation.
func (m *Manager) aged(h *held, row store.RefreshToken, now time.Time) bool {
	limit := now.Add(-rotateAfter).UnixMicro()
	h.mu.Lock()
	rotated := h.row.SkeyRotatedAt
	h.mu.Unlock()
	return row.CreatedAt < limit || rotated < limit || m.key(h) == ""
}

// errOvertaken ends a rotation that another request of the same token won.
var errOvertaken = errors.New("another request was first")

// rotate replaces the refresh token and the skey in one transaction. Of
// parallel requests one wins; the others learn the new skey and no token, so
// that there is one chain.
func (m *Manager) rotate(ctx context.Context, h *held, v *Visit, w weighed) error {
	_, hash, sealed, err := m.newSkey(h.id)
	if err != nil {
		return err
	}
	token := identity.NewToken()
	next := store.RefreshToken{Hash: hashOf(token.Reveal()), SessionID: h.id, WorkspaceID: h.workspace, DeviceID: w.row.DeviceID}
	var row store.Session
	err = m.db.Upkeep(ctx, func(up *store.UpkeepTx) error {
		tx := up.Workspace(h.workspace)
		won, err := takeSuccession(tx, w, next.Hash)
		if err != nil {
			return err
		}
		if !won {
			return errOvertaken
		}
		err = tx.InsertRefreshToken(store.InsertRefreshTokenParams{Hash: next.Hash, SessionID: h.id, DeviceID: next.DeviceID, IPRange: v.Client.Range()})
		if err != nil {
			return fmt.Errorf("couldn't insert a refresh token: %w", err)
		}
		if row, err = tx.Session(h.id); err != nil {
			return err
		}
		if row.State == string(Ended) {
			return errOvertaken
		}
		// Without effect where an unlock or new rights replaced it just now.
		if _, err = tx.RotateSkey(store.RotateSkeyParams{ID: h.id, SkeyHash: hash, SkeySealed: sealed, Was: row.SkeyHash}); err != nil {
			return err
		}
		next.CreatedAt, next.IPRange = tx.Micros(), v.Client.Range()
		row, err = tx.Session(h.id)
		return err
	})
	switch {
	case errors.Is(err, errOvertaken):
		return m.reread(ctx, h)
	case errors.Is(err, store.ErrUnavailable):
		return nil // re-dated, as while the database is gone
	case err != nil:
		return fmt.Errorf("couldn't rotate a refresh token: %w", err)
	}
	h.mu.Lock()
	h.token = next
	grant := h.grant
	h.mu.Unlock()
	if row.Rev > h.rev() { // somebody changed more than keys meanwhile
		if err := m.reread(ctx, h); err != nil {
			return err
		}
	} else {
		h.learn(row, grant, true)
	}
	m.setRefresh(v, h.id, token)
	return nil
}

// takeSuccession makes hash the successor of a token, for one of those who try.
func takeSuccession(tx *store.Tx, w weighed, hash string) (bool, error) {
	if w.weight == alive {
		n, err := tx.RotateRefreshToken(w.row.Hash, hash)
		return n == 1, err
	}
	// The successor that got lost dies, unless it turns up just now.
	n, err := tx.DeleteUnpresentedToken(w.row.Successor)
	if err != nil || n != 1 {
		return false, err
	}
	n, err = tx.ReplaceSuccessor(w.row.Hash, hash, w.row.Successor)
	return n == 1, err
}

func (h *held) rev() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.row.Rev
}

// notePresented remembers that the browser has the newest refresh token, though
// it needs nothing for it now: after that the one before is used up. It asks
// the database once for a token that this node has not seen.
func (m *Manager) notePresented(ctx context.Context, h *held, v *Visit) {
	if v.refresh.session != h.id {
		return
	}
	hash := v.refresh.hash()
	h.mu.Lock()
	token, strange := h.token, h.strange
	h.mu.Unlock()
	if hash == strange || hash == token.Hash && token.PresentedAt > 0 || m.cutOff(m.clock.Now()) {
		return
	}
	if hash != token.Hash {
		h.mu.Lock()
		h.strange = hash
		h.mu.Unlock()
		if !m.ours(v.refresh) {
			return
		}
		asking, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		err := m.db.Read(asking, h.workspace, func(tx *store.Tx) (err error) {
			token, err = tx.RefreshToken(hash)
			return err
		})
		if err != nil || token.RotatedAt > 0 {
			return
		}
		h.mu.Lock()
		h.token, h.strange = token, ""
		h.mu.Unlock()
	}
	if token.PresentedAt == 0 && v.Client.Device == token.DeviceID {
		m.present(ctx, h, hash)
	}
}

// present notes the first use of a refresh token.
func (m *Manager) present(ctx context.Context, h *held, hash string) {
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var now int64
	err := m.db.Upkeep(asking, func(tx *store.UpkeepTx) error {
		now = tx.Micros()
		_, err := tx.Workspace(h.workspace).PresentRefreshToken(hash)
		return err
	})
	if err != nil {
		m.log.DebugContext(ctx, "couldn't note a refresh token's first use", "session", h.id, "error", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.token.Hash == hash {
		h.token.PresentedAt = now
	}
}

// endReused ends a session whose refresh token came back used up, or from
// another device: one of the two who hold it is a thief.
func (m *Manager) endReused(ctx context.Context, h *held, v *Visit, why string) error {
	err := m.db.Workspace(ctx, audit.By{Client: v.Client}, h.workspace, func(tx *store.Tx) error {
		n, err := tx.EndSession(h.id, ReasonReuse)
		if err != nil {
			return err
		}
		if n == 0 {
			return errUnchanged
		}
		if err := m.follows(tx, h.id); err != nil {
			return err
		}
		_, err = tx.Record(m.about(h, audit.Event{Type: "session.reuse", Outcome: audit.Denied, Detail: audit.Detail{"reason": why}}))
		return err
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return known(err)
	}
	return ErrSignedOut
}
