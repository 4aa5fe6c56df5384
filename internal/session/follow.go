package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	pollEvery  = time.Second
	sweepEvery = 15 * time.Second
	// overlap is how far a poll reads back: longer than any transaction lasts,
	// so that a change that committed late is not missed.
	overlap = 30 * time.Second
	pollFor = 2 * time.Second
	// cutAfter is when a node that could not poll counts as cut off; it answers
	// for cutLife more, for what it had loaded by then.
	cutAfter = 5 * time.Second
	cutLife  = 5 * time.Minute
	// staleAfter is how old the last poll may be. Where none is underway either
	// somebody must have stopped this process, and it polls before it answers.
	staleAfter = 2 * time.Second

	jumpTold   = 2 * time.Second  // a change of the clock that is an event
	jumpUnfit  = 30 * time.Second // one that takes the node out of readiness,
	unfitFor   = time.Minute      // until the clock has been steady for so long
	wallSlack  = 2 * time.Second  // by which nodes may differ about the stored time
	keepUnseen = time.Hour        // how long a session nobody asks for stays loaded
	keepTokens = 10 * time.Minute // how long an ended session's refresh tokens stay
)

// follower is how this node keeps up with the database.
type follower struct {
	gate  chan struct{} // held by the one poll that is underway
	good  atomic.Int64  // when the last good poll began; 0 is never
	tried atomic.Int64  // when the last one began or ended, good or not
	unfit atomic.Int64  // until when the clock is not to be trusted

	// These belong to the holder of the gate.
	begun  bool
	jump   time.Duration // of the machine's clock, as last seen
	untold time.Duration // jumped and not recorded yet
}

// Run follows the database, locks and ends what is due, and writes activity,
// until ctx is done; what moved is written once more then. Without Run requests
// are still answered rightly: a check that finds its knowledge old polls first.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { m.pollLoop(ctx) })
	wg.Go(func() { m.sweepLoop(ctx) })
	wg.Go(func() { m.writeLoop(ctx) })
	wg.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollFor)
	defer cancel()
	if err := m.writeActivity(last); err != nil {
		return fmt.Errorf("couldn't write the last activity: %w", err)
	}
	return nil
}

func (m *Manager) pollLoop(ctx context.Context) {
	failing := false
	for {
		err := m.poll(ctx, true)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			m.log.Error("couldn't follow the database", "error", err)
		}
		if err == nil && failing {
			m.log.Info("the database is followed again")
		}
		failing = err != nil
		if m.pause(ctx, pollEvery) != nil {
			return
		}
	}
}

func (m *Manager) sweepLoop(ctx context.Context) {
	var next time.Time
	for m.pause(ctx, pollEvery) == nil {
		m.sweepLoaded(ctx)
		if now := m.clock.Now(); !now.Before(next) || next.Sub(now) > sweepEvery {
			next = now.Add(sweepEvery)
			if err := m.sweep(ctx); err != nil && ctx.Err() == nil {
				m.log.Warn("couldn't sweep the sessions", "error", err)
			}
		}
	}
}

func (m *Manager) writeLoop(ctx context.Context) {
	for {
		waiting, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-m.kick:
				cancel()
			case <-waiting.Done():
			}
		}()
		_ = m.pause(waiting, writeEvery)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err := m.writeActivity(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("couldn't write activity", "error", err)
		}
	}
}

// pause waits for d by the cluster's clock, but no longer than that by this
// machine's: a clock that is set back must not stop the node.
func (m *Manager) pause(ctx context.Context, d time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_ = m.clock.Sleep(waiting, d)
	return ctx.Err()
}

// Ready is nil while this node keeps up with the database and its clock is
// steady; otherwise its text says what is wrong, for readyz.
func (m *Manager) Ready() error {
	now := m.clock.Now()
	switch {
	case m.follow.good.Load() == 0:
		return errors.New("the database has not been read yet")
	case m.cutOff(now):
		return fmt.Errorf("the database could not be followed since %s", at(m.follow.good.Load()).Format(time.RFC3339))
	case now.UnixMicro() < m.follow.unfit.Load():
		return errors.New("the database's clock has just jumped by more than 30 s: check the time on all machines")
	}
	return nil
}

// age is how long ago the last good poll began.
func (m *Manager) age(now time.Time) time.Duration { return since(m.follow.good.Load(), now) }

// since is how long ago a moment was; endless for none, and for one that is yet
// to come because the clock was set back. A poll may have begun after the
// request that asks took its time.
func since(moment int64, now time.Time) time.Duration {
	age := time.Duration(now.UnixMicro()-moment) * time.Microsecond
	if moment == 0 || age < -time.Second {
		return math.MaxInt64
	}
	return max(0, age)
}

// cutOff reports whether this node has lost the database.
func (m *Manager) cutOff(now time.Time) bool { return m.age(now) > cutAfter }

