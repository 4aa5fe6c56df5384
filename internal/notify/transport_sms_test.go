package notify_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
)

const (
	token  = "tok3n-of-the-account"
	number = "+12025550123"
)

func newTwilio(t *testing.T, account string, handler http.HandlerFunc) *notify.Twilio {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	provider, err := notify.NewTwilio(notify.TwilioConfig{
		AccountSID: account, AuthToken: token, From: "+12025550100", BaseURL: server.URL + "/",
	})
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

func accepts(sid string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"sid":"`+sid+`","status":"queued"}`)
	}
}

// echoes refuses and repeats what must not be kept, as providers do.
func echoes(status int, header http.Header) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		_ = r.ParseForm()
		_, password, _ := r.BasicAuth()
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"code":21211,"message":"`+r.Form.Get("To")+` `+r.Form.Get("Body")+` `+password+`"}`)
	}
}

func TestTwilioRequest(t *testing.T) {
	var path, user, password, kind string
	var form url.Values
	provider := newTwilio(t, "AC1", func(w http.ResponseWriter, r *http.Request) {
		path, kind = r.Method+" "+r.URL.Path, r.Header.Get("Content-Type")
		user, password, _ = r.BasicAuth()
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		form = r.PostForm
		accepts("SM1")(w, r)
	})
	receipt, err := provider.SendSMS(t.Context(), notify.SMS{To: number, Text: "Ref BG-0042 & more"})
	if err != nil || receipt != "AC1/SM1" {
		t.Fatalf("receipt %q, %v", receipt, err)
	}
	if path != "POST /2010-04-01/Accounts/AC1/Messages.json" || kind != "application/x-www-form-urlencoded" {
		t.Errorf("request is %s (%s)", path, kind)
	}
	if user != "AC1" || password != token {
		t.Errorf("signed in as %q", user)
	}
	want := url.Values{"From": {"+12025550100"}, "To": {number}, "Body": {"Ref BG-0042 & more"}}
	if form.Encode() != want.Encode() {
		t.Errorf("form is %v", form)
	}
}

