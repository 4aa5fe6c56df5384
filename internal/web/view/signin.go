package view

import "time"

// SignIn is /signin. Its form posts to PostSignIn in two steps: first
// `identifier` and `key`; the answer is this page again with Held, whose form
// posts `held` and `pin`. With JavaScript the browser makes the second step
// itself and posts `identifier`, `key` and `pin` at once. Both carry `workspace`
// and `callbackUrl`.
type SignIn struct {
	Frame Frame
	// Workspace is a slug where the page belongs to one; posted as `workspace`.
	Workspace string
	// CallbackURL is where to go afterwards, posted as `callbackUrl`.
	CallbackURL string
	// KeyPIN says that key + PIN is allowed here; without it only Methods show.
	KeyPIN bool
	// Identifier fills the first field again, and names who the PIN is for.
	Identifier string
	// Held is identifier and key, sealed by the server and good for minutes, so
	// that the key is never written into a page. With it the page asks for the
	// PIN. A refused attempt is answered by the same page with Held again: the
	// key stays, whatever was wrong.
	Held string
	// PINLength is 4 or 6; 0 means 4.
	PINLength int
	// Errors: "", `identifier`, `key`, `pin`.
	Errors FieldErrors
	// RetryAfter is the seconds to wait after a 429; 0 for none.
	RetryAfter int
	// NotResumed says that a page load was sent here because no session could
	// be resumed (resume=0 in the query).
	NotResumed bool
	// Outage is one sentence about a method that is down; key + PIN comes first.
	Outage string
	// Methods are the other ways in.
	Methods []Method
	// Mail offers a mailed link: posts `email`, `workspace`, `callbackUrl` to
	// PostMail.
	Mail bool
}

// Method is a way to sign in that has a button: it posts Hidden to Action.
type Method struct {
	Label, Action string
	Hidden        []Hidden
}

// LockScreen is what resume and /signin answer for a locked session. It posts
// `pin` and `callbackUrl` to PostUnlock; its Sign out posts to PostSignOut.
type LockScreen struct {
	Frame Frame
	// Name is whose session is locked.
	Name string
	// LockedAt is when it locked; KeptUntil when it ends for good.
	LockedAt, KeptUntil time.Time
	// Device says in a sentence what this device does: "Your work is kept; another
	// person's PIN closes it." Empty means the sentence for an unregistered one.
	Device string
	// CallbackURL is where to go afterwards.
	CallbackURL string
	PINLength   int
	// NoPIN says that this person has none.
	NoPIN bool
	// SealedCode offers the code that opened this session instead of a PIN; it
	// posts `sealed_code`.
	SealedCode bool
	// TriesLeft is shown when it is less than five and not 0.
	TriesLeft int
	// Errors: "", `pin`, `sealed_code`.
	Errors     FieldErrors
	RetryAfter int
}

// Challenge is the second factor of a sign-in. It posts `code` (from an app,
// or a recovery code), `method` ("totp" or "recovery_code") and `callbackUrl` to
// PostFactor.
type Challenge struct {
	Frame Frame
	Name  string
	// TOTP and Recovery say which codes the person can use.
	TOTP, Recovery bool
	CallbackURL    string
	// Errors: "", `code`.
	Errors     FieldErrors
	RetryAfter int
}

// NextStep is what a person must do before this sign-in can end: choose a new
// PIN (posts `current_pin`, `new_pin`, `callbackUrl` to PostOverduePIN), or
// enrol a factor that has no page here.
type NextStep struct {
	Frame Frame
	Name  string
	// PIN says that the PIN is overdue.
	PIN       bool
	PINLength int
	// Methods are the factors the policy accepts, in words: "a passkey".
	Methods     []string
	CallbackURL string
	// Errors: "", `current_pin`, `new_pin`.
	Errors FieldErrors
}

// CheckMail says that a link was sent, in the same words for every address.
type CheckMail struct {
	Frame Frame
	// Address is as it was typed.
	Address string
	// Minutes is how long the link is good for.
	Minutes int
}

// StepUp asks who is at the keyboard once more, names the act, and posts `pin`
// together with Carry to Action: the interrupted form's own path, which checks
// the PIN and goes on with the act.
type StepUp struct {
	Frame Frame
	// Act says what will happen, after "To": "reissue the key of Omar Haddad".
	Act string
	// Detail is one line more: "312 patients, CSV"; may be "".
	Detail string
	// Action is the path to post to; Carry the interrupted form's fields.
	Action string
	Carry  []Hidden
	// Back is where Cancel leads.
	Back      string
	PINLength int
	// Errors: "", `pin`.
	Errors     FieldErrors
	RetryAfter int
}
