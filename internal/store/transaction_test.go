package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

func (db database) name(t testing.TB, user string) (name string) {
	t.Helper()
	must(t, db.raw(t, db.owner).QueryRow("SELECT name FROM users WHERE id = $1", user).Scan(&name))
	return name
}

// A change and its event commit together: one without the other does not.
func TestUnrecordedChangeIsRefused(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		before := db.count(t, "SELECT COUNT(*) FROM audit_event")
		err := db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error { return tx.SetUserName("usr_a", "unseen") })
		if !errors.Is(err, store.ErrUnrecorded) || db.name(t, "usr_a") != "a" {
			t.Errorf("%v, and the name is %q", err, db.name(t, "usr_a"))
		}
		err = db.System(ctx, byAda, func(tx *store.SystemTx) error { return tx.StoreWall() })
		if !errors.Is(err, store.ErrUnrecorded) {
			t.Errorf("%v", err)
		}
		must(t, db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
			return errors.Join(tx.SetUserName("usr_a", "seen"), event(tx))
		}))
		if db.name(t, "usr_a") != "seen" || db.count(t, "SELECT COUNT(*) FROM audit_event") != before+1 {
			t.Error("the control did not commit")
		}
		must(t, db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error { // reading needs no event
			_, err := tx.User("usr_a")
			return err
		}))
		must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error { return tx.StoreWall() })) // nor does upkeep
	})
}

// A refusal that was only counted is told too.
func TestSummedRefusalCounts(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := db.config
		c.Fold = &audit.Fold{}
		c.Fold.LowDisk(true)
		summing, err := store.Open(c)
		must(t, err)
		defer func() { _ = summing.Close() }()
		before := db.count(t, "SELECT COUNT(*) FROM audit_event")
		must(t, summing.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
			id, err := tx.Record(audit.Event{Type: "sign_in.key_pin", Outcome: audit.Denied, Anonymous: true})
			if id != "" {
				t.Errorf("it became the event %s", id)
			}
			return errors.Join(err, tx.SetUserName("usr_a", "counted"))
		}))
		sums := c.Fold.Drain()
		if db.name(t, "usr_a") != "counted" || db.count(t, "SELECT COUNT(*) FROM audit_event") != before || len(sums) != 1 || sums[0].Count != 1 {
			t.Errorf("%+v", sums)
		}
	})
}

// A wrong code keeps its counter and its event; a fault keeps nothing. Memory
// follows only what is kept.
func TestRefusalCommitsAndFaultRollsBack(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		act := func(name string, result error) (after bool, err error) {
			err = db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
				tx.After(func() { after = true })
				return errors.Join(tx.SetUserName("usr_a", name), event(tx), result)
			})
			return after, err
		}
		no := identity.Refuse(identity.Unauthenticated, "wrong_pin", "That was wrong.")
		after, err := act("counted", no)
		var got *identity.Refusal
		if !errors.As(err, &got) || got != no || !after || db.name(t, "usr_a") != "counted" {
			t.Errorf("a refusal: %v, after %v, name %q", err, after, db.name(t, "usr_a"))
		}
		fault := errors.New("a fault")
		after, err = act("gone", fault)
		if !errors.Is(err, fault) || after || db.name(t, "usr_a") != "counted" {
			t.Errorf("a fault: %v, after %v, name %q", err, after, db.name(t, "usr_a"))
		}
		err = db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error { // nothing recorded: even a refusal does not commit
			return errors.Join(tx.SetUserName("usr_a", "unseen"), no)
		})
		if !errors.Is(err, store.ErrUnrecorded) || db.name(t, "usr_a") != "counted" {
			t.Errorf("a refusal without an event: %v, name %q", err, db.name(t, "usr_a"))
		}
		db.whole(t)
	})
}

// What a read is given cannot write.
func TestReadsCannotWrite(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		for name, err := range map[string]error{
			"exec": db.Read(ctx, "wks_a", func(tx *store.Tx) error { return tx.SetUserName("usr_a", "x") }),
			"row":  db.Read(ctx, "wks_a", func(tx *store.Tx) error { _, err := tx.TouchUser("usr_a"); return err }),
			"system": db.ReadSystem(ctx, func(tx *store.SystemTx) error {
				_, err := tx.CountWithin("k", 1)
				return err
			}),
			"snapshot": db.Snapshot(ctx, func(tx *store.SystemTx) error { return tx.StoreWall() }),
		} {
			if err == nil {
				t.Errorf("%s: written", name)
			}
		}
		if db.name(t, "usr_a") != "a" {
			t.Error("the name changed")
		}
		must(t, db.Read(ctx, "wks_a", func(tx *store.Tx) error {
			u, err := tx.User("usr_a")
			if err == nil && u.Name != "a" {
				t.Errorf("%+v", u)
			}
			return err
		}))
	})
}

