package record_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

var plain = audit.Event{Type: "user.update", Outcome: audit.Success}

// running starts a recorder and ends it with the test.
func (in *installation) running(t *testing.T, db *store.DB, holder, highwater string) *record.Recorder {
	t.Helper()
	r := record.New(record.Config{DB: db, Keys: in.keys, Holder: holder, HighwaterPath: highwater})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the recorder ended with %v", err)
		}
	})
	return r
}

func (in *installation) checkpoint(t *testing.T, note string) audit.Checkpoint {
	t.Helper()
	c, err := audit.OpenCheckpoint(note, in.keys.LogVerifierKey())
	must(t, err)
	return c
}

func refusedAs(err error, kind identity.Kind) bool {
	var no *identity.Refusal
	return errors.As(err, &no) && no.Kind == kind
}

func TestAwaitReturnsTheCheckpointOverTheEvent(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		if _, err := in.recorder().Latest(ctx); !refusedAs(err, identity.Unavailable) {
			t.Errorf("before the first checkpoint: %v", err)
		}
		water := filepath.Join(t.TempDir(), "highwater")
		r := in.running(t, in.db, "nod_one", water)
		for _, id := range in.record(t, 3, plain) {
			index, note, ok := r.Await(ctx, id, time.Minute)
			if !ok {
				t.Fatal("the event got no checkpoint")
			}
			c := in.checkpoint(t, note)
			if index >= c.Size {
				t.Errorf("index %d is not below the size %d", index, c.Size)
			}
			text, err := os.ReadFile(water)
			must(t, err)
			var mark struct{ Size int64 }
			must(t, json.Unmarshal(text, &mark))
			if mark.Size < c.Size { // a later checkpoint may be there by now
				t.Errorf("the checkpoint of %d leaves left before the high water was on the disk: %s", c.Size, text)
			}
			proof, err := r.Inclusion(ctx, 0, index, c.Size)
			must(t, err)
			if err := tlog.CheckRecord(hashes(proof), c.Size, c.Root, index, in.leafHash(t, id)); err != nil {
				t.Error(err)
			}
		}
		newest, err := r.Latest(ctx)
		must(t, err)
		if in.checkpoint(t, newest).Size != 5 {
			t.Errorf("the newest checkpoint is %q", newest)
		}
		if _, _, ok := r.Await(ctx, "", time.Minute); ok {
			t.Error("an event that was summed cannot have a leaf")
		}
	})
}

func (in *installation) leafHash(t *testing.T, eventID string) (hash tlog.Hash) {
	t.Helper()
	must(t, in.db.ReadSystem(context.Background(), func(tx *store.SystemTx) error {
		at, err := tx.LeafOfEvent(eventID)
		if err != nil {
			return err
		}
		rows, err := tx.Leaves(at.Log, at.Index, at.Index+1)
		if err == nil {
			hash = audit.LeafHash([]byte(rows[0].Leaf))
		}
		return err
	}))
	return hash
}

func hashes(proof [][]byte) []tlog.Hash {
	out := make([]tlog.Hash, len(proof))
	for i, h := range proof {
		out[i] = tlog.Hash(h)
	}
	return out
}

func TestAwaitGivesUp(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		id := in.record(t, 1, plain)[0] // nobody sequences
		r := in.recorder()
		if _, _, ok := r.Await(context.Background(), id, 0); ok {
			t.Error("a checkpoint out of nothing")
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, ok := r.Await(ctx, id, time.Hour); ok {
			t.Error("a checkpoint for nobody")
		}
	})
}

// Two nodes race; every event gets one leaf, every size one checkpoint.
func TestTwoNodesSequenceOneLog(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		other := in.open(t)
		one, two := in.running(t, in.db, "nod_one", ""), in.running(t, other, "nod_two", "")
		var wg sync.WaitGroup
		for i, db := range []*store.DB{in.db, other} {
			for range 10 {
				wg.Go(func() {
					for range 3 {
						var id string
						err := db.Workspace(ctx, audit.By{Actor: "usr_a"}, workspace, func(tx *store.Tx) (err error) {
							id, err = tx.Record(plain)
							return err
						})
						if err != nil {
							t.Error(err)
							return
						}
						if _, _, ok := []*record.Recorder{one, two}[i].Await(ctx, id, time.Minute); !ok {
							t.Error("no checkpoint")
						}
					}
				})
			}
		}
		wg.Wait()
		report, err := record.Verify(ctx, in.db, record.VerifyInput{})
		must(t, err)
		if !report.OK || report.Size != 62 {
			t.Errorf("%+v", report)
		}
	})
}

