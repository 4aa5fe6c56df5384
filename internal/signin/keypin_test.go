package signin_test

import (
	"context"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

func TestKeyPIN(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		in := pair(nurse, nurse.PIN)
		in.Identifier = "  " + strings.ToUpper(nurse.Email)
		in.Key = identity.Secret(strings.ToLower(identity.FormatKey(nurse.Key)))
		out, err := c.try(b, in)
		ok(t, err)
		want(t, "state", out.State, "signed_in")
		live := b.Who().Live
		want(t, "session", live.ID, out.Session.ID)
		want(t, "person", live.UserID, nurse.ID)
		want(t, "assurance", live.ACR, identity.ACRAAL1)
		want(t, "methods", strings.Join(live.AMR, " "), "pwd pin")
		want(t, "events", c.Count("sign_in.key_pin", success, live.ID, `"actor":"`+nurse.ID), 1)

		// Nobody else's pair fits together.
		doctor := c.Add(identity.Doctor)
		mixed := pair(nurse, nurse.PIN)
		mixed.Key = doctor.Key
		_, err = c.try(c.NewDevice(), mixed)
		refused(t, err, "invalid_credentials")
	})
}

func TestOneAnswerForEveryKindOfWrong(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse, disabled, paused, barred := c.Add(identity.Nurse), c.Add(identity.Nurse), c.Add(identity.Nurse), c.Add(identity.Doctor)
		yes := true
		_, err := c.Directory.UpdateUser(context.Background(), signin.CLI(), c.Workspace.ID, disabled.ID, directory.Change{Disabled: &yes})
		ok(t, err)
		c.strangers(5, paused)
		c.ChangePolicy(func(d *policy.Document) {
			doctor := d.Roles[identity.Doctor]
			doctor.Methods = []string{policy.Passkey}
			d.Roles[identity.Doctor] = doctor
		})
		unknown, noAddress, wrongKey, noKey := pair(nurse, nurse.PIN), pair(nurse, nurse.PIN), pair(nurse, nurse.PIN), pair(nurse, nurse.PIN)
		unknown.Identifier, noAddress.Identifier = "nobody@hope.example", "no address"
		wrongKey.Key, noKey.Key = identity.NewKey(), "no key"
		elsewhere := pair(nurse, nurse.PIN)
		elsewhere.Workspace = "no-such-clinic"
		var first *identity.Refusal
		for what, in := range map[string]signin.KeyPIN{
			"unknown": unknown, "no address": noAddress, "wrong key": wrongKey, "no key": noKey, "another clinic": elsewhere,
			"wrong PIN": pair(nurse, wrongPIN), "disabled": pair(disabled, disabled.PIN), "paused": pair(paused, paused.PIN), "barred": pair(barred, barred.PIN),
		} {
			_, err := c.try(c.NewDevice(), in)
			r := refused(t, err, "invalid_credentials")
			if first == nil {
				first = r
			}
			if r.Kind != identity.Unauthenticated || !reflect.DeepEqual(r, first) {
				t.Errorf("%s is answered differently: %+v", what, r)
			}
		}
		// The record may tell them apart, but only after a right key, and never
		// by an identifier that matched nobody.
		for _, reason := range []string{"wrong_pin", "disabled", "paused", "method_not_allowed"} {
			if c.Count("sign_in.key_pin", denied, `"reason":"`+reason+`"`) == 0 {
				t.Errorf("no event says %s", reason)
			}
		}
		want(t, "events without a right first proof", c.Count("sign_in.key_pin", denied)-c.Count("sign_in.key_pin", denied, `"reason"`), 2)
		ok(t, c.DB.ReadSystem(context.Background(), func(tx *store.SystemTx) error {
			nobodys, err := tx.AllEvents("")
			want(t, "events of no clinic", len(nobodys), 3)
			for _, e := range nobodys {
				if strings.Contains(e.Leaf, "hope") || strings.Contains(e.Leaf, "no address") {
					t.Errorf("an identifier that matched nobody is recorded: %s", e.Leaf)
				}
			}
			return err
		}))
		_, err = c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		ok(t, err)
	})
}

