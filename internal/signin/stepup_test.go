package signin_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// check asks authz/check as the browser's session.
func (c clinic) check(b *mitraltest.Device, in signin.CheckInput) error {
	c.t.Helper()
	dec, err := c.Signin.Check(context.Background(), b.Who(), in)
	if err == nil && dec.Verdict != policy.Permit {
		c.t.Fatalf("%s: %s %s", in.Action, dec.Verdict, dec.Code)
	}
	return err
}

const needsStepUp = "insufficient_user_authentication"

func TestStepUpToken(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse, doctor := c.Add(identity.Nurse), c.Add(identity.Doctor)
		b, other, colleague := c.NewDevice(), c.NewDevice(), c.NewDevice()
		b.SignIn(nurse)
		other.SignIn(nurse)
		colleague.SignIn(doctor)
		token := func(in signin.StepUpInput) identity.Secret {
			t.Helper()
			in.PIN = nurse.PIN
			token, err := c.stepUp(b, in)
			ok(t, err)
			return token
		}
		passes := func(what string, tok identity.Secret, action, txHash string) {
			t.Helper()
			if err := c.check(b, signin.CheckInput{Action: action, Token: tok, TxHash: txHash}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		fails := func(what string, on *mitraltest.Device, tok identity.Secret, action, txHash string) {
			t.Helper()
			r := refused(t, c.check(on, signin.CheckInput{Action: action, Token: tok, TxHash: txHash}), needsStepUp)
			if r.Kind != identity.StepUpNeeded || r.Action != action || r.MaxAge != 0 || r.Extra != nil {
				t.Errorf("%s: %+v", what, r)
			}
		}
		fails("no token", b, "", "export", "")
		fails("a made-up one", b, identity.NewToken(), "export", "")

		tok := token(signin.StepUpInput{Action: "export", Summary: "312 patients"})
		fails("under another session of the person", other, tok, "export", "")
		fails("under another person's", colleague, tok, "export", "")
		passes("and unspent by that", tok, "export", "")
		fails("a second time", b, tok, "export", "")

		tok = token(signin.StepUpInput{Action: "export"})
		fails("for another action", b, tok, "delete", "")
		fails("and spent by that", b, tok, "export", "")

		tok = token(signin.StepUpInput{Action: "payment", TxHash: "invoice 7"})
		fails("for another transaction", b, tok, "payment", "invoice 8")
		fails("and spent by that", b, tok, "payment", "invoice 7")
		tok = token(signin.StepUpInput{Action: "payment", TxHash: "invoice 7"})
		fails("without its transaction", b, tok, "payment", "")
		tok = token(signin.StepUpInput{Action: "payment"})
		fails("with one that it was not made for", b, tok, "payment", "invoice 7")
		tok = token(signin.StepUpInput{Action: "payment", TxHash: "invoice 7"})
		passes("for its own", tok, "payment", "invoice 7")

		tok = token(signin.StepUpInput{Action: "export"})
		c.Advance(signin.StepUpLife - time.Second)
		passes("just in time", tok, "export", "")
		tok = token(signin.StepUpInput{Action: "export"})
		c.Advance(signin.StepUpLife)
		fails("too late", b, tok, "export", "")
		fails("and spent", b, tok, "export", "")

		want(t, "transaction in the record", c.Count("step_up.confirm", "invoice"), 0)
		want(t, "its digest", c.Count("step_up.confirm", success, `"tx_digest"`, `"action":"payment"`), 3)
	})
}

