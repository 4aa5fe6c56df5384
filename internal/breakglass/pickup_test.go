package breakglass_test

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

func (d *desk) pickup(b *mitraltest.Device, p mitraltest.Person, code, pin identity.Secret) (*session.Live, error) {
	d.t.Helper()
	who := stranger(b)
	if live := d.session(b); live != nil {
		who = b.Who()
	}
	live, err := d.bg.Pickup(context.Background(), who, breakglass.PickupInput{Identifier: p.Email, Code: code, PIN: pin})
	b.Keep(who.Visit)
	return live, err
}

// TestF19: a named grant gives access to sessions that the person is working
// in; locked, parked and forgotten ones only once they have proven themself,
// and one browser by the pick-up code.
func TestF19ANamedGrantReachesOnlyWhoIsThere(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		desk, locked, forgotten, office := d.NewDevice(), d.NewDevice(), d.NewDevice(), d.NewDevice()
		forgotten.SignIn(nurse)
		d.Advance(15*time.Minute + 10*time.Second) // nobody has looked at it since
		desk.SignIn(nurse)
		locked.SignIn(nurse)
		d.lock(locked)
		office.SignIn(d.Admin)
		s := d.open(office, office.Confirmed(d.Admin, stepUp), named(nurse))
		if len(s.PickupCode) != breakglass.PickupSymbols || s.Subject != nurse.ID || s.Invoker != d.Admin.ID {
			t.Errorf("the answer: %+v", s)
		}
		inside := func(b *mitraltest.Device) bool {
			live := d.session(b)
			return live != nil && live.Grant != nil && live.Grant.ID == s.ID
		}
		if !inside(desk) {
			t.Error("the session at work is not inside")
		}
		if inside(locked) || inside(forgotten) || inside(office) {
			t.Errorf("inside: locked %v, forgotten %v, the invoker %v", inside(locked), inside(forgotten), inside(office))
		}
		if live := d.session(office); live.Role != identity.Admin {
			t.Errorf("the invoker: %+v", live)
		}
		if e := d.last("break_glass.start"); e["actor"] != d.Admin.ID || e["user_id"] != nurse.ID || e["kind"] != "named" {
			t.Errorf("the event: %v", e)
		}

		// Unlocking and signing in prove the person.
		who := locked.Who()
		_, err := d.Signin.Unlock(context.Background(), who.Visit, who.Live, signin.UnlockInput{Method: "pin", PIN: nurse.PIN})
		must(t, err)
		locked.Keep(who.Visit)
		fresh := d.NewDevice()
		fresh.SignIn(nurse)
		d.round()
		if !inside(locked) || !inside(fresh) || inside(forgotten) {
			t.Errorf("inside: unlocked %v, signed in %v, forgotten %v", inside(locked), inside(fresh), inside(forgotten))
		}

		// And the code, with the PIN, in one browser.
		ward := d.NewDevice()
		live, err := d.pickup(ward, nurse, identity.Secret(identity.FormatCode(s.PickupCode)), nurse.PIN)
		must(t, err)
		if live.UserID != nurse.ID || live.ACR != identity.ACREmergency || !inside(ward) || !live.AbsoluteExpiresAt.Equal(s.ExpiresAt) {
			t.Errorf("picked up: %+v", live)
		}
		if e := d.last("break_glass.pickup"); e["outcome"] != "success" || e["actor"] != nurse.ID || e["grant_id"] != s.ID {
			t.Errorf("the event: %v", e)
		}

		// Any of the three ends it, and all sessions of it.
		_, err = d.bg.End(context.Background(), ward.Who(), s.ID)
		must(t, err)
		for _, b := range []*mitraltest.Device{desk, locked, fresh, ward} {
			if live := d.session(b); live != nil {
				t.Errorf("a session outlived its grant: %+v", live)
			}
		}
		if live := d.session(office); live == nil || live.Grant != nil {
			t.Errorf("the invoker's own session: %+v", live)
		}
		d.sane()
	})
}

