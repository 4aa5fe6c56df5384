package signin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// KeyPIN is a sign-in by key and PIN. Workspace is a slug and may be empty: then
// the registered device or the identifier's uniqueness decides.
type KeyPIN struct {
	Identifier string
	Key, PIN   identity.Secret
	Workspace  string
}

// misses of one person that change where they may try again.
const (
	missesToPause  = 5 // wrong PINs with the right key from unknown devices
	missesToForget = 5 // the same from a known device
)

// errWrong is the one answer to everything that is wrong with a key and PIN.
func errWrong() error {
	return identity.Refuse(identity.Unauthenticated, "invalid_credentials", "That did not work. Check your address, key and PIN, and try again.")
}

// person is who an identifier named, with what is needed to check them.
type person struct {
	workspaceID string // also when nobody was found, if it is certain
	user        store.User
	found       bool
	keys        []store.UserKey
	pin         PINProof
	rightKey    bool
	renewedKey  []byte
	usedKey     store.UserKey
}

// KeyPIN signs somebody in by key and PIN, or says in one way for every kind of
// wrong that it did not. Work and answer are equal for known and unknown
// people.
func (m *Machine) KeyPIN(ctx context.Context, v *session.Visit, in KeyPIN) (Outcome, error) {
	if !WellFormedPIN(in.PIN) {
		return Outcome{}, refusePINForm("pin")
	}
	p, err := m.resolve(ctx, v, in)
	if err != nil {
		return Outcome{}, err
	}
	lane, known, err := m.lane(ctx, v, p.workspaceID, p.user.ID)
	if err != nil {
		return Outcome{}, err
	}
	if err := m.Throttle(ctx, v, known); err != nil {
		return Outcome{}, m.recordThrottled(ctx, v, p, err)
	}
	var failed error
	if err := m.slots.Do(ctx, lane, func() { failed = m.compare(&p, in) }); err != nil {
		return Outcome{}, m.recordThrottled(ctx, v, p, err)
	}
	if failed != nil {
		return Outcome{}, failed
	}
	var out Outcome
	err = m.db.System(ctx, audit.By{Client: v.Client}, func(tx *store.SystemTx) error {
		out = Outcome{}
		if !p.found || !p.rightKey {
			return m.refuseStranger(tx, v, p, known)
		}
		return m.decideKeyPIN(tx, v, &p, known, &out)
	})
	return out, err
}

// resolve finds who is meant. An ambiguous identifier is nobody. A PIN of a
// length that nobody on this server has is refused here, before it is hashed.
func (m *Machine) resolve(ctx context.Context, v *session.Visit, in KeyPIN) (person, error) {
	var p person
	email, err := identity.NormalizeEmail(in.Identifier)
	readable := err == nil
	err = m.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		if n, err := tx.PinsOfLength(int64(len(in.PIN))); err != nil || n == 0 {
			return cmp.Or(err, refusePINForm("pin"))
		}
		workspaceID, err := m.meantWorkspace(tx, v, in.Workspace)
		if err != nil {
			return err
		}
		p.workspaceID = workspaceID
		if !readable || in.Workspace != "" && workspaceID == "" {
			return nil
		}
		if workspaceID != "" {
			p.user, err = tx.Workspace(workspaceID).UserByEmail(email)
			p.found = err == nil
		} else {
			users, err2 := tx.UsersByEmail(email)
			err = err2
			if len(users) == 1 {
				p.user, p.found = users[0], true
			}
		}
		if err != nil && !errors.Is(err, store.ErrNoRows) {
			return err
		}
		if !p.found {
			p.user = store.User{}
			return nil
		}
		p.workspaceID = p.user.WorkspaceID
		p.keys, err = tx.Workspace(p.workspaceID).LiveUserKeys(p.user.ID)
		return err
	})
	if err != nil {
		return p, err
	}
	p.pin, err = m.readPIN(ctx, p.workspaceID, p.user.ID)
	return p, err
}

