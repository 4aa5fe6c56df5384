package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
)

func TestKeyPINSignIn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.Add(identity.Nurse)
	a := d.browser().signIn(p).must(200)
	if a.get("state") != "signed_in" || a.get("session", "user", "id") != p.ID || a.get("session", "mitral", "state") != "active" {
		t.Errorf("the outcome is %s", a.text)
	}
	// Every kind of wrong is one answer, to the byte but for the occurrence.
	plain := func(a *answer) string {
		var m map[string]any
		must(t, json.Unmarshal([]byte(a.text), &m))
		for _, name := range []string{"instance", "trace_id", "request_id"} {
			delete(m, name)
		}
		b, _ := json.Marshal(m)
		return string(b)
	}
	wrongPIN, wrongKey, nobody := p, p, p
	wrongPIN.PIN, wrongKey.Key, nobody.Email = "1357", identity.NewKey(), "nobody@hope.example"
	want := plain(d.browser().signIn(wrongPIN).refused(401, "invalid_credentials"))
	for name, who := range map[string]mitraltest.Person{"wrong key": wrongKey, "nobody": nobody} {
		if got := plain(d.browser().signIn(who)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	// Not four digits: refused before anything is hashed or counted.
	for _, pin := range []string{"123", "12345", "12a4", "١٢٣٤", " 123", ""} {
		before := len(d.Events())
		a := d.browser().post("/api/v1/auth/key-pin", object{"identifier": p.Email, "key": p.Key.Reveal(), "pin": pin}).refused(422, "invalid")
		if a.get("errors", 0, "field") != "pin" || len(d.Events()) != before {
			t.Errorf("%q: %s", pin, a.text)
		}
	}
	d.browser().send("POST", "/api/v1/auth/key-pin", object{"identifier": p.Email, "key": p.Key.Reveal(), "pin": p.PIN.Reveal()},
		map[string]string{"Content-Type": "application/json; charset=utf-8", "Accept": "text/html"}).must(200)
}

func TestThrottledSignIn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.browser()
	nobody := mitraltest.Person{Email: "nobody@hope.example", Key: identity.NewKey(), PIN: "8264"}
	for range 20 {
		b.signIn(nobody).refused(401, "invalid_credentials")
	}
	a := b.signIn(nobody).refused(429, "throttled")
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	d.browser().signIn(d.Admin).must(200) // another range goes on
}

func TestDoorWorkLockComeBack(t *testing.T) { onBoth(t, workLockComeBack) }

func workLockComeBack(t *testing.T, d *desk) {
	p := d.Add(identity.Nurse)
	b := d.signedIn(p)
	beat := object{"tab": "one", "seq": 1, "visible": true, "input_age_ms": 0}
	a := b.post("/api/v1/session/heartbeat", beat).must(200)
	if a.get("state") != "active" || a.get("idle_left_s").(float64) < 890 || a.get("server_now") == nil {
		t.Errorf("the beat answers %s", a.text)
	}
	if a := b.post("/api/v1/session/lock", object{}).must(200); a.get("mitral", "state") != "locked" || a.get("mitral", "lock_expires_at") == nil {
		t.Errorf("the lock answers %s", a.text)
	}
	events := len(d.Events())
	b.post("/api/v1/session/heartbeat", beat).refused(423, "session_locked")
	if len(d.Events()) != events {
		t.Error("a beat of a locked session left an event")
	}
	b.post("/api/v1/users", object{"email": "a@hope.example", "name": "A", "role": "nurse"}).refused(423, "session_locked")
	if n := d.events("authz.refused", audit.Denied); n != 1 {
		t.Errorf("%d refusals are recorded, want that of the locked session", n)
	}
	if a := b.post("/api/v1/session/refresh", object{}).must(200); a.get("mitral", "state") != "locked" {
		t.Errorf("refreshing unlocked: %s", a.text)
	}
	wrong := b.post("/api/v1/session/unlock", object{"method": "pin", "pin": "1357"}).refused(401, "wrong_pin")
	if wrong.get("tries_left") != 4.0 {
		t.Errorf("the refusal is %s", wrong.text)
	}
	if a := b.post("/api/v1/session/unlock", object{"method": "pin", "pin": p.PIN.Reveal()}).must(200); a.get("mitral", "state") != "active" {
		t.Errorf("the unlock answers %s", a.text)
	}
	b.post("/api/v1/session/heartbeat", object{"tab": "one", "seq": 2, "visible": true, "input_age_ms": 10}).must(200)
	// An age out of all proportion is no fault, and no activity.
	b.post("/api/v1/session/heartbeat", object{"tab": "one", "seq": 3, "visible": true, "input_age_ms": int64(1) << 62}).must(200)
	b.post("/api/v1/session/heartbeat", object{"tab": "one", "seq": 4, "visible": true, "input_age_ms": -1}).must(200)
}

