package policy_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
)

func TestEditsWithinBounds(t *testing.T) {
	for _, set := range []map[string]any{
		{"roles.nurse.idle": "1m"}, {"roles.nurse.idle": "23h59m59s"}, {"roles.nurse.absolute": "719h"}, {"roles.nurse.absolute": "29d"},
		{"roles.nurse.lock_ttl": "90s"}, {"roles.nurse.mfa": "optional"}, {"roles.nurse.methods": []string{}}, {"roles.nurse.sessions": 20},
		{"roles.nurse.allow": []string{"chart_read", "note.sign", "patient:print"}}, {"roles.nurse.prefer": "phishing_resistant"}, {"roles.nurse.roam": "off"},
		{"roles.porter": map[string]any{"class": "office"}}, {"roles.staff": gone},
		{"methods": []string{"google"}}, {"methods": []string{"google", "microsoft-entra-id", "telegram", "email", "key-pin", "saml", "passkey"}},
		{"mfa.accept": []string{"key_pin"}}, {"mfa.accept": []string{"key_pin_on_registered_device"}}, {"mfa.grace": "0s"}, {"mfa": map[string]any{"accept": []string{"totp"}}},
		{"step_up.export": 900}, {"step_up.prescribe": 60}, {"step_up_accept.export": []string{"webauthn"}},
		{"step_up.prescribe": 60, "step_up_accept.prescribe": []string{"totp"}},
		{"break_glass.minutes": 1}, {"break_glass.enabled": false}, {"break_glass.second_person": "witness"}, {"break_glass.sealed.where": "clinic"},
		{"break_glass.sealed.offline_node": "node-a"}, {"break_glass.reviewers": []string{"admin"}}, {"break_glass.allow": []string{"chart_read"}}, {"break_glass.role": "doctor"},
		{"magic_link.ttl": "1m"}, {"fallback.key_pin_when_idp_down": "off"}, {"pin.length": 6}, {"pin.max_age_days": 0}, {"pin.history": 0}, {"key_overlap_days": 30},
		{"step_up": gone, "step_up_accept": gone, "break_glass": gone, "magic_link": gone, "fallback": gone, "networks": gone, "pin": gone, "key_overlap_days": gone},
	} {
		for _, name := range presets {
			if _, wrong := policy.Parse(edited(t, preset(t, name), set)); wrong != nil {
				t.Errorf("%s with %v: %v", name, set, wrong)
			}
		}
	}
}

