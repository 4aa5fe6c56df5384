package session_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

func TestAccessTokenClaims(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	token, ttl, err := c.m.AccessToken(t.Context(), live, "", 0)
	must(t, err)
	if ttl != 2*time.Minute {
		t.Errorf("good for %v", ttl)
	}
	claims, err := c.keys.VerifyToken(token, c.clock.Now())
	must(t, err)
	if claims["jti"] == "" || claims["exp"].(float64)-claims["iat"].(float64) != 120 {
		t.Errorf("claims %v", claims)
	}
	for _, moving := range []string{"jti", "iat", "exp"} {
		delete(claims, moving)
	}
	want := map[string]any{
		"iss": "https://auth.example", "aud": "https://auth.example", "client_id": "https://auth.example", "sub": c.nurse, "sid": live.ID,
		"wid": c.workspace, "roles": []any{"nurse"}, "acr": "aal1", "amr": []any{"pwd", "pin"}, "auth_time": float64(live.AuthTime.Unix()),
	}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

// TestF35TokensAreShort: a token outlives neither what its app is registered
// for, nor the session, nor a minute inside a grant.
func TestF35TokensAreShort(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	c.apps = []session.App{
		{Origin: "https://chart.example", TokenTTL: 10 * time.Minute},
		{Origin: "https://greedy.example", TokenTTL: time.Hour},
		{Origin: "https://plain.example", Audience: "plain-api"},
		{Origin: "https://other.example", Workspaces: []string{"other"}},
		{Origin: "https://admins.example", Roles: []string{"admin"}},
	}
	c.m = c.node(c.db)
	b := c.browser()
	live := b.signIn(c.nurse)
	check := func(live *session.Live, audience string, ask, want time.Duration) {
		t.Helper()
		token, got, err := c.m.AccessToken(t.Context(), live, audience, ask)
		if err != nil || got > want || got < want-time.Second {
			t.Errorf("%s, asking %v: %v, %v, want %v", audience, ask, got, err, want)
			return
		}
		claims, err := c.keys.VerifyToken(token, c.clock.Now())
		must(t, err)
		if exp := time.Unix(int64(claims["exp"].(float64)), 0); exp.After(live.AbsoluteExpiresAt) || exp.After(c.clock.Now().Add(want)) {
			t.Errorf("%s: exp %v", audience, exp)
		}
	}
	check(live, "", 0, 2*time.Minute)
	check(live, "https://chart.example", 0, 10*time.Minute)
	check(live, "https://chart.example", time.Minute, time.Minute)
	check(live, "https://chart.example", time.Hour, 10*time.Minute)
	check(live, "https://greedy.example", 0, 10*time.Minute)
	check(live, "plain-api", 0, 2*time.Minute)
	for audience, kind := range map[string]identity.Kind{"https://evil.example": identity.Invalid, "https://other.example": identity.Forbidden, "https://admins.example": identity.Forbidden} {
		if _, _, err := c.m.AccessToken(t.Context(), live, audience, 0); !refused(err, kind) {
			t.Errorf("%s: %v", audience, err)
		}
	}

	grant, ends := c.openGrant(c.nurse, 20*time.Minute)
	c.attach(nil, live.ID, grant, ends)
	inside := b.active()
	check(inside, "https://chart.example", 0, time.Minute)
	check(inside, "https://admins.example", 0, time.Minute) // inside a grant no role is refused
	c.advance(9 * time.Minute)
	c.m.Touch(inside)
	c.advance(10*time.Minute + 30*time.Second)
	if _, err := b.unlock(false); err != nil {
		t.Fatal(err)
	}
	check(b.active(), "https://chart.example", 0, 30*time.Second)
}

func TestBearer(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		token, _, err := c.m.AccessToken(t.Context(), live, "", 0)
		must(t, err)
		got, err := c.m.Bearer(t.Context(), token)
		if mustBe(t, nil, got, err); got.ID != live.ID {
			t.Error("another session")
		}
		there := c.node(c.open())
		got, err = there.Bearer(t.Context(), token)
		mustBe(t, nil, got, err)

		sign := func(change func(map[string]any)) string {
			now := c.clock.Now()
			claims := map[string]any{"iss": c.public, "aud": c.public, "sub": c.nurse, "sid": live.ID, "wid": c.workspace, "exp": now.Add(time.Minute).Unix()}
			change(claims)
			token, err := c.keys.SignToken(claims, now)
			must(t, err)
			return token
		}
		if _, err = c.m.Bearer(t.Context(), sign(func(map[string]any) {})); err != nil {
			t.Errorf("the control: %v", err)
		}
		for name, change := range map[string]func(m map[string]any){
			"expired":           func(m map[string]any) { m["exp"] = c.clock.Now().Unix() },
			"no end":            func(m map[string]any) { delete(m, "exp") },
			"another issuer":    func(m map[string]any) { m["iss"] = "https://evil.example" },
			"another audience":  func(m map[string]any) { m["aud"] = "https://evil.example" },
			"no audience":       func(m map[string]any) { delete(m, "aud") },
			"another person":    func(m map[string]any) { m["sub"] = "usr_other" },
			"another workspace": func(m map[string]any) { m["wid"] = "wks_other" },
			"no session":        func(m map[string]any) { m["sid"] = "ses_none" },
		} {
			if _, err := c.m.Bearer(t.Context(), sign(change)); !errors.Is(err, session.ErrSignedOut) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, bad := range []string{"", "x", token + "x", token[:len(token)-4]} {
			if _, err := c.m.Bearer(t.Context(), bad); !errors.Is(err, session.ErrSignedOut) {
				t.Errorf("%q: %v", bad, err)
			}
		}

		// The row decides: a token outlives no lock and no end.
		b.lock()
		got, err = c.m.Bearer(t.Context(), token)
		mustBe(t, session.ErrLocked, got, err)
		if _, _, err := c.m.AccessToken(t.Context(), got, "", 0); !errors.Is(err, session.ErrLocked) {
			t.Errorf("a token for a locked session: %v", err)
		}
		c.act(c.workspace, func(tx *store.Tx) error { _, err := c.m.End(tx, live.ID, "revoked"); return err })
		_, err = c.m.Bearer(t.Context(), token)
		mustBe(t, session.ErrSignedOut, nil, err)
	})
}

