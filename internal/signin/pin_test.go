package signin_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/signin"
)

// exhaust signs a person in and types five wrong PINs at the lock.
func (c clinic) exhaust(b *mitraltest.Device, p mitraltest.Person) {
	c.t.Helper()
	b.SignIn(p)
	c.lock(b)
	for range 4 {
		refused(c.t, c.unlock(b, wrongPIN), "wrong_pin")
	}
	refused(c.t, c.unlock(b, wrongPIN), "session_ended")
}

func TestF11TenADayOnOneWorkstation(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		ward, office := c.NewDevice(), c.NewDevice()
		office.SignIn(nurse)
		c.exhaust(ward, nurse)
		c.Advance(2 * time.Hour)
		office.SignIn(nurse) // its own session is idle by now
		ward.SignIn(nurse)
		c.lock(ward)
		for range 4 {
			refused(t, c.unlock(ward, wrongPIN), "wrong_pin")
		}
		ok(t, c.unlock(ward, nurse.PIN)) // nine; the right PIN takes back none
		c.Advance(time.Hour)
		ward.SignIn(nurse)
		want(t, "told before", len(c.Told("pin_stopped")), 0)
		_, err := c.stepUp(ward, signin.StepUpInput{Action: "export", PIN: wrongPIN})
		refused(t, err, "wrong_pin")

		stops := func(b *mitraltest.Device) {
			t.Helper()
			_, err := c.stepUp(b, signin.StepUpInput{Action: "export", PIN: nurse.PIN})
			want(t, "kind", refused(t, err, "pin_stopped").Kind, identity.Forbidden)
			_, err = c.changePIN(b, nurse.PIN, "7306")
			refused(t, err, "pin_stopped")
			c.lock(b)
			refused(t, c.unlock(b, nurse.PIN), "pin_stopped")
		}
		stops(ward)
		want(t, "stops", c.Count("factor.pin_stop", `"user_id":"`+nurse.ID), 1)
		if told := c.Told("pin_stopped"); !slices.Equal(told, []string{"+442079460101", c.Admin.Email, nurse.Email}) {
			t.Errorf("told %v", told)
		}
		want(t, "refusals in the record", c.Count("session.unlock", denied, `"reason":"pin_stopped"`), 1)

		// On that workstation only, and the key lets in anywhere.
		c.Advance(time.Second)
		office.SignIn(nurse)
		c.lock(office)
		ok(t, c.unlock(office, nurse.PIN))
		ward.SignIn(nurse)
		stops(ward)

		c.Advance(day)
		ward.SignIn(nurse)
		c.lock(ward)
		ok(t, c.unlock(ward, nurse.PIN))
	})
}

func TestF11FiveAnHourOnOneWorkstation(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		device := b.SignIn(nurse).DeviceID
		// A colleague types between the nurse's own right PINs: they give no new
		// tries within the hour.
		c.lock(b)
		for range 4 {
			refused(t, c.unlock(b, wrongPIN), "wrong_pin")
		}
		ok(t, c.unlock(b, nurse.PIN))
		c.lock(b)
		refused(t, c.unlock(b, wrongPIN), "session_ended")
		b.SignIn(nurse) // whoever has the key is heard at once
		c.lock(b)
		ok(t, c.unlock(b, nurse.PIN))

		// Tries on other ways, such as at a sealed code, are in the same ledger.
		c.Advance(25 * time.Hour)
		b.SignIn(nurse)
		for i := range 5 {
			c.Exec("INSERT INTO pin_miss (id, workspace_id, user_id, device_id, path, at) VALUES ($1, $2, $3, $4, 'break_glass', $5)",
				identity.NewID("pnm"), c.Workspace.ID, nurse.ID, device, c.DB.Clock().Now().UnixMicro())
			c.lock(b)
			if i < 4 {
				ok(t, c.unlock(b, nurse.PIN))
			}
		}
		refused(t, c.unlock(b, nurse.PIN), "pin_stopped")
		c.Advance(time.Hour + time.Second)
		ok(t, c.unlock(b, nurse.PIN))
		want(t, "told", len(c.Told("pin_stopped")), 0)
	})
}

func TestF11KeyAndWrongPINsStopThePINEverywhere(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		c.strangers(5, nurse)
		c.Advance(14 * time.Minute)
		c.lock(b)
		ok(t, c.unlock(b, nurse.PIN)) // five are not enough
		c.Advance(2 * time.Minute)
		c.strangers(5, nurse)
		c.lock(b)
		refused(t, c.unlock(b, nurse.PIN), "pin_stopped")
		b.SignIn(nurse) // the browser is known, so the pause is not its
		c.lock(b)
		refused(t, c.unlock(b, nurse.PIN), "pin_stopped")

		// A new PIN ends it.
		claim, err := c.Directory.NewClaim(context.Background(), signin.CLI(), c.Workspace.ID, nurse.ID, newPINClaim)
		ok(t, err)
		got, err := c.Directory.CompleteClaim(context.Background(), c.NewDevice().Visit(), mitraltest.ClaimToken(claim.URL), claim.Code, "7306")
		ok(t, err)
		nurse.PIN, nurse.Key = "7306", got.Key
		ok(t, c.unlock(b, nurse.PIN))
	})
}

