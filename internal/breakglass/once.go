package breakglass

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// onceLife is how long a repeated request is recognised.
const onceLife = 24 * time.Hour

// once is what makes a request recognisable as a repetition: the browser's
// device, its Idempotency-Key, and what it asked for. Secrets are no part of it:
// of codes and PINs nothing is kept but what they are checked against.
type once struct {
	device, workspaceID, key string
	asked                    string
}

func (b *BreakGlass) once(device, workspaceID string, in StartInput) once {
	if in.IdempotencyKey == "" {
		return once{}
	}
	in.SealedCode, in.PIN = "", ""
	asked, err := json.Marshal(struct {
		Kind, Subject, Workspace, Category, Reason, PatientRef string
		Visiting                                               *Visiting
		Unidentified, Drill                                    bool
	}{in.Kind, in.Subject, in.Workspace, in.Category, in.Reason, in.PatientRef, in.Visiting, in.Unidentified, in.Drill})
	if err != nil {
		return once{}
	}
	return once{device, workspaceID, in.IdempotencyKey, string(asked)}
}

// given reports whether a repetition could be recognised at all.
func (o once) given() bool { return o.key != "" && o.device != "" }

func (o once) row() string {
	sum := sha256.Sum256([]byte(o.device + "\x00" + o.workspaceID + "\x00" + o.key))
	return hex.EncodeToString(sum[:])
}

// kept is what is remembered of an answer, sealed.
type kept struct {
	Asked    string `json:"asked"`
	EventID  string `json:"event"`
	Attached bool   `json:"attached,omitempty"`
	Pickup   string `json:"pickup,omitempty"`
}

// keep remembers the answer in the transaction that decides it. errLost says
// that a request with this key was first.
func (b *BreakGlass) keep(tx *store.Tx, o once, out opened) error {
	if !o.given() {
		return nil
	}
	plain, err := json.Marshal(kept{o.asked, out.eventID, out.attached, out.pickup.Reveal()})
	if err != nil {
		return fmt.Errorf("couldn't keep the answer: %w", err)
	}
	sealed, err := b.keys.Seal("idempotency", "answer", o.row(), plain)
	if err != nil {
		return err
	}
	n, err := tx.InsertIdempotency(store.InsertIdempotencyParams{Key: o.row(), GrantID: out.grant.ID, Answer: sealed,
		ExpiresAt: tx.Now().Add(onceLife).UnixMicro()})
	if err == nil && n == 0 {
		return errLost
	}
	return err
}

// recall returns what was answered to this request before, if anything was. A
// key that was used for something else is a refusal.
func (b *BreakGlass) recall(tx *store.Tx, o once) (opened, bool, error) {
	if !o.given() {
		return opened{}, false, nil
	}
	row, err := tx.IdempotentAnswer(o.row())
	if errors.Is(err, store.ErrNoRows) {
		return opened{}, false, nil
	}
	if err != nil {
		return opened{}, false, err
	}
	plain, err := b.keys.Open("idempotency", "answer", o.row(), row.Answer)
	if err != nil {
		return opened{}, false, err
	}
	var k kept
	if err := json.Unmarshal(plain, &k); err != nil {
		return opened{}, false, fmt.Errorf("couldn't read a kept answer: %w", err)
	}
	if k.Asked != o.asked {
		return opened{}, false, identity.RefuseField("idempotency_key", "reused", "This Idempotency-Key was used for another request. Make a new one.")
	}
	g, err := tx.Grant(row.GrantID)
	return opened{grant: g, eventID: k.EventID, attached: k.Attached, pickup: identity.Secret(k.Pickup)}, err == nil, err
}

// again answers a repeated request of the administrator who made it.
func (b *BreakGlass) again(ctx context.Context, workspaceID string, o once, userID string) (Started, bool, error) {
	var out opened
	var found bool
	err := b.db.Read(ctx, workspaceID, func(tx *store.Tx) (err error) {
		out, found, err = b.recall(tx, o)
		return err
	})
	if err != nil || !found || out.grant.Invoker != userID {
		return Started{}, false, err
	}
	return b.answer(ctx, workspaceID, out), true, nil
}
