package breakglass_test

import (
	"context"
	"reflect"
	"slices"
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
	"github.com/mitral-health/mitral/internal/store"
)

// wrong is a code that is well formed and nobody's.
func wrong() identity.Secret { return identity.NewCode(breakglass.CodeSymbols) }

func TestSealedOpensASessionOfANamedPerson(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		b := d.NewDevice()
		in := d.sealed(nurse, identity.Secret(strings.ToLower(strings.ReplaceAll(d.code(0).Reveal(), "-", " ")))) // as people type
		s := d.open(b, stranger(b), in)
		if s.Identity != breakglass.IdentityPIN || s.Subject != nurse.ID || s.Invoker != "code:BG-A-01" || s.Attached {
			t.Errorf("the answer: %+v", s)
		}
		live := d.session(b)
		if live.UserID != nurse.ID || live.ACR != identity.ACREmergency || live.Role != "emergency_clinician" || live.Grant.ID != s.ID ||
			!slices.Contains(live.AMR, identity.AMRPIN) {
			t.Errorf("the session: %+v", live)
		}
		e := d.last("break_glass.start")
		if e["actor"] != "code:BG-A-01" || e["user_id"] != nurse.ID || e["identity"] != "pin" || e["purpose"] != "BTG" {
			t.Errorf("the event: %v", e)
		}
		if e := d.last("sign_in.sealed_code"); e["session_id"] != live.ID || e["grant_id"] != s.ID || e["actor"] != nurse.ID {
			t.Errorf("the session's event: %v", e)
		}
		// Its code is used up, its person's grant is open.
		for i, code := range []identity.Secret{d.code(0), wrong()} {
			d.Advance(2 * time.Second)
			other := d.NewDevice()
			_, err := d.start(other, stranger(other), d.sealed(d.Add(identity.Nurse), code))
			refused(t, err, identity.Unauthenticated, "wrong_code")
			if e := d.last("break_glass.start"); e["reason"] != []string{"used_code", "wrong_code"}[i] || e["outcome"] != "denied" {
				t.Errorf("the refusal's event: %v", e)
			}
		}
		d.sane()
	})
}

func TestSealedInput(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		b := d.NewDevice()
		good := d.sealed(nurse, d.code(0))
		for _, tt := range []struct {
			code string
			with func(*breakglass.StartInput)
		}{
			{"sealed_code missing", func(in *breakglass.StartInput) { in.SealedCode = "" }},
			{"sealed_code too_long", func(in *breakglass.StartInput) { in.SealedCode = identity.Secret(strings.Repeat("A", 200)) }},
			{"pin pin_format", func(in *breakglass.StartInput) { in.PIN = "12345" }},
			{"subject missing", func(in *breakglass.StartInput) { in.Subject = "" }},
			{"subject conflict", func(in *breakglass.StartInput) { in.Visiting = &breakglass.Visiting{Name: "A Visitor", RegNo: "7"} }},
			{"visiting.name invalid", func(in *breakglass.StartInput) { in.Subject, in.Visiting = "", &breakglass.Visiting{RegNo: "7"} }},
			{"visiting.reg_no invalid", func(in *breakglass.StartInput) { in.Subject, in.Visiting = "", &breakglass.Visiting{Name: "A Visitor"} }},
			{"reason too_short", func(in *breakglass.StartInput) { in.Reason = "Pain" }},
			{"workspace unknown", func(in *breakglass.StartInput) { in.Workspace = "elsewhere" }},
		} {
			in := good
			tt.with(&in)
			_, err := d.start(b, stranger(b), in)
			refused(t, err, identity.Invalid, tt.code)
		}
		before := len(d.Events())
		in := good
		in.Subject = "nobody@hope.example"
		_, err := d.start(b, stranger(b), in)
		refused(t, err, identity.Unknown, "unknown_subject")
		if e := d.Events()[before]; e.UserID != "" {
			t.Errorf("an identifier of nobody is in the record: %s", e.Leaf)
		}
		d.Advance(2 * time.Second)
		good.Workspace = d.Workspace.Slug
		d.open(b, stranger(b), good)
	})
}

