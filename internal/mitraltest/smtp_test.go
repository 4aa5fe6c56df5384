package mitraltest_test

import (
	"errors"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/notify"
)

const note = "Subject: =?utf-8?q?Start_=E2=80=94_BG-1?=\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nref BG-1\r\n\r\n— log.test kR0=\r\n"

func send(s *mitraltest.SMTPServer) error {
	return smtp.SendMail(strings.TrimPrefix(s.URL(), "smtp://"), nil, "mitral@clinic.test", []string{"admin@clinic.test"}, []byte(note))
}

func TestSMTPKeepsWhatItTakes(t *testing.T) {
	t.Parallel()
	s := mitraltest.SMTP(t)
	if err := send(s); err != nil {
		t.Fatal(err)
	}
	got := s.WaitMail("admin@clinic.test", "BG-1")
	if got.Subject != "Start — BG-1" || got.Text != "ref BG-1\n\n— log.test kR0=\n" || got.Encoding != "8bit" || got.From != "mitral@clinic.test" {
		t.Errorf("got %+v", got)
	}
}

func TestSMTPBehaves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		how  mitraltest.Behaviour
		code int // 0: taken, -1: the connection broke
		kept int
	}{
		{mitraltest.Accept, 0, 1}, {mitraltest.Refuse, 550, 0}, {mitraltest.TryLater, 451, 0},
		{mitraltest.Throttle, 421, 0}, {mitraltest.Lie, 0, 0}, {mitraltest.LoseAnswer, -1, 1},
	} {
		s := mitraltest.SMTP(t)
		s.Behave(tt.how, mitraltest.Accept)
		err := send(s)
		var refusal *textproto.Error
		code := 0
		if errors.As(err, &refusal) {
			code = refusal.Code
		} else if err != nil {
			code = -1
		}
		if code != tt.code || len(s.Mails()) != tt.kept {
			t.Errorf("behaviour %d: answered %d (%v) and kept %d, want %d and %d", tt.how, code, err, len(s.Mails()), tt.code, tt.kept)
		}
		if err := send(s); err != nil || len(s.Mails()) != tt.kept+1 || s.Attempts() != 2 {
			t.Errorf("behaviour %d: the next mail, to be accepted: %v", tt.how, err)
		}
	}
}

func TestSMTPHangsAndGoesDown(t *testing.T) {
	t.Parallel()
	s := mitraltest.SMTP(t)
	s.Behave(mitraltest.Hang, mitraltest.Accept)
	hung := make(chan error, 1)
	go func() { hung <- send(s) }()
	s.WaitAttempts(1)
	s.Down()
	if err := <-hung; err == nil {
		t.Error("a mail was taken by a server that went down")
	}
	var refused *net.OpError
	if err := send(s); !errors.As(err, &refused) {
		t.Errorf("down, the server answers %v", err)
	}
	s.Up()
	if err := send(s); err != nil {
		t.Errorf("up again: %v", err)
	}
	s.WaitMail("", "BG-1")
}

// A mail of Mitral's own passes a server that others wrote, byte for byte.
func TestMailPeerDelivers(t *testing.T) {
	t.Parallel()
	peer := mitraltest.StartMailPeer(t)
	sender, err := notify.NewSMTP(identity.Secret(peer.URL()), "mitral@clinic.test")
	if err != nil {
		t.Fatal(err)
	}
	const text = "ref BG-1\n\nclinic.test/log/1\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— clinic.test/log/1 kR0=\n"
	err = sender.SendMail(t.Context(), notify.Mail{ID: "msg_1", To: "admin@clinic.test", Subject: "Start — BG-1", Text: text, At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	if got := peer.WaitMail("BG-1"); got.Text != text || got.Subject != "Start — BG-1" {
		t.Errorf("%s delivered %+v", peer.Name, got)
	}
}
