package policy_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mitral-health/mitral/internal/policy"
)

// TestLoosening: each change is weaker in one direction and not in the other,
// and says so in the sentences given.
func TestLoosening(t *testing.T) {
	type m = map[string]any
	for _, c := range []struct {
		set     m
		field   string
		looser  string
		tighter string
	}{
		{m{"roles.nurse.idle": "30m"}, "roles.nurse.idle", "nurse: locks after 30 min instead of 15 min", "nurse: locks after 15 min instead of 30 min"},
		{m{"roles.admin.absolute": "3d"}, "roles.admin.absolute", "admin: is signed out after 3 days instead of 12 h", "admin: is signed out after 12 h instead of 3 days"},
		{m{"roles.admin.lock_ttl": "3h"}, "roles.admin.lock_ttl", "admin: a locked session waits 3 h instead of 2 h", "admin: a locked session waits 2 h instead of 3 h"},
		{m{"roles.nurse.mfa": "optional"}, "roles.nurse.mfa", "nurse: a second step is optional instead of required", "nurse: a second step is required instead of optional"},
		{m{"roles.nurse.class": "admin"}, "roles.nurse.class", "nurse: is of class admin instead of clinical", "nurse: is of class clinical instead of admin"},
		{m{"roles.nurse.sessions": 6}, "roles.nurse.sessions", "nurse: has 6 open sessions at most instead of 5", "nurse: has 5 open sessions at most instead of 6"},
		{m{"roles.nurse.methods": []string{"google", "microsoft-entra-id", "key-pin", "saml", "passkey", "email"}}, "roles.nurse.methods", "nurse: sign-in now also email", "nurse: sign-in no more email"},
		{m{"roles.privacy_reviewer.allow": []string{"*"}}, "roles.privacy_reviewer.allow", "privacy_reviewer: may do now also everything in the applications", "privacy_reviewer: may do no more everything in the applications"},
		{m{"methods": []string{"key-pin", "passkey", "email", "telegram"}}, "methods", "everybody: sign-in now also telegram", "everybody: sign-in no more telegram"},
		{m{"mfa.grace": "14d"}, "mfa.grace", "everybody: has 14 days instead of 7 days to add a factor", "everybody: has 7 days instead of 14 days to add a factor"},
		{m{"step_up.export": 300}, "step_up.export", "export: confirmation is asked after 5 min instead of each time", "export: confirmation is asked each time instead of after 5 min"},
		{m{"break_glass.enabled": true}, "break_glass.enabled", "emergency access: can be opened", "emergency access: nobody can open it"},
		{m{"break_glass.second_person": "off"}, "break_glass.second_person", "emergency access: second person: off instead of witness", "emergency access: second person: witness instead of off"},
		{m{"break_glass.sealed.where": "anywhere"}, "break_glass.sealed.where", "sealed codes: open anywhere instead of only in the clinic", "sealed codes: open only in the clinic instead of anywhere"},
		{m{"break_glass.minutes": 60}, "break_glass.minutes", "emergency access: lasts 60 minutes instead of 30", "emergency access: lasts 30 minutes instead of 60"},
		{m{"break_glass.allow": []string{"*"}}, "break_glass.allow", "emergency access: allows now also everything in the applications, no more chart_read", "emergency access: allows now also chart_read, no more everything in the applications"},
		{m{"magic_link.ttl": "10m"}, "magic_link.ttl", "everybody: a mailed link is good for 10 min instead of 90 s", "everybody: a mailed link is good for 90 s instead of 10 min"},
		{m{"fallback.key_pin_when_idp_down": "auto"}, "fallback.key_pin_when_idp_down", "everybody: key and PIN in a provider's outage: auto instead of off", "everybody: key and PIN in a provider's outage: off instead of auto"},
		{m{"pin.length": 4}, "pin.length", "everybody: PINs have 4 digits instead of 6", "everybody: PINs have 6 digits instead of 4"},
		{m{"pin.max_age_days": 0}, "pin.max_age_days", "everybody: PINs last 0 days instead of 90 (0 is for ever)", "everybody: PINs last 90 days instead of 0 (0 is for ever)"},
		{m{"pin.history": 1}, "pin.history", "everybody: the last 1 PINs instead of 5 are refused", "everybody: the last 5 PINs instead of 1 are refused"},
		{m{"key_overlap_days": 8}, "key_overlap_days", "everybody: an old key works 8 days more instead of 7", "everybody: an old key works 7 days more instead of 8"},
		{m{"networks.clinic": []string{"10.0.0.0/8"}}, "networks.clinic", "the clinic's network: 10.0.0.0/8 instead of 10.1.0.0/16", "the clinic's network: 10.1.0.0/16 instead of 10.0.0.0/8"},
	} {
		// The tighter half of what is compared, where the presets are the looser.
		base := edit(t, preset(t, "clinic"), m{
			"break_glass.enabled": false, "break_glass.second_person": "witness", "break_glass.sealed.where": "clinic", "break_glass.minutes": 30,
			"break_glass.allow": []string{"chart_read"}, "magic_link.ttl": "90s", "fallback.key_pin_when_idp_down": "off", "pin.length": 6, "networks.clinic": []string{"10.1.0.0/16"},
		})
		changed := edit(t, base, c.set)
		looser, tighter := policy.Diff(base, changed), policy.Diff(changed, base)
		if len(looser) != 1 || looser[0].Field != c.field || looser[0].Sentence != c.looser || !looser[0].Loosens {
			t.Errorf("%v: %+v", c.set, looser)
		}
		if len(tighter) != 1 || tighter[0].Field != c.field || tighter[0].Sentence != c.tighter || tighter[0].Loosens {
			t.Errorf("back from %v: %+v", c.set, tighter)
		}
		if len(policy.Loosens(base, changed)) != 1 || len(policy.Loosens(changed, base)) != 0 {
			t.Errorf("%v: Loosens is not the loosening half of Diff", c.set)
		}
	}
}

