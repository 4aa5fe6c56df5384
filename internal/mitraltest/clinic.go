package mitraltest

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// PublicURL is the address that browsers of a Clinic use.
const PublicURL = "http://localhost:8080"

// LowCosts make hashing cheap. Only tests about hashing pay the real price.
var LowCosts = keyring.Costs{
	KeyPIN: keyring.Cost{MemoryKiB: 64, Time: 1, Threads: 1},
	Code:   keyring.Cost{MemoryKiB: 64, Time: 1, Threads: 1},
}

// Clinic is one workspace on a real database with everything below the doors,
// no loops running, and an administrator. Time moves by Advance only as far as
// Mitral is concerned. When the test ends its whole record must verify.
type Clinic struct {
	DB        *store.DB
	Keys      *keyring.Ring
	Outbox    *notify.Outbox
	Sent      *Sent
	Recorder  *record.Recorder
	Sessions  *session.Manager
	Signin    *signin.Machine
	Directory *directory.Directory

	Workspace directory.Workspace
	Setup     directory.SetupResult
	Admin     Person

	tb      testing.TB
	url     string
	kek     *keyring.KEK
	keysets []keyring.Wrapped
	costs   keyring.Costs
}

// Person is somebody with a key and a PIN.
type Person struct {
	ID    string
	Email string
	Role  identity.Role
	Key   identity.Secret
	PIN   identity.Secret
}

// ForEachDatabase runs a test on SQLite and on PostgreSQL, each time with a
// fresh clinic. Short runs (-short) leave PostgreSQL out.
func ForEachDatabase(t *testing.T, f func(t *testing.T, c *Clinic)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, NewClinic(t, "sqlite:"+filepath.Join(t.TempDir(), "mitral.db"), ""))
	})
	if testing.Short() {
		return
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		owner, app := Postgres(t)
		f(t, NewClinic(t, app, owner))
	})
}

// NewClinic makes a clinic on an empty database. migrateURL is the owning login
// of a PostgreSQL database, or "".
func NewClinic(tb testing.TB, dbURL, migrateURL string) *Clinic {
	tb.Helper()
	c := NewInstallation(tb, dbURL, migrateURL)
	var err error
	pin := identity.Secret("8264")
	c.Setup, err = c.Directory.Setup(context.Background(), directory.SetupInput{WorkspaceName: "Hope Clinic", AdminEmail: "admin@hope.example",
		AdminName: "An Administrator", AdminPhone: "+442079460101", PIN: pin, ByOperator: true})
	need(tb, err)
	c.Workspace = c.Setup.Workspace
	c.Admin = Person{c.Setup.User.ID, "admin@hope.example", identity.Admin, c.Setup.Key, pin}
	return c
}

// NewInstallation is NewClinic before anybody has set it up: a database with
// keys and no workspace.
func NewInstallation(tb testing.TB, dbURL, migrateURL string) *Clinic {
	tb.Helper()
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	c := &Clinic{tb: tb, url: dbURL, Sent: newSent(), costs: LowCosts}
	db, err := store.Open(store.Config{URL: dbURL, Fold: &audit.Fold{}, Log: log})
	need(tb, err)
	c.DB = db
	tb.Cleanup(func() { _ = db.Close() })
	need(tb, db.Migrate(ctx, migrateURL))

	c.kek, err = keyring.NewKEK()
	need(tb, err)
	c.keysets, err = keyring.Create(c.kek, "localhost/log/1", db.Clock().Now())
	need(tb, err)
	c.build(log)
	var first []store.FirstKeyset
	for _, w := range c.keysets {
		first = append(first, store.FirstKeyset{Name: w.Name, Blob: w.Blob})
	}
	_, err = db.Found(ctx, identity.NewID(identity.InstallID), c.Keys.LogOrigin(), c.Keys.LogVerifierKey(), first)
	need(tb, err)
	tb.Cleanup(c.verifyAtEnd)
	return c
}

func (c *Clinic) build(log *slog.Logger) {
	c.tb.Helper()
	var err error
	c.Keys, err = keyring.Open(c.kek, c.keysets, keyring.Config{Costs: c.costs})
	need(c.tb, err)
	c.Outbox = notify.New(notify.Config{DB: c.DB, Keys: c.Keys, Mail: c.Sent, SMS: c.Sent, Clock: c.DB.Clock(), Log: log})
	c.Recorder = record.New(record.Config{DB: c.DB, Keys: c.Keys, HighwaterPath: filepath.Join(c.tb.TempDir(), "highwater"), Holder: identity.NewID(identity.NodeID), Log: log})
	public, err := url.Parse(PublicURL)
	need(c.tb, err)
	c.Sessions, err = session.New(session.Config{DB: c.DB, Keys: c.Keys, PublicURL: public, Log: log})
	need(c.tb, err)
	c.Signin, err = signin.New(signin.Config{DB: c.DB, Keys: c.Keys, Sessions: c.Sessions, Outbox: c.Outbox, Slots: signin.NewSlots(c.DB.Clock().Now), Log: log})
	need(c.tb, err)
	c.Directory, err = directory.New(directory.Config{DB: c.DB, Keys: c.Keys, Sessions: c.Sessions, Signin: c.Signin, Outbox: c.Outbox, PublicURL: PublicURL, Log: log})
	need(c.tb, err)
}

