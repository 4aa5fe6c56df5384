package record_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"mime/quotedprintable"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

// history records 20 events, with checkpoints over 5 and 20 of them.
func (in *installation) history(t testing.TB) (over5, over20 string) {
	t.Helper()
	in.record(t, 3, plain)
	over5 = in.seal(t)
	in.record(t, 15, audit.Event{Type: "user.update", Outcome: audit.Success, User: "usr_b", Detail: audit.Detail{"changed": "phone"}})
	return over5, in.seal(t)
}

func (in *installation) verify(t testing.TB, input record.VerifyInput) record.Report {
	t.Helper()
	report, err := record.Verify(context.Background(), in.db, input)
	must(t, err)
	return report
}

// copied is the installation on a copy of its database, without triggers and
// with nothing that keeps rows apart. PostgreSQL's own database serves as one.
func (in *installation) copied(t testing.TB) *installation {
	t.Helper()
	c := *in
	c.behind = nil
	if !in.db.Postgres() {
		path := filepath.Join(t.TempDir(), "copy.db")
		in.exec(t, "VACUUM INTO ?", path)
		c.owner = "sqlite:" + path
		c.config = store.Config{URL: c.owner}
		for _, table := range recordTables {
			c.exec(t, "CREATE TABLE loose AS SELECT * FROM "+table)
			c.exec(t, "DROP TABLE "+table)
			c.exec(t, "ALTER TABLE loose RENAME TO "+table)
		}
	} else {
		for _, table := range recordTables {
			in.untouchable(t, table, false)
		}
		for _, constraint := range []string{"leaf DROP CONSTRAINT audit_leaf_event_id_fkey", "leaf DROP CONSTRAINT audit_leaf_event_id_key",
			"leaf DROP CONSTRAINT audit_leaf_pkey", "node DROP CONSTRAINT audit_node_pkey", "event DROP CONSTRAINT audit_event_pkey"} {
			in.exec(t, "ALTER TABLE audit_"+constraint)
		}
	}
	db, err := store.OpenReadOnly(store.Config{URL: c.config.URL})
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	c.db = db
	return &c
}

var recordTables = []string{"audit_event", "audit_leaf", "audit_node", "audit_checkpoint", "audit_log"}

// eventAt is SQL for the id of the event at an index.
func eventAt(index int) string {
	return fmt.Sprintf("(SELECT event_id FROM audit_leaf WHERE log = 1 AND idx = %d)", index)
}

// forge makes hashes that fit the leaves, as whoever may write to the database
// can, and signs them if it has a key.
func (in *installation) forge(t testing.TB, signer note.Signer, sizes ...int64) {
	t.Helper()
	raw := in.raw(t)
	rows, err := raw.Query("SELECT audit_event.leaf FROM audit_leaf JOIN audit_event ON audit_event.id = audit_leaf.event_id ORDER BY audit_leaf.idx")
	must(t, err)
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(ids []int64) (out []tlog.Hash, _ error) {
		for _, id := range ids {
			out = append(out, stored[id])
		}
		return out, nil
	})
	for n := int64(0); rows.Next(); n++ {
		var leaf string
		must(t, rows.Scan(&leaf))
		more, err := tlog.StoredHashes(n, []byte(leaf), reader)
		must(t, err)
		stored = append(stored, more...)
	}
	must(t, errors.Join(rows.Err(), rows.Close()))
	in.exec(t, "DELETE FROM audit_node")
	for id, hash := range stored {
		in.exec(t, "INSERT INTO audit_node (log, id, hash) VALUES (1, $1, $2)", id, hash[:])
	}
	for _, size := range sizes {
		root, err := tlog.TreeHash(size, reader)
		must(t, err)
		signed, err := audit.Checkpoint{Origin: origin, Size: size, Root: root}.Sign(signer)
		must(t, err)
		in.exec(t, "DELETE FROM audit_checkpoint WHERE size = $1", size)
		in.exec(t, "INSERT INTO audit_checkpoint (log, size, note, at) VALUES (1, $1, $2, 0)", size, signed)
	}
}

func newKey(t testing.TB, name string) (note.Signer, string) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, name)
	must(t, err)
	signer, err := note.NewSigner(private)
	must(t, err)
	return signer, public
}

