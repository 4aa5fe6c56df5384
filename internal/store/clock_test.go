package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/store"
)

func TestClockIsTheMachines(t *testing.T) {
	before := time.Now()
	now := store.NewClock().Now()
	if now.Before(before.Add(-time.Second)) || now.After(time.Now().Add(time.Second)) || now.Location() != time.UTC || !now.Equal(now.Truncate(time.Microsecond)) {
		t.Errorf("%v, and the machine says %v", now, before)
	}
}

func near(got, want time.Duration) bool { return got > want-time.Second && got < want+time.Second }

// Following another clock, the offset's change is told; what does not change is
// not.
func TestClockFollows(t *testing.T) {
	clock := store.NewClock()
	if moved := clock.Follow(time.Now().Add(time.Hour)); !near(moved, time.Hour) {
		t.Errorf("moved by %v", moved)
	}
	if ahead := time.Until(clock.Now()); !near(ahead, time.Hour) {
		t.Errorf("ahead by %v", ahead)
	}
	if moved := clock.Follow(clock.Now()); !near(moved, 0) {
		t.Errorf("moved by %v, and nothing happened", moved)
	}
	if moved := clock.Follow(time.Now()); !near(moved, -time.Hour) {
		t.Errorf("moved by %v", moved)
	}
	if jump := clock.Jump(); !near(jump, 0) { // the machine's clock stood
		t.Errorf("jump %v", jump)
	}
}

// PostgreSQL's clock rules; SQLite's is the process's own.
func TestDatabaseClockRules(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		clock := store.NewClock()
		clock.Follow(time.Now().Add(time.Hour)) // it is wrong
		c := db.config
		c.Clock = clock
		wrong, err := store.Open(c)
		must(t, err)
		defer func() { _ = wrong.Close() }()
		want := time.Duration(0)
		if db.Postgres() {
			want = -time.Hour
		}
		moved, err := wrong.Follow(ctx)
		must(t, err)
		if !near(moved, want) || !near(time.Until(wrong.Clock().Now()), time.Hour+want) {
			t.Errorf("moved by %v, ahead by %v", moved, time.Until(wrong.Clock().Now()))
		}
	})
}

// A wait is a deadline on the clock: moving the clock ends it, and so does its
// context.
func TestSleepIsADeadline(t *testing.T) {
	clock := store.NewClock()
	done := make(chan error, 1)
	go func() { done <- clock.Sleep(context.Background(), time.Hour) }()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	clock.TestOnlyAdvance(2 * time.Hour) // it may not have begun: then it waits in vain, and the test with it
	started := time.Now()
	for {
		select {
		case err := <-done:
			must(t, err)
		case <-time.After(time.Second):
			clock.TestOnlyAdvance(2 * time.Hour)
			continue
		}
		break
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it woke after %v", took)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := clock.Sleep(gone, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	must(t, clock.Sleep(context.Background(), -time.Second))
}
