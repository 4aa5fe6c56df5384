package chart_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mitral-health/mitral/examples/chart"
)

const public = "http://clinic.example"

// fakeMitral answers the contract's few calls that the chart makes.
type fakeMitral struct {
	mu     sync.Mutex
	state  string // active, locked, signed_out
	role   string
	grant  bool
	glass  bool // policy: break-glass is enabled
	status int  // of every answer, when not 0
	tokens map[string]string
	calls  []*http.Request
	ended  []string
}

func (f *fakeMitral) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r.Clone(r.Context()))
	if f.status != 0 {
		w.WriteHeader(f.status)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v1/auth/session":
		w.Header().Add("Set-Cookie", "authjs.session-token=renewed; Path=/; HttpOnly")
		f.answer(w, 200, f.session())
	case "POST /api/v1/authz/check":
		f.check(w, r)
	case "POST /api/v1/session/lock":
		f.state = "locked"
		f.answer(w, 200, f.session())
	case "POST /api/v1/break-glass/g1/end":
		f.ended = append(f.ended, "g1")
		f.answer(w, 200, map[string]string{"state": "ended"})
	default:
		w.WriteHeader(404)
	}
}

func (f *fakeMitral) session() any {
	if f.state == "signed_out" {
		return nil
	}
	m := map[string]any{"state": f.state, "roles": []string{f.role}}
	if f.grant {
		m["break_glass"] = map[string]any{"id": "g1", "ref": "BG-0042", "remaining_s": 2467, "expires_at": "2030-01-01T00:00:00Z"}
	}
	return map[string]any{"user": map[string]any{"id": "u1", "name": "Nadia Rahman"}, "mitral": m}
}

// check decides by the lists of chart.Allow, as a policy that holds them would.
func (f *fakeMitral) check(w http.ResponseWriter, r *http.Request) {
	switch f.state {
	case "signed_out":
		f.answer(w, 401, map[string]string{"code": "signed_out"})
		return
	case "locked":
		f.answer(w, 423, map[string]string{"code": "locked"})
		return
	}
	var in struct {
		Action string `json:"action"`
		Token  string `json:"step_up_token"`
		Tx     string `json:"tx_hash"`
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || r.Header.Get("Content-Type") != "application/json" {
		w.WriteHeader(415)
		return
	}
	role := f.role
	if f.grant {
		role = "emergency_clinician"
	}
	guarded := in.Action == "export" || in.Action == "delete"
	switch {
	case f.grant && guarded:
		f.answer(w, 200, map[string]string{"decision": "deny", "code": "bg_forbidden_action"})
	case !slices.Contains(chart.Allow()[role], in.Action) && f.glass && !f.grant:
		f.answer(w, 200, map[string]string{"decision": "break_glass_possible"})
	case !slices.Contains(chart.Allow()[role], in.Action):
		f.answer(w, 200, map[string]string{"decision": "deny", "code": "role"})
	case guarded && !f.spend(in.Token, in.Action+" "+in.Tx):
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", max_age="0", action="`+in.Action+`"`)
		f.answer(w, 401, map[string]string{"code": "insufficient_user_authentication", "action": in.Action})
	default:
		f.answer(w, 200, map[string]string{"decision": "permit"})
	}
}

func (f *fakeMitral) spend(token, bound string) bool {
	good := token != "" && f.tokens[token] == bound
	delete(f.tokens, token)
	return good
}

func (f *fakeMitral) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// mint is what the browser's step-up would have answered.
func (f *fakeMitral) mint(token, action, tx string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[token] = action + " " + tx
}

type clinic struct {
	*fakeMitral
	app http.Handler
	t   *testing.T
}

func newClinic(t *testing.T, set ...func(*fakeMitral)) clinic {
	t.Helper()
	f := &fakeMitral{state: "active", role: "nurse", glass: true, tokens: map[string]string{}}
	for _, s := range set {
		s(f)
	}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return clinic{f, chart.New(chart.Config{MitralURL: srv.URL, PublicURL: public, BasePath: "/demo/chart"}), t}
}

func as(role string) func(*fakeMitral)       { return func(f *fakeMitral) { f.role = role } }
func in(state string) func(*fakeMitral)      { return func(f *fakeMitral) { f.state = state } }
func withGrant(f *fakeMitral)                { f.grant = true }
func withoutGlass(f *fakeMitral)             { f.glass = false }
func broken(s int) func(*fakeMitral)         { return func(f *fakeMitral) { f.status = s } }
func header(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }

var script = header("Accept", "application/json")

func (c clinic) send(method, path string, form url.Values, set ...func(*http.Request)) answer {
	c.t.Helper()
	r := httptest.NewRequest(method, public+path, strings.NewReader(form.Encode()))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Cookie", "authjs.session-token=abc; mitral-device=d1")
	r.Header.Set("User-Agent", "TestBrowser/1")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, s := range set {
		s(r)
	}
	w := httptest.NewRecorder()
	c.app.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

type answer struct {
	Status int
	Header http.Header
	Body   string
}

func want(t *testing.T, r answer, status int) string {
	t.Helper()
	if r.Status != status {
		t.Fatalf("status %d, want %d: %s", r.Status, status, r.Body)
	}
	return r.Body
}

func has(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in: %s", p, text)
		}
	}
}

