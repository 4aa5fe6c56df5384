package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
)

// TestBeatGapRule: a tab sends beats at given times; each moves the last
// activity to a moment, or nothing.
func TestBeatGapRule(t *testing.T) {
	const nothing = -1
	for name, beats := range map[string][]struct {
		at    time.Duration // since the sign-in
		seq   int64
		age   time.Duration
		moved time.Duration // to when, since the sign-in
	}{
		"input just now": {{time.Minute, 1, 0, time.Minute}},
		"first beat reaches back a minute and five seconds": {{5 * time.Minute, 1, 65 * time.Second, 235 * time.Second}},
		"and no further":    {{5 * time.Minute, 1, 65*time.Second + time.Millisecond, nothing}},
		"an age below zero": {{5 * time.Minute, 1, -time.Millisecond, nothing}},
		"the gap since the beat before": {
			{5 * time.Minute, 1, 0, 5 * time.Minute}, {7 * time.Minute, 2, 125 * time.Second, nothing + 0}, // 4:55 is before 5:00
			{8 * time.Minute, 3, 30 * time.Second, 450 * time.Second},
		},
		"an abandoned tab says so honestly": {
			{time.Minute, 1, 10 * time.Second, 50 * time.Second}, {2 * time.Minute, 2, 70 * time.Second, nothing}, {3 * time.Minute, 3, 130 * time.Second, nothing},
		},
		"a bad age still is a beat": {
			{5 * time.Minute, 1, time.Hour, nothing}, {6 * time.Minute, 2, 66 * time.Second, nothing}, {7 * time.Minute, 3, 5 * time.Second, 415 * time.Second},
		},
		"the same or an older number moves nothing": {
			{time.Minute, 5, 0, time.Minute}, {2 * time.Minute, 5, 0, nothing}, {2 * time.Minute, 4, 0, nothing}, {2 * time.Minute, 6, 0, 2 * time.Minute},
		},
		"never backwards": {{time.Minute, 1, 0, time.Minute}, {90 * time.Second, 2, 35 * time.Second, nothing}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClinic(t, sqliteURL(t), "")
			b := c.browser()
			start := b.signIn(c.nurse).LastActivity
			last := start
			begun := c.clock.Now()
			for i, beat := range beats {
				c.advance(beat.at - c.clock.Now().Sub(begun))
				if _, err := b.beat("tab", beat.seq, beat.age); err != nil {
					t.Fatal(err)
				}
				want := last
				if beat.moved >= 0 {
					want = begun.Add(beat.moved)
				}
				last = b.active().LastActivity
				if d := last.Sub(want); d < -time.Second || d > time.Second {
					t.Errorf("beat %d: last activity %v, want %v", i, last.Sub(begun), want.Sub(begun))
				}
			}
		})
	}
}

func TestTabsHaveTheirOwnGaps(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	b.signIn(c.nurse)
	for i := range 20 {
		c.advance(time.Minute)
		if _, err := b.beat("abandoned", int64(i), time.Duration(i+1)*time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := b.beat("used", int64(i), time.Second); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(15*time.Minute - 3*time.Second)
	b.active()
	c.advance(3 * time.Second)
	if _, err := b.beat("used", 100, 0); !errors.Is(err, session.ErrLocked) {
		t.Errorf("a beat after the lock: %v", err)
	}
}

// TestF40ManyTabs: made-up tabs are forgotten, and together claim no more than
// a tab's first beat may.
func TestF40ManyTabs(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	b.signIn(c.nurse)
	beat := func(tab string, seq int64, age time.Duration) time.Time {
		t.Helper()
		if _, err := b.beat(tab, seq, age); err != nil {
			t.Fatal(err)
		}
		return b.active().LastActivity
	}
	c.advance(time.Minute)
	beat("first", 10, 0)
	c.advance(3 * time.Minute)
	before := b.active().LastActivity
	for i := range 15 {
		beat("tab"+seq(i), 1, time.Hour)
	}
	if beat("first", 10, 0) != before {
		t.Error("among sixteen tabs the first was forgotten: its number counts again")
	}
	for i := range 500 {
		if got := beat("flood"+seq(i), 1, 66*time.Second); got != before {
			t.Fatalf("a flood of tabs moved the activity by %v", got.Sub(before))
		}
	}
	if beat("first", 10, 0) == before {
		t.Error("the oldest of many tabs was not forgotten")
	}
	for name, bad := range map[string]session.Beat{"no tab": {Seq: 1}, "a long tab": {Tab: string(make([]byte, 65)), Seq: 1}, "a negative seq": {Tab: "t", Seq: -1}} {
		v := b.visit("/api/v1/session/heartbeat")
		live, err := c.m.Check(t.Context(), v, session.Renew)
		must(t, err)
		if _, err := c.m.Beat(t.Context(), v, live, bad); !refused(err, identity.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBeatAnswers(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	b.signIn(c.nurse)
	near := func(got, want int64) bool { return got >= want-1 && got <= want }
	a, err := b.beat("t", 1, 0)
	must(t, err)
	if a.State != "active" || !near(a.IdleLeft, 900) || !near(a.AbsoluteLeft, 43200) || !near(a.WarnIn, 780) || a.ServerNow.IsZero() {
		t.Errorf("at once: %+v", a)
	}
	c.advance(13*time.Minute - 2*time.Second)
	if a, err = b.beat("t", 2, 13*time.Minute); err != nil || a.State != "active" || !near(a.IdleLeft, 122) {
		t.Errorf("before the warning: %+v, %v", a, err)
	}
	c.advance(3 * time.Second)
	if a, err = b.beat("t", 3, 14*time.Minute); err != nil || a.State != "warning" || a.WarnIn != 0 || !near(a.IdleLeft, 119) {
		t.Errorf("in the warning: %+v, %v", a, err)
	}
	if a, err = b.beat("t", 4, 0); err != nil || a.State != "active" || !near(a.IdleLeft, 900) {
		t.Errorf("after a key press: %+v, %v", a, err)
	}
}

func TestActivityIsWritten(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		row := c.row(live.ID)
		c.advance(time.Minute)
		c.m.Touch(live)
		if c.row(live.ID) != row {
			t.Error("activity was written with the request")
		}
		must(t, c.m.WriteActivity(t.Context()))
		written := c.row(live.ID)
		if written.LastActivity <= row.LastActivity || written.Rev != row.Rev {
			t.Errorf("was %+v, is %+v", row, written)
		}

		// A batch never undoes a lock that another node has made.
		c.advance(time.Minute)
		c.m.Touch(live)
		there := c.on(c.node(c.open()))
		b.through(there).lock()
		must(t, c.m.WriteActivity(t.Context()))
		if got := c.row(live.ID); got.State != "locked" || got.LastActivity != written.LastActivity {
			t.Errorf("after a late batch: %+v", got)
		}
	})
}
