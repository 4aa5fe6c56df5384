package breakglass_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// settle waits until the outbox has nothing left to do.
func (d *desk) settle() {
	d.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if !slices.ContainsFunc(d.messages(), func(m store.Message) bool { return m.State == notify.Queued }) {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatal("messages are still queued after ten seconds")
		}
	}
}

// mailTo returns the one mail to an address whose subject holds a word.
func (d *desk) mailTo(to, word string) notify.Mail {
	d.t.Helper()
	var found []notify.Mail
	for _, m := range d.Sent.Mails() {
		if m.To == to && strings.Contains(m.Subject, word) {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		d.t.Fatalf("%d mails to %s about %q", len(found), to, word)
	}
	return found[0]
}

// checkpointIn cuts the checkpoint out of a mail, checks that it stands there
// byte for byte and that the log's key signed it.
func (d *desk) checkpointIn(text string) (string, audit.Checkpoint) {
	d.t.Helper()
	note, ok := audit.FindCheckpoint(text)
	if !ok || !strings.Contains(text, note) {
		d.t.Fatalf("no whole checkpoint in:\n%s", text)
	}
	c, err := audit.OpenCheckpoint(note, d.Keys.LogVerifierKey())
	must(d.t, err)
	return note, c
}

func TestEverybodyIsTold(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		run(t, d.Outbox.Run)
		doctor, reviewer, second := d.Add(identity.Doctor), d.Add(identity.PrivacyReviewer), d.Add(identity.Admin)
		ward := d.NewDevice()
		d.register(ward.SignIn(doctor).DeviceID)
		in := d.sealed(doctor, d.code(0))
		in.Reason, in.PatientRef = "Chest pain, phone with authenticator broken", "P-1042"
		s := d.open(ward, stranger(ward), in)
		d.settle()

		var told []string
		for _, n := range d.get(s.ID).Notified {
			told = append(told, fmt.Sprintf("%s %s %s", n.Channel, n.To, n.State))
		}
		slices.Sort(told)
		want := []string{"mail " + d.Admin.Email + " sent", "mail " + doctor.Email + " sent", "mail " + reviewer.Email + " sent", "mail " + second.Email + " sent",
			"sms  no_address", "sms +442079460101 sent"}
		slices.Sort(want)
		if !slices.Equal(told, want) {
			t.Errorf("told:\n%s\nwant:\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
		}
		if len(s.Notified) != len(want) {
			t.Errorf("the answer told of %d, want %d", len(s.Notified), len(want))
		}

		for _, to := range []string{d.Admin.Email, doctor.Email, reviewer.Email, second.Email} {
			m := d.mailTo(to, s.Ref)
			note, c := d.checkpointIn(m.Text)
			if note != *s.Audit.Checkpoint || c.Size <= *s.Audit.Index {
				t.Errorf("the mail's checkpoint is of size %d, the answer's index %d:\n%s\nthe answer's:\n%s", c.Size, *s.Audit.Index, note, *s.Audit.Checkpoint)
			}
			for _, word := range []string{s.Ref, in.Reason, "A doctor", "sealed code BG-A-01", "cannot sign in", "Exam Room 2", "Chrome, Linux", ward.IP.String(),
				"http://localhost:8080/admin/break-glass/" + s.ID} {
				if !strings.Contains(m.Text, word) {
					t.Errorf("the mail lacks %q:\n%s", word, m.Text)
				}
			}
			if strings.Contains(m.Text, "P-1042") || !strings.HasPrefix(m.Subject, "EMERGENCY ACCESS") {
				t.Errorf("the mail %q:\n%s", m.Subject, m.Text)
			}
		}
		sms := d.Sent.SMS()
		if len(sms) != 1 || !strings.Contains(sms[0].Text, s.Ref) || !strings.Contains(sms[0].Text, "A doctor, Exam Room 2") {
			t.Fatalf("by SMS: %+v", sms)
		}
		for _, word := range []string{"Chest", "P-1042"} {
			if strings.Contains(sms[0].Text, word) {
				t.Errorf("the SMS holds %q: %s", word, sms[0].Text)
			}
		}
		if len(sms[0].Text) > 160 || notify.GSM7(sms[0].Text) != sms[0].Text {
			t.Errorf("%d characters: %s", len(sms[0].Text), sms[0].Text)
		}

		_, err := d.bg.End(ctx, ward.Who(), s.ID)
		must(t, err)
		d.settle()
		end := d.mailTo(reviewer.Email, "is over")
		_, c := d.checkpointIn(end.Text)
		var index int64
		must(t, d.DB.ReadSystem(ctx, func(tx *store.SystemTx) error {
			l, err := tx.LeafOfEvent(d.last("break_glass.end")["id"].(string))
			index = l.Index
			return err
		}))
		if c.Size <= index || !strings.Contains(end.Text, s.Ref) || !strings.Contains(end.Text, "/admin/break-glass/"+s.ID) {
			t.Errorf("the end's mail, size %d, index %d:\n%s", c.Size, index, end.Text)
		}
		if sms := d.Sent.SMS(); len(sms) != 2 || !strings.Contains(sms[1].Text, s.Ref) || len(sms[1].Text) > 160 {
			t.Errorf("by SMS: %+v", sms)
		}
		d.sane()
	})
}

