package chart

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// mitral is the server side's way to Mitral. It forwards the browser's cookies
// and hands cookies that Mitral sets back to the browser.
type mitral struct {
	url    string
	host   string // the public one: Mitral refuses names that are not its own
	client *http.Client
}

func newMitral(cfg Config) mitral {
	m := mitral{url: strings.TrimSuffix(cfg.MitralURL, "/"), client: new(http.Client)}
	*m.client = *cfg.Client
	m.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if u, err := url.Parse(cfg.PublicURL); err == nil {
		m.host = u.Host
	}
	return m
}

type session struct {
	User struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"user"`
	Mitral struct {
		State      string   `json:"state"`
		Roles      []string `json:"roles"`
		BreakGlass *grant   `json:"break_glass"`
	} `json:"mitral"`
}

type grant struct {
	ID        string    `json:"id"`
	Ref       string    `json:"ref"`
	RemainsS  int       `json:"remaining_s"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Role is the person's role in words.
func (s *session) Role() string {
	return strings.ReplaceAll(strings.Join(s.Mitral.Roles, ", "), "_", " ")
}

func (s *session) is(role string) bool { return slices.Contains(s.Mitral.Roles, role) }

// What a decision can be.
const (
	permit         = "permit"
	deny           = "deny"
	breakGlass     = "break_glass_possible"
	reauthenticate = "reauthenticate"
	signedOut      = "signed_out"
	locked         = "locked"
)

type decision struct {
	Kind      string `json:"decision"`
	Code      string `json:"code"`
	Challenge string `json:"-"` // WWW-Authenticate, for reauthenticate
}

// session answers who is there; nil means signed out. An error means that Mitral
// could not tell, which is never the same as signed out.
func (m mitral) session(w http.ResponseWriter, r *http.Request) (*session, error) {
	var s *session
	res, err := m.call(w, r, http.MethodGet, "/api/v1/auth/session", nil, &s)
	switch {
	case err != nil:
		return nil, err
	case res.Status != http.StatusOK:
		return nil, fmt.Errorf("couldn't read the session: status %d", res.Status)
	case s == nil || s.User.ID == "": // null, or {} in the older dialect
		return nil, nil
	}
	return s, nil
}

// check asks whether the person may do action now. token and tx may be empty.
func (m mitral) check(w http.ResponseWriter, r *http.Request, action, token, tx string) (decision, error) {
	body := struct {
		Action string `json:"action"`
		Token  string `json:"step_up_token,omitempty"`
		Tx     string `json:"tx_hash,omitempty"`
	}{action, token, tx}
	var d decision
	res, err := m.call(w, r, http.MethodPost, "/api/v1/authz/check", body, &d)
	if err != nil {
		return decision{}, err
	}
	challenge := res.Header.Get("WWW-Authenticate")
	switch {
	case res.Status == http.StatusOK && slices.Contains([]string{permit, deny, breakGlass}, d.Kind):
		return d, nil
	case res.Status == http.StatusUnauthorized && strings.Contains(challenge, "insufficient_user_authentication"):
		return decision{Kind: reauthenticate, Challenge: challenge}, nil
	case res.Status == http.StatusUnauthorized:
		return decision{Kind: signedOut}, nil
	case res.Status == http.StatusLocked:
		return decision{Kind: locked}, nil
	}
	return decision{}, fmt.Errorf("couldn't check %s: status %d", action, res.Status)
}

// answer is what Mitral said, beside the JSON.
type answer struct {
	Status int
	Header http.Header
}

// call sends one request on the browser's behalf and decodes its JSON into out.
func (m mitral) call(w http.ResponseWriter, r *http.Request, method, path string, body, out any) (answer, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return answer{}, fmt.Errorf("couldn't encode the call to Mitral: %w", err)
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(r.Context(), method, m.url+path, payload)
	if err != nil {
		return answer{}, fmt.Errorf("couldn't make the call to Mitral: %w", err)
	}
	if m.host != "" {
		req.Host = m.host
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	for _, name := range []string{"Cookie", "User-Agent"} {
		if v := r.Header.Values(name); len(v) > 0 {
			req.Header[name] = v
		}
	}
	res, err := m.client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("couldn't reach Mitral: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	for _, cookie := range res.Header.Values("Set-Cookie") {
		w.Header().Add("Set-Cookie", cookie)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return answer{}, fmt.Errorf("couldn't read Mitral's answer: %w", err)
	}
	if out != nil && res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, out); err != nil {
			return answer{}, fmt.Errorf("couldn't read Mitral's answer: %w", err)
		}
	}
	return answer{res.StatusCode, res.Header}, nil
}
