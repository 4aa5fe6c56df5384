package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// OpenReadOnly opens a database to look at it: every write is refused. On
// SQLite the file may be a copy, with or without its -wal beside it and in a
// folder that cannot be written: it stays as it is, byte for byte. It may also
// be in use by a running server.
func OpenReadOnly(c Config) (*DB, error) {
	db := newDB(c)
	db.readOnly = true
	if path, ok := strings.CutPrefix(c.URL, "sqlite:"); ok {
		if err := db.openSQLiteCopy(path); err != nil {
			return nil, errors.Join(err, os.RemoveAll(db.aside)) // no folder: nothing to remove
		}
		return db, nil
	}
	if !isPostgres(c.URL) {
		return nil, errURL
	}
	db.pg = true
	cfg, err := postgresConfig(c.URL)
	if err != nil {
		return nil, err
	}
	db.reads = stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET default_transaction_read_only = on")
		return err
	}))
	db.reads.SetMaxOpenConns(4)
	return db, nil
}

// Snapshot runs f over one unchanging view of the whole database, however long
// f takes. Writing fails.
func (db *DB) Snapshot(ctx context.Context, f func(*SystemTx) error) error {
	tx, err := db.reads.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return db.classify(fmt.Errorf("couldn't begin: %w", err))
	}
	defer func() { _ = tx.Rollback() }()
	if db.pg { // whoever reads an export may be slow
		if _, err := tx.ExecContext(ctx, "SET LOCAL idle_in_transaction_session_timeout = 0"); err != nil {
			return db.classify(err)
		}
	}
	a := &act{ctx: ctx, now: db.clock.Now()}
	a.q = New(watched{tx, a})
	return db.classify(f(&SystemTx{systemQueries{a}}))
}

var errReadOnlyDB = fmt.Errorf("%w: it was opened to be read only", ErrUnavailable)

// openSQLiteCopy chooses how to read a file without touching it. A WAL beside
// it holds the newest commits, and SQLite reads a WAL only through a -shm file,
// which it makes itself. So a file without a WAL is read as immutable, one with
// both is in use or was copied whole, and one that came with its WAL alone is
// read from a copy of both.
func (db *DB) openSQLiteCopy(path string) error {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return fmt.Errorf("there is no database at %s", path)
	}
	parameters := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(10000)", "query_only(1)", "trusted_schema(0)", "cache_size(-65536)"}}
	wal, walErr := os.Stat(path + "-wal")
	_, shmErr := os.Stat(path + "-shm")
	switch {
	case walErr != nil, wal.Size() == 0 && shmErr != nil:
		parameters.Set("immutable", "1")
	case shmErr == nil:
		if db.openCopy(path, parameters) == nil {
			return nil
		}
		fallthrough // the -shm cannot be written
	default:
		var err error
		if path, err = db.copyAside(path); err != nil {
			return err
		}
	}
	return db.openCopy(path, parameters)
}

func (db *DB) openCopy(path string, parameters url.Values) error {
	var err error
	if db.reads, err = sql.Open("sqlite", sqliteName(path, parameters)); err != nil {
		return fmt.Errorf("couldn't open the database: %w", err)
	}
	db.reads.SetMaxOpenConns(4)
	var n int
	if err := db.reads.QueryRowContext(context.Background(), "SELECT COUNT(*) FROM sqlite_schema").Scan(&n); err != nil {
		return errors.Join(fmt.Errorf("couldn't read the database: %w", db.classify(err)), db.reads.Close())
	}
	return nil
}

// copyAside copies a database and its WAL to a folder of their own, which goes
// when the database is closed.
func (db *DB) copyAside(path string) (string, error) {
	dir, err := os.MkdirTemp("", "mitral-")
	if err != nil {
		return "", fmt.Errorf("couldn't copy the database aside: %w", err)
	}
	db.aside = dir
	to := filepath.Join(dir, "copy.db")
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(to+suffix, path+suffix); err != nil {
			return "", fmt.Errorf("couldn't copy the database aside: %w", err)
		}
	}
	return to, nil
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
