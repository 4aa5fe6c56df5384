package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

const far = int64(1) << 60 // a time that never comes

func fresh() string { return identity.NewID("x") }

// contest is a one-time thing or a counter: how it is set up, what each of 50
// tries, and how many may win. Everything of one contest is called id.
type contest struct {
	set     func(in *store.Tx, id string) error
	attempt func(tx *store.UpkeepTx, in *store.Tx, id string) (bool, error)
	winners int
}

func aClaim(in *store.Tx, id string) error {
	return in.InsertClaim(store.InsertClaimParams{ID: id, TokenHash: fresh(), UserID: id, CodeVerifier: []byte{1}, ExpiresAt: far})
}

func aSession(in *store.Tx, id string) error {
	return in.InsertSession(store.InsertSessionParams{ID: id, UserID: id, AbsoluteAt: far, SkeyHash: "first"})
}

func aLockedSession(in *store.Tx, id string) error {
	if err := aSession(in, id); err != nil {
		return err
	}
	_, err := in.LockSession(id, far)
	return err
}

func aGrant(in *store.Tx, id string) error {
	return in.InsertGrant(store.InsertGrantParams{ID: id, Ref: "BG-0001", SubjectID: id, PickupVerifier: []byte{1}, PickupExpiresAt: far, ExpiresAt: far})
}

func nothing(*store.Tx, string) error { return nil }

var contests = map[string]contest{
	"claim": {aClaim, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) { return met(in.UseClaim(id)) }, 1},
	"wrong claim codes, of which the fifth voids": {aClaim, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return met(in.CountClaimMiss(id))
	}, 5},
	"open claim of a person": {nothing, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return true, in.InsertClaim(store.InsertClaimParams{ID: fresh(), TokenHash: fresh(), UserID: id, CodeVerifier: []byte{1}, ExpiresAt: far})
	}, 1},
	"step-up": {func(in *store.Tx, id string) error {
		return in.InsertStepUp(store.InsertStepUpParams{Hash: id, SessionID: id, Action: "export", ExpiresAt: far})
	}, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) { return met(in.SpendStepUp(id, id)) }, 1},
	"sealed code": {func(in *store.Tx, id string) error {
		return in.InsertSealedCode(store.InsertSealedCodeParams{ID: id, Digest: []byte{1}})
	}, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return one(in.SpendSealedCode(id, fresh()))
	}, 1},
	"refresh token": {func(in *store.Tx, id string) error {
		return errors.Join(aSession(in, id), in.InsertRefreshToken(store.InsertRefreshTokenParams{Hash: id, SessionID: id}))
	}, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return one(in.RotateRefreshToken(id, fresh()))
	}, 1},
	"session ended": {aSession, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return one(in.EndSession(id, "sign_out"))
	}, 1},
	"session locked": {aSession, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) { return one(in.LockSession(id, far)) }, 1},
	"wrong PINs in a session, of which the fifth ends it": {aSession, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return met(in.CountSessionPinMiss(id))
	}, 5},
	"wrong PINs at the lock": {aLockedSession, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return met(in.CountSessionPinMiss(id))
	}, 5},
	"grant of a person": {nothing, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return true, in.InsertGrant(store.InsertGrantParams{ID: fresh(), SubjectID: id, PickupVerifier: []byte{}, ExpiresAt: far})
	}, 1},
	"grant ended": {aGrant, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return one(in.EndGrant(store.EndGrantParams{ID: id, State: "ended", EndedAt: 1}))
	}, 1},
	"grant acknowledged": {aGrant, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return one(in.AcknowledgeGrant(id, "usr_a"))
	}, 1},
	"pick-up code": {aGrant, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) { return one(in.TakePickup(id)) }, 1},
	"wrong pick-up codes": {aGrant, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) {
		return met(in.CountPickupMiss(id))
	}, 5},
	"sign-in attempt": {func(in *store.Tx, id string) error {
		return in.InsertAttempt(store.InsertAttemptParams{ID: id, TokenHash: fresh(), UserID: id, ExpiresAt: far})
	}, func(_ *store.UpkeepTx, in *store.Tx, id string) (bool, error) { return met(in.TakeAttempt(id)) }, 1},
	"message": {func(in *store.Tx, id string) error {
		return in.InsertMessage(store.InsertMessageParams{ID: id, Channel: "mail", Data: []byte{}, State: "queued"})
	}, func(tx *store.UpkeepTx, _ *store.Tx, id string) (bool, error) {
		return met(tx.ClaimMessage(id, far, 0))
	}, 1},
	"lease that nobody had": {nothing, func(tx *store.UpkeepTx, _ *store.Tx, id string) (bool, error) {
		return one(tx.TakeLease(id, fresh(), far))
	}, 1},
	"policy version": {nothing, func(_ *store.UpkeepTx, in *store.Tx, _ string) (bool, error) {
		return true, in.InsertPolicy(store.InsertPolicyParams{Rev: 1, Document: "{}"})
	}, 1},
	"workspace's name in addresses": {nothing, func(tx *store.UpkeepTx, _ *store.Tx, id string) (bool, error) {
		return true, tx.InsertWorkspace(store.InsertWorkspaceParams{ID: fresh(), Slug: id, CodeSalt: []byte{}})
	}, 1},
	"keyset": {nothing, func(tx *store.UpkeepTx, _ *store.Tx, _ string) (bool, error) {
		return one(tx.ReplaceKeyset("data", []byte(fresh()), 1))
	}, 1},
}

