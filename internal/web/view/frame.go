package view

import (
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Frame is what every page has around its content. Its zero value renders: an
// English page of no workspace with nobody signed in.
type Frame struct {
	// Title is the page's own title, put before the workspace's name.
	Title string
	// Nonce is the one in the answer's Content-Security-Policy; every script
	// element carries it.
	Nonce string
	// Asset gives the URL of a file of internal/web/static; nil means
	// StaticPath + name.
	Asset func(name string) string
	// Lang and Dir are the html element's; "en" and "ltr" where empty.
	Lang, Dir string
	// Now is the moment of rendering in the workspace's time zone; times are
	// written relative to it and in its zone.
	Now time.Time
	// Workspace is the clinic's name, "" before there is one.
	Workspace string
	// Device says what this browser is, "Shared PC · Exam Room 2"; "" for one
	// that is not registered.
	Device string
	// Person is who is signed in and active here; nil on every page that is
	// shown signed out or locked. With a Person the page has the menu, the
	// heartbeat and the lock curtain.
	Person *Person
	// Section is the menu entry that this page belongs to.
	Section Section
	// Notice is what the form post that led here did; shown once, announced.
	Notice Notice
	// Standing are notices that stay for as long as they are true: an outage,
	// an undelivered emergency message, a database that needs the operator.
	Standing []Notice
	// Alarm is the open grant of the session that looks at the page; nil for
	// none.
	Alarm *Alarm
	// Demo marks every page as the made-up clinic's.
	Demo bool
}

// Person is who is signed in.
type Person struct {
	Name string
	Role identity.Role
	// Class decides which entries of the console the menu has: all for
	// administrators, break-glass and the record for reviewers, else none.
	Class identity.Class
}

// Section is one entry of the signed-in menu.
type Section string

// The sections of the menu.
const (
	SectionAccount    Section = "account"
	SectionHome       Section = "home"
	SectionPeople     Section = "people"
	SectionBreakGlass Section = "break-glass"
	SectionCodes      Section = "codes"
	SectionRecord     Section = "record"
	SectionPolicy     Section = "policy"
	SectionHealth     Section = "health"
)

// Tone is how urgent a notice, tag or light is. The zero value is plain.
type Tone string

// The tones. Each is told by a word and a shape too, never by colour alone.
const (
	Plain Tone = ""
	Good  Tone = "good"
	Warn  Tone = "warn"
	Bad   Tone = "bad"
)

// Notice is one sentence or two that the reader must know, and where to go
// next. The zero value shows nothing.
type Notice struct {
	Tone  Tone
	Title string
	Text  string
	Link  Link
}

// Link is a labelled address; without a URL it shows nothing.
type Link struct {
	Label, URL string
}

// Hidden is a form field that travels unseen.
type Hidden struct {
	Name, Value string
}

// Option is one choice of a list: the value that is posted and the words shown.
type Option struct {
	Value, Label string
	// Hint explains the choice in one line; may be "".
	Hint string
}

// FieldErrors says what is wrong, by field name, in sentences that say the next
// step. The error under "" is the whole form's.
type FieldErrors map[string]string

// Contact is a person of the phone list.
type Contact struct {
	Name, Role, Phone string
}

// Alarm is the banner of an open grant, shown on every page of its session.
type Alarm struct {
	// ID is the grant's; Ref is what people call it, "BG-0042".
	ID, Ref string
	// Who is the subject, Category one of the values of Categories.
	Who, Category string
	// Left is the time that remains as the page is rendered.
	Left time.Duration
	// MayEnd offers the End button.
	MayEnd bool
}
