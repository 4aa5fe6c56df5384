package policy

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Methods: ways to start signing in.
const (
	Google    = "google"
	Microsoft = "microsoft-entra-id"
	Telegram  = "telegram"
	Email     = "email"
	KeyPIN    = "key-pin"
	SAML      = "saml"
	Passkey   = "passkey"
)

// Ways to satisfy mfa.accept. WebAuthn and TOTP are also factors, and with
// PINStepUp the ways of step_up_accept.
const (
	WebAuthn         = "webauthn"
	TOTP             = "totp"
	PairAnywhere     = "key_pin"                      // the pair itself suffices
	PairOnRegistered = "key_pin_on_registered_device" // there it does
	PINStepUp        = "pin"
)

// Words of single fields.
const (
	everything         = "*"
	required           = "required"
	optional           = "optional"
	anyFactor          = "any"
	phishingResistant  = "phishing_resistant"
	off                = "off"
	witness            = "witness"
	auto               = "auto"
	passkeyOrCard      = "passkey_or_card"
	anywhere           = "anywhere"
	inClinic           = "clinic"
	emergencyClinician = "emergency_clinician"
)

// Document is the policy of one workspace, complete: every field has a value.
// It comes only from Parse and Preset, which hand out nothing out of bounds.
// Its revision is the row's, not the document's.
type Document struct {
	Methods        []string               `json:"methods"`
	Roles          map[identity.Role]Role `json:"roles"`
	MFA            MFA                    `json:"mfa"`
	StepUpAges     map[string]int         `json:"step_up"` // seconds by action
	StepUpMethods  map[string][]string    `json:"step_up_accept"`
	BreakGlass     BreakGlass             `json:"break_glass"`
	MagicLink      MagicLink              `json:"magic_link"`
	Fallback       Fallback               `json:"fallback"`
	Networks       Networks               `json:"networks"`
	PIN            PIN                    `json:"pin"`
	KeyOverlapDays int                    `json:"key_overlap_days"`
}

// Role is a role as the document has it. Document.Role gives what follows.
type Role struct {
	Class    identity.Class `json:"class"`
	MFA      string         `json:"mfa"`    // required or optional
	Prefer   string         `json:"prefer"` // any or phishing_resistant: the factor offered first
	Idle     Duration       `json:"idle"`
	Absolute Duration       `json:"absolute"`
	LockTTL  Duration       `json:"lock_ttl"`
	Methods  []string       `json:"methods"` // narrows the workspace's
	Allow    []string       `json:"allow"`   // applications' actions, or "*"
	Sessions int            `json:"sessions"`
	Roam     string         `json:"roam"` // off or passkey_or_card
}

// MFA says what satisfies a role that requires it.
type MFA struct {
	Accept []string `json:"accept"`
	Grace  Duration `json:"grace"`
}

// BreakGlass is emergency access.
type BreakGlass struct {
	Enabled      bool            `json:"enabled"`
	Minutes      int             `json:"minutes"`
	Role         identity.Role   `json:"role"`
	Allow        []string        `json:"allow"`
	SecondPerson string          `json:"second_person"` // off or witness
	Sealed       Sealed          `json:"sealed"`
	Reviewers    []identity.Role `json:"reviewers"`
}

// Sealed says where sealed codes open.
type Sealed struct {
	Where       string `json:"where"`        // anywhere or clinic
	OfflineNode string `json:"offline_node"` // the only node that opens without the database; "" is every node
}

// MagicLink is the mailed link.
type MagicLink struct {
	TTL Duration `json:"ttl"`
}

// Fallback is what happens in an identity provider's outage.
type Fallback struct {
	KeyPINWhenIDPDown string `json:"key_pin_when_idp_down"` // auto or off
}

// Networks are address ranges that the document speaks of.
type Networks struct {
	Clinic []string `json:"clinic"`
}

// PIN is the form and life of PINs. MaxAgeDays 0 is off.
type PIN struct {
	Length     int `json:"length"`
	MaxAgeDays int `json:"max_age_days"`
	History    int `json:"history"`
}

// Duration is a length of time as the author wrote it: "15m", "1h30m", "7d".
type Duration string

// Value returns the length; 0 for what no Document holds.
func (d Duration) Value() time.Duration {
	value, _ := parseDuration(string(d))
	return value
}

// parseDuration reads whole seconds in Go's units h, m and s, or whole days.
func parseDuration(s string) (time.Duration, bool) {
	if days, found := strings.CutSuffix(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	if len(s) > 16 || strings.Trim(s, "0123456789hms") != "" {
		return 0, false
	}
	value, err := time.ParseDuration(s)
	return value, err == nil && value%time.Second == 0
}

// JSON returns the document as it is answered and kept: indented, members in a
// fixed order, names sorted. Parse reads it back to an equal document.
func (d Document) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(d) // strings, numbers and maps of them: nothing that can fail
	return b.Bytes()
}

// RoleRules is what the document comes to for one role.
type RoleRules struct {
	Class        identity.Class
	MFARequired  bool
	Idle         time.Duration // without activity, then the session locks
	Warning      time.Duration // before that: the smaller of 120 s and half the idle time
	Absolute     time.Duration // then the session is over
	LockTTL      time.Duration // how long a locked session can be unlocked
	Methods      []string      // the role's, narrowed to the workspace's; in the workspace's order
	Allow        []string
	SessionLimit int // open sessions a person
	Roam         bool
}

// Role returns the rules of a role; false when the workspace has no such role.
// break_glass.role is always one: a visitor's, with the rules of Grant.
func (d Document) Role(role identity.Role) (RoleRules, bool) {
	r, found := d.Roles[role]
	switch {
	case !found && role == d.BreakGlass.Role:
		return d.Grant(), true
	case !found:
		return RoleRules{}, false
	}
	rules := RoleRules{
		Class:        r.Class,
		MFARequired:  r.MFA == required,
		Idle:         r.Idle.Value(),
		Absolute:     r.Absolute.Value(),
		LockTTL:      r.LockTTL.Value(),
		Allow:        r.Allow,
		SessionLimit: r.Sessions,
		Roam:         r.Roam == passkeyOrCard,
	}
	rules.Warning = warning(rules.Idle)
	for _, method := range d.Methods {
		if slices.Contains(r.Methods, method) {
			rules.Methods = append(rules.Methods, method)
		}
	}
	return rules, true
}

// grantIdle is the idle time inside a grant: emergencies happen where many
// people pass.
const grantIdle = 10 * time.Minute

// Grant returns the rules of a session inside a grant. It locks after ten
// minutes at most, ends with the grant, and nobody signs in to it.
func (d Document) Grant() RoleRules {
	window := time.Duration(d.BreakGlass.Minutes) * time.Minute
	rules := RoleRules{
		Class:        identity.Clinical,
		Idle:         min(grantIdle, window),
		Absolute:     window,
		LockTTL:      window,
		Allow:        d.grantAllow(),
		SessionLimit: clinicalSessions,
	}
	if r, found := d.Roles[d.BreakGlass.Role]; found {
		rules.Class = r.Class
		rules.Idle = min(rules.Idle, r.Idle.Value())
	}
	rules.Warning = warning(rules.Idle)
	return rules
}

func warning(idle time.Duration) time.Duration { return min(2*time.Minute, idle/2) }

// InClinic reports whether an address is in networks.clinic.
func (d Document) InClinic(address netip.Addr) bool {
	return slices.ContainsFunc(d.Networks.Clinic, func(s string) bool {
		prefix, err := netip.ParsePrefix(s)
		return err == nil && prefix.Contains(address.Unmap())
	})
}
