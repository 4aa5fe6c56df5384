package signin

import (
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// ChangePIN sets a new PIN over the current one, which is the proof. In a
// pending attempt that waits for it, it completes the sign-in; else the outcome
// is signed_in with the session as it was. Five wrong ones end the session. It
// is not possible inside a grant.
func (m *Machine) ChangePIN(ctx context.Context, who Who, current, next identity.Secret) (Outcome, error) {
	if who.Live == nil || who.Live.State == session.Locked {
		return m.finishWithPIN(ctx, who.Visit, current, next)
	}
	live := who.Live
	if err := m.Allowed(ctx, who, policy.ActCredentials); err != nil {
		return Outcome{}, m.RecordRefusal(ctx, who, live.WorkspaceID, "pin.change", err)
	}
	if err := m.ownBrowser(ctx, who.Visit, live, "factor.pin_set", policy.PINStepUp); err != nil {
		return Outcome{}, err
	}
	proof, prepared, refused, err := m.proveAndPrepare(ctx, live.WorkspaceID, live.UserID, current, next, laneIn(live, who.client()))
	if err != nil {
		return Outcome{}, err
	}
	err = m.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
		prove := func() (bool, error) { return m.SettlePIN(tx, proof, PathChange) }
		if err := m.provenIn(tx, live, "factor.pin_set", policy.PINStepUp, prove); err != nil {
			return err
		}
		if refused != nil {
			return m.recordRefused(tx, "factor.pin_set", policy.PINStepUp, refused)
		}
		return m.replacePIN(tx, prepared)
	})
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{State: string(policy.SignedIn), Session: live}, nil
}

// proveAndPrepare compares the current PIN and hashes the next one. refused is
// why the next one may not be, where that is known only after hashing: nobody
// hears it whose current PIN is wrong, or the history would tell them what it
// is.
func (m *Machine) proveAndPrepare(ctx context.Context, workspaceID, userID string, current, next identity.Secret, lane Lane) (PINProof, PreparedPIN, error, error) {
	d, err := m.policyNow(ctx, workspaceID)
	if err != nil {
		return PINProof{}, PreparedPIN{}, nil, err
	}
	if err := m.mayChoose(ctx, workspaceID, userID, d, next, fieldNewPIN); err != nil {
		return PINProof{}, PreparedPIN{}, nil, err
	}
	proof, err := m.provePIN(ctx, workspaceID, userID, current, "current_pin", lane)
	if err != nil {
		return proof, PreparedPIN{}, nil, err
	}
	prepared, err := m.PreparePIN(ctx, workspaceID, userID, next, fieldNewPIN, lane)
	var refused *identity.Refusal
	if errors.As(err, &refused) && refused.Kind == identity.Invalid {
		return proof, prepared, refused, nil
	}
	return proof, prepared, nil, err
}

const fieldNewPIN = "new_pin"

// replacePIN sets a PIN over one that was proven, and tells its person.
func (m *Machine) replacePIN(tx *store.Tx, p PreparedPIN) error {
	if err := m.SetPIN(tx, p); err != nil {
		return err
	}
	return m.tell(tx, p.userID, "pin_changed")
}

// IssueKey gives a person a new key and lets the others run out at the given
// time (now, when a key was lost). The key is shown to the caller once.
func (m *Machine) IssueKey(tx *store.Tx, userID string, key PreparedKey, othersEnd time.Time) error {
	if err := tx.InsertUserKey(key.id, userID, key.verifier); err != nil {
		return err
	}
	return tx.ExpireUserKeys(userID, key.id, othersEnd.UnixMicro())
}

// PreparedKey is a new key, already hashed.
type PreparedKey struct {
	id       string
	Key      identity.Secret
	verifier []byte
}

// PrepareKey makes a new key.
func (m *Machine) PrepareKey(ctx context.Context, lane Lane) (PreparedKey, error) {
	k := PreparedKey{id: identity.NewID(identity.KeyID), Key: identity.NewKey()}
	canonical, err := identity.ParseKey(k.Key.Reveal())
	if err != nil {
		return k, err
	}
	var failed error
	err = m.slots.Do(ctx, lane, func() {
		k.verifier, failed = m.keys.NewVerifier(m.keys.Costs().KeyPIN, "user_key", "verifier", k.id, canonical, nil)
	})
	if err == nil {
		err = failed
	}
	return k, err
}

// RotateKey gives the person behind a session a new key. The old one stays good
// for the policy's overlap. Step-up: credentials.
func (m *Machine) RotateKey(ctx context.Context, who Who) (identity.Secret, time.Time, error) {
	live := who.Live
	d, err := m.policyNow(ctx, live.WorkspaceID)
	if err != nil {
		return "", time.Time{}, err
	}
	k, err := m.PrepareKey(ctx, laneIn(live, who.client()))
	if err != nil {
		return "", time.Time{}, err
	}
	var ends time.Time
	err = m.Act(ctx, who, live.WorkspaceID, policy.ActCredentials, "rotate_key", nil, func(tx *store.Tx) error {
		ends = tx.Now().AddDate(0, 0, d.KeyOverlapDays)
		if err := m.IssueKey(tx, live.UserID, k, ends); err != nil {
			return err
		}
		if _, err := tx.Record(audit.Event{Type: "factor.key_rotate", Outcome: audit.Success, User: live.UserID}); err != nil {
			return err
		}
		return m.tell(tx, live.UserID, "key_rotated")
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return k.Key, ends, nil
}
