package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// rotateUsers is what rotates besides the keyring's own: everybody's own key.
const rotateUsers = "users"

// nodesReload is how long every node takes to know a keyset that was stored.
const nodesReload = 3 * time.Second

// RotateResult says what a rotation did.
type RotateResult struct {
	Rotated  string         `json:"rotated"`
	Resealed int            `json:"resealed,omitempty"`
	Claims   []RotatedClaim `json:"claims,omitempty"`
}

// RotatedClaim is a person's way to their new key.
type RotatedClaim struct {
	UserID    string `json:"user_id"`
	ClaimURL  string `json:"claim_url,omitempty"` // left out when it went by mail
	ClaimCode string `json:"claim_code"`
}

// RotateKeys puts a new key in an old one's place while servers run. With
// emergency everything the old one signed or sealed is dead within a minute;
// without it old and new are good side by side for a while.
func RotateKeys(ctx context.Context, c Config, what string, emergency bool) (RotateResult, error) {
	out := RotateResult{Rotated: what}
	err := command(ctx, c, func(k *core) error {
		if what == rotateUsers {
			return k.rotateUsers(ctx, emergency, &out)
		}
		return k.rotate(ctx, what, emergency, &out)
	})
	if errors.Is(err, keyring.ErrAuthSecretOutside) {
		err = advise("put a new one there, take out a leaked one, and restart every node", "AUTH_SECRET comes from the environment")
	}
	return out, err
}

func (k *core) rotate(ctx context.Context, what string, emergency bool, out *RotateResult) error {
	change := func(make func() ([]keyring.Wrapped, error)) error {
		wrapped, err := make()
		if err != nil {
			return err
		}
		return k.storeKeysets(ctx, what, emergency, wrapped)
	}
	now := func() time.Time { return k.db.Clock().Now() }
	if err := change(func() ([]keyring.Wrapped, error) { return k.keys.Announce(k.kek, what, now()) }); err != nil {
		return err
	}
	if !(what == keyring.Signing && !emergency) {
		if err := k.db.Clock().Sleep(ctx, nodesReload); err != nil {
			return err
		}
		if err := change(func() ([]keyring.Wrapped, error) { return k.keys.Rotate(k.kek, what, emergency, now()) }); err != nil {
			return err
		}
	}
	if what == keyring.AuthSecret && emergency {
		err := k.db.System(ctx, signin.CLI().By(), func(tx *store.SystemTx) error {
			if _, err := tx.ForgetAllSkeys(); err != nil {
				return err
			}
			_, err := tx.Record(audit.Event{Type: "session.rekey", Outcome: audit.Success})
			return err
		})
		if err != nil {
			return err
		}
	}
	if what != keyring.Encryption {
		return nil
	}
	if err := k.db.Clock().Sleep(ctx, nodesReload); err != nil {
		return err
	}
	n, err := k.db.Reseal(ctx, k.resealOne)
	if err != nil {
		return err
	}
	out.Resealed = n
	return change(func() ([]keyring.Wrapped, error) { return k.keys.Finish(k.kek, what) })
}

// resealOne seals a value under the present key, unless it is already.
func (k *core) resealOne(table, column, row string, sealed []byte) ([]byte, error) {
	if k.keys.SealedByPrimary(sealed) {
		return nil, nil
	}
	plain, err := k.keys.Open(table, column, row, sealed)
	if err != nil {
		return nil, err
	}
	return k.keys.Seal(table, column, row, plain)
}

func (k *core) storeKeysets(ctx context.Context, what string, emergency bool, wrapped []keyring.Wrapped) error {
	if len(wrapped) == 0 {
		return nil
	}
	err := k.db.System(ctx, signin.CLI().By(), func(tx *store.SystemTx) error {
		for _, w := range wrapped {
			n, err := tx.ReplaceKeyset(w.Name, w.Blob, k.keys.Rev(w.Name))
			if err != nil {
				return err
			}
			if n == 0 {
				return identity.Refuse(identity.Conflict, "rotated_meanwhile", "Another rotation is going on. Wait for it and try again.")
			}
		}
		_, err := tx.Record(audit.Event{Type: "keys.rotate", Outcome: audit.Success, Detail: audit.Detail{"what": what, "emergency": emergency}})
		return err
	})
	if err != nil {
		return err
	}
	fresh, err := readKeysets(ctx, k.db)
	if err != nil {
		return err
	}
	return k.keys.Reload(fresh)
}

// rotateUsers gives everybody a claim to a new key. Present keys go on for the
// policy's overlap, or in an emergency stop at once and end every session.
func (k *core) rotateUsers(ctx context.Context, emergency bool, out *RotateResult) error {
	spaces, err := k.directory.Workspaces(ctx)
	if err != nil {
		return err
	}
	for _, w := range spaces {
		users, err := k.directory.Users(ctx, signin.CLI(), w.ID)
		if err != nil {
			return err
		}
		for _, u := range users {
			if u.ClaimedAt.IsZero() || !u.DisabledAt.IsZero() {
				continue
			}
			channel := "screen"
			if u.Email != "" && k.config.Mail.URL != "" {
				channel = "mail"
			}
			claim, err := k.directory.NewClaim(ctx, signin.CLI(), w.ID, u.ID, directory.NewClaim{Channel: channel})
			if err != nil {
				return fmt.Errorf("couldn't make a claim: %w", err)
			}
			out.Claims = append(out.Claims, RotatedClaim{u.ID, claim.URL, claim.Code.Reveal()})
		}
		if err := k.endKeys(ctx, w.ID, users, emergency); err != nil {
			return err
		}
	}
	return nil
}

func (k *core) endKeys(ctx context.Context, workspaceID string, users []directory.User, emergency bool) error {
	doc, _, err := k.sessions.Policy(ctx, workspaceID)
	if err != nil {
		return err
	}
	return k.db.Workspace(ctx, signin.CLI().By(), workspaceID, func(tx *store.Tx) error {
		ends := tx.Now()
		if !emergency {
			ends = ends.AddDate(0, 0, doc.KeyOverlapDays)
		}
		for _, u := range users {
			if err := tx.ExpireUserKeys(u.ID, "", ends.UnixMicro()); err != nil {
				return err
			}
			if !emergency {
				continue
			}
			if _, err := k.sessions.EndAll(tx, u.ID, "keys_rotated", ""); err != nil {
				return err
			}
		}
		_, err := tx.Record(audit.Event{Type: "keys.rotate", Outcome: audit.Success, Detail: audit.Detail{"what": rotateUsers, "emergency": emergency}})
		return err
	})
}