func TestVerifyFindsTheRecordAsItWasWritten(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		over5, over20 := in.history(t)
		for name, input := range map[string]record.VerifyInput{
			record.Unpinned:           {},
			record.PinnedByKey:        {Key: in.keys.LogVerifierKey() + "\n", Checkpoint: over5},
			record.PinnedByCheckpoint: {Checkpoint: over5},
		} {
			report := in.verify(t, input)
			if !report.OK || report.Pinned != name || report.FirstBad != nil || len(report.Findings)+len(report.Notes) != 0 {
				t.Errorf("%s: %+v", name, report)
			}
			if c := in.checkpoint(t, over20); report.Size != c.Size || report.Root != c.Root.String() || report.Log != 1 {
				t.Errorf("%s: %+v", name, report)
			}
		}
		in.record(t, 1, plain) // has no checkpoint yet, and on PostgreSQL no leaf
		if report := in.verify(t, record.VerifyInput{Checkpoint: over20}); !report.OK {
			t.Errorf("%+v", report)
		}
		report := in.copied(t).verify(t, record.VerifyInput{Checkpoint: over20})
		if !report.OK || report.Pinned != record.PinnedByCheckpoint {
			t.Errorf("the copy without triggers: %+v", report)
		}
	})
}

// F09: every way to change what was recorded is found on a copy whose triggers
// are gone, with the first index that is bad. What needs an old checkpoint to be
// seen passes without one: whoever may write everything can make another record
// that fits itself.
func TestF09VerifyFindsTampering(t *testing.T) {
	forger, forgersKey := newKey(t, origin)
	cases := map[string]struct {
		tamper func(t *testing.T, in *installation)
		bad    int64
		// unseen: only with an old checkpoint
		unseen bool
	}{
		"altered": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET leaf = replace(leaf, 'phone', 'email') WHERE id = "+eventAt(7))
		}, 7, false},
		"altered beside the leaf": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET user_id = 'usr_c' WHERE id = "+eventAt(7))
		}, 7, false},
		"altered with its hash": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET leaf = replace(leaf, 'phone', 'email') WHERE id = "+eventAt(8))
			var leaf string
			must(t, in.raw(t).QueryRow("SELECT leaf FROM audit_event WHERE id = "+eventAt(8)).Scan(&leaf))
			hash := audit.LeafHash([]byte(leaf))
			in.exec(t, "UPDATE audit_node SET hash = $1 WHERE id = $2", hash[:], tlog.StoredHashIndex(0, 8))
		}, 8, false},
		"removed": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_event WHERE id = "+eventAt(7))
		}, 7, false},
		"removed with its leaf": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_event WHERE id = "+eventAt(7))
			in.exec(t, "DELETE FROM audit_leaf WHERE idx = 7")
		}, 7, false},
		"removed with its hash": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_event WHERE id = "+eventAt(7))
			in.exec(t, "DELETE FROM audit_leaf WHERE idx = 7")
			in.exec(t, "DELETE FROM audit_node WHERE id = $1", tlog.StoredHashIndex(0, 7))
		}, 7, false},
		"removed and closed up": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_event WHERE id = "+eventAt(7))
			in.exec(t, "DELETE FROM audit_leaf WHERE idx = 7")
			in.exec(t, "UPDATE audit_leaf SET idx = idx - 1 WHERE idx > 7")
		}, 7, false},
		"swapped": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_leaf SET idx = -1 WHERE idx = 12")
			in.exec(t, "UPDATE audit_leaf SET idx = 12 WHERE idx = 7")
			in.exec(t, "UPDATE audit_leaf SET idx = 7 WHERE idx = -1")
		}, 7, false},
		"back-dated": {func(t *testing.T, in *installation) {
			var leaf string
			must(t, in.raw(t).QueryRow("SELECT leaf FROM audit_event WHERE id = "+eventAt(7)).Scan(&leaf))
			e, err := record.ParseLeaf(leaf)
			must(t, err)
			e.At = e.At.Add(-24 * time.Hour)
			earlier, err := e.Leaf()
			must(t, err)
			in.exec(t, "UPDATE audit_event SET at = $1, leaf = $2 WHERE id = "+eventAt(7), e.At.UnixMicro(), string(earlier))
		}, 7, false},
		"back-dated beside the leaf": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET at = at - 1 WHERE id = "+eventAt(7))
		}, 7, false},
		"a hash altered": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_node SET hash = (SELECT hash FROM audit_node WHERE id = 0) WHERE id = $1", tlog.StoredHashIndex(2, 2))
		}, 8, false}, // over 8 to 11
		"a hash removed": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_node WHERE id = $1", tlog.StoredHashIndex(1, 3))
		}, 6, false}, // over 6 and 7
		"a checkpoint altered": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_checkpoint SET note = replace(note, 'clinic', 'clinik') WHERE size = 20")
		}, 5, false}, // nothing vouches for the leaves from 5
		"doubled": {func(t *testing.T, in *installation) {
			in.exec(t, "INSERT INTO audit_leaf (log, idx, event_id) VALUES (1, 7, "+eventAt(8)+")")
		}, 7, false},
		"an event doubled": {func(t *testing.T, in *installation) {
			in.exec(t, "INSERT INTO audit_event SELECT * FROM audit_event WHERE id = "+eventAt(7))
		}, 7, false},
		"recorded again": {func(t *testing.T, in *installation) {
			in.exec(t, "INSERT INTO audit_leaf (log, idx, event_id) VALUES (1, 20, "+eventAt(7)+")")
			in.forge(t, nil)
		}, 20, false},
		"cut off, the checkpoint left": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_leaf WHERE idx >= 15)")
			in.exec(t, "DELETE FROM audit_leaf WHERE idx >= 15")
			in.exec(t, "DELETE FROM audit_node WHERE id >= $1", tlog.StoredHashIndex(0, 15))
		}, 15, false},
		"cut off, hashes left": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_leaf WHERE idx >= 15)")
			in.exec(t, "DELETE FROM audit_leaf WHERE idx >= 15")
			in.exec(t, "DELETE FROM audit_checkpoint WHERE size > 15")
		}, 15, false},
		"cut off, events left": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_leaf WHERE idx >= 15")
			in.exec(t, "DELETE FROM audit_node WHERE id >= $1", tlog.StoredHashIndex(0, 15))
			in.exec(t, "DELETE FROM audit_checkpoint WHERE size > 15")
			in.db.Clock().TestOnlyAdvance(2 * time.Minute) // for the cases after it too: none minds
		}, 15, false},
		"cut off": {func(t *testing.T, in *installation) {
			in.exec(t, "DELETE FROM audit_event WHERE id IN (SELECT event_id FROM audit_leaf WHERE idx >= 15)")
			in.exec(t, "DELETE FROM audit_leaf WHERE idx >= 15")
			in.exec(t, "DELETE FROM audit_node WHERE id >= $1", tlog.StoredHashIndex(0, 15))
			in.exec(t, "DELETE FROM audit_checkpoint WHERE size > 15")
		}, 15, true},
		"rebuilt": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET leaf = replace(leaf, 'phone', 'email') WHERE id = "+eventAt(7))
			in.forge(t, nil)
		}, 5, false}, // the range that the checkpoint over 20 covers alone
		"rebuilt, checkpoints removed": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET leaf = replace(leaf, 'phone', 'email') WHERE id = "+eventAt(7))
			in.forge(t, nil)
			in.exec(t, "DELETE FROM audit_checkpoint WHERE size > 5")
		}, 5, true},
		"rebuilt and signed by another": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET leaf = replace(leaf, 'phone', 'email') WHERE id = "+eventAt(7))
			in.forge(t, forger, 5, 20)
		}, 0, false},
		"rebuilt under another key": {func(t *testing.T, in *installation) {
			in.exec(t, "UPDATE audit_event SET leaf = replace(leaf, 'phone', 'email') WHERE id = "+eventAt(7))
			in.exec(t, "UPDATE audit_log SET verifier_key = $1", forgersKey)
			in.forge(t, forger, 5, 20)
		}, 0, true},
	}
	forEachDatabase(t, func(t *testing.T, in *installation) {
		_, saved := in.history(t)
		copied := in.copied(t)
		for _, table := range recordTables {
			copied.exec(t, "CREATE TABLE whole_"+table+" AS SELECT * FROM "+table)
		}
		clock := copied.db.Clock()
		verify := func(t *testing.T, input record.VerifyInput) record.Report {
			t.Helper()
			// A file that is read as immutable is opened after it was changed.
			db, err := store.OpenReadOnly(store.Config{URL: copied.config.URL, Clock: clock})
			must(t, err)
			defer func() { _ = db.Close() }()
			report, err := record.Verify(context.Background(), db, input)
			must(t, err)
			return report
		}
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				if report := verify(t, record.VerifyInput{Checkpoint: saved}); !report.OK {
					t.Fatalf("before: %+v", report)
				}
				c.tamper(t, copied)
				if alone := verify(t, record.VerifyInput{}); alone.OK != c.unseen || alone.Pinned != record.Unpinned {
					t.Errorf("without a checkpoint: %+v", alone)
				}
				report := verify(t, record.VerifyInput{Checkpoint: saved})
				if report.OK || report.FirstBad == nil || *report.FirstBad != c.bad || len(report.Findings) == 0 {
					t.Errorf("first bad %v, want %d: %+v", bad(report), c.bad, report)
				}
				if name == "rebuilt under another key" {
					keyed := verify(t, record.VerifyInput{Key: in.keys.LogVerifierKey()})
					if keyed.OK || keyed.Pinned != record.Unpinned {
						t.Errorf("with the key: %+v", keyed)
					}
				}
				for _, table := range recordTables {
					copied.exec(t, "DELETE FROM "+table)
					copied.exec(t, "INSERT INTO "+table+" SELECT * FROM whole_"+table)
				}
			})
		}
	})
}