func TestStepUpAndCheck(t *testing.T) { onBoth(t, stepUpAndCheck) }

func stepUpAndCheck(t *testing.T, d *desk) {
	p := d.Add(identity.Doctor)
	b := d.signedIn(p)
	check := func(body object) *answer { return b.post("/api/v1/authz/check", body) }
	a := check(object{"action": "export"}).refused(401, "insufficient_user_authentication")
	if got := a.header.Get("WWW-Authenticate"); got != `Bearer error="insufficient_user_authentication", max_age="0", action="export"` || a.get("action") != "export" {
		t.Errorf("RFC 9470: %q %s", got, a.text)
	}
	token := b.post("/api/v1/session/step-up", object{"action": "export", "tx_hash": "abc", "method": "pin", "pin": p.PIN.Reveal()}).must(200).get("step_up_token")
	if a := check(object{"action": "export", "tx_hash": "abc", "step_up_token": token}).must(200); a.get("decision") != "permit" {
		t.Errorf("the check answers %s", a.text)
	}
	check(object{"action": "export", "tx_hash": "abc", "step_up_token": token}).refused(401, "insufficient_user_authentication")
	if a := check(object{"action": "unheard_of"}).must(200); a.get("decision") != "deny" || a.get("code") != "unknown_action" {
		t.Errorf("an unknown action: %s", a.text)
	}
	check(object{"action": "export", "tx_hash": strings.Repeat("x", 129)}).refused(422, "invalid")

	// The same question by access token, from anywhere.
	bearer := map[string]string{"Authorization": "Bearer " + b.post("/api/v1/session/token", object{}).must(200).get("access_token").(string)}
	app := d.browser()
	token = b.post("/api/v1/session/step-up", object{"action": "delete", "method": "pin", "pin": p.PIN.Reveal()}).must(200).get("step_up_token")
	app.send("POST", "/api/v1/authz/check", object{"action": "delete", "step_up_token": token}, bearer).must(200)
	app.send("POST", "/api/v1/authz/check", object{"action": "delete"}, bearer).refused(401, "insufficient_user_authentication")
	app.send("POST", "/api/v1/authz/check", object{"action": "delete"}, map[string]string{"Authorization": "Bearer x.y.z"}).refused(401, "invalid_token")
	app.post("/api/v1/authz/check", object{"action": "delete"}).refused(401, "signed_out")
	b.post("/api/v1/session/lock", object{}).must(200)
	app.send("POST", "/api/v1/authz/check", object{"action": "delete"}, bearer).refused(423, "session_locked")
}

func TestAccessTokens(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Add(identity.Nurse))
	for _, body := range []string{"", "{}", `{"audience":"` + mitraltest.PublicURL + `"}`} {
		headers := map[string]string{"Content-Type": "application/json"}
		a := b.ask("POST", "/api/v1/session/token", headers, body).must(200)
		if a.get("token_type") != "Bearer" || a.get("expires_in") != 120.0 {
			t.Errorf("%q: %s", body, a.text)
		}
	}
	b.post("/api/v1/session/token", object{"audience": "https://elsewhere.example"}).refused(422, "invalid")
	if a := d.browser().get("/.well-known/jwks.json").must(200); a.get("keys", 0, "alg") != "ES256" || a.get("keys", 0, "d") != nil {
		t.Errorf("the keys are %s", a.text)
	}
}

