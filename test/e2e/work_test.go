package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// What the SDK shows, by where it stands in the element's shadow root.
const (
	curtain    = "mitral-lock >>> #curtain"
	curtainPIN = "mitral-lock >>> #curtain input"
	warning    = "mitral-lock >>> #bar"
	confirmPIN = "mitral-lock >>> #ask input"
)

const draft = "BP 152/94 after rest, call back"

// minute moves the installation's clock by d, and the page's own by just over a
// minute, so that the next beat falls due as on any working day.
func (c *clinic) minute(d time.Duration, pages ...*mitraltest.Page) {
	c.t.Helper()
	c.clock.advance(d)
	for _, b := range pages {
		b.Advance(61 * time.Second)
	}
}

// beats counts the heartbeats of the present document that were answered.
func beats(b *mitraltest.Page) int {
	n := 0
	for _, r := range b.Requests() {
		if strings.HasSuffix(r.URL, "/session/heartbeat") && r.Status == http.StatusOK {
			n++
		}
	}
	return n
}

// atWork is a browser whose person is in the chart, on a page whose clock can be
// moved.
func (c *clinic) atWork(p person) *mitraltest.Page {
	c.t.Helper()
	b := mitraltest.Browser(c.t)
	b.FakeClock()
	signInAt(b, c.front.url+"/demo/chart", p)
	b.WaitFor("document.readyState === 'complete'")
	until(c.t, patience, "the page beats at once", func() (bool, string) { return beats(b) > 0, fmt.Sprint(b.Requests()) })
	// Chromium logs answers that refuse, and these journeys are about refusals.
	b.ExpectConsole("status of 401", "status of 403", "status of 423")
	return b
}

// state is how the session of a page stands. Asking is no activity.
func state(b *mitraltest.Page) string {
	return mitraltest.Eval[string](b, `fetch('/api/v1/auth/session').then(r => r.json()).then(s => s?.mitral?.state ?? '')`)
}

// covered fails the test where anything of the page can be read under the
// curtain.
func covered(t *testing.T, b *mitraltest.Page) {
	t.Helper()
	b.WaitVisible(curtain)
	for _, sign := range []string{
		`document.body.inert`,
		`![...document.body.querySelectorAll('*')].filter(e => e.localName !== 'mitral-lock').some(e => e.checkVisibility({visibilityProperty: true}))`,
		`document.title === 'Locked'`,
	} {
		if !mitraltest.Eval[bool](b, sign) {
			t.Errorf("under the curtain: %s is not so", sign)
		}
	}
}

func TestWork(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		c.allowChart()
		for _, part := range []struct {
			name string
			does func(*testing.T)
		}{
			{"the heartbeat keeps the session", c.heartbeatKeeps},
			{"warning, idle lock, unlock", c.idleLock},
			{"two tabs", c.twoTabs},
			{"a sleeping laptop", c.sleepingLaptop},
			{"offline", c.offline},
			{"export and delete", c.exportAndDelete},
			{"restarts", c.restarts},
		} {
			if !t.Run(part.name, func(t *testing.T) {
				outer := c.t
				c.t = t
				defer func() { c.t = outer }()
				part.does(t)
			}) {
				break
			}
		}
		c.verify()
	})
}

// heartbeatKeeps: whoever is really there stays signed in, past the idle time,
// also when they work in a tab that doesn't beat.
func (c *clinic) heartbeatKeeps(t *testing.T) {
	b := c.atWork(c.nurse)
	b.Click("#note")
	second := b.NewTab()
	second.FakeClock()
	second.Open(c.front.url + "/demo/chart/patients/P-1007")
	second.Click("#note")
	for i := range 5 { // 25 minutes, of which 15 are the idle time
		before := beats(b) + beats(second)
		second.Press("a")
		c.minute(5*time.Minute, b, second)
		until(t, patience, "the next beat", func() (bool, string) { return beats(b)+beats(second) > before, fmt.Sprint(i) })
	}
	for _, tab := range []*mitraltest.Page{b, second} {
		if tab.Visible(curtain) {
			t.Fatal("it locked while somebody was typing")
		}
	}
	if got := state(second); got != "active" {
		t.Fatalf("the session is %q", got)
	}
	second.Close()
	b.Front()

	// Pages that only poll keep nobody signed in.
	c.clock.advance(16 * time.Minute)
	fallsByItself(t, b)
}

// fallsByItself waits for the curtain after the idle time is over: the server
// has to find that out before the two seconds of a lock begin.
func fallsByItself(t *testing.T, b *mitraltest.Page) {
	t.Helper()
	begun := time.Now()
	b.WaitVisible(curtain)
	if took := time.Since(begun); took > 2*follows {
		t.Errorf("the curtain fell %s after the idle time", took)
	}
	covered(t, b)
}

