package view

import "time"

// Emergency is /emergency while no grant is open here.
//
// Its main form posts to PostEmergency: `authority` ("own" or "sealed"); for
// own `for` (a user id, "" for oneself); for sealed `sealed_code`, `who`
// ("person" or "visiting"), then `subject` (identifier) or `visiting_name` and
// `visiting_reg_no`; for both `pin`, `category`, `reason`, `patient_ref`,
// `unidentified` (1), `workspace`, `drill` (1), `idempotency_key` and
// `callbackUrl`. Fields of the answer not chosen come along, perhaps filled.
//
// Its pick-up form posts `identifier`, `code`, `pin`, `workspace` to PostPickup.
type Emergency struct {
	Frame Frame
	// Own is the administrator whose session is active or locked in this
	// browser; nil for none, and then authority "own" is not offered.
	Own *Authority
	// Authority is the answer chosen: "own", "sealed" or "pickup". Empty means
	// own where there is one, else sealed.
	Authority string
	// Workspace is the slug the page belongs to; Workspaces to choose from where
	// it is not known and there are several.
	Workspace  string
	Workspaces []Option
	// Known are identifiers of people this device knows, as suggestions.
	Known []string
	// The rest fills the form again.
	For, Who, Subject, VisitingName, VisitingRegNo string
	Category, Reason, PatientRef                   string
	Unidentified                                   bool
	PickupIdentifier                               string
	PINLength                                      int
	// Minutes is the window's length by policy; 0 means 60.
	Minutes int
	// Drill is the practice page: nothing opens.
	Drill bool
	// IdempotencyKey makes a repeated post harmless.
	IdempotencyKey string
	CallbackURL    string
	// Categories in the order that suits the moment; nil means Categories().
	Categories []Option
	// Phones is shown beneath the form, for when a code is not at hand.
	Phones []Contact
	// Errors: "", and any field name above; `pickup` for the pick-up form as a
	// whole, `pickup_identifier`, `pickup_code`, `pickup_pin` for its fields.
	Errors     FieldErrors
	RetryAfter int
}

// Authority is an administrator at this browser.
type Authority struct {
	Name string
	// Locked says that the session is locked.
	Locked bool
	// People are whom the administrator may open for, without themself.
	People []Option
}

// Grant is an open grant as its holder or invoker sees it: after PostEmergency,
// and at /emergency while it is open.
type Grant struct {
	Frame Frame
	ID    string
	// Ref is "BG-0042".
	Ref string
	// Subject and Invoker are names; Invoker may be "Sealed code BG-A-03".
	Subject, Invoker string
	Category, Reason string
	StartedAt        time.Time
	ExpiresAt        time.Time
	Left             time.Duration
	// Drill: nothing was opened; Took is how long it took.
	Drill bool
	Took  time.Duration
	// PickupCode is for the clinician to type, formatted; only in the answer that
	// made it. PickupMinutes is how long it is good for.
	PickupCode    string
	PickupMinutes int
	// Claimed says that nobody proved who the subject is.
	Claimed bool
	// Told lists the messages; Phones whom to phone, shown first when Unreached.
	Told      []Told
	Unreached bool
	Phones    []Contact
	Patients  []string
	// Index and Checkpoint are where the record has it; Index below 0 means it is
	// not in the log yet, and Receipt stands in.
	Index               int64
	Checkpoint, Receipt string
	// Work is where to go on working.
	Work Link
	// MayEnd offers End now; Holder offers adding patients.
	MayEnd, Holder bool
	// Errors: `patient_ref`.
	Errors FieldErrors
}

// Told is one message about a grant.
type Told struct {
	// Name of the recipient, Channel "mail" or "sms", To the address or number.
	Name, Channel, To string
	// State is queued, sent, delivered, failed or no_address.
	State string
	At    time.Time
}

func (t Told) tone() Tone {
	switch t.State {
	case "delivered", "sent":
		return Good
	case "failed":
		return Bad
	case "no_address":
		return Warn
	}
	return Plain
}

func (t Told) words() string {
	switch t.State {
	case "queued":
		return "Sending"
	case "no_address":
		return "No address"
	}
	return sentence(t.State)
}

func (t Told) by() string {
	if t.Channel == "sms" {
		return "Text message"
	}
	return "Mail"
}

// GrantOver is what follows the end of a grant, and the page at which its
// holder finishes the note: posts `text` to PostGrant(ID, "note").
type GrantOver struct {
	Frame     Frame
	ID, Ref   string
	StartedAt time.Time
	EndedAt   time.Time
	// State is "ended", "expired" or "revoked".
	State string
	// MayNote offers the note form; Note fills it again.
	MayNote bool
	Note    string
	// NoteBy is until when the note is expected.
	NoteBy time.Time
	Next   Link
	// Errors: `text`.
	Errors FieldErrors
}
