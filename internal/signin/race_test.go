package signin_test

import (
	"context"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

const many = 50

func TestRaceOfWrongPINsWithTheRightKey(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		var browsers [many]*mitraltest.Device
		for i := range browsers {
			browsers[i] = c.NewDevice()
		}
		errs := atOnce(many, func(i int) error {
			_, err := c.try(browsers[i], pair(nurse, wrongPIN))
			return err
		})
		want(t, "one answer", codes(t, errs)["invalid_credentials"], many)
		want(t, "counted", c.Count("sign_in.key_pin", `"reason":"wrong_pin"`), 5)
		want(t, "found paused", c.Count("sign_in.key_pin", `"reason":"paused"`), many-5)
		want(t, "pauses", c.Count("sign_in.pause"), 1)
		want(t, "told", len(c.Told("key_exposed")), 3)
		// The first rung: a quarter of an hour.
		c.Advance(15*time.Minute + time.Second)
		_, err := c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		ok(t, err)
	})
}

func TestRaceOfWrongPINsOnAKnownBrowser(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		var browsers [many]*mitraltest.Device
		for i := range browsers {
			browsers[i] = b.Clone()
		}
		errs := atOnce(many, func(i int) error {
			_, err := c.try(browsers[i], pair(nurse, wrongPIN))
			return err
		})
		got := codes(t, errs)
		want(t, "answered", got["invalid_credentials"], many)
		// Five are the known browser's, and the five after them anybody's.
		want(t, "counted", c.Count("sign_in.key_pin", `"reason":"wrong_pin"`), 10)
		want(t, "found paused", c.Count("sign_in.key_pin", `"reason":"paused"`), many-10)
		want(t, "pauses", c.Count("sign_in.pause"), 1)
		_, err := c.try(b, pair(nurse, nurse.PIN))
		refused(t, err, "invalid_credentials")
	})
}

func TestRaceOfUnlocks(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		race := func(pin identity.Secret) map[string]int {
			t.Helper()
			b.SignIn(nurse)
			c.lock(b)
			var whos [many]signin.Who
			for i := range whos {
				whos[i] = b.Clone().Who() // fifty address ranges, one browser
			}
			return codes(t, atOnce(many, func(i int) error {
				_, err := c.Signin.Unlock(context.Background(), whos[i].Visit, whos[i].Live, signin.UnlockInput{Method: "pin", PIN: pin})
				return err
			}))
		}
		got := race(wrongPIN)
		want(t, "wrong", got["wrong_pin"], 4)
		want(t, "over", got["session_ended"], many-4) // the fifth is told of the end
		want(t, "misses", c.Count("session.unlock", denied, `"reason":"wrong_pin"`), 5)
		want(t, "too late", c.Count("session.unlock", denied, `"reason":"session_ended"`), many-5)
		want(t, "ends", c.Count("session.end", `"reason":"pin_exhausted"`), 1)
		want(t, "stops", c.Count("factor.pin_stop"), 0) // the ledger has five, not fifty
		if !c.signedOut(b) {
			t.Error("the session goes on")
		}

		got = race(nurse.PIN)
		want(t, "right", got[""], many)
		want(t, "events", c.Count("session.unlock", success), many)
		live, err := c.Sessions.Check(context.Background(), b.Visit(), session.Refresh)
		ok(t, err)
		want(t, "state", live.State, session.Active)
	})
}

func TestRaceOfAStepUpToken(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		tok, err := c.stepUp(b, signin.StepUpInput{Action: "export", PIN: nurse.PIN})
		ok(t, err)
		var whos [many]signin.Who
		nodes := [2]*mitraltest.Clinic{c.Clinic, c.Node()}
		for i := range whos {
			v := b.Clone().VisitOn(nodes[i%2])
			live, err := nodes[i%2].Sessions.Check(context.Background(), v, session.Peek)
			ok(t, err)
			whos[i] = signin.Who{Live: live, Visit: v}
		}
		got := codes(t, atOnce(many, func(i int) error {
			_, err := nodes[i%2].Signin.Check(context.Background(), whos[i], signin.CheckInput{Action: "export", Token: tok})
			return err
		}))
		want(t, "passed", got[""], 1)
		want(t, "asked", got[needsStepUp], many-1)
		want(t, "events", c.Count("authz.check", success), 1)
		want(t, "events", c.Count("authz.check", denied), many-1)
	})
}

func TestRaceOfPINChanges(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		next := []identity.Secret{"7306", "4839"}
		whos := []signin.Who{b.Who(), b.Who()}
		errs := atOnce(2, func(i int) error {
			_, err := c.Signin.ChangePIN(context.Background(), whos[i], nurse.PIN, next[i])
			return err
		})
		got := codes(t, errs)
		want(t, "changed", got[""], 1)
		want(t, "wrong by then", got["wrong_pin"], 1)
		won := next[0]
		if errs[0] != nil {
			won = next[1]
		}
		nurse.PIN = won
		c.NewDevice().SignIn(nurse)
	})
}

func TestRaceOfAnAttempt(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		c.Advance(98 * day)
		b := c.NewDevice()
		_, err := c.try(b, pair(nurse, nurse.PIN))
		ok(t, err)
		var whos [8]signin.Who
		for i := range whos {
			whos[i].Visit = b.Clone().Visit()
		}
		got := codes(t, atOnce(len(whos), func(i int) error {
			_, err := c.Signin.ChangePIN(context.Background(), whos[i], nurse.PIN, "7306")
			return err
		}))
		want(t, "signed in", got[""], 1)
		want(t, "too late", got["signed_out"]+got["invalid"], len(whos)-1) // to the slowest the new PIN is a used one
		want(t, "sign-ins", c.Count("sign_in.key_pin", success), 1)
		want(t, "changes", c.Count("factor.pin_set", success, `"actor":"`+nurse.ID), 2) // with the claim's
	})
}