func TestPickupRules(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, idle := d.Add(identity.Nurse), d.Add(identity.Nurse)
		office, ward := d.NewDevice(), d.NewDevice()
		office.SignIn(d.Admin)
		s := d.open(office, office.Confirmed(d.Admin, stepUp), named(nurse))

		for _, in := range []breakglass.PickupInput{{Code: s.PickupCode}, {Identifier: nurse.Email}, {Identifier: nurse.Email, Code: s.PickupCode, PIN: "12345"}} {
			_, err := d.bg.Pickup(context.Background(), stranger(ward), in)
			if r := refusalOf(err); r == nil || r.Kind != identity.Invalid {
				t.Errorf("%+v: %v", in, err)
			}
		}
		_, err := d.pickup(office, nurse, s.PickupCode, nurse.PIN)
		refused(t, err, identity.Forbidden, "own_browser")
		// Nobody waiting and nobody at all are answered like a wrong code.
		_, err = d.pickup(ward, nurse, identity.NewCode(8), nurse.PIN)
		first := refused(t, err, identity.Unauthenticated, "wrong_code")
		for _, p := range []mitraltest.Person{idle, {Email: "nobody@hope.example", PIN: "8264"}} {
			_, err := d.pickup(ward, p, s.PickupCode, p.PIN)
			if r := refused(t, err, identity.Unauthenticated, "wrong_code"); !reflect.DeepEqual(r, first) {
				t.Errorf("%+v, want %+v", r, first)
			}
		}
		_, err = d.pickup(ward, nurse, s.PickupCode, "")
		refused(t, err, identity.Unauthenticated, "wrong_pin") // a set PIN is demanded
		_, err = d.pickup(ward, nurse, s.PickupCode, "7391")
		refused(t, err, identity.Unauthenticated, "wrong_pin")
		for range 2 {
			_, err := d.pickup(ward, nurse, identity.NewCode(8), nurse.PIN)
			refused(t, err, identity.Unauthenticated, "wrong_code")
		}
		if live, err := d.pickup(ward, nurse, s.PickupCode, nurse.PIN); err != nil || live.Grant.ID != s.ID { // the fifth try, and right
			t.Fatalf("with code and PIN: %+v %v", live, err)
		}
		other := d.NewDevice()
		_, err = d.pickup(other, nurse, s.PickupCode, nurse.PIN)
		refused(t, err, identity.Unauthenticated, "wrong_code")

		// Five wrong ones kill a code, five minutes do too.
		second := d.open(office, office.Confirmed(d.Admin, stepUp), named(idle))
		for range 5 {
			_, err := d.pickup(other, idle, identity.NewCode(8), idle.PIN)
			refused(t, err, identity.Unauthenticated, "wrong_code")
		}
		_, err = d.pickup(other, idle, second.PickupCode, idle.PIN)
		refused(t, err, identity.Unauthenticated, "wrong_code")
		third := d.Add(identity.Doctor)
		slow := d.open(office, office.Confirmed(d.Admin, stepUp), named(third))
		d.Advance(5 * time.Minute)
		_, err = d.pickup(other, third, slow.PickupCode, third.PIN)
		refused(t, err, identity.Unauthenticated, "wrong_code")
		d.sane()
	})
}

func TestFiftyPickupsOpenOneSession(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		office := d.NewDevice()
		office.SignIn(d.Admin)
		s := d.open(office, office.Confirmed(d.Admin, stepUp), named(nurse))
		const fifty = 50
		var whos []signin.Who
		for range fifty {
			whos = append(whos, stranger(d.NewDevice()))
		}
		var mu sync.Mutex
		opened, late := 0, 0
		race(fifty, func(i int) {
			live, err := d.bg.Pickup(context.Background(), whos[i], breakglass.PickupInput{Identifier: nurse.Email, Code: s.PickupCode, PIN: nurse.PIN})
			mu.Lock()
			defer mu.Unlock()
			if r := refusalOf(err); err == nil && live.Grant.ID == s.ID {
				opened++
			} else if r != nil && r.Code == "wrong_code" {
				late++
			} else {
				t.Errorf("pick-up %d: %v", i, err)
			}
		})
		// A right code that is refused came too late for the one statement, or was
		// read after it: either way a decision of its own, and an event.
		denied := 0
		for _, e := range d.events("break_glass.pickup") {
			if e["outcome"] == "denied" {
				denied++
			}
		}
		if opened != 1 || late != fifty-1 || denied != fifty-1 {
			t.Errorf("opened %d, late %d, recorded refusals %d", opened, late, denied)
		}
		d.sane()
	})
}
