package signin_test

import (
	"context"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

func TestUnlockByPIN(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		live := b.SignIn(nurse)
		c.lock(b)
		want(t, "state", b.Who().Live.State, session.Locked)
		for range 4 {
			refused(t, c.unlock(b, wrongPIN), "wrong_pin")
		}
		ok(t, c.unlock(b, nurse.PIN))
		is := b.Who().Live
		want(t, "state", is.State, session.Active)
		want(t, "session", is.ID, live.ID)
		want(t, "events", c.Count("session.unlock", success, `"method":"pin"`, live.ID), 1)
		want(t, "misses", c.Count("session.unlock", denied, `"reason":"wrong_pin"`, live.ID), 4)

		before := len(c.Events())
		ok(t, c.unlock(b, wrongPIN)) // it is open already
		want(t, "events", len(c.Events()), before)
		for range 4 {
			c.lock(b)
			ok(t, c.unlock(b, nurse.PIN)) // as often as work asks for
		}
	})
}

func TestARightPINForgivesAfterAnHour(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		miss := func(n int) {
			c.lock(b)
			for range n {
				refused(t, c.unlock(b, wrongPIN), "wrong_pin")
			}
			ok(t, c.unlock(b, nurse.PIN))
		}
		miss(4)
		c.Advance(time.Hour + time.Second)
		miss(0)
		miss(3)
		c.lock(b)
		refused(t, c.unlock(b, wrongPIN), "wrong_pin")
		refused(t, c.unlock(b, wrongPIN), "session_ended") // the fifth, right ones between them or not
		if !c.signedOut(b) {
			t.Error("the session goes on")
		}
	})
}

func TestFiveWrongPINsEndThatSessionOnly(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse, doctor := c.Add(identity.Nurse), c.Add(identity.Doctor)
		b, other, another := c.NewDevice(), c.NewDevice(), c.NewDevice()
		other.SignIn(nurse)
		another.SignIn(doctor)
		c.exhaust(b, nurse)
		if !c.signedOut(b) {
			t.Error("the session goes on")
		}
		if _, err := c.Sessions.Check(context.Background(), other.Visit(), session.Peek); err != nil {
			t.Errorf("another session of the person: %v", err)
		}
		if _, err := c.Sessions.Check(context.Background(), another.Visit(), session.Peek); err != nil {
			t.Errorf("another person's session: %v", err)
		}
		want(t, "ends", c.Count("session.end"), 1)
		b.SignIn(nurse)
	})
}

func TestUnlockTakesNothingElse(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		c.lock(b)
		who := b.Who()
		for _, in := range []struct {
			in   signin.UnlockInput
			code string
		}{
			{signin.UnlockInput{Method: "recovery_code", Code: c.Setup.RecoveryCodes[0]}, "unknown"},
			{signin.UnlockInput{Method: "key", Code: nurse.Key}, "unknown"},
			{signin.UnlockInput{}, "unknown"},
			{signin.UnlockInput{Method: "pin"}, "pin_format"},
			{signin.UnlockInput{Method: "pin", PIN: "82643"}, "pin_format"},
			{signin.UnlockInput{Method: "sealed_code", Code: "too short"}, "code_format"},
		} {
			_, err := c.Signin.Unlock(context.Background(), who.Visit, who.Live, in.in)
			want(t, "kind", refused(t, err, in.code).Kind, identity.Invalid)
		}
		// A sealed code opens the session that it made, and no ordinary one.
		_, err := c.Signin.Unlock(context.Background(), who.Visit, who.Live, signin.UnlockInput{Method: "sealed_code", Code: c.Setup.SealedCodes[0].Code})
		r := refused(t, err, "wrong_sealed_code")
		want[any](t, "tries left", r.Extra["tries_left"], int64(4)) // the forms before cost nothing
		ok(t, c.unlock(b, nurse.PIN))
	})
}

// grant opens emergency access for a person, as far as sign-in sees it.
func (c clinic) grant(tx *store.Tx, kind, invoker string, p mitraltest.Person, ends time.Time) (string, error) {
	id := identity.NewID(identity.GrantID)
	err := tx.InsertGrant(store.InsertGrantParams{ID: id, Ref: "BG-0001", Kind: kind, SubjectID: p.ID, Invoker: invoker,
		Category: "other", PickupVerifier: []byte{}, ExpiresAt: ends.UnixMicro(), Remaining: time.Hour.Microseconds()})
	if err != nil {
		return "", err
	}
	_, err = tx.Record(audit.Event{Type: "break_glass.start", Outcome: audit.Success, Grant: id})
	return id, err
}

