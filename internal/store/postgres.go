package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// retries bounds how often an act that lost a conflict runs again.
const retries = 5

func (db *DB) openPostgres(url string) error {
	cfg, err := postgresConfig(url)
	if err != nil {
		return err
	}
	// A node that is paused in the middle of an act must not keep its locks, nor
	// commit when it wakes: actTimeout holds on the server too. Set after
	// connecting, because poolers refuse settings they do not know at start.
	db.reads = stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("SET idle_in_transaction_session_timeout = %d", actTimeout.Milliseconds()))
		return err
	}))
	db.reads.SetMaxOpenConns(32)
	db.reads.SetMaxIdleConns(16)
	db.reads.SetConnMaxIdleTime(5 * time.Minute)
	db.writes = db.reads
	return nil
}

func postgresConfig(url string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database address cannot be read: check it against postgres://user:password@host:port/name")
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "mitral"
	}
	return cfg, nil
}

func (db *DB) actPostgres(proto *act, run func(*act) error) (*act, error) {
	var err error
	for range retries {
		a := *proto
		a.queue = true
		if err = db.tryPostgres(&a, run); err == nil {
			return &a, nil
		}
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || (pg.Code != "40001" && pg.Code != "40P01") {
			break
		}
	}
	return proto, err
}

func (db *DB) tryPostgres(a *act, run func(*act) error) error {
	tx, err := db.writes.BeginTx(a.ctx, nil)
	if err != nil {
		return fmt.Errorf("couldn't begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	a.now = db.clock.Now()
	a.q = New(watched{tx, a})
	if err := run(a); err != nil {
		return err
	}
	beforeCommit()
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%w: couldn't commit: %w", ErrUnavailable, err)
	}
	afterCommit()
	return nil
}

// Follow sets the clock to the database's and returns by how much it moved. On
// SQLite the clock is this process's own and nothing moves.
func (db *DB) Follow(ctx context.Context) (time.Duration, error) {
	if !db.pg {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	asked := time.Now()
	var micros int64
	err := db.reads.QueryRowContext(ctx, "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)").Scan(&micros)
	if err != nil {
		return 0, db.classify(err)
	}
	return db.clock.Follow(time.UnixMicro(micros).Add(time.Since(asked) / 2)), nil
}

// Ping asks the database for an answer.
func (db *DB) Ping(ctx context.Context) error {
	var one int
	return db.classify(db.reads.QueryRowContext(ctx, "SELECT 1").Scan(&one))
}

func isNetwork(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed) || errors.Is(err, sql.ErrTxDone)
}
