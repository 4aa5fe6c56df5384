package session_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

func TestRestartKeepsSessions(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b, locked := c.browser(), c.browser()
		live := b.signIn(c.nurse)
		locked.signIn(c.nurse)
		locked.lock()
		c.advance(time.Minute)
		c.m.Touch(live)
		must(t, c.m.WriteActivity(t.Context()))
		c.advance(5 * time.Second)
		c.m.Touch(live) // lost by the crash
		must(t, c.db.Close())

		c.db = c.open()
		c = c.on(c.node(c.db))
		got := b.through(c).active()
		if got.ID != live.ID || got.LastActivity.Before(live.LastActivity.Add(time.Minute)) || got.LastActivity.After(live.LastActivity.Add(64*time.Second)) {
			t.Errorf("after a restart: %+v", got)
		}
		locked.through(c).locked()
		c.advance(14*time.Minute + 57*time.Second)
		b.through(c).locked() // never longer than without the crash
	})
}

// TestF15EndsReachEveryNode: revocation, disabling, lock and new rights are
// known everywhere with the next poll, also when their transaction was slow.
func TestF15EndsReachEveryNode(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		there := c.on(c.node(c.open()))
		must(t, there.m.Poll(t.Context()))
		signedIn := func() (*browser, *session.Live) {
			b := c.browser()
			live := b.signIn(c.addUser(c.workspace, "nurse", "Somebody"))
			b.through(there).active()
			return b, live
		}

		b, live := signedIn()
		c.act(c.workspace, func(tx *store.Tx) error { _, err := c.m.End(tx, live.ID, "revoked"); return err })
		b.signedOut()
		must(t, there.m.Poll(t.Context()))
		b.through(there).signedOut()

		b, _ = signedIn()
		b.lock()
		must(t, there.m.Poll(t.Context()))
		b.through(there).locked()
		if _, err := b.unlock(false); err != nil {
			t.Fatal(err)
		}
		must(t, there.m.Poll(t.Context()))
		b.through(there).active()

		b, live = signedIn()
		c.act(c.workspace, func(tx *store.Tx) error {
			if err := tx.SetUserRole(store.SetUserRoleParams{ID: live.UserID, Role: "admin"}); err != nil {
				return err
			}
			return c.m.ChangeRights(tx, live.UserID)
		})
		skey := b.claims()["skey"]
		if got := b.active(); got.Role != "admin" || got.Class != "admin" || got.Rules.Idle != time.Hour {
			t.Errorf("new rights here: %+v", got)
		}
		must(t, there.m.Poll(t.Context()))
		if got := b.through(there).active(); got.Role != "admin" {
			t.Errorf("new rights there: %+v", got)
		}
		c.advance(61 * time.Second)
		mustBe(t, session.ErrSignedOut, nil, b.copy().forward()) // the skey from before
		b.active()
		if b.claims()["skey"] == skey {
			t.Error("the skey did not change with the rights")
		}

		b, live = signedIn()
		c.act(c.workspace, func(tx *store.Tx) error {
			if err := tx.SetUserDisabled(store.SetUserDisabledParams{ID: live.UserID, DisabledAt: tx.Micros()}); err != nil {
				return err
			}
			n, err := c.m.EndAll(tx, live.UserID, session.ReasonDisabled, "")
			if n != 1 {
				t.Errorf("%d sessions ended", n)
			}
			return err
		})
		must(t, there.m.Poll(t.Context()))
		b.signedOut()
		b.through(there).signedOut()

		// A change that committed 25 s after its time is seen all the same.
		b, live = signedIn()
		must(t, there.m.Poll(t.Context()))
		c.query("UPDATE session SET state = 'ended', rev = rev + 1, changed_at = changed_at - 25000000 WHERE id = '" + live.ID + "' RETURNING 1")
		must(t, there.m.Poll(t.Context()))
		b.through(there).signedOut()

		// An older state that arrives late changes nothing.
		b, live = signedIn()
		b.lock()
		must(t, there.m.Poll(t.Context()))
		c.query("UPDATE session SET state = 'active', rev = rev - 1 WHERE id = '" + live.ID + "' RETURNING 1")
		must(t, there.m.Poll(t.Context()))
		b.through(there).locked()
	})
}

