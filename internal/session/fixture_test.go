package session_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// clinic is an installation with a workspace of preset clinic and a nurse, seen
// from one node.
type clinic struct {
	tb        testing.TB
	url       string
	db        *store.DB
	clock     *store.Clock
	keys      *keyring.Ring
	apps      []session.App
	dialect   session.Dialect
	public    string
	workspace string
	nurse     string
	m         *session.Manager
}

// forEachDatabase runs a test on SQLite and on PostgreSQL.
func forEachDatabase(t *testing.T, f func(t *testing.T, c *clinic)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, newClinic(t, sqliteURL(t), "")) })
	t.Run("postgres", func(t *testing.T) {
		owner, app := mitraltest.Postgres(t)
		f(t, newClinic(t, app, owner))
	})
}

func sqliteURL(tb testing.TB) string { return "sqlite:" + filepath.Join(tb.TempDir(), "mitral.db") }

func newClinic(tb testing.TB, url, migrateURL string) *clinic {
	tb.Helper()
	c := &clinic{tb: tb, url: url, clock: store.NewClock(), dialect: session.V5, public: "https://auth.example"}
	c.db = c.open()
	ctx := tb.Context()
	must(tb, c.db.Migrate(ctx, migrateURL))
	kek, err := keyring.NewKEK()
	must(tb, err)
	wrapped, err := keyring.Create(kek, "auth.example/log/1", c.clock.Now())
	must(tb, err)
	c.keys, err = keyring.Open(kek, wrapped, keyring.Config{})
	must(tb, err)
	_, err = c.db.Found(ctx, identity.NewID("ins"), "auth.example/log/1", c.keys.LogVerifierKey(), nil)
	must(tb, err)
	c.workspace = c.addWorkspace("hope-clinic")
	c.nurse = c.addUser(c.workspace, "nurse", "Nadia Rahman")
	c.m = c.node(c.db)
	must(tb, c.m.Poll(ctx))
	return c
}

func (c *clinic) open() *store.DB {
	c.tb.Helper()
	db, err := store.Open(store.Config{URL: c.url, Clock: c.clock})
	must(c.tb, err)
	c.tb.Cleanup(func() { _ = db.Close() })
	return db
}

// node is another node of the installation, or the same after a restart.
func (c *clinic) node(db *store.DB) *session.Manager {
	c.tb.Helper()
	public, err := url.Parse(c.public)
	must(c.tb, err)
	m, err := session.New(session.Config{DB: db, Keys: c.keys, Dialect: c.dialect, PublicURL: public, Apps: c.apps})
	must(c.tb, err)
	return m
}

// on is the same clinic seen from another node.
func (c *clinic) on(m *session.Manager) *clinic {
	other := *c
	other.m = m
	return &other
}

func (c *clinic) addWorkspace(slug string) string {
	c.tb.Helper()
	id := identity.NewID(identity.WorkspaceID)
	document, err := policy.Preset("clinic")
	must(c.tb, err)
	must(c.tb, c.db.System(c.tb.Context(), audit.By{Actor: audit.ActorCLI}, func(tx *store.SystemTx) error {
		if err := tx.InsertWorkspace(store.InsertWorkspaceParams{ID: id, Slug: slug, Name: slug, TimeZone: "UTC", CodeSalt: []byte{1}}); err != nil {
			return err
		}
		if err := tx.Workspace(id).InsertPolicy(store.InsertPolicyParams{Rev: 1, Document: string(document.JSON())}); err != nil {
			return err
		}
		_, err := tx.Workspace(id).Record(audit.Event{Type: "workspace.create", Outcome: audit.Success})
		return err
	}))
	return id
}

func (c *clinic) addUser(workspace, role, name string) string {
	c.tb.Helper()
	id := identity.NewID(identity.UserID)
	c.act(workspace, func(tx *store.Tx) error {
		return tx.InsertUser(store.InsertUserParams{ID: id, Name: name, Email: id + "@hope.example", Role: role, RecoverySalt: []byte{1}})
	})
	return id
}

// act runs a change as the command line does, with an event of its own.
func (c *clinic) act(workspace string, f func(*store.Tx) error) {
	c.tb.Helper()
	must(c.tb, c.db.Workspace(c.tb.Context(), audit.By{Actor: audit.ActorCLI}, workspace, func(tx *store.Tx) error {
		if err := f(tx); err != nil {
			return err
		}
		return record(tx)
	}))
}

// setPolicy puts a changed policy in force, as directory does.
func (c *clinic) setPolicy(change func(d *policy.Document)) {
	c.tb.Helper()
	c.act(c.workspace, func(tx *store.Tx) error {
		was, err := tx.CurrentPolicy()
		if err != nil {
			return err
		}
		document, _ := policy.Parse([]byte(was.Document))
		change(&document)
		if _, err := tx.TouchWorkspace(); err != nil {
			return err
		}
		return tx.InsertPolicy(store.InsertPolicyParams{Rev: was.Rev + 1, Document: string(document.JSON())})
	})
}

