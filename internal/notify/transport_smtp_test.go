package notify_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
)

const sender = "Mitral at Hope Clinic <mitral@clinic.example>"

// A start mail's text: an em dash begins the note's signature line, base64 may
// end in "=" and be followed by more, and a line may begin with a dot.
const checkpoint = "EMERGENCY ACCESS · Ref BG-0042\n\n" +
	"auth.clinic.example/log/1\n18273\nXLPfBcRYPJX6A1kB/sH9p0a1GZ6yYdV0xKq4dZ3m0Q0=\n\n" +
	"— auth.clinic.example/log/1 mb6HGT3mFVYl0jU1HlsY0Yp6d3nVw2J4VrO0eXoU5oC3gTQvLr0o9y1YkJ2X3b7dZz1n0W8QpK2v5uA==\n" +
	"\n.a line that begins with a dot\n. \ntrailing space \n" +
	"=3D is not an escape\n"

// mailbox is a real SMTP server that keeps what it accepts and refuses what it
// is told to.
type mailbox struct {
	refuse refusals
	hang   chan struct{} // when set, DATA is answered only after it is closed
	hung   chan struct{} // closed when DATA hangs

	mu   sync.Mutex
	from string
	to   []string
	raw  [][]byte
}

type refusals struct{ mail, rcpt, data error }