func TestOwnSessions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.Add(identity.Nurse)
	one, two, three := d.signedIn(p), d.signedIn(p), d.signedIn(p)
	a := one.get("/api/v1/sessions").must(200)
	sessions := a.get("sessions").([]any)
	if len(sessions) != 3 {
		t.Fatalf("the sessions are %s", a.text)
	}
	var other string
	for _, s := range sessions {
		m := s.(map[string]any)
		if m["id"] != m["session_id"] {
			t.Errorf("id and session_id differ: %v", m)
		}
		if m["this"] == false {
			other = m["id"].(string)
		}
	}
	stranger := d.signedIn(d.Add(identity.Doctor))
	stranger.send("DELETE", "/api/v1/sessions/"+other, nil, nil).refused(404, "unknown_session")
	one.send("DELETE", "/api/v1/sessions/"+other, nil, nil).must(200)
	one.send("DELETE", "/api/v1/sessions/"+other, nil, nil).refused(404, "unknown_session")
	if a := one.send("DELETE", "/api/v1/sessions", nil, nil).must(200); a.get("ended") != 1.0 {
		t.Errorf("ending the others: %s", a.text)
	}
	one.get("/api/v1/sessions").must(200)
	two.get("/api/v1/sessions").refused(401, "signed_out")
	three.get("/api/v1/sessions").refused(401, "signed_out")
}

// The browser hears of a lock, an unlock and the end as they happen.
func TestSessionEvents(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.Add(identity.Nurse)
	b := d.signedIn(p)
	d.browser().get("/api/v1/session/events").refused(401, "signed_out")

	listen := func() (*bufio.Scanner, func()) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", b.server.URL+"/api/v1/session/events", nil)
		must(t, err)
		r.Host = "localhost:8080"
		for name, value := range b.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r) //nolint:bodyclose // by hanging up
		must(t, err)
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("the stream begins with %d %v", resp.StatusCode, resp.Header)
		}
		return bufio.NewScanner(resp.Body), func() { cancel(); _ = resp.Body.Close() }
	}
	next := func(s *bufio.Scanner) string {
		for s.Scan() {
			if name, ok := strings.CutPrefix(s.Text(), "event: "); ok {
				return name
			}
		}
		return "over"
	}
	stream, hangUp := listen()
	defer hangUp()
	b.post("/api/v1/session/lock", object{}).must(200)
	if got := next(stream); got != "locked" {
		t.Errorf("after a lock: %s", got)
	}
	second, hangUp2 := listen() // a locked session may listen
	defer hangUp2()
	b.post("/api/v1/session/unlock", object{"method": "pin", "pin": p.PIN.Reveal()}).must(200)
	if a, b := next(stream), next(second); a != "unlocked" || b != "unlocked" {
		t.Errorf("after an unlock: %s, %s", a, b)
	}
	id := b.get("/api/v1/sessions").get("sessions", 0, "id").(string)
	b.send("DELETE", "/api/v1/sessions/"+id, nil, nil).must(200)
	if got := next(stream); got != "ended" {
		t.Errorf("after the end: %s", got)
	}
	if got := next(stream); got != "over" {
		t.Errorf("the stream went on with %s", got)
	}

	b = d.signedIn(p)
	third, hangUp3 := listen()
	defer hangUp3()
	close(d.stop)
	if got := next(third); got != "over" {
		t.Errorf("a stopping server went on with %s", got)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.Add(identity.Nurse)
	b := d.signedIn(p)
	d.browser().send("PUT", "/api/v1/auth/pin", object{"current_pin": p.PIN.Reveal(), "new_pin": "9053"}, nil).refused(401, "signed_out")
	if a := b.send("PUT", "/api/v1/auth/pin", object{"current_pin": p.PIN.Reveal(), "new_pin": "1111"}, nil).refused(422, "invalid"); a.get("errors", 0, "field") != "new_pin" {
		t.Errorf("an easy PIN: %s", a.text)
	}
	b.send("PUT", "/api/v1/auth/pin", object{"current_pin": "1357", "new_pin": "9053"}, nil).refused(401, "wrong_pin")
	if a := b.send("PUT", "/api/v1/auth/pin", object{"current_pin": p.PIN.Reveal(), "new_pin": "9053"}, nil).must(200); a.get("state") != "signed_in" {
		t.Errorf("the change answers %s", a.text)
	}
	p.PIN = "9053"
	a := b.send("POST", "/api/v1/auth/key/rotate", object{}, b.confirm(p, "credentials")).must(200)
	if !strings.Contains(a.get("key").(string), "-") || a.get("old_key_expires_at") == nil {
		t.Errorf("the new key is %s", a.text)
	}
	p.Key = identity.Secret(a.get("key").(string))
	d.browser().signIn(p).must(200)
}

