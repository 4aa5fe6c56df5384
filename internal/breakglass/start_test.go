package breakglass_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

const stepUp = policy.ActBreakGlass

func TestSelfMakesOnesOwnSessionTheEmergencySession(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b, elsewhere := d.NewDevice(), d.NewDevice()
		b.SignIn(d.Admin)
		elsewhere.SignIn(d.Admin)
		in := emergency()
		in.Category, in.PatientRef = breakglass.PatientEmergency, "P-1042"
		s := d.open(b, b.Confirmed(d.Admin, stepUp), in)

		if s.Ref != "BG-0001" || s.State != breakglass.StateActive || s.Attached || s.Identity != "" || s.PickupCode != "" || s.Drill {
			t.Errorf("the answer: %+v", s)
		}
		within(t, "the window", s.ExpiresAt.Sub(s.StartedAt), time.Hour, 0)
		within(t, "the remainder", time.Duration(s.RemainingS)*time.Second, time.Hour, time.Minute)
		if s.Audit.Index == nil || s.Audit.Checkpoint == nil || s.Audit.Receipt != "" {
			t.Errorf("audit: %+v", s.Audit)
		}
		live := d.session(b)
		if live.Grant == nil || live.Grant.ID != s.ID || live.State != session.Active || live.Role != "emergency_clinician" || !live.AbsoluteExpiresAt.Equal(s.ExpiresAt) {
			t.Errorf("the session: %+v", live)
		}
		if other := d.session(elsewhere); other.Grant != nil || other.Role != identity.Admin {
			t.Errorf("the administrator's other session: %+v", other)
		}
		e := d.last("break_glass.start")
		if e["actor"] != d.Admin.ID || e["grant_id"] != s.ID || e["purpose"] != "ETREAT" || e["reason"] != in.Reason || e["outcome"] != "success" ||
			e["ref"] != "BG-0001" || e["session_id"] != live.ID || e["user_id"] != nil {
			t.Errorf("the event: %v", e)
		}
		if strings.Contains(e["patient_digest"].(string), "1042") || e["patient_salt"] == nil {
			t.Errorf("the patient in the event: %v", e)
		}
		// What is done inside names the grant, and its holder as the actor.
		dec, err := d.Signin.Check(context.Background(), b.Who(), signin.CheckInput{Action: "export"})
		must(t, err)
		if dec.Code != policy.DenyForbidden {
			t.Errorf("export inside: %+v", dec)
		}
		if e := d.last("authz.check"); e["actor"] != d.Admin.ID || e["grant_id"] != s.ID || e["purpose"] != "ETREAT" {
			t.Errorf("the event inside: %v", e)
		}
		d.sane()
	})
}

// One whose own session is locked at the workstation types the PIN once: for
// the step-up. The emergency session is usable at once.
func TestSelfFromALockedWorkstation(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b := d.NewDevice()
		b.SignIn(d.Admin)
		d.lock(b)
		if live := d.session(b); live.State != session.Locked {
			t.Fatalf("not locked: %+v", live)
		}
		_, err := d.start(b, b.Who(), emergency())
		refused(t, err, identity.StepUpNeeded, "insufficient_user_authentication")
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		live := d.session(b)
		if live.State != session.Active || live.Grant == nil || live.Grant.ID != s.ID {
			t.Errorf("the session: %+v", live)
		}
		if e := d.last("session.unlock"); e["method"] != "step_up" || e["grant_id"] != s.ID {
			t.Errorf("the unlock's event: %v", e)
		}

		// Opening it for somebody else unlocks nothing.
		d2 := d.NewDevice()
		nurse, other := d.Add(identity.Nurse), d.Add(identity.Admin)
		d2.SignIn(other)
		d.lock(d2)
		n := d.open(d2, d2.Confirmed(other, stepUp), named(nurse))
		if live := d.session(d2); live.State != session.Locked || live.Grant != nil || len(n.PickupCode) != 8 {
			t.Errorf("the invoker: %+v", live)
		}
	})
}