func TestLoosensInParticular(t *testing.T) {
	type m = map[string]any
	clinic, hospital := preset(t, "clinic"), preset(t, "hospital")
	twoAdmins := edit(t, clinic, m{"roles.manager.class": "admin"})
	for _, c := range []struct {
		sentence string
		old, new policy.Document
		want     []string
	}{
		{"from hospital to clinic the pair and PINs come in", hospital, clinic, []string{
			"mfa.accept", "step_up_accept.audit_export", "step_up_accept.audit_read", "step_up_accept.credentials", "step_up_accept.factors",
			"step_up_accept.policy", "step_up_accept.review", "step_up_accept.sealed_codes", "step_up_accept.users"}},
		{"from clinic to hospital nothing does", clinic, hospital, nil},
		{"a longer PIN life", clinic, edit(t, clinic, m{"pin.max_age_days": 91}), []string{"pin.max_age_days"}},
		{"from no end to some end", edit(t, clinic, m{"pin.max_age_days": 0}), edit(t, clinic, m{"pin.max_age_days": 365}), nil},
		{"an action added", clinic, edit(t, clinic, m{"step_up.prescribe": 60}), nil},
		{"an action dropped", edit(t, clinic, m{"step_up.prescribe": 60}), clinic, []string{"step_up.prescribe"}},
		{"the same lists in another order", clinic, edit(t, clinic, m{"methods": []string{"email", "key-pin", "passkey"}}), nil},
		{"naming what was everything", clinic, edit(t, clinic, m{"roles.nurse.allow": []string{"chart_read", "export"}}), nil},
		{"a role added", clinic, edit(t, clinic, m{"roles.porter.class": "office"}), nil},
		{"a role gone", clinic, edit(t, clinic, m{"roles.staff": gone}), nil},
		{"class review for a clinical role", clinic, edit(t, clinic, m{"roles.doctor.class": "review"}), []string{"roles.doctor.class"}},
		{"class review for an administrator", twoAdmins, edit(t, twoAdmins, m{"roles.manager.class": "review"}), nil},
		{"any node opens without the database", edit(t, clinic, m{"break_glass.sealed.offline_node": "a"}), clinic, []string{"break_glass.sealed.offline_node"}},
		{"one node only", clinic, edit(t, clinic, m{"break_glass.sealed.offline_node": "a"}), nil},
		{"a grant's role that narrows", clinic, edit(t, clinic, m{"break_glass.role": "nurse", "roles.nurse.allow": []string{"chart_read"}}), nil},
		{"a grant's role that widens", edit(t, clinic, m{"break_glass.role": "nurse", "roles.nurse.allow": []string{"chart_read"}}), edit(t, clinic, m{"roles.nurse.allow": []string{"chart_read"}}), []string{"break_glass.role"}},
		{"a first clinic network", clinic, edit(t, clinic, m{"networks.clinic": []string{"10.0.0.0/8"}}), []string{"networks.clinic"}},
		{"a smaller one", edit(t, clinic, m{"networks.clinic": []string{"10.0.0.0/8"}}), edit(t, clinic, m{"networks.clinic": []string{"10.2.0.0/16"}}), nil},
		{"another reviewer", edit(t, clinic, m{"break_glass.reviewers": []string{"privacy_reviewer"}}), clinic, []string{"break_glass.reviewers"}},
		{"one hour written otherwise", clinic, edit(t, clinic, m{"roles.admin.idle": "1h"}), nil},
	} {
		var fields []string
		for _, change := range policy.Loosens(c.old, c.new) {
			fields = append(fields, change.Field)
		}
		if diff := cmp.Diff(c.want, fields); diff != "" {
			t.Errorf("%s: %s", c.sentence, diff)
		}
	}
}