// TestF20: whoever was administrator or had another address within the week is
// told as well.
func TestF20LateAdministratorsAndAddressesAreTold(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		second := d.Add(identity.Admin)
		phone, role := "+442079460202", identity.Nurse
		_, err := d.Directory.UpdateUser(ctx, signin.CLI(), d.Workspace.ID, d.Admin.ID, directory.Change{Phone: &phone})
		must(t, err)
		_, err = d.Directory.UpdateUser(ctx, signin.CLI(), d.Workspace.ID, second.ID, directory.Change{Role: &role})
		must(t, err)
		start := func() map[string]bool {
			b := d.NewDevice()
			b.SignIn(d.Admin)
			s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
			_, err := d.bg.End(ctx, b.Who(), s.ID)
			must(t, err)
			told := map[string]bool{}
			for _, n := range s.Notified {
				told[n.To] = true
			}
			return told
		}
		if told := start(); !told[second.Email] || !told[phone] || !told["+442079460101"] {
			t.Errorf("within the week: %v", told)
		}
		d.Advance(8 * 24 * time.Hour)
		if told := start(); told[second.Email] || !told[phone] || told["+442079460101"] {
			t.Errorf("a week later: %v", told)
		}
	})
}

func TestADrillIsMarked(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		run(t, d.Outbox.Run)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		in := emergency()
		in.Drill = true
		s := d.open(b, b.Confirmed(d.Admin, stepUp), in)
		d.settle()
		m := d.mailTo(d.Admin.Email, s.Ref)
		if !strings.HasPrefix(m.Subject, "[DRILL] ") || !strings.Contains(m.Text, "Nothing was opened") {
			t.Errorf("the mail %q:\n%s", m.Subject, m.Text)
		}
		d.checkpointIn(m.Text)
		if sms := d.Sent.SMS(); len(sms) != 1 || !strings.HasPrefix(sms[0].Text, "[DRILL] ") {
			t.Errorf("by SMS: %+v", sms)
		}
	})
}

// TestF31: each mail repeats the checkpoint of thirty days ago.
func TestF31MailsRepeatAnOlderCheckpoint(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		run(t, d.Outbox.Run)
		old, err := d.Recorder.Latest(context.Background())
		for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); old, err = d.Recorder.Latest(context.Background()) {
			<-time.After(20 * time.Millisecond)
		}
		must(t, err)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		first := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		d.settle()
		if m := d.mailTo(d.Admin.Email, first.Ref); strings.Contains(m.Text, "a month ago") {
			t.Errorf("without an older one:\n%s", m.Text)
		}
		d.Advance(31 * 24 * time.Hour)
		d.round()
		d.settle()
		b.SignIn(d.Admin)
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		d.settle()
		m := d.mailTo(d.Admin.Email, s.Ref)
		note, c := d.checkpointIn(m.Text)
		older, before := d.checkpointIn(m.Text[strings.Index(m.Text, note)+len(note):])
		if note != *s.Audit.Checkpoint || older == note || before.Size >= c.Size || old == "" {
			t.Errorf("sizes %d and %d:\n%s", c.Size, before.Size, m.Text)
		}
		end := func() notify.Mail {
			_, err := d.bg.End(context.Background(), b.Who(), s.ID)
			must(t, err)
			d.settle()
			return d.mailTo(d.Admin.Email, s.Ref+" at Hope Clinic is over")
		}()
		if !strings.Contains(end.Text, older) {
			t.Errorf("the end's mail lacks the older one:\n%s", end.Text)
		}
	})
}