func TestStepUpInput(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		b.SignIn(nurse)
		for _, x := range []struct {
			in   signin.StepUpInput
			code string
		}{
			{signin.StepUpInput{Action: "no_such", PIN: nurse.PIN}, "unknown"},
			{signin.StepUpInput{Action: "export", PIN: "82 4"}, "pin_format"},
			{signin.StepUpInput{Action: "export", PIN: nurse.PIN, TxHash: strings.Repeat("x", 129)}, "too_long"},
			{signin.StepUpInput{Action: "export", PIN: nurse.PIN, TxHash: "a\nb"}, "not_printable"},
			{signin.StepUpInput{Action: "export", PIN: nurse.PIN, TxHash: "é"}, "not_printable"},
			{signin.StepUpInput{Action: "export", Method: "totp"}, "not_accepted"}, // nobody has one yet
			{signin.StepUpInput{Action: "export", Method: "key", PIN: nurse.Key}, "not_accepted"},
		} {
			_, err := c.stepUp(b, x.in)
			want(t, "kind", refused(t, err, x.code).Kind, identity.Invalid)
		}
		for range 5 { // forms are no tries
			_, err := c.stepUp(b, signin.StepUpInput{Action: "export", PIN: "12345"})
			refused(t, err, "pin_format")
		}
		longest := strings.Repeat("~", 128)
		tok, err := c.stepUp(b, signin.StepUpInput{Action: "export", PIN: nurse.PIN, TxHash: longest})
		ok(t, err)
		refused(t, c.check(b, signin.CheckInput{Action: "export", Token: tok, TxHash: longest + "~"}), "too_long")
		ok(t, c.check(b, signin.CheckInput{Action: "export", Token: tok, TxHash: longest}))
	})
}

func TestLockedSessionStepsUpForBreakGlassOnly(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		b := c.NewDevice()
		b.SignIn(c.Admin)
		c.lock(b)
		for _, action := range []string{"export", "users", "sealed_codes"} {
			_, err := c.stepUp(b, signin.StepUpInput{Action: action, PIN: c.Admin.PIN})
			want(t, "kind", refused(t, err, "session_locked").Kind, identity.Locked)
		}
		_, err := c.stepUp(b, signin.StepUpInput{Action: "break_glass", PIN: c.Admin.PIN})
		ok(t, err)
		_, err = c.stepUp(b, signin.StepUpInput{Action: "break_glass", PIN: wrongPIN})
		refused(t, err, "wrong_pin")
		if locked := b.Who().Live; locked.State != "locked" {
			t.Error("a step-up unlocked the session")
		}
	})
}

func TestFreshness(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		b := c.NewDevice()
		c.ChangePolicy(func(d *policy.Document) {
			d.StepUpAges["sign"], d.StepUpMethods["sign"] = 60, []string{"pin"}
		})
		b.SignIn(c.Admin)
		asks := func(what, action string, want bool) {
			t.Helper()
			err := c.check(b, signin.CheckInput{Action: action})
			if want {
				if r := refused(t, err, needsStepUp); r.Action != action {
					t.Errorf("%s: asked for %s", what, r.Action)
				}
			} else if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, always := range []string{"export", "delete", "payment", "break_glass", "sealed_codes"} {
			asks("at age 0 always", always, true)
		}
		asks("just signed in", "users", false)
		asks("just signed in", "sign", false)
		c.Advance(50 * time.Second)
		asks("after 50 s", "sign", false)
		c.Advance(10 * time.Second)
		asks("after 60 s", "sign", true)
		c.Advance(225 * time.Second)
		asks("after 285 s", "policy", false)
		c.Advance(15 * time.Second)
		for _, five := range []string{"policy", "users", "credentials", "factors", "audit_export"} {
			asks("after 300 s", five, true)
		}
		c.Advance(580 * time.Second)
		asks("after 880 s", "audit_read", false)
		c.Advance(20 * time.Second)
		asks("after 900 s", "audit_read", true)

		_, err := c.stepUp(b, signin.StepUpInput{Action: "export", PIN: c.Admin.PIN})
		ok(t, err)
		asks("after a step-up for anything", "audit_read", false)
		asks("after a step-up for anything", "users", false)
		asks("at age 0 always", "export", true)
	})
}

