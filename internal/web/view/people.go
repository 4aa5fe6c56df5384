package view

import (
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Overview is /admin: what needs an administrator now.
type Overview struct {
	Frame     Frame
	Readiness Readiness
	// Open are grants that run; Waiting those that wait for acknowledgement or
	// verdict.
	Open, Waiting []GrantRow
	// Latest events, a handful.
	Latest []Event
}

// Readiness says how ready the clinic is for a bad day.
type Readiness struct {
	Lights []Light
}

// Light is one line of it.
type Light struct {
	Name string
	Tone Tone
	// Text says what is there, or what to do next.
	Text string
	Link Link
}

func (r Readiness) good() int {
	n := 0
	for _, l := range r.Lights {
		if l.Tone == Good {
			n++
		}
	}
	return n
}

// People is /admin/people. Its search is a GET with `q`.
type People struct {
	Frame  Frame
	Query  string
	People []PersonRow
	// Older is the next page's URL; "" on the last.
	Older string
}

// PersonRow is one person of the list.
type PersonRow struct {
	ID, Name, Email string
	Role            identity.Role
	// State is "active", "invited" (not claimed yet), "disabled" or "paused" (key
	// and PIN, from unknown devices).
	State    string
	LastSeen time.Time
}

func personTag(state string) (Tone, string) {
	switch state {
	case "active":
		return Good, "Active"
	case "invited":
		return Warn, "Not claimed yet"
	case "disabled":
		return Bad, "Disabled"
	case "paused":
		return Warn, "Key and PIN paused"
	}
	return Plain, sentence(state)
}

// NewPerson is /admin/people/new. Posts `name`, `email`, `role`, `phone`,
// `channel` (mail, letter, screen) to PostPeople.
type NewPerson struct {
	Frame                             Frame
	Name, Email, Phone, Role, Channel string
	Roles                             []Option
	// Mail says that mail can be sent from here.
	Mail bool
	// Errors: "" and the field names.
	Errors FieldErrors
}

// PersonView is /admin/people/{id}. Details post `name`, `phone`, `role` to
// PostPerson(ID, ""); a new key `channel`, `checked` (in_person, call, photo_id)
// and `reset` (pin, factors; none, one or both) to PostPerson(ID, "claims");
// the rest, without fields, to PostPerson(ID, "disable"), "enable", "sign-out".
type PersonView struct {
	Frame  Frame
	Person PersonRow
	Phone  string
	Roles  []Option
	// Self says that it is the administrator's own page; LastAdmin that nobody
	// else could administer: role and disabling are then not offered.
	Self, LastAdmin bool
	// KeyMade and PINChanged are zero where there is none.
	KeyMade, PINChanged time.Time
	// ClaimUntil is when an open claim runs out; zero for none.
	ClaimUntil time.Time
	Sessions   []Session
	Activity   []Event
	Mail       bool
	// Errors: "" and the field names.
	Errors FieldErrors
}

// Delivery is what came of a new claim: how its link and its code reach the
// person. Shown once, and printed as a letter.
type Delivery struct {
	Frame           Frame
	ID, Name, Email string
	// Channel is mail, letter or screen.
	Channel string
	// ClaimURL is "" when it went by mail.
	ClaimURL, ClaimCode string
	ExpiresAt           time.Time
	// Again says that the person had a key before.
	Again bool
}