func TestWhoMayStart(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, reviewer, doctor := d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer), d.Add(identity.Doctor)
		for _, p := range []mitraltest.Person{nurse, reviewer} {
			b := d.NewDevice()
			b.SignIn(p)
			_, err := d.start(b, b.Who(), emergency())
			refused(t, err, identity.Forbidden, "forbidden")
			_, err = d.start(b, b.Who(), named(doctor))
			refused(t, err, identity.Forbidden, "forbidden")
			if e := d.last("break_glass.start"); e["outcome"] != "denied" || e["actor"] != p.ID || e["reason"] != "forbidden" {
				t.Errorf("the refusal's event: %v", e)
			}
		}
		_, err := d.start(d.NewDevice(), stranger(d.NewDevice()), emergency())
		refused(t, err, identity.Unauthenticated, "signed_out")

		b := d.NewDevice()
		b.SignIn(d.Admin)
		_, err = d.start(b, b.Who(), emergency())
		r := refused(t, err, identity.StepUpNeeded, "insufficient_user_authentication")
		if r.Action != stepUp || r.MaxAge != 0 {
			t.Errorf("what is asked: %+v", r)
		}
		d.policy(func(p *policy.Document) { p.BreakGlass.Enabled = false })
		_, err = d.start(b, b.Confirmed(d.Admin, stepUp), emergency())
		refused(t, err, identity.Forbidden, "break_glass_off")
		_, err = d.start(d.NewDevice(), stranger(d.NewDevice()), d.sealed(nurse, d.code(0)))
		refused(t, err, identity.Forbidden, "break_glass_off")
		d.policy(func(p *policy.Document) { p.BreakGlass.Enabled, p.BreakGlass.Minutes = true, 20 })
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		within(t, "the shorter window", s.ExpiresAt.Sub(s.StartedAt), 20*time.Minute, 0)
	})
}

// TestF26: an input that is not accepted, or a grant that is open already,
// costs no step-up token.
func TestF26WhatIsNotAcceptedLeavesTheTokenUnspent(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, gone := d.Add(identity.Nurse), d.Add(identity.Nurse)
		yes := true
		_, err := d.Directory.UpdateUser(context.Background(), signin.CLI(), d.Workspace.ID, gone.ID, directory.Change{Disabled: &yes})
		must(t, err)
		b, other := d.NewDevice(), d.NewDevice()
		second := d.Add(identity.Admin)
		b.SignIn(d.Admin)
		other.SignIn(second)
		first := d.open(other, other.Confirmed(second, stepUp), named(nurse))

		who := b.Confirmed(d.Admin, stepUp)
		for _, tt := range []struct {
			kind identity.Kind
			code string
			with func(*breakglass.StartInput)
		}{
			{identity.Invalid, "reason too_short", func(in *breakglass.StartInput) { in.Reason = "Pain now" }},
			{identity.Invalid, "category unknown", func(in *breakglass.StartInput) { in.Category = "boredom" }},
			{identity.Invalid, "category unknown", func(in *breakglass.StartInput) { in.Category = "" }},
			{identity.Invalid, "kind unknown", func(in *breakglass.StartInput) { in.Kind = "shared" }},
			{identity.Invalid, "patient_ref missing", func(in *breakglass.StartInput) { in.Category = breakglass.PatientEmergency }},
			{identity.Invalid, "patient_ref too_long", func(in *breakglass.StartInput) { in.PatientRef = strings.Repeat("7", 65) }},
			{identity.Invalid, "patient_ref invalid", func(in *breakglass.StartInput) { in.PatientRef = "P\n1" }},
			{identity.Invalid, "subject missing", func(in *breakglass.StartInput) { in.Kind = breakglass.KindNamed }},
			{identity.Invalid, "subject self", func(in *breakglass.StartInput) { in.Kind, in.Subject = breakglass.KindNamed, d.Admin.ID }},
			{identity.Invalid, "visiting not_here", func(in *breakglass.StartInput) { in.Visiting = &breakglass.Visiting{Name: "A Visitor", RegNo: "1"} }},
			{identity.Invalid, "idempotency_key invalid", func(in *breakglass.StartInput) { in.IdempotencyKey = "a b" }},
			{identity.Unknown, "unknown_subject", func(in *breakglass.StartInput) { in.Kind, in.Subject = breakglass.KindNamed, "usr_nobody" }},
			{identity.Forbidden, "subject_disabled", func(in *breakglass.StartInput) { in.Kind, in.Subject = breakglass.KindNamed, gone.ID }},
			{identity.Conflict, "break_glass_open", func(in *breakglass.StartInput) { in.Kind, in.Subject = breakglass.KindNamed, nurse.ID }},
		} {
			in := emergency()
			tt.with(&in)
			_, err := d.start(b, who, in)
			r := refused(t, err, tt.kind, tt.code)
			if tt.kind == identity.Conflict && r.Extra["break_glass"].(map[string]any)["id"] != first.ID {
				t.Errorf("the conflict names %v", r.Extra)
			}
		}
		d.open(b, who, emergency()) // with the very token

		// A token that reached the decision is spent.
		third := d.NewDevice()
		third.SignIn(second)
		who = third.Confirmed(second, "export")
		_, err = d.start(third, who, emergency())
		refused(t, err, identity.StepUpNeeded, "insufficient_user_authentication")
	})
}