// TestF18: who uses a letter is only claimed, unless their PIN says so; that is
// shown, and the person can end it.
func TestF18WhoUsesALetterIsOnlyClaimed(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, doctor := d.Add(identity.Nurse), d.Add(identity.Doctor)
		b := d.NewDevice()
		in := d.sealed(nurse, d.code(0))
		in.PIN = "7391"
		for tries := range 2 {
			_, err := d.start(b, stranger(b), in)
			if r := refused(t, err, identity.Unauthenticated, "wrong_pin"); r.Extra["tries_left"] != int64(2-tries) {
				t.Errorf("left: %v", r.Extra)
			}
			if e := d.last("break_glass.start"); e["reason"] != "wrong_pin" || e["actor"] != "code:BG-A-01" || e["user_id"] != nurse.ID {
				t.Errorf("the event: %v", e)
			}
			d.Advance(2 * time.Second)
		}
		s := d.open(b, stranger(b), in) // the third opens all the same: care first
		live := d.session(b)
		if s.Identity != breakglass.IdentityClaimed || live.ACR != identity.ACREmergencyClaimed || live.Grant.Identity != breakglass.IdentityClaimed ||
			!slices.Contains(s.Flags, breakglass.FlagClaimed) || slices.Contains(live.AMR, identity.AMRPIN) {
			t.Errorf("claimed: %+v, session %+v", s, live)
		}
		if e := d.last("break_glass.start"); e["identity"] != "claimed" {
			t.Errorf("the event: %v", e)
		}
		// The person sees it and ends it.
		theirs := d.NewDevice()
		theirs.SignIn(nurse)
		if _, err := d.bg.Get(context.Background(), theirs.Who(), s.ID); err != nil {
			t.Error(err)
		}
		_, err := d.bg.End(context.Background(), theirs.Who(), s.ID)
		must(t, err)
		if live := d.session(b); live != nil {
			t.Errorf("the claimed session goes on: %+v", live)
		}

		// No PIN sent is claimed as well; a right one is not.
		d.Advance(2 * time.Second)
		c := d.NewDevice()
		in = d.sealed(doctor, d.code(1))
		in.PIN = ""
		if s := d.open(c, stranger(c), in); s.Identity != breakglass.IdentityClaimed {
			t.Errorf("without a PIN: %+v", s)
		}
		d.sane()
	})
}

func TestAVisitorHasAnAccountForTheWindowOnly(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b := d.NewDevice()
		in := emergency()
		in.Kind, in.Category, in.SealedCode = breakglass.KindSealed, breakglass.CoverOrVisiting, d.code(0)
		in.Visiting = &breakglass.Visiting{Name: "A  Visitor", RegNo: "GMC 7"}
		s := d.open(b, stranger(b), in)
		live := d.session(b)
		if s.Identity != breakglass.IdentityVisiting || live.Name != "A Visitor" || live.ACR != identity.ACREmergencyClaimed || live.UserID != s.Subject {
			t.Errorf("the visitor: %+v, session %+v", s, live)
		}
		u, err := d.Directory.User(context.Background(), signin.CLI(), d.Workspace.ID, s.Subject)
		must(t, err)
		if u.Role != "emergency_clinician" {
			t.Errorf("the visitor's user: %+v", u)
		}
		if len(s.Entries) != 1 || s.Entries[0].Text != "GMC 7" {
			t.Errorf("the registration number: %+v", s.Entries)
		}
		d.Advance(time.Hour)
		d.round()
		if live := d.session(b); live != nil {
			t.Errorf("still signed in: %+v", live)
		}
		var row store.User
		must(t, d.DB.Read(context.Background(), d.Workspace.ID, func(tx *store.Tx) (err error) {
			row, err = tx.User(s.Subject)
			return err
		}))
		if row.DisabledAt == 0 || row.Visiting != 1 {
			t.Errorf("afterwards: %+v", row)
		}
		if e := d.last("user.disable"); e["user_id"] != s.Subject || e["grant_id"] != s.ID {
			t.Errorf("the event: %v", e)
		}
		// Nobody comes back as that visitor.
		d.Advance(2 * time.Second)
		again := d.sealed(d.Admin, d.code(1))
		again.Subject = s.Subject
		_, err = d.start(b, stranger(b), again)
		refused(t, err, identity.Forbidden, "subject_disabled")
		d.sane()
	})
}

