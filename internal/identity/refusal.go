package identity

import "time"

// Kind says what sort of answer a refusal is. The doors translate it, once.
type Kind int

// The kinds of refusal.
const (
	Malformed       Kind = iota + 1 // the request cannot be read
	Invalid                         // a field's value is not accepted
	Unauthenticated                 // nobody is signed in, or the proof was wrong
	StepUpNeeded                    // signed in, but this action asks for a fresh proof (RFC 9470)
	Forbidden                       // signed in, and not allowed
	Unknown                         // no such thing, or another workspace's
	Conflict                        // the thing is not in a state for this
	Gone                            // it was there once and is used or over
	Stale                           // If-Match names an old revision
	NoPrecondition                  // If-Match is missing
	Locked                          // the session is locked
	Throttled                       // too many; RetryAfter says when
	Unavailable                     // it cannot be known now; RetryAfter says when
)

// FieldError is one field that was not accepted. It never repeats the value.
type FieldError struct {
	Field  string `json:"field"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Refusal is an answer of no: a result of an act, not a fault. Returned from a
// transaction's function it lets the transaction commit, so that a wrong code
// keeps its counter and its event. It names no secret and repeats no input.
type Refusal struct {
	Kind       Kind
	Code       string // stable, lower_snake
	Detail     string // a sentence for a person, with the next step
	Fields     []FieldError
	RetryAfter time.Duration // Throttled and Unavailable
	Action     string        // StepUpNeeded
	MaxAge     time.Duration // StepUpNeeded
	// Extra members of the answer, such as the id of the thing in conflict.
	Extra map[string]any
}

// Error returns the stable code.
func (r *Refusal) Error() string { return r.Code }

// Refuse makes a refusal.
func Refuse(kind Kind, code, detail string) *Refusal {
	return &Refusal{Kind: kind, Code: code, Detail: detail}
}

// RefuseField makes an Invalid refusal of one field.
func RefuseField(field, code, detail string) *Refusal {
	return &Refusal{Kind: Invalid, Code: "invalid", Detail: detail, Fields: []FieldError{{field, code, detail}}}
}