// Node returns a second node on the same database: its own memory, the same
// keys.
func (c *Clinic) Node() *Clinic {
	c.tb.Helper()
	return c.NodeAt(c.costs)
}

// NodeAt is Node with other costs of hashing.
func (c *Clinic) NodeAt(costs keyring.Costs) *Clinic {
	c.tb.Helper()
	n := *c
	n.costs = costs
	n.build(slog.New(slog.DiscardHandler))
	return &n
}

// Exec changes the database behind the store's back: to what the product will
// only come to in a long time, or cannot come to yet.
func (c *Clinic) Exec(query string, args ...any) {
	c.tb.Helper()
	driver, name := "pgx", c.url
	if path, lite := strings.CutPrefix(c.url, "sqlite:"); lite {
		driver, name = "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, name)
	need(c.tb, err)
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(context.Background(), query, args...)
	need(c.tb, err)
}

// Advance moves the clock.
func (c *Clinic) Advance(d time.Duration) { c.DB.Clock().TestOnlyAdvance(d) }

// Add adds a person with key and PIN by the way staff come: added and claimed.
func (c *Clinic) Add(role identity.Role) Person {
	c.tb.Helper()
	ctx := context.Background()
	p := Person{Email: string(role) + "-" + identity.NewToken().Reveal()[:8] + "@hope.example", Role: role, PIN: "8264"}
	u, err := c.Directory.AddUser(ctx, signin.CLI(), c.Workspace.ID, directory.NewUser{Email: p.Email, Name: "A " + string(role), Role: role})
	need(c.tb, err)
	p.ID = u.ID
	claim, err := c.Directory.NewClaim(ctx, signin.CLI(), c.Workspace.ID, u.ID, directory.NewClaim{Channel: "screen"})
	need(c.tb, err)
	got, err := c.Directory.CompleteClaim(ctx, c.NewDevice().Visit(), ClaimToken(claim.URL), claim.Code, p.PIN)
	need(c.tb, err)
	p.Key = got.Key
	return p
}

// ClaimToken takes the token out of a claim's address.
func ClaimToken(url string) identity.Secret {
	return identity.Secret(url[strings.LastIndexByte(url, '/')+1:])
}

// Device is a browser as sessions see one: a cookie jar and an address.
type Device struct {
	IP netip.Addr

	c   *Clinic
	mu  sync.Mutex
	jar map[string]*http.Cookie
}

// NewDevice returns a fresh browser at an address range of its own.
func (c *Clinic) NewDevice() *Device {
	return &Device{IP: nextAddress(), c: c, jar: map[string]*http.Cookie{}}
}

var addresses struct {
	sync.Mutex
	n int
}

// nextAddress gives every browser its own /24 of 127/8.
func nextAddress() netip.Addr {
	addresses.Lock()
	defer addresses.Unlock()
	addresses.n++
	return netip.AddrFrom4([4]byte{127, byte(addresses.n >> 8), byte(addresses.n), 1})
}

// Visit is one request of the browser. Keep answers it.
func (b *Device) Visit() *session.Visit { return b.VisitOn(b.c) }

// VisitOn is a request that reaches another node.
func (b *Device) VisitOn(n *Clinic) *session.Visit {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &http.Request{Header: http.Header{}}
	for _, c := range b.jar {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return n.Sessions.Visit(r, identity.Client{IP: b.IP, UserAgent: "Chrome, Linux"})
}

// Keep stores the cookies of a visit's answer as a browser does.
func (b *Device) Keep(v *session.Visit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range v.Cookies() {
		if c.MaxAge < 0 || c.Value == "" {
			delete(b.jar, c.Name)
		} else {
			b.jar[c.Name] = c
		}
	}
}

// Clone returns a browser with the same cookies at another address: a thief's.
func (b *Device) Clone() *Device {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.c.NewDevice()
	for k, v := range b.jar {
		n.jar[k] = v
	}
	return n
}

// Forget drops a cookie whose name contains part.
func (b *Device) Forget(part string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.jar {
		if strings.Contains(k, part) {
			delete(b.jar, k)
		}
	}
}

// SignIn signs a person in with key and PIN in this browser.
func (b *Device) SignIn(p Person) *session.Live {
	b.c.tb.Helper()
	v := b.Visit()
	out, err := b.c.Signin.KeyPIN(context.Background(), v, signin.KeyPIN{Identifier: p.Email, Key: p.Key, PIN: p.PIN})
	need(b.c.tb, err)
	if out.State != "signed_in" {
		b.c.tb.Fatalf("signing in came to %s %v", out.State, out.Methods)
	}
	b.Keep(v)
	return out.Session
}

// Who is this browser's session as it stands, for an act.
func (b *Device) Who() signin.Who {
	b.c.tb.Helper()
	v := b.Visit()
	live, err := b.c.Sessions.Check(context.Background(), v, session.Renew)
	if live == nil {
		b.c.tb.Fatalf("the browser has no session: %v", err)
	}
	b.Keep(v)
	return signin.Who{Live: live, Visit: v}
}

// Confirmed is Who with a step-up token for an action.
func (b *Device) Confirmed(p Person, action string) signin.Who {
	b.c.tb.Helper()
	who := b.Who()
	token, _, err := b.c.Signin.StepUp(context.Background(), who, signin.StepUpInput{Action: action, Method: "pin", PIN: p.PIN})
	need(b.c.tb, err)
	who = b.Who()
	who.StepUp = token
	return who
}

// ChangePolicy replaces the policy by what edit makes of it, as the operator.
func (c *Clinic) ChangePolicy(edit func(*policy.Document)) {
	c.tb.Helper()
	ctx := context.Background()
	doc, rev, err := c.Directory.Policy(ctx, signin.CLI(), c.Workspace.ID)
	need(c.tb, err)
	edit(&doc)
	_, _, err = c.Directory.PutPolicy(ctx, signin.CLI(), c.Workspace.ID, directory.ETag(rev), doc.JSON(), "a test")
	need(c.tb, err)
}

// Sequence gives everything recorded its leaf and a checkpoint, as the loop of
// package record does within a second.
func (c *Clinic) Sequence() {
	c.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	need(c.tb, c.Recorder.Run(ctx))
}

// verifyAtEnd looks at the record a test leaves behind, where it left one.
func (c *Clinic) verifyAtEnd() {
	if c.DB.Frozen() != nil || c.DB.Ping(context.Background()) != nil {
		return
	}
	c.Sequence()
	if r := c.Verify(); !r.OK {
		c.tb.Errorf("the record does not verify: %q", r.Findings)
	}
}

// Verify checks the whole record, as mitral audit verify does.
func (c *Clinic) Verify() record.Report {
	c.tb.Helper()
	r, err := record.Verify(context.Background(), c.DB, record.VerifyInput{})
	need(c.tb, err)
	return r
}

// Events returns the workspace's events, oldest first, sequenced or not.
func (c *Clinic) Events() []store.AuditEvent {
	c.tb.Helper()
	var out []store.AuditEvent
	need(c.tb, c.DB.ReadSystem(context.Background(), func(tx *store.SystemTx) (err error) {
		out, err = tx.AllEvents(c.Workspace.ID)
		return err
	}))
	return out
}

// Count returns how many events of a type the workspace has whose leaves hold
// all the given texts, such as `"outcome":"denied"`.
func (c *Clinic) Count(typ string, holding ...string) int {
	c.tb.Helper()
	n := 0
	for _, e := range c.Events() {
		if e.Type == typ && !slices.ContainsFunc(holding, func(text string) bool { return !strings.Contains(e.Leaf, text) }) {
			n++
		}
	}
	return n
}

// Told returns to whom messages of a template went or will go, sorted.
func (c *Clinic) Told(template string) []string {
	c.tb.Helper()
	var to []string
	need(c.tb, c.DB.Read(context.Background(), c.Workspace.ID, func(tx *store.Tx) error {
		messages, err := tx.Messages()
		for _, m := range messages {
			if m.Template == template {
				to = append(to, m.Recipient)
			}
		}
		return err
	}))
	slices.Sort(to)
	return to
}

// Deliver sends what is queued and due, and waits until it has been taken.
func (c *Clinic) Deliver() {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	due := 0
	need(c.tb, c.DB.ReadSystem(ctx, func(tx *store.SystemTx) error {
		for _, channel := range []string{notify.ChannelMail, notify.ChannelSMS} {
			messages, err := tx.DueMessages(channel, 1000)
			if err != nil {
				return err
			}
			due += len(messages)
		}
		return nil
	}))
	for len(c.Sent.taken) > 0 { // what somebody else delivered
		<-c.Sent.taken
	}
	running := make(chan error, 1)
	go func() { running <- c.Outbox.Run(ctx) }()
	for range due {
		select {
		case <-c.Sent.taken:
		case <-ctx.Done():
			c.tb.Fatal("the outbox did not send what is due")
		}
	}
	cancel()
	need(c.tb, <-running)
}

// Sent takes what the outbox sends.
type Sent struct {
	taken chan struct{} // one for each message
	mu    sync.Mutex
	mails []notify.Mail
	sms   []notify.SMS
}

func newSent() *Sent { return &Sent{taken: make(chan struct{}, 10_000)} }

// took is told of each message, for Deliver; nobody need listen.
func (s *Sent) took() {
	select {
	case s.taken <- struct{}{}:
	default:
	}
}

// SendMail takes a mail.
func (s *Sent) SendMail(_ context.Context, m notify.Mail) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, m)
	s.took()
	return nil
}

// SendSMS takes an SMS.
func (s *Sent) SendSMS(_ context.Context, m notify.SMS) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sms = append(s.sms, m)
	s.took()
	return "", nil
}

// Mails returns what was mailed.
func (s *Sent) Mails() []notify.Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]notify.Mail(nil), s.mails...)
}

// SMS returns what was sent by SMS.
func (s *Sent) SMS() []notify.SMS {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]notify.SMS(nil), s.sms...)
}

func need(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
