package breakglass_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
)

// pass advances the clock in steps, with Run's rounds in between.
func (d *desk) pass(whole time.Duration) {
	d.t.Helper()
	for step := 5 * time.Second; whole > 0; whole -= step {
		d.Advance(min(step, whole))
		d.round()
	}
}

// until advances the clock to a moment.
func (d *desk) until(at time.Time) { d.Advance(at.Sub(d.DB.Clock().Now())) }

func TestWhoEndsAndWhoRevokes(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, bystander, reviewer, second := d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer), d.Add(identity.Admin)
		ctx := context.Background()
		office := d.NewDevice()
		office.SignIn(d.Admin)
		open := func() breakglass.Started {
			d.Advance(time.Minute)
			return d.open(office, office.Confirmed(d.Admin, stepUp), named(nurse))
		}
		in := func(p mitraltest.Person) *mitraltest.Device {
			b := d.NewDevice()
			b.SignIn(p)
			return b
		}
		for _, tt := range []struct {
			who    mitraltest.Person
			stepUp bool
			state  string
		}{
			{d.Admin, false, breakglass.StateEnded},
			{nurse, false, breakglass.StateEnded},
			{reviewer, true, breakglass.StateRevoked},
			{second, true, breakglass.StateRevoked},
		} {
			s := open()
			b := in(tt.who)
			who := b.Who()
			if tt.stepUp {
				_, err := d.bg.End(ctx, who, s.ID)
				refused(t, err, identity.StepUpNeeded, "insufficient_user_authentication")
				who = b.Confirmed(tt.who, stepUp)
			}
			g, err := d.bg.End(ctx, who, s.ID)
			must(t, err)
			if g.State != tt.state || g.EndedBy != tt.who.ID || g.RemainingS != 0 || g.Review != breakglass.ReviewAwaiting || g.EndedAt == nil {
				t.Errorf("ended by a %s: %+v", tt.who.Role, g)
			}
			e := d.last("break_glass.end")
			if e["actor"] != tt.who.ID || e["grant_id"] != s.ID || e["state"] != tt.state || e["purpose"] != "BTG" {
				t.Errorf("the event: %v", e)
			}
			_, err = d.bg.End(ctx, office.Who(), s.ID)
			if r := refused(t, err, identity.Conflict, "break_glass_over"); r.Extra["state"] != tt.state {
				t.Errorf("the second end is told %v", r.Extra)
			}
		}
		s := open()
		_, err := d.bg.End(ctx, in(bystander).Who(), s.ID)
		refused(t, err, identity.Forbidden, "forbidden")
		if e := d.last("break_glass.end"); e["outcome"] != "denied" || e["actor"] != bystander.ID {
			t.Errorf("the event: %v", e)
		}
		_, err = d.bg.End(ctx, office.Who(), "grt_none")
		refused(t, err, identity.Unknown, "unknown_grant")
		// From inside one grant no other is reached.
		b := in(second)
		d.open(b, b.Confirmed(second, stepUp), emergency())
		_, err = d.bg.End(ctx, b.Who(), s.ID)
		refused(t, err, identity.Forbidden, "bg_forbidden_action")
		d.sane()
	})
}

func TestTwoEndsAtOnceOneWins(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		second := d.Add(identity.Admin)
		b, other := d.NewDevice(), d.NewDevice()
		b.SignIn(d.Admin)
		other.SignIn(second)
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		ender, revoker := b.Who(), other.Confirmed(second, stepUp)
		var mu sync.Mutex
		states, late := map[string]int{}, 0
		race(10, func(i int) {
			who := ender
			if i%2 == 1 {
				who = revoker
			}
			g, err := d.bg.End(context.Background(), who, s.ID)
			mu.Lock()
			defer mu.Unlock()
			if r := refusalOf(err); err == nil {
				states[g.State]++
			} else if r != nil && (r.Code == "break_glass_over" || r.Kind == identity.StepUpNeeded) {
				late++
			} else {
				t.Errorf("end %d: %v", i, err)
			}
		})
		won := 0
		for _, e := range d.events("break_glass.end") {
			if e["outcome"] == "success" {
				won++
			}
		}
		if len(states) != 1 || late != 9 || won != 1 {
			t.Errorf("states %v, %d late, %d recorded", states, late, won)
		}
	})
}

func TestAWindowEndsByItself(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b, ward := d.NewDevice(), d.NewDevice()
		nurse := d.Add(identity.Nurse)
		b.SignIn(d.Admin)
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		d.open(ward, stranger(ward), d.sealed(nurse, d.code(0)))
		d.pass(5 * time.Minute)
		if live := d.session(b); live.Grant == nil {
			t.Fatalf("five minutes in: %+v", live)
		}
		d.until(s.ExpiresAt.Add(-time.Minute))
		d.round()
		if g := d.get(s.ID); g.State != breakglass.StateActive {
			t.Fatalf("a minute before: %+v", g)
		}
		d.until(s.ExpiresAt.Add(time.Second))
		if live := d.session(b); live != nil {
			t.Errorf("a second later still signed in: %+v", live)
		}
		d.round()
		g := d.get(s.ID)
		if g.State != breakglass.StateExpired || !g.EndedAt.Equal(s.ExpiresAt) || g.EndedBy != "system" || g.Review != breakglass.ReviewAwaiting {
			t.Errorf("afterwards: %+v", g)
		}
		e := d.events("break_glass.expire")
		if len(e) != 2 || e[0]["grant_id"] != s.ID || e[0]["actor"] != "system" || e[0]["user_id"] != d.Admin.ID || e[0]["purpose"] != "BTG" {
			t.Errorf("the events: %v", e)
		}
		if live := d.session(ward); live != nil {
			t.Errorf("the ward is still signed in: %+v", live)
		}
		_, err := d.bg.End(context.Background(), d.admin(), s.ID)
		refused(t, err, identity.Conflict, "break_glass_over")
		// A new one is possible at once.
		fresh := d.NewDevice()
		fresh.SignIn(d.Admin)
		d.open(fresh, fresh.Confirmed(d.Admin, stepUp), emergency())
		d.sane()
	})
}