// A snapshot does not move while others write.
func TestSnapshotStandsStill(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		must(t, db.Snapshot(ctx, func(tx *store.SystemTx) error {
			before, err := tx.CountEvents()
			if err != nil {
				return err
			}
			must(t, db.Workspace(ctx, byAda, "wks_a", event))
			after, err := tx.CountEvents()
			if before != after || db.count(t, "SELECT COUNT(*) FROM audit_event") != int(before)+1 {
				t.Errorf("%d, then %d", before, after)
			}
			return err
		}))
	})
}

// An act has one time, in whole microseconds, and its events have it too.
func TestOneTimePerAct(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		must(t, db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
			now := tx.Now()
			db.Clock().TestOnlyAdvance(time.Hour)
			if tx.Now() != now || now.UnixMicro() != tx.Micros() || !now.Equal(now.Truncate(time.Microsecond)) {
				t.Errorf("%v became %v", now, tx.Now())
			}
			id, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success})
			if err != nil {
				return err
			}
			of, err := tx.EventsOfUser("usr_ada", 10)
			if len(of) != 2 || of[0].ID != id || of[0].At != tx.Micros() {
				t.Errorf("%+v", of)
			}
			return err
		}))
	})
}

// What the acting side shares is filled in, and what an event says itself stays.
func TestEventsAreFilledIn(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		by := audit.By{Actor: "usr_a", Client: identity.Client{UserAgent: "Chrome, Windows"}, Session: "ses_a", Grant: "grt_a", Purpose: "BTG"}
		must(t, db.Workspace(ctx, by, "wks_a", func(tx *store.Tx) error {
			if _, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success}); err != nil {
				return err
			}
			_, err := tx.Record(audit.Event{Type: "user.role", Outcome: audit.Success, Actor: "cli", User: "usr_a", Session: "ses_b", Workspace: "wks_b"})
			return err
		}))
		must(t, db.Read(ctx, "wks_a", func(tx *store.Tx) error {
			of, err := tx.EventsOfGrant("grt_a")
			if len(of) != 2 {
				t.Fatalf("%+v", of)
			}
			for _, e := range of {
				want := []string{`"purpose":"BTG"`, `"actor":"usr_a"`, `"session_id":"ses_a"`, `"workspace_id":"wks_a"`, `"user_agent":"Chrome, Windows"`}
				if e.Type == "user.role" {
					want = []string{`"actor":"cli"`, `"user_id":"usr_a"`, `"session_id":"ses_b"`, `"workspace_id":"wks_a"`}
				}
				for _, member := range want {
					if !strings.Contains(e.Leaf, member) || e.UserID != "usr_a" {
						t.Errorf("%s has no %s", e.Leaf, member)
					}
				}
			}
			return err
		}))
	})
}

// batch has the given acts run in one COMMIT of SQLite's writer, in order, and
// returns their errors.
func (db database) batch(t *testing.T, acts ...func() error) []error {
	t.Helper()
	hold, held := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- db.Upkeep(ctx, func(*store.UpkeepTx) error {
			close(held)
			<-hold
			return nil
		})
	}()
	<-held
	errs := make([]error, len(acts))
	var all sync.WaitGroup
	for i, act := range acts {
		all.Go(func() { errs[i] = act() })
		for db.TestOnlyWaiting() != i+1 {
			<-time.After(time.Millisecond)
		}
	}
	close(hold)
	all.Wait()
	<-first
	return errs
}

func (db database) rename(name string, after *bool, result error) func() error {
	return func() error {
		return db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
			tx.After(func() { *after = true })
			return errors.Join(tx.InsertUser(store.InsertUserParams{ID: "usr_" + name, Name: name, RecoverySalt: []byte{}}), event(tx), result)
		})
	}
}

