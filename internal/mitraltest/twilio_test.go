package mitraltest_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// sms sends one message and returns the status, and what the answer says.
func sms(ctx context.Context, g *mitraltest.TwilioServer, token string) (int, map[string]any, error) {
	form := url.Values{"From": {g.From}, "To": {"+4915123456789"}, "Body": {"Emergency access BG-1"}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+"/2010-04-01/Accounts/"+g.AccountSID+"/Messages.json", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(g.AccountSID, token)
	return answer(r)
}

func answer(r *http.Request) (int, map[string]any, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var said map[string]any
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil {
		return 0, nil, err
	}
	if after := response.Header.Get("Retry-After"); after != "" {
		said["retry_after"] = after
	}
	return response.StatusCode, said, nil
}

func TestTwilioTakesAndTells(t *testing.T) {
	t.Parallel()
	g := mitraltest.Twilio(t)
	status, said, err := sms(t.Context(), g, g.AuthToken)
	if err != nil || status != http.StatusCreated || said["status"] != "queued" {
		t.Fatalf("%d %v %v", status, said, err)
	}
	got := g.WaitSMS("+4915123456789", "BG-1")
	if got.SID != said["sid"] || got.From != g.From {
		t.Errorf("kept %+v, answered %v", got, said)
	}

	g.SetStatus(got.SID, "undelivered")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/2010-04-01/Accounts/"+g.AccountSID+"/Messages/"+got.SID+".json", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(g.AccountSID, g.AuthToken)
	if status, said, err = answer(r); err != nil || status != http.StatusOK || said["status"] != "undelivered" || said["error_code"] == nil {
		t.Errorf("the state of an undelivered message: %d %v %v", status, said, err)
	}

	if status, said, err = sms(t.Context(), g, "another token"); err != nil || status != http.StatusUnauthorized {
		t.Errorf("with a wrong token: %d %v %v", status, said, err)
	}
	if n := len(g.Messages()); n != 1 {
		t.Errorf("kept %d messages, want 1", n)
	}
}

func TestTwilioBehaves(t *testing.T) {
	t.Parallel()
	g := mitraltest.Twilio(t)
	g.Behave(mitraltest.Refuse, mitraltest.TryLater, mitraltest.Throttle, mitraltest.Lie, mitraltest.Accept)
	for i, want := range []int{http.StatusBadRequest, http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusCreated, http.StatusCreated} {
		status, said, err := sms(t.Context(), g, g.AuthToken)
		if err != nil || status != want {
			t.Errorf("answer %d: %d %v %v, want %d", i, status, said, err, want)
		}
		if status == http.StatusTooManyRequests && said["retry_after"] != "2" {
			t.Errorf("a throttled answer says to wait %v", said["retry_after"])
		}
	}
	if n := len(g.Messages()); n != 1 {
		t.Errorf("kept %d messages, want the one that was accepted", n)
	}

	g.Behave(mitraltest.LoseAnswer)
	if _, _, err := sms(t.Context(), g, g.AuthToken); err == nil || len(g.Messages()) != 2 {
		t.Errorf("a lost answer: %v, %d messages", err, len(g.Messages()))
	}
	g.Behave(mitraltest.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := sms(ctx, g, g.AuthToken); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a gateway that hangs answers %v", err)
	}
	if got := g.Attempts(); got != 7 {
		t.Errorf("counted %d attempts, want 7", got)
	}
}
