package edge_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

func TestEveryAnswerCarriesTheHeaders(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{public: "https://auth.clinic.example", apps: []session.App{{Origin: "https://chart.clinic.example"}}})
	d.mux.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, edge.Nonce(r.Context())) })
	first := d.ask("GET", "/page", "auth.clinic.example", nil, nil)
	second := d.ask("GET", "/page", "auth.clinic.example", nil, nil)
	if first.text == second.text || len(first.text) < 20 {
		t.Errorf("the nonces are %q and %q, want two different ones", first.text, second.text)
	}
	policy := first.Header.Get("Content-Security-Policy")
	for _, part := range []string{"script-src 'nonce-" + first.text + "' 'strict-dynamic'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
		"object-src 'none'", "form-action 'self' https://auth.clinic.example https://chart.clinic.example;"} {
		contains(t, policy, part)
	}
	refusal := d.ask("GET", "/page", "elsewhere.example", nil, nil)
	for _, a := range []*answer{first, refusal} {
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Strict-Transport-Security": "max-age=31536000; includeSubDomains",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%d: %s is %q, want %q", a.StatusCode, name, got, want)
			}
		}
		contains(t, a.Header.Get("Permissions-Policy"), "camera=()")
	}
	if got := d.ask("GET", "/claim/secret", "auth.clinic.example", nil, nil).Header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("a claim's page has Referrer-Policy %q", got)
	}
}

func TestPlainHTTPHasNoHSTS(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{})
	if got := d.get("/"); got.Header.Get("Strict-Transport-Security") != "" {
		t.Error("http on loopback must not bind the browser to https")
	}
}

// F37: a name that is not ours, a rebound one among them, reaches nothing; and
// behind a declared proxy nobody else is spoken to.
func TestF37NamesAndPeers(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{apps: []session.App{{Origin: "https://chart.clinic.example"}, {Origin: "http://intranet:8081"}}})
	for _, path := range []string{"/setup", "/demo/outbox", "/api/v1/auth/session", "/healthz", "/readyz"} {
		d.mux.HandleFunc("GET "+path, func(http.ResponseWriter, *http.Request) {})
	}
	for _, tt := range []struct {
		host   string
		status int
	}{
		{"localhost:8080", 200}, {"LOCALHOST:8080", 200}, {"chart.clinic.example", 200}, {"chart.clinic.example:443", 200}, {"intranet:8081", 200},
		{"localhost", 421}, {"localhost:8081", 421}, {"127.0.0.1:8080", 421}, {"evil.example", 421}, {"localhost:8080.evil.example", 421},
		{"chart.clinic.example:80", 421}, {"intranet", 421}, {"auth.chart.clinic.example", 421},
	} {
		for _, path := range []string{"/setup", "/demo/outbox", "/api/v1/auth/session"} {
			a := d.ask("GET", path, tt.host, nil, nil)
			if a.StatusCode != tt.status {
				t.Errorf("%s at %s: %d, want %d", path, tt.host, a.StatusCode, tt.status)
			}
			if tt.status == 421 && a.problem(t)["code"] != "misdirected" {
				t.Errorf("the problem is %s", a.text)
			}
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			if a := d.ask("GET", path, tt.host, nil, nil); a.StatusCode != 200 {
				t.Errorf("%s at %s: %d, want 200 whatever the name", path, tt.host, a.StatusCode)
			}
		}
	}
	// What a proxy claims about the host changes nothing but for the forward check.
	if a := d.ask("GET", "/setup", "evil.example", map[string]string{"X-Forwarded-Host": "localhost:8080"}, nil); a.StatusCode != 421 {
		t.Errorf("a forwarded host let %d through", a.StatusCode)
	}

	behind := newDesk(t, setting{public: "https://auth.clinic.example", proxies: []string{"127.0.0.9/32"}, only: true})
	for _, path := range []string{"/", "/healthz"} {
		behind.mux.HandleFunc("GET "+path, func(http.ResponseWriter, *http.Request) {})
	}
	for _, tt := range []struct {
		from, path string
		status     int
	}{{"127.0.0.9", "/", 200}, {"127.0.0.8", "/", 403}, {"127.0.0.8", "/healthz", 200}} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", behind.server.URL+tt.path, nil)
		must(t, err)
		r.Host = "auth.clinic.example"
		a := behind.do(r, net.ParseIP(tt.from))
		if a.StatusCode != tt.status {
			t.Errorf("%s from %s: %d, want %d", tt.path, tt.from, a.StatusCode, tt.status)
		}
		if a.Header.Get("Strict-Transport-Security") == "" {
			t.Errorf("%s from %s: no Strict-Transport-Security behind the proxy", tt.path, tt.from)
		}
	}
}

