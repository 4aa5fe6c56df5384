package breakglass_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
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

// desk is a clinic with emergency access, its recorder running.
type desk struct {
	*mitraltest.Clinic
	bg   *breakglass.BreakGlass
	look func(context.Context) error
	raw  *sql.DB
	t    *testing.T
}

// onEach runs a test on SQLite and on PostgreSQL, as mitraltest.ForEachDatabase
// does, with a way to write to the tables behind the product's back.
func onEach(t *testing.T, f func(t *testing.T, d *desk)) {
	t.Helper()
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "mitral.db")
		d := newDesk(t, mitraltest.NewClinic(t, "sqlite:"+path, ""))
		d.raw = rawDB(t, "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
		f(t, d)
	})
	if testing.Short() {
		return
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		owner, app := mitraltest.Postgres(t)
		d := newDesk(t, mitraltest.NewClinic(t, app, owner))
		d.raw = rawDB(t, "pgx", owner)
		f(t, d)
	})
}

func rawDB(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// exec writes to the tables behind the product's back.
func (d *desk) exec(query string, args ...any) {
	d.t.Helper()
	_, err := d.raw.ExecContext(context.Background(), query, args...)
	must(d.t, err)
}

func newDesk(t *testing.T, c *mitraltest.Clinic) *desk {
	t.Helper()
	d := &desk{Clinic: c, t: t}
	d.bg = newBreakGlass(t, c)
	d.look = d.bg.Looker()
	run(t, c.Recorder.Run)
	return d
}

func newBreakGlass(t *testing.T, c *mitraltest.Clinic) *breakglass.BreakGlass {
	t.Helper()
	bg, err := breakglass.New(breakglass.Config{DB: c.DB, Keys: c.Keys, Sessions: c.Sessions, Signin: c.Signin, Directory: c.Directory,
		Outbox: c.Outbox, Recorder: c.Recorder, PublicURL: mitraltest.PublicURL, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	return bg
}

// run runs a loop until the test ends.
func run(t *testing.T, loop func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = loop(ctx)
	}()
	t.Cleanup(func() { stop(); <-done })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		var r *identity.Refusal
		if errors.As(err, &r) {
			t.Fatalf("refused: %s: %s %v", r.Code, r.Detail, r.Fields)
		}
		t.Fatal(err)
	}
}

// refused checks that an act was refused in one way, and returns the refusal.
func refused(t *testing.T, err error, kind identity.Kind, code string) *identity.Refusal {
	t.Helper()
	var r *identity.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("not refused but %v", err)
	}
	got := r.Code
	if r.Kind == identity.Invalid && len(r.Fields) > 0 {
		got = r.Fields[0].Field + " " + r.Fields[0].Code
	}
	if r.Kind != kind || got != code {
		t.Fatalf("refused with %d %s, want %d %s", r.Kind, got, kind, code)
	}
	return r
}

func refusalOf(err error) *identity.Refusal {
	var r *identity.Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}

// emergency is a start that is good as it stands, for oneself.
func emergency() breakglass.StartInput {
	return breakglass.StartInput{Kind: breakglass.KindSelf, Category: breakglass.CannotSignIn, Reason: "Chest pain, phone with authenticator broken " + identity.NewToken().Reveal()[:8]}
}

func named(p mitraltest.Person) breakglass.StartInput {
	in := emergency()
	in.Kind, in.Subject = breakglass.KindNamed, p.ID
	return in
}

func (d *desk) sealed(p mitraltest.Person, code identity.Secret) breakglass.StartInput {
	in := emergency()
	in.Kind, in.SealedCode, in.Subject, in.PIN = breakglass.KindSealed, code, p.Email, p.PIN
	return in
}

// code is one of the two codes that setup made.
func (d *desk) code(n int) identity.Secret { return d.Setup.SealedCodes[n].Code }

// start starts in a browser and keeps what it is answered.
func (d *desk) start(b *mitraltest.Device, who signin.Who, in breakglass.StartInput) (breakglass.Started, error) {
	d.t.Helper()
	s, err := d.bg.Start(context.Background(), who, in)
	b.Keep(who.Visit)
	return s, err
}