// seen returns the last envelope and every mail taken over.
func (b *mailbox) seen() (from string, to []string, raw [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.from, slices.Clone(b.to), slices.Clone(b.raw)
}

func (b *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return mailSession{b}, nil }

type mailSession struct{ *mailbox }

func (s mailSession) Reset()        {}
func (s mailSession) Logout() error { return nil }

func (s mailSession) Mail(from string, _ *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = from
	return s.refuse.mail
}

func (s mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = append(s.to, to)
	return s.refuse.rcpt
}

func (s mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.hang != nil {
		close(s.hung)
		<-s.hang
	}
	if s.refuse.data != nil {
		return s.refuse.data
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = append(s.raw, raw)
	return nil
}

func startMailbox(t *testing.T, b *mailbox, config *tls.Config) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(b)
	server.Domain = "mx.example"
	server.EnableSMTPUTF8 = true
	server.ErrorLog = log.New(io.Discard, "", 0)
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return listener.Addr().String()
}

func newSMTP(t *testing.T, url string) *notify.SMTP {
	t.Helper()
	s, err := notify.NewSMTP(identity.Secret(url), sender)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mailTo(to string) notify.Mail {
	return notify.Mail{ID: "msg_1", To: to, Subject: "Emergency access — Dr. Haddad", Text: checkpoint,
		At: time.Date(2026, 11, 25, 14, 2, 0, 0, time.UTC)}
}

func deliveryError(t *testing.T, err error) *notify.DeliveryError {
	t.Helper()
	var e *notify.DeliveryError
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want a *DeliveryError", err)
	}
	return e
}

func TestMailArrivesByteForByte(t *testing.T) {
	box := &mailbox{}
	s := newSMTP(t, "smtp://"+startMailbox(t, box, nil))
	if err := s.SendMail(t.Context(), mailTo("grace.okafor@clinic.example")); err != nil {
		t.Fatal(err)
	}
	envelopeFrom, to, raw := box.seen()
	if envelopeFrom != "mitral@clinic.example" || len(to) != 1 || to[0] != "grace.okafor@clinic.example" {
		t.Errorf("envelope is from %q to %q", envelopeFrom, to)
	}
	head, body, _ := bytes.Cut(raw[0], []byte("\r\n\r\n"))
	if want := strings.ReplaceAll(checkpoint, "\n", "\r\n"); string(body) != want {
		t.Errorf("text part is\n%q, want\n%q", body, want)
	}
	message, err := netmail.ReadMessage(bytes.NewReader(raw[0]))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Transfer-Encoding": "8bit",
		"Content-Type":              "text/plain; charset=UTF-8",
		"Auto-Submitted":            "auto-generated",
		"Message-Id":                "<msg_1@clinic.example>",
		"To":                        "<grace.okafor@clinic.example>",
		"Date":                      "Wed, 25 Nov 2026 14:02:00 +0000",
		"User-Agent":                "",
	} {
		if got := message.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	subject, err := (&mime.WordDecoder{}).DecodeHeader(message.Header.Get("Subject"))
	if err != nil || subject != "Emergency access — Dr. Haddad" {
		t.Errorf("Subject is %q (%v)", subject, err)
	}
	from, err := message.Header.AddressList("From")
	if err != nil || from[0].String() != `"Mitral at Hope Clinic" <mitral@clinic.example>` {
		t.Errorf("From is %v (%v)", from, err)
	}
	if bytes.Contains(head, []byte("go-mail")) {
		t.Error("the head names the library")
	}
}

func TestMailTooWideForSMTPIsStillWhole(t *testing.T) {
	long := checkpoint + strings.Repeat("Grund ä ", 200) + "\n"
	tests := map[string]struct {
		text     string
		eightBit bool
		encoding string
	}{
		"line over 998 bytes":       {long, true, "base64"},
		"no 8BITMIME":               {checkpoint, false, "base64"},
		"no 8BITMIME, only ASCII":   {"Ref BG-0042\n", false, "8bit"},
		"control: 8BITMIME, narrow": {checkpoint, true, "8bit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, map[string]string{"EHLO": "250 mx.example"})
			if tt.eightBit {
				relay = startRelay(t, map[string]string{"EHLO": "250-mx.example\r\n250 8BITMIME"})
			}
			m := mailTo("grace.okafor@clinic.example")
			m.Text = tt.text
			if err := newSMTP(t, "smtp://"+relay.address).SendMail(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			message, err := netmail.ReadMessage(strings.NewReader(<-relay.data))
			if err != nil {
				t.Fatal(err)
			}
			if got := message.Header.Get("Content-Transfer-Encoding"); got != tt.encoding {
				t.Errorf("encoding is %q, want %q", got, tt.encoding)
			}
			var body io.Reader = message.Body
			if tt.encoding == "base64" {
				body = base64.NewDecoder(base64.StdEncoding, body)
			}
			got, err := io.ReadAll(body)
			if err != nil || strings.ReplaceAll(string(got), "\r\n", "\n") != tt.text {
				t.Errorf("text part is %q (%v)", got, err)
			}
		})
	}
}

func TestMailRefusals(t *testing.T) {
	reply := func(code int, class int, text string) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, 1, 1}, Message: text}
	}
	const echo = "blocked: https://auth.clinic.example/claim/tok3n for grace.okafor@clinic.example"
	tests := map[string]struct {
		refuse    refusals
		permanent bool
		reason    string
	}{
		"greylisted":         {refusals{rcpt: reply(451, 4, echo)}, false, "the mail server put the recipient off (451 4.1.1)"},
		"unknown recipient":  {refusals{rcpt: reply(550, 5, echo)}, true, "the mail server refused the recipient (550 5.1.1)"},
		"sender not allowed": {refusals{mail: reply(553, 5, echo)}, true, "the mail server refused our sender (553 5.1.1)"},
		"content refused":    {refusals{data: reply(554, 5, echo)}, true, "the mail server refused the message (554 5.1.1)"},
		"disk full there":    {refusals{data: reply(452, 4, echo)}, false, "the mail server put the message off (452 4.1.1)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			box := &mailbox{refuse: tt.refuse}
			s := newSMTP(t, "smtp://"+startMailbox(t, box, nil))
			e := deliveryError(t, s.SendMail(t.Context(), mailTo("grace.okafor@clinic.example")))
			if e.Permanent != tt.permanent || e.Reason != tt.reason {
				t.Errorf("got %q, permanent %v; want %q, %v", e.Reason, e.Permanent, tt.reason, tt.permanent)
			}
			if _, _, raw := box.seen(); len(raw) != 0 {
				t.Error("a refused mail was kept")
			}
		})
	}
}