func TestADisabledPersonCostsNoCodeAndIsReported(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		gone, nurse := d.Add(identity.Nurse), d.Add(identity.Nurse)
		yes := true
		_, err := d.Directory.UpdateUser(context.Background(), signin.CLI(), d.Workspace.ID, gone.ID, directory.Change{Disabled: &yes})
		must(t, err)
		b := d.NewDevice()
		for range 2 {
			_, err := d.start(b, stranger(b), d.sealed(gone, d.code(0)))
			refused(t, err, identity.Forbidden, "subject_disabled")
			d.Advance(2 * time.Second)
		}
		told := 0
		for _, m := range d.messages() {
			if m.Template == "break_glass_refused" && m.Channel == "mail" {
				told++
			}
		}
		if told != 1 {
			t.Errorf("the administrator was mailed %d times", told)
		}
		d.open(b, stranger(b), d.sealed(nurse, d.code(0)))
	})
}

// A right code for somebody with an open grant opens that one, for the rest of
// its time, and is not used up.
func TestARightCodeMeetsAnOpenGrant(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, other := d.Add(identity.Nurse), d.Add(identity.Nurse)
		b, ward := d.NewDevice(), d.NewDevice()
		b.SignIn(d.Admin)
		first := d.open(b, b.Confirmed(d.Admin, stepUp), named(nurse))
		d.Advance(20 * time.Minute)
		s := d.open(ward, stranger(ward), d.sealed(nurse, d.code(0)))
		if !s.Attached || s.ID != first.ID || !s.ExpiresAt.Equal(first.ExpiresAt) || s.Audit.Index == nil {
			t.Errorf("the answer: %+v", s)
		}
		within(t, "the rest", time.Duration(s.RemainingS)*time.Second, 40*time.Minute, time.Minute)
		live := d.session(ward)
		if live.Grant.ID != first.ID || live.ACR != identity.ACREmergency || !live.AbsoluteExpiresAt.Equal(first.ExpiresAt) {
			t.Errorf("the session: %+v", live)
		}
		e := d.last("break_glass.attach")
		if e["grant_id"] != first.ID || e["actor"] != "code:BG-A-01" || e["user_id"] != nurse.ID {
			t.Errorf("the event: %v", e)
		}
		// The code that let it in unlocks it, and still opens another.
		d.lock(ward)
		_, err := d.unlock(ward, d.code(0))
		must(t, err)
		d.Advance(2 * time.Second)
		third := d.NewDevice()
		if s := d.open(third, stranger(third), d.sealed(other, d.code(0))); s.Attached || s.ID == first.ID {
			t.Errorf("the code was spent: %+v", s)
		}
		// A claimed one marks the grant that it came into.
		d.Advance(2 * time.Second)
		fourth := d.NewDevice()
		in := d.sealed(nurse, d.code(1))
		in.PIN = ""
		if s := d.open(fourth, stranger(fourth), in); s.ID != first.ID || s.Identity != breakglass.IdentityClaimed || d.session(fourth).ACR != identity.ACREmergencyClaimed {
			t.Errorf("claimed: %+v", s)
		}
		_, err = d.bg.End(context.Background(), b.Who(), first.ID)
		must(t, err)
		for _, dev := range []*mitraltest.Device{ward, fourth} {
			if live := d.session(dev); live != nil {
				t.Errorf("a session outlived its grant: %+v", live)
			}
		}
		d.sane()
	})
}

