package view

import "time"

// SetupClinic is the first step of /setup. Posts `token`, `name`, `time_zone`,
// `reach` (this_pc, network, internet) and `preset` to PostSetupClinic.
type SetupClinic struct {
	Frame Frame
	// Token is the one-time setup token where the page was opened with one.
	Token string
	// Name, TimeZone, Reach and Preset fill the form again. An empty TimeZone is
	// filled by the browser with its own.
	Name, TimeZone, Reach, Preset string
	// TimeZones are suggestions, IANA names.
	TimeZones []string
	// NoPasskeys says that the address has no name or no certificate.
	NoPasskeys bool
	// Errors: "", `name`, `time_zone`, `reach`, `preset`.
	Errors FieldErrors
}

// SetupYou makes the first administrator. Posts `token`, `name`, `email`,
// `phone`, `pin` to PostSetupYou.
type SetupYou struct {
	Frame              Frame
	Token              string
	Name, Email, Phone string
	PINLength          int
	NoPasskeys         bool
	// Errors: "", `name`, `email`, `phone`, `pin`.
	Errors FieldErrors
}

// SetupSheet shows the administrator's key, recovery codes and sealed codes,
// once. Posts `token`, `kept` (1), and for the password manager `identifier`
// and `key`, to PostSetupSheet. The browser insists on `kept`; where it comes
// empty all the same, go on and leave that light of the readiness off: nothing
// here can be shown again.
type SetupSheet struct {
	Frame Frame
	Token string
	// Name and Identifier are the administrator's; Address is the sign-in page's
	// URL in full.
	Name, Identifier, Address string
	// Key is formatted in groups.
	Key           string
	RecoveryCodes []string
	Sealed        []SealedCode
	// ReplaceBy is when the sealed codes should be replaced.
	ReplaceBy time.Time
	// VerifierKey is the audit log's: "name+hash+base64".
	VerifierKey string
	Phones      []Contact
}

// SetupPeople adds a second person. Posts `token`, `name`, `email`, `phone`,
// `role`, or `skip` (1) alone, to PostSetupPeople.
type SetupPeople struct {
	Frame                    Frame
	Token                    string
	Name, Email, Phone, Role string
	Roles                    []Option
	// Errors: "", `name`, `email`, `phone`, `role`.
	Errors FieldErrors
}

// SetupDone ends the setup.
type SetupDone struct {
	Frame     Frame
	Readiness Readiness
	// Delivery is how the second person gets a key; nil when skipped.
	Delivery *Delivery
	// Next is where to go: "Sign in" or "Open the console".
	Next Link
}

// Claim is /claim/{token}. Posts `code` (the claim code) and `pin` to
// PostClaim(Token). Reading the page spends nothing.
type Claim struct {
	Frame Frame
	Token string
	// Initials of the person it is for; a link shows no name.
	Initials string
	// NewPIN says that the claim sets the PIN; else it asks for the present one.
	NewPIN    bool
	PINLength int
	// TriesLeft for the claim code, shown below five; 0 shows nothing.
	TriesLeft int
	// Errors: "", `code`, `pin`.
	Errors     FieldErrors
	RetryAfter int
}

// KeyOnce shows a new key, once. Its form is for the password manager too: it
// posts `identifier`, `key`, `last_two`, `recovery_code` once for each, and the
// person's and the clinic's `name` and `clinic` for the sheet's print, to
// Action, which compares last_two with the end of key (LastTwoMatch) and
// answers with this page again or with RecoverySheet. Nothing needs to be kept
// between the two: all of it comes back in the form.
type KeyOnce struct {
	Frame Frame
	// Action is PostClaimSaved(token) or PostKeySaved.
	Action           string
	Name, Identifier string
	// Address is the sign-in page's URL in full, for the card.
	Address string
	// Key is formatted in groups.
	Key string
	// RecoveryCodes travel on to the sheet; may be none.
	RecoveryCodes []string
	// OldKeyStops is when the key before it stops working; zero for none.
	OldKeyStops time.Time
	// Errors: `last_two`.
	Errors FieldErrors
}

// RecoverySheet shows recovery codes, once, to print.
type RecoverySheet struct {
	Frame                     Frame
	Name, Identifier, Address string
	Codes                     []string
	MadeAt                    time.Time
	Next                      Link
}

// LastTwoMatch says whether typed are the last two symbols of key: in any case,
// with O and I, L read as 0 and 1.
func LastTwoMatch(key, typed string) bool {
	return typed != "" && len(key) >= 2 && canonical(typed) == lastTwo(canonical(key))
}
