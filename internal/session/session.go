package session

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/store"
)

var (
	// ErrSignedOut says that the visit belongs to no session: none was named,
	// or it is over, or what named it is not good.
	ErrSignedOut = errors.New("nobody is signed in")
	// ErrLocked comes together with the session, which is locked (or parked):
	// it must be unlocked before it is used.
	ErrLocked = errors.New("the session is locked")
	// ErrDisabled says that no session can be started for a disabled person.
	ErrDisabled = errors.New("the person is disabled")
)

// State is where a session stands for whoever uses it.
type State string

// The states. A parked session is Locked to everybody but the database; an
// Ended one is only met in changes, never in a Live.
const (
	Active State = "active"
	Locked State = "locked"
	Ended  State = "ended"

	parked State = "parked"
)

// Why sessions lock, park and end, as events and rows have it.
const (
	ReasonUser        = "user"         // the person asked
	ReasonIdle        = "idle"         // nobody was there
	ReasonClock       = "clock"        // found at a clock behind the last one stored
	ReasonLimit       = "limit"        // too many open sessions
	ReasonOtherPerson = "other_person" // somebody else signed in on that browser
	ReasonReplaced    = "replaced"     // the same person signed in there again
	ReasonAbsolute    = "absolute"     // the longest time a session may last
	ReasonLockExpired = "lock_expired" // nobody came back in time
	ReasonGrantOver   = "bg_end"       // the grant's time ran out
	ReasonSignOut     = "sign_out"
	ReasonDisabled    = "user_disabled"
	ReasonReuse       = "reuse" // a refresh token came back that was used up
	ReasonPIN         = "pin_exhausted"
	ReasonGrant       = "grant" // of a change: the session came into a grant
)

