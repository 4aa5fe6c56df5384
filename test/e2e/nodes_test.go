package e2e

import (
	"net/http"
	"testing"
	"time"
)

// secondNode starts another node of the same installation, as an operator does:
// the same key-encryption key, database and public URL.
func (c *clinic) secondNode() *node {
	c.t.Helper()
	return c.elsewhere().serve()
}

// TestTwoNodes: what one node is told the other honours within two seconds.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	c := newClinic(t, postgres(t))
	a := c.node
	b := c.secondNode()

	t.Run("lock and unlock", func(t *testing.T) {
		here := a.signIn(c.nurse)
		there := here.at(b)
		there.waitState(follows, "active")
		here.post("/api/v1/session/lock", map[string]any{}).is(http.StatusOK)
		until(t, follows, "the other node calls the lock", func() (bool, string) {
			r := there.post("/api/v1/authz/check", map[string]string{"action": "export"})
			return r.status == http.StatusLocked, string(r.body)
		})
		there.post("/api/v1/session/unlock", map[string]string{"method": "pin", "pin": c.nurse.pin}).is(http.StatusOK)
		here.waitState(follows, "active")
	})

	t.Run("a revoked session", func(t *testing.T) {
		here, there := a.signIn(c.nurse), b.signIn(c.nurse)
		there.waitState(follows, "active")
		here.do(http.MethodDelete, "/api/v1/sessions", nil).is(http.StatusOK)
		there.waitState(follows, "")
		if got := here.state(); got != "active" {
			t.Errorf("the session that ended the others is %q", got)
		}
	})

	t.Run("a disabled person", func(t *testing.T) {
		leaver := c.staff(person{email: "leaver@hope.example", name: "A Leaver", role: "nurse", pin: "4916"})
		here, there := a.signIn(leaver), b.signIn(leaver)
		a.signIn(c.admin).do(http.MethodPatch, "/api/v1/users/"+leaver.id, map[string]bool{"disabled": true}).is(http.StatusOK)
		begun := time.Now()
		here.waitState(follows, "")
		there.waitState(follows-time.Since(begun), "")
		b.caller().post("/api/v1/auth/key-pin", map[string]string{"identifier": leaver.email, "key": leaver.key, "pin": leaver.pin}).is(http.StatusUnauthorized)
	})

	t.Run("a grant and its end", func(t *testing.T) {
		here := b.signIn(c.doctor) // in the chart when the administrator opens it elsewhere
		opened := a.open(c, c.admin, map[string]any{"kind": "named", "subject": c.doctor.id}).is(http.StatusCreated)
		until(t, follows, "the doctor's session takes the grant up", func() (bool, string) {
			r := here.get("/api/v1/auth/session").is(http.StatusOK)
			return r.text("mitral.break_glass.ref") == opened.text("ref"), string(r.body)
		})
		here.post("/api/v1/break-glass/"+opened.text("id")+"/end", map[string]any{}).is(http.StatusOK)
		at := here.at(a)
		at.waitState(follows, "")
	})

	t.Run("one node gone", func(t *testing.T) {
		here := a.signIn(c.nurse)
		a.restart(true)
		here.waitState(follows, "active")
		here.at(b).waitState(follows, "active")
	})
	c.verify()
}

// open opens emergency access over the API as an administrator does, with a
// fresh proof.
func (n *node) open(c *clinic, p person, with map[string]any) reply {
	n.t.Helper()
	caller := n.signIn(p)
	body := map[string]any{"category": "cannot_sign_in", "reason": "Lost key card on the ward"}
	for name, value := range with {
		body[name] = value
	}
	r := caller.post("/api/v1/break-glass", body, "Mitral-Step-Up", caller.stepUp(p, "break_glass", ""))
	if code := r.text("pickup_code"); code != "" {
		c.secrets.keep(code)
	}
	return r
}
