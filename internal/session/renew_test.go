package session_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/session"
)

// tokens counts the refresh tokens that a session has had.
func (c *clinic) tokens(sessionID string) int {
	return c.query("SELECT COUNT(*) FROM refresh_token WHERE session_id = '" + sessionID + "'")
}

func TestRenewalRedatesAndWritesNothing(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		c.advance(25 * time.Second)
		v := b.visit("/api/v1/auth/session")
		if _, err := c.m.Check(t.Context(), v, session.Renew); err != nil || len(v.Cookies()) > 0 {
			t.Fatalf("with 95 s left: %v, %v", v.Cookies(), err)
		}
		before, row := b.claims(), c.row(live.ID)
		refresh := b.jar[refreshName].value
		c.advance(10 * time.Second)
		b.active()
		after := b.claims()
		if after["hard_exp"] == before["hard_exp"] || after["exp"] != after["hard_exp"] {
			t.Errorf("with 85 s left it was not re-dated: %v, %v", before["hard_exp"], after["hard_exp"])
		}
		if after["skey"] != before["skey"] || b.jar[refreshName].value != refresh {
			t.Error("a re-dated cookie has other keys")
		}
		if c.row(live.ID) != row || c.tokens(live.ID) != 1 {
			t.Error("an ordinary renewal wrote")
		}

		c.advance(2 * time.Minute) // the browser drops the session cookie
		b.active()
		if b.claims()["skey"] != before["skey"] || c.row(live.ID) != row {
			t.Error("a missing cookie was not just re-dated")
		}
	})
}

func TestRotationAfterFiveMinutes(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		skey, refresh := b.claims()["skey"], b.jar[refreshName].value
		b.stay(4*time.Minute + 30*time.Second)
		if b.claims()["skey"] != skey || c.tokens(live.ID) != 1 {
			t.Error("rotated before five minutes were over")
		}
		old := b.copy()
		b.stay(time.Minute)
		if b.claims()["skey"] == skey || b.jar[refreshName].value == refresh || c.tokens(live.ID) != 2 {
			t.Error("not rotated after five minutes")
		}
		old.drop(refreshName)
		c.advance(50 * time.Second)
		old.active() // the previous skey, within its minute
		c.advance(11 * time.Second)
		old.signedOut()
		b.active()
	})
}

func TestRefreshAlwaysRotates(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		live := b.signIn(c.nurse)
		for n := 2; n <= 3; n++ {
			skey := b.claims()["skey"]
			if _, err := b.call(session.Refresh); err != nil {
				t.Fatal(err)
			}
			if b.claims()["skey"] == skey || c.tokens(live.ID) != n {
				t.Fatalf("refresh %d: %d tokens", n-1, c.tokens(live.ID))
			}
		}
		b.active()
		b.drop(refreshName)
		v := b.visit("/api/v1/session/refresh")
		if _, err := c.m.Refresh(t.Context(), v); err != nil || len(v.Cookies()) > 0 {
			t.Errorf("without a refresh cookie nothing is renewed: %v, %v", v.Cookies(), err)
		}
	})
}

func TestOnlyCallsThatRenewRenew(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	c.advance(100 * time.Second)
	for _, use := range []session.Use{session.Peek, session.Name} {
		v := b.visit("/api/v1/authz/forward")
		if got, err := c.m.Check(t.Context(), v, use); err != nil || got.ID != live.ID || len(v.Cookies()) > 0 {
			t.Errorf("use %d: %v, %v", use, v.Cookies(), err)
		}
	}
	c.advance(time.Minute) // the session cookie is gone
	v := b.visit("/api/v1/authz/forward")
	if _, err := c.m.Check(t.Context(), v, session.Peek); !errors.Is(err, session.ErrSignedOut) || len(v.Cookies()) > 0 {
		t.Errorf("the refresh cookie let a forward check pass: %v", err)
	}
	v = b.visit("/api/v1/session/lock")
	if got, err := c.m.Check(t.Context(), v, session.Name); err != nil || got.ID != live.ID || len(v.Cookies()) > 0 {
		t.Errorf("the refresh cookie does not name the session to be locked: %v", err)
	}
	b.active()
}

