package breakglass

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/identity"
)

// The categories of an emergency.
const (
	PatientEmergency = "patient_emergency"
	CannotSignIn     = "cannot_sign_in"
	SystemOutage     = "system_outage"
	RoleTooSmall     = "role_too_small"
	CoverOrVisiting  = "cover_or_visiting"
	Other            = "other"
)

// Categories returns all categories.
func Categories() []string {
	return []string{PatientEmergency, CannotSignIn, SystemOutage, RoleTooSmall, CoverOrVisiting, Other}
}

// Bounds on what a start says in words, in characters.
const (
	minReason      = 10 // besides spaces
	minOtherReason = 25
	maxReason      = 1000
	maxPatientRef  = 64
	maxRegNo       = 64
	maxName        = 120
	maxKey         = 128
)

// StartInput is a request for emergency access.
type StartInput struct {
	Kind string
	// Subject is for whom: a user id (named), a user id or identifier (sealed).
	Subject string
	// Visiting is for whom, where that person has no account (sealed).
	Visiting *Visiting
	// Workspace is a slug; "" leaves it to the registered device, or to there
	// being only one.
	Workspace                    string
	SealedCode, PIN              identity.Secret
	Category, Reason, PatientRef string
	// Unidentified says that the patient is not identified yet.
	Unidentified bool
	// Drill practises: nothing is opened and no code is spent.
	Drill bool
	// IdempotencyKey makes a repetition from the same browser harmless for a day.
	IdempotencyKey string
}

// Visiting is somebody without an account.
type Visiting struct {
	Name, RegNo string
}

// offences collects what is wrong with an input.
type offences []identity.FieldError

func (o *offences) add(field, code, detail string) {
	*o = append(*o, identity.FieldError{Field: field, Code: code, Detail: detail})
}

// refusal is nil where nothing was wrong.
func (o offences) refusal() error {
	if len(o) == 0 {
		return nil
	}
	return &identity.Refusal{Kind: identity.Invalid, Code: "invalid", Detail: o[0].Detail, Fields: o}
}

// check says what is wrong with a request by itself, before anything else is
// known. It trims what was typed.
func (in *StartInput) check() error {
	var o offences
	in.Reason, in.PatientRef, in.Subject = strings.TrimSpace(in.Reason), strings.TrimSpace(in.PatientRef), strings.TrimSpace(in.Subject)
	in.checkKind(&o)
	if !slices.Contains(Categories(), in.Category) {
		o.add("category", "unknown", "Choose why: a patient emergency, cannot sign in, outage, role too small, cover or visiting, or other.")
	}
	if code, detail := weakReason(in.Category, in.Reason); code != "" {
		o.add("reason", code, detail)
	}
	if code, detail := badRef(in.PatientRef); code != "" {
		o.add("patient_ref", code, detail)
	} else if in.Category == PatientEmergency && in.PatientRef == "" && !in.Unidentified {
		o.add("patient_ref", "missing", "Name the patient by the record's number, or tick that the patient is not identified yet.")
	}
	if len(in.IdempotencyKey) > maxKey || strings.ContainsFunc(in.IdempotencyKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		o.add("idempotency_key", "invalid", "An Idempotency-Key has at most 128 printable characters.")
	}
	return o.refusal()
}

func (in *StartInput) checkKind(o *offences) {
	switch in.Kind {
	case KindSelf:
	case KindNamed:
		if in.Subject == "" {
			o.add("subject", "missing", "Choose for whom you open it.")
		}
	case KindSealed:
		in.checkSealed(o)
		return
	default:
		o.add("kind", "unknown", "Emergency access is for yourself, for somebody you name, or by a sealed code.")
		return
	}
	if in.Visiting != nil {
		o.add("visiting", "not_here", "Only a sealed code opens for somebody without an account.")
	}
}

