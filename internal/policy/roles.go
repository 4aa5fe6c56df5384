package policy

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// roleReader reads roles, each after the one it inherits from.
type roleReader struct {
	object
	done map[identity.Role]Role
	open map[string]bool
}

func readRoles(o object) map[identity.Role]Role {
	names := o.names()
	if len(names) > maxRoles {
		o.refuse(o.path, CodeBounds, "these are too many roles")
		return nil
	}
	r := roleReader{object: o, done: map[identity.Role]Role{}, open: map[string]bool{}}
	for _, name := range names {
		if roleName.MatchString(name) {
			r.read(name)
		}
	}
	o.close()
	return r.done
}

// read returns a role, reading it when it has not been yet.
func (r roleReader) read(name string) Role {
	if role, found := r.done[identity.Role(name)]; found {
		return role
	}
	r.open[name] = true
	o := r.object.object(name)
	class := startClass[name]
	var base Role
	if parent := o.name("inherit", "", roleName); parent != "" {
		base = r.inherited(o, parent)
		class = cmp.Or(base.Class, class)
	}
	class = identity.Class(o.word("class", string(class), string(identity.Clinical), string(identity.Office),
		string(identity.Administration), string(identity.Review)))
	if class == "" {
		o.refuse(o.at("class"), CodeMissing, "a role of your own needs a class: clinical, office, admin or review")
	}
	if base.Class == "" {
		base = startRole(class)
	}
	role := Role{
		Class:    class,
		MFA:      o.word("mfa", base.MFA, required, optional),
		Prefer:   o.word("prefer", base.Prefer, anyFactor, phishingResistant),
		Idle:     o.duration("idle", base.Idle, time.Minute, day-time.Second, "1 minute to less than 24 hours"),
		Absolute: o.duration("absolute", base.Absolute, time.Minute, 30*day-time.Second, "1 minute to less than 30 days"),
		LockTTL:  o.duration("lock_ttl", base.LockTTL, time.Minute, 30*day-time.Second, "1 minute to less than 30 days"),
		Methods:  o.list("methods", base.Methods, oneOf(allMethods...)),
		Allow:    o.list("allow", base.Allow, allowable),
		Sessions: o.integer("sessions", base.Sessions, 1, 20),
		Roam:     o.word("roam", base.Roam, off, passkeyOrCard),
	}
	o.close()
	r.done[identity.Role(name)] = role
	return role
}

// inherited returns the role that another one builds on.
func (r roleReader) inherited(o object, parent string) Role {
	if _, read := r.done[identity.Role(parent)]; !read {
		if r.open[parent] {
			o.refuse(o.at("inherit"), CodeConflict, "these roles inherit from each other in a circle")
			return Role{}
		}
		if _, found := r.members[parent]; !found {
			o.refuse(o.at("inherit"), CodeUnknown, "there is no such role to inherit from")
			return Role{}
		}
	}
	return r.read(parent)
}

// startRole returns what a role of a class starts with. Mail and Telegram are
// no way to patients' data.
func startRole(class identity.Class) Role {
	role := Role{
		Class: class, MFA: required, Prefer: anyFactor,
		Idle: "15m", Absolute: "12h", LockTTL: "8h",
		Methods: []string{Google, Microsoft, KeyPIN, SAML, Passkey},
		Allow:   []string{everything}, Sessions: clinicalSessions, Roam: passkeyOrCard,
	}
	switch class {
	case identity.Office:
		role.MFA, role.Methods = optional, allMethods
	case identity.Administration:
		role.Idle, role.LockTTL, role.Sessions = "60m", "2h", adminSessions
	case identity.Review:
		role.Allow = []string{}
	}
	return role
}

// guard refuses documents whose parts are right and whose whole would lock the
// workspace out.
func (d Document) guard(r *reader) {
	if !slices.ContainsFunc(sortedKeys(d.Roles), d.canAdminister) {
		r.refuse("roles", CodeConflict, "no role of class admin could sign in: leave one a method that satisfies mfa.accept")
	}
	switch d.Roles[d.BreakGlass.Role].Class {
	case identity.Administration, identity.Review:
		r.refuse("break_glass.role", CodeConflict, "emergency access gives no role of class admin or review")
	}
	if len(d.BreakGlass.Reviewers) == 0 {
		r.refuse("break_glass.reviewers", CodeMissing, "somebody has to review emergency access")
	}
}

// canAdminister reports whether people of a role could sign in and administer.
func (d Document) canAdminister(role identity.Role) bool {
	rules, _ := d.Role(role)
	if rules.Class != identity.Administration || len(rules.Methods) == 0 {
		return false
	}
	return !rules.MFARequired || len(d.factors()) > 0 || slices.Contains(rules.Methods, KeyPIN)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