func TestMailAddressesCannotInject(t *testing.T) {
	box := &mailbox{}
	s := newSMTP(t, "smtp://"+startMailbox(t, box, nil))
	for _, to := range []string{
		"", "nobody", "a@b.example\r\nRCPT TO:<c@d.example>", "a@b.example\r\nBcc: c@d.example", "a@b.example\n",
		"a@b.example, c@d.example", "Grace <a@b.example>", " a@b.example", "a@b.example>\x00<c@d.example",
		"\"a\r\nDATA\"@b.example",
	} {
		e := deliveryError(t, s.SendMail(t.Context(), mailTo(to)))
		if !e.Permanent || e.Reason != "the recipient's address is not a mail address" {
			t.Errorf("%q: %q, permanent %v", to, e.Reason, e.Permanent)
		}
	}
	if _, to, _ := box.seen(); len(to) != 0 {
		t.Errorf("the server was given %q", to)
	}

	m := mailTo("grace.okafor@clinic.example")
	m.Subject = "Hello\r\nBcc: c@d.example\r\n\r\nbody"
	m.Text = "one\r\n.\r\nMAIL FROM:<x@y.example>\r\ntwo\x00"
	if err := s.SendMail(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	_, _, raw := box.seen()
	message, err := netmail.ReadMessage(bytes.NewReader(raw[0]))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(message.Body)
	if message.Header.Get("Bcc") != "" || len(raw) != 1 || string(body) != "one\r\n.\r\nMAIL FROM:<x@y.example>\r\ntwo \r\n" {
		t.Errorf("got %d mails, header %v, body %q", len(raw), message.Header, body)
	}
}

func TestMailServerThatHangs(t *testing.T) {
	// Within is well under go-mail's own patience, which begins anew at each step.
	const within = 8 * time.Second
	send := func(ctx context.Context, s *notify.SMTP) *notify.DeliveryError {
		t.Helper()
		sent := make(chan error, 1)
		go func() { sent <- s.SendMail(ctx, mailTo("grace.okafor@clinic.example")) }()
		select {
		case err := <-sent:
			return deliveryError(t, err)
		case <-time.After(within):
			t.Fatal("the end of the context did not end the sending")
			return nil
		}
	}

	t.Run("after the data", func(t *testing.T) {
		box := &mailbox{hang: make(chan struct{}), hung: make(chan struct{})}
		s := newSMTP(t, "smtp://"+startMailbox(t, box, nil))
		defer close(box.hang)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-box.hung
			cancel()
		}()
		if e := send(ctx, s); e.Permanent || e.Reason != "we stopped before the mail server had answered" {
			t.Errorf("got %q, permanent %v", e.Reason, e.Permanent)
		}
	})
	t.Run("before its greeting", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		e := send(ctx, newSMTP(t, "smtp://"+silent.Addr().String()))
		if e.Permanent || e.Reason != "the mail server did not answer in time" {
			t.Errorf("got %q, permanent %v", e.Reason, e.Permanent)
		}
	})
}

func TestMailServerThatIsNotThere(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	e := deliveryError(t, newSMTP(t, "smtp://"+address).SendMail(t.Context(), mailTo("a@b.example")))
	if e.Permanent || e.Reason != "the mail server could not be reached" {
		t.Errorf("got %q, permanent %v", e.Reason, e.Permanent)
	}
}

func TestMailOverTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	box := &mailbox{}
	_, port, err := net.SplitHostPort(startMailbox(t, box, &tls.Config{Certificates: web.TLS.Certificates}))
	if err != nil {
		t.Fatal(err)
	}

	s := newSMTP(t, "smtps://127.0.0.1:"+port)
	e := deliveryError(t, s.SendMail(t.Context(), mailTo("a@b.example")))
	if e.Permanent || e.Reason != "the mail server's certificate is not trusted for its name" {
		t.Errorf("unknown authority: %q", e.Reason)
	}
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	s.TestOnlyTrust(roots)
	if err := s.SendMail(t.Context(), mailTo("a@b.example")); err != nil {
		t.Errorf("control: %v", err)
	}
}

// relay is a server of few words for what a well-behaved one does not do.
type relay struct {
	address  string
	data     chan string
	commands chan string
}

func startRelay(t *testing.T, replies map[string]string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	r := &relay{address: listener.Addr().String(), data: make(chan string, 10), commands: make(chan string, 100)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.serve(conn, replies)
		}
	}()
	return r
}

