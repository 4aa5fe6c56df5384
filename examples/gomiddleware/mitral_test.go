package gomiddleware_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/examples/gomiddleware"
)

const public = "https://chart.clinic.example"

// fake stands in for Mitral: the session cookie says how it answers.
func fake(t *testing.T) *gomiddleware.Mitral {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "chart.clinic.example" {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		state := ""
		if c, err := r.Cookie("__Secure-authjs.session-token"); err == nil {
			state = c.Value
		}
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		switch {
		case state == "away":
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/api/v1/auth/session" && state == "":
			_, _ = io.WriteString(w, "null")
		case r.URL.Path == "/api/v1/auth/session" && state == "v4":
			_, _ = io.WriteString(w, "{}")
		case r.URL.Path == "/api/v1/auth/session":
			_, _ = io.WriteString(w, `{"user":{"id":"usr_1","name":"Nadia Rahman"},"mitral":{"state":"`+state+`","workspace_id":"wks_1","roles":["nurse"],"break_glass":{"id":"grt_1"}}}`)
		case r.URL.Path == "/api/v1/authz/check" && r.Method == http.MethodPost:
			check(t, w, r, state)
		default:
			t.Errorf("the middleware called %s %s", r.Method, r.URL.Path)
		}
	}))
	t.Cleanup(s.Close)
	return &gomiddleware.Mitral{URL: s.URL, PublicURL: public}
}

func check(t *testing.T, w http.ResponseWriter, r *http.Request, state string) {
	var asked map[string]string
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		t.Error(err)
	}
	switch {
	case state == "locked":
		w.WriteHeader(http.StatusLocked)
	case state == "":
		w.WriteHeader(http.StatusUnauthorized)
	case asked["action"] == "payment":
		_, _ = io.WriteString(w, `{"decision":"deny","code":"role"}`)
	case asked["action"] == "export" && (asked["step_up_token"] != "token" || asked["tx_hash"] != "hash"):
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", max_age="0", action="export"`)
		w.WriteHeader(http.StatusUnauthorized)
	default:
		_, _ = io.WriteString(w, `{"decision":"permit"}`)
	}
}

// ask sends a request with the given cookie through a middleware.
func ask(h http.Handler, method, cookie string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, public+"/patients/7?tab=notes", nil)
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: "__Secure-authjs.session-token", Value: cookie})
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestSession(t *testing.T) {
	t.Parallel()
	h := fake(t).Session(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := gomiddleware.PersonOf(r.Context())
		_, _ = io.WriteString(w, strings.Join([]string{p.ID, p.Name, p.Role, p.Workspace, p.BreakGlass}, " "))
	}))
	in := ask(h, "GET", "active")
	if in.Code != http.StatusOK || in.Body.String() != "usr_1 Nadia Rahman nurse wks_1 grt_1" || len(in.Header().Values("Set-Cookie")) != 2 {
		t.Errorf("signed in: %d %s %v", in.Code, in.Body, in.Header())
	}
	const resume = "/api/v1/session/resume?callbackUrl=https%3A%2F%2Fchart.clinic.example%2Fpatients%2F7%3Ftab%3Dnotes"
	for _, tt := range []struct {
		method, cookie, mode string
		status               int
		location             string
	}{
		{"GET", "", "navigate", 303, resume}, {"GET", "v4", "navigate", 303, resume}, {"GET", "locked", "navigate", 303, resume},
		{"GET", "", "cors", 401, ""}, {"POST", "", "navigate", 401, ""}, {"GET", "v4", "", 401, ""}, {"GET", "locked", "cors", 423, ""},
		{"GET", "away", "navigate", 503, ""},
	} {
		out := ask(h, tt.method, tt.cookie, "Sec-Fetch-Mode", tt.mode)
		if out.Code != tt.status || out.Header().Get("Location") != tt.location || strings.Contains(out.Body.String(), "usr_1") {
			t.Errorf("%+v: %d to %q: %s", tt, out.Code, out.Header().Get("Location"), out.Body)
		}
	}
	if out := ask((&gomiddleware.Mitral{URL: "http://127.0.0.1:1", PublicURL: public}).Session(h), "GET", "active"); out.Code != 503 || out.Header().Get("Retry-After") == "" {
		t.Errorf("without Mitral: %d", out.Code)
	}
}

func TestAction(t *testing.T) {
	t.Parallel()
	m := fake(t)
	done := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") })
	about := func(*http.Request) (string, string) { return "hash", "2 patients" }
	for _, tt := range []struct {
		action, cookie, token string
		status                int
		says                  string
		challenged            bool
	}{
		{"chart_read", "active", "", 200, "done", false}, {"export", "active", "token", 200, "done", false},
		{"export", "active", "", 401, `"summary":"2 patients","tx_hash":"hash"`, true}, {"export", "active", "other", 401, `"action":"export"`, true},
		{"payment", "active", "", 403, `"code":"role"`, false}, {"export", "locked", "token", 423, "session_locked", false},
		{"export", "", "token", 401, "signed_out", false}, {"export", "away", "token", 503, "unavailable", false},
	} {
		out := ask(m.Action(tt.action, about)(done), "POST", tt.cookie, "Mitral-Step-Up", tt.token)
		if out.Code != tt.status || !strings.Contains(out.Body.String(), tt.says) || (out.Code == 200) != strings.Contains(out.Body.String(), "done") {
			t.Errorf("%+v: %d %s", tt, out.Code, out.Body)
		}
		if challenge := out.Header().Get("WWW-Authenticate"); (challenge != "") != tt.challenged {
			t.Errorf("%+v: WWW-Authenticate %q", tt, challenge)
		}
	}
	// A confirmation of something else does not do.
	changed := func(*http.Request) (string, string) { return "another", "3 patients" }
	if out := ask(m.Action("export", changed)(done), "POST", "active", "Mitral-Step-Up", "token"); out.Code != 401 {
		t.Errorf("another export: %d %s", out.Code, out.Body)
	}
}