// What this version has no factor for is told as such, after who may ask at all.
func TestFactorsToCome(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	out, in := d.browser(), d.signedIn(d.Add(identity.Nurse))
	verify, enroll := object{"method": "totp", "code": "123456"}, object{"method": "totp"}
	out.post("/api/v1/auth/mfa/verify", verify).refused(401, "signed_out")
	in.post("/api/v1/auth/mfa/verify", verify).refused(401, "signed_out")
	out.post("/api/v1/auth/mfa/enroll", enroll).refused(401, "signed_out")
	in.post("/api/v1/auth/mfa/enroll", enroll).refused(403, "method_not_available")
	out.post("/api/v1/auth/mfa/challenge", object{"method": "webauthn"}).refused(401, "signed_out")
	in.post("/api/v1/auth/mfa/challenge", object{"method": "webauthn"}).refused(403, "method_not_available")
	in.post("/api/v1/auth/mfa/enroll/confirm", object{"enrollment_id": "x", "code": "1"}).refused(404, "unknown_enrollment")
	if a := in.get("/api/v1/auth/factors").must(200); strings.TrimSpace(a.text) != `{"factors":[]}` {
		t.Errorf("the factors are %s", a.text)
	}
	in.send("DELETE", "/api/v1/auth/factors/x", nil, nil).refused(404, "unknown_factor")
	if a := in.post("/api/v1/auth/recovery-codes", object{}).must(200); strings.Count(a.text, "-") != 10*3 {
		t.Errorf("the recovery codes are %s", a.text)
	}
	out.post("/api/v1/auth/passkey/begin", object{}).refused(403, "method_not_available")
	out.post("/api/v1/auth/passkey/finish", object{"credential": object{"id": "x"}}).refused(403, "method_not_available")
	for _, email := range []string{"admin@hope.example", "nobody@hope.example"} {
		a := out.post("/api/v1/auth/magic-link", object{"email": email}).refused(503, "no_mail_settings")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
}

func TestPeople(t *testing.T) { onBoth(t, people) }

func people(t *testing.T, d *desk) {
	admin, nurse := d.signedIn(d.Admin), d.signedIn(d.Add(identity.Nurse))
	d.Advance(6 * time.Minute) // the sign-in is no longer fresh
	add := object{"email": "new@hope.example", "name": "A New Doctor", "role": "doctor", "phone": "+44 20 7946 0123"}
	nurse.post("/api/v1/users", add).refused(403, "forbidden")
	nurse.get("/api/v1/users").refused(403, "forbidden")
	admin.post("/api/v1/users", add).refused(401, "insufficient_user_authentication")
	a := admin.send("POST", "/api/v1/users", add, admin.confirm(d.Admin, "users")).must(201)
	id := a.get("id").(string)
	if a.get("phone") != "+442079460123" || a.get("role") != "doctor" || a.get("disabled") != false {
		t.Errorf("the person is %s", a.text)
	}
	// Now the confirmation is fresh.
	admin.post("/api/v1/users", add).refused(409, "email_taken")
	admin.post("/api/v1/users", object{"email": "x@hope.example", "name": "X", "role": "wizard"}).refused(422, "invalid")
	if a := admin.post("/api/v1/users", object{"email": "x@hope.example", "name": "X", "role": "nurse", "phone": "123"}).refused(422, "invalid"); a.get("errors", 0, "field") != "phone" {
		t.Errorf("a bad number: %s", a.text)
	}
	if a := admin.get("/api/v1/users/" + id).must(200); a.get("email") != "new@hope.example" {
		t.Errorf("the person is %s", a.text)
	}
	admin.get("/api/v1/users/usr_nobody").refused(404, "unknown_user")
	if a := admin.get("/api/v1/users").must(200); len(a.get("users").([]any)) != 3 {
		t.Errorf("the people are %s", a.text)
	}
	if a := admin.send("PATCH", "/api/v1/users/"+id, object{"role": "nurse", "name": "A New Nurse"}, nil).must(200); a.get("role") != "nurse" || a.get("name") != "A New Nurse" {
		t.Errorf("the change answers %s", a.text)
	}
	admin.send("PATCH", "/api/v1/users/"+d.Admin.ID, object{"disabled": true}, nil).refused(409, "last_administrator")
	admin.post("/api/v1/users/"+id+"/enrollment-code", object{}).refused(403, "method_not_available")
	nurse.post("/api/v1/users/"+id+"/enrollment-code", object{}).refused(403, "forbidden")
	if a := admin.send("PATCH", "/api/v1/users/"+id, object{"disabled": true}, nil).must(200); a.get("disabled") != true {
		t.Errorf("the change answers %s", a.text)
	}
}

// F47: a claim's address tells the workspace and initials, and spends nothing.
func TestF47ClaimsTellLittle(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	admin := d.signedIn(d.Admin)
	id := admin.post("/api/v1/users", object{"email": "new@hope.example", "name": "Nadia Rahman", "role": "nurse"}).must(201).get("id").(string)
	if a := admin.post("/api/v1/users/"+id+"/claims", object{"channel": "mail"}).must(201); a.get("claim_url") != nil || a.get("claim_code") == nil {
		t.Errorf("by mail: %s", a.text)
	}
	a := admin.post("/api/v1/users/"+id+"/claims", object{"channel": "screen"}).must(201)
	path := "/api/v1/claims/" + mitraltest.ClaimToken(a.get("claim_url").(string)).Reveal()
	code := a.get("claim_code").(string)
	out := d.browser()
	for range 3 {
		if a := out.get(path).must(200); strings.TrimSpace(a.text) != `{"workspace":"Hope Clinic","initials":"NR"}` {
			t.Errorf("the claim shows %s", a.text)
		}
	}
	out.get("/api/v1/claims/nothing").refused(404, "unknown_claim")
	wrong := "000000"
	if wrong == code {
		wrong = "000001"
	}
	out.post(path, object{"claim_code": wrong, "pin": "8264"}).refused(401, "wrong_code")
	out.post(path, object{"claim_code": code, "pin": "1111"}).refused(422, "invalid")
	got := out.post(path, object{"claim_code": code, "pin": "8264"}).must(200)
	if len(got.get("recovery_codes").([]any)) != 10 || got.get("identifier") != "new@hope.example" {
		t.Errorf("the claim gives %s", got.text)
	}
	out.get(path).refused(410, "claim_over")
	out.post(path, object{"claim_code": code, "pin": "8264"}).refused(410, "claim_over")
	out.signIn(mitraltest.Person{Email: "new@hope.example", Key: identity.Secret(got.get("key").(string)), PIN: "8264"}).must(200)
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	admin, nurse := d.signedIn(d.Admin), d.signedIn(d.Add(identity.Nurse))
	nurse.get("/api/v1/policy").refused(403, "forbidden")
	a := admin.get("/api/v1/policy").must(200)
	etag := a.header.Get("ETag")
	if etag == "" || a.get("roles", "nurse", "idle") != "15m" {
		t.Fatalf("the policy is %q %.200s", etag, a.text)
	}
	stricter := strings.ReplaceAll(a.text, `"idle":"15m"`, `"idle":"10m"`)
	put := func(body, etag, reason string) *answer {
		h := map[string]string{"Content-Type": "application/json"}
		if etag != "" {
			h["If-Match"] = etag
		}
		if reason != "" {
			h["Mitral-Reason"] = reason
		}
		return admin.ask("PUT", "/api/v1/policy", h, body)
	}
	put(stricter, "", "").refused(428, "if_match_missing")
	put(stricter, `"99"`, "").refused(412, "stale")
	if a := put(strings.Replace(a.text, `"idle":"15m"`, `"idle":"9999h"`, 1), etag, "").refused(422, "invalid"); !strings.HasSuffix(a.get("errors", 0, "field").(string), ".idle") {
		t.Errorf("out of bounds: %s", a.text)
	}
	put(stricter, etag, "\x80\xff").refused(422, "invalid")
	next := put(stricter, etag, "").must(200).header.Get("ETag")
	if next == "" || next == etag {
		t.Errorf("the new ETag is %q", next)
	}
	if a := put(a.text, next, "").refused(422, "invalid"); a.get("errors", 0, "code") != "reason_required" {
		t.Errorf("a loosening without a reason: %s", a.text)
	}
	put(a.text, next, "The wards asked for it").must(200)
	if !strings.Contains(admin.get("/api/v1/policy").text, `"idle":"15m"`) {
		t.Error("the policy did not change back")
	}
}

func TestWorkspaceReads(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	admin, nurse := d.signedIn(d.Admin), d.signedIn(d.Add(identity.Nurse))
	for _, b := range []*browser{admin, nurse} {
		if a := b.get("/api/v1/workspaces").must(200); a.get("workspaces", 0, "slug") != "hope-clinic" || a.get("workspaces", 1) != nil {
			t.Errorf("the workspaces are %s", a.text)
		}
		b.get("/api/v1/workspaces/" + d.Workspace.ID).must(200)
		b.get("/api/v1/workspaces/wks_other").refused(404, "unknown_workspace")
		if a := b.get("/api/v1/plans").must(200); a.get("plans", 0, "id") != "self_hosted" {
			t.Errorf("the plans are %s", a.text)
		}
	}
	if a := admin.get("/api/v1/devices").must(200); a.get("devices", 0, "id") == nil {
		t.Errorf("the devices are %s", a.text)
	}
	nurse.get("/api/v1/devices").refused(403, "forbidden")
}

func TestAudit(t *testing.T) { onBoth(t, theRecord) }

func theRecord(t *testing.T, d *desk) {
	admin, nurse, reviewer := d.signedIn(d.Admin), d.signedIn(d.Add(identity.Nurse)), d.signedIn(d.Add(identity.PrivacyReviewer))
	must(t, d.Recorder.RunOnce(context.Background()))
	for _, path := range []string{"/events", "/export?format=jsonl", "/checkpoint", "/proof/inclusion?index=0&size=1", "/proof/consistency?from=1&to=2"} {
		nurse.get("/api/v1/audit"+path).refused(403, "forbidden")
		reviewer.get("/api/v1/audit" + path).must(200)
	}
	a := admin.get("/api/v1/audit/events?type=sign_in&limit=2").must(200)
	first := a.get("events", 0).(map[string]any)
	if len(a.get("events").([]any)) != 2 || first["type"] != "sign_in.key_pin" || first["id"] == nil || first["index"] == nil || first["sentence"] == "" {
		t.Errorf("the events are %s", a.text)
	}
	if n := d.events("audit.read", audit.Success); n != 2 {
		t.Errorf("%d readings are recorded, want 2", n)
	}
	admin.get("/api/v1/audit/events?from=yesterday").refused(422, "invalid")
	admin.get("/api/v1/audit/events?limit=0").refused(422, "invalid")
	for format, kind := range map[string]string{"jsonl": "application/jsonl", "csv": "text/csv", "fhir": "application/fhir+ndjson"} {
		a := admin.get("/api/v1/audit/export?format=" + format + "&from=2020-01-01T00:00:00Z").must(200)
		if !strings.HasPrefix(a.header.Get("Content-Type"), kind) || len(strings.Split(strings.TrimSpace(a.text), "\n")) < 10 {
			t.Errorf("%s: %v %.200s", format, a.header, a.text)
		}
	}
	admin.get("/api/v1/audit/export?format=pdf").refused(422, "invalid")
	admin.get("/api/v1/audit/export").refused(422, "invalid")
	if n := d.events("audit.export", audit.Success); n != 4 {
		t.Errorf("%d exports are recorded, want 4", n)
	}
	a = admin.get("/api/v1/audit/checkpoint").must(200)
	if !strings.HasPrefix(a.get("checkpoint").(string), "localhost/log/1\n") || !strings.HasPrefix(a.get("verifier_keys", 0).(string), "localhost/log/1+") {
		t.Errorf("the checkpoint is %s", a.text)
	}
	if a := admin.get("/api/v1/audit/proof/inclusion?index=0&size=3").must(200); len(a.get("proof").([]any)) != 2 {
		t.Errorf("the proof is %s", a.text)
	}
	if a := admin.get("/api/v1/audit/proof/inclusion?index=0&size=1").must(200); strings.TrimSpace(a.text) != `{"proof":[]}` {
		t.Errorf("the proof is %s", a.text)
	}
	for _, nonsense := range []string{"inclusion?index=5&size=3", "inclusion?index=-1&size=3", "inclusion?index=x&size=3", "inclusion?size=3",
		"inclusion?index=0&size=99999999", "consistency?from=3&to=1", "consistency?from=&to=1", "inclusion?index=0&size=1&log=77"} {
		admin.get("/api/v1/audit/proof/"+nonsense).refused(422, "invalid")
	}
	d.Advance(16 * time.Minute) // reading asks for a proof every 15 minutes
	admin = d.signedIn(d.Admin)
	d.Advance(6 * time.Minute)
	admin.get("/api/v1/audit/export?format=csv").refused(401, "insufficient_user_authentication")
	admin.get("/api/v1/audit/events").must(200)
}

func TestBreakGlass(t *testing.T) { onBoth(t, breakGlass) }

func breakGlass(t *testing.T, d *desk) {
	doctor := d.Add(identity.Doctor)
	d.record()
	admin := d.signedIn(d.Admin)
	const root = "/api/v1/break-glass"
	start := object{"kind": "self", "category": "role_too_small", "reason": "The night team needs the theatre list"}
	admin.post(root, start).refused(401, "insufficient_user_authentication")
	weak := object{"kind": "self", "category": "role_too_small", "reason": "aaaaaaaaaaaa"}
	if a := admin.send("POST", root, weak, admin.confirm(d.Admin, "break_glass")).refused(422, "invalid"); a.get("errors", 0, "field") != "reason" {
		t.Errorf("a weak reason: %s", a.text)
	}
	headers := admin.confirm(d.Admin, "break_glass")
	headers["Idempotency-Key"] = "one"
	a := admin.send("POST", root, start, headers).must(201)
	id := a.get("id").(string)
	if a.get("state") != "active" || !strings.HasPrefix(a.get("ref").(string), "BG-") || a.get("remaining_s").(float64) > 3600 || a.get("expires_at") == nil ||
		a.get("notified", 0, "channel") == nil || a.get("audit", "checkpoint") == nil {
		t.Errorf("the start answers %s", a.text)
	}
	if a := admin.post("/api/v1/session/refresh", object{}).must(200); a.get("mitral", "break_glass", "id") != id {
		t.Errorf("the session is %s", a.text)
	}
	if again := admin.send("POST", root, start, map[string]string{"Idempotency-Key": "one"}).must(201); again.get("id") != id {
		t.Errorf("the repeat answers %s", again.text)
	}
	admin.post("/api/v1/users", object{"email": "x@hope.example", "name": "X", "role": "nurse"}).refused(403, "bg_forbidden_action")
	if a := admin.post("/api/v1/authz/check", object{"action": "export"}).must(200); a.get("decision") != "deny" || a.get("code") != "bg_forbidden_action" {
		t.Errorf("inside: %s", a.text)
	}
	if a := admin.get(root + "/" + id).must(200); a.get("timeline", 0, "id") == nil {
		t.Errorf("the grant is %s", a.text)
	}
	admin.post(root+"/"+id+"/patients", object{"patient_ref": "MRN-0042"}).must(200)
	admin.post(root+"/"+id+"/note", object{"text": "The list was printed for theatre two."}).must(200)
	if a := admin.post(root+"/"+id+"/end", object{}).must(200); a.get("state") != "ended" {
		t.Errorf("the end answers %s", a.text)
	}
	admin.get(root).refused(401, "signed_out") // the emergency session ended with it

	// A sealed code, by somebody who is not signed in.
	code := d.Setup.SealedCodes[0].Code.Reveal()
	sealed := object{"kind": "sealed", "subject": doctor.Email, "sealed_code": "AAAAA-AAAAA", "pin": doctor.PIN.Reveal(), "category": "cannot_sign_in",
		"reason": "My key is lost and the ward waits"}
	d.browser().post(root, sealed).refused(401, "wrong_code")
	d.Advance(2 * time.Second)
	sealed["sealed_code"] = code
	b := d.browser()
	a = b.post(root, sealed).must(201)
	if a.get("identity") != "pin" || a.get("session", "user", "id") != doctor.ID || a.get("session", "mitral", "acr") != "emergency" {
		t.Errorf("the sealed start answers %s", a.text)
	}
	b.get(root + "/" + a.get("id").(string)).must(200)

	admin = d.signedIn(d.Admin)
	grants := admin.get(root).must(200)
	if len(grants.get("break_glass").([]any)) != 2 {
		t.Errorf("the grants are %s", grants.text)
	}
	if a := admin.get(root + "/codes").must(200); strings.Contains(a.text, code) || a.get("codes", 0, "label") == nil {
		t.Errorf("the inventory is %s", a.text)
	}
	minted := admin.send("POST", root+"/codes", object{"count": 2, "location": "pharmacy safe"}, admin.confirm(d.Admin, "sealed_codes")).must(201)
	if len(minted.get("codes").([]any)) != 2 || minted.get("codes", 0, "location") != "pharmacy safe" {
		t.Errorf("the codes are %s", minted.text)
	}
	admin.get(root+"/grt_other").refused(404, "unknown_grant")
	drill := object{"kind": "self", "drill": true, "category": "other", "reason": "The quarterly practice of the night shift team"}
	if a := admin.send("POST", root, drill, admin.confirm(d.Admin, "break_glass")).must(201); a.get("drill") != true || a.get("session") != nil {
		t.Errorf("the drill answers %s", a.text)
	}
}

func TestNamedBreakGlass(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.record()
	doctor := d.Add(identity.Doctor)
	admin := d.signedIn(d.Admin)
	a := admin.send("POST", "/api/v1/break-glass", object{"kind": "named", "subject": doctor.ID, "category": "cannot_sign_in", "reason": "She phoned from theatre two"},
		admin.confirm(d.Admin, "break_glass")).must(201)
	code, _ := a.get("pickup_code").(string)
	if !strings.Contains(code, "-") || a.get("session") != nil {
		t.Fatalf("the start answers %s", a.text)
	}
	pickup := object{"identifier": doctor.Email, "code": code, "pin": doctor.PIN.Reveal()}
	b := d.browser()
	if a := b.post("/api/v1/break-glass/pickup", pickup).must(200); a.get("user", "id") != doctor.ID || a.get("mitral", "break_glass", "id") == nil {
		t.Errorf("the pick-up answers %s", a.text)
	}
	b.get("/api/v1/sessions").must(200)
}

// F24: an answer that was lost signs nobody out; a refresh token that was used
// up ends the session; and it travels to this API alone.
func TestF24LostAnswersAndUsedTokens(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.browser()
	a := b.signIn(d.Add(identity.Nurse)).must(200)
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if want := map[string]string{"mitral.refresh": "/api/v1"}[c.Name]; want != "" && c.Path != want {
			t.Errorf("%s goes to %s", c.Name, c.Path)
		}
	}
	keep := func() map[string]string { return maps.Clone(b.cookies) }
	delete(b.cookies, "authjs.session-token")
	b.get("/api/v1/sessions").must(200) // renewed from the refresh cookie
	if b.cookies["authjs.session-token"] == "" {
		t.Fatal("no session cookie was set")
	}
	d.Advance(6 * time.Minute)
	before := keep()
	b.get("/api/v1/sessions").must(200) // rotates, and the answer is lost
	if b.cookies["mitral.refresh"] == before["mitral.refresh"] {
		t.Fatal("the refresh token was not rotated")
	}
	b.cookies = maps.Clone(before)
	d.Advance(20 * time.Second)
	b.get("/api/v1/sessions").must(200)
	b.get("/api/v1/sessions").must(200)
	// The successor was presented since: the old one is a thief's now.
	b.post("/api/v1/session/refresh", object{}).must(200)
	d.Advance(20 * time.Second)
	good := keep()
	b.cookies = before
	b.get("/api/v1/sessions").refused(401, "signed_out")
	b.cookies = good
	b.get("/api/v1/sessions").refused(401, "signed_out")
}

// F46: a second session cookie of the same name, as a neighbour's page can plant
// it, is nobody's; it is not cleared away, so that the real one is not either.
func TestF46TwoSessionCookies(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Add(identity.Nurse))
	a := b.ask("GET", "/api/v1/sessions", map[string]string{"Cookie": "authjs.session-token=planted"}, "").refused(401, "signed_out")
	if got := a.header.Values("Set-Cookie"); len(got) > 0 {
		t.Errorf("the answer sets %q", got)
	}
	b.get("/api/v1/sessions").must(200)
}