// meantWorkspace is the named one, the one that this browser is registered in,
// or "".
func (m *Machine) meantWorkspace(tx *store.SystemTx, v *session.Visit, slug string) (string, error) {
	if slug != "" {
		w, err := tx.WorkspaceBySlug(slug)
		if errors.Is(err, store.ErrNoRows) {
			return "", nil
		}
		return w.ID, err
	}
	if v.Client.Device == "" {
		return "", nil
	}
	id, err := tx.WorkspaceOfDevice(v.Client.Device)
	if errors.Is(err, store.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// compare checks key and PIN with a slot held: one hash each, whoever is meant.
func (m *Machine) compare(p *person, in KeyPIN) error {
	cost := m.keys.Costs().KeyPIN
	key, badKey := identity.ParseKey(in.Key.Reveal())
	if len(p.keys) == 0 || badKey != nil {
		m.dummy(in.Key)
	} else {
		for _, k := range p.keys {
			match, err := m.keys.CheckVerifier(cost, k.Verifier, "user_key", "verifier", k.ID, key)
			if err != nil {
				return err
			}
			if !match.OK {
				continue
			}
			p.rightKey, p.usedKey = true, k
			if match.Stale {
				if p.renewedKey, err = m.keys.NewVerifier(cost, "user_key", "verifier", k.ID, key, nil); err != nil {
					return err
				}
			}
			break
		}
	}
	return m.comparePIN(&p.pin, in.PIN)
}

func (m *Machine) dummy(s identity.Secret) { keyring.Dummy(m.keys.Costs().KeyPIN, s) }

// refuseStranger counts and records a refusal that anybody can cause.
func (m *Machine) refuseStranger(tx *store.SystemTx, v *session.Visit, p person, known bool) error {
	e := audit.Event{Type: "sign_in.key_pin", Outcome: audit.Denied, User: p.user.ID, Method: policy.KeyPIN, Anonymous: true}
	if err := recordIn(tx, p.workspaceID, e); err != nil {
		return err
	}
	if err := m.CountFailure(tx, v, known); err != nil {
		return err
	}
	return errWrong()
}

func recordIn(tx *store.SystemTx, workspaceID string, e audit.Event) error {
	var err error
	if workspaceID == "" {
		_, err = tx.Record(e)
	} else {
		_, err = tx.Workspace(workspaceID).Record(e)
	}
	return err
}

// recordThrottled leaves the trace of an attempt that was turned away before it
// was tried.
func (m *Machine) recordThrottled(ctx context.Context, v *session.Visit, p person, refusal error) error {
	var r *identity.Refusal
	if !errors.As(refusal, &r) {
		return refusal
	}
	return m.db.System(ctx, audit.By{Client: v.Client}, func(tx *store.SystemTx) error {
		e := audit.Event{Type: "sign_in.throttled", Outcome: audit.Denied, Method: policy.KeyPIN, Anonymous: true}
		if err := recordIn(tx, p.workspaceID, e); err != nil {
			return err
		}
		return r
	})
}

// decideKeyPIN decides about somebody who sent the right key. The person's row
// comes first, so that tries at once are decided one after the other, each by
// what the one before left.
func (m *Machine) decideKeyPIN(sys *store.SystemTx, v *session.Visit, p *person, known bool, out *Outcome) error {
	tx := sys.Workspace(p.workspaceID)
	user, err := tx.HoldUser(p.user.ID)
	if err != nil {
		return err
	}
	keys, err := tx.LiveUserKeys(user.ID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k store.UserKey) bool { return k.ID == p.usedKey.ID }) {
		return m.refuseStranger(sys, v, *p, known) // it was replaced a moment ago
	}
	if known {
		if known, err = knows(tx, v, user.ID); err != nil {
			return err
		}
	}
	refuse := func(reason string) error {
		_, err := tx.Record(audit.Event{Type: "sign_in.key_pin", Outcome: audit.Denied, User: user.ID, Method: policy.KeyPIN,
			Detail: audit.Detail{"reason": reason}})
		if err != nil {
			return err
		}
		if err := m.CountFailure(sys, v, known); err != nil {
			return err
		}
		return errWrong()
	}
	if user.PausedUntil > tx.Micros() && !known {
		return refuse("paused")
	}
	right, err := m.SettlePIN(tx, p.pin, PathKeyPIN)
	var stop *identity.Refusal
	switch {
	case errors.As(err, &stop):
		return refuse(stop.Code)
	case err != nil:
		return err
	case !right:
		if err := m.countKeyPINMiss(tx, v, user, known); err != nil {
			return err
		}
		return refuse("wrong_pin")
	}
	if p.renewedKey != nil {
		if _, err := tx.SetUserKeyVerifier(p.usedKey.ID, p.renewedKey, p.usedKey.Verifier); err != nil {
			return err
		}
	}
	reason, err := m.enter(tx, v, user, policy.KeyPIN, p.pin.setAt, out)
	if err == nil && reason != "" {
		return refuse(reason)
	}
	return err
}

// knows reports whether the visit's browser is known for a person.
func knows(tx *store.Tx, v *session.Visit, userID string) (bool, error) {
	_, err := tx.DeviceUser(v.Client.Device, userID)
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// enter asks next about somebody whose first proof was right: they are let in,
// or the attempt is kept for its next step, or a reason says why they are
// refused.
func (m *Machine) enter(tx *store.Tx, v *session.Visit, user store.User, method string, pinSetAt time.Time, out *Outcome) (reason string, err error) {
	if user.DisabledAt > 0 {
		return "disabled", nil
	}
	d, err := m.policyIn(tx)
	if err != nil {
		return "", err
	}
	a := attempt{Proven: policy.Proven{Role: identity.Role(user.Role), Method: method, FirstSignIn: timeOf(user.FirstSignedInAt)}, PINSetAt: pinSetAt}
	if a.RegisteredDevice, err = registered(tx, v); err != nil {
		return "", err
	}
	answer := next(a, d, tx.Now())
	if answer.State == policy.EnrollmentRequired {
		if a.RequiredSince, err = RequiredSince(tx, a.Role); err != nil {
			return "", err
		}
		answer = next(a, d, tx.Now())
	}
	switch answer.State {
	case policy.SignedIn:
		return "", m.open(tx, v, user.ID, method, out)
	case policy.MFARequired, policy.EnrollmentRequired:
		return "", m.pend(tx, v, user.ID, method, answer, out)
	}
	return "method_not_allowed", nil
}

// RequiredSince finds when the present requirement of a factor began for a role,
// from the policy's history; zero if it was there from the start.
func RequiredSince(tx *store.Tx, role identity.Role) (time.Time, error) {
	rows, err := tx.PolicyHistory()
	if err != nil {
		return time.Time{}, err
	}
	for i := 0; i+1 < len(rows); i++ {
		is, bad := policy.Parse([]byte(rows[i].Document))
		was, worse := policy.Parse([]byte(rows[i+1].Document))
		if len(bad) == 0 && len(worse) == 0 && policy.RequirementBegan(was, is, role) {
			return time.UnixMicro(rows[i].CreatedAt), nil
		}
	}
	return time.Time{}, nil
}

func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros)
}

