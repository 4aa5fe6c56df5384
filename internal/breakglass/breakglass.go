package breakglass

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// Config is what emergency access works with. All fields are needed.
type Config struct {
	DB        *store.DB
	Keys      *keyring.Ring
	Sessions  *session.Manager
	Signin    *signin.Machine
	Directory *directory.Directory
	Outbox    *notify.Outbox
	Recorder  *record.Recorder
	PublicURL string
	Log       *slog.Logger
}

// BreakGlass is emergency access. It is safe for concurrent use.
type BreakGlass struct {
	db        *store.DB
	keys      *keyring.Ring
	sessions  *session.Manager
	signin    *signin.Machine
	directory *directory.Directory
	outbox    *notify.Outbox
	recorder  *record.Recorder
	publicURL string
	log       *slog.Logger

	resuming sync.Mutex
	resumed  bool
}

// New makes emergency access and gives the outbox the texts of its messages.
func New(c Config) (*BreakGlass, error) {
	if c.DB == nil || c.Keys == nil || c.Sessions == nil || c.Signin == nil || c.Directory == nil || c.Outbox == nil || c.Recorder == nil ||
		c.PublicURL == "" || c.Log == nil {
		return nil, errors.New("breakglass: a field of Config is missing")
	}
	b := &BreakGlass{db: c.DB, keys: c.Keys, sessions: c.Sessions, signin: c.Signin, directory: c.Directory, outbox: c.Outbox,
		recorder: c.Recorder, publicURL: c.PublicURL, log: c.Log}
	b.registerMessages()
	return b, nil
}

// The kinds of start: an administrator for themself, an administrator for
// somebody else, or whoever holds a sealed code.
const (
	KindSelf   = "self"
	KindNamed  = "named"
	KindSealed = "sealed"
)

// How sure Mitral is of who uses a grant that a code opened: the PIN was right,
// nobody proved it, or it is somebody without an account. A grant of a signed-in
// person has none of these.
const (
	IdentityPIN      = "pin"
	IdentityClaimed  = "claimed"
	IdentityVisiting = "visiting"
)

// The states of a grant. The first terminal one stays.
const (
	StateActive  = "active"
	StateEnded   = "ended"   // by its holder, subject or invoker
	StateExpired = "expired" // its time ran out
	StateRevoked = "revoked" // by another administrator or a reviewer
)

// The states of a review.
const (
	ReviewNone     = "none"
	ReviewAwaiting = "awaiting_review"
	ReviewAsked    = "needs_info"
	ReviewDone     = "reviewed"
)

// Flags that a grant can carry. They say something to the reviewer and block
// nothing.
const (
	FlagDrill         = "drill"
	FlagClaimed       = "identity_claimed"      // nobody proved who used it
	FlagChained       = "chained"               // not the person's first in twelve hours
	FlagAskAck        = "acknowledgement_asked" // the third or later: somebody else should look at it while it is open
	FlagManyOpen      = "many_open"             // more than three at once in the workspace
	FlagNormalPath    = "normal_path_available" // key and PIN would have worked
	FlagUndelivered   = "undelivered"           // after five minutes nobody else had been reached
	FlagNoIndependent = "no_independent_review" // the verdict's author depends on subject or invoker, or nobody independent exists
)

// The kinds of what is added to a grant.
const (
	entryNote         = "note"
	entryPatient      = "patient"
	entryReview       = "review"
	entryRegistration = "registration" // a visitor's registration number
)

var (
	// errLost takes back an act that found somebody else had been first.
	errLost = errors.New("somebody else was first")
	// errSignedOut and the others are refusals that several acts share.
	errSignedOut = identity.Refuse(identity.Unauthenticated, "signed_out", "Sign in first.")
	errNotYours  = identity.Refuse(identity.Forbidden, "forbidden", "Only administrators, reviewers and the person it is about may do this.")
	errInside    = identity.Refuse(identity.Forbidden, policy.DenyForbidden, "Emergency access does not reach this.")
	errNoGrant   = identity.Refuse(identity.Unknown, "unknown_grant", "There is no such emergency access here.")
)

// errOff refuses where the policy has emergency access switched off.
func errOff() error {
	return identity.Refuse(identity.Forbidden, "break_glass_off", "Emergency access is switched off in this clinic. Follow the paper procedure.")
}

// paper turns the absence of the database into the answer that a person in an
// emergency needs. Other errors pass.
func paper(err error) error {
	var r *identity.Refusal
	if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) && (!errors.As(err, &r) || r.Kind != identity.Unavailable) {
		return err
	}
	r = identity.Refuse(identity.Unavailable, "break_glass_unavailable", "Mitral cannot reach its database, so it cannot open emergency access now. "+
		"Follow the paper procedure: take the downtime sheet from the clinic's safety binder, treat the patient, write down what you do and when, "+
		"and phone an administrator. Then try again; keep the letter.")
	r.RetryAfter = 5 * time.Second
	return r
}

func isRefusal(err error) bool {
	var r *identity.Refusal
	return errors.As(err, &r)
}

// purpose is the purpose of use (HL7 v3) of what happens inside a grant.
func purpose(category string) string {
	g := session.Grant{Category: category}
	return g.Purpose()
}

// about fills an event in with the grant it belongs to.
func about(g store.Grant, e audit.Event) audit.Event {
	e.Grant = g.ID
	if g.Drill == 0 {
		e.Purpose = purpose(g.Category)
	}
	return e
}

// document reads the workspace's policy within a transaction.
func document(tx *store.Tx) (policy.Document, error) {
	row, err := tx.CurrentPolicy()
	if err != nil {
		return policy.Document{}, err
	}
	doc, bad := policy.Parse([]byte(row.Document))
	if len(bad) > 0 {
		return doc, errors.New("the stored policy cannot be read")
	}
	return doc, nil
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func number(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}