// F10: a leader that was paused wakes after its lease has gone to another, and
// writes nothing.
func TestF10PausedLeaderIsFenced(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		paused, other := in.recorder(), record.New(record.Config{DB: in.open(t), Keys: in.keys, Holder: "nod_two"})
		must(t, paused.TestOnlyRound(ctx))
		if !paused.TestOnlyLeads() {
			t.Fatal("the first does not lead")
		}

		in.record(t, 1, plain)
		must(t, other.TestOnlyRound(ctx)) // the lease is not his
		if s := status(t, other); s.Covered == 3 {
			t.Fatalf("two lead at once: %+v", s)
		}

		must(t, in.db.Upkeep(ctx, func(tx *store.UpkeepTx) error { // as if its time had run out
			l, err := tx.Lease("sequencer")
			if err != nil {
				return err
			}
			_, err = tx.RenewLease(store.RenewLeaseParams{Name: l.Name, Holder: l.Holder, Epoch: l.Epoch, ExpiresAt: tx.Micros()})
			return err
		}))
		must(t, other.TestOnlyRound(ctx))
		if s := status(t, other); s.Covered != 3 || !other.TestOnlyLeads() {
			t.Fatalf("the other did not take over: %+v", s)
		}

		in.record(t, 1, plain)
		must(t, paused.TestOnlyRound(ctx))
		if s := status(t, paused); s.Covered != 3 || paused.TestOnlyLeads() {
			t.Fatalf("the paused leader went on: %+v", s)
		}
		must(t, other.TestOnlyRound(ctx))
		if s := status(t, other); s.Covered != 4 {
			t.Fatalf("the new leader does not: %+v", s)
		}
	})
}

// F10: a note whose transaction fails is known to nobody.
func TestF10NothingLeavesBeforeItsCommit(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		first := in.seal(t)
		in.record(t, 1, plain)
		in.exec(t, "INSERT INTO audit_checkpoint (log, size, note, at) VALUES (1, 3, 'in the way', 0)")
		r := in.recorder()
		err := r.TestOnlyRound(ctx)
		if err == nil {
			t.Fatal("the batch went through")
		}
		in.untouchable(t, "audit_checkpoint", false)
		in.exec(t, "DELETE FROM audit_checkpoint WHERE size = 3")
		if latest, err := r.Latest(ctx); err != nil || latest != first {
			t.Errorf("%q, %v", latest, err)
		}
		must(t, r.TestOnlyRound(ctx))
		if latest, err := r.Latest(ctx); err != nil || in.checkpoint(t, latest).Size != 3 {
			t.Errorf("%q, %v", latest, err)
		}
	})
}

// What does not continue the last checkpoint is never signed.
func TestSequencerRefusesToSignAnotherHistory(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		in.record(t, 2, plain)
		in.seal(t)
		in.untouchable(t, "audit_node", false)
		in.exec(t, "UPDATE audit_node SET hash = (SELECT hash FROM audit_node WHERE id = 0) WHERE id = 6") // the root over four
		in.record(t, 1, plain)
		r := in.recorder()
		if err := r.TestOnlyRound(context.Background()); !errors.Is(err, record.ErrDiverged) {
			t.Errorf("%v", err)
		}
		if s := status(t, r); s.Covered != 4 {
			t.Errorf("%+v", s)
		}
	})
}

func status(t *testing.T, r *record.Recorder) record.Status {
	t.Helper()
	s, err := r.Status(context.Background())
	must(t, err)
	return s
}

func TestStatusTellsHowFarBehind(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		in.seal(t)
		r := in.recorder()
		if s := status(t, r); s.Behind != 0 || s.Covered != 2 {
			t.Errorf("%+v", s)
		}
		in.record(t, 1, plain)
		in.db.Clock().TestOnlyAdvance(time.Minute)
		if s := status(t, r); s.Behind < time.Minute || s.Behind > 2*time.Minute {
			t.Errorf("%+v", s)
		}
	})
}

