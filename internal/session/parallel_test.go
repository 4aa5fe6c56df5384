package session_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// TestEverythingAtOnce has one session used, locked, unlocked, rotated, polled
// and written from all sides: nothing deadlocks, nobody is signed out, and in
// the end memory says what the rows say.
func TestEverythingAtOnce(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		there := c.on(c.node(c.open()))
		must(t, there.m.Poll(t.Context()))
		b := c.browser()
		live := b.signIn(c.nurse)
		b.through(there).active()
		ctx := t.Context()
		var wg sync.WaitGroup
		for i := range 24 {
			n := []*clinic{c, there}[i%2]
			own := b.copy().through(n)
			wg.Go(func() {
				for round := range 12 {
					var err error
					switch (i/2 + round) % 8 {
					case 0:
						v := own.visit("/api/v1/session/heartbeat")
						_, err = n.m.Beat(ctx, v, live, session.Beat{Tab: seq(i), Seq: int64(round)})
					case 1:
						err = n.m.Poll(ctx)
					case 2:
						n.m.Touch(live)
						err = n.m.WriteActivity(ctx)
					case 3:
						_, err = n.m.Lock(ctx, nil, live, session.ReasonUser)
					case 4:
						err = n.db.Workspace(ctx, live.By(own.visit("/").Client), n.workspace, func(tx *store.Tx) error {
							if err := n.m.ChangeRights(tx, n.nurse); err != nil {
								return err
							}
							_, err := n.m.Unlock(tx, own.visit("/"), live, false)
							return errors.Join(err, n.m.Freshen(tx, live, false), record(tx))
						})
					case 5:
						_, err = n.m.Sessions(ctx, live)
					default:
						_, err = n.m.Check(ctx, own.visit("/api/v1/auth/session"), session.Refresh)
					}
					if err != nil && !errors.Is(err, session.ErrLocked) {
						t.Errorf("%d, round %d: %v", i, round, err)
					}
				}
			})
		}
		wg.Wait()
		must(t, there.m.Poll(ctx))
		must(t, c.m.Poll(ctx))
		state := c.row(live.ID).State
		for _, n := range []*clinic{c, there} {
			got, err := b.copy().through(n).get()
			if errors.Is(err, session.ErrSignedOut) || string(got.State) != state {
				t.Errorf("the row is %s, memory says %v, %v", state, got, err)
			}
		}
		if n := c.tokens(live.ID); n < 2 {
			t.Errorf("%d refresh tokens", n)
		}
	})
}

// TestChecksOfOneSessionDoNotQueue: while one request waits for the database,
// others of the same session are answered from memory.
func TestChecksOfOneSessionDoNotQueue(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	release, held := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- c.db.Upkeep(t.Context(), func(*store.UpkeepTx) error { // holds SQLite's one writer
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	locking := make(chan error, 1)
	go func() {
		_, err := c.m.Lock(t.Context(), nil, live, session.ReasonUser)
		locking <- err
	}()
	for range 100 {
		must(t, b.forward())
	}
	close(release)
	must(t, <-done)
	must(t, <-locking)
	mustBe(t, session.ErrLocked, live, b.forward())
}
