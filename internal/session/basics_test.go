package session_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/session"
)

func TestSignInAndCheck(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		b.signedOut()
		started := b.signIn(c.nurse)
		live := b.active()
		if live.ID != started.ID || live.UserID != c.nurse || live.Role != "nurse" || live.Class != "clinical" || live.Name != "Nadia Rahman" ||
			live.Slug != "hope-clinic" || live.State != session.Active || live.DeviceID == "" || live.Grant != nil {
			t.Errorf("the session is %+v", live)
		}
		if live.IdleExpiresAt.Sub(live.LastActivity) != 15*time.Minute || live.AbsoluteExpiresAt.Sub(live.CreatedAt) != 12*time.Hour {
			t.Errorf("idle %v, absolute %v", live.IdleExpiresAt, live.AbsoluteExpiresAt)
		}
		must(t, b.forward())
	})
}

func TestCookiesAsAgreed(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	b.signIn(c.nurse)
	v := b.visit("/api/v1/session/refresh")
	if _, err := c.m.Check(t.Context(), v, session.Refresh); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{ // name → path, and Max-Age below
		"__Secure-authjs.session-token": "/", "__Secure-mitral.refresh": "/api/v1",
	}
	for _, cookie := range v.Cookies() {
		if want[cookie.Name] != cookie.Path || !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Domain != "" {
			t.Errorf("cookie %+v", cookie)
		}
		if strings.HasSuffix(cookie.Name, "session-token") != (cookie.MaxAge == 120) {
			t.Errorf("%s: Max-Age %d", cookie.Name, cookie.MaxAge)
		}
		delete(want, cookie.Name)
	}
	if len(want) > 0 {
		t.Errorf("not set: %v", want)
	}
	if d := b.jar[deviceName]; d.path != "/" || d.until.Sub(c.clock.Now()) < 399*24*time.Hour {
		t.Errorf("device cookie %+v", d)
	}
	claims := b.claims()
	for _, name := range []string{"sub", "sid", "wid", "skey", "hard_exp", "seal", "name", "email", "iat", "exp", "jti"} {
		if claims[name] == nil {
			t.Errorf("the session cookie holds no %s", name)
		}
	}
}

func TestPlainNamesOnHTTP(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	c.public, c.dialect = "http://localhost:8080", session.V4
	c.m = c.node(c.db)
	b := c.browser()
	b.signIn(c.nurse)
	for _, name := range []string{"next-auth.session-token", "mitral.refresh", "mitral-device"} {
		if b.jar[name].value == "" {
			t.Errorf("there is no %s", name)
		}
	}
	b.active()
}

func TestEmptyBodies(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	if got := string(c.m.Empty()); got != "null" {
		t.Errorf("v5: %s", got)
	}
	c.dialect = session.V4
	if got := string(c.node(c.db).Empty()); got != "{}" {
		t.Errorf("v4: %s", got)
	}
}
