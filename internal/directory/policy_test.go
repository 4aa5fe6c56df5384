package directory_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
)

// policyText is the present policy, edited.
func policyText(t testing.TB, c clinic, edits ...func(*policy.Document)) []byte {
	t.Helper()
	doc, _, err := c.Directory.Policy(context.Background(), signin.CLI(), c.Workspace.ID)
	ok(t, err)
	for _, edit := range edits {
		edit(&doc)
	}
	return doc.JSON()
}

func (c clinic) put(who signin.Who, rev int64, body []byte, reason string) (int64, error) {
	_, is, err := c.Directory.PutPolicy(context.Background(), who, c.Workspace.ID, directory.ETag(rev), body, reason)
	return is, err
}

func edit(role identity.Role, f func(*policy.Role)) func(*policy.Document) {
	return func(d *policy.Document) {
		r := d.Roles[role]
		f(&r)
		d.Roles[role] = r
	}
}

func idle(d policy.Duration) func(*policy.Document) {
	return edit(identity.Nurse, func(r *policy.Role) { r.Idle = d })
}

func TestPolicy(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		b := c.NewDevice()
		b.SignIn(c.Admin)
		who := b.Who()
		_, rev, err := c.Directory.Policy(ctx, who, c.Workspace.ID)
		ok(t, err)
		want(t, "ETag", directory.ETag(rev), `"1"`)

		stricter := policyText(t, c, idle("10m"))
		_, _, err = c.Directory.PutPolicy(ctx, who, c.Workspace.ID, "", stricter, "")
		want(t, "kind", refused(t, err, "if_match_missing").Kind, identity.NoPrecondition)
		_, err = c.put(who, 7, stricter, "")
		want(t, "kind", refused(t, err, "stale").Kind, identity.Stale)
		for _, text := range []string{"", "{", `{"methods":["carrier-pigeon"]}`, strings.Replace(string(stricter), `"10m"`, `"10 minutes"`, 1)} {
			_, err = c.put(who, 1, []byte(text), "")
			r := refused(t, err, "invalid")
			if r.Kind != identity.Invalid || len(r.Fields) == 0 {
				t.Errorf("%.20s: %+v", text, r)
			}
		}
		is, err := c.put(who, 1, stricter, "")
		ok(t, err)
		want(t, "revision", is, int64(2))
		_, err = c.put(who, 1, stricter, "")
		refused(t, err, "stale")

		looser := policyText(t, c, idle("20m"))
		_, err = c.put(who, 2, looser, "  ")
		field(t, err, "reason")
		refused(t, err, "reason_required")
		_, err = c.put(who, 2, looser, strings.Repeat("x", 501))
		field(t, err, "reason")
		_, err = c.put(who, 2, looser, "night shifts read long charts")
		ok(t, err)
		_, _, err = c.Directory.PutPolicy(ctx, who, c.Workspace.ID, "W/"+directory.ETag(3), policyText(t, c, idle("15m")), "")
		ok(t, err)

		history, err := c.Directory.PolicyHistory(ctx, who, c.Workspace.ID)
		ok(t, err)
		want(t, "revisions", len(history), 4)
		want(t, "newest", history[0].Rev, int64(4))
		want(t, "actor", history[1].Actor, c.Admin.ID)
		want(t, "reason", history[1].Reason, "night shifts read long charts")
		want(t, "what it said", history[1].Document.Roles[identity.Nurse].Idle, "20m")
		want(t, "loosening", c.Count("policy.change", success, `"loosens":true`, `"rev":3`), 1)
		want(t, "tightening", c.Count("policy.change", success, `"loosens":false`), 3)
		want(t, "reasons in the record", c.Count("policy.change", "charts"), 0)

		c.Advance(5 * time.Minute)
		_, err = c.put(b.Who(), 4, stricter, "")
		want(t, "action", refused(t, err, needsStep).Action, "policy")
		_, err = c.put(b.Confirmed(c.Admin, "policy"), 4, stricter, "")
		ok(t, err)
	})
}

func TestThePolicysEventFitsItsDocument(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		body := policyText(t, c, idle("10m"))
		_, err := c.put(signin.CLI(), 1, body, "")
		ok(t, err)
		found := false
		for _, e := range c.Events() {
			var leaf struct {
				Rev          int64
				Salt, Digest string
			}
			ok(t, json.Unmarshal([]byte(e.Leaf), &leaf))
			if e.Type == "policy.change" && leaf.Rev == 2 {
				sum := sha256.Sum256([]byte(leaf.Salt + "\x00" + string(body)))
				want(t, "digest", leaf.Digest, hex.EncodeToString(sum[:]))
				found = true
			}
		}
		want(t, "found", found, true)
	})
}

