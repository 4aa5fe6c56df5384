package breakglass

import (
	"context"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	maxCodes    = 10 // made at once
	maxLocation = 80
)

// Code is a sealed code of the inventory, never the code itself.
type Code struct {
	ID        string     `json:"id"`
	Label     string     `json:"label"`
	Location  string     `json:"location"`
	State     string     `json:"state"` // ready or used
	MintedBy  string     `json:"minted_by"`
	CreatedAt time.Time  `json:"created_at"`
	ReplaceBy time.Time  `json:"replace_by"` // a reminder, never a refusal
	UsedAt    *time.Time `json:"used_at,omitempty"`
	Grant     string     `json:"break_glass,omitempty"` // that it opened
}

// The states of a sealed code.
const (
	CodeReady = "ready"
	CodeUsed  = "used"
)

// MintCodes makes count sealed codes for a location and returns them, once.
// Step-up: sealed_codes. The other administrators are told.
func (b *BreakGlass) MintCodes(ctx context.Context, who signin.Who, count int, location string) ([]directory.SealedCode, error) {
	live := who.Live
	if live == nil {
		return nil, errSignedOut
	}
	if err := b.signin.Allowed(ctx, who, policy.ActSealedCodes); err != nil {
		return nil, b.signin.RecordRefusal(ctx, who, live.WorkspaceID, "break_glass.codes", err)
	}
	var o offences
	if count < 1 || count > maxCodes {
		o.add("count", "out_of_bounds", "Make 1 to 10 codes at once.")
	}
	if !readable(location, maxLocation) {
		o.add("location", "invalid", "Say where the letters will lie, such as “pharmacy safe”.")
	}
	if err := o.refusal(); err != nil {
		return nil, err
	}
	var set keyring.Set
	err := b.db.Read(ctx, live.WorkspaceID, func(tx *store.Tx) error {
		w, err := tx.WorkspaceRow()
		if err != nil {
			return err
		}
		set, err = keyring.ParseSet(string(w.CodeSalt))
		return err
	})
	if err != nil {
		return nil, err
	}
	prepared, err := b.directory.PrepareSealed(ctx, set, count, signin.Lane{Device: live.DeviceID, Range: who.Visit.Client.Range()})
	if err != nil {
		return nil, err
	}
	locations := make([]string, count)
	for i := range locations {
		locations[i] = location
	}
	var codes []directory.SealedCode
	err = b.signin.Act(ctx, who, live.WorkspaceID, policy.ActSealedCodes, "break_glass.codes", nil, func(tx *store.Tx) error {
		var err error
		if codes, err = b.directory.InsertSealed(tx, prepared, locations, live.UserID); err != nil {
			return err
		}
		me, err := tx.User(live.UserID)
		if err != nil {
			return err
		}
		return b.tellAdministrators(tx, templateCodes, "", live.UserID, map[string]string{"name": me.Name, "first": codes[0].Label,
			"last": codes[len(codes)-1].Label, "location": location})
	})
	if err != nil {
		return nil, err
	}
	return codes, nil
}

// Codes returns the inventory of a workspace's sealed codes, for administrators
// and reviewers.
func (b *BreakGlass) Codes(ctx context.Context, who signin.Who) ([]Code, error) {
	live := who.Live
	if live == nil {
		return nil, errSignedOut
	}
	doc, _, err := b.sessions.Policy(ctx, live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	switch {
	case live.Grant != nil:
		return nil, errInside
	case !doc.MayRevoke(live.Role):
		return nil, identity.Refuse(identity.Forbidden, "forbidden", "Your role may not do this.")
	}
	out := []Code{}
	err = b.db.Read(ctx, live.WorkspaceID, func(tx *store.Tx) error {
		rows, err := tx.SealedCodes()
		for _, r := range rows {
			c := Code{ID: r.ID, Label: r.Label, Location: r.Location, State: CodeReady, MintedBy: r.MintedBy,
				CreatedAt: timeOf(r.CreatedAt), ReplaceBy: timeOf(r.ReplaceBy)}
			if r.UsedAt > 0 {
				used := timeOf(r.UsedAt)
				c.State, c.UsedAt, c.Grant = CodeUsed, &used, r.GrantID
			}
			out = append(out, c)
		}
		return err
	})
	return out, err
}