func (r *relay) serve(conn net.Conn, replies map[string]string) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	say := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	say("220 mx.example")
	for {
		command, err := in.ReadString('\n')
		if err != nil {
			return
		}
		r.commands <- strings.TrimSpace(command)
		verb, _, _ := strings.Cut(strings.TrimSpace(command), " ")
		if reply, ok := replies[verb]; ok {
			say(reply)
			continue
		}
		switch verb {
		case "DATA":
			say("354 go on")
			var data strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				data.WriteString(strings.TrimPrefix(line, "."))
			}
			r.data <- data.String()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

func TestMailPasswordStaysSecret(t *testing.T) {
	const password = "hunter2-swordfish"
	encoded := base64.StdEncoding.EncodeToString([]byte("\x00mitral\x00" + password))

	refusing := startRelay(t, map[string]string{
		"EHLO": "250-mx.example\r\n250 AUTH PLAIN",
		"AUTH": "535 5.7.8 no: " + password + " " + encoded,
	})
	e := deliveryError(t, newSMTP(t, "smtp://mitral:"+password+"@"+refusing.address).SendMail(t.Context(), mailTo("a@b.example")))
	if e.Permanent || e.Reason != "the mail server refused our user name or password (535)" {
		t.Errorf("wrong password: %q, permanent %v", e.Reason, e.Permanent)
	}

	// 127.0.0.2 stands for a server elsewhere: without encryption there is no
	// signing in, not even in a way that hides the password.
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	bare := &relay{data: make(chan string, 1), commands: make(chan string, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if conn, err := listener.Accept(); err == nil {
			bare.serve(conn, map[string]string{"EHLO": "250-mx.example\r\n250 AUTH CRAM-MD5"})
		}
	}()
	e = deliveryError(t, newSMTP(t, "smtp://mitral:"+password+"@"+listener.Addr().String()).SendMail(t.Context(), mailTo("a@b.example")))
	if e.Permanent || e.Reason != "the mail server offers no encryption or no sign-in that we could use" {
		t.Errorf("no encryption: %q, permanent %v", e.Reason, e.Permanent)
	}
	<-done
	close(bare.commands)
	for command := range bare.commands {
		if strings.HasPrefix(command, "AUTH") {
			t.Errorf("signed in without encryption: %s", command)
		}
	}

	accepting := startRelay(t, map[string]string{"EHLO": "250-mx.example\r\n250 AUTH PLAIN", "AUTH": "235 welcome"})
	if err := newSMTP(t, "smtp://mitral:"+password+"@"+accepting.address).SendMail(t.Context(), mailTo("a@b.example")); err != nil {
		t.Errorf("control: %v", err)
	}
}

func TestMailTakenOverIsSentWhateverFollows(t *testing.T) {
	r := startRelay(t, map[string]string{"RSET": "421 closing"})
	if err := newSMTP(t, "smtp://"+r.address).SendMail(t.Context(), mailTo("a@b.example")); err != nil {
		t.Errorf("got %v after the server's 250", err)
	}
	if len(r.data) != 1 {
		t.Errorf("the server has %d mails", len(r.data))
	}
}

func TestMailSettings(t *testing.T) {
	const password = "hunter2"
	for url, want := range map[string]string{
		"smtp://mx.example":                           "",
		"smtp://mx.example:2525":                      "",
		"smtps://mitral:" + password + "@mx.example":  "",
		"smtp://[::1]:25":                             "",
		"mx.example:25":                               "it does not begin with smtp:// or smtps://",
		"http://mx.example":                           "it does not begin with smtp:// or smtps://",
		"smtp://":                                     "it names no host",
		"smtp://mx.example:0":                         "it has no real port",
		"smtp://mx.example:99999":                     "it has no real port",
		"smtp://mx.example/queue":                     "it goes on after host and port",
		"smtp://mitral@mx.example":                    "it needs both a user and a password, or neither",
		"smtp://mitral:" + password + "%zz@x.example": "it is no URL",
	} {
		_, err := notify.NewSMTP(identity.Secret(url), sender)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want || strings.Contains(got, password) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	for _, from := range []string{"", "mitral", "a@b.example\r\nBcc: c@d.example", "a@b.example, c@d.example"} {
		if _, err := notify.NewSMTP("smtp://mx.example", from); err == nil {
			t.Errorf("sender %q was accepted", from)
		}
	}
}