func (d *desk) unlock(b *mitraltest.Device, code identity.Secret) (*session.Live, error) {
	d.t.Helper()
	who := b.Who()
	live, err := d.Signin.Unlock(context.Background(), who.Visit, who.Live, signin.UnlockInput{Method: "sealed_code", Code: code})
	b.Keep(who.Visit)
	return live, err
}

// TestF07: an emergency session that locked is opened by the code that opened
// it, on that browser, until its window ends; wrong ones count as wrong PINs.
func TestF07TheCodeThatOpenedItUnlocksIt(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b := d.NewDevice()
		in := emergency()
		in.Kind, in.SealedCode, in.Visiting = breakglass.KindSealed, d.code(0), &breakglass.Visiting{Name: "A Visitor", RegNo: "7"}
		d.open(b, stranger(b), in)
		d.Advance(10*time.Minute + time.Second)
		if live := d.session(b); live.State != session.Locked {
			t.Fatalf("ten minutes later: %+v", live)
		}
		_, err := d.unlock(b, d.code(1)) // right, and another's
		refused(t, err, identity.Unauthenticated, "wrong_sealed_code")
		if live, err := d.unlock(b, d.code(0)); err != nil || live.State != session.Active {
			t.Fatalf("with its code: %+v %v", live, err)
		}
		d.lock(b)
		for i := range 5 {
			_, err := d.unlock(b, wrong())
			want := "wrong_sealed_code"
			if i == 4 {
				want = "session_ended"
			}
			refused(t, err, identity.Unauthenticated, want)
		}
		if live := d.session(b); live != nil {
			t.Errorf("after five wrong ones: %+v", live)
		}
	})
}

// TestF39: a recovery code is no sealed code, no step-up, and a sign-in with
// one is not fresh for emergency access.
func TestF39ARecoveryCodeNeverOpensEmergencyAccess(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		b := d.NewDevice()
		b.SignIn(d.Admin)
		recovery := d.Setup.RecoveryCodes[0]
		ward := d.NewDevice()
		_, err := d.start(ward, stranger(ward), d.sealed(d.Admin, recovery))
		refused(t, err, identity.Unauthenticated, "wrong_code")
		_, _, err = d.Signin.StepUp(context.Background(), b.Who(), signin.StepUpInput{Action: stepUp, Method: "recovery_code", PIN: recovery})
		refused(t, err, identity.Invalid, "method not_accepted")
		d.policy(func(p *policy.Document) { p.StepUpAges[stepUp] = 900 })
		d.exec("UPDATE session SET method = 'recovery_code', rev = rev + 1, changed_at = changed_at + 1 WHERE user_id = $1", d.Admin.ID)
		node := d.Node()
		v := b.VisitOn(node)
		live, err := node.Sessions.Check(context.Background(), v, session.Peek)
		must(t, err)
		_, err = newBreakGlass(t, node).Start(context.Background(), signin.Who{Live: live, Visit: v}, emergency())
		refused(t, err, identity.StepUpNeeded, "insufficient_user_authentication")

		// The controls: the letter, the PIN, and a fresh sign-in.
		d.Advance(2 * time.Second)
		d.open(ward, stranger(ward), d.sealed(d.Add(identity.Nurse), d.code(0)))
		fresh := d.NewDevice()
		fresh.SignIn(d.Admin)
		d.open(fresh, fresh.Who(), emergency())
	})
}