func TestClientAddress(t *testing.T) {
	t.Parallel()
	show := func(d *desk) {
		d.mux.HandleFunc("GET /ip", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, edge.VisitOf(r.Context()).Client.Address())
		})
	}
	open := newDesk(t, setting{})
	behind := newDesk(t, setting{proxies: []string{"127.0.0.9/32", "10.0.0.0/8"}})
	show(open)
	show(behind)
	for _, tt := range []struct {
		name string
		d    *desk
		from string
		xff  []string
		want string
	}{
		{"no proxy declared, header ignored", open, "127.0.0.7", []string{"203.0.113.5"}, "127.0.0.7"},
		{"declared proxy", behind, "127.0.0.9", []string{"203.0.113.5"}, "203.0.113.5"},
		{"the client's own entry is further left", behind, "127.0.0.9", []string{"198.51.100.1, 203.0.113.5"}, "203.0.113.5"},
		{"two headers", behind, "127.0.0.9", []string{"198.51.100.1", "203.0.113.5"}, "203.0.113.5"},
		{"two declared proxies", behind, "127.0.0.9", []string{"203.0.113.5, 10.1.2.3"}, "203.0.113.5"},
		{"mapped", behind, "127.0.0.9", []string{"::ffff:203.0.113.5"}, "203.0.113.5"},
		{"undeclared peer", behind, "127.0.0.7", []string{"203.0.113.5"}, "127.0.0.7"},
		{"unreadable", behind, "127.0.0.9", []string{"203.0.113.5, nonsense"}, "127.0.0.9"},
		{"none", behind, "127.0.0.9", nil, "127.0.0.9"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", tt.d.server.URL+"/ip", nil)
		must(t, err)
		r.Host = "localhost:8080"
		r.Header["X-Forwarded-For"] = tt.xff
		if got := tt.d.do(r, net.ParseIP(tt.from)).text; got != tt.want {
			t.Errorf("%s: the client is %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestCrossSite(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{apps: []session.App{{Origin: "https://chart.clinic.example"}}})
	d.mux.HandleFunc("/api/v1/session/lock", func(http.ResponseWriter, *http.Request) {})
	d.mux.HandleFunc("/api/v1/pages/lock", func(http.ResponseWriter, *http.Request) {})
	for _, tt := range []struct {
		name, method, path, site, origin string
		status                           int
		cors                             bool
	}{
		{"no browser", "POST", "/api/v1/session/lock", "", "", 200, false},
		{"own page", "POST", "/api/v1/session/lock", "same-origin", "http://localhost:8080", 200, true},
		{"typed address", "POST", "/api/v1/session/lock", "none", "", 200, false},
		{"application", "POST", "/api/v1/session/lock", "cross-site", "https://chart.clinic.example", 200, true},
		{"application, pages' forms", "POST", "/api/v1/pages/lock", "cross-site", "https://chart.clinic.example", 200, false},
		{"other site", "POST", "/api/v1/session/lock", "cross-site", "https://evil.example", 403, false},
		{"sibling", "POST", "/api/v1/session/lock", "same-site", "https://other.clinic.example", 403, false},
		{"other site, pages' forms", "POST", "/api/v1/pages/lock", "cross-site", "https://evil.example", 403, false},
		{"old browser, other site", "POST", "/api/v1/session/lock", "", "https://evil.example", 403, false},
		{"old browser, own page", "POST", "/api/v1/session/lock", "", "http://localhost:8080", 200, true},
		{"opaque origin", "DELETE", "/api/v1/session/lock", "cross-site", "null", 403, false},
		{"reading is safe", "GET", "/api/v1/session/lock", "cross-site", "https://evil.example", 200, false},
	} {
		headers := map[string]string{}
		if tt.site != "" {
			headers["Sec-Fetch-Site"] = tt.site
		}
		if tt.origin != "" {
			headers["Origin"] = tt.origin
		}
		a := d.ask(tt.method, tt.path, "localhost:8080", headers, nil)
		if a.StatusCode != tt.status {
			t.Errorf("%s: %d, want %d", tt.name, a.StatusCode, tt.status)
		}
		if tt.status == 403 && a.problem(t)["code"] != "cross_site" {
			t.Errorf("%s: %s", tt.name, a.text)
		}
		want := ""
		if tt.cors {
			want = tt.origin
		}
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%s: Access-Control-Allow-Origin is %q, want %q", tt.name, got, want)
		}
	}
	before := map[string]string{"Origin": "https://chart.clinic.example", "Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site"}
	if a := d.ask("OPTIONS", "/api/v1/session/lock", "localhost:8080", before, nil); a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("an application's preflight: %d %v", a.StatusCode, a.Header)
	}
	before["Origin"] = "https://evil.example"
	if a := d.ask("OPTIONS", "/api/v1/session/lock", "localhost:8080", before, nil); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another site's preflight: %d %v", a.StatusCode, a.Header)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{})
	throttled := identity.Refuse(identity.Throttled, "throttled", "Wait.")
	throttled.RetryAfter = 1200 * time.Millisecond
	away := identity.Refuse(identity.Unavailable, "away", "Wait.")
	stepUp := identity.Refuse(identity.StepUpNeeded, "insufficient_user_authentication", "Confirm.")
	stepUp.Action, stepUp.MaxAge = "export", 5*time.Minute
	clash := identity.Refuse(identity.Conflict, "open_already", "There is one.")
	clash.Extra = map[string]any{"id": "grt_1", "status": "never this"}
	for i, tt := range []struct {
		err    error
		status int
		code   string
		header map[string]string
	}{
		{identity.Refuse(identity.Malformed, "malformed", "x"), 400, "malformed", nil},
		{identity.RefuseField("pin", "pin_format", "x"), 422, "invalid", nil},
		{identity.Refuse(identity.Unauthenticated, "signed_out", "x"), 401, "signed_out", map[string]string{"WWW-Authenticate": "Bearer"}},
		{stepUp, 401, "insufficient_user_authentication", map[string]string{
			"WWW-Authenticate": `Bearer error="insufficient_user_authentication", max_age="300", action="export"`}},
		{identity.Refuse(identity.Forbidden, "forbidden", "x"), 403, "forbidden", nil},
		{identity.Refuse(identity.Unknown, "unknown_user", "x"), 404, "unknown_user", nil},
		{clash, 409, "open_already", nil},
		{identity.Refuse(identity.Gone, "claim_over", "x"), 410, "claim_over", nil},
		{identity.Refuse(identity.Stale, "stale", "x"), 412, "stale", nil},
		{identity.Refuse(identity.NoPrecondition, "if_match_missing", "x"), 428, "if_match_missing", nil},
		{identity.Refuse(identity.Locked, "session_locked", "x"), 423, "session_locked", nil},
		{throttled, 429, "throttled", map[string]string{"Retry-After": "2"}},
		{away, 503, "away", map[string]string{"Retry-After": "1"}},
		{session.ErrSignedOut, 401, "signed_out", nil},
		{fmt.Errorf("asked: %w", session.ErrLocked), 423, "session_locked", nil},
		{fmt.Errorf("read: %w", store.ErrUnavailable), 503, "unavailable", map[string]string{"Retry-After": "5"}},
		{errors.New("the hidden reason"), 500, "internal", nil},
	} {
		path := fmt.Sprintf("/try/%d", i)
		d.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { edge.WriteProblem(w, r, tt.err) })
		a := d.get(path)
		p := a.problem(t)
		if a.StatusCode != tt.status || p["code"] != tt.code || p["status"] != float64(tt.status) {
			t.Errorf("%v: %d %s, want %d %s", tt.err, a.StatusCode, a.text, tt.status, tt.code)
		}
		for _, name := range []string{"type", "title", "detail", "instance", "trace_id", "request_id"} {
			if s, _ := p[name].(string); s == "" {
				t.Errorf("%v: %s is missing", tt.err, name)
			}
		}
		for name, want := range tt.header {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%v: %s is %q, want %q", tt.err, name, got, want)
			}
		}
		if strings.Contains(a.text, "hidden") {
			t.Error("a fault's reason went out")
		}
	}
	if got := d.get("/try/1").problem(t)["errors"].([]any)[0].(map[string]any); got["field"] != "pin" || got["code"] != "pin_format" || got["detail"] != "x" {
		t.Errorf("the field is %v", got)
	}
	if got := d.get("/try/3").problem(t); got["action"] != "export" {
		t.Errorf("the action is %v", got["action"])
	}
	if got := d.get("/try/6").problem(t); got["id"] != "grt_1" {
		t.Errorf("the extra member is %v", got["id"])
	}
	contains(t, d.log.String(), "the hidden reason")
}