// idleLock is the warning, the lock at the idle time over the open chart, and
// J5.
func (c *clinic) idleLock(t *testing.T) {
	b := c.atWork(c.nurse)
	b.Click("#note")
	mitraltest.Eval[bool](b, `document.getElementById('note').select() ?? true`)
	b.Press(draft)

	away := 13*time.Minute + 30*time.Second
	c.clock.advance(away)
	b.Advance(away)
	b.WaitText(warning, "Locks in 1:")
	b.WaitText(warning, "Nothing will be lost")
	b.Axe()
	b.Press(".") // any key keeps working
	b.WaitGone(warning)

	c.clock.advance(14 * time.Minute)
	if got := state(b); got != "active" {
		t.Fatalf("fourteen minutes after a key the session is %q", got)
	}
	c.clock.advance(61 * time.Second)
	fallsByItself(t, b)
	b.WaitFocused(curtainPIN)
	b.WaitText(curtain, "Nadia, enter your PIN")
	b.Axe()

	b.Press("0000")
	b.WaitText(curtain, "Wrong PIN. 4 tries left.")
	b.WaitFocused(curtainPIN)

	inTime := within(t, "J5", 2*time.Second)
	counted := b.Journey("J5", mitraltest.Budget{Keystrokes: 5, Screens: 1})
	b.Press(c.nurse.pin)
	b.WaitGone(curtain)
	inTime()
	counted()
	if got := b.Value("#note"); got != draft+"." {
		t.Errorf("the draft is %q", got)
	}
	if !b.Focused("#note") {
		t.Error("the note has lost the focus")
	}
	b.ClickNamed("button", "Save") // and it can be kept
	b.WaitText("#says", "Saved")
	b.Reload()
	if got := b.Value("#note"); got != draft+"." {
		t.Errorf("saved was %q", got)
	}
}

// twoTabs: a lock in one tab falls in the other and lifts in both, within two
// seconds, also in a tab that nobody looks at and in one of another window.
func (c *clinic) twoTabs(t *testing.T) {
	first := c.atWork(c.nurse)
	second := first.NewTab()
	second.Open(c.front.url + "/demo/chart/patients/P-1007")
	second.ExpectConsole("status of 423", "status of 401")
	second.WaitVisible("#note")
	first.WaitFor("document.visibilityState === 'hidden'")
	follow := func(what string, wait func()) {
		t.Helper()
		begun := time.Now()
		wait()
		if took := time.Since(begun); took > follows {
			t.Errorf("%s took %s", what, took)
		}
	}

	second.ClickNamed("button", "Lock")
	follow("the lock in a tab behind", func() { covered(t, first) })
	covered(t, second)
	second.WaitFocused(curtainPIN)
	second.Press(c.nurse.pin)
	follow("the unlock in a tab behind", func() { first.WaitGone(curtain) })
	second.WaitGone(curtain)

	first.Front()
	first.ClickNamed("button", "Lock")
	follow("the lock in the other tab", func() { covered(t, second) })
	second.Front()
	second.WaitFocused(curtainPIN)
	second.Press(c.nurse.pin)
	follow("the unlock in the other tab", func() { first.WaitGone(curtain) })

	// From outside the browser: the person's other program locks it.
	sessions := mitraltest.Eval[string](second, `fetch('/api/v1/auth/session').then(r => r.json()).then(s => s.mitral.session_id)`)
	elsewhere := c.node.signIn(c.nurse)
	elsewhere.do(http.MethodDelete, "/api/v1/sessions/"+sessions, nil).is(http.StatusOK)
	follow("the end in both", func() {
		second.WaitText(curtain, "Signed out")
		first.WaitText(curtain, "Signed out")
	})
	if got := mitraltest.Eval[string](second, `document.getElementById('note').value`); got == "" {
		t.Error("the text under the curtain is gone")
	}
}