func TestF08AnAddressInTwoWorkspacesIsTwoUsers(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		// The same address and even the same PIN in another clinic.
		other, err := c.Directory.Setup(context.Background(), directory.SetupInput{WorkspaceName: "Other Clinic", AdminEmail: c.Admin.Email, AdminName: "Another Administrator",
			PIN: c.Admin.PIN, Another: true, ByOperator: true})
		ok(t, err)
		here, there := pair(c.Admin, c.Admin.PIN), pair(c.Admin, c.Admin.PIN)
		here.Workspace, there.Workspace = c.Workspace.Slug, other.Workspace.Slug

		unknown := here
		unknown.Identifier, unknown.Workspace = "nobody@hope.example", ""
		_, err = c.try(c.NewDevice(), unknown)
		like := refused(t, err, "invalid_credentials")
		for _, key := range []identity.Secret{c.Admin.Key, other.Key} {
			ambiguous := pair(c.Admin, c.Admin.PIN)
			ambiguous.Key = key
			_, err = c.try(c.NewDevice(), ambiguous)
			if r := refused(t, err, "invalid_credentials"); !reflect.DeepEqual(r, like) {
				t.Errorf("an ambiguous identifier is answered %+v, an unknown one %+v", r, like)
			}
		}
		_, err = c.try(c.NewDevice(), there) // this clinic's key
		refused(t, err, "invalid_credentials")

		b := c.NewDevice()
		out, err := c.try(b, here)
		ok(t, err)
		want(t, "workspace", out.Session.WorkspaceID, c.Workspace.ID)
		there.Key = other.Key
		out, err = c.try(c.NewDevice(), there)
		ok(t, err)
		want(t, "workspace", out.Session.WorkspaceID, other.Workspace.ID)

		// A workstation of this clinic decides for it, and against the other.
		c.Exec("UPDATE device SET registered_at = 1 WHERE id = $1", b.Who().Live.DeviceID)
		out, err = c.try(b, pair(c.Admin, c.Admin.PIN))
		ok(t, err)
		want(t, "workspace", out.Session.WorkspaceID, c.Workspace.ID)
		alone := pair(mitraltest.Person{Email: c.Admin.Email, Key: other.Key}, c.Admin.PIN)
		_, err = c.try(b, alone)
		refused(t, err, "invalid_credentials")
	})
}

func TestPauseLadder(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		workstation := c.NewDevice()
		workstation.SignIn(nurse)
		stranger := func() error { _, err := c.try(c.NewDevice(), pair(nurse, nurse.PIN)); return err }

		c.strangers(4, nurse)
		ok(t, stranger()) // a completed sign-in forgives
		c.strangers(4, nurse)
		want(t, "pauses", c.Count("sign_in.pause"), 0)
		c.strangers(1, nurse)
		for i, pause := range []time.Duration{15 * time.Minute, time.Hour, day, day} {
			want(t, "pauses", c.Count("sign_in.pause"), i+1)
			refused(t, stranger(), "invalid_credentials")
			c.Advance(pause - time.Second)
			refused(t, stranger(), "invalid_credentials")
			c.Advance(2 * time.Second)
			if i < 3 {
				c.strangers(5, nurse) // the next rung
			}
		}
		want(t, "refusals while paused", c.Count("sign_in.key_pin", `"reason":"paused"`), 8)
		want(t, "told", strings.Join(c.Told("key_exposed")[:3], " "), "+442079460101 +442079460101 +442079460101")
		want(t, "messages", len(c.Told("key_exposed")), 4*3) // the person's mail, the administrator's mail and SMS
		ok(t, stranger())

		// From the start again, and the known browser never noticed.
		c.strangers(5, nurse)
		refused(t, stranger(), "invalid_credentials")
		workstation.SignIn(nurse)
		refused(t, stranger(), "invalid_credentials") // nor did this end the pause
		c.Advance(15*time.Minute + time.Second)
		ok(t, stranger())
	})
}

func TestPausedTriesCountNothing(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		c.strangers(5, nurse)
		c.strangers(10, nurse)
		want(t, "pauses", c.Count("sign_in.pause"), 1)
		want(t, "counted", c.Count("sign_in.key_pin", `"reason":"wrong_pin"`), 5)
		c.Advance(15*time.Minute + time.Second)
		_, err := c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		ok(t, err)
	})
}