func TestTwilioRefusals(t *testing.T) {
	tests := map[string]struct {
		handler    http.HandlerFunc
		permanent  bool
		retryAfter time.Duration
		reason     string
	}{
		"bad number":       {echoes(400, nil), true, 0, "the SMS provider refused the message (HTTP 400, error 21211)"},
		"wrong token":      {echoes(401, nil), false, 0, "the SMS provider refused our account or token (HTTP 401, error 21211)"},
		"forbidden":        {echoes(403, nil), true, 0, "the SMS provider refused the message (HTTP 403, error 21211)"},
		"throttled":        {echoes(429, http.Header{"Retry-After": {"7"}}), false, 7 * time.Second, "the SMS provider asks us to wait (HTTP 429, error 21211)"},
		"throttled a year": {echoes(429, http.Header{"Retry-After": {"31536000"}}), false, time.Hour, "the SMS provider asks us to wait (HTTP 429, error 21211)"},
		"throttled, never": {echoes(429, http.Header{"Retry-After": {"never"}}), false, 0, "the SMS provider asks us to wait (HTTP 429, error 21211)"},
		"broken":           {echoes(500, nil), false, 0, "the SMS provider is out of order (HTTP 500, error 21211)"},
		"maintenance":      {echoes(503, http.Header{"Retry-After": {"30"}}), false, 30 * time.Second, "the SMS provider is out of order (HTTP 503, error 21211)"},
		"redirect":         {echoes(307, http.Header{"Location": {"http://127.0.0.1:1/"}}), false, 0, "the SMS provider is out of order (HTTP 307, error 21211)"},
		"not JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, false, 0,
			"the SMS provider's answer could not be understood"},
		"no sid": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, false, 0,
			"the SMS provider's answer could not be understood"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"sid":"`+strings.Repeat("S", 1<<20)+`"}`)
		}, false, 0, "the SMS provider's answer could not be understood"},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, 0,
			"the SMS provider could not be reached"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := newTwilio(t, "AC1", tt.handler).SendSMS(t.Context(), notify.SMS{To: number, Text: "Ref BG-0042"})
			e := deliveryError(t, err)
			if e.Permanent != tt.permanent || e.RetryAfter != tt.retryAfter || e.Reason != tt.reason {
				t.Errorf("got %q, permanent %v, after %v; want %q, %v, %v",
					e.Reason, e.Permanent, e.RetryAfter, tt.reason, tt.permanent, tt.retryAfter)
			}
		})
	}
}

func TestTwilioThatHangs(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{})
	provider := newTwilio(t, "AC1", func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := provider.SendSMS(ctx, notify.SMS{To: number, Text: "x"})
	if e := deliveryError(t, err); e.Permanent || e.Reason != "we stopped before the SMS provider had answered" {
		t.Errorf("got %q, permanent %v", e.Reason, e.Permanent)
	}
}

func TestTwilioStatus(t *testing.T) {
	for status, want := range map[string]notify.SMSState{
		"queued": notify.SMSPending, "sending": notify.SMSPending, "sent": notify.SMSPending, "new word": notify.SMSPending,
		"delivered": notify.SMSDelivered, "read": notify.SMSDelivered,
		"undelivered": notify.SMSFailed, "failed": notify.SMSFailed, "canceled": notify.SMSFailed,
	} {
		var path string
		provider := newTwilio(t, "AC1", func(w http.ResponseWriter, r *http.Request) {
			path = r.Method + " " + r.URL.EscapedPath()
			_, _ = io.WriteString(w, `{"sid":"SM1","status":"`+status+`"}`)
		})
		got, err := provider.StatusSMS(t.Context(), "AC1/SM1/../x")
		if err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", status, got, err, want)
		}
		if path != "GET /2010-04-01/Accounts/AC1/Messages/SM1%2F..%2Fx.json" {
			t.Errorf("asked %s", path)
		}
	}
}

func TestSMSFailover(t *testing.T) {
	text := notify.SMS{To: number, Text: "x"}
	var firstAsked int
	count := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { firstAsked++; h(w, r) }
	}

	t.Run("the first takes it", func(t *testing.T) {
		p := notify.SMSProviders{newTwilio(t, "AC1", accepts("SM1")), newTwilio(t, "AC2", accepts("SM2"))}
		if receipt, err := p.SendSMS(t.Context(), text); err != nil || receipt != "AC1/SM1" {
			t.Errorf("receipt %q, %v", receipt, err)
		}
	})
	t.Run("the second takes what the first will not", func(t *testing.T) {
		for _, status := range []int{400, 401, 429, 500} {
			p := notify.SMSProviders{newTwilio(t, "AC1", count(echoes(status, nil))), newTwilio(t, "AC2", accepts("SM2"))}
			if receipt, err := p.SendSMS(t.Context(), text); err != nil || receipt != "AC2/SM2" {
				t.Errorf("%d: receipt %q, %v", status, receipt, err)
			}
		}
		if firstAsked != 4 {
			t.Errorf("the first was asked %d times", firstAsked)
		}
	})
	t.Run("neither takes it", func(t *testing.T) {
		later := http.Header{"Retry-After": {"9"}}
		for name, tt := range map[string]struct {
			first, second http.HandlerFunc
			permanent     bool
			retryAfter    time.Duration
		}{
			"both for good":     {echoes(400, nil), echoes(400, nil), true, 0},
			"one for now":       {echoes(400, nil), echoes(503, later), false, 9 * time.Second},
			"both, each a wait": {echoes(429, http.Header{"Retry-After": {"60"}}), echoes(429, later), false, 9 * time.Second},
		} {
			p := notify.SMSProviders{newTwilio(t, "AC1", tt.first), newTwilio(t, "AC2", tt.second)}
			_, err := p.SendSMS(t.Context(), text)
			if e := deliveryError(t, err); e.Permanent != tt.permanent || e.RetryAfter != tt.retryAfter {
				t.Errorf("%s: permanent %v after %v (%s)", name, e.Permanent, e.RetryAfter, e.Reason)
			}
		}
	})
	t.Run("the one that took it is asked", func(t *testing.T) {
		answer := func(status string) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"status":"`+status+`"}`) }
		}
		p := notify.SMSProviders{newTwilio(t, "AC1", answer("failed")), newTwilio(t, "AC2", answer("delivered"))}
		if got, err := p.StatusSMS(t.Context(), "AC2/SM2"); err != nil || got != notify.SMSDelivered {
			t.Errorf("got %s, %v", got, err)
		}
		if got, err := p.StatusSMS(t.Context(), "AC3/SM3"); err == nil || got != notify.SMSPending {
			t.Errorf("unknown account: %s, %v", got, err)
		}
	})
	t.Run("there is none", func(t *testing.T) {
		_, err := notify.SMSProviders(nil).SendSMS(t.Context(), text)
		if e := deliveryError(t, err); !e.Permanent {
			t.Errorf("got %v", e)
		}
	})
}