// Of 50 that race from two nodes exactly as many win as may.
func TestOneTimeThingsAreTakenOnce(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		for name, c := range contests {
			t.Run(name, func(t *testing.T) {
				id := fresh()
				must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
					in := tx.Workspace("wks_a")
					return errors.Join(in.InsertUser(store.InsertUserParams{ID: id, RecoverySalt: []byte{}}), c.set(in, id))
				}))
				won := db.race(t, func(_ int, tx *store.UpkeepTx) (bool, error) { return c.attempt(tx, tx.Workspace("wks_a"), id) })
				if won != c.winners {
					t.Errorf("%d won, and %d may", won, c.winners)
				}
			})
		}
	})
}

// Counters give every number once.
func TestCountersCountEveryone(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		for name, next := range map[string]func(tx *store.UpkeepTx, in *store.Tx) (int64, error){
			"wrong PINs with the right key": func(_ *store.UpkeepTx, in *store.Tx) (int64, error) { return in.CountUserPinMiss("usr_a") },
			"throttle": func(tx *store.UpkeepTx, _ *store.Tx) (int64, error) {
				return tx.CountWithin("sign_in 192.0.2.0/24", far)
			},
			"refs": func(_ *store.UpkeepTx, in *store.Tx) (int64, error) {
				n, err := in.TakeRef()
				return int64(n), err
			},
			"user's rev": func(_ *store.UpkeepTx, in *store.Tx) (int64, error) {
				n, err := in.TouchUser("usr_a")
				return n - 1, err
			},
		} {
			t.Run(name, func(t *testing.T) {
				var mu sync.Mutex
				seen := map[int64]bool{}
				db.race(t, func(_ int, tx *store.UpkeepTx) (bool, error) {
					n, err := next(tx, tx.Workspace("wks_a"))
					mu.Lock()
					defer mu.Unlock()
					if err == nil && seen[n] {
						return false, fmt.Errorf("%d twice", n)
					}
					seen[n] = true
					return true, err
				})
				for n := int64(1); n <= 50; n++ {
					if !seen[n] {
						t.Errorf("nobody got %d: %v", n, seen)
						break
					}
				}
			})
		}
	})
}

// A window begins with the first, ends after its span, and is forgotten when
// asked to.
func TestCountWithin(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		const minute = int64(time.Minute / time.Microsecond)
		count := func(key string) (n int64) {
			t.Helper()
			must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) (err error) {
				n, err = tx.CountWithin(key, minute)
				return err
			}))
			return n
		}
		counted := func(key string) (n int64) {
			t.Helper()
			must(t, db.ReadSystem(ctx, func(tx *store.SystemTx) error {
				row, err := tx.CountedWithin(key)
				if errors.Is(err, store.ErrNoRows) {
					n = 0
					return nil
				}
				n = row.N
				return err
			}))
			return n
		}
		for want := int64(1); want <= 3; want++ {
			if n := count("k"); n != want || counted("k") != want {
				t.Errorf("%d, and %d is read", n, counted("k"))
			}
		}
		if count("other") != 1 {
			t.Error("keys share a count")
		}
		db.Clock().TestOnlyAdvance(59 * time.Second) // the window is the first one's
		if n := count("k"); n != 4 {
			t.Errorf("after 59 s: %d", n)
		}
		db.Clock().TestOnlyAdvance(time.Second)
		if counted("k") != 0 {
			t.Error("the window did not end")
		}
		if n := count("k"); n != 1 {
			t.Errorf("after a minute: %d", n)
		}
		must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error { return tx.ResetCount("k") }))
		if counted("k") != 0 || counted("other") != 0 || count("k") != 1 {
			t.Error("the count was not forgotten")
		}
	})
}

