package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/mitral-health/mitral/internal/identity"
)

const (
	sendTimeout = 10 * time.Second

	// maxLine is what a line of text may hold by RFC 5321 §4.5.3.1.6, its CRLF
	// taken off.
	maxLine = 998
)

// SMTP sends mail through one server. It is safe for concurrent use; every mail
// has a connection of its own.
type SMTP struct {
	host        string
	options     []mail.Option
	implicitTLS bool
	tls         *tls.Config
	from        *netmail.Address
	domain      string
}

// NewSMTP takes "smtp://host:port" or "smtps://host:port", with "user:pass@" in
// front of the host where the server asks for it, and the sender's address, bare
// or with a name. smtps is TLS from the first byte. smtp uses STARTTLS when the
// server offers it, and insists on it when there is a password to protect; to a
// server on this machine it goes without. Certificates are always checked.
// Errors finish a sentence that begins with "it" and hold no secret.
func NewSMTP(address identity.Secret, from string) (*SMTP, error) {
	u, err := url.Parse(address.Reveal())
	if err != nil { // the error would repeat the address, password and all
		return nil, errors.New("it is no URL")
	}
	host, user := u.Hostname(), u.User.Username()
	password, _ := u.User.Password()
	switch {
	case u.Scheme != "smtp" && u.Scheme != "smtps":
		return nil, errors.New("it does not begin with smtp:// or smtps://")
	case host == "":
		return nil, errors.New("it names no host")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("it goes on after host and port")
	case (user == "") != (password == ""):
		return nil, errors.New("it needs both a user and a password, or neither")
	}
	sender, err := netmail.ParseAddress(from)
	if err != nil || strings.ContainsFunc(from, isControl) || !strings.Contains(sender.Address, "@") {
		return nil, errors.New("it has no sender, or one that is no mail address")
	}
	s := &SMTP{
		host: host, from: sender, domain: sender.Address[strings.LastIndex(sender.Address, "@")+1:],
		implicitTLS: u.Scheme == "smtps", tls: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12},
	}
	port := map[string]int{"smtp": 25, "smtps": 465}[u.Scheme]
	if u.Scheme == "smtp" && user != "" {
		port = 587 // message submission, RFC 6409
	}
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || n == 0 {
			return nil, errors.New("it has no real port")
		}
		port = int(n)
	}
	policy := mail.TLSOpportunistic
	switch {
	case s.implicitTLS, host == "localhost", host == "127.0.0.1", host == "::1":
		policy = mail.NoTLS
	case user != "":
		policy = mail.TLSMandatory
	}
	s.options = []mail.Option{
		mail.WithPort(port), mail.WithTimeout(sendTimeout), mail.WithHELO(s.domain),
		mail.WithTLSConfig(s.tls), mail.WithTLSPolicy(policy), mail.WithoutNoop(),
	}
	if user != "" {
		s.options = append(s.options, mail.WithUsername(user), mail.WithPassword(password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin,
				mail.SMTPAuthCramMD5))
	}
	if _, err := mail.NewClient(host, s.options...); err != nil {
		return nil, errors.New("it is not usable as a mail server's address")
	}
	return s, nil
}

// dial connects, and closes the connection when sending ends, at which go-mail
// does not look once it is connected.
func (s *SMTP) dial(sending context.Context) mail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(sending, func() { _ = conn.Close() })
		if !s.implicitTLS {
			return conn, nil
		}
		secure := tls.Client(conn, s.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		return secure, nil
	}
}

// SendMail hands one mail to the server within 10 s or so. An address that is
// not one bare address, or that holds a line break, is refused for good.
func (s *SMTP) SendMail(ctx context.Context, m Mail) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()

	to, err := netmail.ParseAddress(m.To)
	if err != nil || to.Address != m.To || strings.ContainsFunc(m.To, isControl) {
		return permanent("the recipient's address is not a mail address")
	}
	// A client of our own: go-mail's changes while it signs in.
	client, err := mail.NewClient(s.host, append(slices.Clip(s.options), mail.WithDialContextFunc(s.dial(ctx)))...)
	if err != nil {
		return temporary("the mail settings are not usable")
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return connectError(ctx, err)
	}
	defer func() { _ = client.CloseWithSMTPClient(conn) }()

	message := s.message(m, conn)
	err = client.SendWithSMTPClient(conn, message)
	if err == nil || message.IsDelivered() { // what follows the server's 250 does not matter
		return nil
	}
	return sendError(ctx, err)
}