// F41: in one COMMIT of many acts a fault takes back its own act only.
func TestF41FaultTakesBackItsOwnActOnly(t *testing.T) {
	db := sqlite(t)
	fault := errors.New("a fault")
	var after [4]bool
	errs := db.batch(t, db.rename("one", &after[0], nil), db.rename("two", &after[1], fault),
		func() error {
			return db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
				tx.After(func() { after[2] = true })
				if err := tx.InsertUser(store.InsertUserParams{ID: "usr_three", RecoverySalt: []byte{}}); err != nil {
					return err
				}
				panic("a bug")
			})
		}, db.rename("four", &after[3], nil))
	if errs[0] != nil || !errors.Is(errs[1], fault) || errs[2] == nil || errs[3] != nil || after != [4]bool{true, false, false, true} {
		t.Errorf("%v, after %v", errs, after)
	}
	if n := db.count(t, "SELECT COUNT(*) FROM users WHERE id IN ('usr_one', 'usr_two', 'usr_three', 'usr_four')"); n != 2 {
		t.Errorf("%d of the users are there", n)
	}
	db.whole(t)
}

// F41: when the COMMIT fails, all its acts have failed, nothing of them is there
// and no memory has changed.
func TestF41FailedCommitForgetsThemAll(t *testing.T) {
	db := sqlite(t)
	// A hash is in the way of the next leaf's.
	other := db.raw(t, db.owner)
	next := db.count(t, "SELECT MAX(id) + 1 FROM audit_node")
	_, err := other.Exec("INSERT INTO audit_node (log, id, hash) VALUES (1, $1, x'00')", next)
	must(t, err)
	before := db.count(t, "SELECT COUNT(*) FROM audit_event")
	var after [2]bool
	for _, err := range db.batch(t, db.rename("one", &after[0], nil), db.rename("two", &after[1], nil)) {
		if err == nil {
			t.Error("an act of a failed COMMIT succeeded")
		}
	}
	if after != [2]bool{} || db.count(t, "SELECT COUNT(*) FROM users") != 2 || db.count(t, "SELECT COUNT(*) FROM audit_event") != before {
		t.Errorf("something of it is there: after %v", after)
	}
	_, err = other.Exec("DROP TRIGGER audit_node_no_delete")
	must(t, err)
	_, err = other.Exec("DELETE FROM audit_node WHERE id = $1", next)
	must(t, err)
	for _, err := range db.batch(t, db.rename("one", &after[0], nil), db.rename("two", &after[1], nil)) {
		must(t, err)
	}
	if after != [2]bool{true, true} {
		t.Errorf("after %v", after)
	}
	db.whole(t)
}

// F41: a caller who goes away while a statement runs takes nobody else's act
// back. SQLite rolls a whole transaction back when an INSERT is interrupted.
func TestF41CallerWhoGoesAwayHarmsNobody(t *testing.T) {
	db := sqlite(t)
	_, err := db.raw(t, db.owner).Exec(`CREATE TRIGGER slow AFTER INSERT ON users WHEN NEW.name = 'slow' BEGIN
		SELECT (WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 100000) SELECT MAX(x) FROM c); END`)
	must(t, err)
	var after [3]bool
	going, leave := context.WithCancel(ctx)
	errs := db.batch(t, db.rename("one", &after[0], nil),
		func() error {
			return db.Workspace(going, byAda, "wks_a", func(tx *store.Tx) error {
				time.AfterFunc(5*time.Millisecond, leave)
				tx.After(func() { after[1] = true })
				return errors.Join(tx.InsertUser(store.InsertUserParams{ID: "usr_slow", Name: "slow", RecoverySalt: []byte{}}), event(tx))
			})
		}, db.rename("three", &after[2], nil))
	if errs[0] != nil || errs[1] == nil || errs[2] != nil || after != [3]bool{true, false, true} {
		t.Errorf("%v, after %v", errs, after)
	}
	if n := db.count(t, "SELECT COUNT(*) FROM users WHERE id IN ('usr_one', 'usr_three')"); n != 2 || db.count(t, "SELECT COUNT(*) FROM users") != 4 {
		t.Errorf("%d of the two are there", n)
	}
	db.whole(t)
}

