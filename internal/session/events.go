package session

// Change is news of a session: it was locked, opened again (Active), taken into
// a grant (Active, with ReasonGrant), or ended.
type Change struct {
	State  State
	Reason string // of an end, or ReasonGrant
}

// Subscribe tells of a session's changes from now on, whichever node they
// happen on: at once from this one, within a poll from others. Only the newest
// change waits; after Ended nothing more comes. The channel of a session that
// is not open here is closed. The function ends the subscription.
func (m *Manager) Subscribe(sessionID string) (<-chan Change, func()) {
	c := make(chan Change, 1)
	h := m.table.get(sessionID)
	if h == nil {
		close(c)
		return c, func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ears == nil {
		h.ears = map[chan Change]struct{}{}
	}
	h.ears[c] = struct{}{}
	if h.shown == Ended {
		c <- Change{State: Ended, Reason: h.row.EndReason}
	}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.ears, c)
	}
}

// tell hands a change to all who listen. The session's lock is held.
func (h *held) tell(c Change) {
	for ear := range h.ears {
		select {
		case <-ear: // the older news
		default:
		}
		ear <- c
	}
}
