package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// StepUpLife is how long a step-up token is good for.
const StepUpLife = 2 * time.Minute

// maxTxHash bounds what a token can be bound to.
const maxTxHash = 128

// StepUpInput is a fresh proof for one action and, where given, one transaction.
type StepUpInput struct {
	Action, Summary, TxHash, Method string
	PIN                             identity.Secret
}

// StepUp proves the person again and answers with a token that is good once,
// for two minutes, for this session, action and transaction. A locked session
// can step up for break_glass only.
func (m *Machine) StepUp(ctx context.Context, who Who, in StepUpInput) (identity.Secret, time.Time, error) {
	live := who.Live
	if err := checkTxHash(in.TxHash); err != nil {
		return "", time.Time{}, err
	}
	d, err := m.policyNow(ctx, live.WorkspaceID)
	if err != nil {
		return "", time.Time{}, err
	}
	if _, known := d.StepUp(in.Action); !known {
		return "", time.Time{}, identity.RefuseField("action", "unknown", "The policy knows no such action.")
	}
	if live.State == session.Locked && in.Action != policy.ActBreakGlass {
		return "", time.Time{}, identity.Refuse(identity.Locked, "session_locked", "The session is locked. Unlock it first.")
	}
	if in.Method != policy.PINStepUp || !d.StepUpAccepts(in.Action, in.Method, false) {
		return "", time.Time{}, identity.RefuseField("method", "not_accepted", "This action does not accept that proof.")
	}
	if err := m.ownBrowser(ctx, who.Visit, live, "step_up.confirm", in.Method); err != nil {
		return "", time.Time{}, err
	}
	proof, err := m.ProvePIN(ctx, live.WorkspaceID, live.UserID, in.PIN, laneIn(live, who.client()))
	if err != nil {
		return "", time.Time{}, err
	}
	token := identity.NewToken()
	var expires time.Time
	err = m.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
		expires = tx.Now().Add(StepUpLife)
		prove := func() (bool, error) { return m.SettlePIN(tx, proof, PathStepUp) }
		if err := m.provenIn(tx, live, "step_up.confirm", in.Method, prove); err != nil {
			return err
		}
		err = tx.InsertStepUp(store.InsertStepUpParams{Hash: tokenHash(token), SessionID: live.ID, Action: in.Action, TxHash: in.TxHash,
			Method: in.Method, ExpiresAt: expires.UnixMicro()})
		if err != nil {
			return err
		}
		if err := m.freshen(tx, live, d, in.Method); err != nil {
			return err
		}
		_, err = tx.Record(audit.Event{Type: "step_up.confirm", Outcome: audit.Success, Method: in.Method, Detail: stepUpDetail(in.Action, in.TxHash)})
		return err
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return token, expires, nil
}

// freshen counts a step-up as activity, and makes the session fresh, unless the
// policy wants a better proof for something that a fresh session may do unasked.
func (m *Machine) freshen(tx *store.Tx, live *session.Live, d policy.Document, method string) error {
	for action, seconds := range d.StepUpAges {
		if seconds > 0 && !d.StepUpAccepts(action, method, false) {
			if live.State == session.Active {
				tx.After(func() { m.sessions.Touch(live) })
			}
			return nil
		}
	}
	return m.sessions.Freshen(tx, live, false)
}

// stepUpDetail names the action and a digest of what it is bound to: an
// application's transaction hash may be guessable, so the record salts it.
func stepUpDetail(action, txHash string) audit.Detail {
	d := audit.Detail{"action": action}
	if txHash != "" {
		salt := identity.NewToken().Reveal()[:26]
		sum := sha256.Sum256([]byte(salt + "\x00" + txHash))
		d["tx_salt"], d["tx_digest"] = salt, hex.EncodeToString(sum[:])
	}
	return d
}

func checkTxHash(s string) error {
	if len(s) > maxTxHash {
		return identity.RefuseField("tx_hash", "too_long", "At most 128 printable characters.")
	}
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			return identity.RefuseField("tx_hash", "not_printable", "At most 128 printable characters.")
		}
	}
	return nil
}

// need is the refusal of an action that wants a fresh proof (RFC 9470).
func need(action string, maxAge time.Duration) error {
	r := identity.Refuse(identity.StepUpNeeded, "insufficient_user_authentication", "Confirm that it is you, then try again.")
	r.Action, r.MaxAge = action, maxAge
	return r
}

// Confirm is the gate of one action within its transaction: it passes when the
// session is fresh enough for the action's age, or when the token was made for
// this session, action and transaction, which spends it. A token that reaches
// here is spent, right or wrong; under another session it is refused unspent.
// The caller records what comes of it.
func (m *Machine) Confirm(tx *store.Tx, live *session.Live, d policy.Document, action string, token identity.Secret, txHash string) error {
	maxAge, asked := d.StepUp(action)
	if !asked {
		return nil
	}
	if token != "" {
		row, err := tx.SpendStepUp(tokenHash(token), live.ID)
		switch {
		case errors.Is(err, store.ErrNoRows):
		case err != nil:
			return err
		case row.Action == action && row.TxHash == txHash && row.ExpiresAt > tx.Micros():
			return nil
		default:
			return need(action, maxAge)
		}
	}
	if fresh(live, action, maxAge, tx.Now()) {
		return nil
	}
	return need(action, maxAge)
}

// fresh reports whether the last sign-in or step-up is young enough. At age 0 it
// never is.
func fresh(live *session.Live, action string, maxAge time.Duration, now time.Time) bool {
	if live.State != session.Active || now.Sub(live.FreshAt) >= maxAge {
		return false
	}
	return live.Method != "recovery_code" || action == policy.ActFactors
}
