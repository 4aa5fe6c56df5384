package mitraltest

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// ReceivedSMS is one text message as the gateway took it over.
type ReceivedSMS struct {
	SID, From, To, Body string
}

// TwilioServer is a gateway that speaks Twilio's Messages API (2010-04-01). It
// ends with the test.
type TwilioServer struct {
	script
	// What MITRAL_SMS_BASE_URL, …_ACCOUNT_SID, …_AUTH_TOKEN and …_FROM are set
	// to.
	URL, AccountSID, AuthToken, From string

	tb     testing.TB
	box    *mailbox[ReceivedSMS]
	done   chan struct{}
	status map[string]string // guarded by box.mu
}

// Twilio starts a gateway on a free port of the loopback address.
func Twilio(tb testing.TB) *TwilioServer {
	tb.Helper()
	g := &TwilioServer{
		AccountSID: "AC" + hex32(), AuthToken: hex32(), From: "+15005550006",
		tb: tb, box: newMailbox[ReceivedSMS](), done: make(chan struct{}), status: map[string]string{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /2010-04-01/Accounts/{account}/Messages.json", g.send)
	mux.HandleFunc("GET /2010-04-01/Accounts/{account}/Messages/{file}", g.look)
	server := httptest.NewServer(g.known(mux))
	g.URL = server.URL
	tb.Cleanup(func() {
		close(g.done)
		server.CloseClientConnections()
		server.Close()
	})
	return g
}

// Messages returns the messages taken over so far, in order.
func (g *TwilioServer) Messages() []ReceivedSMS { return g.box.all() }

// Attempts returns how many times a message was tried, refused ones included.
func (g *TwilioServer) Attempts() int { return g.box.tries() }

// WaitSMS waits for a message to this number, or to any if it is empty, that
// holds part. The newest such message is returned.
func (g *TwilioServer) WaitSMS(to, part string) ReceivedSMS {
	g.tb.Helper()
	var got ReceivedSMS
	g.box.until(g.tb, "an SMS to "+to+" with "+part, func(messages []ReceivedSMS, _ int) bool {
		for _, m := range messages {
			if (to == "" || m.To == to) && strings.Contains(m.Body, part) {
				got = m
			}
		}
		return got.SID != ""
	})
	return got
}

// WaitAttempts waits until messages were tried n times.
func (g *TwilioServer) WaitAttempts(n int) {
	g.tb.Helper()
	g.box.until(g.tb, "attempts", func(_ []ReceivedSMS, attempts int) bool { return attempts >= n })
}

// SetStatus says what became of a message: "delivered", "undelivered" and
// "failed" are final, "queued" is where each begins.
func (g *TwilioServer) SetStatus(sid, status string) {
	g.box.mu.Lock()
	defer g.box.mu.Unlock()
	g.status[sid] = status
}

// known lets only the account itself through.
func (g *TwilioServer) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account, token, _ := r.BasicAuth()
		if account != g.AccountSID || subtle.ConstantTimeCompare([]byte(token), []byte(g.AuthToken)) != 1 {
			g.refuse(w, http.StatusUnauthorized, 20003, "Authenticate")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *TwilioServer) send(w http.ResponseWriter, r *http.Request) {
	g.box.attempt()
	how := g.take(g.done)
	message := ReceivedSMS{SID: "SM" + hex32(), From: r.PostFormValue("From"), To: r.PostFormValue("To"), Body: r.PostFormValue("Body")}
	switch {
	case r.PathValue("account") != g.AccountSID:
		g.refuse(w, http.StatusNotFound, 20404, "The requested resource was not found")
		return
	case !strings.HasPrefix(message.To, "+"):
		g.refuse(w, http.StatusBadRequest, 21211, "Invalid 'To' Phone Number: "+message.To)
		return
	case message.Body == "" || len(message.Body) > 1600:
		g.refuse(w, http.StatusBadRequest, 21617, "The message body is empty or exceeds the 1600 character limit")
		return
	}
	switch how {
	case Refuse:
		g.refuse(w, http.StatusBadRequest, 21610, "Attempt to send to unsubscribed recipient "+message.To)
		return
	case TryLater:
		g.refuse(w, http.StatusInternalServerError, 20500, "Internal Server Error")
		return
	case Throttle:
		w.Header().Set("Retry-After", "2")
		g.refuse(w, http.StatusTooManyRequests, 20429, "Too Many Requests")
		return
	case Hang:
		select {
		case <-g.done:
		case <-r.Context().Done():
		}
		return
	case Accept, LoseAnswer, Lie:
	}
	if how != Lie {
		g.box.put(message)
	}
	if how == LoseAnswer {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	g.describe(w, message)
}

func (g *TwilioServer) look(w http.ResponseWriter, r *http.Request) {
	for _, message := range g.box.all() {
		if message.SID+".json" == r.PathValue("file") && r.PathValue("account") == g.AccountSID {
			w.Header().Set("Content-Type", "application/json")
			g.describe(w, message)
			return
		}
	}
	g.refuse(w, http.StatusNotFound, 20404, "The requested resource was not found")
}

func (g *TwilioServer) describe(w http.ResponseWriter, m ReceivedSMS) {
	g.box.mu.Lock()
	status := g.status[m.SID]
	g.box.mu.Unlock()
	answer := map[string]any{"sid": m.SID, "status": "queued", "from": m.From, "to": m.To, "body": m.Body, "error_code": nil}
	switch status {
	case "":
	case "undelivered", "failed":
		answer["status"], answer["error_code"] = status, 30003
	default:
		answer["status"] = status
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (g *TwilioServer) refuse(w http.ResponseWriter, status, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code, "message": message})
}

func hex32() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return fmt.Sprintf("%x", b)
}
