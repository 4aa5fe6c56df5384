package notify_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/store"
)

const workspace = "wks_one"

// office is a database with the keys of its messages.
type office struct {
	config store.Config
	db     *store.DB
	keys   *keyring.Ring
}

func forEachDatabase(t *testing.T, f func(t *testing.T, o *office)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) {
		f(t, newOffice(t, store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "mitral.db")}, ""))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		owner, app := mitraltest.Postgres(t)
		f(t, newOffice(t, store.Config{URL: app}, owner))
	})
}

func newOffice(t *testing.T, c store.Config, owner string) *office {
	t.Helper()
	o := &office{config: c}
	o.db = o.open(t)
	must(t, o.db.Migrate(context.Background(), owner))
	kek, err := keyring.NewKEK()
	must(t, err)
	wrapped, err := keyring.Create(kek, "clinic.example/log/1", time.Now())
	must(t, err)
	o.keys, err = keyring.Open(kek, wrapped, keyring.Config{})
	must(t, err)
	_, err = o.db.Found(context.Background(), "ins_one", "clinic.example/log/1", o.keys.LogVerifierKey(), nil)
	must(t, err)
	return o
}

// open opens the database once more, as another node does.
func (o *office) open(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.Open(o.config)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// outbox makes a quick one on its own handle, with a plain template.
func (o *office) outbox(db *store.DB, mail notify.MailSender, sms notify.SMSSender) *notify.Outbox {
	out := notify.New(notify.Config{DB: db, Keys: o.keys, Mail: mail, SMS: sms})
	out.TestOnlyHasten(20 * time.Second)
	out.Register("plain", func(_ context.Context, m notify.Rendering) (notify.Rendered, error) {
		return notify.Rendered{Subject: "Subject " + m.Data["n"], Text: "Text " + m.Data["n"] + " in " + m.WorkspaceID}, nil
	})
	return out
}

func run(t *testing.T, out *notify.Outbox) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- out.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// enqueue adds messages in an act of their own.
func (o *office) enqueue(t *testing.T, out *notify.Outbox, messages ...notify.Message) {
	t.Helper()
	must(t, o.db.Workspace(context.Background(), audit.By{Actor: "usr_a"}, workspace, func(tx *store.Tx) error {
		if _, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success}); err != nil {
			return err
		}
		return out.Enqueue(tx, messages...)
	}))
}

// rows returns the messages, in the order of their recipients.
func (o *office) rows(t *testing.T) (rows []store.Message) {
	t.Helper()
	must(t, o.db.Read(context.Background(), workspace, func(tx *store.Tx) error {
		var err error
		rows, err = tx.Messages()
		return err
	}))
	slices.SortFunc(rows, func(a, b store.Message) int { return strings.Compare(a.Recipient, b.Recipient) })
	return rows
}

func (o *office) events(t *testing.T, typ string) (out []string) {
	t.Helper()
	must(t, o.db.ReadSystem(context.Background(), func(tx *store.SystemTx) error {
		all, err := tx.AllEvents(workspace)
		for _, e := range all {
			if e.Type == typ {
				out = append(out, e.Leaf)
			}
		}
		return err
	}))
	return out
}

func (o *office) untilState(t *testing.T, state string) store.Message {
	t.Helper()
	until(t, "the message is "+state, func() bool { return o.rows(t)[0].State == state })
	return o.rows(t)[0]
}

// until waits for what is to become true.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// post is a sender that keeps what it is given and answers as it is told.
type post struct {
	answer func(to string, attempt int) error

	mu    sync.Mutex
	mails []notify.Mail
	sms   []notify.SMS
	tries map[string]int
	state notify.SMSState
	under map[int]context.Context // attempts that nobody has given up
	most  int                     // that there ever were at once
}

func (p *post) SendMail(ctx context.Context, m notify.Mail) error {
	p.mu.Lock()
	p.mails = append(p.mails, m)
	if p.under == nil {
		p.under = map[int]context.Context{}
	}
	me := len(p.mails)
	p.under[me] = ctx
	alive := 0
	for _, c := range p.under {
		if c.Err() == nil {
			alive++
		}
	}
	p.most = max(p.most, alive)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.under, me)
		p.mu.Unlock()
	}()
	return p.reply(m.To)
}

func (p *post) SendSMS(ctx context.Context, s notify.SMS) (string, error) {
	p.mu.Lock()
	p.sms = append(p.sms, s)
	p.mu.Unlock()
	return "receipt", p.reply(s.To)
}