func bad(r record.Report) any {
	if r.FirstBad == nil {
		return "none"
	}
	return *r.FirstBad
}

// F30, F31: the key that verifies a saved checkpoint is the log's key; one that
// the copy brings along is called unpinned, and a wrong one is told.
func TestF30KeysFromOutside(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		_, saved := in.history(t)
		_, other := newKey(t, origin)
		_, foreign := newKey(t, "elsewhere.example/log/1")
		for name, key := range map[string]string{"another key of that name": other, "another log's key": foreign} {
			report := in.verify(t, record.VerifyInput{Key: key})
			if report.OK || report.Pinned != record.Unpinned {
				t.Errorf("%s: %+v", name, report)
			}
		}
		if _, err := record.Verify(context.Background(), in.db, record.VerifyInput{Key: "nonsense"}); !errors.Is(err, record.ErrBadKey) {
			t.Errorf("%v", err)
		}
		forger, _ := newKey(t, origin)
		forged, err := in.checkpoint(t, saved).Sign(forger)
		must(t, err)
		if report := in.verify(t, record.VerifyInput{Checkpoint: forged}); report.OK || report.Pinned != record.Unpinned {
			t.Errorf("a checkpoint that another key signed: %+v", report)
		}
		if report := in.verify(t, record.VerifyInput{Checkpoint: strings.ReplaceAll(saved, "clinic", "clinik")}); report.OK {
			t.Errorf("a checkpoint of another log: %+v", report)
		}
	})
}

