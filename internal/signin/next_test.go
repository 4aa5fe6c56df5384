package signin

import (
	"slices"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
)

func TestNext(t *testing.T) {
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	days := func(n int) time.Time { return now.AddDate(0, 0, -n) }
	factors := []string{policy.WebAuthn, policy.TOTP}
	for _, c := range []struct {
		sentence string
		preset   string
		edit     func(*policy.Document)
		attempt  attempt
		want     policy.State
		methods  []string
	}{
		{"in a clinic the pair is enough", "clinic", nil, attempt{PINSetAt: days(1)}, policy.SignedIn, nil},
		{"an unknown role comes nowhere", "clinic", nil, attempt{Proven: policy.Proven{Role: "porter"}, PINSetAt: days(1)}, stateRefused, nil},
		{"a method that the workspace has not comes nowhere", "clinic", nil, attempt{Proven: policy.Proven{Method: policy.Google}}, stateRefused, nil},
		{"nor one that the role has not", "clinic", func(d *policy.Document) {
			nurse := d.Roles[identity.Nurse]
			nurse.Methods = []string{policy.Passkey}
			d.Roles[identity.Nurse] = nurse
		}, attempt{PINSetAt: days(1)}, stateRefused, nil},
		{"a mailed link signs no nurse in", "clinic", nil, attempt{Proven: policy.Proven{Method: policy.Email}}, stateRefused, nil},
		{"but staff, who need no factor", "clinic", nil, attempt{Proven: policy.Proven{Role: identity.Staff, Method: policy.Email}}, policy.SignedIn, nil},
		{"a PIN in its grace still works", "clinic", nil, attempt{PINSetAt: days(96)}, policy.SignedIn, nil},
		{"an overdue one must be changed", "clinic", nil, attempt{PINSetAt: days(97)}, policy.EnrollmentRequired, []string{needPIN}},
		{"unless PINs last for ever", "clinic", func(d *policy.Document) { d.PIN.MaxAgeDays = 0 }, attempt{PINSetAt: days(970)}, policy.SignedIn, nil},
		{"or no PIN took part", "clinic", nil, attempt{Proven: policy.Proven{Method: policy.Passkey}}, policy.SignedIn, nil},
		{"in the cloud a new person enrols first", "cloud", nil, attempt{PINSetAt: days(1)}, policy.EnrollmentRequired, factors},
		{"who had signed in before has their grace", "cloud", nil, attempt{Proven: policy.Proven{FirstSignIn: days(9), RequiredSince: days(6)}, PINSetAt: days(1)}, policy.SignedIn, factors},
		{"but not for ever", "cloud", nil, attempt{Proven: policy.Proven{FirstSignIn: days(9), RequiredSince: days(7)}, PINSetAt: days(1)}, policy.EnrollmentRequired, factors},
		{"an overdue PIN does not hide that a factor is missing", "cloud", nil, attempt{PINSetAt: days(97)}, policy.EnrollmentRequired, factors},
		{"who has a factor is asked for it", "clinic", nil, attempt{Proven: policy.Proven{Factors: factors}, PINSetAt: days(97)}, policy.MFARequired, factors},
		{"but not at a registered workstation", "hospital", nil, attempt{Proven: policy.Proven{RegisteredDevice: true}, PINSetAt: days(1)}, policy.SignedIn, nil},
		{"which a hospital asks for", "hospital", nil, attempt{PINSetAt: days(1)}, policy.EnrollmentRequired, factors},
	} {
		d, err := policy.Preset(c.preset)
		if err != nil {
			t.Fatal(err)
		}
		if c.edit != nil {
			c.edit(&d)
		}
		if c.attempt.Role == "" {
			c.attempt.Role = identity.Nurse
		}
		if c.attempt.Method == "" {
			c.attempt.Method = policy.KeyPIN
		}
		got := next(c.attempt, d, now)
		if got.State != c.want || !slices.Equal(got.Methods, c.methods) {
			t.Errorf("%s: got %s %v", c.sentence, got.State, got.Methods)
		}
	}
}