func (p *post) StatusSMS(context.Context, string) (notify.SMSState, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, nil
}

func (p *post) reply(to string) error {
	p.mu.Lock()
	if p.tries == nil {
		p.tries = map[string]int{}
	}
	p.tries[to]++
	n := p.tries[to]
	p.mu.Unlock()
	if p.answer == nil {
		return nil
	}
	return p.answer(to, n)
}

func (p *post) sent() (mails []notify.Mail, sms []notify.SMS) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.mails), slices.Clone(p.sms)
}

func aMail(to string) notify.Message {
	return notify.Message{Channel: notify.ChannelMail, To: to, UserID: "usr_b", Template: "plain", Data: map[string]string{"n": "secret-word"}}
}

// Through a real mail server and a real gateway.
func TestMessagesArrive(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		server, gateway := mitraltest.SMTP(t), mitraltest.Twilio(t)
		smtp, err := notify.NewSMTP(identity.Secret(server.URL()), "mitral@clinic.example")
		must(t, err)
		twilio, err := notify.NewTwilio(notify.TwilioConfig{AccountSID: gateway.AccountSID, AuthToken: identity.Secret(gateway.AuthToken),
			From: gateway.From, BaseURL: gateway.URL})
		must(t, err)
		out := o.outbox(o.db, smtp, twilio)
		run(t, out)
		o.enqueue(t, out, aMail("b@clinic.example"),
			notify.Message{Channel: notify.ChannelSMS, To: "+12025550123", UserID: "usr_b", Template: "plain", Data: map[string]string{"n": "2"}})
		mail := server.WaitMail("b@clinic.example", "Text secret-word in wks_one")
		sms := gateway.WaitSMS("+12025550123", "Text 2")
		until(t, "both are sent", func() bool {
			rows := o.rows(t)
			return rows[0].State == notify.Sent && rows[1].State == notify.Sent
		})
		if rows := o.rows(t); rows[1].SentAt == 0 || len(rows[1].Data) != 0 || rows[0].ProviderRef == "" || !strings.Contains(string(mail.Raw), rows[1].ID) {
			t.Errorf("%+v", rows)
		}
		gateway.SetStatus(sms.SID, "delivered")
		o.db.Clock().TestOnlyAdvance(time.Minute)
		until(t, "the SMS is delivered", func() bool { return o.rows(t)[0].State == notify.Delivered })
	})
}

func TestWhatCannotBeSentIsSeen(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		out := o.outbox(o.db, nil, nil)
		o.enqueue(t, out, aMail(""), aMail("b@clinic.example"), notify.Message{Channel: notify.ChannelSMS, To: "c", Template: "plain"},
			notify.Message{Channel: "pigeon", To: "d", Template: "plain"})
		var got []string
		for _, m := range o.rows(t) {
			got = append(got, m.State+" "+m.Failure)
		}
		want := []string{"no_address ", "failed no mail settings", "failed no SMS settings", "failed no such channel"}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		h, err := out.Health(context.Background())
		must(t, err)
		if (h != notify.Health{Failed: 3}) {
			t.Errorf("%+v", h)
		}
	})
}

// What did not commit is not sent, and what is stored cannot be read.
func TestMessagesAreRowsOfTheAct(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		p := &post{}
		out := o.outbox(o.db, p, nil)
		fault := errors.New("a fault")
		err := o.db.Workspace(context.Background(), audit.By{Actor: "usr_a"}, workspace, func(tx *store.Tx) error {
			if _, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success}); err != nil {
				return err
			}
			return errors.Join(out.Enqueue(tx, aMail("gone@clinic.example")), fault)
		})
		if !errors.Is(err, fault) {
			t.Fatal(err)
		}
		o.enqueue(t, out, aMail("b@clinic.example"))
		rows := o.rows(t)
		if len(rows) != 1 || rows[0].State != notify.Queued || strings.Contains(string(rows[0].Data), "secret-word") {
			t.Errorf("%+v", rows)
		}
		run(t, out)
		o.untilState(t, notify.Sent)
		if mails, _ := p.sent(); len(mails) != 1 || mails[0].To != "b@clinic.example" || mails[0].ID != rows[0].ID {
			t.Errorf("%+v", mails)
		}
	})
}

