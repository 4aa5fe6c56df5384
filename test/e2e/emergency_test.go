package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// What J7 may cost (product §1).
const glassTime = 30 * time.Second

var glassEffort = mitraltest.Budget{Keystrokes: 45, Screens: 3} // the locked page, the form, the open grant

// lockedChart is a workstation on which this person's chart is locked, with a
// draft under the curtain.
func (c *clinic) lockedChart(p person) *mitraltest.Page {
	c.t.Helper()
	b := c.atWork(p)
	if p.role != "admin" {
		b.Click("#note")
		mitraltest.Eval[bool](b, `document.getElementById('note').select() ?? true`)
		b.Press(draft)
	}
	b.ClickNamed("button", "Lock")
	b.WaitFocused(curtainPIN)
	return b
}

// holdToOpen holds the button until the browser has sent the form.
func holdToOpen(b *mitraltest.Page) {
	release := b.Hold("[data-hold]")
	b.WaitFor("document.readyState === 'complete' && !document.querySelector('[data-hold]')")
	release()
}

// TestEmergency is J7 in its three ways, each from a locked workstation, with
// what belongs to it: banner, messages, forbidden acts, end and expiry.
func TestEmergency(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		c.allowChart()
		for _, part := range []struct {
			name string
			does func(*testing.T)
		}{
			{"an administrator for themself", c.emergencySelf},
			{"an administrator for a clinician elsewhere", c.emergencyNamed},
			{"a sealed code", c.emergencySealed},
			{"the record tells it", c.emergencyInTheRecord},
		} {
			if !t.Run(part.name, func(t *testing.T) {
				outer := c.t
				c.t = t
				defer func() { c.t = outer }()
				part.does(t)
				c.verify()
			}) {
				break
			}
		}
	})
}

// emergencySelf is J7 a: the administrator's own locked session.
func (c *clinic) emergencySelf(t *testing.T) {
	b := c.lockedChart(c.admin)
	if strings.Contains(b.Text("body"), "Patient Maple") {
		t.Error("an administrator sees patients outside a grant")
	}
	const reason = "Chest pain, nobody else is here"
	inTime := within(t, "J7 a", glassTime)
	counted := b.Journey("J7 a", glassEffort)
	form := b.Follow(func() { b.ClickNamed("link", "Emergency access") })
	form.WaitText("h1", "Emergency access")
	form.WaitVisible(".if-own")
	form.Type("#pin", c.admin.pin)
	form.Click("label:has([value=patient_emergency])")
	form.Click("label:has([name=unidentified])")
	form.Type("#reason", reason)
	holdToOpen(form)
	form.WaitText("h1", "Emergency access is open")
	inTime()
	counted()
	form.Axe()
	ref := regexp.MustCompile(`BG-[0-9A-Z-]+`).FindString(form.Text("main"))
	if ref == "" {
		t.Fatalf("the page names no ref: %s", form.Text("main"))
	}
	counts(t, form, ".clock [role=timer]")

	c.toldByMailAndSMS(t, ref, reason)

	// The chart that was locked opens again by itself, inside the grant.
	b.Front()
	b.WaitGone(curtain)
	b.WaitText("#emergency", ref)
	counts(t, b, "#left")
	b.Reload()
	b.WaitText("#name", "Patient Maple")
	b.Axe()
	b.Click("a[href$='P-1042']")
	readsSealed(b)
	b.ClickNamed("button", "Export")
	b.WaitText("#says", "not possible during emergency access")
	b.ClickNamed("button", "Delete")
	b.WaitText("#says", "not possible during emergency access")

	b.ClickNamed("button", "End")
	b.WaitText(curtain, "Emergency access has ended.")
	covered(t, b)
	form.Front()
	form.WaitText(curtain, "ended")
	b.Front()
	b.ExpectConsole("status of 401")
	b.Reload() // nobody is signed in here any more
	b.WaitURL("/signin")
	c.mail.WaitMail(c.admin.email, "ended")
}

// readsSealed waits for the text that only a grant opens.
func readsSealed(b *mitraltest.Page) {
	b.WaitFor(`document.getElementById('note')?.value.includes('In a crisis')`)
}

// counts fails the test unless a timer runs down from an hour as mm:ss.
func counts(t *testing.T, b *mitraltest.Page, selector string) {
	t.Helper()
	shows := regexp.MustCompile(`^[0-5][0-9]:[0-5][0-9]$`)
	first := strings.TrimSpace(b.Text(selector))
	if !shows.MatchString(first) || first < "58:00" {
		t.Errorf("the time left is %q", first)
	}
	until(t, patience, "the time runs down", func() (bool, string) {
		now := strings.TrimSpace(b.Text(selector))
		return shows.MatchString(now) && now < first, now
	})
}