func (s *SMTP) message(m Mail, conn *smtp.Client) *mail.Msg {
	text := cleanText(m.Text)
	message := mail.NewMsg(mail.WithNoDefaultUserAgent())
	message.FromMailAddress(s.from)
	message.ToMailAddress(&netmail.Address{Address: m.To})
	message.Subject(strings.Map(spaceForControl, m.Subject))
	if m.ID != "" {
		message.SetMessageIDWithValue(m.ID + "@" + s.domain)
	}
	if !m.At.IsZero() {
		message.SetDateWithValue(m.At)
	}
	// RFC 3834 §5: nobody's holiday notice shall answer this.
	message.SetGenHeader("Auto-Submitted", "auto-generated")
	message.SetBodyWriter(mail.TypeTextPlain, func(w io.Writer) (int64, error) {
		n, err := io.WriteString(w, text)
		return int64(n), err
	}, mail.WithPartEncoding(encodingFor(text, conn)))
	return message
}

// encodingFor leaves the text as it is, 8 bits wide: a signed checkpoint in it
// can then be cut out of the raw mail. Only where the server or the length of a
// line would not let it through unharmed does base64 keep the bytes together.
func encodingFor(text string, conn *smtp.Client) mail.Encoding {
	for line := range strings.Lines(text) {
		if len(strings.TrimSuffix(line, "\n")) > maxLine {
			return mail.EncodingB64
		}
	}
	if eightBit, _ := conn.Extension("8BITMIME"); eightBit {
		return mail.NoEncoding
	}
	for _, b := range []byte(text) {
		if b >= 0x80 {
			return mail.EncodingB64
		}
	}
	return mail.NoEncoding
}

// cleanText leaves valid UTF-8, line feeds and tabs; SMTP has no way to carry
// other controls as they are.
func cleanText(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return spaceForControl(r)
	}, s)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func spaceForControl(r rune) rune {
	if isControl(r) {
		return ' '
	}
	return r
}

// connectError explains a failure before the message was offered. None of them
// says anything about the message, so all are temporary.
func connectError(ctx context.Context, err error) *DeliveryError {
	if e := outOfTime(ctx, err, "the mail server"); e != nil {
		return e
	}
	var reply *textproto.Error
	var unknown *net.DNSError
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &reply) && slices.Contains([]int{530, 534, 535, 538}, reply.Code):
		return temporary(fmt.Sprintf("the mail server refused our user name or password (%d)", reply.Code))
	case errors.As(err, &reply):
		return temporary(fmt.Sprintf("the mail server turned us away (%d)", reply.Code))
	case errors.As(err, &certificate):
		return temporary("the mail server's certificate is not trusted for its name")
	case errors.As(err, &unknown):
		return temporary("the mail server's name is not known")
	case errors.As(err, &network), errors.Is(err, io.EOF):
		return temporary("the mail server could not be reached")
	}
	return temporary("the mail server offers no encryption or no sign-in that we could use")
}

func sendError(ctx context.Context, err error) *DeliveryError {
	if e := outOfTime(ctx, err, "the mail server"); e != nil {
		return e
	}
	var refused *mail.SendError
	if !errors.As(err, &refused) || refused.ErrorCode() == 0 {
		return temporary("the connection to the mail server broke off")
	}
	code := strconv.Itoa(refused.ErrorCode())
	if enhanced := refused.EnhancedStatusCode(); enhanced != "" {
		code += " " + enhanced
	}
	what := "the message"
	switch refused.Reason {
	case mail.ErrSMTPMailFrom:
		what = "our sender"
	case mail.ErrSMTPRcptTo:
		what = "the recipient"
	}
	if refused.ErrorCode() >= 500 {
		return permanent(fmt.Sprintf("the mail server refused %s (%s)", what, code))
	}
	return temporary(fmt.Sprintf("the mail server put %s off (%s)", what, code))
}