// TestF15AResumedNodePollsFirst: a node that was stopped does not answer from
// what it knew before.
func TestF15AResumedNodePollsFirst(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		there := c.on(c.node(c.open()))
		b, control := c.browser(), c.browser()
		live := b.signIn(c.nurse)
		control.signIn(c.nurse)
		must(t, b.through(there).forward())
		must(t, control.through(there).forward())
		c.act(c.workspace, func(tx *store.Tx) error { _, err := c.m.End(tx, live.ID, "revoked"); return err })
		c.advance(time.Minute)
		mustBe(t, session.ErrSignedOut, nil, b.through(there).forward())
		must(t, control.through(there).forward())
	})
}

// TestF15CutOff: a node that lost the database answers five minutes for what it
// had loaded, with re-dated cookies, and then says that it does not know.
func TestF15CutOff(t *testing.T) {
	server, err := mitraltest.StartPostgres()
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	owner, app := server.Database(t)
	c := newClinic(t, app, owner)
	b, idle, unloaded := c.browser(), c.browser(), c.browser()
	live := b.signIn(c.nurse)
	quiet := idle.signIn(c.addUser(c.workspace, "nurse", "Somebody"))
	b.stay(4 * time.Minute)
	there := c.on(c.node(c.open()))
	unloaded.through(there).signIn(c.addUser(c.workspace, "nurse", "Somebody"))
	b.stay(7 * time.Minute)
	must(t, c.m.Poll(t.Context()))
	must(t, c.m.Ready())
	skey, tokens := b.claims()["skey"], c.tokens(live.ID)
	must(t, server.Stop())

	lost := func() { // as Run does each second
		if err := c.m.Poll(t.Context()); err == nil {
			t.Fatal("polled a stopped database")
		}
	}
	c.advance(2 * time.Second)
	lost()
	b.active()
	c.advance(4 * time.Second)
	lost()
	if c.m.Ready() == nil {
		t.Error("ready without a database for six seconds")
	}
	for range 3 {
		c.advance(80 * time.Second)
		lost()
		before := b.claims()["exp"]
		got := b.active()
		if b.claims()["exp"] == before || b.claims()["skey"] != skey {
			t.Error("the cookie was not just re-dated")
		}
		c.m.Touch(got)
	}
	if _, err := b.call(session.Refresh); err != nil || b.claims()["skey"] != skey {
		t.Errorf("refresh rotated without a database: %v", err)
	}
	if got := idle.locked(); got.ID != quiet.ID { // idle is applied all the same
		t.Error("another session")
	}
	if _, err := unloaded.get(); !unavailable(err) {
		t.Errorf("a session that was not loaded: %v", err)
	}
	strange := b.copy()
	strange.reissue(func(claims map[string]any) { claims["skey"] = "x" }, time.Minute)
	if _, err := strange.get(); errors.Is(err, session.ErrSignedOut) {
		t.Error("signed out by a node that cannot know")
	}
	v := b.visit("/api/v1/session/lock")
	if _, err := c.m.Lock(t.Context(), v, live, session.ReasonUser); !unavailable(err) {
		t.Errorf("lock: %v", err)
	}
	c.advance(time.Minute)
	lost()
	v = b.visit("/api/v1/auth/session")
	if _, err := c.m.Check(t.Context(), v, session.Renew); !unavailable(err) || len(v.Cookies()) > 0 {
		t.Errorf("after five minutes: %v, cookies %v", err, v.Cookies())
	}
	if err := b.forward(); !unavailable(err) {
		t.Errorf("forward after five minutes: %v", err)
	}

	must(t, server.Start())
	c.advance(10 * time.Second) // the next request finds it
	if got := b.active(); got.ID != live.ID {
		t.Error("another session")
	}
	must(t, c.m.Ready())
	if b.claims()["skey"] == skey || c.tokens(live.ID) != tokens+1 {
		t.Error("the rotation that was due did not come")
	}
	unloaded.active()
	if row := c.row(quiet.ID); row.State != "active" {
		t.Fatalf("the idle one is %s", row.State)
	}
	must(t, c.m.Sweep(t.Context()))
	if row := c.row(quiet.ID); row.State != "locked" {
		t.Errorf("the idle one is %s", row.State)
	}
}