// toldByMailAndSMS looks at what the administrators got.
func (c *clinic) toldByMailAndSMS(t *testing.T, ref, reason string) {
	t.Helper()
	mail := c.mail.WaitMail(c.admin.email, ref)
	if !strings.Contains(mail.Text, reason) {
		t.Errorf("the start mail lacks the reason: %s", mail.Text)
	}
	keys := c.node.signIn(c.admin).get("/api/v1/audit/checkpoint").is(http.StatusOK).at("verifier_keys").([]any)
	note := regexp.MustCompile(`(?s)localhost/log/1\n\d+\n\S+\n\n(— .*?\n)+`).FindString(strings.ReplaceAll(mail.Text, "\r\n", "\n"))
	if note == "" {
		t.Fatalf("the start mail holds no checkpoint: %s", mail.Text)
	}
	signed := parseCheckpoint(t, note, keys)
	saved := c.home + "/mailed-" + ref
	c.write(saved, mail.Text) // the mail saved whole is enough
	c.run("audit", "verify", "--checkpoint", saved, "--key", signed.keys[0]).is(0)

	sms := c.sms.WaitSMS(adminPhone, ref)
	if len(sms.Body) > 160 || strings.Contains(sms.Body, reason) {
		t.Errorf("the SMS has %d characters: %q", len(sms.Body), sms.Body)
	}
	for _, r := range sms.Body {
		if r > 126 {
			t.Errorf("the SMS holds %q, outside the GSM alphabet", r)
		}
	}
}

// emergencyNamed is J7 b: the administrator opens it from their own device, and
// the clinician types the code that was told.
func (c *clinic) emergencyNamed(t *testing.T) {
	desk := mitraltest.Browser(t)
	desk.ExpectConsole("status of 401", "status of 423")
	signInAt(desk, c.front.url+"/admin", c.admin)
	desk.Open(c.front.url + "/emergency")
	ward := c.lockedChart(c.nurse)

	desk.Front()
	inTime := within(t, "J7 b", glassTime)
	counted := desk.Journey("J7 b, the administrator", glassEffort)
	desk.WaitVisible(".if-own")
	desk.Select("#for", c.doctor.id)
	desk.Type("#pin", c.admin.pin)
	desk.Click("label:has([value=cannot_sign_in])")
	desk.Type("#reason", "Key card left at home")
	holdToOpen(desk)
	desk.WaitText("h1", "Emergency access is open")
	code := strings.TrimSpace(desk.Text("#pickup"))
	counted()
	c.secrets.keep(code)
	desk.Axe()
	ref := regexp.MustCompile(`BG-[0-9A-Z-]+`).FindString(desk.Text("main"))

	ward.Front()
	counted = ward.Journey("J7 b, the clinician", glassEffort)
	form := ward.Follow(func() { ward.ClickNamed("link", "Emergency access") })
	form.Click("label:has([value=pickup])")
	form.Type("#pickup-identifier", c.doctor.email)
	form.Type("#pickup-code", strings.ReplaceAll(code, "-", ""))
	form.Type("#pickup-pin", c.doctor.pin)
	form.ClickNamed("button", "Pick it up")
	form.WaitText("h1", "Emergency access is open")
	counted()
	inTime()
	if !strings.Contains(form.Text("main"), ref) {
		t.Errorf("the doctor is in another grant than %s", ref)
	}

	// The nurse's draft is not the doctor's to see.
	ward.Front()
	ward.WaitText("#emergency", ref)
	ward.WaitText("header", "Omar Haddad")
	if got := ward.Value("#note"); strings.Contains(got, draft) {
		t.Error("the nurse's draft was left on the doctor's screen")
	}
	ward.Click("a[href$='P-1042']")
	readsSealed(ward)

	ward.WaitText("mitral-lock >>> #ref", ref)

	// Nobody ends it: after its hour it ends by itself, over the open page.
	begun := time.Now()
	c.clock.advance(60*time.Minute + time.Second)
	ward.WaitText(curtain, "Emergency access has ended.")
	if took := time.Since(begun); took > 2*follows {
		t.Errorf("the curtain fell %s after the hour", took)
	}
	covered(t, ward)
	ward.Reload()
	ward.WaitURL("/signin")
	admin := c.node.signIn(c.admin)
	until(t, follows, "the expiry is recorded", func() (bool, string) {
		r := admin.get("/api/v1/audit/events").is(http.StatusOK)
		return strings.Contains(string(r.body), "break_glass.expire"), string(r.body)
	})
	c.mail.WaitMail(c.admin.email, "ended")
}