func TestTwilioSettings(t *testing.T) {
	good := notify.TwilioConfig{AccountSID: "AC1", AuthToken: token, From: "Mitral"}
	for name, tt := range map[string]struct {
		change func(*notify.TwilioConfig)
		want   string
	}{
		"control":            {func(*notify.TwilioConfig) {}, ""},
		"gateway nearby":     {func(c *notify.TwilioConfig) { c.BaseURL = "http://192.168.1.20:9090" }, ""},
		"no account":         {func(c *notify.TwilioConfig) { c.AccountSID = "" }, "it has no account SID"},
		"account is a path":  {func(c *notify.TwilioConfig) { c.AccountSID = "AC1/.." }, "it has an account SID that is not letters and digits"},
		"no token":           {func(c *notify.TwilioConfig) { c.AuthToken = "" }, "it has no auth token"},
		"no sender":          {func(c *notify.TwilioConfig) { c.From = "" }, "it has no sender"},
		"no URL":             {func(c *notify.TwilioConfig) { c.BaseURL = "gateway" }, "it has a base URL that is no plain URL"},
		"in clear, far away": {func(c *notify.TwilioConfig) { c.BaseURL = "http://sms.example" }, "it has a base URL off this machine that is not https"},
		"password in URL":    {func(c *notify.TwilioConfig) { c.BaseURL = "https://a:" + token + "@sms.example" }, "it has a base URL that is no plain URL"},
	} {
		c := good
		tt.change(&c)
		_, err := notify.NewTwilio(c)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestFitsGSM(t *testing.T) {
	for in, want := range map[string]string{
		"EMERGENCY ACCESS at Hope Clinic": "EMERGENCY ACCESS at Hope Clinic",
		"14:02–15:02 — “now”…":            `14:02-15:02 - "now"...`,
		"Müller, Ångström, Ñandú, Señor":  "Müller, Ångström, Ñandu, Señor",
		"Łukasz Đorđe Šimić Ştefan Œuvre": "Lukasz Dorde Simic Stefan OEuvre",
		"Mu\u0308ller":                    "Müller",
		"عيادة الأمل (Hope)":              "? ? (Hope)",
		"clinic\u00a0one\ttwo\u200b!":     "clinic one two!",
		"{a}[b]~|^\\€":                    "{a}[b]~|^\\€",
		"bad \xff byte":                   "bad ? byte",
		"ﬁx ² ½":                          "fix 2 1/2",
	} {
		if got := notify.GSM7(in); got != want {
			t.Errorf("GSM7(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFitSMS(t *testing.T) {
	const format = "EMERGENCY ACCESS at %s: %s, %s, 14:02-15:02. Ref BG-0042. Not expected? Sign in: https://auth.hope.example/g/42"
	short := notify.FitSMS(format, "Hope Clinic", "O. Haddad", "Room 2")
	if short != "EMERGENCY ACCESS at Hope Clinic: O. Haddad, Room 2, 14:02-15:02. Ref BG-0042. Not expected? Sign in: https://auth.hope.example/g/42" {
		t.Errorf("got %q", short)
	}
	for _, names := range [][]string{
		{strings.Repeat("Hope Clinic ", 30), "O. Haddad", "Exam Room 2"},
		{"The Hope Memorial Clinic of the Northern District", strings.Repeat("é", 300), strings.Repeat("{}", 90)},
		{"عيادة", "", "—"},
	} {
		got := notify.FitSMS(format, names...)
		if n := places(got); n > 160 {
			t.Errorf("%q takes %d places", got, n)
		}
		for _, kept := range []string{"EMERGENCY ACCESS at ", ", 14:02-15:02. Ref BG-0042. ", "https://auth.hope.example/g/42"} {
			if !strings.Contains(got, kept) {
				t.Errorf("%q lacks %q", got, kept)
			}
		}
	}
	if got := notify.FitSMS(strings.Repeat("{", 200)); places(got) > 160 || !strings.HasSuffix(got, "{...") {
		t.Errorf("without names: %q", got)
	}
	if got := notify.FitSMS("100 %s sure", "%s"); got != "100 %s sure" {
		t.Errorf("a name that looks like a place for a name: %q", got)
	}
}

// Whatever people and clinics are called, the reference arrives, and in a
// single message of the GSM alphabet.
func TestFitSMSKeepsTheReference(t *testing.T) {
	const alphabet = "@£$¥èéùìòÇ\nØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.String(), 2, 2).Draw(t, "names")
		got := notify.FitSMS("EMERGENCY ACCESS at %s: %s. Ref BG-0042.", names...)
		if places(got) > 160 || !strings.HasSuffix(got, ". Ref BG-0042.") || strings.Trim(got, alphabet) != "" {
			t.Fatalf("%q takes %d places", got, places(got))
		}
	})
}

// places counts as 3GPP TS 23.038 does, and apart from the code under test.
func places(s string) int {
	n := 0
	for _, r := range s {
		switch r {
		case '^', '{', '}', '\\', '[', '~', ']', '|', '€':
			n += 2
		default:
			n++
		}
	}
	return n
}

func TestParsePhone(t *testing.T) {
	for in, want := range map[string]string{
		"+12025550123":         "+12025550123",
		" +1 (202) 555-0123 ":  "+12025550123",
		"+44 20 7183 8750":     "+442071838750",
		"+49 1512 3456789":     "+4915123456789",
		"+92 300 1234567":      "+923001234567",
		"+15551234567":         "+15551234567", // a range not in use today
		"2025550123":           "",             // whose country?
		"0044 20 7183 8750":    "",
		"+1 202 555":           "",
		"+1555":                "",
		"+999 123 456 789":     "",
		"+1-800-FLOWERS":       "",
		"+12025550123 ext. 5":  "",
		"+12025550123;ext=5":   "",
		"+1202555012312345678": "",
		"+":                    "",
		"":                     "",
		"+1202555\n0123":       "",
		"tel:+12025550123":     "",
	} {
		got, err := notify.ParsePhone(in)
		if got != want || (want == "") != errors.Is(err, notify.ErrPhone) {
			t.Errorf("ParsePhone(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	c := notify.TwilioConfig{AccountSID: "AC1", AuthToken: identity.Secret(token), From: "Mitral"}
	s, err := notify.NewSMTP("smtps://mitral:"+token+"@mx.example", sender)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"config": c, "sender": s} {
		if got := sprint(v); strings.Contains(got, token) {
			t.Errorf("the %s prints its secret: %s", name, got)
		}
	}
}

func sprint(v any) string { return fmt.Sprintf("%v %+v %#v", v, v, v) }
