package view

import "time"

// Account is /account, a person's own security page.
type Account struct {
	Frame      Frame
	Identifier string
	// ConfirmedAt is the last full proof; zero hides it.
	ConfirmedAt time.Time
	// KeyMade is zero where the person has no key. The form posts to PostKey,
	// without fields, and is answered by StepUp or KeyOnce.
	KeyMade     time.Time
	OldKeyStops time.Time
	// PINChanged is zero where there is none; PINDue zero where it never falls due.
	// The form posts `current_pin`, `new_pin` to PostPIN.
	PINChanged, PINDue time.Time
	PINLength          int
	// CodesLeft of CodesTotal recovery codes; the form posts to PostRecovery and
	// is answered by StepUp or RecoverySheet. CodesTotal 0 hides it.
	CodesLeft, CodesTotal int
	// Sessions are the person's own. Each posts to PostSession(id, "end"); all
	// others to PostEndOthers; all, this one too, to PostEverywhere.
	Sessions []Session
	Activity []Event
	// Errors: `current_pin`, `new_pin`.
	Errors FieldErrors
}

// Session is one of a person's sessions.
type Session struct {
	ID string
	// Place is the device's label or what is known of the browser: "Exam Room 2",
	// "Chrome, Windows".
	Place string
	// State is "active", "locked" or "parked".
	State string
	// LastActive is the last activity, or since when it is locked.
	LastActive time.Time
	// Here marks the one that looks at the page; Emergency one inside a grant.
	Here, Emergency bool
}

func (s Session) words() string {
	switch s.State {
	case "locked":
		return "Locked"
	case "parked":
		return "Put aside"
	}
	return "Active"
}

// Event is one entry of the record, told as a sentence.
type Event struct {
	// Index is its place in the log; below 0 hides it.
	Index int64
	At    time.Time
	// Who is the actor's name, or "Someone"; Did the rest of the sentence.
	Who, Did string
	// Detail is a second line, such as a reason or an address; may be "".
	Detail string
	// Refused marks denied and failed attempts.
	Refused bool
	// Link leads to what the event is about: a grant, a person.
	Link Link
}
