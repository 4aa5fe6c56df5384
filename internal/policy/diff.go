package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Change is one difference between two documents. Loosens says that something
// became weaker, and so needs a reason.
type Change struct {
	Field    string `json:"field"`
	Was      string `json:"was"` // "" for what was not there
	Is       string `json:"is"`  // "" for what is there no more
	Sentence string `json:"sentence"`
	Loosens  bool   `json:"loosens"`
}

// Loosens returns the changes that make something weaker.
func Loosens(old, new Document) []Change {
	return slices.DeleteFunc(Diff(old, new), func(c Change) bool { return !c.Loosens })
}

// Diff returns every difference in plain words, in the document's order. A role
// that comes or goes is one change and loosens nothing by itself: people get
// and lose it one by one.
func Diff(old, new Document) []Change {
	var c changes
	c.list("methods", "everybody: sign-in", old.Methods, new.Methods)
	for _, name := range bothKeys(old.Roles, new.Roles) {
		was, existed := old.Roles[name]
		is, exists := new.Roles[name]
		field := "roles." + string(name)
		switch {
		case !existed:
			c.add(field, "", string(is.Class), false, "%s: a new role of class %s", name, is.Class)
		case !exists:
			c.add(field, string(was.Class), "", false, "%s: the role is gone", name)
		default:
			c.role(field, string(name), was, is)
		}
	}
	c.list("mfa.accept", "everybody: a second step by", old.MFA.Accept, new.MFA.Accept)
	c.longer("mfa.grace", "everybody: has %s instead of %s to add a factor", old.MFA.Grace, new.MFA.Grace)
	c.stepUp(old, new)
	c.breakGlass(old, new)
	c.longer("magic_link.ttl", "everybody: a mailed link is good for %s instead of %s", old.MagicLink.TTL, new.MagicLink.TTL)
	c.word("fallback.key_pin_when_idp_down", "everybody: key and PIN in a provider's outage: %s instead of %s",
		old.Fallback.KeyPINWhenIDPDown, new.Fallback.KeyPINWhenIDPDown, auto)
	c.networks(old.Networks.Clinic, new.Networks.Clinic)
	c.number("pin.length", "everybody: PINs have %s digits instead of %s", old.PIN.Length, new.PIN.Length, new.PIN.Length < old.PIN.Length)
	c.number("pin.max_age_days", "everybody: PINs last %s days instead of %s (0 is for ever)", old.PIN.MaxAgeDays, new.PIN.MaxAgeDays,
		old.PIN.MaxAgeDays != 0 && (new.PIN.MaxAgeDays == 0 || new.PIN.MaxAgeDays > old.PIN.MaxAgeDays))
	c.number("pin.history", "everybody: the last %s PINs instead of %s are refused", old.PIN.History, new.PIN.History, new.PIN.History < old.PIN.History)
	c.number("key_overlap_days", "everybody: an old key works %s days more instead of %s", old.KeyOverlapDays, new.KeyOverlapDays, new.KeyOverlapDays > old.KeyOverlapDays)
	return c
}

func (c *changes) role(field, who string, was, is Role) {
	rights := is.Class == identity.Administration || is.Class == identity.Review && was.Class != identity.Administration
	if was.Class != is.Class {
		c.add(field+".class", string(was.Class), string(is.Class), rights, "%s: is of class %s instead of %s", who, is.Class, was.Class)
	}
	c.word(field+".mfa", who+": a second step is %s instead of %s", was.MFA, is.MFA, optional)
	c.word(field+".prefer", who+": the factor offered first: %s instead of %s", was.Prefer, is.Prefer, anyFactor)
	c.longer(field+".idle", who+": locks after %s instead of %s", was.Idle, is.Idle)
	c.longer(field+".absolute", who+": is signed out after %s instead of %s", was.Absolute, is.Absolute)
	c.longer(field+".lock_ttl", who+": a locked session waits %s instead of %s", was.LockTTL, is.LockTTL)
	c.list(field+".methods", who+": sign-in", was.Methods, is.Methods)
	c.list(field+".allow", who+": may do", was.Allow, is.Allow)
	c.number(field+".sessions", who+": has %s open sessions at most instead of %s", was.Sessions, is.Sessions, is.Sessions > was.Sessions)
	c.word(field+".roam", who+": taking a session along to another workstation: %s instead of %s", was.Roam, is.Roam, passkeyOrCard)
}

func (c *changes) stepUp(old, new Document) {
	for _, action := range bothKeys(old.StepUpAges, new.StepUpAges) {
		was, existed := old.StepUpAges[action]
		is, exists := new.StepUpAges[action]
		field := "step_up." + action
		switch {
		case !existed:
			c.add(field, "", strconv.Itoa(is), false, "%s: confirmation is asked %s", action, asked(is))
			continue
		case !exists:
			c.add(field, strconv.Itoa(was), "", true, "%s: confirmation is asked no more", action)
			continue
		case was != is:
			c.add(field, strconv.Itoa(was), strconv.Itoa(is), is > was, "%s: confirmation is asked %s instead of %s", action, asked(is), asked(was))
		}
		c.list("step_up_accept."+action, action+": confirmation by", old.StepUpMethods[action], new.StepUpMethods[action])
	}
}

func asked(seconds int) string {
	if seconds == 0 {
		return "each time"
	}
	return "after " + spoken(time.Duration(seconds)*time.Second)
}

