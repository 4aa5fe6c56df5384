package session_test

import (
	"errors"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

func TestIdleLocksAtTheMinute(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		for _, who := range []struct {
			role string
			idle time.Duration
		}{{"nurse", 15 * time.Minute}, {"admin", time.Hour}} {
			b := c.browser()
			live := b.signIn(c.addUser(c.workspace, who.role, "Somebody"))
			c.advance(who.idle - time.Second)
			b.active() // looking is not activity
			must(t, b.forward())
			c.advance(2 * time.Second)
			locked := b.locked()
			if locked.State != session.Locked || locked.LockExpiresAt.IsZero() {
				t.Errorf("%s: %+v", who.role, locked)
			}
			mustBe(t, session.ErrLocked, locked, b.forward())
			if e := c.events("session.lock", live.ID); len(e) != 1 || e[0]["reason"] != "idle" || e[0]["actor"] != "system" || e[0]["user_id"] != live.UserID {
				t.Errorf("%s: events %v", who.role, e)
			}
			if row := c.row(live.ID); row.State != "locked" || row.LockExpiresAt != locked.LockExpiresAt.UnixMicro() {
				t.Errorf("%s: the row says %s, %v", who.role, row.State, row.LockExpiresAt)
			}
		}
	})
}

func TestSweeperLocksWhatNobodyAsksFor(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b, other := c.browser(), c.browser()
		quiet, busy := b.signIn(c.nurse), other.signIn(c.addUser(c.workspace, "doctor", "Omar Haddad"))
		there := c.node(c.open()) // has loaded neither
		c.advance(14 * time.Minute)
		c.m.Touch(busy)
		must(t, c.m.WriteActivity(t.Context()))
		c.advance(2 * time.Minute)
		must(t, there.Poll(t.Context()))
		must(t, there.Sweep(t.Context()))
		if c.row(quiet.ID).State != "locked" || c.row(busy.ID).State != "active" {
			t.Errorf("quiet %s, busy %s", c.row(quiet.ID).State, c.row(busy.ID).State)
		}
		must(t, there.Sweep(t.Context()))
		if n := len(c.events("session.lock", quiet.ID)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestBeforeIdleTheDatabaseIsAsked(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b, there := c.browser(), c.on(c.node(c.open()))
		live := b.signIn(c.nurse)
		must(t, b.through(there).forward())
		c.advance(14 * time.Minute)
		c.m.Touch(live)
		must(t, c.m.WriteActivity(t.Context()))
		c.advance(2 * time.Minute)
		b.through(there).active() // this node saw no activity for 16 minutes
		c.advance(14 * time.Minute)
		b.through(there).locked()
		b.locked()
	})
}

func TestLockCookie(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		c.advance(30 * time.Second)
		before := b.copy()
		b.lock()
		if e := c.events("session.lock", live.ID); len(e) != 1 || e[0]["reason"] != "user" || e[0]["actor"] != c.nurse {
			t.Errorf("events %v", e)
		}
		cookie, now := b.jar[c.sessionName()], c.clock.Now()
		if left := cookie.until.Sub(now); left < 7*time.Hour+59*time.Minute || left > 8*time.Hour {
			t.Errorf("the lock's cookie lasts %v", left)
		}
		claims := b.claims()
		for _, name := range []string{"exp", "hard_exp"} {
			if claims[name].(float64) > float64(now.Add(-session.CookieTolerance).Unix()) {
				t.Errorf("%s is not past for applications", name)
			}
		}
		// It alone names the session for hours, and so does the refresh cookie.
		for name, only := range map[string]*browser{"the lock's cookie": b.copy().drop(refreshName), "the refresh cookie": b.copy().drop(c.sessionName())} {
			if got := only.locked(); got.ID != live.ID {
				t.Errorf("%s names %s", name, got.ID)
			}
			if only.jar[c.sessionName()].until.Sub(now) < 7*time.Hour {
				t.Errorf("%s: the lock's cookie was not set again", name)
			}
		}
		c.advance(time.Hour)
		b.copy().drop(refreshName).locked()
		mustBe(t, session.ErrLocked, live, b.copy().drop(c.sessionName()).throughAPI().forward())
		// The cookie from before the lock is past by now and names nothing.
		old := before.drop(refreshName)
		k := old.jar[c.sessionName()]
		k.until = time.Time{}
		old.jar[c.sessionName()] = k
		mustBe(t, session.ErrSignedOut, nil, old.forward())
	})
}