var newPINClaim = directory.NewClaim{Channel: "screen", Reset: []string{"pin"}}

func TestF11ThirtyInThirtyDays(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		for range 6 {
			c.exhaust(b, nurse)
			c.Advance(25 * time.Hour)
		}
		b.SignIn(nurse)
		c.lock(b)
		refused(t, c.unlock(b, nurse.PIN), "pin_stopped")
		want(t, "stops", c.Count("factor.pin_stop"), 1)
		c.Advance(24 * day) // the first five are too long ago
		b.SignIn(nurse)
		c.lock(b)
		ok(t, c.unlock(b, nurse.PIN))
	})
}

func TestF11HundredInAllAndThePINMustBeSetAnew(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		workstation := c.NewDevice()
		workstation.SignIn(nurse)
		for range 20 {
			c.strangers(5, nurse)
			c.Advance(day + time.Minute)
			if c.Count("sign_in.key_pin", `"reason":"wrong_pin"`) == 95 {
				workstation.SignIn(nurse)
			}
		}
		for _, b := range []*mitraltest.Device{workstation, c.NewDevice()} {
			_, err := c.try(b, pair(nurse, nurse.PIN))
			refused(t, err, "invalid_credentials") // as for any other wrong
		}
		want(t, "reason", c.Count("sign_in.key_pin", denied, `"reason":"pin_stopped"`), 2)

		// A claim that keeps the PIN is no way round; one that sets it anew is.
		claim, err := c.Directory.NewClaim(context.Background(), signin.CLI(), c.Workspace.ID, nurse.ID, directory.NewClaim{Channel: "screen"})
		ok(t, err)
		_, err = c.Directory.CompleteClaim(context.Background(), c.NewDevice().Visit(), mitraltest.ClaimToken(claim.URL), claim.Code, nurse.PIN)
		refused(t, err, "pin_stopped")
		claim, err = c.Directory.NewClaim(context.Background(), signin.CLI(), c.Workspace.ID, nurse.ID, newPINClaim)
		ok(t, err)
		got, err := c.Directory.CompleteClaim(context.Background(), c.NewDevice().Visit(), mitraltest.ClaimToken(claim.URL), claim.Code, "7306")
		ok(t, err)
		nurse.PIN, nurse.Key = "7306", got.Key
		c.NewDevice().SignIn(nurse)
	})
}

func TestF11StepUpChangeAndUnlockShareTheSessionsFive(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b, other := c.NewDevice(), c.NewDevice()
		b.SignIn(nurse)
		other.SignIn(nurse)
		left := func(err error, n int64) {
			t.Helper()
			want[any](t, "tries left", refused(t, err, "wrong_pin").Extra["tries_left"], n)
		}
		_, err := c.stepUp(b, signin.StepUpInput{Action: "export", PIN: wrongPIN})
		left(err, 4)
		_, err = c.changePIN(b, wrongPIN, "7306")
		left(err, 3)
		_, err = c.stepUp(b, signin.StepUpInput{Action: "delete", PIN: wrongPIN})
		left(err, 2)
		c.lock(b)
		left(c.unlock(b, wrongPIN), 1)
		refused(t, c.unlock(b, wrongPIN), "session_ended")
		if !c.signedOut(b) {
			t.Error("the session goes on")
		}
		want(t, "the end", c.Count("session.end", `"reason":"pin_exhausted"`), 1)
		c.lock(other)
		ok(t, c.unlock(other, nurse.PIN)) // nothing else is blocked
		_, err = c.stepUp(other, signin.StepUpInput{Action: "export", PIN: nurse.PIN})
		ok(t, err)
	})
}

func TestF38StolenCookiesUnlockAndGuessNothing(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		thief := b.Clone()
		thief.Forget("device")
		for _, pin := range []identity.Secret{wrongPIN, nurse.PIN} {
			_, err := c.stepUp(thief, signin.StepUpInput{Action: "export", PIN: pin})
			refused(t, err, "other_browser")
			_, err = c.changePIN(thief, pin, "7306")
			refused(t, err, "other_browser")
		}
		c.lock(b)
		thief = b.Clone()
		thief.Forget("device")
		for _, pin := range []identity.Secret{wrongPIN, nurse.PIN} {
			refused(t, c.unlock(thief, pin), "other_browser")
		}
		want(t, "misses", c.Count("session.unlock", `"misses"`), 0)
		ok(t, c.unlock(b, nurse.PIN))
	})
}
