package policy_test

import (
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
)

// TestMayDo reads as sentences. The workspace lets nurses read charts, doctors
// prescribe too, and keeps one kind of record for emergencies.
func TestMayDo(t *testing.T) {
	d := edit(t, preset(t, "clinic"), map[string]any{
		"roles.nurse.allow":  []string{"chart_read", "chart_write", "export"},
		"roles.doctor.allow": []string{"chart_read", "chart_write", "prescribe", "export", "delete"},
		"roles.staff.allow":  []string{"payment"},
		"break_glass.allow":  []string{"chart_read", "chart_write", "read_restricted", "export", "bulk_print"},
		"step_up.merge":      0,
	})
	check := func(inGrant bool, want policy.Decision) func(identity.Role, ...string) {
		return func(role identity.Role, actions ...string) {
			t.Helper()
			for _, action := range actions {
				if got := d.MayDo(role, action, inGrant); got != want {
					t.Errorf("%s, %s (grant %v): %+v, want %+v", role, action, inGrant, got, want)
				}
			}
		}
	}
	deny := func(code string) policy.Decision { return policy.Decision{Verdict: policy.Deny, Code: code} }
	permit := policy.Decision{Verdict: policy.Permit}

	allow := check(false, permit)
	notTheirs := check(false, deny("role"))
	unheardOf := check(false, deny("unknown_action"))
	glassOpens := check(false, policy.Decision{Verdict: policy.BreakGlassPossible})
	inside := check(true, permit)
	insideNot := check(true, deny("role"))
	insideNever := check(true, deny("bg_forbidden_action"))
	insideUnknown := check(true, deny("unknown_action"))

	allow("nurse", "chart_read", "chart_write", "export")
	allow("doctor", "prescribe", "delete")
	allow("admin", "chart_read", "read_restricted", "merge") // allows "*"
	glassOpens("nurse", "read_restricted")
	glassOpens("staff", "chart_read")
	glassOpens("privacy_reviewer", "chart_read")
	notTheirs("nurse", "prescribe", "merge")   // no grant would allow it either
	notTheirs("nurse", "delete", "payment")    // never possible by glass
	notTheirs("staff", "export", "bulk_print") // listed for grants, yet never there
	unheardOf("nurse", "launch", "", "*", "Export", "chart_read ")
	notTheirs("porter", "chart_read", "users", "export")

	allow("admin", "users", "policy", "credentials", "factors", "review", "break_glass", "sealed_codes", "audit_export", "audit_read")
	allow("privacy_reviewer", "review", "audit_export", "audit_read", "credentials", "factors")
	notTheirs("privacy_reviewer", "users", "policy", "break_glass", "sealed_codes")
	allow("nurse", "credentials", "factors")
	notTheirs("nurse", "users", "policy", "review", "break_glass", "sealed_codes", "audit_export", "audit_read")

	inside("nurse", "chart_read", "read_restricted")
	inside("staff", "chart_write")
	inside("emergency_clinician", "chart_read")
	insideNot("doctor", "prescribe")
	insideNot("admin", "merge")
	insideNever("doctor", "export", "bulk_print", "delete", "payment")
	insideNever("admin", "users", "policy", "credentials", "factors", "review", "break_glass", "sealed_codes", "audit_export", "audit_read")
	insideUnknown("nurse", "launch", "*")

	d = edit(t, d, map[string]any{"break_glass.enabled": false})
	notTheirs("nurse", "read_restricted")
	d = edit(t, d, map[string]any{"break_glass.enabled": true, "break_glass.reviewers": []string{"privacy_reviewer"}})
	notTheirs("admin", "review")
	allow("privacy_reviewer", "review")

	// A grant's role that is one of the workspace's narrows further.
	d = edit(t, d, map[string]any{"break_glass.role": "nurse", "break_glass.allow": []string{"*"}})
	inside("staff", "chart_read")
	insideNot("staff", "prescribe")
	insideNever("nurse", "export")
	d = edit(t, d, map[string]any{"break_glass.allow": []string{"chart_write", "prescribe"}})
	inside("staff", "chart_write")
	insideNot("staff", "chart_read", "prescribe")
}

func TestDefaultsKnowOnlyStepUpActions(t *testing.T) {
	d := preset(t, "clinic")
	if got := d.MayDo("nurse", "export", false); got.Verdict != policy.Permit {
		t.Errorf("export: %+v", got)
	}
	if got := d.MayDo("nurse", "chart_read", false); got.Code != policy.DenyUnknownAction {
		t.Errorf("chart_read: %+v", got)
	}
	if got := d.MayDo("privacy_reviewer", "export", false); got != (policy.Decision{Verdict: policy.Deny, Code: policy.DenyRole}) {
		t.Errorf("a reviewer's export: %+v", got)
	}
}

func TestMayRevoke(t *testing.T) {
	d := preset(t, "clinic")
	for role, want := range map[identity.Role]bool{"admin": true, "privacy_reviewer": true, "nurse": false, "staff": false, "emergency_clinician": false, "": false} {
		if d.MayRevoke(role) != want {
			t.Errorf("%s: not %v", role, want)
		}
	}
}

func TestStepUp(t *testing.T) {
	d := edit(t, preset(t, "clinic"), map[string]any{"step_up.prescribe": 60})
	for action, want := range map[string]time.Duration{"export": 0, "policy": 5 * time.Minute, "audit_read": 15 * time.Minute, "prescribe": time.Minute} {
		if age, known := d.StepUp(action); !known || age != want {
			t.Errorf("%s: %v, %v", action, age, known)
		}
	}
	if _, known := d.StepUp("chart_read"); known {
		t.Error("chart_read asks for a step-up")
	}
}

func TestStepUpAccepts(t *testing.T) {
	accepted := func(preset, action, method string, stronger, want bool) {
		t.Helper()
		d := preset
		if got := mustPreset(t, d).StepUpAccepts(action, method, stronger); got != want {
			t.Errorf("%s: %s by %s (stronger factor %v): %v", d, action, method, stronger, got)
		}
	}
	for _, preset := range presets {
		for _, action := range []string{"export", "delete", "payment", "break_glass"} {
			accepted(preset, action, "pin", false, true)
			accepted(preset, action, "pin", true, true)
			accepted(preset, action, "totp", true, true)
			accepted(preset, action, "webauthn", true, true)
			accepted(preset, action, "recovery_code", true, false)
			accepted(preset, action, "key_pin", false, false)
		}
		for _, action := range []string{"sealed_codes", "policy", "users", "review", "factors", "credentials", "audit_export", "audit_read"} {
			accepted(preset, action, "pin", false, preset == "clinic" || preset == "paper")
			accepted(preset, action, "pin", true, false)
			accepted(preset, action, "totp", true, true)
			accepted(preset, action, "webauthn", true, true)
			accepted(preset, action, "recovery_code", false, false)
		}
		accepted(preset, "chart_read", "pin", false, false)
	}
}

func mustPreset(t *testing.T, name string) policy.Document { return preset(t, name) }