func TestCheckTwiceInOneRequest(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	c.advance(7 * time.Minute)
	v := b.visit("/api/v1/auth/session")
	for range 3 {
		if _, err := c.m.Check(t.Context(), v, session.Renew); err != nil {
			t.Fatal(err)
		}
	}
	if c.tokens(live.ID) != 2 || len(v.Cookies()) != 2 {
		t.Errorf("%d tokens, cookies %v", c.tokens(live.ID), v.Cookies())
	}
}

func TestReissuedCookies(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	b.reissue(func(claims map[string]any) {
		claims["sub"], claims["name"], claims["wid"], claims["role"] = "usr_someone", "Somebody Else", "wks_other", "admin"
	}, 30*24*time.Hour)
	if got := b.active(); got.UserID != c.nurse || got.Name != "Nadia Rahman" || got.ID != live.ID || got.Role != "nurse" {
		t.Errorf("altered claims changed the session: %+v", got)
	}
	alone := b.copy().drop(refreshName)
	c.advance(134 * time.Second)
	must(t, alone.forward()) // hard_exp and 14 s
	c.advance(time.Second)
	mustBe(t, session.ErrSignedOut, nil, alone.forward())
	b.active()

	big := b.copy()
	big.reissue(func(claims map[string]any) { claims["padding"] = strings.Repeat("x", 6000) }, 2*time.Minute)
	whole := big.jar[c.sessionName()].value
	big.drop(c.sessionName())
	big.jar["0"] = kept{name: c.sessionName() + ".0", value: whole[:3936], path: "/"}
	big.jar["1"] = kept{name: c.sessionName() + ".1", value: whole[3936:], path: "/"}
	must(t, big.forward())
}

// TestF01AuthSecretAndSessionID: whoever holds AUTH_SECRET and reads a session
// id somewhere is nobody.
func TestF01AuthSecretAndSessionID(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		victim, thief := c.browser(), c.browser()
		admin := victim.signIn(c.addUser(c.workspace, "admin", "Grace Okafor"))
		own := thief.signIn(c.nurse)
		theirs := victim.claims()
		forgeries := map[string]func(claims map[string]any){
			"another's sid":                func(m map[string]any) { m["sid"] = admin.ID },
			"another's sid, sub and wid":   func(m map[string]any) { m["sid"], m["sub"], m["wid"] = admin.ID, admin.UserID, admin.WorkspaceID },
			"another's sid, no skey":       func(m map[string]any) { m["sid"] = admin.ID; delete(m, "skey") },
			"another's sid and seal":       func(m map[string]any) { m["sid"], m["seal"] = admin.ID, theirs["seal"] },
			"an unknown sid":               func(m map[string]any) { m["sid"] = "ses_none" },
			"another skey":                 func(m map[string]any) { m["skey"] = theirs["skey"] },
			"no seal":                      func(m map[string]any) { delete(m, "seal") },
			"a longer hard_exp":            func(m map[string]any) { m["hard_exp"] = m["hard_exp"].(int64) + 60 },
			"no hard_exp":                  func(m map[string]any) { delete(m, "hard_exp") },
			"hard_exp as text":             func(m map[string]any) { m["hard_exp"] = "9999999999" },
			"hard_exp with a fraction":     func(m map[string]any) { m["hard_exp"] = float64(m["hard_exp"].(int64)) + 0.5 },
			"no sid":                       func(m map[string]any) { delete(m, "sid") },
			"a session id that is a table": func(m map[string]any) { m["sid"] = map[string]any{"a": 1} },
		}
		for name, forge := range forgeries {
			forged := thief.copy().drop(refreshName)
			forged.reissue(forge, 10*time.Minute)
			mustBe(t, session.ErrSignedOut, nil, forged.forward())
			if live, err := forged.get(); !errors.Is(err, session.ErrSignedOut) {
				t.Errorf("%s: %+v, %v", name, live, err)
			}
			// With the thief's own refresh cookie beside it they are themselves
			// at most, never the other.
			forged = thief.copy()
			forged.reissue(forge, 10*time.Minute)
			if live, err := forged.get(); err == nil && live.ID != own.ID {
				t.Errorf("%s with the thief's refresh cookie: %+v", name, live)
			}
		}
		control := thief.copy().drop(refreshName)
		control.reissue(nil, 10*time.Minute)
		must(t, control.forward())
		victim.active()
	})
}

