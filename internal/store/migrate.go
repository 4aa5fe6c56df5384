package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed schema/sqlite/*.sql schema/postgres/*.sql
var schema embed.FS

// Migrate brings the schema up to date, as the owning login where there is
// one; that login then grants the running one what it needs and no more: it
// may add to the record and read it, and owns nothing.
func (db *DB) Migrate(ctx context.Context, migrateURL string) error {
	if db.readOnly {
		return errReadOnlyDB
	}
	conn, app := db.writes, ""
	switch {
	case !db.pg: // the one connection for writes may be the writer's
		own, err := sql.Open("sqlite", db.writeName+"&_txlock=immediate")
		if err != nil {
			return fmt.Errorf("couldn't open the database: %w", err)
		}
		defer func() { _ = own.Close() }()
		conn = own
	case migrateURL != "":
		owner := &DB{}
		if err := owner.openPostgres(migrateURL); err != nil {
			return err
		}
		defer func() { _ = owner.reads.Close() }()
		cfg, err := pgx.ParseConfig(db.url)
		if err != nil {
			return errors.New("the database address cannot be read")
		}
		conn, app = owner.reads, cfg.User
	}
	p, err := db.provider(conn)
	if err != nil {
		return err
	}
	if err := up(ctx, p); err != nil {
		return fmt.Errorf("couldn't bring the schema up to date: %w", db.classify(err))
	}
	if app != "" {
		return db.grant(ctx, conn, app)
	}
	return nil
}

// up runs the migrations. Of two processes that do so at once on SQLite, where
// no lock table keeps them apart, one fails in a transaction of its own and has
// nothing left to do when it looks again.
func up(ctx context.Context, p *goose.Provider) error {
	var err error
	for range 3 {
		if _, err = p.Up(ctx); err == nil {
			return nil
		}
	}
	return err
}

// SchemaVersion returns the schema's version and the newest one known here.
func (db *DB) SchemaVersion(ctx context.Context) (is, want int64, err error) {
	p, err := db.provider(db.reads)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range p.ListSources() {
		want = max(want, s.Version)
	}
	is, err = p.GetDBVersion(ctx)
	return is, want, db.classify(err)
}

func (db *DB) provider(conn *sql.DB) (*goose.Provider, error) {
	dialect, dir := goose.DialectSQLite3, "schema/sqlite"
	var opts []goose.ProviderOption
	if db.pg {
		dialect, dir = goose.DialectPostgres, "schema/postgres"
		// A table, not a session lock: poolers and distributed engines lack those.
		locker, err := lock.NewPostgresTableLocker()
		if err != nil {
			return nil, fmt.Errorf("couldn't make the migration lock: %w", err)
		}
		opts = append(opts, goose.WithLocker(locker))
	}
	sub, err := fs.Sub(schema, dir)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the schema: %w", err)
	}
	p, err := goose.NewProvider(dialect, conn, sub, opts...)
	if err != nil {
		return nil, fmt.Errorf("couldn't prepare migrations: %w", err)
	}
	return p, nil
}

func (db *DB) grant(ctx context.Context, owner *sql.DB, app string) error {
	role := pgx.Identifier{app}.Sanitize()
	rows, err := owner.QueryContext(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
	if err != nil {
		return db.classify(err)
	}
	defer func() { _ = rows.Close() }()
	var tables []string
	for rows.Next() {
		var t string
		if err := rows.Scan(&t); err != nil {
			return db.classify(err)
		}
		tables = append(tables, t)
	}
	if err := rows.Err(); err != nil {
		return db.classify(err)
	}
	// At once: a server that is running meanwhile is never without its rights.
	// And one node after the other: PostgreSQL refuses two that grant together.
	tx, err := owner.BeginTx(ctx, nil)
	if err != nil {
		return db.classify(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, "LOCK TABLE "+goose.DefaultTablename+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("couldn't wait for another node's migration: %w", db.classify(err))
	}
	for _, t := range tables {
		rights := "SELECT, INSERT, UPDATE, DELETE"
		if strings.HasPrefix(t, "audit_") {
			rights = "SELECT, INSERT"
		}
		table := pgx.Identifier{t}.Sanitize()
		for _, q := range []string{"REVOKE ALL ON " + table + " FROM " + role, "GRANT " + rights + " ON " + table + " TO " + role} {
			if _, err := tx.ExecContext(ctx, q); err != nil {
				return fmt.Errorf("couldn't grant the running login its rights: %w", db.classify(err))
			}
		}
	}
	return db.classify(tx.Commit())
}

// OwnsRecord reports whether the running login owns tables of the record, and
// could so drop their triggers. Always true on SQLite, where the file's owner
// can do anything to it.
func (db *DB) OwnsRecord(ctx context.Context) (bool, error) {
	if !db.pg {
		return true, nil
	}
	var n int
	err := db.reads.QueryRowContext(ctx, `SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()
		AND tablename LIKE 'audit\_%' AND pg_has_role(current_user, tableowner, 'MEMBER')`).Scan(&n)
	return n > 0, db.classify(err)
}

// FirstKeyset is a keyset made for a new installation.
type FirstKeyset struct {
	Name string
	Blob []byte
}

// Found makes the installation of that id with its first keysets and log, unless
// there is one; two nodes starting at once found it once. It returns what is
// there.
func (db *DB) Found(ctx context.Context, id, origin, verifierKey string, keysets []FirstKeyset) (Installation, error) {
	err := db.Upkeep(ctx, func(tx *UpkeepTx) error {
		if _, err := tx.Installation(); err == nil {
			return nil
		} else if !errors.Is(err, ErrNoRows) {
			return err
		}
		if err := tx.CreateInstallation(id); err != nil {
			return err
		}
		for _, k := range keysets {
			if err := tx.CreateKeyset(k.Name, k.Blob); err != nil {
				return err
			}
		}
		return tx.InsertLog(InsertLogParams{Log: 1, Origin: origin, VerifierKey: verifierKey, StartedAt: tx.Micros()})
	})
	if err != nil && !Conflict(err) {
		return Installation{}, fmt.Errorf("couldn't found the installation: %w", err)
	}
	var in Installation
	err = db.ReadSystem(ctx, func(tx *SystemTx) error {
		in, err = tx.Installation()
		return err
	})
	return in, err
}