// TestF17: a code counts in its own clinic only, one hash answers for all of
// the clinic's, what is stored is no fast digest, and nobody can try many.
func TestF17SealedCodesAreScopedAndSlow(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		other, err := d.Directory.Setup(context.Background(), directory.SetupInput{WorkspaceName: "Other Clinic", AdminEmail: "admin@other.example",
			AdminName: "An Administrator", PIN: "8264", Another: true, ByOperator: true})
		must(t, err)
		b := d.NewDevice()
		in := d.sealed(nurse, other.SealedCodes[0].Code)
		_, err = d.start(b, stranger(b), in)
		refused(t, err, identity.Invalid, "workspace missing") // two clinics, and nothing says which
		in.Workspace = d.Workspace.Slug
		_, err = d.start(b, stranger(b), in)
		known := refused(t, err, identity.Unauthenticated, "wrong_code")
		// Known and unknown people are answered alike.
		d.Advance(2 * time.Second)
		in.Subject = "nobody@hope.example"
		_, err = d.start(b, stranger(b), in)
		if unknown := refused(t, err, identity.Unauthenticated, "wrong_code"); !reflect.DeepEqual(unknown, known) {
			t.Errorf("known %+v, unknown %+v", known, unknown)
		}

		// Nothing stored holds the code, or a digest that opens without the keyset.
		must(t, d.DB.Read(context.Background(), d.Workspace.ID, func(tx *store.Tx) error {
			codes, err := tx.SealedCodes()
			for _, c := range codes {
				digest, err := d.Keys.OpenDigest("sealed_code", "digest", c.ID, c.Digest)
				if err != nil || len(digest) != 32 {
					t.Errorf("%s: %d bytes, %v", c.Label, len(digest), err)
				}
				if _, err := d.Keys.OpenDigest("sealed_code", "digest", codes[0].ID, codes[1].Digest); err == nil {
					t.Error("codes can be exchanged between rows")
				}
			}
			return err
		}))

		d.Advance(2 * time.Second)
		in = d.sealed(nurse, d.code(0))
		in.Workspace = d.Workspace.Slug
		d.open(b, stranger(b), in)
	})
}

// Strangers of a clinic share one try a second; registered workstations, known
// browsers and the clinic's network are not held up by them.
func TestStrangersShareOneTryASecond(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, second, third := d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.Nurse)
		known, inside := d.NewDevice(), d.NewDevice()
		known.SignIn(nurse)
		d.policy(func(p *policy.Document) { p.Networks.Clinic = []string{inside.IP.String() + "/32"} })
		a, b := d.NewDevice(), d.NewDevice()
		_, err := d.start(a, stranger(a), d.sealed(nurse, wrong()))
		refused(t, err, identity.Unauthenticated, "wrong_code")
		d.Advance(-time.Minute) // however slow this machine is, the second is not over
		_, err = d.start(b, stranger(b), d.sealed(nurse, d.code(0)))
		if r := refused(t, err, identity.Throttled, "busy"); r.RetryAfter != time.Second {
			t.Errorf("wait %v", r.RetryAfter)
		}
		if !slices.ContainsFunc(d.events("break_glass.start"), func(e leaf) bool { return e["outcome"] == "denied" && e["reason"] == "busy" }) {
			t.Errorf("the events: %v", d.events("break_glass.start"))
		}
		d.open(known, stranger(known), d.sealed(second, d.code(0)))
		d.open(inside, stranger(inside), d.sealed(third, d.code(1)))
		d.Advance(time.Minute + time.Second)
		_, err = d.start(b, stranger(b), d.sealed(nurse, wrong()))
		refused(t, err, identity.Unauthenticated, "wrong_code")
	})
}