func TestObject(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	b.signIn(c.nurse)
	live := b.active()
	var got map[string]any
	text, err := json.Marshal(c.m.Object(live))
	must(t, err)
	must(t, json.Unmarshal(text, &got))
	if user := got["user"].(map[string]any); user["id"] != c.nurse || user["name"] != "Nadia Rahman" || user["email"] != c.nurse+"@hope.example" || user["image"] != nil {
		t.Errorf("user %v", user)
	}
	if !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(got["expires"].(string)) {
		t.Errorf("expires %v", got["expires"])
	}
	if expires, _ := time.Parse(time.RFC3339, got["expires"].(string)); live.IdleExpiresAt.Sub(expires).Abs() > time.Millisecond {
		t.Errorf("expires %v, idle %v", expires, live.IdleExpiresAt)
	}
	mitral := got["mitral"].(map[string]any)
	want := []string{"absolute_expires_at", "acr", "amr", "auth_time", "idle_expires_at", "pin_length", "roles", "session_id", "state", "workspace_id"}
	if names := slices.Sorted(maps.Keys(mitral)); !slices.Equal(names, want) || mitral["state"] != "active" {
		t.Errorf("mitral %v", mitral)
	}
	for _, away := range []time.Duration{7 * time.Hour, 4*time.Hour + 52*time.Minute} {
		c.advance(away)
		locked := c.m.Object(b.locked())["mitral"].(map[string]any)
		if locked["state"] != "locked" || locked["lock_expires_at"] == nil {
			t.Errorf("locked: %v", locked)
		}
		if _, err := b.unlock(false); err != nil {
			t.Fatal(err)
		}
	}
	live = b.active()
	if got := c.m.Object(live)["expires"]; got != live.AbsoluteExpiresAt.Format("2006-01-02T15:04:05.000Z") {
		t.Errorf("expires %v, absolute %v", got, live.AbsoluteExpiresAt)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	public := &url.URL{Scheme: "https", Host: "auth.example"}
	for name, config := range map[string]session.Config{
		"no database": {Keys: c.keys, PublicURL: public}, "no keys": {DB: c.db, PublicURL: public}, "no address": {DB: c.db, Keys: c.keys},
		"a dialect of its own": {DB: c.db, Keys: c.keys, PublicURL: public, Dialect: "v6"},
	} {
		if _, err := session.New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	m, err := session.New(session.Config{DB: c.db, Keys: c.keys, PublicURL: public})
	must(t, err)
	if app, ok := m.AppAt("https://auth.example"); !ok || app.Audience != "https://auth.example" || m.Dialect() != session.V5 || !m.Secure() {
		t.Error("the public URL is no app, or the defaults are wrong")
	}
}