func TestEditsRefused(t *testing.T) {
	many := make([]string, 201)
	for i := range many {
		many[i] = "a" + strings.Repeat("b", i%60) + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	for _, c := range []struct {
		field string
		value any
		code  string
		at    string // "" is the field itself
	}{
		{"methods", gone, policy.CodeMissing, ""},
		{"methods", []string{}, policy.CodeMissing, ""},
		{"methods", []string{"password"}, policy.CodeUnknown, ""},
		{"methods", []string{"Google"}, policy.CodeUnknown, ""},
		{"methods", []string{"google", "google"}, policy.CodeDuplicate, ""},
		{"methods", "google", policy.CodeType, ""},
		{"methods", []int{1}, policy.CodeType, ""},
		{"methods", nil, policy.CodeType, ""},
		{"roles", gone, policy.CodeMissing, ""},
		{"roles", []string{}, policy.CodeType, ""},
		{"roles.nurse", "clinical", policy.CodeType, ""},
		{"roles.nurse.class", "owner", policy.CodeUnknown, ""},
		{"roles.porter", map[string]any{}, policy.CodeMissing, "roles.porter.class"},
		{"roles.Porter", map[string]any{"class": "office"}, policy.CodeUnknown, ""},
		{"roles.nurse.mfa", "sometimes", policy.CodeUnknown, ""},
		{"roles.nurse.mfa", true, policy.CodeType, ""},
		{"roles.nurse.idle", 15, policy.CodeType, ""},
		{"roles.nurse.idle", "15", policy.CodeType, ""},
		{"roles.nurse.idle", "15 m", policy.CodeType, ""},
		{"roles.nurse.idle", "-15m", policy.CodeType, ""},
		{"roles.nurse.idle", "1500ms", policy.CodeType, ""},
		{"roles.nurse.idle", "99999999999h", policy.CodeType, ""},
		{"roles.nurse.idle", "", policy.CodeType, ""},
		{"roles.nurse.idle", "d", policy.CodeType, ""},
		{"roles.nurse.idle", nil, policy.CodeType, ""},
		{"roles.nurse.idle", "59s", policy.CodeBounds, ""},
		{"roles.nurse.idle", "24h", policy.CodeBounds, ""},
		{"roles.nurse.idle", "1d", policy.CodeBounds, ""},
		{"roles.nurse.absolute", "30d", policy.CodeBounds, ""},
		{"roles.nurse.absolute", "0s", policy.CodeBounds, ""},
		{"roles.nurse.lock_ttl", "30d", policy.CodeBounds, ""},
		{"roles.nurse.methods", []string{"pin"}, policy.CodeUnknown, ""},
		{"roles.nurse.allow", []string{"users"}, policy.CodeUnknown, ""},
		{"roles.nurse.allow", []string{"Chart Read"}, policy.CodeUnknown, ""},
		{"roles.nurse.allow", many, policy.CodeBounds, ""},
		{"roles.nurse.sessions", 0, policy.CodeBounds, ""},
		{"roles.nurse.sessions", 21, policy.CodeBounds, ""},
		{"roles.nurse.colour", "blue", policy.CodeUnknown, ""},
		{"roles.nurse.Idle", "15m", policy.CodeUnknown, ""},
		{"mfa", gone, policy.CodeMissing, ""},
		{"mfa.accept", gone, policy.CodeMissing, ""},
		{"mfa.accept", []string{}, policy.CodeMissing, ""},
		{"mfa.accept", []string{"sms"}, policy.CodeUnknown, ""},
		{"mfa.grace", "91d", policy.CodeBounds, ""},
		{"step_up.export", 901, policy.CodeBounds, ""},
		{"step_up.export", -1, policy.CodeBounds, ""},
		{"step_up.export", 1.5, policy.CodeType, ""},
		{"step_up.export", "0", policy.CodeType, ""},
		{"step_up.export", true, policy.CodeType, ""},
		{"step_up.Export", 0, policy.CodeUnknown, ""},
		{"step_up_accept.export", []string{}, policy.CodeMissing, ""},
		{"step_up_accept.export", []string{"recovery_code"}, policy.CodeUnknown, ""},
		{"step_up_accept.prescribe", []string{"pin"}, policy.CodeUnknown, ""},
		{"break_glass.minutes", 61, policy.CodeBounds, ""},
		{"break_glass.minutes", 0, policy.CodeBounds, ""},
		{"break_glass.minutes", "60", policy.CodeType, ""},
		{"break_glass.enabled", "yes", policy.CodeType, ""},
		{"break_glass.role", "Emergency Clinician", policy.CodeUnknown, ""},
		{"break_glass.role", "admin", policy.CodeConflict, ""},
		{"break_glass.allow", []string{"policy"}, policy.CodeUnknown, ""},
		{"break_glass.second_person", "on", policy.CodeUnknown, ""},
		{"break_glass.sealed", true, policy.CodeType, ""},
		{"break_glass.sealed.where", "ward", policy.CodeUnknown, ""},
		{"break_glass.sealed.offline_node", "node one", policy.CodeUnknown, ""},
		{"break_glass.reviewers", []string{"nurse"}, policy.CodeUnknown, ""},
		{"break_glass.reviewers", []string{}, policy.CodeMissing, ""},
		{"magic_link.ttl", "11m", policy.CodeBounds, ""},
		{"magic_link.ttl", "59s", policy.CodeBounds, ""},
		{"fallback.key_pin_when_idp_down", "always", policy.CodeUnknown, ""},
		{"networks.clinic", []string{"10.0.0.1"}, policy.CodeUnknown, ""},
		{"networks.clinic", []string{"10.0.0.1/8"}, policy.CodeUnknown, ""},
		{"networks.home", []string{"10.0.0.0/8"}, policy.CodeUnknown, ""},
		{"pin.length", 5, policy.CodeBounds, ""},
		{"pin.length", 8, policy.CodeBounds, ""},
		{"pin.max_age_days", -1, policy.CodeBounds, ""},
		{"pin.history", 25, policy.CodeBounds, ""},
		{"key_overlap_days", 31, policy.CodeBounds, ""},
		{"rev", 14, policy.CodeUnknown, ""},
		{"Methods", []string{"google"}, policy.CodeUnknown, ""},
		{"1234", 1, policy.CodeUnknown, "?"},
	} {
		at := c.at
		if at == "" {
			at = c.field
		}
		d, wrong := policy.Parse(edited(t, preset(t, "clinic"), map[string]any{c.field: c.value}))
		if !slices.ContainsFunc(wrong, func(e policy.FieldError) bool { return e.Field == at && e.Code == c.code && e.Detail != "" }) {
			t.Errorf("%s = %v: %v, want %s at %s", c.field, c.value, wrong, c.code, at)
		}
		if d.Methods != nil || d.Roles != nil {
			t.Errorf("%s = %v: a refused document is handed out", c.field, c.value)
		}
	}
}

func TestNotADocument(t *testing.T) {
	for body, want := range map[string]policy.FieldError{
		``:                                       {Code: policy.CodeMalformed},
		`{`:                                      {Code: policy.CodeMalformed},
		`{} {}`:                                  {Code: policy.CodeMalformed},
		"{\"methods\":[\"\xff\"]}":               {Code: policy.CodeMalformed},
		strings.Repeat("[", 20000):               {Code: policy.CodeMalformed},
		`[]`:                                     {Code: policy.CodeType},
		`null`:                                   {Code: policy.CodeType},
		`"methods"`:                              {Code: policy.CodeType},
		strings.Repeat(" ", 130<<10) + `{}`:      {Code: policy.CodeBounds},
		`{"pin":1,"pin":2}`:                      {Code: policy.CodeDuplicate, Field: "pin"},
		`{"roles":{"nurse":{},"nurse":{}}}`:      {Code: policy.CodeDuplicate, Field: "roles.nurse"},
		`{"roles":{"nurse":{"a":1,"\u0061":2}}}`: {Code: policy.CodeDuplicate, Field: "roles.nurse.a"},
	} {
		_, wrong := policy.Parse([]byte(body))
		if !slices.ContainsFunc(wrong, func(e policy.FieldError) bool { return e.Code == want.Code && e.Field == want.Field }) {
			t.Errorf("%.40q: %v, want %v", body, wrong, want)
		}
	}
}

// TestErrorsEchoNothing: whatever was sent stands in no error.
func TestErrorsEchoNothing(t *testing.T) {
	const sent = "Hunter2-secret"
	for _, field := range []string{
		"methods", "roles.nurse", "roles.nurse.class", "roles.nurse.mfa", "roles.nurse.idle", "roles.nurse.inherit", "mfa.accept", "mfa.grace",
		"step_up.export", "step_up_accept.export", "break_glass.role", "break_glass.enabled", "break_glass.sealed.offline_node", "networks.clinic", "pin.length",
	} {
		for _, value := range []any{sent, []string{sent}, map[string]any{"x": sent}} {
			_, wrong := policy.Parse(edited(t, preset(t, "clinic"), map[string]any{field: value}))
			for _, e := range wrong {
				if strings.Contains(e.Field+e.Code+e.Detail, sent) {
					t.Errorf("%s: %v", field, e)
				}
			}
			if wrong == nil && field != "break_glass.sealed.offline_node" {
				t.Errorf("%s = %v was taken", field, value)
			}
		}
	}
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	set := map[string]any{"roles.nurse.idle": "1s", "roles.doctor.mfa": "no", "pin.length": 9, "break_glass.minutes": 90, "colour": 1}
	_, wrong := policy.Parse(edited(t, preset(t, "clinic"), set))
	var fields []string
	for _, e := range wrong {
		fields = append(fields, e.Field)
	}
	slices.Sort(fields)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(set)), fields); diff != "" {
		t.Error(diff)
	}
	_, again := policy.Parse(edited(t, preset(t, "clinic"), set))
	if diff := cmp.Diff(wrong, again); diff != "" {
		t.Errorf("the order changes: %s", diff)
	}
}