// F30: the log goes on under a key that the one before endorsed.
func TestF30KeyChange(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		_, saved := in.history(t)
		old, oldKey := in.keys.LogSigner(), in.keys.LogVerifierKey()
		wrapped, err := in.keys.RotateLog(in.kek, origin, time.Now())
		must(t, err)
		next, err := in.keys.With(wrapped)
		must(t, err)
		r := in.recorder()
		in.record(t, 1, plain)
		must(t, r.TestOnlyRound(ctx)) // it knows the old key
		must(t, in.db.System(ctx, audit.By{Actor: audit.ActorCLI}, func(tx *store.SystemTx) error {
			e, err := record.KeyChange(old, next.LogVerifierKey())
			if err != nil {
				return err
			}
			_, err = tx.Record(e)
			return err
		}))
		must(t, in.keys.Reload(wrapped))
		must(t, r.TestOnlyRound(ctx))
		both, err := r.Latest(ctx)
		must(t, err)
		for _, key := range []string{oldKey, next.LogVerifierKey()} { // who knows one of them can follow
			if _, err := audit.OpenCheckpoint(both, key); err != nil {
				t.Error(err)
			}
		}
		in.record(t, 1, plain)
		must(t, r.TestOnlyRound(ctx))
		for name, input := range map[string]record.VerifyInput{
			"old key": {Key: oldKey}, "new key": {Key: next.LogVerifierKey()}, "old checkpoint": {Checkpoint: saved}, "new checkpoint": {Checkpoint: both},
		} {
			if report := in.verify(t, input); !report.OK || report.Pinned == record.Unpinned || report.Size != 23 {
				t.Errorf("%s: %+v", name, report)
			}
		}

		// A key that nobody endorsed.
		forger, forgersKey := newKey(t, origin)
		must(t, in.db.System(ctx, audit.By{Actor: audit.ActorCLI}, func(tx *store.SystemTx) error {
			e, err := record.KeyChange(forger, forgersKey)
			if err != nil {
				return err
			}
			_, err = tx.Record(e)
			return err
		}))
		must(t, r.TestOnlyRound(ctx))
		if report := in.verify(t, record.VerifyInput{}); report.OK || *report.FirstBad != 23 {
			t.Errorf("%+v", report)
		}
	})
}

