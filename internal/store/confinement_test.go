package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/store"
)

// Every query of a workspace names it: where it reads and changes as a
// condition, where it inserts as a value.
func TestEveryWorkspaceQueryNamesItsWorkspace(t *testing.T) {
	files, err := filepath.Glob("queries/workspace/*.sql")
	must(t, err)
	bound := regexp.MustCompile(`(?:workspace_id|workspace\.id|\bid) = @workspace_id`)
	queries := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		for _, q := range strings.Split(string(text), "-- name: ")[1:] {
			name, body, _ := strings.Cut(q, " ")
			queries++
			insert := strings.Contains(body, "INSERT INTO")
			if insert && !regexp.MustCompile(`(?s)VALUES \(.*@workspace_id`).MatchString(body) || !insert && !bound.MatchString(body) {
				t.Errorf("%s in %s names no workspace", name, file)
			}
			// What an insert changes in place of a row must be the workspace's too,
			// or have run out.
			if update := strings.Index(body, "DO UPDATE"); update >= 0 && !strings.Contains(body, "ON CONFLICT (workspace_id") &&
				!strings.Contains(body[update:], ".workspace_id = excluded.workspace_id") && !strings.Contains(body[update:], ".expires_at <= CAST(@now AS BIGINT)") {
				t.Errorf("%s in %s changes another workspace's row", name, file)
			}
		}
	}
	if queries < 80 {
		t.Errorf("only %d queries were found", queries)
	}
}

// What a transaction bound to one workspace asks and changes is that
// workspace's, also when it names what belongs to another.
func TestTransactionsAreConfined(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
			in := tx.Workspace("wks_a")
			return errors.Join(aClaim(in, "usr_a"), aSession(in, "usr_a"), aGrant(in, "usr_a"), in.PutUserPin("usr_a", []byte("pin"), 4), in.KnowDevice("dev_a", "usr_a"),
				in.InsertUserKey("key_a", "usr_a", []byte("key")), in.InsertStepUp(store.InsertStepUpParams{Hash: "h", SessionID: "usr_a", ExpiresAt: far}),
				in.InsertSealedCode(store.InsertSealedCodeParams{ID: "cod_a", Digest: []byte{1}}), in.InsertPolicy(store.InsertPolicyParams{Rev: 1, Document: "{}"}),
				in.InsertRefreshToken(store.InsertRefreshTokenParams{Hash: "h", SessionID: "usr_a"}),
				in.InsertMessage(store.InsertMessageParams{ID: "msg_a", Data: []byte{}, GrantID: "usr_a"}),
				in.InsertAttempt(store.InsertAttemptParams{ID: "att_a", TokenHash: "h", ExpiresAt: far}))
		}))
		for _, w := range []string{"wks_a", "wks_b"} {
			there := w == "wks_a"
			must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
				in := tx.Workspace(w)
				found := map[string]func() (bool, error){
					"user":          func() (bool, error) { return met(in.User("usr_a")) },
					"address":       func() (bool, error) { return met(in.UserByEmail("a@clinic.example")) },
					"session":       func() (bool, error) { return met(in.Session("usr_a")) },
					"sessions":      func() (bool, error) { return some(in.OpenSessions("usr_a")) },
					"grant":         func() (bool, error) { return met(in.Grant("usr_a")) },
					"open grant":    func() (bool, error) { return met(in.OpenGrantOf("usr_a")) },
					"grants":        func() (bool, error) { return some(in.Grants()) },
					"claims":        func() (bool, error) { return some(in.OpenClaims()) },
					"codes":         func() (bool, error) { return some(in.SealedCodes()) },
					"messages":      func() (bool, error) { return some(in.Messages()) },
					"its messages":  func() (bool, error) { return some(in.MessagesOfGrant("usr_a")) },
					"policy":        func() (bool, error) { return met(in.CurrentPolicy()) },
					"PIN":           func() (bool, error) { return met(in.UserPin("usr_a")) },
					"keys":          func() (bool, error) { return some(in.LiveUserKeys("usr_a")) },
					"device":        func() (bool, error) { return met(in.DeviceUser("dev_a", "usr_a")) },
					"refresh token": func() (bool, error) { return met(in.RefreshToken("h")) },
					// Changes last: each is tried from the other workspace first.
					"rev":             func() (bool, error) { return met(in.TouchUser("usr_a")) },
					"PIN miss":        func() (bool, error) { return met(in.CountUserPinMiss("usr_a")) },
					"session's PIN":   func() (bool, error) { return met(in.CountSessionPinMiss("usr_a")) },
					"claim code":      func() (bool, error) { return met(in.CountClaimMiss("usr_a")) },
					"acknowledgement": func() (bool, error) { return one(in.AcknowledgeGrant("usr_a", "usr_b")) },
					"pick-up":         func() (bool, error) { return one(in.TakePickup("usr_a")) },
				}
				for name, ask := range found {
					got, err := ask()
					if err != nil && !errors.Is(err, store.ErrNoRows) {
						return err
					}
					if got != there {
						t.Errorf("%s from %s: found %v", name, w, got)
					}
				}
				return nil
			}))
		}
		// What can be done once is not done from elsewhere.
		for _, w := range []string{"wks_b", "wks_a"} {
			must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
				in := tx.Workspace(w)
				for name, take := range map[string]func() (bool, error){
					"claim":   func() (bool, error) { return met(in.UseClaim("usr_a")) },
					"step-up": func() (bool, error) { return met(in.SpendStepUp("h", "usr_a")) },
					"code":    func() (bool, error) { return one(in.SpendSealedCode("cod_a", "g")) },
					"attempt": func() (bool, error) { return met(in.TakeAttempt("att_a")) },
					"rotate":  func() (bool, error) { return one(in.RotateRefreshToken("h", "next")) },
					"grant":   func() (bool, error) { return one(in.EndGrant(store.EndGrantParams{ID: "usr_a", State: "ended"})) },
					"session": func() (bool, error) { return one(in.EndSession("usr_a", "sign_out")) },
				} {
					got, err := take()
					if err != nil && !errors.Is(err, store.ErrNoRows) {
						return err
					}
					if got != (w == "wks_a") {
						t.Errorf("%s from %s: taken %v", name, w, got)
					}
				}
				return nil
			}))
		}
		// Nor is what stands in the way overwritten.
		must(t, db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
			in := tx.Workspace("wks_b")
			if err := errors.Join(in.PutUserPin("usr_a", []byte("another"), 4), in.SetUserName("usr_a", "another"), in.KnowDevice("dev_a", "usr_a")); err != nil {
				return err
			}
			pin, err := tx.Workspace("wks_a").UserPin("usr_a")
			if string(pin.Verifier) != "pin" || pin.WorkspaceID != "wks_a" {
				t.Errorf("%+v", pin)
			}
			return err
		}))
		if db.name(t, "usr_a") != "a" {
			t.Error("another workspace renamed the user")
		}
	})
}

func some[T any](list []T, err error) (bool, error) { return len(list) > 0, err }
