package record_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

type src struct {
	rows *sql.Rows
	n    int
	vals []any
}

func (s *src) Next() bool { return s.rows.Next() }
func (s *src) Values() ([]any, error) {
	v := make([]any, s.n)
	p := make([]any, s.n)
	for i := range v {
		p[i] = &v[i]
	}
	err := s.rows.Scan(p...)
	return v, err
}
func (s *src) Err() error { return s.rows.Err() }

func TestPerf(t *testing.T) {
	ctx := context.Background()
	lite, err := sql.Open("sqlite", "file:/tmp/p8perf/m.db?immutable=1")
	must(t, err)
	owner, app := mitraltest.Postgres(t)
	db, err := store.Open(store.Config{URL: app})
	must(t, err)
	must(t, db.Migrate(ctx, owner))
	conn, err := pgx.Connect(ctx, owner)
	must(t, err)
	start := time.Now()
	for _, table := range []string{"audit_event", "audit_log", "audit_leaf", "audit_node", "audit_checkpoint"} {
		rows, err := lite.Query("SELECT * FROM " + table)
		must(t, err)
		cols, _ := rows.Columns()
		_, err = conn.CopyFrom(ctx, pgx.Identifier{table}, cols, &src{rows: rows, n: len(cols)})
		must(t, err)
		t.Log(table, time.Since(start))
	}
	for range 2 {
		start = time.Now()
		rep, err := record.Verify(context.Background(), db, record.VerifyInput{})
		must(t, err)
		t.Logf("%v %+v", time.Since(start), rep)
	}
}