// throughAPI is a browser whose pages all lie under /api/v1, so that the refresh
// cookie always comes along.
func (b *browser) throughAPI() *browser {
	for name, k := range b.jar {
		k.path = "/"
		b.jar[name] = k
	}
	return b
}

func TestOrdinaryCookieOfALockedSession(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	other := b.copy() // another tab's request, underway
	b.lock()
	if got := other.locked(); got.ID != live.ID {
		t.Error("another session")
	}
}

func TestRefreshOfALockedSession(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		b.lock()
		skey := b.claims()["skey"]
		got, err := b.call(session.Refresh)
		mustBe(t, session.ErrLocked, got, err)
		if b.claims()["skey"] == skey || c.tokens(live.ID) != 2 {
			t.Error("refresh did not rotate")
		}
		b.locked()
		if row := c.row(live.ID); row.State != "locked" {
			t.Errorf("refresh unlocked: %s", row.State)
		}
	})
}

func TestUnlock(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		started := b.signIn(c.nurse)
		c.advance(10 * time.Minute)
		b.lock()
		locked := b.copy()
		skey := b.claims()["skey"]

		elsewhere := b.copy().drop(deviceName, refreshName)
		if _, err := elsewhere.unlock(false); !refused(err, identity.Forbidden) {
			t.Errorf("unlocked on another browser: %v", err)
		}
		c.advance(10 * time.Minute)
		live, err := b.unlock(false)
		must(t, err)
		if live.ID != started.ID || live.State != session.Active || !live.LastActivity.Equal(live.IdleExpiresAt.Add(-15*time.Minute)) ||
			c.clock.Now().Sub(live.LastActivity) > time.Minute || !live.FreshAt.Equal(started.FreshAt) || !live.AuthTime.Equal(started.AuthTime) {
			t.Errorf("unlocked: %+v", live)
		}
		if b.claims()["skey"] == skey {
			t.Error("the skey is the same after unlock")
		}
		must(t, b.forward())
		b.active()
		// The lock's cookie of a parallel tab names nothing any more by itself.
		mustBe(t, session.ErrSignedOut, nil, locked.copy().drop(refreshName).forward())
		locked.active()

		b.lock()
		live, err = b.unlock(true)
		must(t, err)
		if c.clock.Now().Sub(live.FreshAt) > time.Minute {
			t.Error("a passkey's unlock is not fresh")
		}
	})
}

func refused(err error, kind identity.Kind) bool {
	var r *identity.Refusal
	return errors.As(err, &r) && r.Kind == kind
}

func TestLockAndAbsoluteEnds(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		b.lock()
		c.advance(8*time.Hour - time.Minute)
		b.locked()
		c.advance(2 * time.Minute)
		b.signedOut()
		if e := c.events("session.end", live.ID); len(e) != 1 || e[0]["reason"] != "lock_expired" {
			t.Errorf("lock_ttl: %v", e)
		}

		b = c.browser()
		live = b.signIn(c.nurse)
		c.advance(5 * time.Hour)
		if got := b.locked(); got.LockExpiresAt.After(got.AbsoluteExpiresAt) {
			t.Error("a lock outlasts the session")
		}
		if _, err := b.unlock(false); err != nil {
			t.Fatal(err)
		}
		c.advance(7*time.Hour - time.Minute)
		if _, err := b.unlock(false); err != nil {
			t.Fatal(err)
		}
		if hard := b.claims()["hard_exp"].(float64); hard > float64(live.AbsoluteExpiresAt.Unix()) {
			t.Error("hard_exp is later than the session's end")
		}
		c.advance(61 * time.Second)
		b.signedOut()
		mustBe(t, session.ErrSignedOut, nil, b.forward())
		if e := c.events("session.end", live.ID); len(e) != 1 || e[0]["reason"] != "absolute" {
			t.Errorf("absolute: %v", e)
		}

		// The sweeper ends what nobody asks for.
		b = c.browser()
		live = b.signIn(c.nurse)
		c.advance(13 * time.Hour)
		there := c.node(c.open())
		must(t, there.Poll(t.Context()))
		must(t, there.Sweep(t.Context()))
		if row := c.row(live.ID); row.State != "ended" {
			t.Errorf("the sweeper left it %s", row.State)
		}
		if n := c.tokens(live.ID); n != 1 {
			t.Errorf("%d tokens", n)
		}
		c.advance(11 * time.Minute)
		must(t, there.Poll(t.Context()))
		must(t, there.Sweep(t.Context()))
		if n := c.tokens(live.ID); n != 0 {
			t.Errorf("%d tokens of an ended session stay", n)
		}
	})
}

