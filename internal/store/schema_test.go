package store_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mitral-health/mitral/internal/store"
)

// tables returns the columns of every table of ours: name, type, nullable.
func (db database) tables(t *testing.T) map[string][]string {
	t.Helper()
	query := `SELECT m.name, p.name, p.type, CASE WHEN p."notnull" = 1 OR p.pk > 0 THEN 'NOT NULL' ELSE 'NULL' END
		FROM sqlite_master m, pragma_table_info(m.name) p WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, p.cid`
	if db.Postgres() {
		query = `SELECT table_name, column_name, data_type, CASE is_nullable WHEN 'NO' THEN 'NOT NULL' ELSE 'NULL' END
			FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position`
	}
	rows, err := db.raw(t, db.owner).Query(query)
	must(t, err)
	out := map[string][]string{}
	for rows.Next() {
		var table, column, kind, null string
		must(t, rows.Scan(&table, &column, &kind, &null))
		if same, ok := map[string]string{"bigint": "INTEGER", "text": "TEXT", "bytea": "BLOB"}[kind]; ok {
			kind = same
		}
		out[table] = append(out[table], strings.Join([]string{column, kind, null}, " "))
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	return out
}

// indexes returns the names of the indexes that the schema names.
func (db database) indexes(t *testing.T) (names []string) {
	t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
	if db.Postgres() {
		query = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
	}
	rows, err := db.raw(t, db.owner).Query(query)
	must(t, err)
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		if !strings.HasSuffix(name, "_pkey") && !strings.HasSuffix(name, "_key") {
			names = append(names, name)
		}
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	slices.Sort(names)
	return names
}

// Both databases have the same tables, columns and indexes.
func TestOneSchemaOnBoth(t *testing.T) {
	lite, pg := sqlite(t), postgres(t)
	ours := func(db database) map[string][]string {
		tables := db.tables(t)
		for name := range tables {
			if strings.HasPrefix(name, "goose_") {
				delete(tables, name)
			}
		}
		return tables
	}
	tables := ours(lite)
	if diff := cmp.Diff(tables, ours(pg)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(lite.indexes(t), pg.indexes(t)); diff != "" {
		t.Error(diff)
	}
	if len(tables) < 25 || len(lite.indexes(t)) < 15 {
		t.Errorf("only %d tables and %d indexes were compared", len(tables), len(lite.indexes(t)))
	}
	// A backup knows them all.
	known := slices.Concat(store.Tables, store.Passing)
	for name := range tables {
		if !slices.Contains(known, name) {
			t.Errorf("a backup does not know the table %s", name)
		}
	}
	if len(known) != len(tables) {
		t.Errorf("a backup knows %d tables, and there are %d", len(known), len(tables))
	}
}

// Both databases have migrations of the same numbers and names, from 1 without
// a gap.
func TestMigrationsComeInPairs(t *testing.T) {
	list := func(dir string) (names []string) {
		t.Helper()
		entries, err := fs.ReadDir(store.Schema, "schema/"+dir)
		must(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	lite := list("sqlite")
	if diff := cmp.Diff(lite, list("postgres")); diff != "" {
		t.Error(diff)
	}
	for i, name := range lite {
		if ok, _ := filepath.Match("0000"+string(rune('1'+i))+"_*.sql", name); !ok {
			t.Errorf("%s is not number %d", name, i+1)
		}
	}
	up := regexp.MustCompile(`(?m)^-- \+goose (Up|Down)`)
	for _, dir := range []string{"sqlite", "postgres"} {
		for _, name := range list(dir) {
			text, err := fs.ReadFile(store.Schema, "schema/"+dir+"/"+name)
			must(t, err)
			if marks := up.FindAllString(string(text), -1); len(marks) != 1 || marks[0] != "-- +goose Up" { // nothing undoes a record
				t.Errorf("%s/%s: %q", dir, name, marks)
			}
		}
	}
}

// From nothing, again, beside a running node, and by two at once.
func TestMigrate(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		versions := func() (is, want int64) {
			t.Helper()
			is, want, err := db.SchemaVersion(ctx)
			must(t, err)
			return is, want
		}
		if is, want := versions(); is != want || want < 1 {
			t.Errorf("at %d of %d", is, want)
		}
		must(t, db.Workspace(ctx, byAda, "wks_a", event)) // the writer is busy
		before := db.tables(t)
		must(t, db.migrate())
		if diff := cmp.Diff(before, db.tables(t)); diff != "" {
			t.Error(diff)
		}
		must(t, db.Workspace(ctx, byAda, "wks_a", event))
		db.whole(t)
	})
}

func TestTwoMigrateAtOnce(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, furnished database) {
		db := empty(t, furnished.Postgres())
		errs := make([]error, 4)
		var all sync.WaitGroup
		for i := range errs {
			node := database{DB: db.open(t), config: db.config, owner: db.owner}
			all.Go(func() {
				if errs[i] = node.migrate(); errs[i] != nil {
					return
				}
				_, errs[i] = node.Found(ctx, "ins_"+fresh(), "clinic.example/log/1", "key", []store.FirstKeyset{{Name: "data", Blob: []byte(fresh())}})
			})
		}
		all.Wait()
		must(t, errors.Join(errs...))
		if db.DB = db.open(t); db.count(t, "SELECT COUNT(*) FROM installation") != 1 {
			t.Errorf("%d installations", db.count(t, "SELECT COUNT(*) FROM installation"))
		}
	})
}

// Two nodes that start at once found one installation, with one's keys, and both
// learn which.
func TestFoundOnce(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, furnished database) {
		db := empty(t, furnished.Postgres())
		db.DB = db.open(t)
		must(t, db.migrate())
		const nodes = 8
		found := make([]store.Installation, nodes)
		errs := make([]error, nodes)
		gate := make(chan struct{})
		var all sync.WaitGroup
		for i := range nodes {
			node := db.open(t)
			all.Go(func() {
				<-gate
				id := "ins_" + fresh()
				found[i], errs[i] = node.Found(ctx, id, "clinic.example/log/"+id, "key of "+id, []store.FirstKeyset{{Name: "data", Blob: []byte(id)}, {Name: "mac", Blob: []byte(id)}})
			})
		}
		close(gate)
		all.Wait()
		must(t, errors.Join(errs...))
		for _, in := range found {
			if in != found[0] || in.ID == "" {
				t.Errorf("%+v and %+v", in, found[0])
			}
		}
		must(t, db.ReadSystem(ctx, func(tx *store.SystemTx) error {
			sets, err := tx.Keysets()
			if err != nil {
				return err
			}
			logs, err := tx.Logs()
			if len(sets) != 2 || string(sets[0].Blob) != found[0].ID || string(sets[1].Blob) != found[0].ID || len(logs) != 1 || logs[0].Origin != "clinic.example/log/"+found[0].ID {
				t.Errorf("founded by several: %+v, %+v", sets, logs)
			}
			return err
		}))
		if n := db.count(t, "SELECT COUNT(*) FROM installation"); n != 1 {
			t.Errorf("%d installations", n)
		}
	})
}