// Two nodes race for the same messages; each is sent once.
func TestTwoNodesSendEachMessageOnce(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		const many = 40
		p := &post{}
		one, two := o.outbox(o.db, p, nil), o.outbox(o.open(t), p, nil)
		var messages []notify.Message
		for i := range many {
			messages = append(messages, aMail(fmt.Sprintf("%02d@clinic.example", i)))
		}
		o.enqueue(t, one, messages...)
		run(t, one)
		run(t, two)
		until(t, "all are sent", func() bool {
			return !slices.ContainsFunc(o.rows(t), func(m store.Message) bool { return m.State != notify.Sent })
		})
		mails, _ := p.sent()
		if len(mails) != many {
			t.Errorf("%d mails for %d messages", len(mails), many)
		}
		for _, m := range o.rows(t) {
			if m.Attempts != 1 {
				t.Errorf("%s took %d attempts", m.Recipient, m.Attempts)
			}
		}
	})
}

// A node dies between claiming a message and settling it: another sends it once
// the claim has run out, and not before.
func TestMessageOfADeadNodeIsSent(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		p := &post{}
		out := o.outbox(o.db, p, nil)
		o.enqueue(t, out, aMail("b@clinic.example"), aMail("c@clinic.example"))
		dead := o.rows(t)[0]
		must(t, o.db.Upkeep(context.Background(), func(tx *store.UpkeepTx) error {
			_, err := tx.ClaimMessage(dead.ID, tx.Now().Add(40*time.Second).UnixMicro(), 0)
			return err
		}))
		run(t, out)
		until(t, "the other is sent", func() bool { return o.rows(t)[1].State == notify.Sent })
		if m := o.rows(t)[0]; m.State != notify.Queued {
			t.Fatalf("%+v", m)
		}
		o.db.Clock().TestOnlyAdvance(41 * time.Second)
		if m := o.untilState(t, notify.Sent); m.Attempts != 2 {
			t.Errorf("%+v", m)
		}
	})
}

// A text that cannot be made yet costs no attempt.
func TestNotYet(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		p := &post{}
		out := o.outbox(o.db, p, nil)
		var mu sync.Mutex
		asked := 0
		out.Register("plain", func(context.Context, notify.Rendering) (notify.Rendered, error) {
			mu.Lock()
			defer mu.Unlock()
			if asked++; asked < 3 {
				return notify.Rendered{}, fmt.Errorf("no checkpoint: %w", notify.ErrNotYet)
			}
			return notify.Rendered{Subject: "S", Text: "T"}, nil
		})
		run(t, out)
		o.enqueue(t, out, aMail("b@clinic.example"))
		m := o.untilState(t, notify.Sent)
		mu.Lock()
		defer mu.Unlock()
		if m.Attempts != 1 || asked != 3 {
			t.Errorf("%d askings, %+v", asked, m)
		}
	})
}

// Retries are 10 s, 30 s and 2 min apart and say what the first attempt said.
func TestRetries(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		p := &post{answer: func(_ string, n int) error {
			if n < 4 {
				return &notify.DeliveryError{Reason: "the mail server is away"}
			}
			return nil
		}}
		out := o.outbox(o.db, p, nil)
		var mu sync.Mutex
		rendered := 0
		out.Register("plain", func(context.Context, notify.Rendering) (notify.Rendered, error) {
			mu.Lock()
			defer mu.Unlock()
			rendered++
			return notify.Rendered{Subject: "S", Text: fmt.Sprintf("made %d times", rendered)}, nil
		})
		run(t, out)
		o.enqueue(t, out, aMail("b@clinic.example"))
		for i, wait := range []time.Duration{10 * time.Second, 30 * time.Second, 2 * time.Minute} {
			until(t, fmt.Sprintf("attempt %d has failed and the next is in %v", i+1, wait), func() bool {
				m := o.rows(t)[0]
				next := time.UnixMicro(m.NextAt).Sub(o.db.Clock().Now())
				return m.Attempts == int64(i+1) && m.State == notify.Queued && m.Failure == "the mail server is away" && next <= wait && next > wait-9*time.Second
			})
			if h, err := out.Health(context.Background()); err != nil || h.Retrying != 1 || !h.Mail || h.SMS {
				t.Errorf("%+v, %v", h, err)
			}
			o.db.Clock().TestOnlyAdvance(wait)
		}
		if m := o.untilState(t, notify.Sent); m.Attempts != 4 || m.Failure != "" {
			t.Errorf("%+v", m)
		}
		mails, _ := p.sent()
		for _, m := range mails {
			if m.Text != "made 1 times" || m.ID != mails[0].ID {
				t.Errorf("%+v", mails)
			}
		}
	})
}