// openGrant opens a grant for a person: only its row.
func (c *clinic) openGrant(subject string, lasts time.Duration) (id string, ends time.Time) {
	c.tb.Helper()
	id, ends = identity.NewID(identity.GrantID), c.clock.Now().Add(lasts)
	c.act(c.workspace, func(tx *store.Tx) error {
		return tx.InsertGrant(store.InsertGrantParams{ID: id, SubjectID: subject, Ref: "BG-0001", Kind: "self", Invoker: subject,
			Category: "patient_emergency", Reason: "unstable patient in bay two", PickupVerifier: []byte{}, ExpiresAt: ends.UnixMicro(),
			Remaining: lasts.Microseconds()})
	})
	return id, ends
}

func (c *clinic) advance(d time.Duration) { c.clock.TestOnlyAdvance(d) }

func (c *clinic) row(id string) store.Session {
	c.tb.Helper()
	var row store.Session
	must(c.tb, c.db.ReadSystem(c.tb.Context(), func(tx *store.SystemTx) (err error) {
		row, err = tx.AnySession(id)
		return err
	}))
	return row
}

// query asks the database for one number.
func (c *clinic) query(q string, args ...any) int {
	c.tb.Helper()
	driver, source := "pgx", c.url
	if path, ok := strings.CutPrefix(c.url, "sqlite:"); ok {
		driver, source = "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, source)
	must(c.tb, err)
	defer func() { must(c.tb, db.Close()) }()
	n := 0
	must(c.tb, db.QueryRow(q, args...).Scan(&n))
	return n
}

// events returns the events of a type that are about a session.
func (c *clinic) events(typ, sessionID string) []map[string]any {
	c.tb.Helper()
	var out []map[string]any
	must(c.tb, c.db.Read(c.tb.Context(), c.workspace, func(tx *store.Tx) error {
		rows, err := tx.EventsOfUser(c.row(sessionID).UserID, 1000)
		for _, row := range rows {
			if row.Type == typ && row.SessionID == sessionID {
				leaf := map[string]any{}
				must(c.tb, json.Unmarshal([]byte(row.Leaf), &leaf))
				out = append(out, leaf)
			}
		}
		return err
	}))
	return out
}

// browser keeps cookies as browsers do: by path and age.
type browser struct {
	c   *clinic
	ip  string
	jar map[string]kept
}

type kept struct {
	name, value, path string
	until             time.Time // zero: as long as the browser runs
}

func (c *clinic) browser() *browser { return &browser{c: c, ip: "192.0.2.7", jar: map[string]kept{}} }

// through is the same browser, its requests arriving at another node.
func (b *browser) through(c *clinic) *browser { return &browser{c, b.ip, b.jar} }

// copy is a thief's: the cookies as they are now.
func (b *browser) copy() *browser { return &browser{b.c, b.ip, maps.Clone(b.jar)} }

func (b *browser) visit(path string) *session.Visit {
	r := httptest.NewRequest(http.MethodGet, b.c.public+path, nil)
	for _, name := range slices.Sorted(maps.Keys(b.jar)) {
		k := b.jar[name]
		if !k.until.IsZero() && !b.c.clock.Now().Before(k.until) {
			continue
		}
		if path == k.path || k.path == "/" || strings.HasPrefix(path, k.path+"/") {
			r.AddCookie(&http.Cookie{Name: k.name, Value: k.value})
		}
	}
	return b.c.m.Visit(r, identity.Client{IP: netip.MustParseAddr(b.ip), UserAgent: "Chrome, Windows"})
}

func (b *browser) take(v *session.Visit) {
	for _, c := range v.Cookies() {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
			continue
		}
		k := kept{name: c.Name, value: c.Value, path: c.Path}
		if c.MaxAge > 0 {
			k.until = b.c.clock.Now().Add(time.Duration(c.MaxAge) * time.Second)
		}
		b.jar[c.Name] = k
	}
}

// call is an API call that uses the session.
func (b *browser) call(use session.Use) (*session.Live, error) {
	v := b.visit("/api/v1/auth/session")
	live, err := b.c.m.Check(b.c.tb.Context(), v, use)
	b.take(v)
	return live, err
}

func (b *browser) get() (*session.Live, error) { return b.call(session.Renew) }

// forward is the check of a reverse proxy for an application's page.
func (b *browser) forward() error {
	v := b.visit("/chart/7")
	_, err := b.c.m.Check(b.c.tb.Context(), v, session.Peek)
	b.take(v)
	return err
}

// mustBe checks a call's outcome.
func mustBe(t testing.TB, want error, live *session.Live, err error) *session.Live {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	if (want == nil || errors.Is(want, session.ErrLocked)) && live == nil {
		t.Fatal("there is no session beside the answer")
	}
	return live
}

// active asserts that the browser is signed in and active.
func (b *browser) active() *session.Live {
	b.c.tb.Helper()
	live, err := b.get()
	return mustBe(b.c.tb, nil, live, err)
}

func (b *browser) locked() *session.Live {
	b.c.tb.Helper()
	live, err := b.get()
	return mustBe(b.c.tb, session.ErrLocked, live, err)
}

