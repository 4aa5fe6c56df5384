package signin_test

import (
	"context"
	"testing"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

var actEvent = audit.Event{Type: "user.update", Outcome: audit.Success, Detail: audit.Detail{"changed": "test"}}

func TestCheckDecides(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		c.ChangePolicy(func(d *policy.Document) {
			staff := d.Roles[identity.Staff]
			staff.Allow = []string{"bill", "payment"}
			d.Roles[identity.Staff] = staff
		})
		for _, x := range []struct {
			role    identity.Role
			action  string
			verdict policy.Verdict
			code    string
		}{
			{identity.Nurse, "bill", policy.Permit, ""}, // "*" means what the policy speaks of
			{identity.Nurse, "no_such", policy.Deny, policy.DenyUnknownAction},
			{identity.Nurse, "users", policy.Deny, policy.DenyRole},
			{identity.Nurse, "credentials", policy.Permit, ""},
			{identity.Nurse, "audit_read", policy.Deny, policy.DenyRole},
			{identity.Staff, "bill", policy.Permit, ""},
			{identity.Staff, "export", policy.Deny, policy.DenyRole}, // never in an emergency either
			{identity.PrivacyReviewer, "bill", policy.BreakGlassPossible, ""},
			{identity.PrivacyReviewer, "audit_read", policy.Permit, ""},
			{identity.PrivacyReviewer, "users", policy.Deny, policy.DenyRole},
			{identity.Admin, "users", policy.Permit, ""},
		} {
			b := c.NewDevice()
			if x.role == identity.Admin {
				b.SignIn(c.Admin)
			} else {
				b.SignIn(c.Add(x.role))
			}
			live := b.Who().Live
			before := len(c.Events())
			dec, err := c.Signin.Check(context.Background(), b.Who(), signin.CheckInput{Action: x.action})
			ok(t, err)
			if dec.Verdict != x.verdict || dec.Code != x.code {
				t.Errorf("%s, %s: %s %s", x.role, x.action, dec.Verdict, dec.Code)
			}
			outcome := denied
			if x.verdict == policy.Permit {
				outcome = success
			}
			want(t, "its event", c.Count("authz.check", outcome, live.ID, `"action":"`+x.action+`"`, `"decision":"`+string(x.verdict)+`"`), 1)
			want(t, "events", len(c.Events()), before+1)
		}
		b := c.NewDevice()
		b.SignIn(c.Add(identity.Nurse))
		before := len(c.Events())
		refused(t, c.check(b, signin.CheckInput{Action: "export"}), needsStepUp)
		want(t, "events", len(c.Events()), before+1)
		want(t, "its event", c.Count("authz.check", denied, `"decision":"step_up"`, `"action":"export"`), 1)
		for _, action := range []string{"", "Export", "ex port", "<export>"} {
			refused(t, c.check(b, signin.CheckInput{Action: action}), "unknown")
		}

		c.ChangePolicy(func(d *policy.Document) { d.BreakGlass.Enabled = false })
		b = c.NewDevice()
		b.SignIn(c.Add(identity.PrivacyReviewer))
		dec, err := c.Signin.Check(context.Background(), b.Who(), signin.CheckInput{Action: "bill"})
		ok(t, err)
		want(t, "with emergency access off", dec, policy.Decision{Verdict: policy.Deny, Code: policy.DenyRole})
	})
}

func TestInsideAGrant(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		c.ChangePolicy(func(d *policy.Document) {
			staff := d.Roles[identity.Staff]
			staff.Allow = []string{"bill", "write_note"}
			d.Roles[identity.Staff] = staff
		})
		b := c.NewDevice()
		c.sealed(b, c.Admin)
		live := b.Who().Live
		for _, action := range []string{"export", "bulk_print", "delete", "payment", "users", "policy", "credentials", "factors", "sealed_codes", "break_glass", "audit_read"} {
			dec, err := c.Signin.Check(context.Background(), b.Who(), signin.CheckInput{Action: action})
			ok(t, err)
			want(t, action, dec, policy.Decision{Verdict: policy.Deny, Code: policy.DenyForbidden})
		}
		want(t, "events", c.Count("authz.check", denied, `"grant_id":"`+live.Grant.ID, `"purpose":"BTG"`), 11)
		ok(t, c.check(b, signin.CheckInput{Action: "write_note"}))

		// An administrator's own rights rest meanwhile, and so do credentials.
		_, err := c.Directory.Users(context.Background(), b.Who(), c.Workspace.ID)
		refused(t, err, policy.DenyForbidden)
		_, err = c.changePIN(b, c.Admin.PIN, "7306")
		refused(t, err, policy.DenyForbidden)
		_, _, err = c.Signin.RotateKey(context.Background(), b.Who())
		refused(t, err, policy.DenyForbidden)
		want(t, "refusals in the record", c.Count("authz.refused", denied, `"reason":"bg_forbidden_action"`, `"grant_id":"`+live.Grant.ID), 3)

		own := c.NewDevice()
		own.SignIn(c.Admin)
		_, err = c.changePIN(own, c.Admin.PIN, "7306")
		ok(t, err)
	})
}

func TestActAsksWhoAndWhere(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		other, err := c.Directory.Setup(context.Background(), directory.SetupInput{WorkspaceName: "Other Clinic", AdminEmail: "admin@other.example", AdminName: "Another Administrator",
			PIN: "8264", Another: true, ByOperator: true})
		ok(t, err)
		act := func(who signin.Who, workspace string) error {
			return c.Signin.Act(context.Background(), who, workspace, policy.ActUsers, "test.act", nil, func(tx *store.Tx) error {
				_, err := tx.Record(actEvent)
				return err
			})
		}
		nurse, admin := c.NewDevice(), c.NewDevice()
		nurse.SignIn(c.Add(identity.Nurse))
		admin.SignIn(c.Admin)
		want(t, "kind", refused(t, act(nurse.Who(), c.Workspace.ID), "forbidden").Kind, identity.Forbidden)
		want(t, "kind", refused(t, act(admin.Who(), other.Workspace.ID), "unknown_workspace").Kind, identity.Unknown)
		_, err = c.Directory.Users(context.Background(), admin.Who(), other.Workspace.ID)
		refused(t, err, "unknown_workspace")
		want(t, "refusals in the record", c.Count("authz.refused", denied, `"operation":"test.act"`), 2)
		want(t, "acts", c.Count(actEvent.Type), 0)
		ok(t, act(admin.Who(), c.Workspace.ID))
		ok(t, act(signin.CLI(), c.Workspace.ID))
		want(t, "acts", c.Count(actEvent.Type, `"actor":"`+c.Admin.ID), 1)
		want(t, "acts", c.Count(actEvent.Type, `"actor":"cli"`), 1)
	})
}
