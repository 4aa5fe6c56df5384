package audit

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/identity"
)

// Outcome says how an act ended.
type Outcome string

// The outcomes. Denied is a refusal that was meant; Failure is a fault.
const (
	Success Outcome = "success"
	Denied  Outcome = "denied"
	Failure Outcome = "failure"
)

// Actors that are not people.
const (
	ActorCLI    = "cli"
	ActorSystem = "system"
)

// CodeActor is the actor of an act done with a sealed code.
func CodeActor(label string) string { return "code:" + label }

// Detail is what a type of event needs besides the common members: strings,
// int64 and bool values. Names, mail addresses, telephone numbers and secrets
// never go here.
type Detail map[string]any

// Event is one entry of the record. Its leaf is fixed when it is recorded.
type Event struct {
	ID        string // set when recorded; more than 96 random bits
	At        time.Time
	Type      string // dotted, begins with its subject: "sign_in.key_pin"
	Outcome   Outcome
	Workspace string
	Actor     string // user id, "code:<label>", "cli", "system" or "" for nobody known
	User      string // whom the act is about, when that is not the actor
	Method    string
	Client    identity.Client
	Session   string
	Grant     string
	Purpose   string // "ETREAT" or "BTG" inside a grant
	Detail    Detail
	// Anonymous marks a refusal that anybody can cause without proving
	// anything first. Only these are summed when they come in floods.
	Anonymous bool
}

// members that Detail may not use.
var common = map[string]bool{
	"id": true, "at": true, "type": true, "outcome": true, "workspace_id": true, "actor": true, "user_id": true,
	"method": true, "ip": true, "user_agent": true, "device_id": true, "session_id": true, "grant_id": true, "purpose": true,
}

// ErrLeaf is the error of an event that has no canonical form.
var ErrLeaf = errors.New("the event has no canonical form")

// Leaf returns the event's canonical JSON (RFC 8785; strings, integers and
// booleans only, members without a value left out): the bytes that are stored
// and hashed. Times are UTC with microseconds.
func (e Event) Leaf() ([]byte, error) {
	m := map[string]any{
		"id": e.ID, "at": e.At.UTC().Format("2006-01-02T15:04:05.000000Z"), "type": e.Type, "outcome": string(e.Outcome),
		"workspace_id": e.Workspace, "actor": e.Actor, "user_id": e.User, "method": e.Method, "ip": e.Client.Address(),
		"user_agent": e.Client.UserAgent, "device_id": e.Client.Device, "session_id": e.Session, "grant_id": e.Grant,
		"purpose": e.Purpose,
	}
	if e.ID == "" || e.Type == "" || e.Outcome == "" {
		return nil, fmt.Errorf("%w: id, type and outcome are needed", ErrLeaf)
	}
	for k, v := range e.Detail {
		if common[k] {
			return nil, fmt.Errorf("%w: %s is a common member", ErrLeaf, k)
		}
		m[k] = v
	}
	return canonical(m)
}

func canonical(m map[string]any) ([]byte, error) {
	keys := make([]string, 0, len(m))
	for k, v := range m {
		if v == "" || v == nil {
			continue
		}
		for _, r := range k {
			if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' {
				return nil, fmt.Errorf("%w: member %q", ErrLeaf, k)
			}
		}
		keys = append(keys, k)
	}
	sort.Strings(keys) // members are ASCII, so bytes sort as UTF-16 units do
	var b strings.Builder
	b.WriteByte('{')
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		writeString(&b, k)
		b.WriteByte(':')
		switch v := m[k].(type) {
		case string:
			if !utf8.ValidString(v) {
				return nil, fmt.Errorf("%w: %s is not UTF-8", ErrLeaf, k)
			}
			writeString(&b, v)
		case bool:
			fmt.Fprintf(&b, "%t", v)
		case int64:
			if v > 1<<53 || v < -(1<<53) {
				return nil, fmt.Errorf("%w: %s is beyond exact integers", ErrLeaf, k)
			}
			fmt.Fprintf(&b, "%d", v)
		case int:
			fmt.Fprintf(&b, "%d", v)
		default:
			return nil, fmt.Errorf("%w: %s is a %T", ErrLeaf, k, v)
		}
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// writeString writes a JSON string as RFC 8785 §3.2.2.2 does: the two-letter
// escapes where they exist, \u00xx for other controls, nothing else escaped.
func writeString(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\b':
			b.WriteString(`\b`)
		case '\f':
			b.WriteString(`\f`)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			if r < 0x20 {
				fmt.Fprintf(b, `\u%04x`, r)
			} else {
				b.WriteRune(r)
			}
		}
	}
	b.WriteByte('"')
}

// By is who acts and from where: what all events of one act share.
type By struct {
	Actor   string
	Client  identity.Client
	Session string
	Grant   string
	Purpose string
}