// sealed opens an emergency session of a person in a browser, as a sealed code
// does, and returns which code it was.
func (c clinic) sealed(b *mitraltest.Device, p mitraltest.Person) identity.Secret {
	c.t.Helper()
	v, code, ends := b.Visit(), c.Setup.SealedCodes[0], c.DB.Clock().Now().Add(time.Hour)
	invoker := audit.CodeActor(code.Label)
	ok(c.t, c.DB.Workspace(context.Background(), audit.By{Actor: invoker}, c.Workspace.ID, func(tx *store.Tx) error {
		id, err := c.grant(tx, "sealed", invoker, p, ends)
		if err != nil {
			return err
		}
		codes, err := tx.SealedCodes()
		if err != nil {
			return err
		}
		for _, row := range codes {
			if row.Label == code.Label {
				if _, err := tx.SpendSealedCode(row.ID, id); err != nil {
					return err
				}
			}
		}
		_, err = c.Sessions.Start(tx, v, session.Opening{UserID: p.ID, Method: "sealed_code", ACR: identity.ACREmergency, GrantID: id, EndsBy: ends})
		return err
	}))
	b.Keep(v)
	return code.Code
}

func TestAGrantThatWasOpenedMeanwhileIsTakenUp(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse, doctor := c.Add(identity.Nurse), c.Add(identity.Doctor)
		locked, other := c.NewDevice(), c.NewDevice()
		locked.SignIn(nurse)
		c.lock(locked)
		other.SignIn(doctor)
		open := func(kind string, p mitraltest.Person) (id string) {
			ok(t, c.DB.Workspace(context.Background(), audit.By{Actor: c.Admin.ID}, c.Workspace.ID, func(tx *store.Tx) (err error) {
				id, err = c.grant(tx, kind, c.Admin.ID, p, c.DB.Clock().Now().Add(time.Hour))
				return err
			}))
			return id
		}
		id := open("named", nurse)
		inside := func(b *mitraltest.Device, want bool) {
			t.Helper()
			live := b.Who().Live
			if (live.Grant != nil) != want || want && (live.Grant.ID != id || live.Role != "emergency_clinician") {
				t.Errorf("inside a grant: %+v as %s", live.Grant, live.Role)
			}
		}
		inside(locked, false) // nobody has proven anything yet
		refused(t, c.unlock(locked, wrongPIN), "wrong_pin")
		inside(locked, false)
		who := locked.Who()
		unlocked, err := c.Signin.Unlock(context.Background(), who.Visit, who.Live, signin.UnlockInput{Method: "pin", PIN: nurse.PIN})
		ok(t, err)
		locked.Keep(who.Visit)
		inside(locked, true)
		fresh := c.NewDevice()
		signedIn := fresh.SignIn(nurse)
		inside(fresh, true)
		for act, live := range map[string]*session.Live{"unlock": unlocked, "sign-in": signedIn} {
			if live.Grant == nil || live.Grant.ID != id || live.Role != "emergency_clinician" {
				t.Errorf("the answer to %s is not inside the grant: %+v as %s", act, live.Grant, live.Role)
			}
		}
		inside(other, false)
		want(t, "events", c.Count("break_glass.take_up", success, `"grant_id":"`+id, `"actor":"`+nurse.ID), 2)
		c.lock(fresh)
		ok(t, c.unlock(fresh, nurse.PIN))
		want(t, "once a session", c.Count("break_glass.take_up"), 2)

		// One that a sealed code opened is that code's session alone.
		open("sealed", doctor)
		other.SignIn(doctor)
		inside(other, false)
	})
}

func TestUnlockByTheSealedCodeThatOpenedTheSession(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		code := c.sealed(b, nurse)
		c.lock(b)
		unlock := func(code identity.Secret) error {
			who := b.Who()
			_, err := c.Signin.Unlock(context.Background(), who.Visit, who.Live, signin.UnlockInput{Method: "sealed_code", Code: code})
			b.Keep(who.Visit)
			return err
		}
		refused(t, unlock(c.Setup.SealedCodes[1].Code), "wrong_sealed_code") // a good code, not this one
		refused(t, unlock(identity.NewCode(10)), "wrong_sealed_code")
		ok(t, unlock(code))
		live := b.Who().Live
		want(t, "state", live.State, session.Active)
		want(t, "events", c.Count("session.unlock", success, `"method":"sealed_code"`, `"grant_id":"`+live.Grant.ID), 1)

		c.lock(b)
		for range 4 {
			refused(t, unlock(identity.NewCode(10)), "wrong_sealed_code")
		}
		refused(t, unlock(identity.NewCode(10)), "session_ended")
		if !c.signedOut(b) {
			t.Error("the session goes on")
		}
	})
}
