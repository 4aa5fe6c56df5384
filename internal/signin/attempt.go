package signin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// attemptLife is how long a sign-in may stay half done.
const attemptLife = 10 * time.Minute

// attemptCookie is the browser's hold on its own attempt.
func (m *Machine) attemptCookie(value string) *http.Cookie {
	name, age := "mitral-attempt", int(attemptLife/time.Second)
	if m.sessions.Secure() {
		name = "__Host-mitral-attempt"
	}
	if value == "" {
		age = -1
	}
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: m.sessions.Secure(), SameSite: http.SameSiteLaxMode}
}

// pend keeps a sign-in that is not complete. The attempt can call nothing but its
// own next step.
func (m *Machine) pend(tx *store.Tx, v *session.Visit, userID, method string, a policy.Answer, out *Outcome) error {
	token, asked := identity.NewToken(), strings.Join(a.Methods, " ")
	if err := tx.EndAttemptsOfUser(userID); err != nil {
		return err
	}
	err := tx.InsertAttempt(store.InsertAttemptParams{ID: identity.NewID(identity.AttemptID), TokenHash: tokenHash(token), UserID: userID,
		Method: method, Proven: method, Need: asked, DeviceID: v.Client.Device, ExpiresAt: tx.Now().Add(attemptLife).UnixMicro()})
	if err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: "sign_in.pending", Outcome: audit.Success, Actor: userID, Method: method,
		Detail: audit.Detail{"pending": string(a.State), "asked": asked}})
	if err != nil {
		return err
	}
	tx.After(func() { v.SetCookie(m.attemptCookie(token.Reveal())) })
	*out = Outcome{State: string(a.State), Methods: a.Methods}
	return nil
}

func errSignInFirst() *identity.Refusal {
	return identity.Refuse(identity.Unauthenticated, "signed_out", "Sign in first.")
}

// Pending returns the attempt that this browser has open, or an Unauthenticated
// refusal.
func (m *Machine) Pending(ctx context.Context, v *session.Visit) (store.Attempt, error) {
	token := v.Cookie(m.attemptCookie("").Name)
	if token == "" {
		return store.Attempt{}, errSignInFirst()
	}
	var a store.Attempt
	err := m.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		a, err = tx.AttemptByToken(tokenHash(identity.Secret(token)))
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return store.Attempt{}, errSignInFirst()
	}
	return a, err
}

// finishWithPIN completes an attempt that waits for a new PIN: once it is set,
// next decides anew.
func (m *Machine) finishWithPIN(ctx context.Context, v *session.Visit, current, next identity.Secret) (Outcome, error) {
	a, err := m.Pending(ctx, v)
	if err != nil {
		return Outcome{}, err
	}
	if a.Need != needPIN {
		return Outcome{}, identity.Refuse(identity.Forbidden, "not_next_step", "This is not what the sign-in is waiting for.")
	}
	lane, err := m.LaneOf(ctx, v, a.WorkspaceID, a.UserID)
	if err != nil {
		return Outcome{}, err
	}
	proof, prepared, refused, err := m.proveAndPrepare(ctx, a.WorkspaceID, a.UserID, current, next, lane)
	if err != nil {
		return Outcome{}, err
	}
	if refused != nil && proof.Right() {
		return Outcome{}, refused
	}
	var out Outcome
	err = m.db.Workspace(ctx, audit.By{Actor: a.UserID, Client: v.Client}, a.WorkspaceID, func(tx *store.Tx) error {
		out = Outcome{}
		user, err := tx.HoldUser(a.UserID)
		if err != nil {
			return err
		}
		if _, err := tx.TakeAttempt(a.ID); errors.Is(err, store.ErrNoRows) {
			return m.recordRefused(tx, "sign_in."+eventWord(a.Method), a.Method, errSignInFirst())
		} else if err != nil {
			return err
		}
		right, err := m.SettlePIN(tx, proof, PathKeyPIN)
		if err == nil && !right {
			err = errWrong()
		}
		if err != nil {
			return m.recordRefused(tx, "sign_in."+eventWord(a.Method), a.Method, err)
		}
		if err := m.replacePIN(tx, prepared); err != nil {
			return err
		}
		tx.After(func() { v.SetCookie(m.attemptCookie("")) })
		reason, err := m.enter(tx, v, user, a.Method, tx.Now(), &out)
		if err == nil && reason != "" {
			return m.recordRefused(tx, "sign_in."+eventWord(a.Method), a.Method, errWrong())
		}
		return err
	})
	return out, err
}