// open is start that must succeed.
func (d *desk) open(b *mitraltest.Device, who signin.Who, in breakglass.StartInput) breakglass.Started {
	d.t.Helper()
	s, err := d.start(b, who, in)
	must(d.t, err)
	return s
}

// stranger is a browser without a session.
func stranger(b *mitraltest.Device) signin.Who { return signin.Who{Visit: b.Visit()} }

// register makes a browser that somebody signed in with a registered workstation.
func (d *desk) register(deviceID string) {
	d.t.Helper()
	d.exec("UPDATE device SET registered_at = 1, label = 'Exam Room 2' WHERE id = $1", deviceID)
}

// session is how a browser's session stands, or nil.
func (d *desk) session(b *mitraltest.Device) *session.Live {
	d.t.Helper()
	v := b.Visit()
	live, err := d.Sessions.Check(context.Background(), v, session.Renew)
	b.Keep(v)
	if errors.Is(err, session.ErrSignedOut) {
		return nil
	}
	if err != nil && !errors.Is(err, session.ErrLocked) {
		d.t.Fatal(err)
	}
	return live
}

func (d *desk) lock(b *mitraltest.Device) {
	d.t.Helper()
	who := b.Who()
	_, err := d.Sessions.Lock(context.Background(), who.Visit, who.Live, session.ReasonUser)
	must(d.t, err)
	b.Keep(who.Visit)
}

// round does once what Run does every two seconds.
func (d *desk) round() {
	d.t.Helper()
	must(d.t, d.look(context.Background()))
}

// leaf is an event of the record.
type leaf map[string]any

// events returns the events of a type, oldest first.
func (d *desk) events(typ string) []leaf {
	d.t.Helper()
	var out []leaf
	for _, e := range d.Events() {
		if e.Type != typ {
			continue
		}
		l := leaf{}
		must(d.t, json.Unmarshal([]byte(e.Leaf), &l))
		out = append(out, l)
	}
	return out
}

// last is the newest event of a type.
func (d *desk) last(typ string) leaf {
	d.t.Helper()
	all := d.events(typ)
	if len(all) == 0 {
		d.t.Fatalf("no event %s", typ)
	}
	return all[len(all)-1]
}

// sane checks that the record verifies and holds no names or addresses.
func (d *desk) sane() {
	d.t.Helper()
	if all := d.Events(); len(all) > 0 { // the sequencer may be a moment behind
		d.Recorder.Await(context.Background(), all[len(all)-1].ID, 5*time.Second)
	}
	if r := d.Verify(); !r.OK {
		d.t.Errorf("the record does not verify: %v", r.Findings)
	}
	for _, e := range d.Events() {
		for _, word := range []string{"@hope.example", "Visitor", "+44"} {
			if strings.Contains(e.Leaf, word) {
				d.t.Errorf("the record holds %q: %s", word, e.Leaf)
			}
		}
	}
}

// policy changes the workspace's policy and lets this node hear of it.
func (d *desk) policy(change func(*policy.Document)) {
	d.t.Helper()
	ctx := context.Background()
	doc, rev, err := d.Directory.Policy(ctx, signin.CLI(), d.Workspace.ID)
	must(d.t, err)
	change(&doc)
	_, _, err = d.Directory.PutPolicy(ctx, signin.CLI(), d.Workspace.ID, directory.ETag(rev), doc.JSON(), "for a test")
	must(d.t, err)
	d.hear()
}

// hear lets this node hear of what was written without it.
func (d *desk) hear() {
	d.t.Helper()
	d.Advance(10 * time.Second)
	if d.session(d.NewDevice()) != nil {
		d.t.Fatal("a new browser has a session")
	}
}

// within checks that two times are no further apart than d.
func within(t *testing.T, what string, got, want, d time.Duration) {
	t.Helper()
	if diff := got - want; diff > d || diff < -d {
		t.Errorf("%s: %v, want %v ± %v", what, got, want, d)
	}
}

// messages returns the rows of the outbox, oldest first.
func (d *desk) messages() []store.Message {
	d.t.Helper()
	var out []store.Message
	must(d.t, d.DB.Read(context.Background(), d.Workspace.ID, func(tx *store.Tx) (err error) {
		out, err = tx.Messages()
		return err
	}))
	slices.Reverse(out)
	return out
}