func (c *changes) breakGlass(old, new Document) {
	was, is := old.BreakGlass, new.BreakGlass
	if was.Enabled != is.Enabled {
		sentence := "emergency access: nobody can open it"
		if is.Enabled {
			sentence = "emergency access: can be opened"
		}
		c.add("break_glass.enabled", strconv.FormatBool(was.Enabled), strconv.FormatBool(is.Enabled), is.Enabled, "%s", sentence)
	}
	c.number("break_glass.minutes", "emergency access: lasts %s minutes instead of %s", was.Minutes, is.Minutes, is.Minutes > was.Minutes)
	if was.Role != is.Role {
		wider := slices.ContainsFunc(new.grantAllow(), func(action string) bool { return !covers(old.grantAllow(), action) })
		c.add("break_glass.role", string(was.Role), string(is.Role), wider, "emergency access: gives role %s instead of %s", is.Role, was.Role)
	}
	c.list("break_glass.allow", "emergency access: allows", was.Allow, is.Allow)
	c.word("break_glass.second_person", "emergency access: second person: %s instead of %s", was.SecondPerson, is.SecondPerson, off)
	c.word("break_glass.sealed.where", "sealed codes: open %s instead of %s", was.Sealed.Where, is.Sealed.Where, anywhere)
	c.word("break_glass.sealed.offline_node", "sealed codes: the node that opens without the database: %s instead of %s", was.Sealed.OfflineNode, is.Sealed.OfflineNode, "")
	c.list("break_glass.reviewers", "emergency access: is reviewed by", texts(was.Reviewers), texts(is.Reviewers))
}

// networks loosens when an address counts as the clinic's that didn't.
func (c *changes) networks(was, is []string) {
	covered := func(s string) bool {
		new, _ := netip.ParsePrefix(s)
		return slices.ContainsFunc(was, func(s string) bool {
			old, err := netip.ParsePrefix(s)
			return err == nil && old.Bits() <= new.Bits() && old.Contains(new.Addr())
		})
	}
	if !sameWords(was, is) {
		c.add("networks.clinic", joined(was), joined(is), slices.ContainsFunc(is, func(s string) bool { return !covered(s) }),
			"the clinic's network: %s instead of %s", orNone(joined(is)), orNone(joined(was)))
	}
}

// changes collects differences; its methods add one when there is one.
type changes []Change

func (c *changes) add(field, was, is string, loosens bool, sentence string, args ...any) {
	*c = append(*c, Change{field, was, is, fmt.Sprintf(sentence, args...), loosens})
}

// longer loosens when the time grows.
func (c *changes) longer(field, sentence string, was, is Duration) {
	if was.Value() != is.Value() {
		c.add(field, string(was), string(is), is.Value() > was.Value(), sentence, spoken(is.Value()), spoken(was.Value()))
	}
}

func (c *changes) number(field, sentence string, was, is int, loosens bool) {
	if was != is {
		c.add(field, strconv.Itoa(was), strconv.Itoa(is), loosens, sentence, strconv.Itoa(is), strconv.Itoa(was))
	}
}

// word loosens when the new word is the weak one.
func (c *changes) word(field, sentence, was, is, weak string) {
	if was != is {
		c.add(field, was, is, is == weak, sentence, plain(is), plain(was))
	}
}

// list loosens when a word was added that the old list didn't cover.
func (c *changes) list(field, who string, was, is []string) {
	if sameWords(was, is) {
		if !slices.Equal(was, is) {
			c.add(field, joined(was), joined(is), false, "%s in another order: %s", who, words(is))
		}
		return
	}
	var parts []string
	if added := without(is, was); len(added) > 0 {
		parts = append(parts, "now also "+words(added))
	}
	if removed := without(was, is); len(removed) > 0 {
		parts = append(parts, "no more "+words(removed))
	}
	loosens := slices.ContainsFunc(is, func(word string) bool { return !covers(was, word) })
	c.add(field, joined(was), joined(is), loosens, "%s %s", who, strings.Join(parts, ", "))
}

// covers reports whether a list already gave what a word gives.
func covers(list []string, word string) bool {
	return allows(list, word) || word == PairOnRegistered && slices.Contains(list, PairAnywhere)
}

func joined(list []string) string { return strings.Join(list, ", ") }

func without(list, taken []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(word string) bool { return slices.Contains(taken, word) })
}

func sameWords(a, b []string) bool { return len(without(a, b)) == 0 && len(without(b, a)) == 0 }

func words(list []string) string {
	said := make([]string, len(list))
	for i, word := range list {
		said[i] = plain(word)
	}
	return strings.Join(said, ", ")
}

// plain says the words of the document that read badly.
func plain(word string) string {
	switch word {
	case "":
		return "any"
	case everything:
		return "everything in the applications"
	case PairAnywhere:
		return "key and PIN"
	case PairOnRegistered:
		return "key and PIN on a registered device"
	case passkeyOrCard:
		return "by passkey or key card"
	case inClinic:
		return "only in the clinic"
	case phishingResistant:
		return "passkey or security key"
	}
	return word
}

func orNone(said string) string {
	if said == "" {
		return "none"
	}
	return said
}

// spoken says a length of time in its largest whole unit, minutes below two
// hours and hours below two days.
func spoken(d time.Duration) string {
	switch {
	case d >= 2*day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

func texts(roles []identity.Role) []string {
	list := make([]string, len(roles))
	for i, role := range roles {
		list[i] = string(role)
	}
	return list
}

// bothKeys returns the names in either map, sorted.
func bothKeys[K ~string, V any](a, b map[K]V) []K {
	keys := sortedKeys(a)
	for _, key := range sortedKeys(b) {
		if _, found := a[key]; !found {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