// sleepingLaptop: the page is frozen, twenty minutes pass, and the curtain
// stands before anything is painted.
func (c *clinic) sleepingLaptop(t *testing.T) {
	b := c.atWork(c.nurse)
	b.Click("#note")
	mitraltest.Eval[bool](b, `document.getElementById('note').select() ?? true`)
	b.Press(draft)
	sleep := func(d time.Duration) {
		t.Helper()
		mitraltest.Eval[bool](b, `delete window.firstPaint`)
		b.Freeze()
		c.clock.advance(d)
		b.Advance(d)
		b.Resume()
		b.WaitFor("!!window.firstPaint")
		if got := mitraltest.Eval[string](b, `JSON.stringify(window.firstPaint)`); got != `{"covered":true,"open":true,"note":false}` {
			t.Errorf("at the first paint after %s the page is %s", d, got)
		}
	}
	mitraltest.Eval[bool](b, `!!document.addEventListener('resume', () => requestAnimationFrame(() => {
		window.firstPaint = {covered: document.documentElement.hasAttribute('mitral-covered'),
			open: document.querySelector('mitral-lock').shadowRoot.getElementById('curtain').open,
			note: document.getElementById('note').checkVisibility({visibilityProperty: true})}
	})) || true`)
	sleep(20 * time.Minute)
	covered(t, b)
	b.WaitFocused(curtainPIN)
	b.Press(c.nurse.pin)
	b.WaitGone(curtain)
	if got := b.Value("#note"); got != draft {
		t.Errorf("the draft is %q", got)
	}

	// A short nap covers too, and shows the page again by itself.
	sleep(3 * time.Minute)
	b.WaitGone(curtain)
	if got := b.Value("#note"); got != draft {
		t.Errorf("after the nap the draft is %q", got)
	}
}

// offline: without a connection the page says that the text is safe, covers
// itself at the idle time, and asks for the PIN only if the time is really over.
func (c *clinic) offline(t *testing.T) {
	b := c.atWork(c.nurse)
	b.ExpectConsole("ERR_INTERNET_DISCONNECTED", "ERR_NETWORK_CHANGED")
	b.Click("#note")
	mitraltest.Eval[bool](b, `document.getElementById('note').select() ?? true`)
	b.Press(draft)
	c.cutOff(b)
	b.WaitText(warning, "No connection — your text is safe on this screen.")
	b.Press("!")
	b.Offline(false)
	b.WaitGone(warning)

	c.cutOff(b)
	b.WaitText(warning, "your text is safe")
	b.Advance(16 * time.Minute)
	b.WaitText(curtain, "Offline")
	covered(t, b)
	b.Offline(false)
	b.WaitGone(curtain) // the server's time was not over

	c.cutOff(b)
	b.WaitText(warning, "your text is safe")
	b.Advance(16 * time.Minute)
	b.WaitText(curtain, "Offline")
	c.clock.advance(16 * time.Minute)
	b.Offline(false)
	b.WaitFocused(curtainPIN)
	b.Press(c.nurse.pin)
	b.WaitGone(curtain)
	if got := b.Value("#note"); got != draft+"!" {
		t.Errorf("the draft is %q", got)
	}
}

// cutOff takes the connection away, in a moment when nothing is under way that
// could still come back.
func (c *clinic) cutOff(b *mitraltest.Page) {
	c.t.Helper()
	until(c.t, patience, "everything asked is answered", func() (bool, string) {
		for _, r := range b.Requests() {
			if r.Type == "Fetch" && r.Status == 0 && !r.Failed {
				return false, r.URL
			}
		}
		return true, ""
	})
	b.Offline(true)
}

// exportAndDelete is J9: both ask who it is, whatever was done before.
func (c *clinic) exportAndDelete(t *testing.T) {
	b := c.atWork(c.nurse)
	b.ClickNamed("button", "Export")
	b.WaitFocused(confirmPIN)
	b.WaitText("mitral-lock >>> #ask", "4 patients")
	b.Axe()
	b.ClickNamed("button", "Cancel")
	b.WaitText("#says", "Nothing was done")

	file := b.Download(func() {
		b.ClickNamed("button", "Export")
		b.WaitFocused(confirmPIN)
		b.Press("0000")
		b.WaitText("mitral-lock >>> #ask", "Wrong PIN")
		inTime := within(t, "J9", 4*time.Second)
		counted := b.Journey("J9", mitraltest.Budget{Keystrokes: 5, Screens: 1})
		b.Press(c.nurse.pin)
		b.WaitText("#says", "Exported")
		inTime()
		counted()
	})
	if file.Name != "demo-chart.csv" || !strings.Contains(string(file.Content), "Patient Maple") || strings.Contains(string(file.Content), "haloperidol") {
		t.Errorf("the export is %q: %s", file.Name, file.Content)
	}

	b.Click("a[href$='P-1013']")
	b.WaitText("#name", "Patient Cedar")
	b.ClickNamed("button", "Delete")
	b.WaitFocused(confirmPIN)
	b.ClickNamed("button", "Cancel")
	b.WaitText("#says", "Nothing was done")
	if b.Value("#note") == "" {
		t.Error("a cancelled delete took the note away")
	}
	b.ClickNamed("button", "Delete")
	b.WaitFocused(confirmPIN)
	b.Press(c.nurse.pin)
	b.WaitText("#says", "The note was deleted.")
	b.Reload()
	if got := b.Value("#note"); got != "" {
		t.Errorf("the note is still %q", got)
	}

	b.Click("a[href$='P-1042']") // and the sealed record is nobody's
	b.WaitText("h1", "Sealed record")
	if strings.Contains(b.Text("body"), "haloperidol") {
		t.Error("the sealed record is open")
	}
}

