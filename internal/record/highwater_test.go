package record_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

// F03: a database that is set back behind what this machine has seen, or whose
// record was rewritten, is noticed.
func TestF03RollbackIsSeen(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		water := filepath.Join(t.TempDir(), "mitral", "ins_one.highwater")
		recorder := func() *record.Recorder {
			return record.New(record.Config{DB: in.db, Keys: in.keys, Holder: "nod_one", HighwaterPath: water})
		}
		if err := recorder().CheckHighwater(ctx); err != nil {
			t.Fatalf("nothing was seen yet: %v", err)
		}
		in.record(t, 3, plain)
		must(t, recorder().TestOnlyRound(ctx))
		r := recorder()
		_, err := r.Latest(ctx) // leaves the machine
		must(t, err)
		if err := recorder().CheckHighwater(ctx); err != nil {
			t.Fatalf("the same database: %v", err)
		}
		in.record(t, 2, plain)
		in.seal(t)
		if err := recorder().CheckHighwater(ctx); err != nil {
			t.Fatalf("a longer record: %v", err)
		}

		for _, table := range recordTables {
			in.untouchable(t, table, false)
		}
		var hash []byte
		over4 := tlog.StoredHashIndex(2, 0)
		must(t, in.raw(t).QueryRow("SELECT hash FROM audit_node WHERE id = $1", over4).Scan(&hash))
		in.exec(t, "UPDATE audit_node SET hash = (SELECT hash FROM audit_node WHERE id = 0) WHERE id = $1", over4)
		if err := recorder().CheckHighwater(ctx); !errors.Is(err, record.ErrRolledBack) {
			t.Errorf("another record: %v", err)
		}
		in.exec(t, "UPDATE audit_node SET hash = $1 WHERE id = $2", hash, over4)
		if err := recorder().CheckHighwater(ctx); err != nil {
			t.Fatalf("the record is as it was: %v", err)
		}
		in.exec(t, "DELETE FROM audit_leaf WHERE idx >= 4")
		if err := recorder().CheckHighwater(ctx); !errors.Is(err, record.ErrRolledBack) {
			t.Errorf("a shorter record: %v", err)
		}

		// What had been seen is not forgotten by looking.
		before, err := os.ReadFile(water)
		must(t, err)
		_ = recorder().TestOnlyRound(ctx)
		after, err := os.ReadFile(water)
		must(t, err)
		if string(before) != string(after) {
			t.Errorf("the high water went from %s to %s", before, after)
		}

		in.begin(t, 2) // --accept-rollback begins a new log
		if err := recorder().CheckHighwater(ctx); err != nil {
			t.Errorf("a new log: %v", err)
		}
		must(t, os.WriteFile(water, []byte(`{"log":3,"size":0,"root":"`+strings.Repeat("A", 43)+`="}`), 0o600))
		if err := recorder().CheckHighwater(ctx); !errors.Is(err, record.ErrRolledBack) {
			t.Errorf("a log that is not there: %v", err)
		}
		must(t, os.WriteFile(water, []byte("torn"), 0o600))
		if err := recorder().CheckHighwater(ctx); err == nil || errors.Is(err, record.ErrRolledBack) {
			t.Errorf("a damaged file: %v", err)
		}
	})
}

// begin starts another log, as a restore does, with its first leaf.
func (in *installation) begin(t *testing.T, log int64) {
	t.Helper()
	wrapped, err := in.keys.RotateLog(in.kek, strings.TrimSuffix(origin, "1")+"2", time.Now())
	must(t, err)
	must(t, in.keys.Reload(wrapped))
	must(t, in.db.System(context.Background(), audit.By{Actor: audit.ActorCLI}, func(tx *store.SystemTx) error {
		err := tx.InsertLog(store.InsertLogParams{Log: log, Origin: in.keys.LogOrigin(), VerifierKey: in.keys.LogVerifierKey(), StartedAt: tx.Micros()})
		if err != nil {
			return err
		}
		_, err = tx.Record(audit.Event{Type: "audit.restored", Outcome: audit.Success, Detail: audit.Detail{"log": int64(1), "size": int64(20)}})
		return err
	}))
}

