package signin

import (
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// UnlockInput is the proof that opens a locked session again: a PIN, or, in the
// session that it opened, a sealed code.
type UnlockInput struct {
	Method string // pin or sealed_code
	PIN    identity.Secret
	Code   identity.Secret
}

// Unlock opens a locked session for the person it belongs to, on the browser
// that holds it. The fifth wrong proof ends the session, never more. A session
// that is open already stays so.
func (m *Machine) Unlock(ctx context.Context, v *session.Visit, live *session.Live, in UnlockInput) (*session.Live, error) {
	if live.State != session.Locked {
		return live, nil
	}
	if err := m.ownBrowser(ctx, v, live, "session.unlock", in.Method); err != nil {
		return nil, err
	}
	prove, err := m.unlockProof(ctx, v, live, in)
	if err != nil {
		return nil, err
	}
	var open *session.Live
	err = m.db.Workspace(ctx, live.By(v.Client), live.WorkspaceID, func(tx *store.Tx) error {
		open = nil
		err := m.provenIn(tx, live, "session.unlock", in.Method, func() (bool, error) { return prove(tx) })
		if err != nil {
			return err
		}
		if open, err = m.sessions.Unlock(tx, v, live, false); err != nil {
			return m.recordRefused(tx, "session.unlock", in.Method, err)
		}
		if _, err = tx.Record(audit.Event{Type: "session.unlock", Outcome: audit.Success, Method: in.Method}); err != nil {
			return err
		}
		open, err = m.takeUp(tx, v, open)
		return err
	})
	return open, err
}

// takeUp brings the session of somebody who has just proven themself inside the
// grant that an administrator opened for them meanwhile, and returns how it
// stands then.
func (m *Machine) takeUp(tx *store.Tx, v *session.Visit, live *session.Live) (*session.Live, error) {
	g, err := tx.OpenGrantOf(live.UserID)
	if errors.Is(err, store.ErrNoRows) {
		return live, nil
	}
	if err != nil || g.Kind != "named" || live.Grant != nil {
		return live, err
	}
	live, err = m.sessions.AttachGrant(tx, v, live.ID, g.ID, time.UnixMicro(g.ExpiresAt))
	if err != nil {
		return nil, err
	}
	purpose := (&session.Grant{Category: g.Category}).Purpose()
	_, err = tx.Record(audit.Event{Type: "break_glass.take_up", Outcome: audit.Success, Actor: live.UserID, Session: live.ID, Grant: g.ID, Purpose: purpose,
		Detail: audit.Detail{"ref": g.Ref}})
	return live, err
}

// ownBrowser refuses a proof from another browser than the one that the session
// was started on, before anything is compared: stolen cookies guess nothing.
func (m *Machine) ownBrowser(ctx context.Context, v *session.Visit, live *session.Live, event, method string) error {
	if v != nil && v.Holds(live) {
		return nil
	}
	who := Who{Live: live, Visit: v}
	return m.db.Workspace(ctx, who.By(), live.WorkspaceID, func(tx *store.Tx) error {
		return m.recordRefused(tx, event, method, identity.Refuse(identity.Forbidden, "other_browser",
			"This is not the browser that you signed in with. Sign in here instead."))
	})
}

// laneIn is the lane of a person within their own session.
func laneIn(live *session.Live, c identity.Client) Lane {
	return Lane{Device: live.DeviceID, Range: c.Range()}
}

func (m *Machine) unlockProof(ctx context.Context, v *session.Visit, live *session.Live, in UnlockInput) (func(*store.Tx) (bool, error), error) {
	lane := laneIn(live, v.Client)
	switch in.Method {
	case "pin":
		proof, err := m.ProvePIN(ctx, live.WorkspaceID, live.UserID, in.PIN, lane)
		if err != nil {
			return nil, err
		}
		return func(tx *store.Tx) (bool, error) { return m.SettlePIN(tx, proof, PathUnlock) }, nil
	case "sealed_code":
		code, bad := identity.ParseCode(in.Code.Reveal(), 10)
		if bad != nil {
			return nil, identity.RefuseField("code", "code_format", "This cannot be a sealed code: "+bad.Error()+".")
		}
		ok, err := m.opened(ctx, live, code, lane)
		if err != nil {
			return nil, err
		}
		return func(*store.Tx) (bool, error) { return ok, nil }, nil
	}
	return nil, identity.RefuseField("method", "unknown", "Unlock with a PIN, or with the sealed code that opened this session.")
}

// opened reports whether a sealed code is the one that opened this session's
// grant (a visitor has neither PIN nor passkey).
func (m *Machine) opened(ctx context.Context, live *session.Live, code identity.Secret, lane Lane) (bool, error) {
	var w store.Workspace
	var codes []store.SealedCode
	err := m.db.Read(ctx, live.WorkspaceID, func(tx *store.Tx) (err error) {
		if w, err = tx.WorkspaceRow(); err != nil {
			return err
		}
		codes, err = tx.SealedCodes()
		return err
	})
	if err != nil {
		return false, err
	}
	set, err := keyring.ParseSet(string(w.CodeSalt))
	if err != nil {
		return false, err
	}
	var digest []byte
	var failed error
	if err := m.slots.Do(ctx, lane, func() { digest, failed = set.Hash(code) }); err != nil {
		return false, err
	}
	if failed != nil {
		return false, failed
	}
	ok := false
	for _, c := range codes {
		match, err := m.keys.MatchDigest(digest, c.Digest, "sealed_code", "digest", c.ID)
		if err != nil {
			return false, err
		}
		if match.OK && live.Grant != nil && c.GrantID == live.Grant.ID {
			ok = true
		}
	}
	return ok, nil
}

// provenIn decides a proof that was given within a session. The person's row
// and the session's come first, so that tries at once are decided one after the
// other; once the session has ended no proof is looked at. A wrong one counts
// against the session's five, whatever it was for; a right one starts them anew
// once an hour has gone by without a wrong one.
func (m *Machine) provenIn(tx *store.Tx, live *session.Live, event, method string, prove func() (bool, error)) error {
	if _, err := tx.HoldUser(live.UserID); err != nil {
		return err
	}
	_, err := tx.HoldSession(live.ID)
	if errors.Is(err, store.ErrNoRows) {
		return m.recordRefused(tx, event, method, identity.Refuse(identity.Unauthenticated, codeSessionEnded, "This session is over. Sign in again."))
	}
	if err != nil {
		return err
	}
	right, err := prove()
	if err != nil {
		return m.recordRefused(tx, event, method, err)
	}
	if !right {
		return m.countSessionMiss(tx, live, event, method)
	}
	return tx.ResetSessionPinMisses(live.ID)
}

const codeSessionEnded = "session_ended"

// countSessionMiss counts a wrong proof against the session's five and answers
// with what is left.
func (m *Machine) countSessionMiss(tx *store.Tx, live *session.Live, event, method string) error {
	row, err := tx.CountSessionPinMiss(live.ID)
	if err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: event, Outcome: audit.Denied, Method: method, Detail: audit.Detail{"reason": "wrong_" + method, "misses": row.PinMisses}})
	if err != nil {
		return err
	}
	m.sessions.Apply(tx, row)
	if row.State == string(session.Ended) {
		if _, err := tx.Record(audit.Event{Type: "session.end", Outcome: audit.Success, Detail: audit.Detail{"reason": row.EndReason}}); err != nil {
			return err
		}
		return identity.Refuse(identity.Unauthenticated, codeSessionEnded, "Five wrong tries: this session is over. Sign in again; nothing else is blocked.")
	}
	r := identity.Refuse(identity.Unauthenticated, "wrong_"+method, "That was not right. Try again.")
	r.Extra = map[string]any{"tries_left": 5 - row.PinMisses}
	return r
}

// recordRefused leaves the event of an act that was refused with err, when err is
// a refusal, and hands it on.
func (m *Machine) recordRefused(tx *store.Tx, event, method string, err error) error {
	var r *identity.Refusal
	if !errors.As(err, &r) {
		return err
	}
	if _, err := tx.Record(audit.Event{Type: event, Outcome: audit.Denied, Method: method, Detail: audit.Detail{"reason": r.Code}}); err != nil {
		return err
	}
	return r
}