func hasNot(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if strings.Contains(text, p) {
			t.Errorf("%q should not be in: %s", p, text)
		}
	}
}

func TestOpenShowsPatientsNoteAndControls(t *testing.T) {
	c := newClinic(t)
	for _, path := range []string{"/demo/chart", "/demo/chart/", "/demo/chart/patients/P-1001"} {
		r := c.send("GET", path, nil)
		page := want(t, r, 200)
		has(t, page, "made-up patients", "Nadia Rahman", "P-1001", "P-1007", "P-1042", `<label for="note">Note</label>`,
			"<button>Lock</button>", "<button>Export</button>", `id="delete">Delete</button>`, "<mitral-lock", `src="/sdk/mitral-lock.js"`,
			`aria-label="Emergency access" hidden>`)
		hasNot(t, page, "crisis team", "style=", "onclick=")
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
			t.Errorf("content security policy %q", csp)
		}
		if r.Header.Get("Cache-Control") != "no-store" {
			t.Error("a chart may be stored")
		}
	}
	want(t, c.send("GET", "/demo/chart/patients/P-9999", nil), 404)
}

func TestCallsCarryTheBrowserAndBringCookiesBack(t *testing.T) {
	c := newClinic(t)
	r := c.send("GET", "/demo/chart", nil)
	want(t, r, 200)
	if got := r.Header.Get("Set-Cookie"); !strings.HasPrefix(got, "authjs.session-token=renewed") {
		t.Errorf("the renewed cookie did not reach the browser: %q", got)
	}
	for _, call := range c.calls {
		if call.Header.Get("Cookie") != "authjs.session-token=abc; mitral-device=d1" || call.Header.Get("User-Agent") != "TestBrowser/1" {
			t.Errorf("%s went without the browser's headers: %v", call.URL.Path, call.Header)
		}
		if call.Host != "clinic.example" {
			t.Errorf("%s went to host %q, not to the public one", call.URL.Path, call.Host)
		}
	}
	if len(c.calls) != 2 {
		t.Errorf("%d calls, want session and one check", len(c.calls))
	}
}

func TestWhoIsNotThereIsSentToMitralAndBack(t *testing.T) {
	tests := []struct {
		state, path, to string
		status          int
	}{
		{"signed_out", "/demo/chart/patients/P-1007?x=1", "/signin?callbackUrl=" + url.QueryEscape(public+"/demo/chart/patients/P-1007?x=1"), 401},
		{"locked", "/demo/chart", "/api/v1/session/resume?callbackUrl=" + url.QueryEscape(public+"/demo/chart"), 423},
	}
	for _, tt := range tests {
		c := newClinic(t, in(tt.state))
		r := c.send("GET", tt.path, nil)
		hasNot(t, want(t, r, 303), "Patient Maple")
		if got := r.Header.Get("Location"); got != tt.to {
			t.Errorf("%s: sent to %q, want %q", tt.state, got, tt.to)
		}
		for _, act := range []string{"/export", "/patients/P-1001/note", "/patients/P-1001/delete"} {
			hasNot(t, want(t, c.send("POST", "/demo/chart"+act, url.Values{}, script), tt.status), "Maple")
		}
	}
	want(t, newClinic(t).send("GET", "/demo/chart", nil), 200)
}

func TestMitralOutOfReachIsNeverSignedOut(t *testing.T) {
	c := newClinic(t, broken(503))
	for _, r := range []answer{c.send("GET", "/demo/chart", nil), c.send("POST", "/demo/chart/export", nil, script)} {
		hasNot(t, want(t, r, 503), "Maple", "signed out")
		if r.Header.Get("Retry-After") == "" || r.Header.Get("Location") != "" {
			t.Error("no Retry-After, or sent elsewhere")
		}
	}
	page := want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {"seen at ten"}}), 503)
	has(t, page, ">seen at ten</textarea>")
}