func TestConcurrentLimit(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		for role, most := range map[string]int{"nurse": 5, "admin": 3} {
			user := c.addUser(c.workspace, role, "Somebody")
			var all []*browser
			for range most + 1 {
				b := c.browser()
				b.signIn(user)
				all = append(all, b)
				c.advance(time.Second)
			}
			first := all[0].locked()
			if !first.Parked {
				t.Errorf("%s: the oldest is not parked: %+v", role, first)
			}
			if e := c.events("session.park", first.ID); len(e) != 1 || e[0]["reason"] != "limit" {
				t.Errorf("%s: %v", role, e)
			}
			for _, b := range all[1:] {
				b.active()
			}
			if _, err := all[0].unlock(false); err != nil { // takes the place of the next oldest
				t.Fatal(err)
			}
			all[0].active()
			all[1].locked()
			all[2].active()
		}
	})
}

func TestLimitHoldsWhenSignInsRace(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		there := c.on(c.node(c.open()))
		must(t, there.m.Poll(t.Context()))
		done := make(chan struct{})
		for i := range 16 {
			node := []*clinic{c, there}[i%2]
			go func() {
				defer func() { done <- struct{}{} }()
				node.browser().signIn(c.nurse)
			}()
		}
		for range 16 {
			<-done
		}
		if n := c.query("SELECT COUNT(*) FROM session WHERE state = 'active' AND user_id = '" + c.nurse + "'"); n != 5 {
			t.Errorf("%d active sessions", n)
		}
	})
}

func TestSignInOnAUsedBrowser(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		doctor := c.addUser(c.workspace, "doctor", "Omar Haddad")
		b := c.browser()
		first := b.signIn(c.nurse)
		b.lock()
		second := b.signIn(c.nurse)
		if second.ID == first.ID || second.DeviceID != first.DeviceID {
			t.Errorf("first %+v, second %+v", first, second)
		}
		if row := c.row(first.ID); row.State != "ended" || row.EndReason != "replaced" {
			t.Errorf("the same person's is %s, %s", row.State, row.EndReason)
		}
		b.lock()
		nurses := b.copy()
		theirs := b.signIn(doctor)
		if got := b.active(); got.ID != theirs.ID {
			t.Error("the browser shows another session")
		}
		if got := nurses.locked(); got.ID != second.ID || !got.Parked {
			t.Errorf("another's is not parked: %+v", got)
		}
		if e := c.events("session.park", second.ID); len(e) != 1 || e[0]["reason"] != "other_person" {
			t.Errorf("events %v", e)
		}

		// A session of another workspace is parked as well.
		other := *c
		other.workspace = c.addWorkspace("other")
		stranger := c.addUser(other.workspace, "nurse", "Somebody")
		b.through(&other).signIn(stranger)
		if row := c.row(theirs.ID); row.State != "parked" {
			t.Errorf("another workspace's is %s", row.State)
		}
	})
}

func TestDisabledPersonStartsNothing(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	c.act(c.workspace, func(tx *store.Tx) error {
		return tx.SetUserDisabled(store.SetUserDisabledParams{ID: c.nurse, DisabledAt: tx.Micros()})
	})
	v := c.browser().visit("/")
	err := c.db.Workspace(t.Context(), audit.By{}, c.workspace, func(tx *store.Tx) error {
		_, err := c.m.Start(tx, v, session.Opening{UserID: c.nurse})
		return err
	})
	if !errors.Is(err, session.ErrDisabled) || len(v.Cookies()) > 0 {
		t.Errorf("%v, %v", err, v.Cookies())
	}
}

func TestLockTakesPolicyAtOnce(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	b.signIn(c.nurse)
	b.active()
	c.setPolicy(func(d *policy.Document) {
		r := d.Roles["nurse"]
		r.Idle = "5m"
		d.Roles["nurse"] = r
	})
	must(t, c.m.Poll(t.Context()))
	if got := b.active(); got.Rules.Idle != 5*time.Minute || got.PolicyRev != 2 {
		t.Errorf("rules %+v, rev %d", got.Rules, got.PolicyRev)
	}
	c.advance(5*time.Minute + time.Second)
	b.locked()
}