func TestTheSameReasonTwiceIsNoReason(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b := d.NewDevice()
		b.SignIn(d.Admin)
		people := []mitraltest.Person{d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.Nurse)}
		in := named(people[0])
		in.Reason = "Chest pain, phone broken"
		d.open(b, b.Confirmed(d.Admin, stepUp), in)
		who := b.Confirmed(d.Admin, stepUp)
		again := named(people[1])
		again.Reason = "  chest pain,   PHONE broken "
		_, err := d.start(b, who, again)
		refused(t, err, identity.Invalid, "reason same_as_before")
		for i, p := range people[1:] { // three others since
			d.open(b, who, named(p))
			if i < 2 {
				who = b.Confirmed(d.Admin, stepUp)
			}
		}
		again = named(d.Add(identity.Nurse))
		again.Reason = in.Reason
		d.open(b, b.Confirmed(d.Admin, stepUp), again)
	})
}

func TestInsideAGrantNothingFurtherIsOpened(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		for _, in := range []breakglass.StartInput{emergency(), named(nurse), d.sealed(nurse, d.code(0))} {
			_, err := d.start(b, b.Who(), in)
			r := refused(t, err, identity.Conflict, "inside_break_glass")
			if r.Extra["break_glass"].(map[string]any)["id"] != s.ID {
				t.Errorf("it names %v", r.Extra)
			}
			if e := d.last("break_glass.start"); e["outcome"] != "denied" || e["grant_id"] != s.ID {
				t.Errorf("the event: %v", e)
			}
		}
		_, err := d.bg.Pickup(context.Background(), b.Who(), breakglass.PickupInput{Identifier: nurse.Email, Code: "ABCD-EFGH"})
		refused(t, err, identity.Conflict, "inside_break_glass")
		_, err = d.bg.MintCodes(context.Background(), b.Who(), 1, "ward safe")
		refused(t, err, identity.Forbidden, policy.DenyForbidden)
		_, err = d.bg.Codes(context.Background(), b.Who())
		refused(t, err, identity.Forbidden, policy.DenyForbidden)

		other := d.NewDevice() // a control: outside, the same
		other.SignIn(d.Admin)
		if _, err := d.bg.Codes(context.Background(), other.Who()); err != nil {
			t.Error(err)
		}
	})
}

// A drill opens and changes no session, is never an open grant and spends no
// code.
func TestADrillOpensNothing(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		b, ward, theirs := d.NewDevice(), d.NewDevice(), d.NewDevice()
		b.SignIn(d.Admin)
		theirs.SignIn(nurse)
		for _, in := range []breakglass.StartInput{emergency(), named(nurse)} {
			in.Drill = true
			s := d.open(b, b.Confirmed(d.Admin, stepUp), in)
			if !s.Drill || s.State == breakglass.StateActive || s.PickupCode != "" || len(s.Notified) == 0 {
				t.Errorf("the drill: %+v", s)
			}
		}
		in := d.sealed(nurse, d.code(0))
		in.Drill = true
		d.open(ward, stranger(ward), in)
		in.Subject, in.Visiting = "", &breakglass.Visiting{Name: "A Visitor", RegNo: "7"}
		d.Advance(2 * time.Second)
		s := d.open(ward, stranger(ward), in)
		if s.Identity != breakglass.IdentityVisiting || s.Subject != "" {
			t.Errorf("a visitor's drill: %+v", s)
		}
		for name, dev := range map[string]*mitraltest.Device{"administrator": b, "nurse": theirs} {
			if live := d.session(dev); live.Grant != nil || live.State != session.Active {
				t.Errorf("the %s's session: %+v", name, live)
			}
		}
		if live := d.session(ward); live != nil {
			t.Errorf("the ward has a session: %+v", live)
		}
		for _, e := range d.events("break_glass.start") {
			if e["drill"] != true || e["purpose"] != nil || e["grant_id"] == nil {
				t.Errorf("a drill's event: %v", e)
			}
		}
		wrong := in
		wrong.SealedCode = "AAAAA-AAAAA"
		d.Advance(2 * time.Second)
		_, err := d.start(ward, stranger(ward), wrong)
		refused(t, err, identity.Unauthenticated, "wrong_code")

		// All of it for real, afterwards.
		d.Advance(2 * time.Second)
		d.open(ward, stranger(ward), d.sealed(nurse, d.code(0)))
		d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		d.sane()
	})
}