func TestF27APINUnlockIsNoFreshProof(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		b := c.NewDevice()
		b.SignIn(c.Admin)
		ok(t, c.check(b, signin.CheckInput{Action: "users"}))
		c.Advance(6 * time.Minute)
		c.lock(b)
		ok(t, c.unlock(b, c.Admin.PIN))
		refused(t, c.check(b, signin.CheckInput{Action: "users"}), needsStepUp)

		// In a clinic the PIN counts for administration, as a step-up.
		tok, err := c.stepUp(b, signin.StepUpInput{Action: "users", PIN: c.Admin.PIN})
		ok(t, err)
		ok(t, c.check(b, signin.CheckInput{Action: "users", Token: tok}))

		// In a hospital it does not, and a step-up for something else that takes
		// it is no way round.
		hospital, err := policy.Preset("hospital")
		ok(t, err)
		c.ChangePolicy(func(d *policy.Document) { d.StepUpMethods = hospital.StepUpMethods })
		c.Advance(6 * time.Minute)
		_, err = c.stepUp(b, signin.StepUpInput{Action: "users", PIN: c.Admin.PIN})
		refused(t, err, "not_accepted")
		tok, err = c.stepUp(b, signin.StepUpInput{Action: "export", PIN: c.Admin.PIN})
		ok(t, err)
		refused(t, c.check(b, signin.CheckInput{Action: "users"}), needsStepUp)
		ok(t, c.check(b, signin.CheckInput{Action: "export", Token: tok}))
		b.SignIn(c.Admin) // a full sign-in is fresh
		ok(t, c.check(b, signin.CheckInput{Action: "users"}))
	})
}

func TestF39ARecoveryCodeIsNeverAStepUp(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		b := c.NewDevice()
		b.SignIn(c.Admin)
		for _, action := range []string{"break_glass", "users", "export"} {
			for _, method := range []string{"recovery_code", "pin"} {
				_, err := c.stepUp(b, signin.StepUpInput{Action: action, Method: method, PIN: c.Setup.RecoveryCodes[0]})
				want(t, "kind", refused(t, err, "invalid").Kind, identity.Invalid)
			}
			_, err := c.stepUp(b, signin.StepUpInput{Action: action, PIN: c.Admin.PIN})
			ok(t, err)
		}
		// Nor is a sign-in by one fresh for anything but a new factor.
		who := b.Who()
		recovered := *who.Live
		recovered.Method = "recovery_code"
		for action, passes := range map[string]bool{"factors": true, "users": false, "credentials": false, "audit_read": false} {
			_, err := c.Signin.Check(context.Background(), signin.Who{Live: &recovered, Visit: who.Visit}, signin.CheckInput{Action: action})
			if passes {
				ok(t, err)
			} else {
				refused(t, err, needsStepUp)
			}
			ok(t, c.check(b, signin.CheckInput{Action: action}))
		}
	})
}

func TestF26OnlyADecisionCostsTheToken(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		b := c.NewDevice()
		b.SignIn(c.Admin)
		c.Advance(6 * time.Minute)
		tok, err := c.stepUp(b, signin.StepUpInput{Action: "users", PIN: c.Admin.PIN})
		ok(t, err)
		c.Exec("UPDATE session SET fresh_at = auth_time") // the token alone
		node := clinic{c.Node(), t}                       // which has not seen it fresh
		act := func(refuse *identity.Refusal) error {
			t.Helper()
			who := signin.Who{Visit: b.VisitOn(node.Clinic), StepUp: tok}
			if who.Live, err = node.Sessions.Check(context.Background(), who.Visit, 0); err != nil {
				t.Fatal(err)
			}
			check := func(*store.Tx) error {
				if refuse != nil {
					return refuse
				}
				return nil
			}
			return node.Signin.Act(context.Background(), who, c.Workspace.ID, "users", "test.act", check, func(tx *store.Tx) error {
				_, err := tx.TouchUser(c.Admin.ID)
				if err == nil {
					_, err = tx.Record(actEvent)
				}
				return err
			})
		}
		refused(t, act(identity.Refuse(identity.Conflict, "conflict", "")), "conflict")
		refused(t, act(identity.Refuse(identity.Stale, "stale", "")), "stale")
		refused(t, act(identity.RefuseField("x", "wrong", "")), "wrong")
		for _, code := range []string{"conflict", "stale", "invalid"} {
			want(t, code+" in the record", c.Count("authz.refused", denied, `"operation":"test.act"`, `"reason":"`+code+`"`), 1)
		}
		ok(t, act(nil))
		refused(t, act(identity.Refuse(identity.Conflict, "conflict", "")), "conflict")
		refused(t, act(nil), needsStepUp) // the decision cost it
		want(t, "acts", c.Count(actEvent.Type), 1)
	})
}