// restarts: a power cut and a restart in order are not noticed at work, and a
// locked session stays locked.
func (c *clinic) restarts(t *testing.T) {
	b := c.atWork(c.nurse)
	b.ExpectConsole("status of 502", "status of 503", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION")
	b.Click("#note")
	mitraltest.Eval[bool](b, `document.getElementById('note').select() ?? true`)
	b.Press(draft)
	for _, powerCut := range []bool{true, false} {
		c.node.restart(powerCut)
		b.WaitFor(`fetch('/api/v1/auth/session').then(r => r.json()).then(s => s?.mitral?.state === 'active', () => false)`)
		b.WaitGone(curtain)
	}
	if got := b.Value("#note"); got != draft {
		t.Errorf("the draft is %q", got)
	}
	b.ClickNamed("button", "Save")
	b.WaitText("#says", "Saved")

	b.ClickNamed("button", "Lock")
	b.WaitFocused(curtainPIN)
	c.node.restart(true)
	if !b.Visible(curtain) {
		t.Error("the restart lifted the curtain")
	}
	b.WaitFor(`fetch('/api/v1/auth/session').then(r => r.json()).then(s => s?.mitral?.state === 'locked', () => false)`)
	b.WaitFocused(curtainPIN)
	b.Press(c.nurse.pin)
	b.WaitGone(curtain)
	if got := b.Value("#note"); got != draft {
		t.Errorf("after the restart the draft is %q", got)
	}
}

// TestSensitiveActions is the same gate over HTTP, as an application's server
// meets it (RFC 9470).
func TestSensitiveActions(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		nurse := c.node.signIn(c.nurse)
		check := func(action, token, tx string) reply {
			body := map[string]string{"action": action}
			if token != "" {
				body["step_up_token"] = token
			}
			if tx != "" {
				body["tx_hash"] = tx
			}
			return nurse.post("/api/v1/authz/check", body)
		}
		for _, action := range []string{"export", "delete", "payment"} {
			r := check(action, "", "").refused(http.StatusUnauthorized, "insufficient_user_authentication")
			challenge := r.header.Get("WWW-Authenticate")
			if !strings.HasPrefix(challenge, "Bearer ") || !strings.Contains(challenge, `error="insufficient_user_authentication"`) ||
				!strings.Contains(challenge, `action="`+action+`"`) || r.text("action") != action {
				t.Errorf("%s is challenged with %q, %s", action, challenge, r.body)
			}
			token := nurse.stepUp(c.nurse, action, "sha256:one")
			check(action, token, "sha256:one").is(http.StatusOK)
			again := check(action, token, "sha256:one").refused(http.StatusUnauthorized, "insufficient_user_authentication")
			if again.header.Get("WWW-Authenticate") != challenge {
				t.Errorf("a spent token is challenged with %q, none with %q", again.header.Get("WWW-Authenticate"), challenge)
			}
			other := nurse.stepUp(c.nurse, action, "sha256:one")
			check(action, other, "sha256:two").is(http.StatusUnauthorized)
			check(action, other, "sha256:one").is(http.StatusUnauthorized) // spent by the wrong use
		}
		token := nurse.stepUp(c.nurse, "export", "")
		check("delete", token, "").is(http.StatusUnauthorized)
		if got := check("read", "", "").is(http.StatusOK).text("decision"); got == "" {
			t.Errorf("an unlisted action is decided %q", got)
		}

		doctor := c.node.signIn(c.doctor)
		foreign := doctor.stepUp(c.doctor, "export", "")
		check("export", foreign, "").is(http.StatusUnauthorized)
		doctor.post("/api/v1/authz/check", map[string]string{"action": "export", "step_up_token": foreign}).is(http.StatusOK) // unspent by a stranger

		late := nurse.stepUp(c.nurse, "export", "")
		c.clock.advance(121 * time.Second)
		check("export", late, "").is(http.StatusUnauthorized)
		nurse.post("/api/v1/session/step-up", map[string]string{"action": "export", "method": "pin", "pin": "0000"}).is(http.StatusUnauthorized)
		nurse.post("/api/v1/session/lock", map[string]any{}).is(http.StatusOK)
		check("export", "", "").is(http.StatusLocked)
		c.verify()
	})
}