func TestARepeatedStartAnswersAlike(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		b, thief := d.NewDevice(), d.NewDevice()
		b.SignIn(d.Admin)
		in := named(nurse)
		in.IdempotencyKey = "7b6c7a52-5a1f"
		who := b.Confirmed(d.Admin, stepUp)
		first := d.open(b, who, in)
		again := d.open(b, b.Who(), in) // the token is spent, and not asked for
		if again.ID != first.ID || again.Ref != first.Ref || again.PickupCode != first.PickupCode || again.PickupCode == "" ||
			*again.Audit.Index != *first.Audit.Index || *again.Audit.Checkpoint != *first.Audit.Checkpoint || !again.ExpiresAt.Equal(first.ExpiresAt) {
			t.Errorf("the repetition: %+v, first %+v", again, first)
		}
		other := in
		other.Category = breakglass.RoleTooSmall
		_, err := d.start(b, b.Who(), other)
		refused(t, err, identity.Invalid, "idempotency_key reused")

		// Another browser, even the same person's, is nobody who asked before.
		thief.SignIn(d.Admin)
		_, err = d.start(thief, thief.Confirmed(d.Admin, stepUp), in)
		refused(t, err, identity.Conflict, "break_glass_open")
		// After a day the key is forgotten.
		d.Advance(24*time.Hour + time.Minute)
		d.round()
		b.SignIn(d.Admin)
		later := d.open(b, b.Confirmed(d.Admin, stepUp), in2(in))
		if later.ID == first.ID {
			t.Error("the key was remembered for more than a day")
		}

		// Of oneself: the first answer made this session the emergency session.
		self := emergency()
		self.IdempotencyKey = "k2"
		d.Advance(time.Minute)
		own := d.NewDevice()
		own.SignIn(d.Admin)
		s := d.open(own, own.Confirmed(d.Admin, stepUp), self)
		if again := d.open(own, own.Who(), self); again.ID != s.ID {
			t.Errorf("the repetition opened %s, first %s", again.ID, s.ID)
		}
		if n := len(d.events("break_glass.start")); n != 4 { // three, and the thief's
			t.Errorf("%d starts are recorded", n)
		}
	})
}

func in2(in breakglass.StartInput) breakglass.StartInput {
	in.Reason += " again"
	return in
}

// The answer to a sealed start may be lost with the cookies in it: the
// repetition, with the letter in hand and from the same browser, gets in again.
func TestARepeatedSealedStartGetsIn(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		b := d.NewDevice()
		b.SignIn(nurse) // so that the browser is a device
		in := d.sealed(nurse, d.code(0))
		in.IdempotencyKey = "k"
		lost := stranger(b)
		first, err := d.bg.Start(context.Background(), lost, in)
		must(t, err)
		again := d.open(b, stranger(b), in)
		if again.ID != first.ID || again.Session == nil || again.Session.ID == first.Session.ID {
			t.Errorf("the repetition: %+v", again)
		}
		if live := d.session(b); live == nil || live.Grant == nil || live.Grant.ID != first.ID {
			t.Fatalf("the browser's session: %+v", live)
		}
		inside := d.open(b, b.Who(), in) // and once more from the session itself
		if inside.ID != first.ID {
			t.Errorf("inside: %+v", inside)
		}
		wrongPIN := in
		wrongPIN.PIN = "7391"
		b.Forget("session")
		_, err = d.start(b, stranger(b), wrongPIN)
		refused(t, err, identity.Unauthenticated, "wrong_pin")
		thief := d.NewDevice()
		thief.SignIn(d.Admin)
		_, err = d.start(thief, stranger(thief), in)
		refused(t, err, identity.Unauthenticated, "wrong_code")
		d.sane()
	})
}