func TestBeforeTheFirstPollNothingIsKnown(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	m := c.node(c.db)
	if m.Ready() == nil {
		t.Error("ready before the database was read")
	}
	must(t, m.Poll(t.Context()))
	must(t, m.Ready())
}

// TestF16ClockBehindLocks: found at a clock behind the last stored time, nobody
// knows how long a session was alone: it is locked, not ended.
func TestF16ClockBehindLocks(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		must(t, c.m.Sweep(t.Context())) // stores the time
		c.advance(-time.Second)
		must(t, c.node(c.open()).Poll(t.Context()))
		if row := c.row(live.ID); row.State != "active" {
			t.Fatalf("a second back: %s", row.State)
		}
		c.advance(-time.Hour)
		there := c.on(c.node(c.open()))
		must(t, there.m.Poll(t.Context()))
		if got := b.through(there).locked(); got.ID != live.ID {
			t.Error("another session")
		}
		if e := c.events("session.lock", live.ID); len(e) != 1 || e[0]["reason"] != "clock" {
			t.Errorf("events %v", e)
		}
		if _, err := b.through(there).unlock(false); err != nil {
			t.Fatal(err)
		}
		c.advance(15*time.Minute + time.Second) // its future activity counts for nothing
		b.through(there).locked()
	})
}

func TestRunKeepsUp(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		there := c.on(c.node(c.open()))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- c.m.Run(ctx) }()
		go func() { done <- there.m.Run(ctx) }()

		b := c.browser()
		live := b.signIn(c.nurse)
		b.through(there).active()
		changes, cancel := there.m.Subscribe(live.ID)
		defer cancel()
		until := func(want session.State) {
			t.Helper()
			select {
			case got := <-changes:
				if got.State != want {
					t.Fatalf("the other node says %s, want %s", got.State, want)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("the other node does not say %s", want)
			}
		}
		began := time.Now()
		b.lock()
		until(session.Locked)
		if _, err := b.unlock(false); err != nil {
			t.Fatal(err)
		}
		until(session.Active)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("a lock and an unlock took %v to get around", took)
		}
		c.m.Touch(live)
		stop()
		for range 2 {
			must(t, <-done)
		}
		if row := c.row(live.ID); row.LastActivity < live.CreatedAt.UnixMicro() {
			t.Error("the last activity was not written")
		}
	})
}

func TestSubscribe(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	changes, cancel := c.m.Subscribe(live.ID)
	closed, _ := c.m.Subscribe("ses_none")
	if _, open := <-closed; open {
		t.Error("news of a session that is not there")
	}
	b.lock()
	if got := <-changes; got != (session.Change{State: session.Locked}) {
		t.Errorf("lock: %+v", got)
	}
	if _, err := b.unlock(false); err != nil {
		t.Fatal(err)
	}
	b.lock() // only the newest waits
	if got := <-changes; got.State != session.Locked {
		t.Errorf("unlock and lock: %+v", got)
	}
	c.act(c.workspace, func(tx *store.Tx) error { _, err := c.m.End(tx, live.ID, "revoked"); return err })
	if got := <-changes; got != (session.Change{State: session.Ended, Reason: "revoked"}) {
		t.Errorf("end: %+v", got)
	}
	cancel()
	must(t, c.m.Sweep(t.Context()))
	if c.m.Loaded(live.ID) {
		t.Error("an ended session stays in memory")
	}
}

func TestFailedTransactionChangesNoMemory(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		broken := errors.New("broken")
		v := b.visit("/api/v1/sessions")
		err := c.db.Workspace(t.Context(), audit.By{Actor: c.nurse}, c.workspace, func(tx *store.Tx) error {
			if _, err := c.m.End(tx, live.ID, "revoked"); err != nil {
				return err
			}
			if _, err := c.m.Start(tx, v, session.Opening{UserID: c.nurse}); err != nil {
				return err
			}
			return broken
		})
		if !errors.Is(err, broken) || len(v.Cookies()) > 0 {
			t.Errorf("%v, %v", err, v.Cookies())
		}
		if got := b.active(); got.ID != live.ID {
			t.Error("memory followed what was rolled back")
		}
	})
}