func TestWrongKeysPauseNobody(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		workstation := c.NewDevice()
		workstation.SignIn(nurse)
		guess := pair(nurse, nurse.PIN)
		for i := range 1000 {
			guess.Key = identity.NewKey()
			b := c.NewDevice()
			b.IP = netip.AddrFrom4([4]byte{10, 0, byte(i % 50), 1})
			if _, err := c.try(b, guess); err == nil {
				t.Fatal("a guessed key signed in")
			}
		}
		workstation.SignIn(nurse)
		_, err := c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		ok(t, err)
		want(t, "pauses", c.Count("sign_in.pause"), 0)

		// The control: right keys with wrong PINs do.
		c.strangers(5, nurse)
		_, err = c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		refused(t, err, "invalid_credentials")
	})
}

func TestAKnownBrowserIsForgottenAtTheFifthMiss(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse, doctor := c.Add(identity.Nurse), c.Add(identity.Doctor)
		shared, own := c.NewDevice(), c.NewDevice()
		shared.SignIn(nurse)
		shared.SignIn(doctor)
		own.SignIn(nurse)
		miss := func(n int) {
			for range n {
				_, err := c.try(shared, pair(nurse, wrongPIN))
				refused(t, err, "invalid_credentials")
			}
		}
		pause := func() {
			c.Advance(15*time.Minute + time.Second) // past the pause before
			c.strangers(5, nurse)
		}

		miss(4)
		pause()
		shared.SignIn(nurse) // still known, whatever is paused; its misses are forgiven
		miss(4)
		pause()
		shared.SignIn(nurse)
		miss(5)
		want(t, "pauses", c.Count("sign_in.pause"), 2) // none by the known browser
		shared.SignIn(doctor)                          // nobody else's standing suffers
		pause()
		_, err := c.try(shared, pair(nurse, nurse.PIN))
		refused(t, err, "invalid_credentials")
		own.SignIn(nurse)
		c.Advance(15*time.Minute + time.Second)
		shared.SignIn(nurse) // the pause is over, and the browser is known again
		pause()
		shared.SignIn(nurse)
	})
}

func TestRangeThrottle(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse, doctor := c.Add(identity.Nurse), c.Add(identity.Doctor)
		workstation := c.NewDevice()
		workstation.SignIn(nurse)
		stranger := func(last byte) *mitraltest.Device {
			b := c.NewDevice()
			b.IP = netip.AddrFrom4([4]byte{192, 0, 2, last})
			return b
		}
		workstation.IP = stranger(200).IP // behind the same address range
		wrong := pair(nurse, nurse.PIN)
		for i := range 20 {
			wrong.Key, wrong.Identifier = identity.NewKey(), []string{nurse.Email, doctor.Email, "nobody@hope.example"}[i%3]
			_, err := c.try(stranger(byte(i+1)), wrong)
			refused(t, err, "invalid_credentials")
		}
		for i, wait := range []string{"1s", "2s", "4s", "8s", "16s", "30s", "30s"} {
			wrong.Identifier = []string{nurse.Email, "nobody@hope.example"}[i%2]
			_, err := c.try(stranger(byte(100+i)), wrong)
			r := refused(t, err, "throttled")
			want(t, "kind", r.Kind, identity.Throttled)
			want(t, "Retry-After", r.RetryAfter.String(), wait)
		}
		_, err := c.try(stranger(99), pair(nurse, nurse.PIN))
		refused(t, err, "throttled")
		// Neither the known browser there nor anybody elsewhere is held up, and the
		// known browser's own misses are its own.
		workstation.SignIn(nurse)
		_, err = c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		ok(t, err)
		wrong.Identifier = nurse.Email
		for range 20 {
			_, err := c.try(workstation, wrong)
			refused(t, err, "invalid_credentials")
		}
		_, err = c.try(workstation, pair(nurse, nurse.PIN))
		refused(t, err, "throttled")
		_, err = c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		ok(t, err)

		c.Advance(time.Minute)
		_, err = c.try(stranger(1), pair(nurse, nurse.PIN))
		ok(t, err)
		workstation.SignIn(nurse)
	})
}

