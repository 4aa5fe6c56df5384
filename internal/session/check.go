package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mitral-health/mitral/internal/store"
)

// Use says what a request wants of its session.
type Use int

// The uses.
const (
	// Renew uses the session and renews its cookies where that is due.
	Renew Use = iota
	// Peek looks at the session cookie alone and sets nothing, but again a
	// lock's: for the forward check.
	Peek
	// Refresh renews whatever the cookies have left, and rotates their keys.
	Refresh
	// Name finds the session by either cookie and renews nothing: for lock and
	// sign-out.
	Name
)

// Check returns the visit's session: nil error and an Active one, or ErrLocked
// and a Locked one. Otherwise there is none: ErrSignedOut, or a refusal of kind
// Unavailable when it cannot be known. Whatever the browser should be told
// about its cookies is in v afterwards, also on an error. For a session that
// this node has loaded and whose cookies need nothing, no query is made.
//
// Checking is not activity: see Beat and Touch.
func (m *Manager) Check(ctx context.Context, v *Visit, use Use) (*Live, error) {
	live, err := m.check(ctx, v, use)
	if errors.Is(err, ErrSignedOut) && !v.duplicate && (use == Renew || use == Refresh) {
		m.clear(v)
	}
	return live, err
}

// Refresh renews the visit's session from its refresh cookie; a locked one
// stays locked. It answers like Check.
func (m *Manager) Refresh(ctx context.Context, v *Visit) (*Live, error) {
	return m.Check(ctx, v, Refresh)
}

// Resume is Check for a page load whose session cookie is missing.
func (m *Manager) Resume(ctx context.Context, v *Visit) (*Live, error) {
	return m.Check(ctx, v, Renew)
}

func (m *Manager) check(ctx context.Context, v *Visit, use Use) (*Live, error) {
	if err := m.keepUp(ctx); err != nil {
		return nil, err
	}
	now := m.clock.Now()
	f, err := m.identify(ctx, v, use, now)
	if err != nil {
		return nil, err
	}
	h := f.held
	live, err := m.standing(ctx, h, now)
	switch {
	case errors.Is(err, ErrLocked):
		v.session = h.id
		switch {
		case use == Refresh && !v.renewed:
			if err := m.renew(ctx, v, f, use, now); err != nil {
				return nil, err
			}
		case use == Renew:
			m.notePresented(ctx, h, v)
		}
		m.relock(ctx, v, h, live, now)
		return live, ErrLocked
	case err != nil:
		v.foreign = v.refresh.session != h.id
		return nil, err
	}
	v.session = h.id
	switch {
	case v.renewed || use == Peek || use == Name:
		return live, nil
	case use == Renew && f.left >= renewBelow:
		m.notePresented(ctx, h, v)
		return live, nil
	}
	if err := m.renew(ctx, v, f, use, now); err != nil {
		return nil, err
	}
	if f.due {
		// A key that cannot be opened is replaced by the next rotation.
		if err := m.setSession(v, h, live, now); err != nil && !errors.Is(err, errNoSkey) {
			return nil, err
		}
	}
	return live, nil
}

// standing returns the session as it is now: an Active one, ErrLocked with a
// Locked one, or ErrSignedOut. One that looks idle is locked, if the database
// agrees; one whose time is over is ended.
func (m *Manager) standing(ctx context.Context, h *held, now time.Time) (*Live, error) {
	live, where := h.look(now)
	if where == isIdle {
		if err := m.lockIdle(ctx, h, now); err != nil && !errors.Is(err, store.ErrUnavailable) {
			return nil, err
		}
		// Where the database is gone it stays what it seems: locked.
		live, where = h.look(now)
	}
	switch where {
	case isOver:
		m.endOverdue(ctx, h)
		return nil, ErrSignedOut
	case isOpen:
		return live, nil
	}
	return live, ErrLocked
}

// found is a session and how the browser named it.
type found struct {
	held  *held
	left  time.Duration // of the session cookie; 0 when it was missing
	token weighed       // of the refresh token, where it was looked at
	due   bool          // a session cookie may be made now
}

// identify finds the session that the visit's cookies are the keys of.
func (m *Manager) identify(ctx context.Context, v *Visit, use Use, now time.Time) (*found, error) {
	if v.duplicate {
		return nil, ErrSignedOut
	}
	if v.renewed { // this request proved it before
		h, err := m.load(ctx, v.session)
		return &found{held: h}, err
	}
	h, c, err := m.byCookie(ctx, v, now)
	switch {
	case err == nil:
		return &found{held: h, left: c.left}, nil
	case errors.Is(err, errBadCookie) && c.session != "" && c.session != v.refresh.session:
		v.foreign = true
		return nil, ErrSignedOut // only its own refresh cookie makes it as good as missing
	case !errors.Is(err, errNoCookie) && !errors.Is(err, errBadCookie):
		return nil, err
	case !m.ours(v.refresh):
		return nil, ErrSignedOut
	}
	if h, err = m.load(ctx, v.refresh.session); err != nil {
		return nil, err
	}
	if use == Peek {
		// The refresh cookie alone names a locked session, and no other here.
		if _, where := h.look(now); where != isLocked && where != isIdle {
			return nil, ErrSignedOut
		}
	}
	f := &found{held: h}
	if f.token, err = m.weigh(ctx, h, v, now); err != nil {
		return nil, err
	}
	if f.token.weight == worthless {
		if f.token.offline {
			return nil, unavailable()
		}
		return nil, ErrSignedOut
	}
	return f, nil
}

// byCookie finds the session that the session cookie opens. errNoCookie and
// errBadCookie come with what the cookie pretended.
func (m *Manager) byCookie(ctx context.Context, v *Visit, now time.Time) (*held, carried, error) {
	c, err := m.carried(v, now)
	if err != nil {
		return nil, c, err
	}
	h, err := m.load(ctx, c.session)
	if errors.Is(err, ErrSignedOut) {
		return nil, c, errBadCookie
	}
	if err != nil {
		return nil, c, err
	}
	good, err := m.opens(ctx, h, c.skey, now)
	switch {
	case err != nil:
		return nil, c, err
	case !good:
		return nil, c, errBadCookie
	}
	if c.lock {
		if _, where := h.look(now); where == isOpen {
			return nil, c, errNoCookie // unlocked since
		}
	}
	return h, c, nil
}

// opens reports whether the skey is the session's. One that this node does not
// know may have come with a rotation elsewhere: the database is asked.
func (m *Manager) opens(ctx context.Context, h *held, skey string, now time.Time) (bool, error) {
	if h.opens(skey, now) {
		return true, nil
	}
	if m.cutOff(now) {
		return false, unavailable()
	}
	if err := m.reread(ctx, h); err != nil {
		return false, known(err)
	}
	return h.opens(skey, now), nil
}

// reread takes the session's row from the database, its key included.
func (m *Manager) reread(ctx context.Context, h *held) error {
	var row store.Session
	var grant *Grant
	err := m.db.Read(ctx, h.workspace, func(tx *store.Tx) (err error) {
		if row, err = tx.Session(h.id); err != nil {
			return fmt.Errorf("couldn't read a session: %w", err)
		}
		grant, err = readGrant(tx, row.GrantID)
		return err
	})
	if err == nil {
		h.learn(row, grant, true)
	}
	return err
}
