package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
)

// maxBatch bounds the acts of one COMMIT.
const maxBatch = 128

func (db *DB) openSQLite(path string) error {
	if dir := filepath.Dir(path); dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("couldn't make the data directory: %w", err)
		}
	}
	// Nobody else on the machine reads it; what SQLite makes beside it gets the
	// same mode. One that exists is not opened here: closing it would drop the
	// locks that this process may hold on it.
	if f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_ = f.Close()
	}
	pragmas := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"recursive_triggers(1)", "trusted_schema(0)"}}
	var err error
	db.writeName = sqliteName(path, pragmas)
	if db.writes, err = sql.Open("sqlite", db.writeName); err != nil {
		return fmt.Errorf("couldn't open the database: %w", err)
	}
	db.writes.SetMaxOpenConns(1)
	pragmas.Add("_pragma", "query_only(1)")
	if db.reads, err = sql.Open("sqlite", sqliteName(path, pragmas)); err != nil {
		return fmt.Errorf("couldn't open the database: %w", err)
	}
	db.reads.SetMaxOpenConns(8)
	db.reads.SetMaxIdleConns(8)
	db.writer = &writer{db: db, jobs: make(chan *job, 1024), done: make(chan struct{}), ended: make(chan struct{})}
	go db.writer.loop()
	return nil
}

func sqliteName(path string, parameters url.Values) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + parameters.Encode()
}

// writer is SQLite's one writer in this process. Acts wait in jobs; the loop
// takes what is there, runs each in its own savepoint and commits them
// together. Other processes may write between batches.
type writer struct {
	db    *DB
	jobs  chan *job
	done  chan struct{} // closed to end the loop
	ended chan struct{} // closed when it has
	stop  sync.Once

	conn *sql.Conn
	// head and version belong to the loop: the tree's end as of the last own
	// commit, valid while no other process has written (data_version stands still).
	head    *head
	version int64
}

type job struct {
	act  *act
	run  func(*act) error
	errc chan error
}

var errClosed = fmt.Errorf("%w: it is being closed", ErrUnavailable)

// close ends the loop after the batch it is in.
func (w *writer) close() {
	w.stop.Do(func() { close(w.done) })
	<-w.ended
}

func (w *writer) do(a *act, run func(*act) error) error {
	j := &job{a, run, make(chan error, 1)}
	select {
	case w.jobs <- j:
	case <-w.ended:
		return errClosed
	case <-a.ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, a.ctx.Err())
	}
	select {
	case err := <-j.errc:
		return err
	case <-w.ended:
	}
	select { // it may have been answered in the last batch
	case err := <-j.errc:
		return err
	default:
		return errClosed
	}
}

func (w *writer) loop() {
	defer close(w.ended)
	for {
		select {
		case <-w.done:
			if w.conn != nil {
				_ = w.conn.Close()
			}
			return
		case j := <-w.jobs:
			w.batch(j)
		}
	}
}

// batch runs one COMMIT's worth of acts. Nobody is answered before it returns;
// when it fails they all fail, and the head is forgotten.
func (w *writer) batch(first *job) {
	ctx, cancel := context.WithTimeout(context.Background(), actTimeout)
	defer cancel()
	if err := w.begin(ctx); err != nil {
		first.errc <- err
		w.forget()
		return
	}
	var in []*job
	var events []recorded
	var broken error
	for j := first; j != nil; {
		var err error
		err, broken = w.one(ctx, j)
		if err != nil {
			j.errc <- err
		} else {
			in = append(in, j)
			events = append(events, j.act.events...)
			if j.act.newLog {
				w.head = nil
			}
		}
		j = nil
		if len(in) < maxBatch && broken == nil {
			select {
			case j = <-w.jobs:
			default:
			}
		}
	}
	err := broken
	if err == nil {
		err = w.commit(ctx, events)
	}
	for _, j := range in {
		j.errc <- err
	}
	if err != nil {
		w.forget()
	}
}

func (w *writer) begin(ctx context.Context) error {
	if w.conn == nil {
		conn, err := w.db.writes.Conn(ctx)
		if err != nil {
			return err
		}
		w.conn = conn
	}
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("couldn't begin: %w", err)
	}
	var version int64
	if err := w.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return fmt.Errorf("couldn't read data_version: %w", err)
	}
	if version != w.version {
		w.version, w.head = version, nil
	}
	return nil
}

// one runs an act in its savepoint and returns why the act failed, and why the
// whole batch must: SQLite may have rolled back all of it (the disk is full),
// and then the savepoint is gone.
func (w *writer) one(ctx context.Context, j *job) (failed, broken error) {
	if err := j.act.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err), nil
	}
	if _, err := w.conn.ExecContext(ctx, "SAVEPOINT act"); err != nil {
		return err, err
	}
	// A caller who goes away must not interrupt a statement: SQLite answers
	// that by rolling back the acts of everybody in the batch.
	caller := j.act.ctx
	j.act.ctx = context.WithoutCancel(caller)
	j.act.now = w.db.clock.Now()
	j.act.q = New(watched{w.conn, j.act})
	failed = guard(j)
	if failed == nil && caller.Err() != nil {
		failed = fmt.Errorf("%w: %w", ErrUnavailable, caller.Err())
	}
	if failed != nil {
		if _, err := w.conn.ExecContext(ctx, "ROLLBACK TO act"); err != nil {
			return errors.Join(failed, err), err
		}
	}
	if _, err := w.conn.ExecContext(ctx, "RELEASE act"); err != nil {
		return errors.Join(failed, err), err
	}
	return failed, nil
}

// guard keeps one act's panic from taking the writer, and with it the clinic,
// down.
func guard(j *job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("an act panicked: %v", p)
		}
	}()
	return j.run(j.act)
}

func (w *writer) commit(ctx context.Context, events []recorded) error {
	if len(events) > 0 {
		q := New(w.conn)
		if w.head == nil {
			h, err := readHead(ctx, q)
			if err != nil {
				return err
			}
			w.head = h
		}
		if err := w.head.add(ctx, q, events); err != nil {
			return err
		}
	}
	beforeCommit()
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		return fmt.Errorf("couldn't commit: %w", err)
	}
	afterCommit()
	return nil
}

// forget drops the connection, and with it whatever was begun, and the head.
func (w *writer) forget() {
	w.head, w.version = nil, 0
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), actTimeout)
	defer cancel()
	_, _ = w.conn.ExecContext(ctx, "ROLLBACK")
	_ = w.conn.Close()
	w.conn = nil
}