func TestInherit(t *testing.T) {
	d := edit(t, preset(t, "clinic"), map[string]any{
		"roles.nurse.idle": "5m", "roles.nurse.allow": []string{"chart_read"},
		"roles.doctor":  map[string]any{"inherit": "nurse", "allow": []string{"chart_read", "prescribe"}},
		"roles.surgeon": map[string]any{"inherit": "doctor", "absolute": "24h"},
	})
	want := d.Roles["nurse"]
	want.Allow = []string{"chart_read", "prescribe"}
	if diff := cmp.Diff(want, d.Roles["doctor"]); diff != "" {
		t.Error(diff)
	}
	want.Absolute = "24h"
	if diff := cmp.Diff(want, d.Roles["surgeon"]); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(string(d.JSON()), "inherit") {
		t.Error("the document still says inherit")
	}
	for _, c := range []struct {
		set  map[string]any
		at   string
		code string
	}{
		{map[string]any{"roles.doctor": map[string]any{"inherit": "surgeon"}}, "roles.doctor.inherit", policy.CodeUnknown},
		{map[string]any{"roles.doctor": map[string]any{"inherit": "doctor"}}, "roles.doctor.inherit", policy.CodeConflict},
		{map[string]any{"roles.doctor": map[string]any{"inherit": "nurse"}, "roles.nurse": map[string]any{"inherit": "doctor"}}, "roles.nurse.inherit", policy.CodeConflict},
	} {
		_, wrong := policy.Parse(edited(t, preset(t, "clinic"), c.set))
		if len(wrong) != 1 || wrong[0].Field != c.at || wrong[0].Code != c.code {
			t.Errorf("%v: %v", c.set, wrong)
		}
	}
}