func TestPINFormIsAskedBeforeAnything(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		before := len(c.Events())
		for range 3 {
			for _, pin := range []identity.Secret{"", "123", "12345", "1234567", "82 6", "82a4", "８２６４", "٨٢٦٤", "826\n", identity.Secret(strings.Repeat("8", 5000)), "826426"} {
				_, err := c.try(b, pair(nurse, pin))
				r := refused(t, err, "pin_format")
				want(t, "kind", r.Kind, identity.Invalid)
				want(t, "field", r.Fields[0].Field, "pin")
			}
		}
		want(t, "events", len(c.Events()), before)
		b.SignIn(nurse) // 33 bad forms were no failed attempts

		// Six digits count once somebody has six; who has four keeps them until they change.
		c.ChangePolicy(func(d *policy.Document) { d.PIN.Length = 6 })
		_, err := c.changePIN(b, nurse.PIN, "7306")
		refused(t, err, "pin_format")
		_, err = c.changePIN(b, nurse.PIN, "483926")
		ok(t, err)
		nurse.PIN = "483926"
		c.NewDevice().SignIn(nurse)
		c.NewDevice().SignIn(c.Admin)
		_, err = c.try(c.NewDevice(), pair(c.Admin, "826426"))
		refused(t, err, "invalid_credentials")
		c.lock(b)
		refused(t, c.unlock(b, "4839"), "pin_format")
		ok(t, c.unlock(b, nurse.PIN))
	})
}

func TestOverduePIN(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		c.Advance(96 * day)
		c.NewDevice().SignIn(nurse)
		b := c.NewDevice()
		b.SignIn(c.Admin) // somebody else is signed in there
		c.Advance(25 * time.Hour)
		pend := func() {
			t.Helper()
			out, err := c.try(b, pair(nurse, nurse.PIN))
			ok(t, err)
			want(t, "state", out.State, "enrollment_required")
			want(t, "methods", strings.Join(out.Methods, " "), "pin")
			if out.Session != nil {
				t.Error("a pending attempt has a session")
			}
		}
		change := func(current, next identity.Secret) (signin.Outcome, error) {
			v := b.Visit()
			out, err := c.Signin.ChangePIN(context.Background(), signin.Who{Visit: v}, current, next)
			b.Keep(v)
			return out, err
		}
		_, err := change(nurse.PIN, "7306")
		refused(t, err, "signed_out")
		pend()
		_, err = change(nurse.PIN, "1234")
		refused(t, err, "pin_too_easy")
		_, err = change(nurse.PIN, nurse.PIN)
		refused(t, err, "pin_used")
		_, err = change(wrongPIN, "7306") // and the attempt is over
		refused(t, err, "invalid_credentials")
		_, err = change(nurse.PIN, "7306")
		refused(t, err, "signed_out")

		pend()
		c.Advance(10*time.Minute + time.Second)
		_, err = change(nurse.PIN, "7306")
		refused(t, err, "signed_out")

		pend()
		thief := b.Clone()
		out, err := change(nurse.PIN, "7306")
		ok(t, err)
		want(t, "state", out.State, "signed_in")
		want(t, "person", b.Who().Live.UserID, nurse.ID)
		_, err = c.Signin.ChangePIN(context.Background(), signin.Who{Visit: thief.Visit()}, "7306", "4839")
		refused(t, err, "signed_out")
		if told := c.Told("pin_changed"); len(told) != 1 || told[0] != nurse.Email {
			t.Errorf("told %v", told)
		}
		want(t, "pending", c.Count("sign_in.pending", `"asked":"pin"`), 3)
		want(t, "signed in", c.Count("sign_in.key_pin", success, `"actor":"`+nurse.ID), 2)
		nurse.PIN = "7306"
		c.NewDevice().SignIn(nurse)
	})
}

func TestAgeOfAPINStopsNobodyAtWork(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		b := c.NewDevice()
		c.Advance(97*day - time.Minute)
		b.SignIn(nurse)
		c.Advance(2 * time.Minute)
		out, err := c.try(c.NewDevice(), pair(nurse, nurse.PIN))
		ok(t, err)
		want(t, "a full sign-in", out.State, "enrollment_required")
		c.lock(b)
		ok(t, c.unlock(b, nurse.PIN))
		_, err = c.stepUp(b, signin.StepUpInput{Action: "export", PIN: nurse.PIN})
		ok(t, err)
	})
}

