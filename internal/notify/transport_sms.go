package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// TwilioURL is Twilio's own API. Gateways that are compatible with it have
// another.
const TwilioURL = "https://api.twilio.com"

const (
	maxAnswer     = 64 << 10
	maxRetryAfter = time.Hour
)

// TwilioConfig is one account at Twilio or at a compatible gateway.
type TwilioConfig struct {
	AccountSID string
	AuthToken  identity.Secret
	From       string // a number of the account, or a sender's name
	BaseURL    string // TwilioURL when empty
}

// Twilio sends text messages by Twilio's Messages API (version 2010-04-01). It
// is safe for concurrent use.
type Twilio struct {
	config   TwilioConfig
	messages string // the account's collection of messages
	client   *http.Client
}

// NewTwilio checks the account. Its token goes only over https, or to a gateway
// on this machine or at a private address. Errors finish a sentence that begins
// with "it" and hold no secret.
func NewTwilio(c TwilioConfig) (*Twilio, error) {
	if c.BaseURL == "" {
		c.BaseURL = TwilioURL
	}
	base, err := url.Parse(c.BaseURL)
	switch {
	case c.AccountSID == "":
		return nil, errors.New("it has no account SID")
	case strings.ContainsFunc(c.AccountSID, func(r rune) bool { return r <= ' ' || r == '/' || r >= 0x7f }):
		return nil, errors.New("it has an account SID that is not letters and digits")
	case c.AuthToken == "":
		return nil, errors.New("it has no auth token")
	case c.From == "":
		return nil, errors.New("it has no sender")
	case err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "":
		return nil, errors.New("it has a base URL that is no plain URL")
	case base.Scheme != "https" && !(base.Scheme == "http" && isNear(base.Hostname())):
		return nil, errors.New("it has a base URL off this machine that is not https")
	}
	return &Twilio{
		config:   c,
		messages: strings.TrimSuffix(c.BaseURL, "/") + "/2010-04-01/Accounts/" + url.PathEscape(c.AccountSID) + "/Messages",
		client: &http.Client{
			Timeout: sendTimeout,
			// A redirect would carry the account's token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

func isNear(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (ip.Unmap().IsLoopback() || ip.Unmap().IsPrivate())
}

// SendSMS hands one message to the provider. The receipt names the account and
// the provider's message.
func (t *Twilio) SendSMS(ctx context.Context, s SMS) (receipt string, err error) {
	form := url.Values{"From": {t.config.From}, "To": {s.To}, "Body": {s.Text}}
	answer, err := t.call(ctx, http.MethodPost, t.messages+".json", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	if answer.SID == "" {
		return "", temporary("the SMS provider's answer could not be understood")
	}
	return t.config.AccountSID + "/" + answer.SID, nil
}

// SMSState is what a provider knows of a message it took over.
type SMSState string

// The states of a message at its provider.
const (
	SMSPending   SMSState = "pending"   // on its way, or not known
	SMSDelivered SMSState = "delivered" // on the telephone
	SMSFailed    SMSState = "failed"    // given up by the provider
)

// StatusSMS asks what became of the message that a receipt of SendSMS names.
func (t *Twilio) StatusSMS(ctx context.Context, receipt string) (SMSState, error) {
	_, sid, _ := strings.Cut(receipt, "/")
	answer, err := t.call(ctx, http.MethodGet, t.messages+"/"+url.PathEscape(sid)+".json", nil)
	if err != nil {
		return SMSPending, err
	}
	switch answer.Status {
	case "delivered", "read":
		return SMSDelivered, nil
	case "failed", "undelivered", "canceled":
		return SMSFailed, nil
	}
	return SMSPending, nil
}

type twilioAnswer struct {
	SID    string `json:"sid"`
	Status string `json:"status"`
}

func (t *Twilio) call(ctx context.Context, method, address string, body io.Reader) (twilioAnswer, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return twilioAnswer{}, permanent("the SMS provider's address is not usable")
	}
	request.SetBasicAuth(t.config.AccountSID, t.config.AuthToken.Reveal())
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := t.client.Do(request)
	if err != nil {
		if e := outOfTime(ctx, err, "the SMS provider"); e != nil {
			return twilioAnswer{}, e
		}
		return twilioAnswer{}, temporary("the SMS provider could not be reached")
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return twilioAnswer{}, refusal(response, content)
	}
	if err != nil {
		return twilioAnswer{}, temporary("the connection to the SMS provider broke off")
	}
	var answer twilioAnswer
	if err := json.Unmarshal(content, &answer); err != nil {
		return twilioAnswer{}, temporary("the SMS provider's answer could not be understood")
	}
	return answer, nil
}

// refusal sorts an answer that is no success. Of the 4xx, a wrong token (401)
// and "later" (408, 425, 429) say nothing about the message.
func refusal(response *http.Response, content []byte) *DeliveryError {
	e := &DeliveryError{RetryAfter: retryAfter(response.Header.Get("Retry-After"))}
	code := "HTTP " + strconv.Itoa(response.StatusCode)
	var problem struct {
		Code int `json:"code"`
	}
	if json.Unmarshal(content, &problem) == nil && problem.Code != 0 {
		code += fmt.Sprintf(", error %d", problem.Code)
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized:
		e.Reason = "the SMS provider refused our account or token (" + code + ")"
	case status == http.StatusTooManyRequests:
		e.Reason = "the SMS provider asks us to wait (" + code + ")"
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500, status < 400:
		e.Reason = "the SMS provider is out of order (" + code + ")"
	default:
		e.Reason, e.Permanent = "the SMS provider refused the message ("+code+")", true
	}
	return e
}

// retryAfter reads whole seconds (RFC 9110 §10.2.3); the form with a date is
// not used by Twilio. What is asked for is bounded by an hour.
func retryAfter(header string) time.Duration {
	seconds, err := strconv.ParseUint(strings.TrimSpace(header), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// SMSProviders sends by the first provider that takes a message over, in the
// order given.
type SMSProviders []*Twilio

// SendSMS tries each provider once. When all refuse, the error is permanent
// only if it was so everywhere, and tells the shortest wait any asked for.
func (p SMSProviders) SendSMS(ctx context.Context, s SMS) (receipt string, err error) {
	if len(p) == 0 {
		return "", permanent("no SMS provider is set")
	}
	all := &DeliveryError{Permanent: true}
	var reasons []string
	for _, provider := range p {
		receipt, err := provider.SendSMS(ctx, s)
		if err == nil {
			return receipt, nil
		}
		var e *DeliveryError
		if !errors.As(err, &e) {
			e = temporary("the SMS provider could not be used")
		}
		reasons = append(reasons, e.Reason)
		all.Permanent = all.Permanent && e.Permanent
		if !e.Permanent && e.RetryAfter > 0 && (all.RetryAfter == 0 || e.RetryAfter < all.RetryAfter) {
			all.RetryAfter = e.RetryAfter
		}
		if ctx.Err() != nil {
			break
		}
	}
	all.Reason = strings.Join(reasons, "; the next: ")
	return "", all
}

// StatusSMS asks the provider that gave the receipt.
func (p SMSProviders) StatusSMS(ctx context.Context, receipt string) (SMSState, error) {
	account, _, _ := strings.Cut(receipt, "/")
	for _, provider := range p {
		if provider.config.AccountSID == account {
			return provider.StatusSMS(ctx, receipt)
		}
	}
	return SMSPending, permanent("the SMS provider that took the message is no longer set")
}
