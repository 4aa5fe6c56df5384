package breakglass

import (
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	// PickupSymbols is how many symbols a pick-up code has.
	PickupSymbols = 8
	// PickupLife is how long a pick-up code is good for.
	PickupLife = 5 * time.Minute
	// pickupTries is how many wrong ones kill it.
	pickupTries = 5
)

// preparedPickup is a pick-up code, already hashed; the zero value is none.
type preparedPickup struct {
	code     identity.Secret
	verifier []byte
}

func (b *BreakGlass) preparePickup(ctx context.Context, grantID string, lane signin.Lane) (preparedPickup, error) {
	p := preparedPickup{code: identity.NewCode(PickupSymbols)}
	var failed error
	err := b.signin.Hash(ctx, lane, func() {
		p.verifier, failed = b.keys.NewVerifier(b.keys.Costs().Code, "break_glass", "pickup_verifier", grantID, p.code, nil)
	})
	return p, errors.Join(err, failed)
}

func (p preparedPickup) expiresAt(now time.Time) int64 {
	if p.verifier == nil {
		return 0
	}
	return now.Add(PickupLife).UnixMicro()
}

// PickupInput is what the subject of a named grant types in a browser that is
// not signed in.
type PickupInput struct {
	Identifier string
	Code, PIN  identity.Secret
	Workspace  string
}

// pickup is one such attempt on its way.
type pickup struct {
	*BreakGlass
	v       *session.Visit
	in      PickupInput
	w       store.Workspace
	subject store.User
	grant   store.Grant // without an id: none that could be picked up
	right   bool
	proof   signin.PINProof
	pinSet  bool
}

// Pickup opens the emergency session of a named grant in the subject's browser.
// Whatever is wrong with identifier and code is answered in one way; five wrong
// tries kill the code.
func (b *BreakGlass) Pickup(ctx context.Context, who signin.Who, in PickupInput) (*session.Live, error) {
	live, err := b.pickUp(ctx, who, in)
	return live, paper(err)
}

func (b *BreakGlass) pickUp(ctx context.Context, who signin.Who, in PickupInput) (*session.Live, error) {
	if who.Visit == nil {
		return nil, errNotYours
	}
	if who.Live != nil && who.Live.Grant != nil {
		return nil, inside(who.Live.Grant)
	}
	p := pickup{BreakGlass: b, v: who.Visit, in: in}
	if err := p.check(); err != nil {
		return nil, err
	}
	if err := p.find(ctx, who); err != nil {
		return nil, err
	}
	if err := p.prove(ctx); err != nil {
		if !isRefusal(err) {
			return nil, err
		}
		return nil, b.db.Workspace(ctx, audit.By{Client: p.v.Client}, p.w.ID, func(tx *store.Tx) error { return p.refuse(tx, err, true) })
	}
	var live *session.Live
	err := b.db.Workspace(ctx, audit.By{Client: p.v.Client}, p.w.ID, func(tx *store.Tx) error {
		live = nil
		return p.decide(tx, &live)
	})
	return live, err
}

func (p *pickup) check() error {
	var o offences
	if p.in.Identifier == "" {
		o.add("identifier", "missing", "Type your address.")
	}
	if p.in.Code == "" || len(p.in.Code) > maxKey {
		o.add("code", "missing", "Type the code that the administrator reads out to you.")
	}
	if p.in.PIN != "" && !keypin.WellFormed(p.in.PIN, 4) && !keypin.WellFormed(p.in.PIN, 6) {
		o.add("pin", keypin.ErrPINFormat.Code(), "The PIN is four digits.")
	}
	return o.refusal()
}

// find reads the grant that is waiting to be picked up, if there is one.
func (p *pickup) find(ctx context.Context, who signin.Who) error {
	return p.db.ReadSystem(ctx, func(sys *store.SystemTx) error {
		var err error
		if p.w, err = meantWorkspace(sys, who, p.in.Workspace); err != nil {
			return err
		}
		tx := sys.Workspace(p.w.ID)
		if p.subject, err = findPerson(tx, p.in.Identifier); err != nil || p.subject.ID == "" {
			return err
		}
		g, err := tx.OpenGrantOf(p.subject.ID)
		if errors.Is(err, store.ErrNoRows) || err == nil && !waiting(g, tx.Micros()) {
			return nil
		}
		if err != nil {
			return err
		}
		p.grant = g
		_, err = tx.UserPin(p.subject.ID)
		p.pinSet = err == nil
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		return err
	})
}