// get is a grant as the administrator sees it.
func (d *desk) get(id string) breakglass.Grant {
	d.t.Helper()
	g, err := d.bg.Get(context.Background(), d.admin(), id)
	must(d.t, err)
	return g
}

// TestF16: a window lasts as long as it was opened for, whatever a clock says:
// one that goes back does not lengthen it, and a restart takes fifteen seconds
// at most and gives none.
func TestF16ClocksNeitherLengthenNorCutAWindow(t *testing.T) {
	left := func(d *desk, g breakglass.Grant) time.Duration { return g.ExpiresAt.Sub(d.DB.Clock().Now()) }
	restart := func(t *testing.T, d *desk) *desk {
		n := &desk{Clinic: d.Node(), t: t, raw: d.raw}
		n.bg = newBreakGlass(t, n.Clinic)
		n.look = n.bg.Looker()
		return n
	}
	t.Run("running", func(t *testing.T) {
		onEach(t, func(t *testing.T, d *desk) {
			b := d.NewDevice()
			b.SignIn(d.Admin)
			s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
			d.round()
			d.pass(5 * time.Minute)
			before, since := left(d, s.Grant), time.Now()
			d.Advance(-2 * time.Hour)
			d.round()
			g := d.get(s.ID)
			within(t, "after the clock went back", left(d, g), before, 3*time.Second+time.Since(since))
			if live := d.session(b); live == nil || live.AbsoluteExpiresAt.After(g.ExpiresAt) {
				t.Errorf("the session: %+v, the grant ends %v", live, g.ExpiresAt)
			}
			d.Advance(left(d, g) + 2*time.Second)
			d.round()
			if g := d.get(s.ID); g.State != breakglass.StateExpired {
				t.Errorf("when its time was over: %+v", g)
			}
		})
	})
	t.Run("restart", func(t *testing.T) {
		onEach(t, func(t *testing.T, d *desk) {
			b := d.NewDevice()
			b.SignIn(d.Admin)
			s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
			d.pass(5*time.Minute + 7*time.Second)
			before, since := left(d, s.Grant), time.Now()
			n := restart(t, d)
			n.round()
			after := left(n, n.get(s.ID))
			if lost := before - after; lost < 0 || lost > 15*time.Second+time.Since(since) {
				t.Errorf("a restart took %v", lost)
			}
		})
	})
	t.Run("restart with the clock two hours back", func(t *testing.T) {
		onEach(t, func(t *testing.T, d *desk) {
			b := d.NewDevice()
			b.SignIn(d.Admin)
			s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
			d.pass(5*time.Minute + 7*time.Second)
			before, since := left(d, s.Grant), time.Now()
			d.Advance(-2 * time.Hour)
			n := restart(t, d)
			n.round()
			g := n.get(s.ID)
			if lost := before - left(n, g); lost < 0 || lost > 15*time.Second+time.Since(since) {
				t.Errorf("a restart took %v", lost)
			}
			v := b.VisitOn(n.Clinic)
			if live, err := n.Sessions.Check(context.Background(), v, session.Peek); live != nil && live.AbsoluteExpiresAt.After(g.ExpiresAt) {
				t.Errorf("the session lasts until %v, the grant until %v (%v)", live.AbsoluteExpiresAt, g.ExpiresAt, err)
			}
			n.Advance(left(n, g) + 2*time.Second)
			n.round()
			if g := n.get(s.ID); g.State != breakglass.StateExpired {
				t.Errorf("when its time was over: %+v", g)
			}
		})
	})
	t.Run("restart with the clock two hours on", func(t *testing.T) {
		onEach(t, func(t *testing.T, d *desk) {
			b := d.NewDevice()
			b.SignIn(d.Admin)
			s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
			d.pass(5 * time.Minute)
			d.Advance(2 * time.Hour)
			n := restart(t, d)
			n.round()
			if g := n.get(s.ID); g.State != breakglass.StateExpired || g.EndedAt.After(s.ExpiresAt) {
				t.Errorf("afterwards: %+v", g)
			}
		})
	})
	// A window opened after the start is not taken for one of before.
	t.Run("fresh", func(t *testing.T) {
		onEach(t, func(t *testing.T, d *desk) {
			b := d.NewDevice()
			b.SignIn(d.Admin)
			s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
			d.round()
			if g := d.get(s.ID); !g.ExpiresAt.Equal(s.ExpiresAt) {
				t.Errorf("it ends %v, opened until %v", g.ExpiresAt, s.ExpiresAt)
			}
		})
	})
}

func TestRunExpiresWithinFifteenSeconds(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b := d.NewDevice()
		b.SignIn(d.Admin)
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		run(t, d.bg.Run)
		d.Advance(time.Hour)
		for deadline := time.Now().Add(15 * time.Second); len(d.events("break_glass.expire")) == 0; <-time.After(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not expired after fifteen seconds")
			}
		}
		if g := d.get(s.ID); g.State != breakglass.StateExpired {
			t.Errorf("the grant: %+v", g)
		}
	})
}