// keepUp is the first thing a request does: normally a look at one number. A
// node that was stopped and resumed polls first; one that has been cut off for
// five minutes refuses.
func (m *Manager) keepUp(ctx context.Context) error {
	now := m.clock.Now()
	age := m.age(now)
	if age <= staleAfter {
		return nil
	}
	if !m.tried(now) || age > cutLife {
		err := m.poll(ctx, false)
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
			m.log.ErrorContext(ctx, "couldn't follow the database", "error", err)
		}
	}
	if m.age(m.clock.Now()) > cutLife {
		return unavailable()
	}
	return nil
}

// tried reports whether a poll has begun or ended just now.
func (m *Manager) tried(now time.Time) bool { return since(m.follow.tried.Load(), now) <= staleAfter }

// poll reads what changed. Only one runs at a time; unless always is set, one
// that had to wait takes the other's word.
func (m *Manager) poll(ctx context.Context, always bool) (err error) {
	f := &m.follow
	select {
	case f.gate <- struct{}{}:
		defer func() { <-f.gate }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if now := m.clock.Now(); !always && m.age(now) <= staleAfter {
		return nil
	} else if !always && m.tried(now) {
		return store.ErrUnavailable
	}
	f.tried.Store(m.clock.Now().UnixMicro())
	defer func() {
		f.tried.Store(m.clock.Now().UnixMicro())
		if err == nil {
			f.tried.Store(0) // whom it does not satisfy, the machine having slept meanwhile, polls again
		}
	}()
	reading, cancel := context.WithTimeout(ctx, pollFor)
	defer cancel()
	moved, err := m.db.Follow(reading)
	if err != nil {
		return fmt.Errorf("couldn't read the database's clock: %w", err)
	}
	if !f.begun {
		if err := m.begin(ctx); err != nil {
			return err
		}
		f.begun, f.jump, moved = true, m.clock.Jump(), 0
	}
	start := m.clock.Now()
	from := start
	if good := f.good.Load(); good > 0 && good < start.UnixMicro() {
		from = at(good)
	}
	if err := m.readChanges(reading, from.Add(-overlap).UnixMicro()); err != nil {
		return err
	}
	f.good.Store(start.UnixMicro())
	m.noteClock(ctx, moved)
	return nil
}

// readChanges reads rows that changed after a moment and has memory follow
// those that it holds and that are newer.
func (m *Manager) readChanges(ctx context.Context, after int64) error {
	type change struct {
		held  *held
		row   store.Session
		grant *Grant
	}
	var sessions []change
	err := m.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		rows, err := tx.ChangedSessions(after)
		if err != nil {
			return fmt.Errorf("couldn't read changed sessions: %w", err)
		}
		for _, row := range rows {
			h := m.table.get(row.ID)
			if h == nil {
				continue
			}
			h.mu.Lock()
			c := change{h, row, h.grant}
			same := h.row.GrantID == row.GrantID
			h.mu.Unlock()
			if !same {
				if c.grant, err = readGrant(tx.Workspace(row.WorkspaceID), row.GrantID); err != nil {
					return err
				}
			}
			sessions = append(sessions, c)
		}
		users, err := tx.ChangedUsers(after)
		if err != nil {
			return fmt.Errorf("couldn't read changed users: %w", err)
		}
		for _, row := range users {
			if p, ok := m.people.Load(row.ID); ok {
				p.(*person).learn(row)
			}
		}
		spaces, err := tx.ChangedWorkspaces(after)
		if err != nil {
			return fmt.Errorf("couldn't read changed workspaces: %w", err)
		}
		for _, row := range spaces {
			if err := m.followSpace(tx, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range sessions {
		c.held.learn(c.row, c.grant, false)
	}
	return nil
}

// followSpace reads a workspace's policy again when the workspace is newer than
// what is held. A policy that cannot be read leaves the old one in force.
func (m *Manager) followSpace(tx *store.SystemTx, row store.Workspace) error {
	s, ok := m.spaces.Load(row.ID)
	if !ok {
		return nil
	}
	is := s.(*space).now.Load()
	if is != nil && is.rev >= row.Rev {
		return nil
	}
	r, err := readRules(tx.Workspace(row.ID))
	if errors.Is(err, store.ErrUnavailable) || err != nil && tx.Context().Err() != nil {
		return err
	}
	if err != nil {
		m.log.Error("couldn't take up a policy", "workspace", row.ID, "error", err)
		return nil
	}
	s.(*space).learn(r)
	return nil
}

// begin looks at the last time that was stored: where it is ahead of the clock,
// nobody can say how long the sessions have been alone, and they are locked.
func (m *Manager) begin(ctx context.Context) error {
	var in store.Installation
	err := m.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		in, err = tx.Installation()
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't read the last stored time: %w", err)
	}
	if m.clock.Now().Add(wallSlack).UnixMicro() >= in.LastWall {
		return nil
	}
	m.log.Warn("the clock is behind the last stored time: open sessions are locked", "stored", at(in.LastWall))
	for {
		var rows []store.Session
		err := m.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
			rows, err = tx.ActiveSince(math.MaxInt64)
			return err
		})
		if err != nil {
			return fmt.Errorf("couldn't read active sessions: %w", err)
		}
		if len(rows) == 0 {
			return nil
		}
		byWorkspace := map[string][]store.Session{}
		for _, row := range rows {
			byWorkspace[row.WorkspaceID] = append(byWorkspace[row.WorkspaceID], row)
		}
		for id, rows := range byWorkspace {
			if err := m.lockFound(ctx, id, rows); err != nil {
				return err
			}
		}
	}
}

