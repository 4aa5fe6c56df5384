package session

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/store"
)

// writeEvery is how often activity is written, and so what a crash loses.
const writeEvery = 5 * time.Second

// Touch counts a person's own act as activity: a navigation, a form post, a
// step-up.
func (m *Manager) Touch(live *Live) {
	if h := m.table.get(live.ID); h != nil {
		m.move(h, m.clock.Now())
	}
}

// move moves the last activity, forward only. One that ends a long silence is
// written at once: another node may be about to call the session idle.
func (m *Manager) move(h *held, to time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.row.State != string(Active) {
		return
	}
	h.activity = max(h.activity, to.UnixMicro())
	if h.activity-h.written > h.rules.Idle.Microseconds()/2 {
		select {
		case m.kick <- struct{}{}:
		default:
		}
	}
}

// writeActivity writes what moved since it was last written: a statement for
// each session, in the order of their ids so that two nodes cannot deadlock,
// and without effect on a session that is no longer active.
func (m *Manager) writeActivity(ctx context.Context) error {
	type moved struct {
		h  *held
		to int64
	}
	var dirty []moved
	for _, h := range m.table.all() {
		h.mu.Lock()
		if h.activity > h.written && h.row.State == string(Active) {
			dirty = append(dirty, moved{h, h.activity})
		}
		h.mu.Unlock()
	}
	if len(dirty) == 0 {
		return nil
	}
	slices.SortFunc(dirty, func(a, b moved) int { return cmp.Compare(a.h.id, b.h.id) })
	err := m.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		for _, d := range dirty {
			if err := tx.MoveActivity(d.h.id, d.to); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range dirty {
		d.h.mu.Lock()
		d.h.written = max(d.h.written, d.to)
		d.h.mu.Unlock()
	}
	return nil
}