func TestPanicIsAFault(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{})
	d.mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("what only the log may know") })
	a := d.get("/panic")
	if p := a.problem(t); a.StatusCode != 500 || p["code"] != "internal" || strings.Contains(a.text, "only the log") {
		t.Errorf("a panic answers %d %s", a.StatusCode, a.text)
	}
	contains(t, d.log.String(), "what only the log may know")
	if a := d.get("/nothing"); a.StatusCode != 404 {
		t.Errorf("afterwards the server answers %d", a.StatusCode)
	}
}

func TestLogHoldsRoutesAndNoSecrets(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{})
	d.mux.HandleFunc("POST /api/v1/claims/{token}", func(http.ResponseWriter, *http.Request) {})
	d.ask("POST", "/api/v1/claims/tokentokentoken?code=querysecret", "localhost:8080",
		map[string]string{"Cookie": "a=cookiesecret", "Authorization": "Bearer bearersecret", "Mitral-Step-Up": "stepupsecret", "User-Agent": "agentsecret"},
		strings.NewReader("bodysecret"))
	d.ask("GET", "/claims/tokentokentoken", "localhost:8080", nil, nil) // no route at all
	line := d.log.String()
	for _, want := range []string{`"route":"POST /api/v1/claims/{token}"`, `"status":200`, `"ip":"127.0.0.1"`, `"request_id":"req_`, `"route":"none"`} {
		contains(t, line, want)
	}
	for _, secret := range []string{"tokentokentoken", "secret"} {
		if strings.Contains(line, secret) {
			t.Errorf("the log holds %s: %s", secret, line)
		}
	}
}

