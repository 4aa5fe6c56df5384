package policy_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
)

var presets = []string{"clinic", "hospital", "cloud", "paper"}

func preset(t testing.TB, name string) policy.Document {
	t.Helper()
	d, err := policy.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// edit changes a preset as an administrator would: set the members of the JSON
// document by path, then parse it.
func edit(t testing.TB, d policy.Document, set map[string]any) policy.Document {
	t.Helper()
	parsed, wrong := policy.Parse(edited(t, d, set))
	if wrong != nil {
		t.Fatalf("%v: %v", set, wrong)
	}
	return parsed
}

// gone, as a value for edited, removes the member.
var gone = struct{}{}

func edited(t testing.TB, d policy.Document, set map[string]any) []byte {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(d.JSON(), &tree); err != nil {
		t.Fatal(err)
	}
	for path, value := range set {
		at := tree
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			next, isObject := at[name].(map[string]any)
			if !isObject {
				next = map[string]any{}
				at[name] = next
			}
			at = next
		}
		if value == gone {
			delete(at, names[len(names)-1])
		} else {
			at[names[len(names)-1]] = value
		}
	}
	data, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPresetsAreTheContract checks every default that outside programs rely on.
func TestPresetsAreTheContract(t *testing.T) {
	accept := map[string][]string{
		"clinic": {"webauthn", "totp", "key_pin"}, "paper": {"webauthn", "totp", "key_pin"},
		"hospital": {"webauthn", "totp", "key_pin_on_registered_device"}, "cloud": {"webauthn", "totp"},
	}
	for _, name := range presets {
		d := preset(t, name)
		if !slices.Equal(d.MFA.Accept, accept[name]) || d.MFA.Grace != "7d" {
			t.Errorf("%s: mfa is %v", name, d.MFA)
		}
		if !slices.Equal(d.Methods, []string{"key-pin", "passkey", "email"}) {
			t.Errorf("%s: methods are %v", name, d.Methods)
		}
		ages := map[string]int{
			"export": 0, "delete": 0, "payment": 0, "break_glass": 0, "sealed_codes": 0, "policy": 300, "users": 300,
			"review": 300, "factors": 300, "credentials": 300, "audit_export": 300, "audit_read": 900,
		}
		if diff := cmp.Diff(ages, d.StepUpAges); diff != "" {
			t.Errorf("%s: step_up: %s", name, diff)
		}
		for action := range ages {
			want := []string{"webauthn", "totp"}
			if name == "clinic" || name == "paper" || slices.Contains([]string{"export", "delete", "payment", "break_glass"}, action) {
				want = append(want, "pin")
			}
			if !slices.Equal(d.StepUpMethods[action], want) {
				t.Errorf("%s: step_up_accept.%s is %v", name, action, d.StepUpMethods[action])
			}
		}
		glass := policy.BreakGlass{
			Enabled: true, Minutes: 60, Role: "emergency_clinician", Allow: []string{"*"}, SecondPerson: "off",
			Sealed: policy.Sealed{Where: "anywhere"}, Reviewers: []identity.Role{"privacy_reviewer", "admin"},
		}
		if diff := cmp.Diff(glass, d.BreakGlass); diff != "" {
			t.Errorf("%s: break_glass: %s", name, diff)
		}
		if d.PIN != (policy.PIN{Length: 4, MaxAgeDays: 90, History: 5}) || d.MagicLink.TTL != "10m" ||
			d.Fallback.KeyPINWhenIDPDown != "auto" || d.KeyOverlapDays != 7 || len(d.Networks.Clinic) != 0 {
			t.Errorf("%s: %s", name, d.JSON())
		}
	}
	if _, err := policy.Preset("castle"); !errors.Is(err, policy.ErrPreset) {
		t.Errorf("an unknown preset: %v", err)
	}
}

func TestStartingRoles(t *testing.T) {
	d := edit(t, preset(t, "clinic"), map[string]any{"methods": []string{"email", "google", "passkey", "telegram", "key-pin", "saml"}})
	narrow := []string{"google", "passkey", "key-pin", "saml"}
	anything := []string{"*"}
	for role, want := range map[identity.Role]policy.RoleRules{
		"nurse":            {Class: "clinical", MFARequired: true, Idle: 15 * time.Minute, Absolute: 12 * time.Hour, LockTTL: 8 * time.Hour, Methods: narrow, Allow: anything, SessionLimit: 5},
		"doctor":           {Class: "clinical", MFARequired: true, Idle: 15 * time.Minute, Absolute: 12 * time.Hour, LockTTL: 8 * time.Hour, Methods: narrow, Allow: anything, SessionLimit: 5},
		"staff":            {Class: "office", Idle: 15 * time.Minute, Absolute: 12 * time.Hour, LockTTL: 8 * time.Hour, Methods: d.Methods, Allow: anything, SessionLimit: 5},
		"admin":            {Class: "admin", MFARequired: true, Idle: 60 * time.Minute, Absolute: 12 * time.Hour, LockTTL: 2 * time.Hour, Methods: narrow, Allow: anything, SessionLimit: 3},
		"privacy_reviewer": {Class: "review", MFARequired: true, Idle: 15 * time.Minute, Absolute: 12 * time.Hour, LockTTL: 8 * time.Hour, Methods: narrow, Allow: []string{}, SessionLimit: 5},
	} {
		want.Warning, want.Roam = 2*time.Minute, true
		got, known := d.Role(role)
		if diff := cmp.Diff(want, got); !known || diff != "" {
			t.Errorf("%s: %s", role, diff)
		}
	}
	if len(d.Roles) != 5 {
		t.Errorf("%d roles", len(d.Roles))
	}
	if _, known := d.Role("surgeon"); known {
		t.Error("a role that the document doesn't have is known")
	}
}

func TestWarningComesInTime(t *testing.T) {
	for idle, want := range map[string]time.Duration{"15m": 2 * time.Minute, "4m": 2 * time.Minute, "3m": 90 * time.Second, "1m": 30 * time.Second} {
		rules, _ := edit(t, preset(t, "clinic"), map[string]any{"roles.nurse.idle": idle}).Role("nurse")
		if rules.Warning != want {
			t.Errorf("idle %s warns %s before", idle, rules.Warning)
		}
	}
}

func TestGrantRules(t *testing.T) {
	d := preset(t, "clinic")
	visitor, known := d.Role("emergency_clinician")
	if !known || !reflect.DeepEqual(visitor, d.Grant()) {
		t.Error("a visitor's role has other rules than a grant")
	}
	if visitor.Idle != 10*time.Minute || visitor.Absolute != time.Hour || visitor.LockTTL != time.Hour || visitor.Methods != nil || visitor.MFARequired {
		t.Errorf("%+v", visitor)
	}
	short := edit(t, d, map[string]any{"break_glass.minutes": 6}).Grant()
	if short.Idle != 6*time.Minute || short.Absolute != 6*time.Minute {
		t.Errorf("a window of 6 minutes: %+v", short)
	}
	strict := edit(t, d, map[string]any{"break_glass.role": "doctor", "roles.doctor.idle": "5m"}).Grant()
	if strict.Idle != 5*time.Minute {
		t.Errorf("a role that locks earlier: %+v", strict)
	}
}

func TestJSONComesBack(t *testing.T) {
	for _, name := range presets {
		d := preset(t, name)
		back, wrong := policy.Parse(d.JSON())
		if diff := cmp.Diff(d, back); wrong != nil || diff != "" {
			t.Errorf("%s: %v %s", name, wrong, diff)
		}
		if string(back.JSON()) != string(d.JSON()) || strings.Contains(string(d.JSON()), "null") {
			t.Errorf("%s is not written the same twice", name)
		}
	}
	written := edit(t, preset(t, "clinic"), map[string]any{"roles.admin.idle": "1h", "mfa.grace": "168h"})
	if written.Roles["admin"].Idle != "1h" || written.MFA.Grace != "168h" {
		t.Error("a time doesn't come back as it was written")
	}
}

func TestInClinic(t *testing.T) {
	d := edit(t, preset(t, "clinic"), map[string]any{"networks.clinic": []string{"10.0.0.0/8", "2001:db8::/32"}})
	for address, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "2001:db8::1": true, "11.0.0.1": false, "::1": false} {
		if d.InClinic(netip.MustParseAddr(address)) != want {
			t.Errorf("%s: not %v", address, want)
		}
	}
	if d.InClinic(netip.Addr{}) || preset(t, "clinic").InClinic(netip.MustParseAddr("10.1.2.3")) {
		t.Error("no address, or no network, is the clinic's")
	}
}