// Five wrong codes in an hour pause the browser they came from, or the unknown
// browsers of its address range, and nobody else.
func TestFiveWrongCodesPauseWhereTheyCameFrom(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, second, third := d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.Nurse)
		ward := d.NewDevice()
		d.register(ward.SignIn(second).DeviceID)
		known := d.NewDevice()
		known.SignIn(third)
		a := d.NewDevice()
		neighbour, far := d.NewDevice(), d.NewDevice()
		neighbour.IP = a.IP.Next()
		ward.IP, known.IP = a.IP.Next().Next(), a.IP.Next().Next() // the same range, and known
		for i := range 5 {
			b := []*mitraltest.Device{a, neighbour}[i%2]
			_, err := d.start(b, stranger(b), d.sealed(nurse, wrong()))
			refused(t, err, identity.Unauthenticated, "wrong_code")
			d.Advance(2 * time.Second)
		}
		_, err := d.start(a, stranger(a), d.sealed(nurse, d.code(0))) // right, and too late
		r := refused(t, err, identity.Throttled, "sealed_paused")
		within(t, "the pause", r.RetryAfter, time.Hour, 15*time.Second)
		_, err = d.start(neighbour, stranger(neighbour), d.sealed(nurse, d.code(0)))
		refused(t, err, identity.Throttled, "sealed_paused")
		told := map[string]bool{}
		for _, m := range d.messages() {
			if m.Template == "break_glass_paused" {
				told[m.Channel+" "+m.Recipient] = true
			}
		}
		if len(d.events("break_glass.pause")) != 1 || !told["mail admin@hope.example"] || !told["sms +442079460101"] {
			t.Errorf("told: %v, events %v", told, d.events("break_glass.pause"))
		}

		d.open(far, stranger(far), d.sealed(nurse, d.code(0)))
		if s := d.open(ward, stranger(ward), d.sealed(third, d.code(1))); s.Device == "" {
			t.Errorf("the workstation: %+v", s)
		}
		// The workstation and the known browser have their own five.
		for i := range 5 {
			_, err := d.start(known, stranger(known), d.sealed(nurse, wrong()))
			refused(t, err, identity.Unauthenticated, "wrong_code")
			if i == 3 {
				d.Advance(time.Minute)
			}
		}
		_, err = d.start(known, stranger(known), d.sealed(nurse, wrong()))
		refused(t, err, identity.Throttled, "sealed_paused")
		_, err = d.start(ward, stranger(ward), d.sealed(nurse, wrong()))
		if r := refusalOf(err); r == nil || r.Code == "sealed_paused" {
			t.Errorf("the workstation beside it: %v", err)
		}
		d.Advance(time.Hour)
		d.round()
		codes, err := d.mint(1)
		must(t, err)
		d.open(a, stranger(a), d.sealed(nurse, codes[0].Code))
	})
}

// mint makes sealed codes as the administrator.
func (d *desk) mint(n int) ([]directory.SealedCode, error) {
	d.t.Helper()
	b := d.NewDevice()
	b.SignIn(d.Admin)
	return d.bg.MintCodes(context.Background(), b.Confirmed(d.Admin, policy.ActSealedCodes), n, "pharmacy safe")
}

func TestSealedCodesMayOpenInTheClinicOnly(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse, second := d.Add(identity.Nurse), d.Add(identity.Nurse)
		inside, ward, known := d.NewDevice(), d.NewDevice(), d.NewDevice()
		d.register(ward.SignIn(nurse).DeviceID)
		known.SignIn(nurse)
		d.policy(func(p *policy.Document) {
			p.BreakGlass.Sealed.Where, p.Networks.Clinic = "clinic", []string{inside.IP.String() + "/32"}
		})
		for _, b := range []*mitraltest.Device{d.NewDevice(), known} {
			_, err := d.start(b, stranger(b), d.sealed(nurse, d.code(0)))
			refused(t, err, identity.Forbidden, "sealed_elsewhere")
		}
		d.open(inside, stranger(inside), d.sealed(nurse, d.code(0)))
		d.open(ward, stranger(ward), d.sealed(second, d.code(1)))
	})
}

