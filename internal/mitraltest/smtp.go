package mitraltest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// Behaviour is how a mail server or SMS gateway takes the next message.
type Behaviour int

// The behaviours.
const (
	Accept     Behaviour = iota
	Refuse               // for good: SMTP 550, HTTP 400
	TryLater             // for now: SMTP 451 (greylisting), HTTP 500
	Throttle             // too many: SMTP 421, HTTP 429 with Retry-After: 2
	Hang                 // no answer while the test runs
	LoseAnswer           // keep the message and hang up without an answer
	Lie                  // say yes and keep nothing
)

// deliveryPatience is how long a message that must come may take.
const deliveryPatience = 15 * time.Second

// script is what a peer was told to do.
type script struct {
	mu    sync.Mutex
	next  []Behaviour
	delay time.Duration
}

// Behave says how the next messages are taken, one by one; the last holds for
// all that follow. Without it each is accepted.
func (s *script) Behave(next ...Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// Delay makes every further answer wait.
func (s *script) Delay(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = by
}

// take returns how to take one message, after the delay. done cuts it short.
func (s *script) take(done <-chan struct{}) Behaviour {
	s.mu.Lock()
	b := Accept
	if len(s.next) > 0 {
		b = s.next[0]
	}
	if len(s.next) > 1 {
		s.next = s.next[1:]
	}
	delay := s.delay
	s.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-done:
		}
	}
	return b
}

// mailbox keeps what came in, and wakes who waits for it.
type mailbox[T any] struct {
	mu       sync.Mutex
	messages []T
	attempts int
	changed  chan struct{}
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{changed: make(chan struct{})} }

func (m *mailbox[T]) attempt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.attempts++
	m.wake()
}

func (m *mailbox[T]) put(message T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = append(m.messages, message)
	m.wake()
}

func (m *mailbox[T]) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *mailbox[T]) all() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]T(nil), m.messages...)
}

func (m *mailbox[T]) tries() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.attempts
}

// until waits for the state of the box to be as wanted.
func (m *mailbox[T]) until(tb testing.TB, what string, ok func(messages []T, attempts int) bool) {
	tb.Helper()
	deadline := time.NewTimer(deliveryPatience)
	defer deadline.Stop()
	for {
		m.mu.Lock()
		done, changed := ok(m.messages, m.attempts), m.changed
		m.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			tb.Fatalf("waited %s for %s; there are %d messages after %d attempts: %+v", deliveryPatience, what, len(m.all()), m.tries(), m.all())
		}
	}
}

// ReceivedMail is one mail as a server took it over.
type ReceivedMail struct {
	From     string
	To       []string
	Header   mail.Header
	Subject  string
	Text     string // of the text part, decoded, with \n at line ends
	Encoding string // the text part's Content-Transfer-Encoding
	Raw      []byte
}

// SMTPServer is a real mail server in this process. It ends with the test.
type SMTPServer struct {
	script
	tb     testing.TB
	box    *mailbox[ReceivedMail]
	addr   string
	done   chan struct{}
	mu     sync.Mutex // guards server
	server *smtp.Server
}

// SMTP starts a mail server on a free port of the loopback address.
func SMTP(tb testing.TB) *SMTPServer {
	tb.Helper()
	s := &SMTPServer{tb: tb, box: newMailbox[ReceivedMail](), addr: "127.0.0.1:0", done: make(chan struct{})}
	s.Up()
	tb.Cleanup(func() {
		close(s.done)
		s.Down()
	})
	return s
}

// URL returns the server's address as MITRAL_MAIL_URL takes it.
func (s *SMTPServer) URL() string { return "smtp://" + s.addr }

// Down makes the server refuse connections, and cuts those it has.
func (s *SMTPServer) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		_ = s.server.Close()
		s.server = nil
	}
}