// What nobody takes is a dead letter, with its event in the same transaction.
func TestDeadLetters(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		p := &post{answer: func(to string, _ int) error {
			return &notify.DeliveryError{Reason: "refused (550)", Permanent: strings.HasPrefix(to, "b")}
		}}
		out := o.outbox(o.db, p, nil)
		run(t, out)
		o.enqueue(t, out, aMail("b@clinic.example"))
		if m := o.untilState(t, notify.Failed); m.Attempts != 1 || m.Failure != "refused (550)" {
			t.Errorf("%+v", m)
		}
		failed := o.events(t, "message.failed")
		if len(failed) != 1 || !strings.Contains(failed[0], `"user_id":"usr_b"`) || strings.Contains(failed[0], "clinic.example") {
			t.Errorf("%q", failed)
		}

		o.enqueue(t, out, aMail("a@clinic.example"))
		until(t, "the second has failed once", func() bool { return o.rows(t)[0].Failure != "" })
		for range 30 { // a day goes by
			if o.rows(t)[0].State == notify.Failed {
				break
			}
			tried := o.rows(t)[0].Attempts
			o.db.Clock().TestOnlyAdvance(8 * time.Hour)
			until(t, "it is tried again", func() bool { m := o.rows(t)[0]; return m.Attempts > tried && m.NextAt != 0 || m.State == notify.Failed })
		}
		m := o.untilState(t, notify.Failed)
		if age := o.db.Clock().Now().Sub(time.UnixMicro(m.CreatedAt)); m.Attempts < 3 || age < 16*time.Hour {
			t.Errorf("given up after %v: %+v", age, m)
		}
		if failed := o.events(t, "message.failed"); len(failed) != 2 {
			t.Errorf("%q", failed)
		}
		h, err := out.Health(context.Background())
		must(t, err)
		if h.Failed == 0 {
			t.Errorf("%+v", h)
		}
	})
}

// A peer that asks for a longer wait gets it.
func TestRetryAfter(t *testing.T) {
	o := newOffice(t, store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "mitral.db")}, "")
	out := o.outbox(o.db, &post{answer: func(string, int) error {
		return &notify.DeliveryError{Reason: "later", RetryAfter: 20 * time.Minute}
	}}, nil)
	run(t, out)
	o.enqueue(t, out, aMail("b@clinic.example"))
	until(t, "it was put off", func() bool { return o.rows(t)[0].Failure == "later" })
	if next := time.UnixMicro(o.rows(t)[0].NextAt).Sub(o.db.Clock().Now()); next < 19*time.Minute || next > 20*time.Minute {
		t.Errorf("the next attempt is in %v", next)
	}
}

// A transport that never comes back, not even when told to, holds up neither
// other messages of its channel nor the other channel, and its own message is
// tried again.
func TestHungTransportBlocksNobody(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		p := &post{answer: func(to string, n int) error {
			if strings.HasPrefix(to, "hang") && n == 1 {
				<-release
			}
			return nil
		}}
		out := o.outbox(o.db, p, p)
		out.TestOnlyHasten(time.Second)
		var messages []notify.Message
		for i := range 12 { // more than are sent at once
			messages = append(messages, aMail(fmt.Sprintf("hang%02d@clinic.example", i)))
		}
		sms := aMail("+12025550123")
		sms.Channel = notify.ChannelSMS
		o.enqueue(t, out, append(messages, sms, aMail("z@clinic.example"))...)
		run(t, out)
		until(t, "the SMS is sent", func() bool { return o.rows(t)[0].State == notify.Sent })
		until(t, "the mail behind them is sent", func() bool { rows := o.rows(t); return rows[len(rows)-1].State == notify.Sent })
		until(t, "the hung ones are given back", func() bool {
			return !slices.ContainsFunc(o.rows(t)[1:13], func(m store.Message) bool { return m.Failure == "" })
		})
		o.db.Clock().TestOnlyAdvance(10 * time.Second)
		until(t, "the hung ones are sent", func() bool {
			return !slices.ContainsFunc(o.rows(t), func(m store.Message) bool { return m.State != notify.Sent && m.State != notify.Delivered })
		})
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.most > 8 {
			t.Errorf("%d mails were under way at once", p.most)
		}
	})
}