// Of fifty starts with one code at once one opens; the code was used for the
// others, whomever they named.
func TestFiftyStartsWithOneCodeOpenOneGrant(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		d.policy(func(p *policy.Document) { p.Networks.Clinic = []string{"127.0.0.0/8"} })
		people := []mitraltest.Person{d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.Doctor)}
		const fifty = 50
		whos, ins := []signin.Who{}, []breakglass.StartInput{}
		for i := range fifty {
			whos = append(whos, stranger(d.NewDevice()))
			in := d.sealed(people[i%3], d.code(0))
			if i%5 == 0 {
				in.Subject, in.PIN, in.Visiting = "", "", &breakglass.Visiting{Name: "A Visitor", RegNo: "7"}
			}
			ins = append(ins, in)
		}
		var mu sync.Mutex
		var opened []string
		late := 0
		race(fifty, func(i int) {
			s, err := d.bg.Start(context.Background(), whos[i], ins[i])
			mu.Lock()
			defer mu.Unlock()
			if r := refusalOf(err); err == nil {
				opened = append(opened, s.ID)
			} else if r != nil && r.Code == "wrong_code" {
				late++
			} else {
				t.Errorf("start %d: %v", i, err)
			}
		})
		if len(opened) != 1 || late != fifty-1 {
			t.Errorf("opened %v, %d too late", opened, late)
		}
		used := 0
		for _, e := range d.events("break_glass.start") {
			if e["reason"] == "used_code" {
				used++
			}
		}
		// Those that nobody proved anything for are recorded one by one up to twenty
		// a minute and range; each came from a range of its own.
		if used != fifty-1 {
			t.Errorf("%d starts came to the decision and found the code used, want %d", used, fifty-1)
		}
		if visitors := len(d.events("user.create")); visitors > 5+1 {
			t.Errorf("%d users were made", visitors)
		}
		d.sane()
	})
}

// Of fifty right codes for one person at once one is used; the others meet the
// grant it opened.
func TestManyCodesForOnePersonMeetInOneGrant(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		d.policy(func(p *policy.Document) { p.Networks.Clinic = []string{"127.0.0.0/8"} })
		nurse := d.Add(identity.Nurse)
		codes, err := d.mint(8)
		must(t, err)
		var mu sync.Mutex
		opened, attached := map[string]int{}, map[string]int{}
		whos := []signin.Who{}
		for range codes {
			whos = append(whos, stranger(d.NewDevice()))
		}
		race(len(codes), func(i int) {
			s, err := d.bg.Start(context.Background(), whos[i], d.sealed(nurse, codes[i].Code))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Errorf("start %d: %v", i, err)
			case s.Attached:
				attached[s.ID]++
			default:
				opened[s.ID]++
			}
		})
		if len(opened) != 1 || len(attached) != 1 {
			t.Fatalf("opened %v, attached %v", opened, attached)
		}
		for id := range opened {
			if opened[id] != 1 || attached[id] != len(codes)-1 {
				t.Errorf("opened %v, attached %v", opened, attached)
			}
		}
		inventory, err := d.bg.Codes(context.Background(), d.admin())
		must(t, err)
		used := slices.DeleteFunc(inventory, func(c breakglass.Code) bool { return c.State == breakglass.CodeReady })
		if len(used) != 1 {
			t.Errorf("used: %+v", used)
		}
	})
}

// admin is the administrator in a browser of their own.
func (d *desk) admin() signin.Who {
	d.t.Helper()
	b := d.NewDevice()
	b.SignIn(d.Admin)
	return b.Who()
}

// However many come at once, five wrong codes an hour are judged and no more.
func TestManyWrongCodesAtOnceAreFive(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		b := d.NewDevice()
		d.register(b.SignIn(nurse).DeviceID)
		var whos []signin.Who
		for range 16 {
			whos = append(whos, stranger(b))
		}
		var mu sync.Mutex
		answers := map[string]int{}
		race(len(whos), func(i int) {
			_, err := d.bg.Start(context.Background(), whos[i], d.sealed(nurse, wrong()))
			r := refusalOf(err)
			if r == nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[r.Code]++
		})
		if answers["wrong_code"] != 5 || answers["wrong_code"]+answers["sealed_paused"]+answers["busy"] != len(whos) {
			t.Errorf("answers: %v", answers)
		}
	})
}

// Right codes count for nothing, however many.
func TestRightCodesPauseNothing(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		codes, err := d.mint(7)
		must(t, err)
		b := d.NewDevice()
		b.SignIn(d.Add(identity.Nurse))
		for _, c := range codes {
			s := d.open(b, stranger(b), d.sealed(d.Add(identity.Nurse), c.Code))
			_, err := d.bg.End(context.Background(), b.Who(), s.ID)
			must(t, err)
		}
	})
}
