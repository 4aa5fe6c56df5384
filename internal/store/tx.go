package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
)

// ErrUnrecorded is the error of an act that changed something and recorded
// nothing: it cannot commit.
var ErrUnrecorded = errors.New("the act recorded no event")

// ErrNoRows is what a query for one row answers when there is none.
var ErrNoRows = sql.ErrNoRows

// act is what the transactions of one act share.
type act struct {
	ctx    context.Context
	q      *Queries
	now    time.Time
	by     audit.By
	fold   *audit.Fold
	queue  bool // events wait for the sequencer
	rw     bool
	wrote  bool
	newLog bool // a log was begun
	events []recorded
	told   bool // an event was recorded or summed
	after  []func()
}

type recorded struct {
	id   string
	leaf []byte
}

func (a *act) micros() int64 { return a.now.UnixMicro() }

// Now is the time of the transaction: one for all of it.
func (a *act) Now() time.Time { return a.now }

// Micros is Now in microseconds since 1970, as rows keep it.
func (a *act) Micros() int64 { return a.micros() }

// Context is the context that the transaction runs under.
func (a *act) Context() context.Context { return a.ctx }

// By is who acts.
func (a *act) By() audit.By { return a.by }

// After has f called once the transaction has committed, and never otherwise:
// the only place where memory may follow the database.
func (a *act) After(f func()) { a.after = append(a.after, f) }

// Tx is a transaction bound to one workspace: every query it offers is
// confined to it.
type Tx struct {
	*act
	workspace string
}

// WorkspaceID names the workspace the transaction is bound to.
func (t *Tx) WorkspaceID() string { return t.workspace }

// Record adds an event of this workspace to the record, in this transaction.
// Members left empty are filled from who acts; the id is returned. A flood of
// anonymous refusals is summed instead, and then the id is "".
func (t *Tx) Record(e audit.Event) (string, error) {
	e.Workspace = t.workspace
	return t.record(e)
}

func (a *act) record(e audit.Event) (string, error) {
	e.ID, e.At = identity.NewID(identity.EventID), a.now
	if e.Actor == "" {
		e.Actor = a.by.Actor
	}
	if !e.Client.IP.IsValid() {
		e.Client = a.by.Client
	}
	if e.Session == "" {
		e.Session = a.by.Session
	}
	if e.Grant == "" {
		e.Grant = a.by.Grant
	}
	if e.Grant != "" && e.Purpose == "" {
		e.Purpose = a.by.Purpose
	}
	a.told = true
	if e.Anonymous && a.fold != nil && !a.fold.Admit(e, a.now) {
		return "", nil
	}
	leaf, err := e.Leaf()
	if err != nil {
		return "", err
	}
	user := e.User
	if user == "" && strings.HasPrefix(e.Actor, identity.UserID+"_") {
		user = e.Actor
	}
	err = a.q.insertEvent(a.ctx, insertEventParams{ID: e.ID, At: a.micros(), WorkspaceID: e.Workspace, Type: e.Type,
		Outcome: string(e.Outcome), Actor: e.Actor, UserID: user, SessionID: e.Session, GrantID: e.Grant, Leaf: string(leaf)})
	if err != nil {
		return "", fmt.Errorf("couldn't record %s: %w", e.Type, err)
	}
	if a.queue {
		if err := a.q.queueEvent(a.ctx, queueEventParams{EventID: e.ID, At: a.micros(), Ord: int64(len(a.events))}); err != nil {
			return "", fmt.Errorf("couldn't queue %s: %w", e.Type, err)
		}
	}
	a.events = append(a.events, recorded{e.ID, leaf})
	return e.ID, nil
}

// SystemTx is a transaction that crosses workspaces: for resolving an
// identifier, for setup, and for the system's own acts.
type SystemTx struct {
	systemQueries
}

// Workspace returns the same transaction bound to one workspace.
func (t *SystemTx) Workspace(id string) *Tx { return &Tx{t.act, id} }

// Record adds an event that belongs to no workspace.
func (t *SystemTx) Record(e audit.Event) (string, error) { return t.record(e) }

// UpkeepTx is a transaction for what changes without being an act. It records
// nothing.
type UpkeepTx struct {
	systemQueries
}

// Workspace returns the same transaction bound to one workspace. Its Record
// must not be called.
func (t *UpkeepTx) Workspace(id string) *Tx { return &Tx{t.act, id} }

// systemQueries carries the queries that bound.go gives to both kinds of
// transaction that cross workspaces.
type systemQueries struct {
	*act
}

// watched notes whether a transaction writes. sqlc puts each query's name in a
// comment on its first line.
type watched struct {
	db DBTX
	a  *act
}

var errReadOnly = errors.New("a read cannot write")

func (w watched) writes(query string) error {
	_, body, _ := strings.Cut(query, "\n")
	if strings.HasPrefix(query, "-- name:") && !strings.HasPrefix(strings.TrimLeft(body, "\n "), "SELECT") {
		if !w.a.rw {
			return errReadOnly
		}
		w.a.wrote = true
		w.a.newLog = w.a.newLog || strings.HasPrefix(query, "-- name: insertLog ")
	}
	return nil
}

func (w watched) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := w.writes(query); err != nil {
		return nil, err
	}
	return w.db.ExecContext(ctx, query, args...)
}

func (w watched) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return w.db.PrepareContext(ctx, query)
}

func (w watched) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := w.writes(query); err != nil {
		return nil, err
	}
	return w.db.QueryContext(ctx, query, args...)
}

func (w watched) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := w.writes(query); err != nil {
		// A cancelled context is the one way to hand an error through a Row.
		ctx2, cancel := context.WithCancelCause(ctx)
		cancel(err)
		return w.db.QueryRowContext(ctx2, query, args...)
	}
	return w.db.QueryRowContext(ctx, query, args...)
}
