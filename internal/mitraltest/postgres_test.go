package mitraltest_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

func TestPostgresGivesTwoLogins(t *testing.T) {
	t.Parallel()
	ownerURL, appURL := mitraltest.Postgres(t)
	owner, app := connect(t, ownerURL), connect(t, appURL)

	exec(t, owner, "create table note (id text primary key)")
	exec(t, owner, "grant select, insert on note to "+mitraltest.PostgresApp)

	exec(t, app, "insert into note values ('a')")
	refused(t, app, "create table mine (id text)", "42501")
	refused(t, app, "delete from note", "42501")
	refused(t, app, "drop table note", "42501")
	var owned int
	if err := app.QueryRowContext(t.Context(), "select count(*) from pg_class where pg_get_userbyid(relowner) = current_user").Scan(&owned); err != nil {
		t.Fatal(err)
	}
	if owned != 0 {
		t.Errorf("the app login owns %d relations, want none", owned)
	}
}

func TestPostgresDatabasesAreApart(t *testing.T) {
	t.Parallel()
	one, _ := mitraltest.Postgres(t)
	two, _ := mitraltest.Postgres(t)
	if one == two {
		t.Fatal("two calls gave one database")
	}
	exec(t, connect(t, one), "create table note (id text)")
	refused(t, connect(t, two), "select * from note", "42P01")
}

func TestPostgresServerStopsAndStarts(t *testing.T) {
	t.Parallel()
	server, err := mitraltest.StartPostgres("fsync=on")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	ownerURL, _ := server.Database(t)
	db := connect(t, ownerURL)
	exec(t, db, "create table note (id text)")
	exec(t, db, "insert into note values ('kept')")

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("a stopped server answers")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var id, fsync string
	if err := db.QueryRowContext(t.Context(), "select id, current_setting('fsync') from note").Scan(&id, &fsync); err != nil {
		t.Fatal(err)
	}
	if id != "kept" || fsync != "on" {
		t.Errorf("after a restart: id %q, fsync %q; want kept, on", id, fsync)
	}
}

func connect(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func refused(t *testing.T, db *sql.DB, statement, code string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) || refusal.Code != code {
		t.Errorf("%s: got %v, want SQLSTATE %s", statement, err, code)
	}
}
