package signin

import (
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/policy"
)

// attempt is what is known of somebody whose first proof was right.
type attempt struct {
	policy.Proven
	PINSetAt time.Time // zero when no PIN took part
}

// The states an attempt can come to besides policy's own.
const stateRefused policy.State = "refused"

// needPIN is what is asked of somebody whose PIN is overdue.
const needPIN = "pin"

// next says what follows a right first proof under a policy at a time. It is
// the only place that lets anybody in: the method must be allowed to the role,
// the policy's factors must be satisfied, and the PIN must not be overdue.
func next(a attempt, d policy.Document, now time.Time) policy.Answer {
	rules, found := d.Role(a.Role)
	if !found || !slices.Contains(rules.Methods, a.Method) {
		return policy.Answer{State: stateRefused}
	}
	answer := d.Accepts(a.Proven, now)
	if answer.State == policy.SignedIn && !a.PINSetAt.IsZero() && keypin.AgeOf(a.PINSetAt, now, d.PIN.MaxAgeDays) == keypin.AgeOverdue {
		return policy.Answer{State: policy.EnrollmentRequired, Methods: []string{needPIN}}
	}
	return answer
}