func TestProofs(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		ids := in.record(t, 9, plain)
		in.seal(t)
		r := in.recorder()
		roots := map[int64]tlog.Hash{}
		must(t, in.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
			for size := int64(1); size <= 11; size++ {
				root, err := tlog.TreeHash(size, tx.TreeHashes(1))
				if err != nil {
					return err
				}
				roots[size] = root
			}
			return nil
		}))
		for _, id := range ids {
			at, leaf := in.indexOf(t, id), in.leafHash(t, id)
			for size := at + 1; size <= 11; size++ {
				proof, err := r.Inclusion(ctx, 1, at, size)
				must(t, err)
				if err := tlog.CheckRecord(hashes(proof), size, roots[size], at, leaf); err != nil {
					t.Errorf("leaf %d of %d: %v", at, size, err)
				}
			}
		}
		for to := int64(1); to <= 11; to++ {
			for from := int64(1); from <= to; from++ {
				proof, err := r.Consistency(ctx, 0, from, to)
				must(t, err)
				if err := tlog.CheckTree(hashes(proof), to, roots[to], from, roots[from]); err != nil {
					t.Errorf("%d of %d: %v", from, to, err)
				}
			}
		}
		for name, ask := range map[string]func() ([][]byte, error){
			"index beyond":   func() ([][]byte, error) { return r.Inclusion(ctx, 0, 11, 11) },
			"index negative": func() ([][]byte, error) { return r.Inclusion(ctx, 0, -1, 11) },
			"size beyond":    func() ([][]byte, error) { return r.Inclusion(ctx, 0, 0, 12) },
			"size 0":         func() ([][]byte, error) { return r.Inclusion(ctx, 0, 0, 0) },
			"no such log":    func() ([][]byte, error) { return r.Inclusion(ctx, 2, 0, 1) },
			"log negative":   func() ([][]byte, error) { return r.Inclusion(ctx, -1, 0, 1) },
			"from 0":         func() ([][]byte, error) { return r.Consistency(ctx, 0, 0, 11) },
			"backwards":      func() ([][]byte, error) { return r.Consistency(ctx, 0, 5, 4) },
			"to beyond":      func() ([][]byte, error) { return r.Consistency(ctx, 0, 1, 12) },
		} {
			if _, err := ask(); !refusedAs(err, identity.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func (in *installation) indexOf(t *testing.T, eventID string) (index int64) {
	t.Helper()
	must(t, in.db.ReadSystem(context.Background(), func(tx *store.SystemTx) error {
		at, err := tx.LeafOfEvent(eventID)
		index = at.Index
		return err
	}))
	return index
}

// F02: a flood of refusals that need no proof is a bounded number of events and
// a sum that tells the rest.
func TestF02FloodIsSummed(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		fold := &audit.Fold{}
		c := in.config
		c.Fold = fold
		db, err := store.Open(c)
		must(t, err)
		defer func() { _ = db.Close() }()
		by := audit.By{Client: client("192.0.2.7")}
		refuse := func(e audit.Event) {
			t.Helper()
			e.Type, e.Outcome = "sign_in.key_pin", audit.Denied
			must(t, db.Workspace(ctx, by, workspace, func(tx *store.Tx) error {
				_, err := tx.Record(e)
				return err
			}))
		}
		before := in.count(t, "SELECT COUNT(*) FROM audit_event")
		for range 300 {
			refuse(audit.Event{Anonymous: true})
		}
		refuse(audit.Event{})                                                                  // after a right first proof: never summed
		if n := in.count(t, "SELECT COUNT(*) FROM audit_event") - before; n != 21 && n != 41 { // the minute may have turned
			t.Fatalf("%d events of 301 refusals", n)
		}
		own := in.count(t, "SELECT COUNT(*) FROM audit_event WHERE type = 'sign_in.key_pin'")
		r := record.New(record.Config{DB: db, Keys: in.keys, Holder: "nod_one"})
		must(t, r.TestOnlyFlush(ctx))
		must(t, r.TestOnlyFlush(ctx)) // once is enough
		in.seal(t)
		entries, err := r.Events(ctx, workspace, record.Filter{Kind: "sign_in.flood"})
		must(t, err)
		if len(entries) != 1 {
			t.Fatalf("%d flood events", len(entries))
		}
		e := entries[0]
		if e.Detail["count"] != 301-own || e.Detail["ip_range"] != "192.0.2.0/24" || e.Detail["summed_type"] != "sign_in.key_pin" || e.Actor != audit.ActorSystem {
			t.Errorf("%s, and %d of their own", e.Leaf, own)
		}
	})
}

func (in *installation) count(t *testing.T, query string) (n int64) {
	t.Helper()
	must(t, in.raw(t).QueryRow(query).Scan(&n))
	return n
}