// A mail that finds no checkpoint within five seconds goes with the newest and
// the leaf's hash; the answer has a receipt.
func TestALateCheckpointHoldsNothingUp(t *testing.T) {
	t.Parallel()
	mitraltest.ForEachDatabase(t, func(t *testing.T, c *mitraltest.Clinic) {
		d := &desk{Clinic: c, bg: newBreakGlass(t, c), t: t} // its recorder stands still
		b := d.NewDevice()
		b.SignIn(d.Admin)
		who := b.Confirmed(d.Admin, stepUp)
		stop := make(chan struct{})
		go func() { // Await goes by the clock
			for {
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
					d.Advance(500 * time.Millisecond)
				}
			}
		}()
		s := d.open(b, who, emergency())
		if s.Audit.Index != nil || s.Audit.Checkpoint != nil || !strings.HasPrefix(s.Audit.Receipt, "evt_") {
			t.Errorf("audit: %+v", s.Audit)
		}
		run(t, d.Outbox.Run)
		d.settle()
		close(stop)
		m := d.mailTo(d.Admin.Email, s.Ref)
		hash := strings.Fields(s.Audit.Receipt)[1]
		if !strings.Contains(m.Text, hash) {
			t.Errorf("the mail lacks the leaf's hash %s:\n%s", hash, m.Text)
		}
	})
}

// Nobody else reached within five minutes is flagged; the reviewers get an SMS.
func TestNobodyReachedIsFlagged(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) { // no delivery loop: nothing leaves
		second, reviewer := d.Add(identity.Admin), d.Add(identity.PrivacyReviewer)
		number := "+442079460303"
		_, err := d.Directory.UpdateUser(context.Background(), signin.CLI(), d.Workspace.ID, reviewer.ID, directory.Change{Phone: &number})
		must(t, err)
		number = "+442079460404"
		_, err = d.Directory.UpdateUser(context.Background(), signin.CLI(), d.Workspace.ID, second.ID, directory.Change{Phone: &number})
		must(t, err)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		s := d.open(b, b.Confirmed(d.Admin, stepUp), emergency())
		phones := d.get(s.ID).Phones
		if !slices.Contains(phones, breakglass.Phone{Name: "A admin", Phone: number}) {
			t.Errorf("whom to phone: %+v", phones)
		}
		d.pass(5*time.Minute - 10*time.Second)
		if g := d.get(s.ID); slices.Contains(g.Flags, breakglass.FlagUndelivered) {
			t.Errorf("before five minutes: %v", g.Flags)
		}
		d.pass(15 * time.Second)
		if g := d.get(s.ID); !slices.Contains(g.Flags, breakglass.FlagUndelivered) || len(d.events("break_glass.undelivered")) != 1 {
			t.Errorf("after five minutes: %v", g.Flags)
		}
		d.pass(time.Minute)
		texts := 0
		for _, m := range d.messages() {
			if m.Template == "break_glass_undelivered" && m.Recipient == "+442079460303" {
				texts++
			}
		}
		if texts != 1 || len(d.events("break_glass.undelivered")) != 1 {
			t.Errorf("%d texts to the reviewer", texts)
		}

		// The control: with delivery, no flag.
		run(t, d.Outbox.Run)
		other := d.NewDevice()
		other.SignIn(second)
		fine := d.open(other, other.Confirmed(second, stepUp), emergency())
		d.settle()
		d.pass(6 * time.Minute)
		if g := d.get(fine.ID); slices.Contains(g.Flags, breakglass.FlagUndelivered) || len(g.Phones) > 0 {
			t.Errorf("delivered, and flagged: %+v", g)
		}
	})
}

// Whether key and PIN would have worked is noted by itself.
func TestTheNormalPathIsNoted(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		unclaimed, err := d.Directory.AddUser(context.Background(), signin.CLI(), d.Workspace.ID, directory.NewUser{Email: "new@hope.example", Name: "A nurse", Role: identity.Nurse})
		must(t, err)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		with := d.open(b, b.Confirmed(d.Admin, stepUp), named(nurse))
		in := emergency()
		in.Kind, in.Subject = breakglass.KindNamed, unclaimed.ID
		without := d.open(b, b.Confirmed(d.Admin, stepUp), in)
		if !slices.Contains(with.Flags, breakglass.FlagNormalPath) || slices.Contains(without.Flags, breakglass.FlagNormalPath) {
			t.Errorf("with a key: %v, without: %v", with.Flags, without.Flags)
		}
	})
}
