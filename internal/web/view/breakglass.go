package view

import "time"

// BreakGlass is /admin/break-glass.
type BreakGlass struct {
	Frame Frame
	// Open, Waiting (for acknowledgement, answer or verdict) and Done, newest first.
	Open, Waiting, Done []GrantRow
	Older               string
}

// GrantRow is one grant of a list.
type GrantRow struct {
	ID, Ref, Subject, Category string
	StartedAt                  time.Time
	// State is active, ended, expired or revoked; Review none, awaiting_review,
	// needs_info or reviewed.
	State, Review string
	Left          time.Duration
	// DueAt is when the verdict is due; zero for none.
	DueAt                 time.Time
	Drill, Unacknowledged bool
}

// summary is why and when, in one line.
func (g GrantRow) summary(f Frame) string {
	s := label(Categories(), g.Category) + ", " + f.when(g.StartedAt)
	if !g.DueAt.IsZero() {
		s += " · verdict due " + f.when(g.DueAt)
	}
	return s
}

func (g GrantRow) tag() (Tone, string) {
	switch {
	case g.Drill:
		return Plain, "Drill"
	case g.State == "active":
		return Bad, mmss(g.Left) + " left"
	case g.Review == "awaiting_review":
		return Warn, "Awaiting review"
	case g.Review == "needs_info":
		return Warn, "Question asked"
	case g.Review == "reviewed":
		return Good, "Reviewed"
	}
	return Plain, sentence(g.State)
}

// Story is /admin/break-glass/{id}: everything about one grant on one page. Its
// forms post to PostReview(ID, …): "acknowledge" and "stop" without fields,
// "note" with `text`, "review" with `verdict`, `fix`, `comment`.
type Story struct {
	Frame Frame
	Row   GrantRow
	// Invoker and Reviewer are names; Place the device; Address the IP.
	Invoker, Place, Address string
	Reason                  string
	EndedAt                 time.Time
	// Kind is self, named or sealed; Identity pin, claimed or visiting, "" where
	// the person was signed in.
	Kind, Identity string
	// NormalPath says what else worked at that moment: "Key + PIN: working".
	NormalPath []Light
	Patients   []string
	Told       []Told
	Timeline   []Moment
	Notes      []StoryNote
	// Verdict, its comment and who gave it; "" while there is none.
	Verdict, Comment, Reviewer string
	ReviewedAt                 time.Time
	// Earlier counts the person's other grants in twelve months.
	Earlier int
	// What the reader may do. MayReview is false for subject, invoker, holder and
	// minter; WhyNot then says so.
	MayAcknowledge, MayStop, MayNote, MayReview bool
	WhyNot                                      string
	// Fixes are what could remove the cause.
	Fixes []Option
	// The rest fills the forms again.
	NewNote, NewVerdict, NewFix, NewComment string
	// Index and Checkpoint are where the record has its start.
	Index      int64
	Checkpoint string
	// Errors: "", `text`, `verdict`, `comment`, `fix`.
	Errors FieldErrors
}

// Moment is one line of a story.
type Moment struct {
	At time.Time
	// Said is a whole sentence; Red marks start and end.
	Said string
	Red  bool
}

// StoryNote is a note added to a grant.
type StoryNote struct {
	By   string
	At   time.Time
	Text string
}

// SealedCodes is /admin/sealed-codes. Posts `count` and `location` to PostCodes.
type SealedCodes struct {
	Frame    Frame
	Codes    []SealedRow
	Count    string
	Location string
	// Errors: "", `count`, `location`.
	Errors FieldErrors
}

// SealedRow is one sealed code of the inventory, never the code itself.
type SealedRow struct {
	Label, Location, MadeBy string
	MadeAt, ReplaceBy       time.Time
	// State is "ready", "used" or "void"; UsedFor the grant it opened.
	State   string
	UsedFor Link
}

func (r SealedRow) tag(now time.Time) (Tone, string) {
	switch {
	case r.State == "used":
		return Plain, "Used"
	case r.State == "void":
		return Plain, "Void"
	case !r.ReplaceBy.IsZero() && now.After(r.ReplaceBy):
		return Warn, "Replace it"
	}
	return Good, "Ready"
}

// SealedMinted shows new sealed codes, once, with their letters.
type SealedMinted struct {
	Frame     Frame
	Codes     []SealedCode
	ReplaceBy time.Time
	Phones    []Contact
}
