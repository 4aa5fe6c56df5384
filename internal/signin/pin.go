package signin

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/store"
)

// Paths by which a PIN can be checked, as the ledger names them.
const (
	PathKeyPIN     = "key_pin"
	PathUnlock     = "unlock"
	PathStepUp     = "step_up"
	PathChange     = "pin_change"
	PathClaim      = "claim"
	PathBreakGlass = "break_glass"
)

// The ledger's bounds on wrong PINs of one person. At the first three a PIN
// counts for nothing on that device, at the last nowhere: it must be set anew.
const (
	ledgerHour  = 5 // since the last sign-in; key + PIN has its own pause, claims their own five
	ledgerDay   = 10
	ledgerMonth = 30
	ledgerTotal = 100
)

// PINProof is a checked PIN that has not been counted yet.
type PINProof struct {
	userID            string
	set, right        bool
	digits            int // how many the person's PIN has
	verifier, renewed []byte
	setAt             time.Time
}

// Set reports whether the person has a PIN at all.
func (p PINProof) Set() bool { return p.set }

// Right reports whether the PIN was right when it was compared.
func (p PINProof) Right() bool { return p.right }

// ProvePIN compares a PIN with the person's, in the given lane. Every path goes
// through it; SettlePIN makes its answer count. The work is the same for people
// without a PIN, and for nobody (""). One that has not the digits of the
// person's PIN is an Invalid refusal of the field "pin" before anything is
// hashed.
func (m *Machine) ProvePIN(ctx context.Context, workspaceID, userID string, pin identity.Secret, lane Lane) (PINProof, error) {
	return m.provePIN(ctx, workspaceID, userID, pin, "pin", lane)
}

func (m *Machine) provePIN(ctx context.Context, workspaceID, userID string, pin identity.Secret, field string, lane Lane) (PINProof, error) {
	p, err := m.readPIN(ctx, workspaceID, userID)
	if err != nil {
		return p, err
	}
	if !WellFormedPIN(pin) || p.set && len(pin) != p.digits {
		return p, refusePINForm(field)
	}
	var failed error
	if err := m.slots.Do(ctx, lane, func() { failed = m.comparePIN(&p, pin) }); err != nil {
		return p, err
	}
	return p, failed
}

func (m *Machine) readPIN(ctx context.Context, workspaceID, userID string) (PINProof, error) {
	p := PINProof{userID: userID}
	if userID == "" {
		return p, nil
	}
	err := m.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		row, err := tx.UserPin(userID)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		p.set, p.digits, p.verifier, p.setAt = err == nil, int(row.Digits), row.Verifier, time.UnixMicro(row.SetAt)
		return err
	})
	return p, err
}

// comparePIN is called with a slot held.
func (m *Machine) comparePIN(p *PINProof, pin identity.Secret) error {
	cost := m.keys.Costs().KeyPIN
	if !p.set {
		m.dummy(pin)
		return nil
	}
	match, err := m.keys.CheckVerifier(cost, p.verifier, "user_pin", "verifier", p.userID, pin)
	if err != nil {
		return err
	}
	p.right = match.OK
	if match.OK && match.Stale {
		p.renewed, err = m.keys.NewVerifier(cost, "user_pin", "verifier", p.userID, pin, nil)
	}
	return err
}

// SettlePIN decides in the transaction of the act whether the PIN was right,
// and counts it in the person's ledger if not. A PIN changed since it was
// compared is wrong. A stopped PIN is a Forbidden refusal, which counts nothing
// and which the caller records. Tries of one person are decided one after the
// other.
func (m *Machine) SettlePIN(tx *store.Tx, p PINProof, path string) (bool, error) {
	if !p.set {
		return false, nil
	}
	user, err := tx.HoldUser(p.userID)
	if err != nil {
		return false, err
	}
	row, err := tx.UserPin(p.userID)
	if err != nil {
		return false, err
	}
	device := tx.By().Client.Device
	now := tx.Now()
	ledger, err := tx.PinLedger(store.PinLedgerParams{DeviceID: device, UserID: p.userID,
		Hour: max(now.Add(-time.Hour).UnixMicro(), user.SignedInAt), Day: now.Add(-24 * time.Hour).UnixMicro(),
		Month: now.Add(-30 * 24 * time.Hour).UnixMicro()})
	if err != nil {
		return false, err
	}
	if stopped(ledger, path) {
		return false, identity.Refuse(identity.Forbidden, codePINStopped,
			"Too many wrong PINs here. Sign in with your key or another way, or ask an administrator for a new PIN.")
	}
	if !p.right || !bytes.Equal(row.Verifier, p.verifier) {
		return false, m.countMiss(tx, p.userID, device, path, ledger)
	}
	if p.renewed != nil {
		if _, err := tx.SetUserPinVerifier(p.userID, p.renewed, p.verifier); err != nil {
			return false, err
		}
	}
	return true, nil
}

const codePINStopped = "pin_stopped"

// stopped reports whether a PIN counts for nothing on a path. Care never waits
// for a PIN, so break-glass goes on; sign-in by key and PIN goes on until the
// PIN must be set anew.
func stopped(l store.PinLedgerRow, path string) bool {
	switch path {
	case PathBreakGlass:
		return false
	case PathKeyPIN:
		return l.Total >= ledgerTotal
	case PathClaim:
		l.Hour = 0
	}
	return l.Hour >= ledgerHour || l.Day >= ledgerDay || l.Month >= ledgerMonth || l.Total >= ledgerTotal
}

