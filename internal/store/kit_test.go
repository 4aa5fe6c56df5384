package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

var ctx = context.Background()

var byAda = audit.By{Actor: "usr_ada"}

// database is a fresh database, founded, with two workspaces that each have a
// user: usr_a in wks_a, usr_b in wks_b.
type database struct {
	*store.DB
	config store.Config
	owner  string // the URL of who owns the tables
	behind map[string]*sql.DB
}

// forEachDatabase runs a test on SQLite and on PostgreSQL, where the running
// login owns no table.
func forEachDatabase(t *testing.T, f func(t *testing.T, db database)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { f(t, sqlite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { f(t, postgres(t)) })
}

func sqlite(t testing.TB) database {
	t.Helper()
	return furnish(t, empty(t, false))
}

func postgres(t testing.TB) database {
	t.Helper()
	return furnish(t, empty(t, true))
}

// empty is a database that nothing was done to, not even opened.
func empty(t testing.TB, pg bool) database {
	t.Helper()
	if pg {
		owner, app := mitraltest.Postgres(t)
		return database{config: store.Config{URL: app}, owner: owner, behind: map[string]*sql.DB{}}
	}
	url := "sqlite:" + filepath.Join(t.TempDir(), "data", "mitral.db")
	return database{config: store.Config{URL: url}, owner: url, behind: map[string]*sql.DB{}}
}

func furnish(t testing.TB, db database) database {
	t.Helper()
	db.DB = db.open(t)
	must(t, db.migrate())
	_, err := db.Found(ctx, "ins_one", "clinic.example/log/1", "key", []store.FirstKeyset{{Name: "data", Blob: []byte("keys")}})
	must(t, err)
	must(t, db.System(ctx, byAda, func(tx *store.SystemTx) error {
		for _, w := range []string{"a", "b"} {
			in := tx.Workspace("wks_" + w)
			if err := tx.InsertWorkspace(store.InsertWorkspaceParams{ID: "wks_" + w, Slug: w, Name: w, CodeSalt: []byte{1}}); err != nil {
				return err
			}
			if err := in.InsertUser(store.InsertUserParams{ID: "usr_" + w, Name: w, Email: w + "@clinic.example", RecoverySalt: []byte{}}); err != nil {
				return err
			}
			if _, err := in.Record(audit.Event{Type: "workspace.create", Outcome: audit.Success}); err != nil {
				return err
			}
		}
		return nil
	}))
	return db
}

func (db database) migrate() error {
	if db.Postgres() {
		return db.Migrate(ctx, db.owner)
	}
	return db.Migrate(ctx, "")
}

// open opens the database once more, as another process does.
func (db database) open(t testing.TB) *store.DB {
	t.Helper()
	again, err := store.Open(db.config)
	must(t, err)
	t.Cleanup(func() { _ = again.Close() })
	return again
}

// raw opens the database behind the store's back: as the login of the URL, or
// with what SQLite does when nobody asks for anything.
func (db database) raw(t testing.TB, url string) *sql.DB {
	t.Helper()
	if open := db.behind[url]; open != nil {
		return open
	}
	driver, name := "pgx", url
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, name = "sqlite", "file:"+path+"?_pragma=busy_timeout(10000)"
	}
	open, err := sql.Open(driver, name)
	must(t, err)
	t.Cleanup(func() { _ = open.Close() })
	db.behind[url] = open
	return open
}

// event is one that an act of a test records.
func event(tx *store.Tx) error {
	_, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success})
	return err
}

// count counts rows as the database has them.
func (db database) count(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	must(t, db.raw(t, db.owner).QueryRow(query, args...).Scan(&n))
	return n
}

// whole sequences what waits and checks that every event has its one leaf and
// every leaf its hashes.
func (db database) whole(t testing.TB) {
	t.Helper()
	for added := int64(1); added > 0; {
		must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) (err error) {
			_, _, added, err = tx.Sequence(500)
			return err
		}))
	}
	report, err := record.Verify(ctx, db.DB, record.VerifyInput{})
	must(t, err)
	events := db.count(t, "SELECT COUNT(*) FROM audit_event")
	// The row of the log names no real key: that much a test's log may lack.
	others := slices.DeleteFunc(report.Findings, func(s string) bool { return s == "The row of the log clinic.example/log/1 does not name a key of it." })
	if len(others) > 0 || report.Size != int64(events) {
		t.Errorf("%d events: %+v", events, report)
	}
}

// race runs 50 attempts at once on two nodes and returns how many won. An
// attempt that met no row, or somebody else's, has lost; any other error fails
// the test. Every one of the 50 has reached the statement when it returns.
func (db database) race(t *testing.T, attempt func(i int, tx *store.UpkeepTx) (won bool, err error)) int {
	t.Helper()
	const attempts = 50
	nodes := []*store.DB{db.DB, db.open(t)}
	var reached, won atomic.Int64
	gate := make(chan struct{})
	var all sync.WaitGroup
	for i := range attempts {
		all.Go(func() {
			<-gate
			var wins, there bool
			err := nodes[i%2].Upkeep(ctx, func(tx *store.UpkeepTx) (err error) {
				wins, err = attempt(i, tx)
				there = true
				return err
			})
			if there {
				reached.Add(1)
			}
			switch {
			case err == nil && wins:
				won.Add(1)
			case err == nil, errors.Is(err, store.ErrNoRows), store.Conflict(err):
			default:
				t.Errorf("attempt %d: %v", i, err)
			}
		})
	}
	close(gate)
	all.Wait()
	if reached.Load() != attempts {
		t.Errorf("%d of %d reached the statement", reached.Load(), attempts)
	}
	return int(won.Load())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// one turns the count of a statement that changes one row into a win.
func one(n int64, err error) (bool, error) {
	if err == nil && n > 1 {
		err = fmt.Errorf("%d rows", n)
	}
	return n == 1, err
}

// met turns the answer of a statement that returns its row into a win.
func met[T any](_ T, err error) (bool, error) { return err == nil, err }