// TestDiffSeesEveryField changes each field of the document in turn, so that a
// field added without a line in Diff is found here.
func TestDiffSeesEveryField(t *testing.T) {
	base := edit(t, preset(t, "clinic"), map[string]any{"networks.clinic": []string{"10.0.0.0/8"}, "roles.manager.class": "admin"})
	var tree map[string]any
	if err := json.Unmarshal(base.JSON(), &tree); err != nil {
		t.Fatal(err)
	}
	fields := leaves("", tree)
	if len(fields) < 80 {
		t.Fatalf("only %d fields", len(fields))
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		changed := edit(t, base, map[string]any{field: other(t, field, fields[field])})
		var got []string
		for _, change := range policy.Diff(base, changed) {
			got = append(got, change.Field)
			if change.Sentence == "" || strings.Contains(change.Sentence, "%!") || change.Was == change.Is {
				t.Errorf("%s: %+v", field, change)
			}
		}
		if !slices.Contains(got, field) {
			t.Errorf("%s: changes are %v", field, got)
		}
	}
	if changes := policy.Diff(base, base); len(changes) != 0 {
		t.Errorf("nothing changed: %v", changes)
	}
}

func leaves(path string, node map[string]any) map[string]any {
	all := map[string]any{}
	for name, value := range node {
		if object, isObject := value.(map[string]any); isObject {
			maps.Copy(all, leaves(path+name+".", object))
		} else {
			all[path+name] = value
		}
	}
	return all
}

// other returns another value that the field may have.
func other(t *testing.T, field string, value any) any {
	t.Helper()
	words := map[string]string{
		"clinical": "office", "office": "clinical", "review": "admin", "admin": "review", "required": "optional", "optional": "required",
		"any": "phishing_resistant", "off": "witness", "anywhere": "clinic", "auto": "off", "passkey_or_card": "off", "": "node-a", "emergency_clinician": "doctor",
		"15m": "16m", "60m": "61m", "12h": "13h", "8h": "9h", "2h": "3h", "7d": "8d", "10m": "9m",
	}
	switch v := value.(type) {
	case bool:
		return !v
	case float64:
		if field == "pin.length" {
			return 6
		}
		if v > 0 {
			return v - 1
		}
		return 1
	case []any:
		switch {
		case field == "networks.clinic":
			return []string{}
		case strings.HasSuffix(field, ".allow"):
			return []string{"chart_read"}
		}
		return v[:len(v)-1]
	case string:
		if other, found := words[v]; found {
			return other
		}
	}
	t.Fatalf("%s = %v: no other value known", field, value)
	return nil
}
