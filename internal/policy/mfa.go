package policy

import (
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Proven is what is known of a person whose first proof was right.
type Proven struct {
	Role             identity.Role
	Method           string   // the method just proven
	Factors          []string // enrolled: webauthn, totp
	RegisteredDevice bool
	// FirstSignIn is when the person first completed a sign-in; zero for a new
	// person.
	FirstSignIn time.Time
	// RequiredSince is when the present requirement began for the role
	// (RequirementBegan); zero if it was there from the start.
	RequiredSince time.Time
}

// State is what a sign-in comes to, in the words of the API's outcome.
type State string

// The states.
const (
	SignedIn           State = "signed_in"
	MFARequired        State = "mfa_required"
	EnrollmentRequired State = "enrollment_required"
)

// Answer is a state and the factors to prove or to enrol. GraceEnds is set when
// someone is let in for now and has to enrol until then.
type Answer struct {
	State     State
	Methods   []string
	GraceEnds time.Time
}

// Accepts decides whether a first proof is enough for the person's role. Who
// has enrolled a factor is asked for it, whatever the role, except on a
// registered device where key and PIN suffice. Who has none and needs one
// enrols now, or within the grace if they had signed in before the requirement
// began. It does not ask whether the method is allowed at all. With an unknown
// role nothing is enough. EnrollmentRequired without methods means that only
// key and PIN can satisfy this policy.
func (d Document) Accepts(p Proven, now time.Time) Answer {
	rules, known := d.Role(p.Role)
	mustHave := rules.MFARequired || !known
	pair := p.Method == KeyPIN && (d.accepts(PairAnywhere) || p.RegisteredDevice && d.accepts(PairOnRegistered))
	usable := intersect(d.factors(), p.Factors)
	switch {
	case p.Method == Passkey && (!mustHave || d.accepts(WebAuthn) || d.accepts(PairAnywhere)):
		return Answer{State: SignedIn} // stronger than the pair
	case pair && p.RegisteredDevice:
		return Answer{State: SignedIn}
	case len(usable) > 0:
		return Answer{State: MFARequired, Methods: usable}
	case len(p.Factors) > 0 && (pair || !mustHave):
		return Answer{State: MFARequired, Methods: intersect([]string{WebAuthn, TOTP}, p.Factors)}
	case pair, !mustHave:
		return Answer{State: SignedIn}
	}
	graceEnds := p.RequiredSince.Add(d.MFA.Grace.Value())
	if known && !p.FirstSignIn.IsZero() && p.FirstSignIn.Before(p.RequiredSince) && now.Before(graceEnds) {
		return Answer{State: SignedIn, Methods: d.factors(), GraceEnds: graceEnds}
	}
	return Answer{State: EnrollmentRequired, Methods: d.factors()}
}

// RequirementBegan reports whether a change of policy asks more of a role than
// before, so that people who satisfied the old one may need to enrol: from then
// on their grace runs.
func RequirementBegan(old, new Document, role identity.Role) bool {
	was, existed := old.Role(role)
	is, exists := new.Role(role)
	if !existed || !exists || !is.MFARequired {
		return false
	}
	return !was.MFARequired || slices.ContainsFunc(old.MFA.Accept, func(way string) bool { return !new.accepts(way) })
}

func (d Document) accepts(way string) bool { return slices.Contains(d.MFA.Accept, way) }

// factors returns the factors that can be enrolled to satisfy the policy.
func (d Document) factors() []string { return intersect([]string{WebAuthn, TOTP}, d.MFA.Accept) }

func intersect(order, have []string) []string {
	var both []string
	for _, word := range order {
		if slices.Contains(have, word) {
			both = append(both, word)
		}
	}
	return both
}