// emergencySealed is J7 c: an envelope, when nobody else is there.
func (c *clinic) emergencySealed(t *testing.T) {
	b := c.lockedChart(c.nurse)
	const reason = "Phone broken"
	inTime := within(t, "J7 c", glassTime)
	counted := b.Journey("J7 c", glassEffort)
	form := b.Follow(func() { b.ClickNamed("link", "Emergency access") })
	form.WaitFocused("#sealed_code")
	form.Press(strings.ToLower(strings.ReplaceAll(c.sealed[0].Code, "-", "")))
	form.Type("#subject", c.doctor.email)
	form.Type("#pin", c.doctor.pin)
	form.Click("label:has([value=cannot_sign_in])")
	form.Type("#reason", reason)
	holdToOpen(form)
	form.WaitText("h1", "Emergency access is open")
	inTime()
	counted()
	ref := regexp.MustCompile(`BG-[0-9A-Z-]+`).FindString(form.Text("h1 + p"))
	c.toldByMailAndSMS(t, ref, reason)

	b.Front()
	b.WaitText("#emergency", ref)
	b.WaitText("header", "Omar Haddad")
	counts(t, b, "#left")

	// The code is spent, and a power cut in mid-grant gives nothing away.
	c.node.caller().post("/api/v1/break-glass", c.sealedStart(c.sealed[0], c.nurse)).refused(http.StatusUnauthorized, "wrong_code")
	b.ExpectConsole("status of 502", "status of 503", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION")
	form.ExpectConsole("status of 502", "status of 503", "status of 401", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION")
	c.node.restart(true)
	b.WaitFor(`fetch('/api/v1/auth/session').then(r => r.json()).then(s => s?.mitral?.break_glass?.remaining_s > 3400, () => false)`)

	form.Front()
	form.ClickNamed("button", "End emergency access now")
	form.WaitText("h1", "Emergency access has ended")
	form.WaitText("main", ref)
	form.Axe()
	b.Front()
	b.WaitText(curtain, "Emergency access has ended.")
	c.mail.WaitMail(c.admin.email, "ended")
}

func (c *clinic) sealedStart(code sealedCode, p person) map[string]any {
	return map[string]any{"kind": "sealed", "workspace": c.slug, "sealed_code": code.Code, "subject": p.email, "pin": p.pin,
		"category": "cannot_sign_in", "reason": "Lost my key card today"}
}

// emergencyInTheRecord reads what an administrator reads afterwards.
func (c *clinic) emergencyInTheRecord(t *testing.T) {
	b := mitraltest.Browser(t)
	signInAt(b, c.front.url+"/admin", c.admin)
	b.WaitText("main", "Waiting for someone to look")
	b.ClickNamed("link", "The record")
	b.WaitText("h1", "The record")
	for _, sentence := range []string{"Grace Okafor", "Omar Haddad", "Nadia Rahman", "emergency access", "locked", "signed in"} {
		if !strings.Contains(b.Text("main"), sentence) {
			t.Errorf("the record doesn't say %q", sentence)
		}
	}
	b.Axe()
	b.ClickNamed("link", "Break-glass")
	b.WaitText("h1", "Break-glass")
	b.Axe()
	b.Click(".list a")
	b.WaitText("h1", "BG-")
	b.WaitText("main", "What happened")
	b.Axe()
	b.ClickNamed("link", "Sealed codes")
	b.WaitText("table", "Used")
	b.Axe()
	b.ClickNamed("link", "Health")
	b.WaitText("h1", "Health")
	b.Axe()
}

// TestForbiddenInEmergency walks the list of product §2.1 inside a grant, each
// beside the same act outside.
func TestForbiddenInEmergency(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		c.allowChart()
		admin := c.node.signIn(c.admin)
		policy := admin.get("/api/v1/policy").is(http.StatusOK)
		var doc any
		policy.into(&doc)
		acts := []struct {
			method, path string
			body         any
			headers      []string
		}{
			{"POST", "/api/v1/users", map[string]string{"email": "x@hope.example", "name": "X", "role": "nurse"}, nil},
			{"PATCH", "/api/v1/users/" + c.nurse.id, map[string]string{"role": "doctor"}, nil},
			{"POST", "/api/v1/users/" + c.nurse.id + "/claims", map[string]string{"channel": "screen"}, nil},
			{"PUT", "/api/v1/policy", doc, []string{"If-Match", policy.header.Get("ETag"), "Mitral-Reason", "none"}},
			{"POST", "/api/v1/break-glass/codes", map[string]any{"count": 2, "location": "Safe"}, nil},
			{"PUT", "/api/v1/auth/pin", map[string]string{"current_pin": c.admin.pin, "new_pin": "6180"}, nil},
			{"POST", "/api/v1/auth/key/rotate", map[string]any{}, nil},
			{"GET", "/api/v1/audit/events", nil, nil},
			{"GET", "/api/v1/audit/export?format=jsonl", nil, nil},
		}
		inside := c.node.signIn(c.admin)
		started := inside.post("/api/v1/break-glass", map[string]any{"kind": "self", "category": "patient_emergency", "reason": "Chest pain, no key here", "unidentified": true},
			"Mitral-Step-Up", inside.stepUp(c.admin, "break_glass", "")).is(http.StatusCreated)
		if got := inside.get("/api/v1/auth/session").text("mitral.roles.0"); got != "emergency_clinician" {
			t.Errorf("inside, the role is %q", got)
		}
		for _, act := range acts {
			inside.do(act.method, act.path, act.body, act.headers...).refused(http.StatusForbidden, "bg_forbidden_action")
		}
		for _, action := range []string{"export", "delete", "payment"} {
			r := inside.post("/api/v1/authz/check", map[string]string{"action": action}).is(http.StatusOK)
			if r.text("decision") != "deny" || r.text("code") != "bg_forbidden_action" {
				t.Errorf("inside, %s is decided %s", action, r.body)
			}
		}
		for action, want := range map[string]string{"chart_read": "permit", "read_restricted": "permit"} {
			if got := inside.post("/api/v1/authz/check", map[string]string{"action": action}).is(http.StatusOK).text("decision"); got != want {
				t.Errorf("inside, %s is decided %q", action, got)
			}
			if got := admin.post("/api/v1/authz/check", map[string]string{"action": action}).is(http.StatusOK).text("decision"); got == "permit" {
				t.Errorf("outside, %s is permitted to an administrator", action)
			}
		}
		inside.post("/api/v1/break-glass", map[string]any{"kind": "self", "category": "cannot_sign_in", "reason": "Once more, please"}).is(http.StatusConflict)

		// Ended once, and the end reaches the session; twice is a conflict.
		id := started.text("id")
		inside.post("/api/v1/break-glass/"+id+"/end", map[string]any{}).is(http.StatusOK)
		inside.waitState(follows, "")
		admin.post("/api/v1/break-glass/"+id+"/end", map[string]any{}, "Mitral-Step-Up", admin.stepUp(c.admin, "break_glass", "")).is(http.StatusConflict)

		// Outside a grant each of these acts is an administrator's.
		for _, act := range acts {
			if act.path == "/api/v1/auth/pin" || act.path == "/api/v1/auth/key/rotate" {
				continue // would change what the next act signs in with
			}
			headers := act.headers
			if strings.HasSuffix(act.path, "/codes") {
				headers = append(slices.Clone(headers), "Mitral-Step-Up", admin.stepUp(c.admin, "sealed_codes", ""))
			}
			if r := admin.do(act.method, act.path, act.body, headers...); r.status >= 400 {
				t.Errorf("outside, %s %s: %d %.300s", act.method, act.path, r.status, r.body)
			}
		}
		c.verify()
	})
}