// Config is what a Manager works with.
type Config struct {
	DB      *store.DB
	Keys    *keyring.Ring
	Dialect Dialect // V5 by default
	// PublicURL is the origin that people's browsers use.
	PublicURL *url.URL
	// Apps are the applications; the public URL's origin is always one.
	Apps []App
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// App is an application that relies on Mitral.
type App struct {
	Origin     string
	Workspaces []string      // slugs; nil means all
	Roles      []string      // nil means all
	Audience   string        // of its access tokens; the origin by default
	TokenTTL   time.Duration // of its access tokens; 120 s by default, 10 minutes at most
}

// Serves reports whether the application is there for a session: its workspace
// and role are among those it names. Inside a grant no role is refused.
func (a App) Serves(l *Live) bool {
	if a.Workspaces != nil && !slices.Contains(a.Workspaces, l.Slug) {
		return false
	}
	return a.Roles == nil || l.Grant != nil || slices.Contains(a.Roles, string(l.Role))
}

// Live is a session as it was at one moment: a snapshot that never changes.
type Live struct {
	ID, WorkspaceID, UserID, DeviceID string
	Slug                              string // the workspace's
	Name, Email                       string // the person's
	Method                            string // of the sign-in
	// Role and Class are what counts now: inside a grant the emergency role's.
	Role  identity.Role
	Class identity.Class
	// OwnRole is the person's own, also inside a grant.
	OwnRole    identity.Role
	State      State // Active or Locked
	Parked     bool  // locked because of another session
	ACR        identity.ACR
	AMR        []string
	FactorUsed bool

	// AuthTime is the sign-in, FreshAt the last sign-in, step-up or passkey
	// unlock.
	AuthTime, FreshAt, CreatedAt, LastActivity time.Time
	// IdleExpiresAt is when an active session locks, AbsoluteExpiresAt when it
	// ends, LockExpiresAt when a locked one ends (zero while active).
	IdleExpiresAt, AbsoluteExpiresAt, LockExpiresAt time.Time

	Grant     *Grant // nil outside grants
	Rules     policy.RoleRules
	PolicyRev int64
	PINLength int // digits, as the policy has it
}

// Grant is the open break-glass that a session is inside of.
type Grant struct {
	ID, Ref, Category, Reason, Identity string
	// InvokerID is who opened it: a user id or "code:<label>".
	InvokerID            string
	StartedAt, ExpiresAt time.Time
}

// Purpose returns the purpose of use (HL7 v3 PurposeOfUse) that events inside
// the grant carry.
func (g *Grant) Purpose() string { return purpose(g.Category) }

func purpose(category string) string {
	if category == "patient_emergency" {
		return "ETREAT"
	}
	return "BTG"
}

// By names the session's person as the one who acts, for the record.
func (l *Live) By(c identity.Client) audit.By {
	by := audit.By{Actor: l.UserID, Client: c, Session: l.ID}
	if l.Grant != nil {
		by.Grant, by.Purpose = l.Grant.ID, l.Grant.Purpose()
	}
	return by
}

// Manager keeps the sessions of one node. It is safe for concurrent use.
type Manager struct {
	db     *store.DB
	keys   *keyring.Ring
	clock  *store.Clock
	codec  CookieCodec
	public string // without a slash at its end
	apps   []App
	log    *slog.Logger

	table  table
	people sync.Map // user id → *person
	spaces sync.Map // workspace id → *space
	follow follower
	kick   chan struct{} // asks for the activity to be written now
	swept  atomic.Int64  // up to when ended sessions' refresh tokens are gone
}

// New makes a manager. It asks nothing of the database yet.
func New(c Config) (*Manager, error) {
	if c.DB == nil || c.Keys == nil || c.PublicURL == nil || c.PublicURL.Host == "" {
		return nil, errors.New("session: DB, Keys and PublicURL are needed")
	}
	if c.Dialect == "" {
		c.Dialect = V5
	}
	if c.Dialect != V4 && c.Dialect != V5 {
		return nil, errors.New("session: the dialect is v4 or v5")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	public := c.PublicURL.Scheme + "://" + c.PublicURL.Host
	m := &Manager{
		db: c.DB, keys: c.Keys, clock: c.DB.Clock(), public: public, log: c.Log,
		codec:  CookieCodec{Dialect: c.Dialect, Secure: c.PublicURL.Scheme == "https"},
		apps:   withPublic(c.Apps, public),
		kick:   make(chan struct{}, 1),
		follow: follower{gate: make(chan struct{}, 1)},
	}
	m.table.init()
	return m, nil
}

func withPublic(apps []App, public string) []App {
	out := slices.Clone(apps)
	for i := range out {
		out[i].Origin = strings.TrimSuffix(out[i].Origin, "/")
		if out[i].Audience == "" {
			out[i].Audience = out[i].Origin
		}
	}
	if !slices.ContainsFunc(out, func(a App) bool { return a.Origin == public }) {
		out = append(out, App{Origin: public, Audience: public})
	}
	return out
}

// Secure reports whether the public URL is https, and with it whether cookies
// carry the prefixes and flag of that.
func (m *Manager) Secure() bool { return m.codec.Secure }

// Dialect returns the Auth.js dialect that applications speak.
func (m *Manager) Dialect() Dialect { return m.codec.Dialect }

// AppAt returns the application at an origin.
func (m *Manager) AppAt(origin string) (App, bool) {
	for _, a := range m.apps {
		if a.Origin == origin {
			return a, true
		}
	}
	return App{}, false
}

// Apps returns the applications, the public URL's among them.
func (m *Manager) Apps() []App { return slices.Clone(m.apps) }

// Policy returns a workspace's policy and its revision as this node knows them:
// at most a second old while the database can be reached. The document is
// shared and must not be changed.
func (m *Manager) Policy(ctx context.Context, workspaceID string) (policy.Document, int64, error) {
	s, err := m.space(ctx, workspaceID)
	if err != nil {
		return policy.Document{}, 0, err
	}
	r := s.now.Load()
	return r.document, r.policyRev, nil
}

// unavailable is the answer when it cannot be known whether a session is good.
// It is never "signed out": browsers keep their cookies.
func unavailable() error {
	r := identity.Refuse(identity.Unavailable, "unavailable", "Mitral cannot reach its database. Your work is safe; try again in a moment.")
	r.RetryAfter = 5 * time.Second
	return r
}

// known turns an error of the database that means it is gone into the refusal.
func known(err error) error {
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return unavailable()
	}
	return err
}

func at(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
