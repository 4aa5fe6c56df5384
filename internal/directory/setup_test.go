package directory_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

func first() directory.SetupInput {
	return directory.SetupInput{WorkspaceName: "Hope  Clinic", TimeZone: "Europe/London", Reach: "clinic_network", AdminEmail: " Admin@Hope.example",
		AdminName: "An Administrator", AdminPhone: "+44 20 7946 0101", PIN: "8264"}
}

func TestSetup(t *testing.T) {
	forEachEmpty(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		is, err := c.Directory.IsSetUp(ctx)
		ok(t, err)
		want(t, "set up", is, false)
		in := first()
		in.Client = c.NewDevice().Visit().Client
		got, err := c.Directory.Setup(ctx, in)
		ok(t, err)
		c.Workspace = got.Workspace
		if is, err = c.Directory.IsSetUp(ctx); err != nil || !is {
			t.Error("it is not set up")
		}
		want(t, "workspace", got.Workspace, directory.Workspace{ID: got.Workspace.ID, Slug: "hope-clinic", Name: "Hope Clinic", TimeZone: "Europe/London"})
		want(t, "address", got.User.Email, "admin@hope.example")
		want(t, "number", got.User.Phone, "+442079460101")
		want(t, "role", got.User.Role, identity.Admin)
		want(t, "recovery codes", len(got.RecoveryCodes), 10)
		want(t, "sealed codes", len(got.SealedCodes), 2)
		for i, code := range got.SealedCodes {
			want(t, "label", code.Label, fmt.Sprintf("BG-A-%02d", i+1))
			want(t, "location", code.Location, []string{"with the administrator", "away from this computer"}[i])
		}
		doc, rev, err := c.Directory.Policy(ctx, signin.CLI(), got.Workspace.ID)
		ok(t, err)
		clinicPreset, err := policy.Preset("clinic")
		ok(t, err)
		want(t, "revision", rev, int64(1))
		want(t, "policy", string(doc.JSON()), string(clinicPreset.JSON()))

		// The codes are good for what they are for, and stand nowhere as text.
		ok(t, c.DB.Read(ctx, got.Workspace.ID, func(tx *store.Tx) error {
			w, err := tx.WorkspaceRow()
			if err != nil {
				return err
			}
			sealed, err := tx.SealedCodes()
			if err != nil {
				return err
			}
			for i, row := range sealed {
				matches(t, c.Keys, string(w.CodeSalt), got.SealedCodes[i].Code, row.Digest, "sealed_code", row.ID)
			}
			u, err := tx.User(got.User.ID)
			if err != nil {
				return err
			}
			recovery, err := tx.RecoveryCodes(u.ID)
			want(t, "stored", len(recovery), 10)
			for _, row := range recovery {
				if row.ID == "" || len(row.Digest) == 0 {
					t.Error("a code was not kept")
				}
			}
			return err
		}))
		for typ, n := range map[string]int{"workspace.create": 1, "user.create": 1, "factor.key_issue": 1, "factor.pin_set": 1, "factor.recovery_codes": 1,
			"break_glass.codes_mint": 1, "policy.change": 1} {
			want(t, typ, c.Count(typ, success, `"actor":"`+got.User.ID, `"ip":"`+in.Client.Address()), n)
		}
		ok(t, c.signIn(mitraltest.Person{Email: "admin@hope.example", Key: got.Key, PIN: "8264"}))
	})
}

// matches fails unless a code as it is printed is the one of a row.
func matches(t *testing.T, keys *keyring.Ring, salt string, code identity.Secret, sealed []byte, table, row string) {
	t.Helper()
	set, err := keyring.ParseSet(salt)
	ok(t, err)
	canonical, err := identity.ParseCode(code.Reveal(), 10)
	ok(t, err)
	digest, err := set.Hash(canonical)
	ok(t, err)
	match, err := keys.MatchDigest(digest, sealed, table, "digest", row)
	ok(t, err)
	want(t, "the code of "+row, match.OK, true)
}

