package store

import (
	"bufio"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Tables are all tables in an order in which rows can be inserted. Leases,
// throttles and answers kept for repeats belong to the moment and are left out
// of backups.
var Tables = []string{"installation", "keyset", "workspace", "policy", "users", "contact_history", "user_key", "user_pin", "pin_history",
	"pin_miss", "recovery_code", "device", "device_user", "session", "refresh_token", "claim", "break_glass", "break_glass_entry",
	"sealed_code", "message", "audit_event", "audit_log", "audit_leaf", "audit_node", "audit_checkpoint", "sequence_queue"}

// Passing are the tables that a backup leaves out.
var Passing = []string{"lease", "throttle", "attempt", "step_up", "idempotency"}

// ErrBackup is the error of a file that is not a whole backup.
var ErrBackup = errors.New("this is not a whole backup of Mitral")

// ErrNotEmpty is the error of a restore over a database that holds something.
var ErrNotEmpty = errors.New("the database already holds an installation")

const dumpFormat = 1

// dumpLine is one line of a backup: the first says what it is, each table is
// announced once, rows follow, and the last counts them.
type dumpLine struct {
	Mitral  string   `json:"mitral,omitempty"`
	Format  int      `json:"format,omitempty"`
	Schema  int64    `json:"schema,omitempty"`
	Table   string   `json:"table,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Row     []any    `json:"row,omitempty"`
	End     bool     `json:"end,omitempty"`
	Rows    int64    `json:"rows,omitempty"`
}

// Dump writes a consistent copy of the database as gzipped JSON lines, which
// Load reads into an empty database of either kind.
func (db *DB) Dump(ctx context.Context, w io.Writer) error {
	is, want, err := db.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	if is != want {
		return fmt.Errorf("the schema is at %d and not at %d: run mitral migrate", is, want)
	}
	conn, err := db.reads.Conn(ctx)
	if err != nil {
		return db.classify(err)
	}
	defer func() { _ = conn.Close() }()
	begin := "BEGIN"
	if db.pg {
		begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	}
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return db.classify(err)
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") }()
	zip := gzip.NewWriter(w)
	out := json.NewEncoder(zip)
	if err := out.Encode(dumpLine{Mitral: "backup", Format: dumpFormat, Schema: is}); err != nil {
		return err
	}
	var n int64
	for _, t := range Tables {
		rows, err := dumpTable(ctx, conn, out, t)
		if err != nil {
			return fmt.Errorf("couldn't copy %s: %w", t, db.classify(err))
		}
		n += rows
	}
	return errors.Join(out.Encode(dumpLine{End: true, Rows: n}), zip.Close())
}

func dumpTable(ctx context.Context, conn *sql.Conn, out *json.Encoder, table string) (n int64, err error) {
	rows, err := conn.QueryContext(ctx, "SELECT * FROM "+table) //nolint:gosec // a name of Tables
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return 0, err
	}
	if err := out.Encode(dumpLine{Table: table, Columns: columns}); err != nil {
		return 0, err
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return n, err
		}
		row := make([]any, len(values))
		for i, v := range values {
			row[i] = v
			if b, ok := v.([]byte); ok {
				row[i] = map[string]string{"b64": base64.StdEncoding.EncodeToString(b)}
			}
		}
		if err := out.Encode(dumpLine{Row: row}); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}

// Load fills an empty, migrated database from what Dump wrote: whole, or not at
// all. Before it is kept, usable is asked whether this installation's keysets
// can be opened here; its error leaves the database empty.
func (db *DB) Load(ctx context.Context, r io.Reader, usable func(installationID string, keysets []FirstKeyset) error) error {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return ErrBackup
	}
	conn, err := db.writes.Conn(ctx)
	if err != nil {
		return db.classify(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return db.classify(err)
	}
	err = db.load(ctx, conn, bufio.NewReaderSize(zip, 1<<20))
	if err == nil {
		err = loadedKeysets(ctx, conn, usable)
	}
	if err == nil {
		err = spendLoaded(ctx, New(conn), db.clock.Now().UnixMicro())
	}
	if err != nil {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return db.classify(err)
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return db.classify(err)
}

// spendLoaded ends sessions and grants and spends one-time things of a backup in
// the transaction that brings them back: a restore that is killed before its
// new log begins has revived nothing.
func spendLoaded(ctx context.Context, q *Queries, now int64) error {
	if _, err := q.endAllSessions(ctx, endAllSessionsParams{EndReason: "restored", Now: now}); err != nil {
		return err
	}
	for _, spend := range []func(context.Context, int64) (int64, error){q.voidAllClaims, q.spendAllSealedCodes, q.spendAllRecoveryCodes, q.expireAllGrants} {
		if _, err := spend(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) load(ctx context.Context, conn *sql.Conn, r io.Reader) error {
	var installed int64
	if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM installation").Scan(&installed); err != nil {
		return err
	}
	if installed > 0 {
		return ErrNotEmpty
	}
	_, want, err := db.SchemaVersion(ctx)
	if err != nil {
		return err
	}
	in := json.NewDecoder(r)
	in.UseNumber()
	var first dumpLine
	if err := in.Decode(&first); err != nil || first.Mitral != "backup" || first.Format != dumpFormat {
		return ErrBackup
	}
	if first.Schema > want {
		return fmt.Errorf("the backup is of a newer version (schema %d): restore it with that version", first.Schema)
	}
	known := map[string]bool{}
	for _, t := range Tables {
		known[t] = true
	}
	insert, columns := "", 0
	var n int64
	for {
		var l dumpLine
		if err := in.Decode(&l); err != nil {
			return ErrBackup
		}
		switch {
		case l.End && l.Rows == n:
			return nil
		case l.Table != "":
			if !known[l.Table] {
				return ErrBackup
			}
			insert, columns = insertInto(l.Table, l.Columns), len(l.Columns)
		case len(l.Row) == columns && columns > 0:
			values, err := loadRow(l.Row)
			if err != nil {
				return err
			}
			if _, err := conn.ExecContext(ctx, insert, values...); err != nil {
				return err
			}
			n++
		default:
			return ErrBackup
		}
	}
}

func loadedKeysets(ctx context.Context, conn *sql.Conn, usable func(string, []FirstKeyset) error) error {
	var id string
	if err := conn.QueryRowContext(ctx, "SELECT id FROM installation").Scan(&id); err != nil {
		return ErrBackup
	}
	rows, err := conn.QueryContext(ctx, "SELECT name, blob FROM keyset")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	var sets []FirstKeyset
	for rows.Next() {
		var k FirstKeyset
		if err := rows.Scan(&k.Name, &k.Blob); err != nil {
			return err
		}
		sets = append(sets, k)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return usable(id, sets)
}

func insertInto(table string, columns []string) string {
	marks, names := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		marks[i] = fmt.Sprintf("$%d", i+1)
		names[i] = `"` + strings.ReplaceAll(c, `"`, "") + `"`
	}
	return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")"
}

func loadRow(row []any) ([]any, error) {
	out := make([]any, len(row))
	for i, v := range row {
		switch v := v.(type) {
		case string:
			out[i] = v
		case json.Number:
			n, err := v.Int64()
			if err != nil {
				return nil, ErrBackup
			}
			out[i] = n
		case map[string]any:
			s, _ := v["b64"].(string)
			b, err := base64.StdEncoding.DecodeString(s)
			if err != nil {
				return nil, ErrBackup
			}
			out[i] = b
		default:
			return nil, ErrBackup
		}
	}
	return out, nil
}