func (in *StartInput) checkSealed(o *offences) {
	if in.SealedCode == "" {
		o.add("sealed_code", "missing", "Type the code from the sealed letter.")
	} else if len(in.SealedCode) > maxKey {
		o.add("sealed_code", "too_long", "The code has ten characters.")
	}
	if in.PIN != "" && !keypin.WellFormed(in.PIN, 4) && !keypin.WellFormed(in.PIN, 6) {
		o.add("pin", keypin.ErrPINFormat.Code(), "The PIN is four digits.")
	}
	switch {
	case in.Subject == "" && in.Visiting == nil:
		o.add("subject", "missing", "Say who you are: your address, or that you are visiting.")
	case in.Subject != "" && in.Visiting != nil:
		o.add("subject", "conflict", "Say who you are, or that you are visiting: not both.")
	case in.Visiting != nil:
		v := Visiting{strings.Join(strings.Fields(in.Visiting.Name), " "), strings.Join(strings.Fields(in.Visiting.RegNo), " ")}
		if !readable(v.Name, maxName) {
			o.add("visiting.name", "invalid", "Write your full name.")
		}
		if !readable(v.RegNo, maxRegNo) {
			o.add("visiting.reg_no", "invalid", "Write your registration number.")
		}
		in.Visiting = &v
	}
}

// readable reports whether a text can stand in a list: something, not too long,
// no markup and nothing invisible.
func readable(s string, longest int) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= longest &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == '<' || r == '>' })
}

// badRef says what is wrong with a patient reference: an opaque number of the
// record system, never checked further.
func badRef(ref string) (code, detail string) {
	switch {
	case ref == "":
	case utf8.RuneCountInString(ref) > maxPatientRef:
		return "too_long", "A patient reference has at most 64 characters: the record's number, no name."
	case !readable(ref, maxPatientRef):
		return "invalid", "Use the record's number: letters, digits and hyphens, no name."
	}
	return "", ""
}

// weakReason says why a text is no reason, or "".
func weakReason(category, reason string) (code, detail string) {
	letters, words := 0, 0
	for _, w := range strings.Fields(reason) {
		letters += utf8.RuneCountInString(w)
		if strings.ContainsFunc(w, isText) {
			words++
		}
	}
	switch {
	case !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) }):
		return "invalid", "Write the reason in plain text."
	case utf8.RuneCountInString(reason) > maxReason:
		return "too_long", "Keep the reason under 1,000 characters; more can be added as a note."
	case letters < minReason:
		return "too_short", "Say in a few words what happened: ten characters at least."
	case category == Other && letters < minOtherReason:
		return "too_short", "With “other”, say a little more: 25 characters at least."
	case words < 2:
		return "one_word", "Say it in two words at least."
	case fewLetters(reason):
		return "repeated", "Say in words what happened."
	case isKeyboardRun(reason):
		return "keyboard", "Say in words what happened."
	}
	return "", ""
}

func isText(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// fewLetters reports whether a text is one or two characters over and over.
func fewLetters(s string) bool {
	seen := map[rune]bool{}
	for _, r := range strings.ToLower(s) {
		if isText(r) {
			seen[r] = true
		}
	}
	return len(seen) <= 2
}

// keyboardRows are the rows of common keyboards and the columns of one, the
// digits and the alphabet: whoever drums on the keys writes parts of them.
var keyboardRows = []string{
	"qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop", "yxcvbnm", "azertyuiop", "qsdfghjklm", "wxcvbn",
	"12345678901234567890", "abcdefghijklmnopqrstuvwxyz", "qazwsxedcrfvtgbyhnujmikolp",
}

// isKeyboardRun reports whether at least half of a text is parts of keyboard
// rows, or of one character repeated.
func isKeyboardRun(s string) bool {
	runs, all := 0, 0
	for _, w := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !isText(r) }) {
		n := utf8.RuneCountInString(w)
		all += n
		if isRun(w) {
			runs += n
		}
	}
	return all == 0 || 2*runs >= all
}

// isRun reports whether a word is made of pieces of three or more neighbouring
// keys, or of one character.
func isRun(w string) bool {
	if utf8.RuneCountInString(w) < 3 {
		return false
	}
	if strings.Trim(w, w[:1]) == "" {
		return true
	}
	for w != "" {
		n := longestRun(w)
		if n < 3 {
			return false
		}
		w = w[n:]
	}
	return true
}

// longestRun returns how many bytes at the front of w are neighbouring keys,
// forwards or backwards.
func longestRun(w string) int {
	best := 0
	for _, row := range keyboardRows {
		for _, r := range []string{row, reversed(row)} {
			for n := len(w); n > best; n-- {
				if strings.Contains(r, w[:n]) {
					best = n
				}
			}
		}
	}
	return best
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// sameReason reports whether two reasons say the same words.
func sameReason(a, b string) bool {
	return strings.EqualFold(strings.Join(strings.Fields(a), " "), strings.Join(strings.Fields(b), " "))
}