func TestAdministratorsComeInOnlyInsideAGrant(t *testing.T) {
	page := want(t, newClinic(t, as("admin")).send("GET", "/demo/chart", nil), 403)
	has(t, page, "Charts are not for administrators.", `href="/emergency"`)
	hasNot(t, page, "Maple", "P-1001", "<button>Export</button>")

	page = want(t, newClinic(t, as("admin"), withGrant).send("GET", "/demo/chart", nil), 200)
	has(t, page, "Patient Maple", "EMERGENCY ACCESS", "BG-0042", `role="timer">41:07<`, "<button>End</button>", `data-left="2467"`)
	hasNot(t, page, `aria-label="Emergency access" hidden`)

	page = want(t, newClinic(t, as("staff"), withoutGlass).send("GET", "/demo/chart", nil), 403)
	has(t, page, "Your role does not open charts.")
	hasNot(t, page, `href="/emergency"`, "Maple")
}

func TestOnlyBreakGlassOpensTheSealedRecord(t *testing.T) {
	const path, secret = "/demo/chart/patients/P-1042", "crisis team"
	page := want(t, newClinic(t).send("GET", path, nil), 403)
	has(t, page, "Emergency access opens this record", `href="/emergency"`, "Patient Maple")
	hasNot(t, page, secret)

	page = want(t, newClinic(t, withoutGlass).send("GET", path, nil), 403)
	hasNot(t, page, secret, `href="/emergency"`)

	c := newClinic(t)
	want(t, c.send("POST", path+"/note", url.Values{"note": {"overwritten"}}, script), 403)
	c.grant = true
	page = want(t, c.send("GET", path, nil), 200)
	has(t, page, secret)
	hasNot(t, page, "overwritten")
}

func TestExportNeedsATokenForTheseVeryRows(t *testing.T) {
	c := newClinic(t)
	want(t, c.send("POST", "/demo/chart/patients/P-1007/note", url.Values{"note": {"=HYPERLINK(1)"}}, script), 200)
	ask := func(token string) answer {
		return c.send("POST", "/demo/chart/export", nil, script, header("Mitral-Step-Up", token))
	}
	r := ask("")
	if !strings.Contains(r.Header.Get("WWW-Authenticate"), `action="export"`) {
		t.Errorf("challenge %q", r.Header.Get("WWW-Authenticate"))
	}
	var told map[string]string
	if err := json.Unmarshal([]byte(want(t, r, 401)), &told); err != nil {
		t.Fatal(err)
	}
	if told["code"] != "insufficient_user_authentication" || told["action"] != "export" ||
		!strings.HasPrefix(told["summary"], "4 patients") || len(told["tx_hash"]) != len("sha256:")+64 {
		t.Errorf("told %v", told)
	}

	c.mint("other", "export", "sha256:something else")
	want(t, ask("other"), 401)
	c.mint("wrong-act", "delete", told["tx_hash"])
	want(t, ask("wrong-act"), 401)

	c.mint("right", "export", told["tx_hash"])
	r = ask("right")
	file := want(t, r, 200)
	if got := r.Header.Get("Content-Disposition"); got != "attachment; filename=demo-chart.csv" {
		t.Errorf("content disposition %q", got)
	}
	rows, err := csv.NewReader(strings.NewReader(file)).ReadAll()
	if err != nil || len(rows) != 5 {
		t.Fatalf("%d rows, %v: %s", len(rows), err, file)
	}
	if rows[2][5] != "'=HYPERLINK(1)" {
		t.Errorf("a note can be a formula: %q", rows[2][5])
	}
	hasNot(t, file, "P-1042", "crisis team")
	want(t, ask("right"), 401)

	c.mint("stale", "export", told["tx_hash"])
	want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {"changed meanwhile"}}, script), 200)
	want(t, ask("stale"), 401)
}

func TestDeleteRemovesTheConfirmedNoteOnly(t *testing.T) {
	c := newClinic(t)
	remove := func(token string) answer {
		return c.send("POST", "/demo/chart/patients/P-1001/delete", nil, script, header("Mitral-Step-Up", token))
	}
	var told map[string]string
	if err := json.Unmarshal([]byte(want(t, remove(""), 401)), &told); err != nil {
		t.Fatal(err)
	}
	has(t, told["summary"], "Patient Maple", "P-1001")
	has(t, want(t, c.send("GET", "/demo/chart", nil), 200), "BP 148/92")

	c.mint("t", "delete", told["tx_hash"])
	has(t, want(t, remove("t"), 200), "The note was deleted.")
	page := want(t, c.send("GET", "/demo/chart", nil), 200)
	hasNot(t, page, "BP 148/92")
	has(t, want(t, c.send("GET", "/demo/chart/patients/P-1007", nil), 200), "Wound clean and dry")
	want(t, remove("t"), 404)
}

