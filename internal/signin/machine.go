package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// Config is what the machine works with. All fields are needed.
type Config struct {
	DB       *store.DB
	Keys     *keyring.Ring
	Sessions *session.Manager
	Outbox   *notify.Outbox
	Slots    *Slots
	Log      *slog.Logger
}

// Machine is the sign-in machine. It is safe for concurrent use.
type Machine struct {
	db       *store.DB
	keys     *keyring.Ring
	sessions *session.Manager
	outbox   *notify.Outbox
	slots    *Slots
	log      *slog.Logger
	strikes  strikes
}

// New makes the machine.
func New(c Config) (*Machine, error) {
	if c.DB == nil || c.Keys == nil || c.Sessions == nil || c.Outbox == nil || c.Slots == nil || c.Log == nil {
		return nil, errors.New("signin: a field of Config is missing")
	}
	return &Machine{db: c.DB, keys: c.Keys, sessions: c.Sessions, outbox: c.Outbox, slots: c.Slots, log: c.Log}, nil
}

// Who is the one who acts: a session behind a browser or token, or the command
// line on the host.
type Who struct {
	Live   *session.Live
	Visit  *session.Visit
	StepUp identity.Secret // the step-up token that came along, or ""
	cli    bool
}

// CLI is the operator at the command line: no session, no step-up.
func CLI() Who { return Who{cli: true} }

// IsCLI reports whether the operator at the command line acts.
func (w Who) IsCLI() bool { return w.cli }

// By names the actor for the record.
func (w Who) By() audit.By {
	switch {
	case w.cli:
		return audit.By{Actor: audit.ActorCLI}
	case w.Live != nil:
		return w.Live.By(w.client())
	}
	return audit.By{Client: w.client()}
}

func (w Who) client() identity.Client {
	if w.Visit == nil {
		return identity.Client{}
	}
	return w.Visit.Client
}

// Outcome is where a sign-in stands.
type Outcome struct {
	State   string   // signed_in, mfa_required or enrollment_required
	Methods []string // what is asked, unless signed in
	Session *session.Live
}

// tokenHash is how one-time tokens of 256 random bits are kept. It is never used
// on a key, PIN or code.
func tokenHash(t identity.Secret) string {
	sum := sha256.Sum256([]byte(t.Reveal()))
	return hex.EncodeToString(sum[:])
}

// policyNow returns a workspace's policy as the database has it: what lets
// people in never goes by what a node remembers.
func (m *Machine) policyNow(ctx context.Context, workspaceID string) (policy.Document, error) {
	if _, _, err := m.sessions.Policy(ctx, workspaceID); err != nil {
		return policy.Document{}, err
	}
	var d policy.Document
	err := m.db.Read(ctx, workspaceID, func(tx *store.Tx) (err error) {
		d, err = m.policyIn(tx)
		return err
	})
	return d, err
}

// policyIn is policyNow within a transaction. It is parsed only where this node
// does not remember the latest.
func (m *Machine) policyIn(tx *store.Tx) (policy.Document, error) {
	row, err := tx.CurrentPolicy()
	if err != nil {
		return policy.Document{}, err
	}
	known, rev, err := m.sessions.Policy(tx.Context(), tx.WorkspaceID())
	if err != nil || rev == row.Rev {
		return known, err
	}
	d, bad := policy.Parse([]byte(row.Document))
	if len(bad) > 0 {
		return d, errors.New("the stored policy cannot be read")
	}
	return d, nil
}

// lane returns the lane a visitor hashes in, and whether the browser is known
// for the person: it signed them in before and was not found guessing since.
func (m *Machine) lane(ctx context.Context, v *session.Visit, workspaceID, userID string) (Lane, bool, error) {
	open := Lane{Range: v.Client.Range()}
	if v.Client.Device == "" || userID == "" {
		return open, false, nil
	}
	known := false
	err := m.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		var err error
		known, err = knows(tx, v, userID)
		return err
	})
	if err != nil || !known {
		return open, false, err
	}
	return Lane{Device: v.Client.Device, Range: open.Range}, true, nil
}

// LaneOf is the lane of a visitor who acts for a person.
func (m *Machine) LaneOf(ctx context.Context, v *session.Visit, workspaceID, userID string) (Lane, error) {
	lane, _, err := m.lane(ctx, v, workspaceID, userID)
	return lane, err
}

// Hash runs Argon2id work in the visitor's lane.
func (m *Machine) Hash(ctx context.Context, lane Lane, f func()) error {
	return m.slots.Do(ctx, lane, f)
}
