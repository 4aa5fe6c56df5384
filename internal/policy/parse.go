package policy

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

var (
	allMethods = []string{Google, Microsoft, Telegram, Email, KeyPIN, SAML, Passkey}
	allAccept  = []string{WebAuthn, TOTP, PairAnywhere, PairOnRegistered}
	allStepUp  = []string{WebAuthn, TOTP, PINStepUp}

	// startClass are the roles whose class need not be said.
	startClass = map[string]identity.Class{
		"nurse": identity.Clinical, "doctor": identity.Clinical, "staff": identity.Office,
		"admin": identity.Administration, "privacy_reviewer": identity.Review,
	}

	// startAges are the actions every workspace has, in seconds.
	startAges = map[string]int{
		"export": 0, "delete": 0, "payment": 0,
		ActBreakGlass: 0, ActSealedCodes: 0,
		ActPolicy: 300, ActUsers: 300, ActReview: 300, ActFactors: 300, ActCredentials: 300, ActAuditExport: 300,
		ActAuditRead: 900,
	}
)

// Open sessions a person may have.
const (
	clinicalSessions = 5
	adminSessions    = 3
)

const day = 24 * time.Hour

// Parse reads a policy document. Required are methods, roles and mfa.accept;
// what else is left out gets its default, and a role may take everything it
// leaves out from another by "inherit". The result is complete. Unknown names
// and words, wrong types, values out of bounds and documents by which nobody
// could administer are refused, all of them at once.
func Parse(data []byte) (Document, []FieldError) {
	r := &reader{}
	members := r.tree(data)
	if r.errors != nil {
		return Document{}, r.errors
	}
	top := object{r, "", members}
	for _, name := range []string{"methods", "roles", "mfa"} {
		if _, found := members[name]; !found {
			r.refuse(name, CodeMissing, "a policy has to say this")
		}
	}
	if r.errors != nil {
		return Document{}, r.errors
	}
	d := Document{
		Methods:        top.someOf("methods", nil, allMethods...),
		Roles:          readRoles(top.object("roles")),
		MFA:            readMFA(top.object("mfa")),
		MagicLink:      readMagicLink(top.object("magic_link")),
		Fallback:       readFallback(top.object("fallback")),
		Networks:       readNetworks(top.object("networks")),
		PIN:            readPIN(top.object("pin")),
		KeyOverlapDays: top.integer("key_overlap_days", 7, 0, 30),
	}
	d.StepUpAges = readStepUp(top.object("step_up"))
	d.StepUpMethods = readStepUpAccept(top.object("step_up_accept"), d)
	d.BreakGlass = readBreakGlass(top.object("break_glass"), d)
	top.close()
	if r.errors == nil {
		d.guard(r)
	}
	if r.errors != nil {
		return Document{}, r.errors
	}
	return d, nil
}

func readMFA(o object) MFA {
	defer o.close()
	return MFA{
		Accept: o.someOf("accept", nil, allAccept...),
		Grace:  o.duration("grace", "7d", 0, 90*day, "at most 90 days"),
	}
}

func readMagicLink(o object) MagicLink {
	defer o.close()
	return MagicLink{TTL: o.duration("ttl", "10m", time.Minute, 10*time.Minute, "1 to 10 minutes")}
}

func readFallback(o object) Fallback {
	defer o.close()
	return Fallback{KeyPINWhenIDPDown: o.word("key_pin_when_idp_down", auto, auto, off)}
}

func readNetworks(o object) Networks {
	defer o.close()
	return Networks{Clinic: o.list("clinic", []string{}, func(s string) string {
		if prefix, err := netip.ParsePrefix(s); err != nil || prefix != prefix.Masked() {
			return "this lists address ranges such as 10.0.0.0/8"
		}
		return ""
	})}
}

func readPIN(o object) PIN {
	defer o.close()
	pin := PIN{
		Length:     o.integer("length", 4, 4, 6),
		MaxAgeDays: o.integer("max_age_days", 90, 0, 3650),
		History:    o.integer("history", 5, 0, 24),
	}
	if pin.Length == 5 {
		o.refuse(o.at("length"), CodeBounds, "a PIN has 4 or 6 digits")
	}
	return pin
}

func readStepUp(o object) map[string]int {
	ages := map[string]int{}
	for _, action := range sortedKeys(startAges) {
		ages[action] = o.integer(action, startAges[action], 0, 900)
	}
	for _, action := range o.names() {
		if !actionName.MatchString(action) {
			continue // left over, and so refused by close
		}
		ages[action] = o.integer(action, 0, 0, 900)
	}
	o.close()
	if len(ages) > maxActions {
		o.refuse(o.path, CodeBounds, "these are too many actions")
	}
	return ages
}

func readStepUpAccept(o object, d Document) map[string][]string {
	defer o.close()
	accept := map[string][]string{}
	for _, action := range sortedKeys(d.StepUpAges) {
		missing := allStepUp
		// A PIN is enough for Mitral's own acts only where key and PIN are.
		if isOwn(action) && action != ActBreakGlass && !slices.Contains(d.MFA.Accept, PairAnywhere) {
			missing = []string{WebAuthn, TOTP}
		}
		accept[action] = o.someOf(action, missing, allStepUp...)
	}
	return accept
}

func readBreakGlass(o object, d Document) BreakGlass {
	defer o.close()
	b := BreakGlass{
		Enabled:      o.boolean("enabled", true),
		Minutes:      o.integer("minutes", 60, 1, 60),
		Role:         identity.Role(o.name("role", emergencyClinician, roleName)),
		Allow:        o.list("allow", []string{everything}, allowable),
		SecondPerson: o.word("second_person", off, off, witness),
		Sealed:       readSealed(o.object("sealed")),
		Reviewers:    []identity.Role{},
	}
	for _, name := range o.list("reviewers", reviewersOf(d.Roles), func(name string) string {
		switch d.Roles[identity.Role(name)].Class {
		case identity.Review, identity.Administration:
			return ""
		}
		return "reviewers are roles of class review or admin"
	}) {
		b.Reviewers = append(b.Reviewers, identity.Role(name))
	}
	return b
}

func readSealed(o object) Sealed {
	defer o.close()
	sealed := Sealed{Where: o.word("where", anywhere, anywhere, inClinic)}
	if o.members["offline_node"] == "" { // every node, as JSON writes it
		delete(o.members, "offline_node")
	}
	sealed.OfflineNode = o.name("offline_node", "", nodeName)
	return sealed
}

// reviewersOf returns the roles of class review, then those of class admin.
func reviewersOf(roles map[identity.Role]Role) []string {
	var names []string
	for _, class := range []identity.Class{identity.Review, identity.Administration} {
		for _, name := range sortedKeys(roles) {
			if roles[name].Class == class {
				names = append(names, string(name))
			}
		}
	}
	return names
}

// allowable tests one entry of an allow list. Mitral's own acts follow the
// class, so naming one there would promise what isn't given.
func allowable(action string) string {
	switch {
	case action == everything:
		return ""
	case isOwn(action):
		return "Mitral's own acts follow the role's class and can't be listed here"
	case !actionName.MatchString(action):
		return `this lists actions, in small letters, or "*"`
	}
	return ""
}