// A renderer that fails or panics harms its own message only.
func TestBadRenderer(t *testing.T) {
	o := newOffice(t, store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "mitral.db")}, "")
	out := o.outbox(o.db, &post{}, nil)
	out.Register("panics", func(context.Context, notify.Rendering) (notify.Rendered, error) { panic("a bug") })
	out.Register("fails", func(context.Context, notify.Rendering) (notify.Rendered, error) {
		return notify.Rendered{}, errors.New("no such user")
	})
	run(t, out)
	for i, template := range []string{"panics", "fails", "unknown"} {
		m := aMail(fmt.Sprintf("%d@clinic.example", i))
		m.Template = template
		o.enqueue(t, out, m)
	}
	o.enqueue(t, out, aMail("z@clinic.example"))
	until(t, "all were tried", func() bool {
		return !slices.ContainsFunc(o.rows(t), func(m store.Message) bool { return m.State == notify.Queued && m.Failure == "" })
	})
	for i, m := range o.rows(t) {
		if i < 3 && (m.State != notify.Queued || m.Failure != "its text could not be made") || i == 3 && m.State != notify.Sent {
			t.Errorf("%+v", m)
		}
	}
}

// What the provider could not deliver is a dead letter too, and counts for the
// grant it was about.
func TestProviderGivesUp(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		p := &post{state: notify.SMSPending}
		out := o.outbox(o.db, nil, p)
		must(t, o.db.Workspace(context.Background(), audit.By{Actor: "usr_a"}, workspace, func(tx *store.Tx) error {
			if _, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success}); err != nil {
				return err
			}
			return tx.InsertGrant(store.InsertGrantParams{ID: "grt_a", Ref: "BG-0001", SubjectID: "usr_b", Category: "patient_emergency", PickupVerifier: []byte{}})
		}))
		run(t, out)
		o.enqueue(t, out, notify.Message{Channel: notify.ChannelSMS, To: "+12025550123", Template: "plain", GrantID: "grt_a"})
		o.untilState(t, notify.Sent)
		o.db.Clock().TestOnlyAdvance(3 * time.Second)
		until(t, "the provider was asked", func() bool { return o.rows(t)[0].NextAt > o.rows(t)[0].SentAt+(2*time.Second).Microseconds() })
		p.mu.Lock()
		p.state = notify.SMSFailed
		p.mu.Unlock()
		o.db.Clock().TestOnlyAdvance(10 * time.Second)
		if m := o.untilState(t, notify.Failed); m.Failure == "" {
			t.Errorf("%+v", m)
		}
		failed := o.events(t, "message.failed")
		if len(failed) != 1 || !strings.Contains(failed[0], `"grant_id":"grt_a"`) || !strings.Contains(failed[0], `"purpose":"ETREAT"`) {
			t.Errorf("%q", failed)
		}
	})
}

// An attempt that was overtaken settles nothing.
func TestOvertakenAttemptSettlesNothing(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, o *office) {
		started, release := make(chan struct{}), make(chan struct{})
		p := &post{answer: func(_ string, n int) error {
			if n > 1 {
				return nil
			}
			close(started)
			<-release
			return &notify.DeliveryError{Reason: "too late", Permanent: true}
		}}
		out := o.outbox(o.db, p, nil)
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- out.Run(ctx) }()
		o.enqueue(t, out, aMail("b@clinic.example"))
		<-started
		o.db.Clock().TestOnlyAdvance(41 * time.Second) // its claim has run out
		o.untilState(t, notify.Sent)
		close(release)
		stop()
		must(t, <-ended)
		if m := o.rows(t)[0]; m.State != notify.Sent || m.Attempts != 2 || len(o.events(t, "message.failed")) != 0 {
			t.Errorf("%+v", m)
		}
	})
}

func TestDemoKeepsTheLast(t *testing.T) {
	clock := store.NewClock()
	demo := notify.NewDemo(clock)
	for i := range 600 {
		must(t, demo.SendMail(context.Background(), notify.Mail{To: fmt.Sprintf("%d@clinic.example", i), Subject: "S", Text: "T"}))
	}
	receipt, err := demo.SendSMS(context.Background(), notify.SMS{To: "+12025550123", Text: "Hello"})
	must(t, err)
	shown := demo.Messages()
	if len(shown) != 500 || shown[0].Channel != notify.ChannelSMS || shown[0].Text != "Hello" || shown[0].ID != receipt || shown[1].To != "599@clinic.example" || shown[499].To != "101@clinic.example" {
		t.Errorf("%d messages, the first %+v", len(shown), shown[0])
	}
	if state, err := demo.StatusSMS(context.Background(), receipt); err != nil || state != notify.SMSDelivered {
		t.Errorf("%v, %v", state, err)
	}
}
