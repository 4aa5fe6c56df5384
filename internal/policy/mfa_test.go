package policy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
)

func TestAccepts(t *testing.T) {
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	type p = policy.Proven
	both := []string{"webauthn", "totp"}
	lenient := map[string]any{"mfa.accept": []string{"key_pin"}}
	office := map[string]any{"mfa.accept": []string{"webauthn"}, "roles.nurse.mfa": "optional"}
	for _, c := range []struct {
		sentence string
		preset   string
		set      map[string]any
		proven   p
		want     policy.State
		methods  []string
	}{
		{"in a clinic key and PIN suffice", "clinic", nil, p{Role: "nurse", Method: "key-pin"}, policy.SignedIn, nil},
		{"who has a factor is asked for it", "clinic", nil, p{Role: "nurse", Method: "key-pin", Factors: []string{"totp"}}, policy.MFARequired, []string{"totp"}},
		{"the stronger first", "clinic", nil, p{Role: "nurse", Method: "key-pin", Factors: []string{"totp", "webauthn"}}, policy.MFARequired, both},
		{"but not at a registered workstation", "clinic", nil, p{Role: "nurse", Method: "key-pin", Factors: both, RegisteredDevice: true}, policy.SignedIn, nil},
		{"in a hospital the pair suffices there", "hospital", nil, p{Role: "nurse", Method: "key-pin", RegisteredDevice: true}, policy.SignedIn, nil},
		{"also for who has a factor", "hospital", nil, p{Role: "nurse", Method: "key-pin", Factors: both, RegisteredDevice: true}, policy.SignedIn, nil},
		{"and nowhere else", "hospital", nil, p{Role: "nurse", Method: "key-pin"}, policy.EnrollmentRequired, both},
		{"in the cloud nowhere", "cloud", nil, p{Role: "nurse", Method: "key-pin", RegisteredDevice: true}, policy.EnrollmentRequired, both},
		{"where a factor is asked even there", "cloud", nil, p{Role: "nurse", Method: "key-pin", Factors: []string{"webauthn"}, RegisteredDevice: true}, policy.MFARequired, []string{"webauthn"}},
		{"a provider alone is not enough", "clinic", nil, p{Role: "admin", Method: "google"}, policy.EnrollmentRequired, both},
		{"on no device", "hospital", nil, p{Role: "admin", Method: "google", RegisteredDevice: true}, policy.EnrollmentRequired, both},
		{"with a factor it is", "clinic", nil, p{Role: "admin", Method: "google", Factors: []string{"totp"}, RegisteredDevice: true}, policy.MFARequired, []string{"totp"}},
		{"a passkey is enough", "cloud", nil, p{Role: "admin", Method: "passkey", Factors: both}, policy.SignedIn, nil},
		{"even where only the pair is named", "clinic", lenient, p{Role: "nurse", Method: "passkey", Factors: []string{"webauthn"}}, policy.SignedIn, nil},
		{"not where only codes are", "clinic", map[string]any{"mfa.accept": []string{"totp"}}, p{Role: "nurse", Method: "passkey", Factors: both}, policy.MFARequired, []string{"totp"}},
		{"office staff need nothing more", "cloud", nil, p{Role: "staff", Method: "email"}, policy.SignedIn, nil},
		{"unless they have enrolled", "cloud", nil, p{Role: "staff", Method: "email", Factors: []string{"totp"}}, policy.MFARequired, []string{"totp"}},
		{"a factor no longer accepted is still asked for", "clinic", office, p{Role: "nurse", Method: "key-pin", Factors: []string{"totp"}}, policy.MFARequired, []string{"totp"}},
		{"also beside a sufficient pair", "clinic", lenient, p{Role: "nurse", Method: "key-pin", Factors: []string{"totp"}}, policy.MFARequired, []string{"totp"}},
		{"but satisfies nothing by itself", "clinic", map[string]any{"mfa.accept": []string{"webauthn"}}, p{Role: "nurse", Method: "google", Factors: []string{"totp"}}, policy.EnrollmentRequired, []string{"webauthn"}},
		{"nothing to enrol where only the pair counts", "clinic", lenient, p{Role: "nurse", Method: "google"}, policy.EnrollmentRequired, nil},
		{"an unknown role is never satisfied", "cloud", nil, p{Role: "porter", Method: "key-pin"}, policy.EnrollmentRequired, both},
	} {
		got := edit(t, preset(t, c.preset), c.set).Accepts(c.proven, now)
		if got.State != c.want || !slices.Equal(got.Methods, c.methods) || !got.GraceEnds.IsZero() {
			t.Errorf("%s: %+v", c.sentence, got)
		}
	}
}

func TestGrace(t *testing.T) {
	began := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	ends := began.Add(7 * 24 * time.Hour)
	before, after := began.Add(-time.Hour), began.Add(time.Hour)
	for _, c := range []struct {
		sentence     string
		first, since time.Time
		now          time.Time
		want         policy.State
	}{
		{"who worked here before has seven days", before, began, after, policy.SignedIn},
		{"to the last second", before, began, ends.Add(-time.Second), policy.SignedIn},
		{"and not one more", before, began, ends, policy.EnrollmentRequired},
		{"a new person enrols at once", time.Time{}, began, after, policy.EnrollmentRequired},
		{"so does who came after the requirement", began, began, after, policy.EnrollmentRequired},
		{"a requirement from the start has no grace", before, time.Time{}, after, policy.EnrollmentRequired},
	} {
		got := preset(t, "cloud").Accepts(policy.Proven{Role: "nurse", Method: "key-pin", FirstSignIn: c.first, RequiredSince: c.since}, c.now)
		if got.State != c.want || !slices.Equal(got.Methods, []string{"webauthn", "totp"}) {
			t.Errorf("%s: %+v", c.sentence, got)
		}
		if inGrace := got.State == policy.SignedIn; inGrace != got.GraceEnds.Equal(ends) {
			t.Errorf("%s: grace ends %v", c.sentence, got.GraceEnds)
		}
	}
	none := edit(t, preset(t, "cloud"), map[string]any{"mfa.grace": "0s"})
	if got := none.Accepts(policy.Proven{Role: "nurse", Method: "key-pin", FirstSignIn: before, RequiredSince: began}, began); got.State != policy.EnrollmentRequired {
		t.Errorf("no grace: %+v", got)
	}
}

func TestRequirementBegan(t *testing.T) {
	d := preset(t, "clinic")
	for _, c := range []struct {
		set  map[string]any
		role identity.Role
		want bool
	}{
		{map[string]any{"roles.staff.mfa": "required"}, "staff", true},
		{map[string]any{"roles.staff.mfa": "required"}, "nurse", false},
		{map[string]any{"mfa.accept": []string{"webauthn", "totp", "key_pin_on_registered_device"}}, "nurse", true},
		{map[string]any{"mfa.accept": []string{"webauthn", "totp", "key_pin_on_registered_device"}}, "staff", false},
		{map[string]any{"mfa.accept": []string{"webauthn", "totp", "key_pin", "key_pin_on_registered_device"}}, "nurse", false},
		{map[string]any{"roles.nurse.mfa": "optional"}, "nurse", false},
		{map[string]any{"roles.nurse.idle": "5m"}, "nurse", false},
		{map[string]any{"roles.porter.class": "clinical"}, "porter", false},
	} {
		if got := policy.RequirementBegan(d, edit(t, d, c.set), c.role); got != c.want {
			t.Errorf("%v for %s: %v", c.set, c.role, got)
		}
	}
}
