package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	sqlite "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
)

// ErrUnavailable is the error of a database that is gone, full or refuses to
// commit. Nothing of the act happened.
var ErrUnavailable = errors.New("the database cannot be reached or refuses to commit")

// actTimeout cuts every transaction: changes are polled with an overlap that
// relies on it.
const actTimeout = 10 * time.Second

// Config says where the database is.
type Config struct {
	// URL is "sqlite:PATH" or "postgres://…".
	URL string
	// MigrateURL is a second, owning login for migrations; PostgreSQL only.
	MigrateURL string
	// Clock defaults to a new one.
	Clock *Clock
	// Fold sums anonymous refusals; nil records each.
	Fold *audit.Fold
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// DB is a database. It is safe for concurrent use.
type DB struct {
	url       string
	pg        bool
	readOnly  bool
	reads     *sql.DB
	writes    *sql.DB // the same as reads on PostgreSQL
	writer    *writer // SQLite's one writer
	writeName string  // of SQLite's file, with how it is written
	clock     *Clock
	fold      *audit.Fold
	log       *slog.Logger
	aside     string // a folder that goes with Close, or ""
	frozen    atomic.Pointer[error]
}

// Freeze makes every act and upkeep fail with the given error until the process
// ends: a database that went back in time is read, never written.
func (db *DB) Freeze(why error) { db.frozen.Store(&why) }

// Frozen returns what Freeze was given, or nil.
func (db *DB) Frozen() error {
	if why := db.frozen.Load(); why != nil {
		return *why
	}
	return nil
}

// Open opens the database without touching it: the schema is brought up to
// date by [Migrate]. The database need not be reachable yet.
func Open(c Config) (*DB, error) {
	db := newDB(c)
	if path, ok := strings.CutPrefix(c.URL, "sqlite:"); ok {
		return db, db.openSQLite(path)
	}
	if isPostgres(c.URL) {
		db.pg = true
		return db, db.openPostgres(c.URL)
	}
	return nil, errURL
}

var errURL = errors.New("the database must be sqlite:PATH or postgres://…")

func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

func newDB(c Config) *DB {
	db := &DB{url: c.URL, clock: c.Clock, fold: c.Fold, log: c.Log}
	if db.clock == nil {
		db.clock = NewClock()
	}
	if db.log == nil {
		db.log = slog.Default()
	}
	return db
}

// Close ends the writer after what it has begun and closes all connections.
func (db *DB) Close() error {
	if db.writer != nil {
		db.writer.close()
		return errors.Join(db.writes.Close(), db.reads.Close())
	}
	err := db.reads.Close()
	if db.aside != "" {
		err = errors.Join(err, os.RemoveAll(db.aside))
	}
	return err
}

// Postgres reports whether the database is PostgreSQL.
func (db *DB) Postgres() bool { return db.pg }

// Clock returns the clock that transactions go by.
func (db *DB) Clock() *Clock { return db.clock }

// Fold returns what sums anonymous refusals, or nil.
func (db *DB) Fold() *audit.Fold { return db.fold }

// Workspace runs f in a transaction bound to one workspace. If f returns an
// error nothing happened, but a *identity.Refusal is a result: what was written
// commits and the refusal is returned. On PostgreSQL f may run again after a conflict, so it must set what it captures anew.
func (db *DB) Workspace(ctx context.Context, by audit.By, workspace string, f func(*Tx) error) error {
	return db.act(ctx, by, false, func(a *act) error { return f(&Tx{a, workspace}) })
}

// System runs f in a transaction across workspaces; otherwise like Workspace.
func (db *DB) System(ctx context.Context, by audit.By, f func(*SystemTx) error) error {
	return db.act(ctx, by, false, func(a *act) error { return f(&SystemTx{systemQueries{a}}) })
}

// Upkeep runs f in a transaction that needs no event.
func (db *DB) Upkeep(ctx context.Context, f func(*UpkeepTx) error) error {
	return db.act(ctx, audit.By{Actor: audit.ActorSystem}, true, func(a *act) error { return f(&UpkeepTx{systemQueries{a}}) })
}

// Read runs f over one workspace without a transaction. Writing fails.
func (db *DB) Read(ctx context.Context, workspace string, f func(*Tx) error) error {
	return db.read(ctx, func(a *act) error { return f(&Tx{a, workspace}) })
}

// ReadSystem runs f across workspaces without a transaction. Writing fails.
func (db *DB) ReadSystem(ctx context.Context, f func(*SystemTx) error) error {
	return db.read(ctx, func(a *act) error { return f(&SystemTx{systemQueries{a}}) })
}

func (db *DB) read(ctx context.Context, f func(*act) error) error {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	a := &act{ctx: ctx, now: db.clock.Now()}
	a.q = New(watched{db.reads, a})
	return db.classify(f(a))
}

func (db *DB) act(ctx context.Context, by audit.By, upkeep bool, f func(*act) error) error {
	if db.readOnly {
		return errReadOnlyDB
	}
	if why := db.Frozen(); why != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, why)
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	var refusal *identity.Refusal
	run := func(a *act) error {
		refusal = nil
		if err := f(a); err != nil && !errors.As(err, &refusal) {
			return err
		}
		if a.wrote && !a.told && !upkeep {
			return ErrUnrecorded
		}
		return nil
	}
	a := &act{ctx: ctx, by: by, fold: db.fold, rw: true}
	var err error
	if db.writer != nil {
		err = db.writer.do(a, run)
	} else {
		a, err = db.actPostgres(a, run)
	}
	if err != nil {
		return db.classify(err)
	}
	for _, f := range a.after {
		f()
	}
	if refusal != nil {
		return refusal
	}
	return nil
}

// classify marks errors that mean the database itself is in the way.
func (db *DB) classify(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, sql.ErrNoRows) || errors.Is(err, ErrUnrecorded) || errors.Is(err, context.Canceled) {
		return err
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_READONLY, sqlitelib.SQLITE_CANTOPEN, sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_CORRUPT, sqlitelib.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code[:2] {
		case "08", "25", "53", "57", "58", "XX":
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
	var conn *pgconn.ConnectError
	if errors.As(err, &conn) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, sql.ErrConnDone) || isNetwork(err) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// Conflict reports whether err is a unique constraint's: somebody else was
// first.
func Conflict(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505"
}
