package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mitral-health/mitral/internal/store"
)

// F09: rows of the record are added and never changed, removed or replaced,
// whoever tries: the owner of the tables, on SQLite with every setting as it
// comes.
func TestF09RecordIsInsertOnly(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		must(t, db.Workspace(ctx, byAda, "wks_a", event))
		db.whole(t)
		must(t, db.addCheckpoint())
		tables := []string{"audit_event", "audit_log", "audit_leaf", "audit_node", "audit_checkpoint"}
		owner := db.raw(t, db.owner)
		var named []string
		for name := range db.tables(t) {
			if strings.Contains(name, "audit") {
				named = append(named, name)
			}
		}
		if len(named) != len(tables) {
			t.Errorf("the tables of the record are %q", named)
		}
		for _, table := range tables {
			column, key := "log", "log, idx, event_id"
			switch table {
			case "audit_event":
				column, key = "id", "id"
			case "audit_log":
				key = "log"
			case "audit_node":
				key = "log, id"
			case "audit_checkpoint":
				key = "log, size"
			}
			before := db.content(t, table)
			if before == "" {
				t.Fatalf("%s is empty", table)
			}
			attacks := []string{
				"UPDATE " + table + " SET " + column + " = " + column,
				"DELETE FROM " + table,
			}
			if db.Postgres() {
				attacks = append(attacks, "TRUNCATE "+table+" CASCADE",
					fmt.Sprintf("INSERT INTO %s SELECT * FROM %s LIMIT 1 ON CONFLICT (%s) DO UPDATE SET %s = excluded.%s", table, table,
						strings.TrimSuffix(key, ", event_id"), column, column))
			} else {
				attacks = append(attacks, "INSERT OR REPLACE INTO "+table+" SELECT * FROM "+table+" LIMIT 1", "REPLACE INTO "+table+" SELECT * FROM "+table,
					"UPDATE OR REPLACE "+table+" SET "+column+" = "+column)
			}
			for _, attack := range attacks {
				if _, err := owner.Exec(attack); err == nil || !strings.Contains(err.Error(), "insert-only") {
					t.Errorf("%s: %v", attack, err)
				}
			}
			if after := db.content(t, table); after != before {
				t.Errorf("%s was changed", table)
			}
		}
		// A leaf cannot take the place of another one's event either.
		place := "INSERT INTO audit_leaf (log, idx, event_id) SELECT 1, 1000, event_id FROM audit_leaf WHERE idx = 0"
		if !db.Postgres() {
			place = strings.Replace(place, "INSERT", "INSERT OR REPLACE", 1)
		}
		if _, err := owner.Exec(place); err == nil {
			t.Error("an event got a second leaf")
		}
		must(t, db.Workspace(ctx, byAda, "wks_a", event)) // the control: adding works
		if n := db.count(t, "SELECT COUNT(*) FROM audit_event"); n != 4 {
			t.Errorf("%d events", n)
		}
	})
}

func (db database) addCheckpoint() error {
	return db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		return tx.InsertCheckpoint(store.InsertCheckpointParams{Log: 1, Size: 1, Note: "a note"})
	})
}

// content is a table's rows as one text.
func (db database) content(t *testing.T, table string) string {
	t.Helper()
	rows, err := db.raw(t, db.owner).Query("SELECT * FROM " + table)
	must(t, err)
	columns, err := rows.Columns()
	must(t, err)
	var all strings.Builder
	for rows.Next() {
		cells := make([]any, len(columns))
		for i := range cells {
			cells[i] = new(any)
		}
		must(t, rows.Scan(cells...))
		for _, c := range cells {
			fmt.Fprintf(&all, "%v|", *c.(*any))
		}
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	return all.String()
}

// F09: the login that a server runs as owns no table on PostgreSQL, so it cannot
// take the triggers away, and has no right to what they refuse.
func TestF09RunningLoginOwnsNothing(t *testing.T) {
	db := postgres(t)
	if owns, err := db.OwnsRecord(ctx); err != nil || owns {
		t.Errorf("%v, %v", owns, err)
	}
	config := db.config
	config.URL = db.owner
	asOwner := database{config: config, owner: db.owner}
	if owns, err := asOwner.open(t).OwnsRecord(ctx); err != nil || !owns {
		t.Errorf("the owner: %v, %v", owns, err)
	}
	app := db.raw(t, db.config.URL)
	var owned int
	must(t, app.QueryRow("SELECT COUNT(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)").Scan(&owned))
	if owned != 0 {
		t.Errorf("it owns %d things", owned)
	}
	for _, attack := range []string{"ALTER TABLE audit_event DISABLE TRIGGER ALL", "DROP TRIGGER audit_event_keep ON audit_event", "DROP TABLE audit_event CASCADE", "TRUNCATE audit_event CASCADE",
		"UPDATE audit_event SET type = type", "DELETE FROM audit_leaf", "CREATE OR REPLACE FUNCTION record_is_insert_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
		"SET session_replication_role = replica"} {
		_, err := app.Exec(attack)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "42501" {
			t.Errorf("%s: %v", attack, err)
		}
	}
	if _, err := app.Exec("UPDATE users SET name = name"); err != nil { // the control
		t.Error(err)
	}
}