// A checkpoint is found in a mail that was saved whole, however it travelled.
func TestVerifyReadsSavedMail(t *testing.T) {
	in := found(t, sqliteConfig(t), "")
	_, saved := in.history(t)
	text := "EMERGENCY ACCESS at Hope Clinic\r\n\r\nRef BG-0001\r\n\r\n" + strings.ReplaceAll(saved, "\n", "\r\n") + "\r\nThis mail was sent by a machine.\r\n"
	head := "From: mitral@clinic.example\r\nTo: admin@clinic.example\r\nMIME-Version: 1.0\r\n"
	part := func(encoding, body string) string {
		return "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n" + body
	}
	var quoted bytes.Buffer
	w := quotedprintable.NewWriter(&quoted)
	_, err := w.Write([]byte(text))
	must(t, errors.Join(err, w.Close()))
	var wrapped strings.Builder
	for chunk := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString([]byte(text))), 76) {
		wrapped.WriteString(string(chunk) + "\r\n")
	}
	for name, mail := range map[string]string{
		"the note":         saved,
		"8bit":             head + part("8bit", text),
		"quoted-printable": head + part("quoted-printable", quoted.String()),
		"base64":           head + part("base64", wrapped.String()),
		"multipart": head + "Content-Type: multipart/alternative; boundary=b1\r\n\r\n--b1\r\n" + part("base64", wrapped.String()) +
			"\r\n--b1\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b1--\r\n",
	} {
		if report := in.verify(t, record.VerifyInput{Checkpoint: mail}); !report.OK || report.Pinned != record.PinnedByCheckpoint {
			t.Errorf("%s: %+v", name, report)
		}
	}
	for name, text := range map[string]string{"nothing in it": head + part("8bit", "Hello"), "no signature": saved[:strings.Index(saved, "\n\n")]} {
		if _, err := record.Verify(context.Background(), in.db, record.VerifyInput{Checkpoint: text}); !errors.Is(err, record.ErrNoSavedCheckpoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A copy is read and stays as it is, byte for byte, with its -wal or without,
// and so does the folder it lies in.
func TestVerifyLeavesACopyAsItIs(t *testing.T) {
	for name, with := range map[string][]string{"alone": {""}, "with its WAL": {"", "-wal"}} {
		t.Run(name, func(t *testing.T) {
			in := found(t, sqliteConfig(t), "")
			in.history(t)
			from := strings.TrimPrefix(in.config.URL, "sqlite:")
			if len(with) == 1 { // everything in one file, as after the server has ended
				must(t, in.db.Close())
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "copy.db")
			for _, suffix := range with {
				text, err := os.ReadFile(from + suffix)
				must(t, err)
				must(t, os.WriteFile(path+suffix, text, 0o400))
			}
			before := listing(t, dir)
			db, err := store.OpenReadOnly(store.Config{URL: "sqlite:" + path})
			must(t, err)
			report, err := record.Verify(context.Background(), db, record.VerifyInput{})
			must(t, err)
			if !report.OK || report.Size != 20 {
				t.Errorf("%+v", report)
			}
			if during := listing(t, dir); during != before {
				t.Errorf("the folder was changed:\n%s\n%s", before, during)
			}
			if err := db.Upkeep(context.Background(), func(*store.UpkeepTx) error { return nil }); !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("a write: %v", err)
			}
			must(t, db.Close())
			if after := listing(t, dir); after != before {
				t.Errorf("the folder was changed:\n%s\n%s", before, after)
			}
		})
	}
	if _, err := store.OpenReadOnly(store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "none.db")}); err == nil {
		t.Error("a database that is not there was opened")
	}
}

// listing is the names and digests of a folder's files.
func listing(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var b strings.Builder
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		fmt.Fprintf(&b, "%s %x\n", e.Name(), sha256.Sum256(text))
	}
	return b.String()
}

// While the server writes, what is verified is one view.
func TestVerifyBesideARunningServer(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		r := in.running(t, in.db, "nod_one", "")
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				select {
				case <-stop:
					return
				default:
					in.record(t, 1, plain)
					r.Wake()
				}
			}
		}()
		other, err := store.OpenReadOnly(in.config)
		must(t, err)
		defer func() { _ = other.Close() }()
		for range 10 {
			report, err := record.Verify(context.Background(), other, record.VerifyInput{})
			must(t, err)
			if !report.OK {
				t.Errorf("%+v", report)
			}
		}
		close(stop)
		<-ended
	})
}