// The file is written at most once a second, unless a checkpoint leaves.
func TestHighwaterIsWrittenOnceASecond(t *testing.T) {
	in := found(t, sqliteConfig(t), "")
	ctx := context.Background()
	water := filepath.Join(t.TempDir(), "highwater")
	r := record.New(record.Config{DB: in.db, Keys: in.keys, Holder: "nod_one", HighwaterPath: water})
	size := func() string {
		t.Helper()
		text, err := os.ReadFile(water)
		must(t, err)
		_, rest, _ := strings.Cut(string(text), `"size":`)
		digits, _, _ := strings.Cut(rest, ",")
		return digits
	}
	must(t, r.TestOnlyRound(ctx))
	in.record(t, 1, plain)
	must(t, r.TestOnlyRound(ctx)) // signs 3; the file has 2 and is a moment old
	if got := size(); got != "2" {
		t.Errorf("the file has %s", got)
	}
	in.db.Clock().TestOnlyAdvance(time.Second)
	must(t, r.TestOnlyRound(ctx))
	if got := size(); got != "3" {
		t.Errorf("after a second the file has %s", got)
	}
	in.record(t, 1, plain)
	must(t, r.TestOnlyRound(ctx))
	_, err := r.Latest(ctx)
	must(t, err)
	if got := size(); got != "4" {
		t.Errorf("a checkpoint left, and the file has %s", got)
	}
}

// A checkpoint does not leave a machine that cannot remember it.
func TestNoCheckpointLeavesWithoutHighwater(t *testing.T) {
	in := found(t, sqliteConfig(t), "")
	in.seal(t)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	r := record.New(record.Config{DB: in.db, Keys: in.keys, HighwaterPath: filepath.Join(file, "highwater")}) // in a folder that cannot be
	if note, err := r.Latest(context.Background()); err == nil {
		t.Errorf("%q left", note)
	}
}

// After a restore both logs are verified, exported and proven.
func TestSecondLog(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		_, saved := in.history(t)
		oldKey := in.keys.LogVerifierKey()
		in.begin(t, 2)
		in.record(t, 2, plain)
		note := in.seal(t)
		if c := in.checkpoint(t, note); c.Size != 3 || !strings.HasSuffix(c.Origin, "/2") {
			t.Errorf("%+v", c)
		}
		report := in.verify(t, record.VerifyInput{Checkpoint: saved})
		if !report.OK || report.Log != 2 || report.Size != 3 || report.Pinned != record.Unpinned { // the saved one is of the first log
			t.Errorf("%+v", report)
		}
		if report := in.verify(t, record.VerifyInput{Key: oldKey}); report.OK {
			t.Errorf("the old log's key: %+v", report)
		}
		if report := in.verify(t, record.VerifyInput{Checkpoint: note, Key: in.keys.LogVerifierKey()}); !report.OK || report.Pinned != record.PinnedByKey {
			t.Errorf("%+v", report)
		}
		r := in.recorder()
		for log, size := range map[int64]int64{1: 20, 2: 3} {
			_, err := r.Inclusion(ctx, log, 0, size)
			must(t, err)
		}
		entries, err := r.Events(ctx, workspace, record.Filter{})
		must(t, err)
		if len(entries) != 2 || entries[0].Log != 2 || entries[0].Index != 2 {
			t.Errorf("%+v", entries)
		}
		in.untouchable(t, "audit_event", false)
		in.exec(t, "UPDATE audit_event SET type = 'user.role' WHERE id = "+eventAt(7))
		if report := in.verify(t, record.VerifyInput{}); report.OK || report.Log != 1 || report.Size != 20 || *report.FirstBad != 7 {
			t.Errorf("%+v", report)
		}
	})
}
