package record_test

import (
	"context"
	"database/sql"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	origin    = "clinic.example/log/1"
	workspace = "wks_one"
)

// installation is a founded database with its keys.
type installation struct {
	config store.Config
	owner  string // the URL of who may change the schema
	db     *store.DB
	keys   *keyring.Ring
	kek    *keyring.KEK
	behind *sql.DB // the store's back
}

func forEachDatabase(t *testing.T, f func(t *testing.T, in *installation)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { f(t, found(t, sqliteConfig(t), "")) })
	t.Run("PostgreSQL", func(t *testing.T) {
		owner, app := mitraltest.Postgres(t)
		f(t, found(t, store.Config{URL: app}, owner))
	})
}

func sqliteConfig(t testing.TB) store.Config {
	return store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "mitral.db")}
}

// found founds an installation; owner is "" where whoever runs owns.
func found(t testing.TB, c store.Config, owner string) *installation {
	t.Helper()
	ctx := context.Background()
	if owner == "" {
		owner = c.URL
	}
	in := &installation{config: c, owner: owner}
	in.db = in.open(t)
	migrateURL := ""
	if in.db.Postgres() {
		migrateURL = owner
	}
	must(t, in.db.Migrate(ctx, migrateURL))
	kek, err := keyring.NewKEK()
	must(t, err)
	wrapped, err := keyring.Create(kek, origin, time.Now())
	must(t, err)
	in.kek = kek
	in.keys, err = keyring.Open(kek, wrapped, keyring.Config{})
	must(t, err)
	var sets []store.FirstKeyset
	for _, w := range wrapped {
		sets = append(sets, store.FirstKeyset{Name: w.Name, Blob: w.Blob})
	}
	_, err = in.db.Found(ctx, "ins_one", origin, in.keys.LogVerifierKey(), sets)
	must(t, err)
	must(t, in.db.System(ctx, audit.By{Actor: audit.ActorCLI}, func(tx *store.SystemTx) error {
		for _, id := range []string{workspace, "wks_two"} {
			if err := tx.InsertWorkspace(store.InsertWorkspaceParams{ID: id, Slug: id, Name: id, CodeSalt: []byte{1}}); err != nil {
				return err
			}
			if _, err := tx.Workspace(id).Record(audit.Event{Type: "workspace.create", Outcome: audit.Success}); err != nil {
				return err
			}
		}
		return nil
	}))
	return in
}

// open opens the database once more, as another node does.
func (in *installation) open(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(in.config)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// recorder makes a recorder with no high water.
func (in *installation) recorder() *record.Recorder {
	return record.New(record.Config{DB: in.db, Keys: in.keys, Holder: "nod_one"})
}

// record records n events, one act each, and returns their ids.
func (in *installation) record(t testing.TB, n int, e audit.Event) []string {
	t.Helper()
	var ids []string
	for range n {
		must(t, in.db.Workspace(context.Background(), audit.By{Actor: "usr_a"}, workspace, func(tx *store.Tx) error {
			id, err := tx.Record(e)
			ids = append(ids[:len(ids):len(ids)], id)
			return err
		}))
	}
	return ids
}

// seal runs the recorder's last round: everything recorded gets its leaf and a
// checkpoint, which is returned.
func (in *installation) seal(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := in.recorder()
	must(t, r.Run(ctx))
	note, err := r.Latest(context.Background())
	must(t, err)
	return note
}

// raw opens the database behind the store's back, as whoever owns it can.
func (in *installation) raw(t testing.TB) *sql.DB {
	t.Helper()
	if in.behind != nil {
		return in.behind
	}
	driver, url := "pgx", in.owner
	if !in.db.Postgres() {
		driver, url = "sqlite", "file:"+in.owner[len("sqlite:"):]+"?_pragma=busy_timeout(10000)"
	}
	db, err := sql.Open(driver, url)
	must(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	in.behind = db
	return db
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exec runs a statement behind the store's back.
func (in *installation) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := in.raw(t).Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// untouchable takes a table's triggers away, as only its owner can, or, on
// PostgreSQL, gives them back.
func (in *installation) untouchable(t testing.TB, table string, yes bool) {
	t.Helper()
	if in.db.Postgres() {
		how := "DISABLE"
		if yes {
			how = "ENABLE"
		}
		in.exec(t, "ALTER TABLE "+table+" "+how+" TRIGGER USER")
		return
	}
	for _, of := range []string{"update", "delete", "replace"} {
		in.exec(t, "DROP TRIGGER IF EXISTS "+table+"_no_"+of)
	}
}

func client(ip string) identity.Client {
	return identity.Client{IP: netip.MustParseAddr(ip), UserAgent: "Chrome, Windows"}
}