func (b *browser) signedOut() {
	b.c.tb.Helper()
	_, err := b.get()
	mustBe(b.c.tb, session.ErrSignedOut, nil, err)
}

// open signs somebody in on the browser.
func (b *browser) open(o session.Opening) *session.Live {
	b.c.tb.Helper()
	v := b.visit("/api/v1/auth/key-pin")
	if o.Method == "" {
		o.Method, o.ACR, o.AMR = "key-pin", identity.ACRAAL1, []string{"pwd", "pin"}
	}
	var live *session.Live
	must(b.c.tb, b.c.db.Workspace(b.c.tb.Context(), audit.By{Client: v.Client}, b.c.workspace, func(tx *store.Tx) (err error) {
		if live, err = b.c.m.Start(tx, v, o); err != nil {
			return err
		}
		_, err = tx.Record(audit.Event{Type: "sign_in.key_pin", Outcome: audit.Success, Actor: o.UserID, Session: live.ID})
		return err
	}))
	b.take(v)
	return live
}

func (b *browser) signIn(user string) *session.Live {
	b.c.tb.Helper()
	return b.open(session.Opening{UserID: user})
}

// unlock opens the browser's locked session, as after a right PIN.
func (b *browser) unlock(fresh bool) (*session.Live, error) {
	b.c.tb.Helper()
	v := b.visit("/api/v1/session/unlock")
	live, err := b.c.m.Check(b.c.tb.Context(), v, session.Renew)
	mustBe(b.c.tb, session.ErrLocked, live, err)
	err = b.c.db.Workspace(b.c.tb.Context(), live.By(v.Client), live.WorkspaceID, func(tx *store.Tx) (err error) {
		if live, err = b.c.m.Unlock(tx, v, live, fresh); err != nil {
			return err
		}
		_, err = tx.Record(audit.Event{Type: "session.unlock", Outcome: audit.Success})
		return err
	})
	b.take(v)
	return live, err
}

func (b *browser) lock() {
	b.c.tb.Helper()
	v := b.visit("/api/v1/session/lock")
	live, err := b.c.m.Check(b.c.tb.Context(), v, session.Name)
	mustBe(b.c.tb, nil, live, err)
	live, err = b.c.m.Lock(b.c.tb.Context(), v, live, session.ReasonUser)
	must(b.c.tb, err)
	if live.State != session.Locked {
		b.c.tb.Fatalf("after lock it is %s", live.State)
	}
	b.take(v)
}

func (b *browser) beat(tab string, seq int64, age time.Duration) (session.BeatAnswer, error) {
	b.c.tb.Helper()
	v := b.visit("/api/v1/session/heartbeat")
	live, err := b.c.m.Check(b.c.tb.Context(), v, session.Renew)
	b.take(v)
	if err != nil {
		return session.BeatAnswer{}, err
	}
	return b.c.m.Beat(b.c.tb.Context(), v, live, session.Beat{Tab: tab, Seq: seq, InputAge: age})
}

// stay keeps somebody working for a while.
func (b *browser) stay(d time.Duration) {
	b.c.tb.Helper()
	for ; d > 0; d -= time.Minute {
		b.c.advance(min(d, time.Minute))
		b.c.m.Touch(b.active())
	}
}

// sessionName is the name of the session cookie.
func (c *clinic) sessionName() string { return c.m.Codec().Name() }

// claims opens the browser's session cookie as an application does.
func (b *browser) claims() map[string]any {
	b.c.tb.Helper()
	claims, err := b.c.m.Codec().Decode(b.c.keys.AuthSecrets(), b.jar[b.c.sessionName()].value, b.c.clock.Now())
	if err != nil && !errors.Is(err, session.ErrCookieExpired) {
		b.c.tb.Fatalf("the session cookie does not open: %v", err)
	}
	return claims
}

// reissue puts a session cookie with changed claims into the jar, as anyone who
// holds AUTH_SECRET can.
func (b *browser) reissue(change func(claims map[string]any), lasts time.Duration) {
	b.c.tb.Helper()
	claims := b.claims()
	if hard, ok := claims["hard_exp"].(float64); ok {
		claims["hard_exp"] = int64(hard)
	}
	if change != nil {
		change(claims)
	}
	value, err := b.c.m.Codec().Encode(b.c.keys.AuthSecrets(), claims, b.c.clock.Now(), b.c.clock.Now().Add(lasts))
	must(b.c.tb, err)
	b.jar[b.c.sessionName()] = kept{name: b.c.sessionName(), value: value, path: "/"}
}

func (b *browser) drop(names ...string) *browser {
	for _, name := range names {
		delete(b.jar, name)
	}
	return b
}

const (
	refreshName = "__Secure-mitral.refresh"
	deviceName  = "__Host-mitral-device"
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func unavailable(err error) bool {
	var r *identity.Refusal
	return errors.As(err, &r) && r.Kind == identity.Unavailable
}

func seq(n int) string { return strconv.Itoa(n) }

// record leaves an event, for acts that are only a test's.
func record(tx *store.Tx) error {
	_, err := tx.Record(audit.Event{Type: "test.change", Outcome: audit.Success})
	return err
}
