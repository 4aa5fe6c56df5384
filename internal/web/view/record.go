package view

import "time"

// Record is /admin/record: the audit log told as sentences. Its filter is a GET
// with `person`, `type`, `from` and `to` (dates).
type Record struct {
	Frame                  Frame
	Person, Type, From, To string
	// People and Types are what can be chosen: user ids, and first words of event
	// types ("sign_in").
	People, Types []Option
	// Events, newest first; 40 at most keep the page under 60 kB.
	Events []Event
	// Newer and Older are URLs of neighbouring pages, "" where there is none.
	Newer, Older string
	Verified     Verified
}

// Verified is what is known of the log's integrity.
type Verified struct {
	// Size is the log's number of entries, At the last check; Problem is "" when
	// everything fitted.
	Size    int64
	At      time.Time
	Problem string
}

// Checkpoint is /admin/record/checkpoint: the log's newest signed note, to print
// or copy to another machine.
type Checkpoint struct {
	Frame        Frame
	Note         string
	VerifierKeys []string
}

// Policy is /admin/policy. The edit posts `document`, `etag`, `reason`, and
// `confirm` (1) once Changes were shown, to PostPolicy.
type Policy struct {
	Frame Frame
	// Tab is "" (the summary's first) or a Section's Name; a GET with `tab`. The
	// last tab, "document", is the text itself.
	Tab      string
	Sections []PolicySection
	// Document is the whole policy as JSON; ETag what it was read with.
	Document, ETag, Reason string
	// MayEdit is false where the plan or the role does not allow it; WhyNot says so.
	MayEdit bool
	WhyNot  string
	// Changes are what a posted document would change; with any the page asks to
	// confirm.
	Changes []PolicyChange
	// Problems are the document's own errors: field, and what to do.
	Problems []PolicyProblem
	// Errors: "", `reason`.
	Errors FieldErrors
}

// PolicySection is one tab of the summary.
type PolicySection struct {
	Name, Title, About string
	Rows               []PolicyRow
}

// PolicyRow is one rule in words.
type PolicyRow struct {
	Rule, Value string
}

// PolicyChange is one difference in words; Loosens marks what becomes weaker.
type PolicyChange struct {
	Sentence string
	Loosens  bool
}

// PolicyProblem is one thing wrong with a document.
type PolicyProblem struct {
	Field, Detail string
}

// Health is /admin/health.
type Health struct {
	Frame     Frame
	Readiness Readiness
	// Checks are doctor's, worst first.
	Checks  []HealthCheck
	Version string
}

// HealthCheck is one finding; Fix says what to do about it.
type HealthCheck struct {
	Name, Detail, Fix string
	Tone              Tone
}
