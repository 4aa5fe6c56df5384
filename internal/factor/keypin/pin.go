package keypin

import (
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Refusal is why a PIN may not be set. It says nothing of the PIN itself.
type Refusal string

// The refusals; their text is their stable code.
const (
	// ErrPINFormat: not exactly the policy's number of ASCII digits.
	ErrPINFormat Refusal = "pin_format"
	// ErrPINTooEasy: among the first guesses of a stranger, or of someone who
	// knows the person. It never says which, so that it confirms nothing.
	ErrPINTooEasy Refusal = "pin_too_easy"
	// ErrPINUsed: one of the person's last PINs. Only hashes of those exist, so
	// the caller compares them, as many as the policy's pin.history says.
	ErrPINUsed Refusal = "pin_used"
)

// Code returns the stable code.
func (r Refusal) Code() string { return string(r) }

// Error says in plain words what to do next.
func (r Refusal) Error() string {
	switch r {
	case ErrPINFormat:
		return "a PIN is four digits, or six where the clinic has chosen that"
	case ErrPINTooEasy:
		return "too easy to guess: choose another"
	case ErrPINUsed:
		return "you had this PIN before: choose another"
	}
	return string(r)
}

// Personal is what could be looked up about the person and the clinic. Empty
// fields rule nothing out.
type Personal struct {
	// Phones are the person's and the clinic's numbers, written in any form.
	Phones []string
	// Addresses are streets and postcodes; only their digits are read.
	Addresses []string
	// BirthYear is the person's, 0 when unknown.
	BirthYear int
}

// ValidatePIN decides whether pin may be set: exactly length (4 or 6) ASCII
// digits, else ErrPINFormat; not among the easily guessed and not taken from
// the personal numbers, else ErrPINTooEasy. It is asked before anything is
// hashed, and only when a PIN is set, never when one is typed to sign in.
func ValidatePIN(pin identity.Secret, length int, personal Personal) error {
	if !WellFormed(pin, length) {
		return ErrPINFormat
	}
	digits := pin.Reveal()
	if easy(digits) || personal.holds(digits) {
		return ErrPINTooEasy
	}
	return nil
}

// WellFormed reports whether pin is exactly length (4 or 6) ASCII digits: the
// test that every PIN passes before it is hashed.
func WellFormed(pin identity.Secret, length int) bool {
	digits := pin.Reveal()
	if length != 4 && length != 6 || len(digits) != length {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

// Age is how far a PIN is on its way to a forced change.
type Age string

// The ages.
const (
	AgeFine    Age = "fine"
	AgeSoon    Age = "soon"    // offer a change at full sign-in
	AgeOverdue Age = "overdue" // demand one at full sign-in
)

// The notice before a PIN's end and the days of grace after it.
const (
	notice = 14 * 24 * time.Hour
	grace  = 7 * 24 * time.Hour
)

// AgeOf tells the age of a PIN set at changed under a policy of maxAgeDays
// (0 is off): soon from 14 days before its end, overdue 7 days after it. It is
// asked at a full sign-in only, never at unlock or break-glass.
func AgeOf(changed, now time.Time, maxAgeDays int) Age {
	if maxAgeDays <= 0 {
		return AgeFine
	}
	end := changed.AddDate(0, 0, maxAgeDays)
	switch {
	case !now.Before(end.Add(grace)):
		return AgeOverdue
	case !now.Before(end.Add(-notice)):
		return AgeSoon
	}
	return AgeFine
}