func TestSetupInput(t *testing.T) {
	forEachEmpty(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		for name, edit := range map[string]func(*directory.SetupInput){
			"workspace":   func(in *directory.SetupInput) { in.WorkspaceName = " " },
			"admin_name":  func(in *directory.SetupInput) { in.AdminName = "<b>" },
			"admin_email": func(in *directory.SetupInput) { in.AdminEmail = "nobody" },
			"admin_phone": func(in *directory.SetupInput) { in.AdminPhone = "020 7946 0101" },
			"preset":      func(in *directory.SetupInput) { in.Preset = "ward" },
			"time_zone":   func(in *directory.SetupInput) { in.TimeZone = "Europe/Nowhere" },
			"pin":         func(in *directory.SetupInput) { in.PIN = "1234" },
		} {
			in := first()
			edit(&in)
			_, err := c.Directory.Setup(ctx, in)
			field(t, err, name)
		}
		in := first()
		in.PIN = "0101" // from the telephone number
		_, err := c.Directory.Setup(ctx, in)
		refused(t, err, "pin_too_easy")
		is, err := c.Directory.IsSetUp(ctx)
		ok(t, err)
		want(t, "set up by what was refused", is, false)
		_, err = c.Directory.Setup(ctx, first())
		ok(t, err)
	})
}

func TestSetupHappensOnce(t *testing.T) {
	forEachEmpty(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		nodes := [2]clinic{c, {c.Node(), t}}
		errs := atOnce(4, func(i int) error {
			_, err := nodes[i%2].Directory.Setup(ctx, first())
			return err
		})
		got := codes(t, errs)
		want(t, "set up", got[""], 1)
		want(t, "refused", got["already_set_up"], 3)
		all, err := c.Directory.Workspaces(ctx)
		ok(t, err)
		want(t, "workspaces", len(all), 1)

		_, err = c.Directory.Setup(ctx, first())
		want(t, "kind", refused(t, err, "already_set_up").Kind, identity.Conflict)
		in := first()
		in.Another, in.ByOperator, in.Preset = true, true, "cloud"
		another, err := c.Directory.Setup(ctx, in)
		ok(t, err)
		want(t, "slug", another.Workspace.Slug, "hope-clinic-2")
		c.Workspace = another.Workspace
		want(t, "by the operator", c.Count("workspace.create", `"actor":"`+audit.ActorCLI, `"preset":"cloud"`), 1)
		w, err := c.Directory.WorkspaceBySlug(ctx, "hope-clinic-2")
		ok(t, err)
		want(t, "found by its slug", w, another.Workspace)
		_, err = c.Directory.WorkspaceBySlug(ctx, "no-such")
		want(t, "kind", refused(t, err, "unknown_workspace").Kind, identity.Unknown)
	})
}

func TestF45WhatSetupShowsOnceIsNotPrintedByAccident(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		printed := fmt.Sprintf("%v %+v %#v %s", c.Setup, c.Setup, c.Setup, c.Setup.SealedCodes)
		for _, s := range append([]identity.Secret{c.Setup.Key, c.Setup.SealedCodes[0].Code, c.Setup.SealedCodes[1].Code}, c.Setup.RecoveryCodes...) {
			if s == "" || strings.Contains(printed, s.Reveal()) {
				t.Error("a secret is printed")
			}
		}
		if b, err := json.Marshal(c.Setup); err == nil {
			t.Errorf("it was marshalled: %s", b)
		}
		if !strings.Contains(printed, c.Setup.SealedCodes[0].Label) {
			t.Error("the control: labels are no secrets")
		}
		for _, e := range c.Events() {
			if strings.Contains(e.Leaf, c.Setup.Key.Reveal()) || strings.Contains(e.Leaf, c.Setup.SealedCodes[0].Code.Reveal()) {
				t.Errorf("a secret is in the record: %s", e.Type)
			}
		}
	})
}