// TestF44: grants of one person in a row are flagged, and never blocked.
func TestF44AChainIsFlaggedAndNotBlocked(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		second := d.Add(identity.Admin)
		watch := d.NewDevice()
		watch.SignIn(second)
		for i, want := range []string{"", breakglass.FlagChained, breakglass.FlagChained + " " + breakglass.FlagAskAck} {
			b := d.NewDevice()
			b.SignIn(d.Admin)
			s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
			got := []string{}
			for _, f := range s.Flags {
				if f == breakglass.FlagChained || f == breakglass.FlagAskAck {
					got = append(got, f)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("start %d is flagged %v, want %q", i+1, s.Flags, want)
			}
			_, err := d.bg.End(context.Background(), b.Who(), s.ID)
			must(t, err)
			d.Advance(time.Minute)
		}
		d.Advance(12*time.Hour + time.Minute)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		if s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency()); strings.Contains(strings.Join(s.Flags, " "), "chained") {
			t.Errorf("after twelve hours: %v", s.Flags)
		}
	})
}

// Of fifty starts for one person at once one opens it; the others are told
// which. None costs its token but the one.
func TestFiftyStartsForOnePersonOpenOneGrant(t *testing.T) {
	for _, kind := range []string{breakglass.KindSelf, breakglass.KindNamed} {
		t.Run(kind, func(t *testing.T) {
			onEach(t, func(t *testing.T, d *desk) {
				d.policy(func(p *policy.Document) {
					r := p.Roles["admin"]
					r.Sessions = 20
					p.Roles["admin"] = r
				})
				in := emergency()
				if kind == breakglass.KindNamed {
					in = named(d.Add(identity.Nurse))
				}
				const fifty, browsers = 50, 16
				people := []mitraltest.Person{d.Admin}
				if kind == breakglass.KindNamed {
					people = append(people, d.Add(identity.Admin), d.Add(identity.Admin))
				}
				var devices []*mitraltest.Device
				for i := range browsers * len(people) {
					b := d.NewDevice()
					b.SignIn(people[i/browsers])
					devices = append(devices, b)
				}
				var whos []signin.Who
				for i := range fifty {
					n := i % len(devices)
					whos = append(whos, devices[n].Confirmed(people[n/browsers], stepUp))
				}
				var mu sync.Mutex
				var opened []string
				named := map[string]int{}
				race(fifty, func(i int) {
					s, err := d.bg.Start(context.Background(), whos[i], in)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						opened = append(opened, s.ID)
						return
					}
					r := refusalOf(err)
					if r == nil || r.Code != "break_glass_open" && r.Code != "inside_break_glass" {
						t.Errorf("start %d: %v", i, err)
						return
					}
					named[r.Extra["break_glass"].(map[string]any)["id"].(string)]++
				})
				if len(opened) != 1 || named[opened[0]] != fifty-1 {
					t.Fatalf("opened %v, the others name %v", opened, named)
				}
				denied := 0
				for _, e := range d.events("break_glass.start") {
					if e["outcome"] == "denied" && e["reason"] == "break_glass_open" {
						denied++
					}
				}
				if denied != fifty-1 {
					t.Errorf("%d starts came to the decision and lost, want %d", denied, fifty-1)
				}
				d.sane()
			})
		})
	}
}

// race calls f from n goroutines at once.
func race(n int, f func(i int)) {
	var ready, done sync.WaitGroup
	ready.Add(n)
	start := make(chan struct{})
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			f(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

// Without the database a start says what to do on paper.
func TestWithoutTheDatabaseThePaperProcedureIsNamed(t *testing.T) {
	if testing.Short() {
		return
	}
	t.Parallel()
	server, err := mitraltest.StartPostgres()
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	owner, app := server.Database(t)
	d := newDesk(t, mitraltest.NewClinic(t, app, owner))
	nurse := d.Add(identity.Nurse)
	b := d.NewDevice()
	b.SignIn(d.Admin)
	who := b.Confirmed(d.Admin, stepUp)
	must(t, server.Stop())
	for _, in := range []breakglass.StartInput{emergency(), named(nurse)} {
		_, err := d.bg.Start(context.Background(), who, in)
		r := refused(t, err, identity.Unavailable, "break_glass_unavailable")
		if !strings.Contains(r.Detail, "paper procedure") || r.RetryAfter <= 0 {
			t.Errorf("it says %+v", r)
		}
	}
	_, err = d.bg.Start(context.Background(), stranger(d.NewDevice()), d.sealed(nurse, d.code(0)))
	if r := refused(t, err, identity.Unavailable, "break_glass_unavailable"); !strings.Contains(r.Detail, "paper procedure") {
		t.Errorf("it says %+v", r)
	}
}
