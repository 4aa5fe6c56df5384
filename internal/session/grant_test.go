package session_test

import (
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

func (c *clinic) attach(v *session.Visit, sessionID, grantID string, ends time.Time) {
	c.tb.Helper()
	c.act(c.workspace, func(tx *store.Tx) error {
		_, err := c.m.AttachGrant(tx, v, sessionID, grantID, ends)
		return err
	})
}

// TestF19AttachGrant: a session inside a grant has the emergency role and no
// other, new keys, and ends with the grant.
func TestF19AttachGrant(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		admin := c.addUser(c.workspace, "admin", "Grace Okafor")
		b, second, untouched := c.browser(), c.browser(), c.browser()
		live, other := b.signIn(admin), second.signIn(admin)
		untouched.signIn(admin)
		there := c.on(c.node(c.open()))
		b.through(there).active()
		old, skey := b.copy().drop(refreshName), b.claims()["skey"]

		grant, ends := c.openGrant(admin, 20*time.Minute)
		v := b.visit("/api/v1/break-glass")
		_, err := c.m.Check(t.Context(), v, session.Renew)
		must(t, err)
		c.attach(v, live.ID, grant, ends)
		b.take(v)
		c.attach(nil, other.ID, grant, ends)

		if b.claims()["skey"] == skey {
			t.Error("the skey did not change")
		}
		inside := b.active()
		if inside.Role != "emergency_clinician" || inside.Class != identity.Clinical || inside.OwnRole != "admin" || inside.Rules.Idle != 10*time.Minute ||
			inside.Grant == nil || inside.Grant.ID != grant || !inside.AbsoluteExpiresAt.Equal(ends) {
			t.Errorf("inside: %+v", inside)
		}
		if by := inside.By(v.Client); by.Actor != admin || by.Session != live.ID || by.Grant != grant || by.Purpose != "ETREAT" {
			t.Errorf("events would say %+v", by)
		}
		if got := second.active(); got.Grant == nil || got.Role != "emergency_clinician" {
			t.Errorf("the other browser: %+v", got)
		}
		if got := untouched.active(); got.Grant != nil || got.Role != "admin" {
			t.Errorf("a session outside the grant: %+v", got)
		}
		must(t, there.m.Poll(t.Context()))
		if got := b.through(there).active(); got.Grant == nil || !got.AbsoluteExpiresAt.Equal(ends) {
			t.Errorf("the other node: %+v", got)
		}
		c.advance(61 * time.Second)
		mustBe(t, session.ErrSignedOut, nil, old.forward())

		c.advance(9*time.Minute + time.Second)
		if got := b.locked(); got.LockExpiresAt.After(ends) {
			t.Errorf("locked beyond the grant: %v", got.LockExpiresAt)
		}
		if e := c.events("session.lock", live.ID); len(e) != 1 || e[0]["grant_id"] != grant || e[0]["purpose"] != "ETREAT" {
			t.Errorf("events %v", e)
		}
		if _, err := b.unlock(false); err != nil {
			t.Fatal(err)
		}
		c.advance(9 * time.Minute) // a minute is left
		if _, err := b.call(session.Refresh); err != nil {
			t.Fatal(err)
		}
		if hard := b.claims()["hard_exp"].(float64); hard > float64(ends.Unix()) {
			t.Errorf("hard_exp %v is later than the grant's end", hard)
		}
		c.advance(time.Minute)
		mustBe(t, session.ErrSignedOut, nil, b.forward())
		b.signedOut()
		if e := c.events("session.end", live.ID); len(e) != 1 || e[0]["reason"] != "bg_end" {
			t.Errorf("events %v", e)
		}
		untouched.active()
	})
}

func TestEndAndShortenGrant(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		there := c.on(c.node(c.open()))
		must(t, there.m.Poll(t.Context()))
		grant, ends := c.openGrant(c.nurse, time.Hour)
		b := c.browser()
		live := b.open(session.Opening{UserID: c.nurse, Method: "sealed_code", ACR: identity.ACREmergencyClaimed, GrantID: grant, EndsBy: ends})
		outside := c.browser()
		outside.signIn(c.addUser(c.workspace, "nurse", "Somebody"))
		if live.ACR != identity.ACREmergencyClaimed || live.Role != "emergency_clinician" || !live.AbsoluteExpiresAt.Equal(ends) {
			t.Errorf("an emergency session: %+v", live)
		}
		object := c.m.Object(b.active())["mitral"].(map[string]any)
		if g := object["break_glass"].(map[string]any); g["id"] != grant || g["ref"] != "BG-0001" || g["remaining_s"].(int64) < 3590 {
			t.Errorf("break_glass %v", g)
		}
		b.through(there).active()

		sooner := c.clock.Now().Add(30 * time.Minute)
		c.act(c.workspace, func(tx *store.Tx) error { return c.m.ShortenGrant(tx, grant, sooner) })
		c.act(c.workspace, func(tx *store.Tx) error { return c.m.ShortenGrant(tx, grant, sooner.Add(time.Hour)) })
		must(t, there.m.Poll(t.Context()))
		for _, at := range []*clinic{c, there} {
			if got := b.through(at).active(); !got.AbsoluteExpiresAt.Equal(sooner) {
				t.Errorf("shortened: %v, want %v", got.AbsoluteExpiresAt, sooner)
			}
		}
		c.act(c.workspace, func(tx *store.Tx) error {
			n, err := c.m.EndGrant(tx, grant, session.ReasonGrantOver)
			if n != 1 {
				t.Errorf("%d sessions ended", n)
			}
			return err
		})
		b.signedOut()
		must(t, there.m.Poll(t.Context()))
		b.through(there).signedOut()
		outside.active()
	})
}

// TestF07EmergencySessionUnlocks: locked after ten minutes, an emergency session
// opens again until its window ends, and not after.
func TestF07EmergencySessionUnlocks(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	grant, ends := c.openGrant(c.nurse, 25*time.Minute)
	b := c.browser()
	b.open(session.Opening{UserID: c.nurse, Method: "sealed_code", ACR: identity.ACREmergency, GrantID: grant, EndsBy: ends})
	c.advance(10*time.Minute - time.Second)
	b.active()
	c.advance(2 * time.Second)
	b.locked()
	if _, err := b.unlock(false); err != nil {
		t.Fatal(err)
	}
	c.advance(11 * time.Minute)
	b.locked()
	c.advance(5 * time.Minute)
	b.signedOut()
}

// TestUnlockAndAttachTogether: an administrator's locked session becomes the
// emergency session in one transaction.
func TestUnlockAndAttachTogether(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		admin := c.addUser(c.workspace, "admin", "Grace Okafor")
		b := c.browser()
		b.signIn(admin)
		b.lock()
		grant, ends := c.openGrant(admin, time.Hour)
		v := b.visit("/api/v1/break-glass")
		live, err := c.m.Check(t.Context(), v, session.Renew)
		mustBe(t, session.ErrLocked, live, err)
		must(t, c.db.Workspace(t.Context(), live.By(v.Client), c.workspace, func(tx *store.Tx) error {
			if _, err := c.m.Unlock(tx, v, live, false); err != nil {
				return err
			}
			if _, err := c.m.AttachGrant(tx, v, live.ID, grant, ends); err != nil {
				return err
			}
			_, err := tx.Record(audit.Event{Type: "break_glass.start", Outcome: audit.Success})
			return err
		}))
		b.take(v)
		must(t, b.forward())
		if got := b.active(); got.Grant == nil || got.State != session.Active {
			t.Errorf("%+v", got)
		}
	})
}
