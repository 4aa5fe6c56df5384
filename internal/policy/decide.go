package policy

import (
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Mitral's own acts, a closed list. They follow the role's class, never an
// allow list.
const (
	ActUsers       = "users"
	ActPolicy      = "policy"
	ActCredentials = "credentials"
	ActFactors     = "factors"
	ActReview      = "review"
	ActBreakGlass  = "break_glass"
	ActSealedCodes = "sealed_codes"
	ActAuditExport = "audit_export"
	ActAuditRead   = "audit_read"
)

// own maps each act to the classes that may do it. Credentials and factors are
// a person's own; other people's are "users".
var own = map[string][]identity.Class{
	ActUsers:       {identity.Administration},
	ActPolicy:      {identity.Administration},
	ActBreakGlass:  {identity.Administration},
	ActSealedCodes: {identity.Administration},
	ActReview:      {identity.Administration, identity.Review},
	ActAuditRead:   {identity.Administration, identity.Review},
	ActAuditExport: {identity.Administration, identity.Review},
	ActCredentials: {identity.Clinical, identity.Office, identity.Administration, identity.Review},
	ActFactors:     {identity.Clinical, identity.Office, identity.Administration, identity.Review},
}

func isOwn(action string) bool { return own[action] != nil }

// Forbidden reports whether an act is never possible inside a grant: taking
// data out, destroying it, money, and all of Mitral's own acts.
func Forbidden(action string) bool {
	switch action {
	case "export", "bulk_print", "delete", "payment":
		return true
	}
	return isOwn(action)
}

// Verdict is what authz/check answers.
type Verdict string

// The verdicts.
const (
	Permit             Verdict = "permit"
	Deny               Verdict = "deny"
	BreakGlassPossible Verdict = "break_glass_possible"
)

// Why an act is denied.
const (
	DenyRole          = "role"
	DenyUnknownAction = "unknown_action"
	DenyForbidden     = "bg_forbidden_action"
)

// Decision is a verdict and, when it is Deny, its code.
type Decision struct {
	Verdict Verdict
	Code    string
}

// MayDo decides whether a role may do an act, before any step-up is asked.
// Inside a grant the person's own role counts for nothing.
func (d Document) MayDo(role identity.Role, action string, inGrant bool) Decision {
	switch {
	case inGrant && Forbidden(action):
		return Decision{Deny, DenyForbidden}
	case !d.knows(action):
		return Decision{Deny, DenyUnknownAction}
	case inGrant && allows(d.grantAllow(), action):
		return Decision{Verdict: Permit}
	case inGrant:
		return Decision{Deny, DenyRole}
	}
	rules, known := d.Role(role)
	switch {
	case !known:
		return Decision{Deny, DenyRole}
	case isOwn(action):
		if !slices.Contains(own[action], rules.Class) || action == ActReview && !slices.Contains(d.BreakGlass.Reviewers, role) {
			return Decision{Deny, DenyRole}
		}
		return Decision{Verdict: Permit}
	case allows(rules.Allow, action):
		return Decision{Verdict: Permit}
	case d.BreakGlass.Enabled && !Forbidden(action) && allows(d.grantAllow(), action):
		return Decision{Verdict: BreakGlassPossible}
	}
	return Decision{Deny, DenyRole}
}

// MayRevoke reports whether a role may stop another person's grant: opening one
// is an administrator's, stopping one a reviewer's as well.
func (d Document) MayRevoke(role identity.Role) bool {
	rules, _ := d.Role(role)
	return rules.Class == identity.Administration || rules.Class == identity.Review
}

// knows reports whether the policy speaks of an action: it has a step-up age,
// or some allow list names it.
func (d Document) knows(action string) bool {
	if _, found := d.StepUpAges[action]; found || slices.Contains(d.BreakGlass.Allow, action) && action != everything {
		return true
	}
	for _, role := range d.Roles {
		if action != everything && slices.Contains(role.Allow, action) {
			return true
		}
	}
	return false
}

// grantAllow returns what may be done inside a grant: break_glass.allow and,
// where break_glass.role is one of the workspace's roles, that role's allow too.
func (d Document) grantAllow() []string {
	allow := d.BreakGlass.Allow
	role, found := d.Roles[d.BreakGlass.Role]
	switch {
	case !found, slices.Contains(role.Allow, everything):
		return allow
	case slices.Contains(allow, everything):
		return role.Allow
	}
	return intersect(allow, role.Allow)
}

func allows(list []string, action string) bool {
	return slices.Contains(list, everything) || slices.Contains(list, action)
}

// StepUp returns how old a sign-in, step-up or passkey unlock may be for an
// action, 0 being asked each time; false for actions that ask for none.
func (d Document) StepUp(action string) (maxAge time.Duration, known bool) {
	seconds, known := d.StepUpAges[action]
	return time.Duration(seconds) * time.Second, known
}

// StepUpAccepts reports whether a method (webauthn, totp, pin) is enough for an
// action. For Mitral's own acts but break_glass a PIN is not, once the person
// has a stronger factor.
func (d Document) StepUpAccepts(action, method string, strongerFactor bool) bool {
	if method == PINStepUp && strongerFactor && isOwn(action) && action != ActBreakGlass {
		return false
	}
	return slices.Contains(d.StepUpMethods[action], method)
}