// Up brings the server back on the same port.
func (s *SMTPServer) Up() {
	s.tb.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.addr)
	if err != nil {
		s.tb.Fatalf("couldn't start a mail server: %v", err)
	}
	s.addr = listener.Addr().String()
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &delivery{server: s, conn: c}, nil
	}))
	server.Domain, server.AllowInsecureAuth, server.EnableSMTPUTF8 = "mail.test", true, true
	server.ErrorLog = silent{} // what goes wrong here is what a test meant to go wrong
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// Mails returns the mails taken over so far, in order.
func (s *SMTPServer) Mails() []ReceivedMail { return s.box.all() }

// Attempts returns how many times a mail was tried, refused ones included.
func (s *SMTPServer) Attempts() int { return s.box.tries() }

// WaitMail waits for a mail to this address, or to any if it is empty, whose
// subject or text holds part. The newest such mail is returned.
func (s *SMTPServer) WaitMail(to, part string) ReceivedMail {
	s.tb.Helper()
	var got ReceivedMail
	s.box.until(s.tb, "a mail to "+to+" with "+part, func(mails []ReceivedMail, _ int) bool {
		for _, m := range mails {
			addressed := to == "" || strings.Contains(" "+strings.Join(m.To, " ")+" ", " "+to+" ")
			if addressed && (strings.Contains(m.Subject, part) || strings.Contains(m.Text, part)) {
				got = m
			}
		}
		return got.Raw != nil
	})
	return got
}

// WaitAttempts waits until mails were tried n times.
func (s *SMTPServer) WaitAttempts(n int) {
	s.tb.Helper()
	s.box.until(s.tb, "attempts", func(_ []ReceivedMail, attempts int) bool { return attempts >= n })
}

type silent struct{}

func (silent) Printf(string, ...any) {}
func (silent) Println(...any)        {}

// delivery is one mail on its way in.
type delivery struct {
	server *SMTPServer
	conn   *smtp.Conn
	from   string
	to     []string
	how    Behaviour
}

func (d *delivery) Reset()        { d.from, d.to = "", nil }
func (d *delivery) Logout() error { return nil }

// Mail decides how this mail is taken.
func (d *delivery) Mail(from string, _ *smtp.MailOptions) error {
	d.server.box.attempt()
	d.from, d.how = from, d.server.take(d.server.done)
	if d.how == Throttle {
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Too many connections"}
	}
	return nil
}

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	switch d.how {
	case Refuse:
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox " + to}
	case TryLater:
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted, come back later"}
	case Accept, Throttle, Hang, LoseAnswer, Lie:
	}
	d.to = append(d.to, to)
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	switch d.how {
	case Lie:
		return nil
	case Hang:
		<-d.server.done
		return errors.New("hung up")
	case Accept, Refuse, TryLater, Throttle, LoseAnswer:
	}
	received, err := parseMail(raw)
	if err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: err.Error()}
	}
	received.From, received.To = d.from, d.to
	d.server.box.put(received)
	if d.how == LoseAnswer {
		return errors.Join(errors.New("hung up"), d.conn.Conn().Close())
	}
	return nil
}

func parseMail(raw []byte) (ReceivedMail, error) {
	message, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return ReceivedMail{}, err
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(message.Header.Get("Subject"))
	if err != nil {
		return ReceivedMail{}, err
	}
	received := ReceivedMail{Header: message.Header, Subject: subject, Raw: raw}
	text, encoding := message.Body, message.Header.Get("Content-Transfer-Encoding")
	if kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type")); err == nil && strings.HasPrefix(kind, "multipart/") {
		part, err := multipart.NewReader(message.Body, params["boundary"]).NextRawPart()
		if err != nil {
			return ReceivedMail{}, err
		}
		text, encoding = part, part.Header.Get("Content-Transfer-Encoding")
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		text = quotedprintable.NewReader(text)
	case "base64":
		text = base64.NewDecoder(base64.StdEncoding, text)
	}
	decoded, err := io.ReadAll(text)
	if err != nil {
		return ReceivedMail{}, err
	}
	received.Text, received.Encoding = strings.ReplaceAll(string(decoded), "\r\n", "\n"), strings.ToLower(encoding)
	return received, nil
}