// F41: a disk that fills up in the middle of a batch: whoever is told that it
// worked finds it so, whoever is told that it did not finds nothing.
func TestF41DiskFull(t *testing.T) {
	db := sqlite(t)
	pages := db.count(t, "PRAGMA page_count")
	limit := func(n int) {
		t.Helper()
		must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
			return tx.TestOnlyExec(fmt.Sprintf("PRAGMA max_page_count = %d", n))
		}))
	}
	limit(pages + 4)
	var after [3]bool
	large := func() error {
		return db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
			tx.After(func() { after[1] = true })
			return errors.Join(event(tx), tx.InsertPolicy(store.InsertPolicyParams{Rev: 9, Document: strings.Repeat("x", 1<<20)}))
		})
	}
	errs := db.batch(t, db.rename("one", &after[0], nil), large, db.rename("three", &after[2], nil))
	if !errors.Is(errs[1], store.ErrUnavailable) {
		t.Errorf("the large one: %v", errs[1])
	}
	for i, name := range []string{"one", "", "three"} {
		there := name != "" && db.count(t, "SELECT COUNT(*) FROM users WHERE id = 'usr_"+name+"'") == 1
		if there != (errs[i] == nil) || after[i] != there {
			t.Errorf("act %d: %v, after %v, there %v", i, errs[i], after[i], there)
		}
	}
	limit(pages + 10000)
	must(t, large())
	db.whole(t)
}

// An act that lost a deadlock runs again, with what it captured set anew.
func TestDeadlockIsRunAgain(t *testing.T) {
	db := postgres(t)
	must(t, db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
		return errors.Join(tx.InsertUser(store.InsertUserParams{ID: "usr_c", RecoverySalt: []byte{}}), event(tx))
	}))
	var both sync.WaitGroup
	both.Add(2)
	var done sync.WaitGroup
	for _, order := range [][]string{{"usr_a", "usr_c"}, {"usr_c", "usr_a"}} {
		done.Go(func() {
			runs := 0
			err := db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
				runs++
				if _, err := tx.TouchUser(order[0]); err != nil {
					return err
				}
				if runs == 1 {
					both.Done()
					both.Wait()
				}
				_, err := tx.TouchUser(order[1])
				return errors.Join(err, event(tx))
			})
			if err != nil {
				t.Errorf("after %d runs: %v", runs, err)
			}
		})
	}
	done.Wait()
	if n := db.count(t, "SELECT SUM(rev) FROM users WHERE id IN ('usr_a', 'usr_c')"); n != 6 {
		t.Errorf("the revs add up to %d", n)
	}
	db.whole(t)
}

// A node that is paused in the middle of an act loses it: its locks do not
// outlast the time that acts have.
func TestPausedActIsCut(t *testing.T) {
	db := postgres(t)
	var setting string
	must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error { return nil }))
	must(t, db.raw(t, db.owner).QueryRow("SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'").Scan(&setting))
	if setting != "0" {
		t.Fatalf("the server itself cuts at %s", setting)
	}
	err := db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		return tx.TestOnlyExec("DO $$ BEGIN IF current_setting('idle_in_transaction_session_timeout') <> '10s' THEN RAISE 'no'; END IF; END $$")
	})
	must(t, err)
}

// An act whose time is over before it begins does nothing, and a database that
// is closed says so.
func TestActsInVain(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		over, cancel := context.WithCancel(ctx)
		cancel()
		if err := db.Workspace(over, byAda, "wks_a", event); err == nil {
			t.Error("a caller who had gone was served")
		}
		must(t, db.Close())
		if err := db.Workspace(ctx, byAda, "wks_a", event); err == nil {
			t.Error("a closed database was written")
		}
		if err := db.Ping(ctx); err == nil {
			t.Error("a closed database answered")
		}
	})
}

// Close waits for what has begun: who is answered is answered truly.
func TestCloseAnswersTruly(t *testing.T) {
	db := sqlite(t)
	var all sync.WaitGroup
	errs := make([]error, 200)
	for i := range errs {
		all.Go(func() { errs[i] = db.Workspace(ctx, byAda, "wks_a", event) })
	}
	must(t, db.Close())
	all.Wait()
	told := 0
	for _, err := range errs {
		if err == nil {
			told++
		} else if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	if n := db.count(t, "SELECT COUNT(*) FROM audit_event"); n != told+2 {
		t.Errorf("%d acts were told that they are recorded, and %d are", told, n-2)
	}
	again, err := store.OpenReadOnly(db.config)
	must(t, err)
	defer func() { _ = again.Close() }()
	if _, err := record.Verify(ctx, again, record.VerifyInput{}); err != nil {
		t.Error(err)
	}
}