func registered(tx *store.Tx, v *session.Visit) (bool, error) {
	if v.Client.Device == "" {
		return false, nil
	}
	d, err := tx.Device(v.Client.Device)
	if errors.Is(err, store.ErrNoRows) {
		return false, nil
	}
	return err == nil && d.RegisteredAt > 0, err
}

// countKeyPINMiss counts a wrong PIN with the right key where it belongs: to the
// known device, which after five is unknown; else to the person, whose key +
// PIN pauses on unknown devices after five.
func (m *Machine) countKeyPINMiss(tx *store.Tx, v *session.Visit, user store.User, known bool) error {
	if known {
		n, err := tx.CountDeviceMiss(v.Client.Device, user.ID)
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		if err != nil || n < missesToForget {
			return err
		}
		return tx.ForgetDevice(v.Client.Device, user.ID)
	}
	n, err := tx.CountUserPinMiss(user.ID)
	if err != nil || n < missesToPause {
		return err
	}
	until, err := tx.PauseKeyPin(user.ID)
	if err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: "sign_in.pause", Outcome: audit.Success, User: user.ID, Method: policy.KeyPIN,
		Detail: audit.Detail{"until": time.UnixMicro(until).UTC().Format(time.RFC3339)}})
	if err != nil {
		return err
	}
	return m.tell(tx, user.ID, "key_exposed")
}

// open opens the session that a completed sign-in ends in.
func (m *Machine) open(tx *store.Tx, v *session.Visit, userID, method string, out *Outcome) error {
	live, err := m.sessions.Start(tx, v, session.Opening{UserID: userID, Method: method, ACR: identity.ACRAAL1,
		AMR: []string{identity.AMRPassword, identity.AMRPIN}})
	if err != nil {
		return err
	}
	if err := tx.SetUserSignedIn(userID); err != nil {
		return err
	}
	if err := tx.SeeDevice(live.DeviceID); err != nil {
		return err
	}
	if err := tx.KnowDevice(live.DeviceID, userID); err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: "sign_in." + eventWord(method), Outcome: audit.Success, Actor: userID, Method: method, Session: live.ID,
		Detail: audit.Detail{"acr": string(live.ACR)}})
	if err != nil {
		return err
	}
	live, err = m.takeUp(tx, v, live)
	*out = Outcome{State: string(policy.SignedIn), Session: live}
	return err
}

// eventWord turns a method's name into the word that event types use.
func eventWord(method string) string {
	if method == policy.KeyPIN {
		return "key_pin"
	}
	return method
}