// TestGrantOutlivesRestart: the window is never longer for a power cut, at most
// fifteen seconds shorter, and ends on time.
func TestGrantOutlivesRestart(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		doctor := c.node.caller()
		started := doctor.post("/api/v1/break-glass", c.sealedStart(c.sealed[0], c.doctor)).is(http.StatusCreated)
		if started.text("identity") != "pin" || doctor.get("/api/v1/auth/session").text("mitral.acr") != "emergency" {
			t.Errorf("the sealed start answers %s", started.body)
		}
		left := func() float64 {
			return doctor.get("/api/v1/auth/session").is(http.StatusOK).number("mitral.break_glass.remaining_s")
		}
		c.clock.advance(20 * time.Minute)
		until(t, patience, "twenty minutes are over", func() (bool, string) { l := left(); return l <= 2400 && l > 2390, fmt.Sprint(l) })
		c.node.restart(true)
		if l := left(); l > 2400 || l < 2400-15-10 {
			t.Errorf("after the power cut %v seconds are left", l)
		}
		c.clock.set(-2 * time.Hour) // a dead battery while the power was off gives no time back
		c.node.restart(true)
		if l := left(); l > 2400 {
			t.Errorf("with the clock two hours back %v seconds are left", l)
		}
		c.clock.advance(40 * time.Minute)
		doctor.waitState(follows, "")
		admin := c.node.signIn(c.admin)
		until(t, follows, "the grant is called expired", func() (bool, string) {
			r := admin.get("/api/v1/break-glass/" + started.text("id")).is(http.StatusOK)
			return r.text("state") == "expired", string(r.body)
		})
		c.verify()
	})
}