func TestFactorIsAskedWherePolicyAsks(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		worked, fresh, office := c.Add(identity.Nurse), c.Add(identity.Nurse), c.Add(identity.Staff)
		c.NewDevice().SignIn(worked)
		c.NewDevice().SignIn(c.Admin)
		c.Advance(time.Hour)
		c.ChangePolicy(func(d *policy.Document) { d.MFA.Accept = []string{policy.WebAuthn, policy.TOTP} })
		c.Advance(time.Hour)
		ask := func(p mitraltest.Person, state string) *mitraltest.Device {
			t.Helper()
			b := c.NewDevice()
			out, err := c.try(b, pair(p, p.PIN))
			ok(t, err)
			want(t, "state", out.State, state)
			return b
		}
		b := ask(fresh, "enrollment_required")
		v := b.Visit()
		_, err := c.Signin.ChangePIN(context.Background(), signin.Who{Visit: v}, fresh.PIN, "7306")
		refused(t, err, "not_next_step")
		if !c.signedOut(b) {
			t.Error("a pending attempt is a session")
		}
		ask(office, "signed_in")
		// The grace counts from the requirement, not from the last sign-in.
		ask(worked, "signed_in")
		c.Advance(6 * day)
		ask(worked, "signed_in")
		c.Advance(day - 2*time.Hour)
		ask(worked, "signed_in")
		c.Advance(2 * time.Hour)
		ask(worked, "enrollment_required")
		want(t, "pending", c.Count("sign_in.pending", `"asked":"webauthn totp"`), 2)
	})
}

func TestHashesAreMadeAnewAtUse(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse := c.Add(identity.Nurse)
		read := func() (pin, key string) {
			ok(t, c.DB.Read(context.Background(), c.Workspace.ID, func(tx *store.Tx) error {
				p, err := tx.UserPin(nurse.ID)
				if err != nil {
					return err
				}
				keys, err := tx.LiveUserKeys(nurse.ID)
				pin, key = string(p.Verifier), string(keys[0].Verifier)
				return err
			}))
			return pin, key
		}
		pin, key := read()
		costly := keyring.Cost{MemoryKiB: 128, Time: 2, Threads: 1}
		n := clinic{c.NodeAt(keyring.Costs{KeyPIN: costly, Code: costly}), t}
		b := n.NewDevice()
		_, err := n.Signin.KeyPIN(context.Background(), b.VisitOn(n.Clinic), pair(nurse, wrongPIN))
		refused(t, err, "invalid_credentials")
		if p, k := read(); p != pin || k != key {
			t.Error("a refused sign-in changed a hash")
		}
		_, err = c.try(c.NewDevice(), pair(nurse, nurse.PIN)) // the costs they have
		ok(t, err)
		if p, k := read(); p != pin || k != key {
			t.Error("a hash was made anew for nothing")
		}
		_, err = n.Signin.KeyPIN(context.Background(), b.VisitOn(n.Clinic), pair(nurse, nurse.PIN))
		ok(t, err)
		if p, k := read(); p == pin || k == key {
			t.Error("the cheaper hashes were kept")
		}
		c.NewDevice().SignIn(nurse)
	})
}

func TestF25ADeviceIsKnownOnlyForWhoSignedInWithIt(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nurse, doctor := c.Add(identity.Nurse), c.Add(identity.Doctor)
		b := c.NewDevice()
		device := b.SignIn(nurse).DeviceID
		for p, reserved := range map[mitraltest.Person]string{nurse: device, doctor: ""} {
			lane, err := c.Signin.LaneOf(context.Background(), b.Visit(), c.Workspace.ID, p.ID)
			ok(t, err)
			want(t, "the lane of "+string(p.Role), lane.Device, reserved)
		}
		b.Forget("device")
		lane, err := c.Signin.LaneOf(context.Background(), b.Visit(), c.Workspace.ID, nurse.ID)
		ok(t, err)
		want(t, "the lane without its cookie", lane.Device, "")
	})
}