// TestNobodyIsLockedOut: each of these leaves no administrator who could sign in.
func TestNobodyIsLockedOut(t *testing.T) {
	for _, set := range []map[string]any{
		{"roles.admin": gone},
		{"roles.admin.class": "office"},
		{"roles.admin.methods": []string{}},
		{"methods": []string{"email"}},
		{"methods": []string{"google"}, "mfa.accept": []string{"key_pin"}},
		{"roles": map[string]any{}},
	} {
		set["break_glass.reviewers"] = gone
		_, wrong := policy.Parse(edited(t, preset(t, "clinic"), set))
		if !slices.ContainsFunc(wrong, func(e policy.FieldError) bool { return e.Field == "roles" && e.Code == policy.CodeConflict }) {
			t.Errorf("%v: %v", set, wrong)
		}
	}
	for _, set := range []map[string]any{
		{"roles.admin": gone, "roles.manager": map[string]any{"class": "admin"}},
		{"methods": []string{"email"}, "roles.admin.methods": []string{"email"}},
		{"methods": []string{"google"}, "mfa.accept": []string{"key_pin"}, "roles.admin.mfa": "optional"},
		{"methods": []string{"key-pin"}, "mfa.accept": []string{"key_pin"}},
	} {
		set["break_glass.reviewers"] = gone
		edit(t, preset(t, "clinic"), set)
	}
}

// TestProductExample reads the example of the product page, with the members
// that the contract changed.
func TestProductExample(t *testing.T) {
	d, wrong := policy.Parse([]byte(`{
	 "methods":["google","passkey","key-pin","email"],
	 "roles":{
	  "nurse":{"class":"clinical","mfa":"required","methods":["google","passkey","key-pin"],"idle":"15m","absolute":"12h","roam":"passkey_or_card"},
	  "doctor":{"inherit":"nurse"}, "staff":{"class":"office","mfa":"optional","idle":"15m"},
	  "admin":{"class":"admin","mfa":"required","prefer":"phishing_resistant","idle":"60m"}, "privacy_reviewer":{"class":"review","mfa":"required"}},
	 "mfa":{"accept":["webauthn","totp","key_pin_on_registered_device"],"grace":"7d"},
	 "magic_link":{"ttl":"10m"}, "fallback":{"key_pin_when_idp_down":"auto"},
	 "break_glass":{"enabled":true,"minutes":60,"role":"emergency_clinician","second_person":"off","sealed":{"where":"anywhere"},"reviewers":["privacy_reviewer","admin"]},
	 "step_up":{"export":0,"delete":0,"payment":0}, "networks":{"clinic":["10.0.0.0/8"]}, "pin":{"length":4,"max_age_days":90,"history":5}}`))
	if wrong != nil {
		t.Fatal(wrong)
	}
	if age, known := d.StepUp("policy"); !known || age.Seconds() != 300 {
		t.Errorf("a step-up left out is %v", age)
	}
	if d.Roles[identity.Doctor].Roam != "passkey_or_card" || d.Roles[identity.Admin].LockTTL != "2h" {
		t.Errorf("%s", d.JSON())
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range presets {
		f.Add(preset(f, name).JSON())
	}
	f.Add([]byte(`{"methods":["google"],"roles":{"a":{"inherit":"b"},"b":{"inherit":"a"}},"mfa":{"accept":["totp"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, wrong := policy.Parse(data)
		if wrong != nil {
			return
		}
		back, wrong := policy.Parse(d.JSON())
		if wrong != nil || len(policy.Diff(d, back)) != 0 || !cmp.Equal(d, back) {
			t.Errorf("%s doesn't come back: %v", data, wrong)
		}
	})
}
