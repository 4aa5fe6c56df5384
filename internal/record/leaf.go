package record

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
)

// Entry is an event with its place in the record.
type Entry struct {
	Log   int64
	Index int64
	Leaf  string // the canonical bytes
	audit.Event
}

// ErrLeaf is the error of bytes that are not an event's canonical form.
var ErrLeaf = errors.New("not the canonical form of an event")

// leafTime is how a leaf writes times: UTC with microseconds.
const leafTime = "2006-01-02T15:04:05.000000Z"

// ParseLeaf reads a leaf back into the event it was made from. Only the one
// canonical form is accepted: whatever it returns writes the same bytes again.
func ParseLeaf(leaf string) (audit.Event, error) {
	var e audit.Event
	var at, outcome, ip string
	s := scanner{rest: leaf}
	for name, more := s.first(); more; name, more = s.next(name) {
		var to *string
		switch name {
		case "id":
			to = &e.ID
		case "at":
			to = &at
		case "type":
			to = &e.Type
		case "outcome":
			to = &outcome
		case "workspace_id":
			to = &e.Workspace
		case "actor":
			to = &e.Actor
		case "user_id":
			to = &e.User
		case "method":
			to = &e.Method
		case "ip":
			to = &ip
		case "user_agent":
			to = &e.Client.UserAgent
		case "device_id":
			to = &e.Client.Device
		case "session_id":
			to = &e.Session
		case "grant_id":
			to = &e.Grant
		case "purpose":
			to = &e.Purpose
		default:
			if e.Detail == nil {
				e.Detail = audit.Detail{}
			}
			e.Detail[name] = s.value()
			continue
		}
		*to = s.text()
	}
	if s.failed || s.rest != "" {
		return audit.Event{}, fmt.Errorf("%w: it cannot be read, or is written in another way", ErrLeaf)
	}
	if e.ID == "" || e.Type == "" || outcome == "" {
		return audit.Event{}, fmt.Errorf("%w: id, type or outcome is missing", ErrLeaf)
	}
	e.Outcome = audit.Outcome(outcome)
	var err error
	if e.At, err = time.Parse(leafTime, at); err != nil || e.At.Format(leafTime) != at {
		return audit.Event{}, fmt.Errorf("%w: its time cannot be read", ErrLeaf)
	}
	if ip != "" {
		if e.Client.IP, err = netip.ParseAddr(ip); err != nil || e.Client.IP.String() != ip {
			return audit.Event{}, fmt.Errorf("%w: its address cannot be read", ErrLeaf)
		}
	}
	return e, nil
}

// userOf is the person an event is kept under: whom it is about, else who acts.
func userOf(e audit.Event) string {
	if e.User == "" && strings.HasPrefix(e.Actor, identity.UserID+"_") {
		return e.Actor
	}
	return e.User
}

// scanner reads one canonical object (RFC 8785) of strings, integers and
// booleans, and fails on any other way of writing it.
type scanner struct {
	rest   string
	failed bool
}

// first enters the object and returns its first member's name.
func (s *scanner) first() (name string, more bool) {
	s.take("{")
	return s.name("")
}

// next goes on after a value. Names only ever increase.
func (s *scanner) next(after string) (name string, more bool) {
	if strings.HasPrefix(s.rest, "}") {
		s.take("}")
		return "", false
	}
	s.take(",")
	return s.name(after)
}

func (s *scanner) name(after string) (string, bool) {
	name := s.text()
	s.take(":")
	if name <= after || strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }) {
		s.failed = true
	}
	return name, !s.failed
}

func (s *scanner) take(token string) {
	var ok bool
	if s.rest, ok = strings.CutPrefix(s.rest, token); !ok {
		s.failed = true
	}
}

func (s *scanner) value() any {
	switch {
	case strings.HasPrefix(s.rest, `"`):
		return s.text()
	case strings.HasPrefix(s.rest, "true"):
		s.take("true")
		return true
	case strings.HasPrefix(s.rest, "false"):
		s.take("false")
		return false
	}
	end := strings.IndexAny(s.rest, ",}")
	if end < 0 {
		s.failed = true
		return nil
	}
	digits := s.rest[:end]
	s.rest = s.rest[end:]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != digits || n > 1<<53 || n < -(1<<53) {
		s.failed = true
	}
	return n
}

// text reads a string. An empty one would have been left out.
func (s *scanner) text() string {
	s.take(`"`)
	end := strings.IndexAny(s.rest, `"\`)
	if s.failed || end < 0 {
		s.failed = true
		return ""
	}
	text := s.rest[:end]
	s.rest = s.rest[end:]
	if strings.ContainsFunc(text, isControl) {
		s.failed = true
	}
	if s.rest[0] == '\\' {
		text += s.escaped()
	}
	s.take(`"`)
	if text == "" || !utf8.ValidString(text) {
		s.failed = true
	}
	return text
}

// escaped reads on from the first backslash of a string to its end.
func (s *scanner) escaped() string {
	var b strings.Builder
	for len(s.rest) > 1 && s.rest[0] != '"' {
		if s.rest[0] != '\\' {
			if isControl(rune(s.rest[0])) {
				break
			}
			b.WriteByte(s.rest[0])
			s.rest = s.rest[1:]
			continue
		}
		short := strings.IndexByte(`"\bfnrt`, s.rest[1])
		if short >= 0 {
			b.WriteByte("\"\\\b\f\n\r\t"[short])
			s.rest = s.rest[2:]
			continue
		}
		if len(s.rest) < 6 {
			break
		}
		n, err := strconv.ParseUint(s.rest[2:6], 16, 8)
		if err != nil || n >= 0x20 || fmt.Sprintf(`\u%04x`, n) != s.rest[:6] || strings.IndexByte("\b\f\n\r\t", byte(n)) >= 0 {
			break
		}
		b.WriteByte(byte(n))
		s.rest = s.rest[6:]
	}
	return b.String()
}

func isControl(r rune) bool { return r < 0x20 }