func TestCookiesLeaveWithTheHeader(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{})
	set := func(r *http.Request) {
		edge.VisitOf(r.Context()).SetCookie(&http.Cookie{Name: "one", Value: "1", Path: "/"})
	}
	for path, handle := range map[string]http.HandlerFunc{
		"/silent": func(_ http.ResponseWriter, r *http.Request) { set(r) },
		"/write":  func(w http.ResponseWriter, r *http.Request) { set(r); fmt.Fprint(w, "x") },
		"/header": func(w http.ResponseWriter, r *http.Request) { set(r); w.WriteHeader(201); w.WriteHeader(202) },
		"/flush":  func(w http.ResponseWriter, r *http.Request) { set(r); must(t, http.NewResponseController(w).Flush()) },
		"/no":     func(w http.ResponseWriter, r *http.Request) { set(r); edge.WriteProblem(w, r, session.ErrLocked) },
	} {
		d.mux.HandleFunc("GET "+path, handle)
		if got := d.get(path).Header.Values("Set-Cookie"); len(got) != 1 || got[0] != "one=1; Path=/" {
			t.Errorf("%s: the cookies are %q", path, got)
		}
	}
	d.mux.HandleFunc("GET /none", func(http.ResponseWriter, *http.Request) {})
	if got := d.get("/none").Header.Values("Set-Cookie"); len(got) != 0 {
		t.Errorf("a request that has no visit sets %q", got)
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{})
	known := func(name string) bool { return name == "pin" || name == "list" || name == "inner" }
	d.mux.HandleFunc("POST /json", func(w http.ResponseWriter, r *http.Request) {
		body, err := edge.ReadJSON(w, r, known)
		if err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		_, _ = w.Write(body)
	})
	const kind = "application/json"
	deep := func(n int) string { return `{"pin":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for _, tt := range []struct {
		name, kind, body string
		status           int
		field, code      string
	}{
		{"an object", kind, `{"pin":"1234","list":[1,2,{"inner":null}]}`, 200, "", ""},
		{"with charset", kind + "; charset=UTF-8", `{}`, 200, "", ""},
		{"nothing at all", "", "", 200, "", ""},
		{"nothing of the right kind", kind, "", 200, "", ""},
		{"as deep as may be", kind, deep(31), 200, "", ""},
		{"as long as may be", kind, `"` + strings.Repeat("a", edge.MaxBody-2) + `"`, 200, "", ""},
		{"no kind", "", `{}`, 415, "", "media_type"},
		{"a form", "application/x-www-form-urlencoded", `pin=1`, 415, "", "media_type"},
		{"plain text", "text/plain", `{}`, 415, "", "media_type"},
		{"another charset", kind + "; charset=latin1", `{}`, 415, "", "media_type"},
		{"no JSON", kind, `{"pin":`, 400, "body", "not_json"},
		{"single quotes", kind, `{'pin':1}`, 400, "body", "not_json"},
		{"two values", kind, `{} {}`, 400, "body", "trailing"},
		{"no UTF-8", kind, "{\"pin\":\"\xff\"}", 400, "body", "invalid_utf8"},
		{"NUL", kind, `{"pin":"\u0000"}`, 400, "pin", "not_text"},
		{"a name twice", kind, `{"pin":"1","pin":"2"}`, 400, "pin", "duplicate"},
		{"a name twice in other letters", kind, `{"pin":"1","PIN":"2"}`, 400, "body", "duplicate"},
		{"a name twice within", kind, `{"list":[{"inner":1,"inner":2}]}`, 400, "list[0].inner", "duplicate"},
		{"an unknown name twice", kind, `{"secretname":1,"secretname":2}`, 400, "body", "duplicate"},
		{"too deep", kind, deep(32), 400, "pin", "too_deep"},
		{"much too deep", kind, deep(20_000), 400, "pin", "too_deep"},
		{"too long", kind, `"` + strings.Repeat("a", edge.MaxBody-1) + `"`, 413, "body", "too_large"},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(tt.body)
			if chunked {
				body = struct{ io.Reader }{body}
			}
			headers := map[string]string{}
			if tt.kind != "" {
				headers["Content-Type"] = tt.kind
			}
			a := d.ask("POST", "/json", "localhost:8080", headers, body)
			if a.StatusCode != tt.status {
				t.Errorf("%s (chunked %v): %d %s, want %d", tt.name, chunked, a.StatusCode, a.text, tt.status)
				continue
			}
			if tt.status == 200 {
				continue
			}
			p := a.problem(t)
			if strings.Contains(a.text, "secretname") || strings.Contains(a.text, "1234") {
				t.Errorf("%s: the answer repeats what was sent: %s", tt.name, a.text)
			}
			if tt.field == "" {
				if p["code"] != tt.code {
					t.Errorf("%s: %s", tt.name, a.text)
				}
				continue
			}
			fields, _ := p["errors"].([]any)
			if len(fields) != 1 || fields[0].(map[string]any)["field"] != tt.field || fields[0].(map[string]any)["code"] != tt.code {
				t.Errorf("%s: the fields are %v, want %s %s", tt.name, p["errors"], tt.field, tt.code)
			}
		}
	}
	for _, path := range []string{"/json?q=%00", "/json?q=%ff", "/json/%00"} {
		if a := d.ask("POST", path, "localhost:8080", nil, nil); a.StatusCode != 400 {
			t.Errorf("%s: %d, want 400", path, a.StatusCode)
		}
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{})
	d.mux.HandleFunc("POST /form", func(w http.ResponseWriter, r *http.Request) {
		form, err := edge.ReadForm(w, r)
		if err != nil {
			edge.WriteProblem(w, r, err)
			return
		}
		fmt.Fprint(w, form.Get("reason"))
	})
	const kind = "application/x-www-form-urlencoded"
	for _, tt := range []struct {
		kind, body string
		status     int
		text       string
	}{
		{kind, "reason=two+words&x=%C3%A9", 200, "two words"},
		{"application/json", "{}", 415, ""},
		{kind, "reason=%ff", 400, ""},
		{kind, "reason=%00", 400, ""},
		{kind, "reason=%zz", 400, ""},
		{kind, "reason=" + strings.Repeat("a", edge.MaxBody), 413, ""},
	} {
		a := d.ask("POST", "/form", "localhost:8080", map[string]string{"Content-Type": tt.kind}, strings.NewReader(tt.body))
		if a.StatusCode != tt.status || tt.text != "" && a.text != tt.text {
			t.Errorf("%.40s: %d %.80s, want %d", tt.body, a.StatusCode, a.text, tt.status)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, setting{proxies: []string{"127.0.0.9/32"}})
	for _, tt := range []struct {
		from string
		kept bool
	}{{"127.0.0.9", true}, {"127.0.0.7", false}} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", d.server.URL+"/nowhere", nil)
		must(t, err)
		r.Host = "evil.example"
		r.Header.Set("X-Request-Id", "proxy-0123456789")
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		a := d.do(r, net.ParseIP(tt.from))
		p := a.problem(t)
		if kept := p["request_id"] == "proxy-0123456789" && p["trace_id"] == "0af7651916cd43dd8448eb211c80319c"; kept != tt.kept {
			t.Errorf("from %s: the ids are %v and %v", tt.from, p["request_id"], p["trace_id"])
		}
		if a.Header.Get("X-Request-Id") != p["request_id"] {
			t.Error("header and document name two requests")
		}
	}
}