func TestBadCookieBesideItsRefreshCookieIsMissing(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	b.reissue(func(claims map[string]any) { claims["skey"] = "stale" }, time.Minute)
	if got := b.active(); got.ID != live.ID {
		t.Error("another session")
	}
	must(t, b.forward())
	b.jar[c.sessionName()] = kept{name: c.sessionName(), value: "garbage", path: "/"}
	b.active()
	// Another session's name is not forgiven, but what is good is kept.
	b.reissue(func(claims map[string]any) { claims["sid"] = "ses_other" }, time.Minute)
	b.signedOut()
	b.active()
}

// TestF05ShortLivedCookiesAreShortLived: a session cookie without its refresh
// cookie is worth two minutes, however often it is used or re-issued.
func TestF05ShortLivedCookiesAreShortLived(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b := c.browser()
		b.signIn(c.nurse)
		stolen := b.copy().drop(refreshName)
		for range 9 {
			c.advance(15 * time.Second)
			stolen.reissue(nil, 12*time.Hour)
			if live, err := stolen.get(); err == nil {
				c.m.Touch(live)
			}
		}
		mustBe(t, session.ErrSignedOut, nil, stolen.forward())
		stolen.signedOut()
		b.active()
		// What an application decodes says so itself.
		if hard := b.claims()["hard_exp"].(float64); hard > float64(c.clock.Now().Add(2*time.Minute).Unix()) {
			t.Errorf("hard_exp is later than two minutes: %v", hard)
		}
	})
}

// TestF24LostAnswers: who lost the answer with the new token comes back, who
// stole the old one does not.
func TestF24LostAnswers(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		lost := func(b *browser) { // the answer never arrives
			v := b.visit("/api/v1/session/refresh")
			if _, err := c.m.Refresh(t.Context(), v); err != nil {
				t.Fatal(err)
			}
		}
		t.Run("the same browser comes back", func(t *testing.T) {
			b := c.browser()
			live := b.signIn(c.nurse)
			lost(b)
			c.advance(10 * time.Minute)
			lost(b) // and again
			c.advance(time.Minute)
			b.active()
			b.drop(c.sessionName())
			b.active()
			if n := c.tokens(live.ID); n != 2 {
				t.Errorf("%d tokens: successors that got lost live on", n)
			}
			if len(c.events("session.reuse", live.ID)) > 0 {
				t.Error("a lost answer counts as reuse")
			}
		})
		t.Run("used up, after ten seconds", func(t *testing.T) {
			b := c.browser()
			live := b.signIn(c.nurse)
			thief := b.copy()
			if _, err := b.call(session.Refresh); err != nil {
				t.Fatal(err)
			}
			b.active() // presents the successor
			c.advance(9 * time.Second)
			if _, err := thief.copy().call(session.Refresh); err != nil {
				t.Fatalf("a slow twin: %v", err)
			}
			c.advance(2 * time.Second)
			if _, err := thief.call(session.Refresh); !errors.Is(err, session.ErrSignedOut) {
				t.Fatalf("a token that was used up: %v", err)
			}
			b.signedOut()
			if e := c.events("session.reuse", live.ID); len(e) != 1 || e[0]["reason"] != "used_up" || e[0]["outcome"] != "denied" || e[0]["ip"] == nil {
				t.Errorf("events %v", e)
			}
			if row := c.row(live.ID); row.State != "ended" || row.EndReason != session.ReasonReuse {
				t.Errorf("the row says %s, %s", row.State, row.EndReason)
			}
		})
		t.Run("the successor was lost, but another network comes", func(t *testing.T) {
			b := c.browser()
			live := b.signIn(c.nurse)
			lost(b)
			c.advance(time.Minute)
			b.ip = "198.51.100.9"
			_, err := b.call(session.Refresh)
			mustBe(t, session.ErrSignedOut, nil, err)
			if len(c.events("session.reuse", live.ID)) != 1 {
				t.Error("no event")
			}
		})
		t.Run("another device", func(t *testing.T) {
			for name, device := range map[string]func(b *browser){
				"none":    func(b *browser) { b.drop(deviceName) },
				"another": func(b *browser) { o := c.browser(); o.signIn(c.nurse); b.jar[deviceName] = o.jar[deviceName] },
				"forged": func(b *browser) {
					k := b.jar[deviceName]
					k.value = "dev_x" + k.value[strings.IndexByte(k.value, '.'):]
					b.jar[deviceName] = k
				},
			} {
				b := c.browser()
				live := b.signIn(c.nurse)
				thief := b.copy().drop(c.sessionName())
				device(thief)
				if _, err := thief.get(); !errors.Is(err, session.ErrSignedOut) {
					t.Errorf("%s: %v", name, err)
				}
				b.signedOut()
				if e := c.events("session.reuse", live.ID); len(e) != 1 || e[0]["reason"] != "device" {
					t.Errorf("%s: events %v", name, e)
				}
			}
		})
	})
}