func TestInsideAGrantExportAndDeleteAreRefusedInASentence(t *testing.T) {
	c := newClinic(t, withGrant)
	for act, verb := range map[string]string{"/export": "Exporting", "/patients/P-1001/delete": "Deleting"} {
		has(t, want(t, c.send("POST", "/demo/chart"+act, nil, script), 403), verb+" is not possible during emergency access.")
	}
	has(t, want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {"seen"}}, script), 200), "Saved")
	has(t, want(t, c.send("POST", "/demo/chart/end", nil, script), 200), "Emergency access has ended.")
	if len(c.ended) != 1 {
		t.Errorf("ended %v", c.ended)
	}
	want(t, newClinic(t).send("POST", "/demo/chart/end", nil, script), 409)
}

func TestSaveKeepsTheTextOrHandsItBack(t *testing.T) {
	c := newClinic(t)
	r := c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {"<script>alert(1)</script>"}})
	want(t, r, 303)
	page := want(t, c.send("GET", r.Header.Get("Location"), nil), 200)
	has(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;", "by Nadia Rahman.")

	c.state = "signed_out"
	page = want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {"half a note"}}), 401)
	has(t, page, ">half a note</textarea>", "not lost")

	c.state = "active"
	long := strings.Repeat("é", 4001)
	has(t, want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {long}}), 422), long)
	want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {long[2:]}}), 303)
	want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {strings.Repeat("x", 70_000)}}), 413)
	want(t, c.send("POST", "/demo/chart/patients/P-9999/note", url.Values{"note": {"x"}}, script), 404)
}

func TestAnotherSiteCannotActHere(t *testing.T) {
	c := newClinic(t)
	for _, site := range []string{"cross-site", "same-site"} {
		for _, path := range []string{"/lock", "/end", "/export", "/patients/P-1001/note", "/patients/P-1001/delete"} {
			want(t, c.send("POST", "/demo/chart"+path, url.Values{"note": {"forged"}}, header("Sec-Fetch-Site", site), header("Origin", "http://evil.example")), 403)
		}
	}
	if len(c.calls) != 0 {
		t.Errorf("Mitral was called %d times", len(c.calls))
	}
	want(t, c.send("POST", "/demo/chart/patients/P-1001/note", url.Values{"note": {"mine"}}, script), 200)
}

func TestLockWorksWithoutJavaScript(t *testing.T) {
	c := newClinic(t)
	want(t, c.send("POST", "/demo/chart/lock", nil), 303)
	if c.state != "locked" {
		t.Errorf("state %q", c.state)
	}
	want(t, c.send("POST", "/demo/chart/export", nil), 423)
}

func TestStaticFilesAreServedAndNothingElse(t *testing.T) {
	c := newClinic(t, in("signed_out"))
	for name, kind := range map[string]string{"chart.css": "text/css", "chart.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		r := c.send("GET", "/demo/chart/static/"+name, nil)
		want(t, r, 200)
		if !strings.HasPrefix(r.Header.Get("Content-Type"), kind) {
			t.Errorf("%s is %q", name, r.Header.Get("Content-Type"))
		}
	}
	for name, status := range map[string]int{"chart.go": 404, "nothing": 404, "%2e%2e%2fchart.go": 400} {
		want(t, c.send("GET", "/demo/chart/static/"+name, nil), status)
	}
}

func TestAllowNamesEveryActionTheChartAsksAbout(t *testing.T) {
	named := map[string]bool{}
	for role, actions := range chart.Allow() {
		for _, a := range actions {
			named[a] = true
			if a == "read_restricted" && role != "emergency_clinician" {
				t.Errorf("%s opens sealed records", role)
			}
		}
	}
	for _, a := range []string{"chart_read", "chart_write", "read_restricted", "export", "delete"} {
		if !named[a] {
			t.Errorf("no list names %s: Mitral would call it unknown", a)
		}
	}
	if n := len(chart.Allow()["admin"]); n != 0 {
		t.Errorf("administrators may do %d things", n)
	}
}

func ExampleAllow() {
	fmt.Println(chart.Allow()["nurse"])
	// Output: [chart_read chart_write export delete]
}
