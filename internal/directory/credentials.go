package directory

import (
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// Credentials is what a person has to sign in with, and what is under way for
// them. Times are zero for what is not there.
type Credentials struct {
	KeyMade, OldKeyStops  time.Time
	PINSet                time.Time
	CodesLeft, CodesTotal int // recovery codes
	ClaimUntil            time.Time
}

// Credentials tells what a person of a workspace has.
func (d *Directory) Credentials(ctx context.Context, workspaceID, userID string) (Credentials, error) {
	var out Credentials
	err := d.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		keys, err := tx.LiveUserKeys(userID)
		if err != nil {
			return err
		}
		for i, k := range keys {
			if i == 0 {
				out.KeyMade = at(k.CreatedAt)
			} else {
				out.OldKeyStops = at(k.ExpiresAt)
			}
		}
		pin, err := tx.UserPin(userID)
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return err
		}
		out.PINSet = at(pin.SetAt)
		codes, err := tx.RecoveryCodes(userID)
		if err != nil {
			return err
		}
		out.CodesTotal = len(codes)
		for _, c := range codes {
			if c.UsedAt == 0 {
				out.CodesLeft++
			}
		}
		claims, err := tx.OpenClaims()
		for _, c := range claims {
			if c.UserID == userID {
				out.ClaimUntil = at(c.ExpiresAt)
			}
		}
		return err
	})
	return out, err
}

// EndSessions ends every session of a person. Action: users.
func (d *Directory) EndSessions(ctx context.Context, who signin.Who, userID string) error {
	check := func(tx *store.Tx) error {
		_, err := tx.User(userID)
		return unknown(err, "user")
	}
	return d.signin.Act(ctx, who, who.Live.WorkspaceID, policy.ActUsers, "user.end_sessions", check, func(tx *store.Tx) error {
		n, err := d.sessions.EndAll(tx, userID, "revoked", "")
		if err != nil {
			return err
		}
		_, err = tx.Record(audit.Event{Type: "user.end_sessions", Outcome: audit.Success, User: userID, Detail: audit.Detail{"count": int64(n)}})
		return err
	})
}

// NewRecoveryCodes gives the person behind a session ten new recovery codes in
// place of the old. Action: factors.
func (d *Directory) NewRecoveryCodes(ctx context.Context, who signin.Who) ([]identity.Secret, error) {
	live := who.Live
	if err := d.signin.Allowed(ctx, who, policy.ActFactors); err != nil {
		return nil, d.signin.RecordRefusal(ctx, who, live.WorkspaceID, "recovery_codes", err)
	}
	set, err := d.prepareRecovery(ctx, signin.Lane{Device: live.DeviceID})
	if err != nil {
		return nil, err
	}
	err = d.signin.Act(ctx, who, live.WorkspaceID, policy.ActFactors, "recovery_codes", nil, func(tx *store.Tx) error {
		if err := set.insert(tx, live.UserID); err != nil {
			return err
		}
		if err := tx.SetRecoverySalt(live.UserID, set.salt); err != nil {
			return err
		}
		user, err := tx.User(live.UserID)
		if err != nil {
			return err
		}
		return d.signin.Tell(tx, user, "recovery_codes", user)
	})
	if err != nil {
		return nil, err
	}
	return set.codes, nil
}
