package gomiddleware

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Mitral is where the server is. URL and PublicURL are needed.
type Mitral struct {
	URL       string       // that this application calls
	PublicURL string       // origin that browsers use for application and Mitral
	Client    *http.Client // nil: one that gives up after five seconds
}

// Person is who is signed in.
type Person struct {
	ID         string
	Name       string
	Role       string
	Workspace  string
	BreakGlass string // id of the open emergency, or ""
}

type personKey struct{}

// PersonOf returns who the request is from; the zero value outside Session.
func PersonOf(ctx context.Context) Person {
	p, _ := ctx.Value(personKey{}).(Person)
	return p
}

// Session lets people with an open session through. A page load of somebody
// signed out or locked goes to Mitral and comes back; other requests are answered
// 401 or 423. Where Mitral cannot tell it is 503: that is not "signed out".
func (m *Mitral) Session(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var s *struct {
			User   struct{ ID, Name string }
			Mitral struct {
				State      string
				Workspace  string `json:"workspace_id"`
				Roles      []string
				BreakGlass *struct{ ID string } `json:"break_glass"`
			}
		}
		status, _, err := m.call(w, r, http.MethodGet, "/api/v1/auth/session", nil, &s)
		switch {
		case err != nil || status != http.StatusOK:
			unsure(w)
		case s == nil || s.User.ID == "": // null, or {} for v4 clients
			m.away(w, r, http.StatusUnauthorized, "signed_out")
		case s.Mitral.State != "active" || len(s.Mitral.Roles) != 1:
			m.away(w, r, http.StatusLocked, "session_locked")
		default:
			p := Person{ID: s.User.ID, Name: s.User.Name, Role: s.Mitral.Roles[0], Workspace: s.Mitral.Workspace}
			if s.Mitral.BreakGlass != nil {
				p.BreakGlass = s.Mitral.BreakGlass.ID
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), personKey{}, p)))
		}
	})
}

// About says what a request would do: a hash that binds a confirmation to exactly
// that (at most 128 printable characters), and words for the person.
type About func(*http.Request) (txHash, summary string)

// Action lets through who may do the action now. about may be nil. Its answer to
// somebody who has to confirm first is what fetchWithStepUp understands.
func (m *Mitral) Action(action string, about About) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var txHash, summary string
			if about != nil {
				txHash, summary = about(r)
			}
			asked := map[string]string{"action": action, "step_up_token": r.Header.Get("Mitral-Step-Up"), "tx_hash": txHash}
			var d struct{ Decision, Code string }
			status, challenge, err := m.call(w, r, http.MethodPost, "/api/v1/authz/check", asked, &d)
			switch {
			case err != nil:
				unsure(w)
			case status == http.StatusOK && d.Decision == "permit":
				next.ServeHTTP(w, r)
			case status == http.StatusOK:
				answer(w, http.StatusForbidden, map[string]string{"code": d.Code, "decision": d.Decision})
			case status == http.StatusUnauthorized && strings.Contains(challenge, "insufficient_user_authentication"):
				w.Header().Set("WWW-Authenticate", challenge)
				answer(w, http.StatusUnauthorized, map[string]string{"code": "insufficient_user_authentication",
					"action": action, "tx_hash": txHash, "summary": summary})
			case status == http.StatusUnauthorized:
				m.away(w, r, status, "signed_out")
			case status == http.StatusLocked:
				m.away(w, r, status, "session_locked")
			default:
				unsure(w)
			}
		})
	}
}

// call asks Mitral on the browser's behalf and hands on the cookies it sets.
func (m *Mitral) call(w http.ResponseWriter, r *http.Request, method, path string, body map[string]string, into any) (status int, challenge string, err error) {
	var payload io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, "", fmt.Errorf("couldn't write the question: %w", err)
		}
		payload = bytes.NewReader(text)
	}
	ask, err := http.NewRequestWithContext(r.Context(), method, m.URL+path, payload)
	if err != nil {
		return 0, "", fmt.Errorf("couldn't make the question: %w", err)
	}
	public, err := url.Parse(m.PublicURL)
	if err != nil {
		return 0, "", fmt.Errorf("couldn't read the public address: %w", err)
	}
	ask.Host = public.Host // Mitral answers to its own names only
	ask.Header.Set("Content-Type", "application/json")
	ask.Header["Cookie"], ask.Header["User-Agent"] = r.Header["Cookie"], r.Header["User-Agent"]
	client := m.Client
	if client == nil {
		client = &http.Client{Timeout: 5 * time.Second}
	}
	got, err := client.Do(ask)
	if err != nil {
		return 0, "", fmt.Errorf("couldn't reach Mitral: %w", err)
	}
	defer func() { _ = got.Body.Close() }()
	for _, cookie := range got.Header.Values("Set-Cookie") {
		w.Header().Add("Set-Cookie", cookie)
	}
	if got.StatusCode == http.StatusOK {
		if err := json.NewDecoder(io.LimitReader(got.Body, 1<<20)).Decode(into); err != nil {
			return 0, "", fmt.Errorf("couldn't read the answer: %w", err)
		}
	}
	return got.StatusCode, got.Header.Get("WWW-Authenticate"), nil
}

// away sends a page load to sign in or to unlock, and back; anything else is told.
func (m *Mitral) away(w http.ResponseWriter, r *http.Request, status int, code string) {
	if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		answer(w, status, map[string]string{"code": code})
		return
	}
	back := m.PublicURL + r.URL.RequestURI()
	http.Redirect(w, r, "/api/v1/session/resume?callbackUrl="+url.QueryEscape(back), http.StatusSeeOther)
}

func unsure(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "5")
	answer(w, http.StatusServiceUnavailable, map[string]string{"code": "unavailable"})
}

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