// countMiss writes a wrong PIN into the ledger. When it is the one that stops
// the PIN, the person and the administrators are told.
func (m *Machine) countMiss(tx *store.Tx, userID, device, path string, before store.PinLedgerRow) error {
	err := tx.InsertPinMiss(store.InsertPinMissParams{ID: identity.NewID("pnm"), UserID: userID, DeviceID: device, Path: path})
	if err != nil {
		return err
	}
	if before.Day+1 != ledgerDay && before.Month+1 != ledgerMonth && before.Total+1 != ledgerTotal {
		return nil
	}
	_, err = tx.Record(audit.Event{Type: "factor.pin_stop", Outcome: audit.Success, User: userID, Detail: audit.Detail{"misses": before.Total + 1}})
	if err != nil {
		return err
	}
	return m.tell(tx, userID, "pin_stopped")
}

// WellFormedPIN reports whether a PIN is four or six ASCII digits, the two lengths
// that a policy can ask.
func WellFormedPIN(pin identity.Secret) bool {
	return keypin.WellFormed(pin, 4) || keypin.WellFormed(pin, 6)
}

func refusePINForm(field string) error {
	return identity.RefuseField(field, keypin.ErrPINFormat.Code(), "A PIN is four digits, or six where the clinic has chosen that.")
}

// PreparedPIN is a PIN that may be set, already hashed.
type PreparedPIN struct {
	userID   string
	verifier []byte
	digits   int
}

// PreparePIN checks that a PIN may be the person's next one (form, blocklist,
// history) and hashes it. A PIN that may not be is an Invalid refusal of the
// field "pin" or what field says.
func (m *Machine) PreparePIN(ctx context.Context, workspaceID, userID string, pin identity.Secret, field string, lane Lane) (PreparedPIN, error) {
	d, err := m.policyNow(ctx, workspaceID)
	if err != nil {
		return PreparedPIN{}, err
	}
	if err := m.mayChoose(ctx, workspaceID, userID, d, pin, field); err != nil {
		return PreparedPIN{}, err
	}
	var old []store.PinHistory
	err = m.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		old, err = tx.PinHistory(userID, int32(d.PIN.History))
		return err
	})
	if err != nil {
		return PreparedPIN{}, err
	}
	current, err := m.readPIN(ctx, workspaceID, userID)
	if err != nil {
		return PreparedPIN{}, err
	}
	p := PreparedPIN{userID: userID, digits: len(pin)}
	var failed error
	err = m.slots.Do(ctx, lane, func() {
		p.verifier, failed = m.hashNewPIN(current, old, userID, pin)
	})
	if err == nil {
		err = failed
	}
	return p, pinRefusal(field, err)
}

// mayChoose asks what can be asked of a new PIN before anything is hashed.
func (m *Machine) mayChoose(ctx context.Context, workspaceID, userID string, d policy.Document, pin identity.Secret, field string) error {
	var user store.User
	err := m.db.Read(ctx, workspaceID, func(tx *store.Tx) (err error) {
		user, err = tx.User(userID)
		return err
	})
	if err != nil {
		return err
	}
	return pinRefusal(field, keypin.ValidatePIN(pin, d.PIN.Length, keypin.Personal{Phones: []string{user.Phone}}))
}

func pinRefusal(field string, err error) error {
	var r keypin.Refusal
	if !errors.As(err, &r) {
		return err
	}
	return identity.RefuseField(field, r.Code(), r.Error())
}

func (m *Machine) hashNewPIN(current PINProof, old []store.PinHistory, userID string, pin identity.Secret) ([]byte, error) {
	if err := m.comparePIN(&current, pin); err != nil {
		return nil, err
	}
	if current.right {
		return nil, keypin.ErrPINUsed
	}
	cost := m.keys.Costs().KeyPIN
	for _, o := range old {
		match, err := m.keys.CheckVerifier(cost, o.Verifier, "pin_history", "verifier", userID, pin)
		if err != nil {
			return nil, err
		}
		if match.OK {
			return nil, keypin.ErrPINUsed
		}
	}
	return m.keys.NewVerifier(cost, "user_pin", "verifier", userID, pin, nil)
}

// SetPIN makes a prepared PIN the person's, remembers the old one, clears the
// ledger and records it.
func (m *Machine) SetPIN(tx *store.Tx, p PreparedPIN) error {
	old, err := tx.UserPin(p.userID)
	switch {
	case errors.Is(err, store.ErrNoRows):
	case err != nil:
		return err
	default:
		phc, err := m.keys.Open("user_pin", "verifier", p.userID, old.Verifier)
		if err != nil {
			return err
		}
		kept, err := m.keys.Seal("pin_history", "verifier", p.userID, phc)
		if err != nil {
			return err
		}
		if err := tx.InsertPinHistory(identity.NewID("pnh"), p.userID, kept); err != nil {
			return err
		}
	}
	if err := tx.PutUserPin(p.userID, p.verifier, int64(p.digits)); err != nil {
		return err
	}
	if err := tx.ClearPinLedger(p.userID); err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: "factor.pin_set", Outcome: audit.Success, User: p.userID})
	return err
}

// PrepareFirstPIN hashes the PIN of somebody who is about to be made. The caller
// has checked it against the policy.
func (m *Machine) PrepareFirstPIN(ctx context.Context, userID string, pin identity.Secret, lane Lane) (PreparedPIN, error) {
	p := PreparedPIN{userID: userID, digits: len(pin)}
	var failed error
	err := m.slots.Do(ctx, lane, func() {
		p.verifier, failed = m.keys.NewVerifier(m.keys.Costs().KeyPIN, "user_pin", "verifier", userID, pin, nil)
	})
	if err == nil {
		err = failed
	}
	return p, err
}
