package directory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// ETag names a revision of the policy as HTTP does (RFC 9110 §8.8.3).
func ETag(rev int64) string { return fmt.Sprintf("%q", fmt.Sprint(rev)) }

// Policy returns the workspace's policy and its revision. Class admin only.
func (d *Directory) Policy(ctx context.Context, who signin.Who, workspaceID string) (policy.Document, int64, error) {
	if err := d.signin.AllowedIn(ctx, who, workspaceID, policy.ActPolicy, "policy.get"); err != nil {
		return policy.Document{}, 0, err
	}
	var doc policy.Document
	var row store.Policy
	err := d.db.Read(ctx, workspaceID, func(tx *store.Tx) (err error) {
		doc, row, err = document(tx)
		return err
	})
	return doc, row.Rev, err
}

// PutPolicy replaces the workspace's policy. ifMatch is the ETag of the revision
// that was read; a change that loosens anything needs a reason. A policy under
// which nobody could administer is refused. Action: policy.
func (d *Directory) PutPolicy(ctx context.Context, who signin.Who, workspaceID, ifMatch string, body []byte, reason string) (policy.Document, int64, error) {
	var doc policy.Document
	if ifMatch == "" {
		return doc, 0, identity.Refuse(identity.NoPrecondition, "if_match_missing", "Send the ETag of the policy you read as If-Match.")
	}
	doc, bad := policy.Parse(body)
	if len(bad) > 0 {
		r := identity.Refuse(identity.Invalid, "invalid", "The policy has fields that are not accepted.")
		r.Fields = bad
		return doc, 0, r
	}
	reason = strings.TrimSpace(reason)
	if len(reason) > 500 {
		return doc, 0, identity.RefuseField("reason", "too_long", "At most 500 characters.")
	}
	var was policy.Document
	var rev int64
	check := func(tx *store.Tx) error {
		if _, err := tx.TouchWorkspace(); err != nil {
			return err
		}
		old, row, err := document(tx)
		if err != nil {
			return err
		}
		was, rev = old, row.Rev+1
		if strings.TrimPrefix(ifMatch, "W/") != ETag(row.Rev) {
			return identity.Refuse(identity.Stale, "stale", "The policy has changed since you read it. Read it again.")
		}
		if len(policy.Loosens(old, doc)) > 0 && reason == "" {
			return identity.RefuseField("reason", "reason_required", "This makes something less strict. Say why, in the header Mitral-Reason.")
		}
		return d.keepsPeople(tx, old, doc)
	}
	err := d.signin.Act(ctx, who, workspaceID, policy.ActPolicy, "policy.change", check, func(tx *store.Tx) error {
		return writePolicy(tx, doc, rev, tx.By().Actor, reason, len(policy.Loosens(was, doc)) > 0)
	})
	if store.Conflict(err) {
		err = identity.Refuse(identity.Stale, "stale", "The policy has changed since you read it. Read it again.")
	}
	return doc, rev, err
}

// keepsPeople refuses a policy that leaves nobody to administer, or people
// without their role.
func (d *Directory) keepsPeople(tx *store.Tx, old, doc policy.Document) error {
	users, err := tx.Users()
	if err != nil {
		return err
	}
	left := false
	for _, u := range users {
		role := identity.Role(u.Role)
		if _, had := old.Roles[role]; had && u.DisabledAt == 0 {
			if _, has := doc.Roles[role]; !has {
				return identity.Refuse(identity.Conflict, "role_in_use", "Somebody has a role that this policy removes. Change their role first.")
			}
		}
		if left || !administers(doc, u) {
			continue
		}
		if left, err = canSignIn(tx, old, doc, u); err != nil {
			return err
		}
	}
	if !left {
		return identity.Refuse(identity.Conflict, "nobody_left", "Under this policy nobody could administer. Leave one administrator a way in.")
	}
	return nil
}

// canSignIn reports whether somebody could sign in, at a registered workstation
// if need be, once a policy has replaced another. People in their grace count.
func canSignIn(tx *store.Tx, old, doc policy.Document, u store.User) (bool, error) {
	role := identity.Role(u.Role)
	if rules, _ := doc.Role(role); !slices.Contains(rules.Methods, policy.KeyPIN) {
		return false, nil
	}
	p := policy.Proven{Role: role, Method: policy.KeyPIN, RegisteredDevice: true, FirstSignIn: at(u.FirstSignedInAt)}
	if doc.Accepts(p, tx.Now()).State == policy.SignedIn {
		return true, nil
	}
	p.RequiredSince = tx.Now()
	if !policy.RequirementBegan(old, doc, role) {
		var err error
		if p.RequiredSince, err = signin.RequiredSince(tx, role); err != nil {
			return false, err
		}
	}
	return doc.Accepts(p, tx.Now()).State == policy.SignedIn, nil
}

// writePolicy keeps a revision and records that it was made, by a salted digest.
func writePolicy(tx *store.Tx, doc policy.Document, rev int64, actor, reason string, loosens bool) error {
	text := string(doc.JSON())
	err := tx.InsertPolicy(store.InsertPolicyParams{Rev: rev, Document: text, Actor: actor, Reason: reason})
	if err != nil {
		return err
	}
	salt := identity.NewToken().Reveal()[:26]
	sum := sha256.Sum256([]byte(salt + "\x00" + text))
	_, err = tx.Record(audit.Event{Type: "policy.change", Outcome: audit.Success,
		Detail: audit.Detail{"rev": rev, "salt": salt, "digest": hex.EncodeToString(sum[:]), "loosens": loosens}})
	return err
}

// Revision is one state that the policy was in.
type Revision struct {
	Rev      int64
	Actor    string
	Reason   string
	At       time.Time
	Document policy.Document
}

// PolicyHistory lists the last hundred revisions, newest first.
func (d *Directory) PolicyHistory(ctx context.Context, who signin.Who, workspaceID string) ([]Revision, error) {
	if err := d.signin.AllowedIn(ctx, who, workspaceID, policy.ActPolicy, "policy.history"); err != nil {
		return nil, err
	}
	var out []Revision
	err := d.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		rows, err := tx.PolicyHistory()
		for _, r := range rows {
			doc, _ := policy.Parse([]byte(r.Document))
			out = append(out, Revision{r.Rev, r.Actor, r.Reason, at(r.CreatedAt), doc})
		}
		return err
	})
	return out, err
}

// Device is a browser that has been seen in the workspace.
type Device struct {
	ID, Kind, Label               string
	CreatedAt, SeenAt, Registered time.Time
}

// Devices lists the workspace's devices, last seen first. Class admin only.
func (d *Directory) Devices(ctx context.Context, who signin.Who, workspaceID string) ([]Device, error) {
	if err := d.signin.AllowedIn(ctx, who, workspaceID, policy.ActPolicy, "device.list"); err != nil {
		return nil, err
	}
	var out []Device
	err := d.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		rows, err := tx.Devices()
		for _, r := range rows {
			out = append(out, Device{r.ID, r.Kind, r.Label, at(r.CreatedAt), at(r.SeenAt), at(r.RegisteredAt)})
		}
		return err
	})
	return out, err
}