func TestAPolicyCountsAtOnce(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		b := c.NewDevice()
		nurse := c.Add(identity.Nurse)
		b.SignIn(nurse)
		decide := func() policy.Decision {
			t.Helper()
			dec, err := c.Signin.Check(ctx, b.Who(), signin.CheckInput{Action: "sign"})
			ok(t, err)
			return dec
		}
		want(t, "before", decide(), policy.Decision{Verdict: policy.Deny, Code: policy.DenyUnknownAction})
		c.ChangePolicy(func(d *policy.Document) { d.StepUpAges["sign"], d.StepUpMethods["sign"] = 60, []string{"pin"} })
		want(t, "after", decide(), policy.Decision{Verdict: policy.Permit})
		_, _, err := c.Signin.StepUp(ctx, b.Who(), signin.StepUpInput{Action: "sign", Method: "pin", PIN: nurse.PIN})
		ok(t, err)
		c.ChangePolicy(edit(identity.Nurse, func(r *policy.Role) { r.Methods = []string{policy.Passkey} }))
		refused(t, c.signIn(nurse), "invalid_credentials")
	})
}

func TestAPolicyLeavesSomebodyToAdminister(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		_, err := c.add(nurse())
		ok(t, err)
		noKey := policyText(t, c, edit(identity.Admin, func(r *policy.Role) { r.Methods = []string{policy.Passkey} }))
		_, err = c.put(signin.CLI(), 1, noKey, "a test")
		want(t, "kind", refused(t, err, "nobody_left").Kind, identity.Conflict)
		noNurse := policyText(t, c, func(d *policy.Document) { delete(d.Roles, identity.Nurse) })
		_, err = c.put(signin.CLI(), 1, noNurse, "a test")
		want(t, "kind", refused(t, err, "role_in_use").Kind, identity.Conflict)
		noDoctor := policyText(t, c, func(d *policy.Document) { delete(d.Roles, identity.Doctor) })
		_, err = c.put(signin.CLI(), 1, noDoctor, "a test")
		ok(t, err)
		want(t, "refusals in the record", c.Count("authz.refused", denied, `"operation":"policy.change"`), 2)
	})
}

func TestWhoIsInTheirGraceCanAdminister(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		factors := func(d *policy.Document) { d.MFA.Accept = []string{policy.WebAuthn, policy.TOTP} }
		_, err := c.put(signin.CLI(), 1, policyText(t, c, factors), "a test")
		refused(t, err, "nobody_left") // nobody has ever signed in, so nobody has a grace
		b := c.NewDevice()
		b.SignIn(c.Admin)
		c.Advance(time.Minute)
		_, err = c.put(b.Who(), 1, policyText(t, c, factors), "a test")
		ok(t, err)
		ok(t, c.signIn(c.Admin))
		// Anything else can be changed meanwhile.
		c.Advance(6 * day)
		b.SignIn(c.Admin)
		_, err = c.put(b.Who(), 2, policyText(t, c, idle("10m")), "")
		ok(t, err)
		c.Advance(day)
		_, err = c.put(signin.CLI(), 3, policyText(t, c, idle("9m")), "")
		refused(t, err, "nobody_left")
		_, err = c.put(signin.CLI(), 3, policyText(t, c, func(d *policy.Document) { d.MFA.Accept = append(d.MFA.Accept, policy.PairAnywhere) }), "a test")
		ok(t, err)
	})
}

func TestF14TwoPoliciesAtOnce(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nodes := [2]clinic{c, {c.Node(), t}}
		body := policyText(t, c, idle("10m"))
		got := codes(t, atOnce(6, func(i int) error {
			_, err := nodes[i%2].put(signin.CLI(), 1, body, "")
			return err
		}))
		want(t, "went through", got[""], 1)
		want(t, "stale", got["stale"], 5)
	})
}

func TestF14APolicyAndADemotionAtOnce(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		// Two administrators of two roles: one is demoted while the policy bars the
		// other's way in.
		second := c.Add(identity.Admin)
		c.ChangePolicy(func(d *policy.Document) { d.Roles["manager"] = d.Roles[identity.Admin] })
		nodes := [2]clinic{c, {c.Node(), t}}
		rev := int64(2)
		bar := func() error {
			_, err := nodes[0].put(signin.CLI(), rev, policyText(t, c, edit("manager", func(r *policy.Role) { r.Methods = []string{policy.Passkey} })), "a test")
			return err
		}
		demote := func() error {
			_, err := nodes[1].update(c.Admin.ID, directory.Change{Role: ptr(identity.Doctor)})
			return err
		}
		for how, both := range map[string]func() []error{
			"the policy first":   func() []error { return []error{bar(), demote()} },
			"the demotion first": func() []error { return []error{demote(), bar()} },
			"at once":            func() []error { return atOnce(2, func(i int) error { return []func() error{bar, demote}[i]() }) },
		} {
			_, err := c.update(second.ID, directory.Change{Role: ptr(identity.Role("manager"))})
			ok(t, err)
			got := codes(t, both())
			if got[""] != 1 || got["nobody_left"]+got["last_administrator"] != 1 {
				t.Errorf("%s: %v", how, got)
			}
			for _, id := range []string{c.Admin.ID, second.ID} {
				_, err := c.update(id, directory.Change{Role: ptr(identity.Admin)})
				ok(t, err)
			}
			c.ChangePolicy(func(d *policy.Document) { d.Roles["manager"] = d.Roles[identity.Admin] })
			_, rev, err = c.Directory.Policy(context.Background(), signin.CLI(), c.Workspace.ID)
			ok(t, err)
		}
	})
}