// A lease changes hands only when it has run out, under a new epoch, and one
// that was lost cannot be renewed.
func TestLeaseIsFenced(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		var taken, renewed int64
		var l store.Lease
		step := func(f func(tx *store.UpkeepTx) error) {
			t.Helper()
			must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
				err := f(tx)
				if err == nil {
					l, err = tx.Lease("l")
				}
				return err
			}))
		}
		take := func(holder string) {
			t.Helper()
			step(func(tx *store.UpkeepTx) (err error) {
				taken, err = tx.TakeLease("l", holder, tx.Now().Add(3*time.Second).UnixMicro())
				return err
			})
		}
		renew := func(holder string, epoch int64) {
			t.Helper()
			step(func(tx *store.UpkeepTx) (err error) {
				renewed, err = tx.RenewLease(store.RenewLeaseParams{Name: "l", Holder: holder, Epoch: epoch, ExpiresAt: tx.Now().Add(3 * time.Second).UnixMicro()})
				return err
			})
		}
		take("one")
		if taken != 1 || l.Epoch != 1 || l.Holder != "one" {
			t.Errorf("%d, %+v", taken, l)
		}
		take("two")
		if taken != 0 || l.Holder != "one" {
			t.Errorf("taken away: %+v", l)
		}
		db.Clock().TestOnlyAdvance(2 * time.Second)
		renew("one", 1)
		db.Clock().TestOnlyAdvance(2 * time.Second)
		if take("two"); renewed != 1 || taken != 0 {
			t.Errorf("a renewed lease was taken: %+v", l)
		}
		db.Clock().TestOnlyAdvance(2 * time.Second)
		if take("two"); taken != 1 || l.Epoch != 2 || l.Holder != "two" {
			t.Errorf("%d, %+v", taken, l)
		}
		if renew("one", 1); renewed != 0 {
			t.Errorf("a lost lease was renewed: %+v", l)
		}
		db.Clock().TestOnlyAdvance(4 * time.Second)
		take("one")
		if renew("one", 1); renewed != 0 || l.Epoch != 3 { // the same holder, in another life
			t.Errorf("%d, %+v", renewed, l)
		}
	})
}

// F14: a rule over several rows holds when two nodes race, because both first
// write the one row that stands for it.
func TestF14WriteSkew(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		must(t, db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
			for _, id := range []string{"usr_1", "usr_2"} {
				if err := tx.InsertUser(store.InsertUserParams{ID: id, Role: "admin", RecoverySalt: []byte{}}); err != nil {
					return err
				}
			}
			return event(tx)
		}))
		last := errors.New("the last administrator stays")
		nodes := []*store.DB{db.DB, db.open(t)}
		errs := make([]error, 2)
		var both sync.WaitGroup
		for i, id := range []string{"usr_1", "usr_2"} { // each demotes one
			both.Go(func() {
				errs[i] = nodes[i].Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
					if _, err := tx.TouchWorkspace(); err != nil {
						return err
					}
					users, err := tx.Users()
					if err != nil {
						return err
					}
					others := 0
					for _, u := range users {
						if u.Role == "admin" && u.ID != id {
							others++
						}
					}
					if others == 0 {
						return last
					}
					return errors.Join(tx.SetUserRole(store.SetUserRoleParams{ID: id, Role: "staff"}), event(tx))
				})
			})
		}
		both.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), last) {
			t.Errorf("%v", errs)
		}
		if n := db.count(t, "SELECT COUNT(*) FROM users WHERE role = 'admin'"); n != 1 {
			t.Errorf("%d administrators are left", n)
		}
	})
}

// Two that are first at once: the second learns it as a conflict.
func TestConflict(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		again := func(email string) error {
			return db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
				return errors.Join(tx.InsertUser(store.InsertUserParams{ID: fresh(), Email: email, RecoverySalt: []byte{}}), event(tx))
			})
		}
		if err := again("a@clinic.example"); !store.Conflict(err) {
			t.Errorf("the same address: %v", err)
		}
		must(t, again("b@clinic.example")) // another workspace's
		must(t, again(""))
		must(t, again("")) // nobody's address is no address
		for name, err := range map[string]error{"nothing": nil, "no rows": store.ErrNoRows, "unrecorded": store.ErrUnrecorded, "gone": store.ErrUnavailable,
			"no such user": db.Workspace(ctx, byAda, "wks_a", func(tx *store.Tx) error {
				return errors.Join(event(tx), aSession(tx, "usr_nobody")) // refers to a row that is not there
			})} {
			if store.Conflict(err) {
				t.Errorf("%s is a conflict", name)
			}
		}
	})
}
