package session_test

import (
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

func (b *browser) signOut() error {
	v := b.visit("/api/v1/auth/signout")
	err := b.c.m.SignOut(b.c.tb.Context(), v)
	b.take(v)
	return err
}

func TestSignOut(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		for name, prepare := range map[string]func(b *browser){
			"active":                 func(*browser) {},
			"locked":                 func(b *browser) { b.lock() },
			"session cookie missing": func(b *browser) { c.advance(3 * time.Minute); b.drop(c.sessionName()) },
			"refresh cookie missing": func(b *browser) { b.drop(refreshName) },
		} {
			b := c.browser()
			live := b.signIn(c.nurse)
			prepare(b)
			kept := b.copy()
			must(t, b.signOut())
			if b.jar[c.sessionName()].value != "" || b.jar[refreshName].value != "" || b.jar[deviceName].value == "" {
				t.Errorf("%s: cookies are left, or the device is gone", name)
			}
			kept.signedOut()
			if e := c.events("sign_out.user", live.ID); len(e) != 1 || e[0]["actor"] != c.nurse {
				t.Errorf("%s: events %v", name, e)
			}
			if len(c.events("session.end", live.ID)) != 0 {
				t.Errorf("%s: one act, two events", name)
			}
			must(t, b.signOut()) // nobody is signed in
		}
	})
}

func TestOwnSessions(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		here, there, locked, foreign := c.browser(), c.browser(), c.browser(), c.browser()
		live, other := here.signIn(c.nurse), there.signIn(c.nurse)
		held := locked.signIn(c.nurse)
		locked.lock()
		stranger := foreign.signIn(c.addUser(c.workspace, "doctor", "Omar Haddad"))

		list, err := c.m.Sessions(t.Context(), live)
		must(t, err)
		states := map[string]session.State{}
		for _, l := range list {
			states[l.ID] = l.State
			if l.This != (l.ID == live.ID) || l.UserAgent != "Chrome, Windows" || l.IP != "192.0.2.7" || l.DeviceID == "" {
				t.Errorf("listed %+v", l)
			}
		}
		if len(list) != 3 || states[other.ID] != session.Active || states[held.ID] != session.Locked {
			t.Errorf("list %+v", list)
		}

		v := here.visit("/api/v1/sessions")
		for _, id := range []string{stranger.ID, "ses_none", ""} {
			if err := c.m.EndOwn(t.Context(), v, live, id); !refused(err, identity.Unknown) {
				t.Errorf("ending %q: %v", id, err)
			}
		}
		must(t, c.m.EndOwn(t.Context(), v, live, other.ID))
		there.signedOut()
		if err := c.m.EndOwn(t.Context(), v, live, other.ID); !refused(err, identity.Unknown) {
			t.Errorf("ending it twice: %v", err)
		}
		n, err := c.m.EndOthers(t.Context(), v, live)
		if err != nil || n != 1 {
			t.Errorf("ended %d others, %v", n, err)
		}
		if n, err = c.m.EndOthers(t.Context(), v, live); err != nil || n != 0 {
			t.Errorf("ended %d others again, %v", n, err)
		}
		locked.signedOut()
		here.active()
		foreign.active()
		must(t, c.m.EndOwn(t.Context(), v, live, live.ID))
		here.signedOut()
	})
}

func TestPark(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	a, b := c.browser(), c.browser()
	one := a.signIn(c.nurse)
	v := a.visit("/signin")
	for range 2 {
		must(t, c.m.Park(t.Context(), v, one, session.ReasonOtherPerson))
	}
	if !a.locked().Parked || len(c.events("session.park", one.ID)) != 1 {
		t.Error("not parked, or not once")
	}
	if _, err := a.unlock(false); err != nil {
		t.Fatal(err)
	}
	kept := b.signIn(c.nurse)
	c.act(c.workspace, func(tx *store.Tx) error {
		n, err := c.m.ParkAll(tx, c.nurse, "key_reissued", kept.ID)
		if n != 1 {
			t.Errorf("parked %d", n)
		}
		return err
	})
	if !a.locked().Parked {
		t.Error("not parked")
	}
	b.active()
}

func TestStepUpFreshens(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	c.advance(10 * time.Minute)
	c.act(c.workspace, func(tx *store.Tx) error { return c.m.Freshen(tx, live, true) })
	got := b.active()
	if now := c.clock.Now(); now.Sub(got.FreshAt) > time.Second || now.Sub(got.LastActivity) > time.Second || !got.FactorUsed || !got.AuthTime.Equal(live.AuthTime) {
		t.Errorf("after a step-up: %+v", got)
	}
}

// TestFifthWrongPINEnds: the row that the counter returns is followed at once.
func TestFifthWrongPINEnds(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b, control := c.browser(), c.browser()
	live := b.signIn(c.nurse)
	control.signIn(c.nurse)
	b.lock()
	for i := range 5 {
		b.locked()
		c.act(c.workspace, func(tx *store.Tx) error {
			row, err := tx.CountSessionPinMiss(live.ID)
			if err == nil {
				c.m.Apply(tx, row)
			}
			if (row.State == "ended") != (i == 4) {
				t.Errorf("after %d: %s", i+1, row.State)
			}
			return err
		})
	}
	b.signedOut()
	control.active()
}