func (m *Manager) lockFound(ctx context.Context, workspaceID string, rows []store.Session) error {
	err := m.db.Workspace(ctx, bySystem, workspaceID, func(tx *store.Tx) error {
		r, err := m.spaceIn(tx)
		if err != nil {
			return err
		}
		did := false
		for _, row := range rows {
			user, err := tx.User(row.UserID)
			if err != nil {
				return err
			}
			ttl := rulesFor(r, user.Role, row.GrantID != "").LockTTL
			n, err := tx.LockSession(row.ID, min(tx.Now().Add(ttl).UnixMicro(), row.AbsoluteAt))
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			did = true
			grant, err := readGrant(tx, row.GrantID)
			if err != nil {
				return err
			}
			if err := m.follows(tx, row.ID); err != nil {
				return err
			}
			if _, err := tx.Record(aboutRow(row, grant, audit.Event{Type: "session.lock", Outcome: audit.Success,
				Detail: audit.Detail{"reason": ReasonClock}})); err != nil {
				return err
			}
		}
		if !did {
			return errUnchanged
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// noteClock records a jump: on PostgreSQL of the database's clock, which this
// node followed by moved, else of the machine's, which it did not follow.
func (m *Manager) noteClock(ctx context.Context, moved time.Duration) {
	f := &m.follow
	if !m.db.Postgres() {
		jump := m.clock.Jump()
		moved, f.jump = jump-f.jump, jump
	} else if moved.Abs() > jumpUnfit {
		f.unfit.Store(m.clock.Now().Add(unfitFor).UnixMicro())
	}
	if moved.Abs() > jumpTold {
		f.untold += moved
		m.log.Warn("the clock has jumped", "by", moved)
	}
	if f.untold == 0 {
		return
	}
	err := m.db.System(ctx, bySystem, func(tx *store.SystemTx) error {
		_, err := tx.Record(audit.Event{Type: "clock.jump", Outcome: audit.Success, Detail: audit.Detail{"moved_ms": f.untold.Milliseconds()}})
		return err
	})
	if err == nil {
		f.untold = 0
	}
}

// sweepLoaded locks and ends what is due among the loaded sessions, so that
// browsers hear of it within a second or two.
func (m *Manager) sweepLoaded(ctx context.Context) {
	now := m.clock.Now()
	cut := m.cutOff(now)
	for _, h := range m.table.all() {
		_, where := h.look(now)
		switch {
		case where == isIdle && cut:
			h.seem(Locked)
		case where == isIdle:
			if err := m.lockIdle(ctx, h, now); err != nil && ctx.Err() == nil {
				m.log.Warn("couldn't lock an idle session", "session", h.id, "error", err)
			}
		case where == isOver && !cut:
			m.endOverdue(ctx, h)
		}
	}
}

// seem tells the browsers what the database cannot confirm.
func (h *held) seem(s State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shown != s {
		h.shown = s
		h.tell(Change{State: s})
	}
}

// sweep looks after the sessions that no request asks for, the stored time, and
// what is no longer needed.
func (m *Manager) sweep(ctx context.Context) error {
	now := m.clock.Now()
	if m.cutOff(now) {
		return nil
	}
	var overdue, quiet []store.Session
	err := m.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		if overdue, err = tx.OverdueSessions(); err != nil {
			return err
		}
		quiet, err = tx.ActiveSince(now.Add(-time.Minute).UnixMicro()) // no policy locks sooner
		return err
	})
	if err != nil {
		return fmt.Errorf("couldn't read the sessions that are due: %w", err)
	}
	for _, row := range overdue {
		if err := m.endNow(ctx, row.WorkspaceID, row.ID, overdueReason(row, nil, now.UnixMicro())); err != nil {
			return fmt.Errorf("couldn't end a session whose time is over: %w", err)
		}
	}
	for _, row := range quiet {
		h, err := m.load(ctx, row.ID)
		if err == nil {
			_, err = m.standing(ctx, h, m.clock.Now())
		}
		if err != nil && !errors.Is(err, ErrSignedOut) && !errors.Is(err, ErrLocked) {
			return fmt.Errorf("couldn't lock an idle session: %w", err)
		}
	}
	m.unload(now)
	before := now.Add(-keepTokens).UnixMicro()
	err = m.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		if err := tx.StoreWall(); err != nil {
			return err
		}
		return tx.DeleteOldRefreshTokens(m.swept.Load(), before)
	})
	if err == nil {
		m.swept.Store(before)
	}
	return err
}

// unload forgets sessions that are over or that nobody has asked for.
func (m *Manager) unload(now time.Time) {
	for _, h := range m.table.all() {
		_, where := h.look(now)
		h.mu.Lock()
		busy := len(h.ears) > 0 || where != isOver && h.activity > h.written
		h.mu.Unlock()
		if !busy && (where == isOver || now.UnixMicro()-h.seen.Load() > keepUnseen.Microseconds()) {
			m.table.drop(h)
		}
	}
}
