package store_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/store"
)

// writerEnv makes this test binary another process that writes one database:
// its URL and how many events.
const writerEnv = "MITRAL_TEST_WRITER"

func TestMain(m *testing.M) {
	if url, n, ok := strings.Cut(os.Getenv(writerEnv), " "); ok {
		if err := writeEvents(url, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func writeEvents(url, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	db, err := store.Open(store.Config{URL: url})
	if err != nil {
		return err
	}
	for range n {
		if err := db.Workspace(ctx, byAda, "wks_b", event); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

// Two handles and two more processes write one database; it keeps one tree. On
// SQLite each handle keeps the tree's end between its batches, and must notice
// that another has written.
func TestManyWritersKeepOneTree(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		other := db.open(t)
		for range 20 { // in turn
			must(t, db.Workspace(ctx, byAda, "wks_a", event))
			must(t, other.Workspace(ctx, byAda, "wks_b", event))
		}
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), writerEnv+"="+db.config.URL+" 50")
				if said, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("process %d: %v\n%s", i, err, said)
				}
			})
		}
		for i := range 50 {
			all.Go(func() {
				if err := []*store.DB{db.DB, other}[i%2].Workspace(ctx, byAda, "wks_a", event); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := db.count(t, "SELECT COUNT(*) FROM audit_event"); n != 2+40+100+50 {
			t.Errorf("%d events", n)
		}
		db.whole(t)
	})
}

// On SQLite an act's event has its leaf when the act returns; on PostgreSQL it
// waits for the sequencer, in the order in which it was recorded.
func TestLeavesComeInOrder(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		var ids []string
		for range 5 {
			must(t, db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
				id, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success})
				ids = append(ids[:len(ids):len(ids)], id)
				return err
			}))
		}
		waiting := db.count(t, "SELECT COUNT(*) FROM sequence_queue")
		if want := map[bool]int{true: 7, false: 0}[db.Postgres()]; waiting != want {
			t.Errorf("%d events wait", waiting)
		}
		var log, size, added int64
		sequence := func(max int32) {
			t.Helper()
			must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) (err error) {
				log, size, added, err = tx.Sequence(max)
				return err
			}))
		}
		sequence(3)
		if db.Postgres() && (size != 3 || added != 3) {
			t.Errorf("%d added, %d in all", added, size)
		}
		sequence(100)
		if log != 1 || size != 7 || (db.Postgres() && added != 4) {
			t.Errorf("log %d: %d added, %d in all", log, added, size)
		}
		sequence(100)
		if size != 7 || added != 0 {
			t.Errorf("%d added, %d in all", added, size)
		}
		must(t, db.ReadSystem(ctx, func(tx *store.SystemTx) error {
			for i, id := range ids {
				leaf, err := tx.LeafOfEvent(id)
				if err != nil {
					return err
				}
				if leaf.Index != int64(i+2) {
					t.Errorf("event %d has index %d", i, leaf.Index)
				}
			}
			leaves, err := tx.Leaves(1, 0, 100)
			if err != nil {
				return err
			}
			var stored []tlog.Hash
			reader := tlog.HashReaderFunc(func(at []int64) (out []tlog.Hash, _ error) {
				for _, id := range at {
					out = append(out, stored[id])
				}
				return out, nil
			})
			for _, l := range leaves {
				more, err := tlog.StoredHashes(l.Index, []byte(l.Leaf), reader)
				if err != nil {
					return err
				}
				stored = append(stored, more...)
			}
			want, err := tlog.TreeHash(7, reader)
			if err != nil {
				return err
			}
			got, err := tlog.TreeHash(7, tx.TreeHashes(1))
			if got != want {
				t.Errorf("the root is %v and not %v", got, want)
			}
			return err
		}))
		db.whole(t)
	})
}

// What rolls back leaves no leaf, no hash and nothing that waits.
func TestRolledBackEventHasNoLeaf(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		fault := errors.New("a fault")
		err := db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error { return errors.Join(event(tx), fault) })
		if !errors.Is(err, fault) {
			t.Fatal(err)
		}
		must(t, db.Workspace(ctx, byAda, "wks_a", event))
		if n := db.count(t, "SELECT (SELECT COUNT(*) FROM sequence_queue) + (SELECT COUNT(*) FROM audit_leaf)"); n != 3 {
			t.Errorf("%d leaves and waiting events", n)
		}
		db.whole(t)
	})
}

// An event that has no canonical form is not recorded, and its act fails.
func TestEventWithoutAForm(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		for name, e := range map[string]audit.Event{
			"a common member":    {Type: "user.update", Outcome: audit.Success, Detail: audit.Detail{"actor": "x"}},
			"a float":            {Type: "user.update", Outcome: audit.Success, Detail: audit.Detail{"n": 1.5}},
			"a name with spaces": {Type: "user.update", Outcome: audit.Success, Detail: audit.Detail{"a b": "x"}},
			"not UTF-8":          {Type: "user.update", Outcome: audit.Success, Detail: audit.Detail{"n": "\xff"}},
			"no type":            {Outcome: audit.Success},
		} {
			err := db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
				_, err := tx.Record(e)
				return err
			})
			if !errors.Is(err, audit.ErrLeaf) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := db.count(t, "SELECT COUNT(*) FROM audit_event"); n != 2 {
			t.Errorf("%d events", n)
		}
	})
}

// A new log takes the leaves that follow, also those of the act that began it.
func TestNewLogTakesTheLeaves(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		db.whole(t)
		must(t, db.System(ctx, byAda, func(tx *store.SystemTx) error {
			_, err := tx.Record(audit.Event{Type: "audit.restored", Outcome: audit.Success})
			return errors.Join(err, tx.InsertLog(store.InsertLogParams{Log: 2, Origin: "clinic.example/log/2", VerifierKey: "key", StartedAt: tx.Micros()}))
		}))
		must(t, db.Workspace(ctx, byAda, "wks_a", event))
		must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
			log, size, _, err := tx.Sequence(100)
			if log != 2 || size != 2 {
				t.Errorf("log %d has %d leaves", log, size)
			}
			return err
		}))
		if n := db.count(t, "SELECT COUNT(*) FROM audit_leaf WHERE log = 1"); n != 2 {
			t.Errorf("the first log has %d leaves", n)
		}
	})
}
