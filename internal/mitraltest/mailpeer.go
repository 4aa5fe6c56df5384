package mitraltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// MailPeer is a mail server that somebody else wrote, so that what Mitral sends
// is once taken by other code than SMTP's.
type MailPeer struct {
	Name string // "opensmtpd" or "aiosmtpd"

	tb      testing.TB
	addr    string
	maildir string
}

// StartMailPeer starts Debian's OpenSMTPD on a free port of the loopback
// address, or aiosmtpd where that isn't installed or the tests don't run as
// root. It ends with the test. OpenSMTPD has one queue for the whole machine,
// so one test at a time may use it.
func StartMailPeer(tb testing.TB) *MailPeer {
	tb.Helper()
	dir, err := os.MkdirTemp("", "mitral-mail-")
	if err != nil {
		tb.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		tb.Fatal(err)
	}
	m := &MailPeer{tb: tb, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), maildir: filepath.Join(dir, "mail")}
	cmd, err := m.command(dir, port)
	if err != nil {
		tb.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		tb.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		tb.Fatalf("couldn't start %s: %v", m.Name, err)
	}
	if err := afterExit(nil, `kill "$1" 2>/dev/null; rm -rf "$2"`, strconv.Itoa(cmd.Process.Pid), dir); err != nil {
		tb.Error(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = log.Close()
		_ = os.RemoveAll(dir)
	})
	m.until(func() string {
		said, _ := os.ReadFile(log.Name())
		return m.Name + " doesn't answer: " + string(lastLines(said))
	}, func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", m.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return m
}

// command prepares the server; its mails go to m.maildir.
func (m *MailPeer) command(dir string, port int) (*exec.Cmd, error) {
	if as, err := unprivileged(); err == nil && as != nil {
		if smtpd, err := exec.LookPath("smtpd"); err == nil {
			m.Name = "opensmtpd"
			// It delivers as another user than root.
			if err := errors.Join(os.Chmod(dir, 0o711), os.Mkdir(m.maildir, 0o700), os.Chown(m.maildir, int(as.Uid), int(as.Gid))); err != nil {
				return nil, err
			}
			config := filepath.Join(dir, "smtpd.conf")
			text := fmt.Sprintf("table anyone { \"@\" = %s }\nlisten on 127.0.0.1 port %d\naction keep maildir %q virtual <anyone>\nmatch from any for any action keep\n",
				unprivilegedName(as), port, m.maildir)
			return exec.CommandContext(context.Background(), smtpd, "-d", "-f", config), os.WriteFile(config, []byte(text), 0o600)
		}
	}
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.CommandContext(context.Background(), python, "-c", "import aiosmtpd").Run() == nil {
			m.Name = "aiosmtpd"
			return exec.CommandContext(context.Background(), python, "-m", "aiosmtpd", "-n", "-l", m.addr, "-c", "aiosmtpd.handlers.Mailbox", m.maildir), nil
		}
	}
	return nil, errors.New("couldn't find a mail server: install one (Debian: apt-get install opensmtpd as root's tests use, or python3-aiosmtpd)")
}

// URL returns the server's address as MITRAL_MAIL_URL takes it.
func (m *MailPeer) URL() string { return "smtp://" + m.addr }

// WaitMail waits for a delivered mail whose subject or text holds part.
func (m *MailPeer) WaitMail(part string) ReceivedMail {
	m.tb.Helper()
	var got ReceivedMail
	m.until(func() string { return "no mail with " + part + " was delivered by " + m.Name }, func() bool {
		files, err := filepath.Glob(filepath.Join(m.maildir, "new", "*"))
		if err != nil {
			return false
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			if mail, err := parseMail(raw); err == nil && (strings.Contains(mail.Subject, part) || strings.Contains(mail.Text, part)) {
				got = mail
				return true
			}
		}
		return false
	})
	return got
}

func (m *MailPeer) until(failure func() string, ok func() bool) {
	m.tb.Helper()
	deadline := time.NewTimer(deliveryPatience)
	defer deadline.Stop()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			m.tb.Fatal(failure())
		}
	}
}