// TestF24ParallelRefreshYieldsOneChain sends one token fifty times at once.
func TestF24ParallelRefreshYieldsOneChain(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		nodes := []*clinic{c, c.on(c.node(c.open()))}
		for _, n := range nodes {
			must(t, n.m.Poll(t.Context()))
		}
		b := c.browser()
		live := b.signIn(c.nurse)
		visits := make([]*session.Visit, 50)
		errs := make([]error, len(visits))
		for i := range visits {
			visits[i] = b.through(nodes[i%2]).visit("/api/v1/session/refresh")
		}
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range visits {
			wg.Go(func() {
				<-start
				_, errs[i] = nodes[i%2].m.Refresh(t.Context(), visits[i])
			})
		}
		close(start)
		wg.Wait()
		winners := 0
		for i, v := range visits {
			if errs[i] != nil {
				t.Fatalf("request %d: %v", i, errs[i])
			}
			names := map[string]bool{}
			for _, cookie := range v.Cookies() {
				names[cookie.Name] = true
			}
			if !names[c.sessionName()] {
				t.Errorf("request %d got no session cookie", i)
			}
			if names[refreshName] {
				winners++
			}
			loser := b.copy().drop(refreshName) // any of the cookies works, on both nodes
			loser.take(v)
			must(t, loser.through(nodes[(i+1)%2]).forward())
		}
		if n := c.tokens(live.ID); winners != 1 || n != 2 {
			t.Errorf("%d requests got a refresh token, %d tokens exist", winners, n)
		}
		if len(c.events("session.reuse", live.ID)) > 0 {
			t.Error("parallel requests count as reuse")
		}
	})
}