// waiting reports whether a grant can be picked up.
func waiting(g store.Grant, now int64) bool {
	return g.State == StateActive && g.Kind == KindNamed && g.PickupExpiresAt > now && g.PickupMisses < pickupTries
}

// prove compares code and PIN. Where nothing waits the work is the same.
func (p *pickup) prove(ctx context.Context) error {
	lane, err := p.signin.LaneOf(ctx, p.v, p.w.ID, p.subject.ID)
	if err != nil {
		return err
	}
	code, slip := identity.ParseCode(p.in.Code.Reveal(), PickupSymbols)
	if slip != nil {
		code = p.in.Code
	}
	var failed error
	err = p.signin.Hash(ctx, lane, func() {
		if p.grant.ID == "" {
			_, failed = p.keys.NewVerifier(p.keys.Costs().Code, "break_glass", "pickup_verifier", "", code, nil)
			return
		}
		m, err := p.keys.CheckVerifier(p.keys.Costs().Code, p.grant.PickupVerifier, "break_glass", "pickup_verifier", p.grant.ID, code)
		p.right, failed = m.OK && slip == nil, err
	})
	if err = errors.Join(err, failed); err != nil || !p.right || p.in.PIN == "" {
		return err
	}
	p.proof, err = p.signin.ProvePIN(ctx, p.w.ID, p.subject.ID, p.in.PIN, lane)
	return err
}

func (p *pickup) decide(tx *store.Tx, live **session.Live) error {
	if p.grant.ID == "" {
		return p.refuse(tx, wrongCode(), true)
	}
	if p.v.Client.Device != "" && p.v.Client.Device == p.grant.DeviceID {
		r := identity.Refuse(identity.Forbidden, "own_browser", "Whoever opened it cannot pick it up. The clinician types the code at their own workstation.")
		return p.refuse(tx, r, !p.right)
	}
	if !p.right {
		return p.miss(tx, wrongCode(), true)
	}
	identified := false
	if p.pinSet {
		right, err := p.signin.SettlePIN(tx, p.proof, signin.PathBreakGlass)
		if err != nil {
			return err
		}
		if !right {
			r := identity.Refuse(identity.Unauthenticated, "wrong_pin", "Type your PIN as well. That one was not right.")
			if p.in.PIN == "" {
				r.Detail = "Type your PIN as well."
				return p.refuse(tx, r, false)
			}
			return p.miss(tx, r, false)
		}
		identified = true
	}
	n, err := tx.TakePickup(p.grant.ID)
	if err != nil {
		return err
	}
	if n == 0 {
		return p.refuse(tx, wrongCode(), false)
	}
	_, err = tx.Record(about(p.grant, audit.Event{Type: "break_glass.pickup", Outcome: audit.Success, Actor: p.subject.ID,
		Detail: audit.Detail{"ref": p.grant.Ref, "pin": identified}}))
	if err != nil {
		return err
	}
	amr := []string{identity.AMROTP}
	if identified {
		amr = append(amr, identity.AMRPIN)
	}
	if *live, err = p.enterGrant(tx, p.v, p.grant, p.subject.ID, MethodPickup, identity.ACREmergency, amr); err != nil {
		return p.refuse(tx, err, false)
	}
	if identified {
		return tx.KnowDevice((*live).DeviceID, p.subject.ID)
	}
	return nil
}

// miss counts a wrong try against the code's five.
func (p *pickup) miss(tx *store.Tx, refusal error, anonymous bool) error {
	_, err := tx.CountPickupMiss(p.grant.ID)
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return err
	}
	return p.refuse(tx, refusal, anonymous)
}

// refuse leaves the event of a pick-up that was refused. Without a right code
// anybody can cause that.
func (p *pickup) refuse(tx *store.Tx, err error, anonymous bool) error {
	var r *identity.Refusal
	if !errors.As(err, &r) {
		return err
	}
	e := audit.Event{Type: "break_glass.pickup", Outcome: audit.Denied, User: p.subject.ID, Anonymous: anonymous, Detail: audit.Detail{"reason": r.Code}}
	if p.grant.ID != "" {
		e = about(p.grant, e)
	}
	if _, err := tx.Record(e); err != nil {
		return err
	}
	return r
}
