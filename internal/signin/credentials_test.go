package signin_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

func TestChangePIN(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		old, oldPhone, newPhone, email := nurse.Email, "+442079460102", "+442079460103", "moved@hope.example"
		for _, change := range []directory.Change{{Phone: &oldPhone}, {Phone: &newPhone, Email: &email}} {
			_, err := c.Directory.UpdateUser(context.Background(), signin.CLI(), c.Workspace.ID, nurse.ID, change)
			ok(t, err)
		}
		nurse.Email = email
		b, other := c.NewDevice(), c.NewDevice()
		b.SignIn(nurse)
		other.SignIn(nurse)
		for next, code := range map[identity.Secret]string{"1234": "pin_too_easy", "2026": "pin_too_easy", "123": "pin_format", "12a4": "pin_format", "460103": "pin_format", "0103": "pin_too_easy"} {
			_, err := c.changePIN(b, nurse.PIN, next)
			r := refused(t, err, code)
			want(t, "field", r.Fields[0].Field, "new_pin")
		}
		_, err := c.changePIN(b, "123", "7306")
		want(t, "field", refused(t, err, "pin_format").Fields[0].Field, "current_pin")
		want(t, "sent so far", len(c.Told("pin_changed")), 0)

		out, err := c.changePIN(b, nurse.PIN, "7306")
		ok(t, err)
		want(t, "state", out.State, "signed_in")
		want(t, "session", out.Session.ID, b.Who().Live.ID)
		if told := c.Told("pin_changed"); !slices.Equal(told, []string{oldPhone, newPhone, email, old}) {
			t.Errorf("told %v", told)
		}
		want(t, "events", c.Count("factor.pin_set", success, `"actor":"`+nurse.ID), 2) // the claim's too
		_, err = c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		refused(t, err, "invalid_credentials")
		nurse.PIN = "7306"
		c.NewDevice().SignIn(nurse)
		c.lock(other)
		ok(t, c.unlock(other, "7306"))

		// A week later the old addresses hear nothing any more.
		c.Advance(7*day + time.Second)
		b.SignIn(nurse)
		_, err = c.changePIN(b, "7306", "4839")
		ok(t, err)
		if told := c.Told("pin_changed"); len(told) != 6 || slices.Contains(told[4:], oldPhone) {
			t.Errorf("told %v", told)
		}
	})
}

func TestPINHistory(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		pins := []identity.Secret{nurse.PIN, "7306", "4839", "1929", "3213", "8317", "2040"}
		for i := 1; i < len(pins); i++ {
			_, err := c.changePIN(b, pins[i-1], pins[i])
			ok(t, err)
			_, err = c.changePIN(b, pins[i], pins[max(0, i-5)])
			refused(t, err, "pin_used")
			_, err = c.changePIN(b, pins[i], pins[i])
			refused(t, err, "pin_used")
		}
		// What somebody had is no way to find out what they have: without the
		// current PIN the answer is only that.
		for _, next := range pins[4:] {
			_, err := c.changePIN(b, wrongPIN, next)
			refused(t, err, "wrong_pin")
		}
		_, err := c.changePIN(b, pins[6], pins[0]) // seven back
		ok(t, err)
	})
}

func TestFiveWrongCurrentPINsEndTheSession(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b, other := c.NewDevice(), c.NewDevice()
		b.SignIn(nurse)
		other.SignIn(nurse)
		for range 4 {
			_, err := c.changePIN(b, wrongPIN, "7306")
			refused(t, err, "wrong_pin")
		}
		_, err := c.changePIN(b, wrongPIN, "7306")
		refused(t, err, "session_ended")
		if !c.signedOut(b) {
			t.Error("the session goes on")
		}
		want(t, "misses", c.Count("factor.pin_set", denied, `"reason":"wrong_pin"`), 5)
		_, err = c.changePIN(other, nurse.PIN, "7306")
		ok(t, err)
	})
}

func TestRotateKey(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		rotate := func() mitraltest.Person {
			t.Helper()
			key, ends, err := c.Signin.RotateKey(context.Background(), b.Who())
			ok(t, err)
			if left := ends.Sub(c.DB.Clock().Now()); left > 7*day || left < 7*day-time.Minute {
				t.Errorf("the old key ends in %s", left)
			}
			with := nurse
			with.Key = key
			return with
		}
		works := func(p mitraltest.Person, want bool) {
			t.Helper()
			_, err := c.try(c.NewDevice(), pair(p, p.PIN))
			if want {
				ok(t, err)
			} else {
				refused(t, err, "invalid_credentials")
			}
		}
		second := rotate()
		works(nurse, true)
		works(second, true)
		want(t, "told", len(c.Told("key_rotated")), 1)
		c.Advance(7*day - time.Minute)
		works(nurse, true)
		c.Advance(2 * time.Minute)
		works(nurse, false)
		works(second, true)

		b.SignIn(second)
		third := rotate()
		fourth := rotate()
		works(second, false) // never more than two
		works(third, true)
		works(fourth, true)
		want(t, "events", c.Count("factor.key_rotate", success, `"user_id":"`+nurse.ID), 3)

		c.Advance(5 * time.Minute)
		_, _, err := c.Signin.RotateKey(context.Background(), b.Who())
		r := refused(t, err, needsStepUp)
		want(t, "action", r.Action, "credentials")
		want(t, "kind", r.Kind, identity.StepUpNeeded)
		_, _, err = c.Signin.RotateKey(context.Background(), b.Confirmed(nurse, "credentials"))
		ok(t, err)
	})
}

func TestAReplacedKeyIsDeadForWhoeverIsJustTypingIt(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		c.strangers(5, nurse) // somebody has the key
		claim, err := c.Directory.NewClaim(context.Background(), signin.CLI(), c.Workspace.ID, nurse.ID, directory.NewClaim{Channel: "screen"})
		ok(t, err)
		got, err := c.Directory.CompleteClaim(context.Background(), c.NewDevice().Visit(), mitraltest.ClaimToken(claim.URL), claim.Code, nurse.PIN)
		ok(t, err)
		_, err = c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		refused(t, err, "invalid_credentials")
		nurse.Key = got.Key
		b := c.NewDevice() // the pause was the old key's
		b.SignIn(nurse)
		if _, err := c.Sessions.Check(context.Background(), b.Visit(), session.Peek); err != nil {
			t.Error(err)
		}
	})
}