// TestF34AuthSecretOpensNothingElse: refresh and device cookies are Mitral's
// own, and outlive a change of the secret.
func TestF34AuthSecretOpensNothingElse(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	for _, name := range []string{refreshName, deviceName} {
		for _, secret := range c.keys.AuthSecrets() {
			if strings.Contains(b.jar[name].value, secret.Reveal()) {
				t.Error("a cookie holds the secret")
			}
		}
		if _, err := c.m.Codec().Decode(c.keys.AuthSecrets(), b.jar[name].value, c.clock.Now()); err == nil {
			t.Errorf("%s opens under AUTH_SECRET", name)
		}
	}
	forged := b.copy().drop(c.sessionName())
	forged.jar[refreshName] = kept{name: refreshName, path: "/api/v1", value: live.ID + ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.AAAA"}
	if _, err := forged.get(); !errors.Is(err, session.ErrSignedOut) {
		t.Errorf("a forged refresh cookie: %v", err)
	}

	kek, err := keyring.NewKEK()
	must(t, err)
	wrapped, err := keyring.Create(kek, "x/log/1", c.clock.Now())
	must(t, err)
	other, err := keyring.Open(kek, wrapped, keyring.Config{}) // only its AUTH_SECRET is wanted
	must(t, err)
	value, err := c.m.Codec().Encode(other.AuthSecrets(), b.claims(), c.clock.Now(), c.clock.Now().Add(time.Minute))
	must(t, err)
	b.jar[c.sessionName()] = kept{name: c.sessionName(), value: value, path: "/"}
	mustBe(t, session.ErrSignedOut, nil, b.forward())
	if got := b.active(); got.ID != live.ID {
		t.Error("the person did not come back by the refresh cookie")
	}
	must(t, b.forward())
}

// TestF46TossedCookies: a sibling domain that plants a second session cookie
// gets nobody signed in as anybody.
func TestF46TossedCookies(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b, planted := c.browser(), c.browser()
	b.signIn(c.nurse)
	planted.signIn(c.addUser(c.workspace, "nurse", "Somebody"))
	b.jar["planted"] = kept{name: c.sessionName(), value: planted.jar[c.sessionName()].value, path: "/"}
	b.signedOut()
	mustBe(t, session.ErrSignedOut, nil, b.forward())
	if _, err := b.call(session.Refresh); !errors.Is(err, session.ErrSignedOut) {
		t.Errorf("refresh: %v", err)
	}
	b.drop("planted")
	b.active()

	// Two refresh cookies are as good as none.
	b.jar["planted"] = kept{name: refreshName, value: planted.jar[refreshName].value, path: "/api/v1"}
	c.advance(100 * time.Second)
	v := b.visit("/api/v1/auth/session")
	if _, err := c.m.Check(t.Context(), v, session.Renew); err != nil || len(v.Cookies()) > 0 {
		t.Errorf("renewed by one of two refresh cookies: %v", err)
	}
}

func TestUnknownSkeyIsLookedUp(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b, there := c.browser(), c.on(c.node(c.open()))
		b.signIn(c.nurse)
		must(t, b.through(there).forward())
		old := b.copy().drop(refreshName)
		if _, err := b.call(session.Refresh); err != nil {
			t.Fatal(err)
		}
		must(t, b.through(there).forward()) // a key that the other node has never seen
		c.advance(61 * time.Second)
		mustBe(t, session.ErrSignedOut, nil, old.through(there).forward())
		must(t, b.through(there).forward())
	})
}

func TestOldSkeyDiesOnOtherNodesToo(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, c *clinic) {
		b, there := c.browser(), c.on(c.node(c.open()))
		b.signIn(c.nurse)
		must(t, b.through(there).forward())
		old := b.copy().drop(refreshName)
		if _, err := b.call(session.Refresh); err != nil {
			t.Fatal(err)
		}
		c.advance(50 * time.Second)
		must(t, old.through(there).forward())
		c.advance(11 * time.Second)
		mustBe(t, session.ErrSignedOut, nil, old.through(there).forward())
	})
}

func TestLostSealingKeyHealsByRotation(t *testing.T) {
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	live := b.signIn(c.nurse)
	b.drop(c.sessionName())
	db := c.open()
	c.query("UPDATE session SET skey_sealed = 'AAAA' WHERE id = '" + live.ID + "' RETURNING 1")
	there := c.on(c.node(db))
	if got := b.through(there).active(); got.ID != live.ID {
		t.Error("another session")
	}
	must(t, b.through(there).forward())
	if c.tokens(live.ID) != 2 {
		t.Error("the keys were not replaced")
	}
}
