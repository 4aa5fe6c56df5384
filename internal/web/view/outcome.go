package view

import "time"

// Problem is a page that says what went wrong and what to do next. Title and
// Text may be left empty: each status has words of its own.
type Problem struct {
	Frame Frame
	// Status is the answer's: 403, 404, 405, 410, 421, 422, 429, 503, 500.
	Status      int
	Title, Text string
	// Steps are what to do, in order; nil means the status's own.
	Steps []string
	// RetryAfter is the answer's Retry-After in seconds; 0 for none. Retry is
	// where Try again leads.
	RetryAfter int
	Retry      string
	// Next is another way on.
	Next Link
	// Trace is the trace or request id, to tell the operator; may be "".
	Trace string
	// Paper shows the paper downtime procedure: emergency access cannot be given
	// by this server now. Phones whom to call.
	Paper  bool
	Phones []Contact
}

func (v Problem) words() Problem {
	w := problemWords(v.Status)
	v.Title, v.Text = or(v.Title, w.Title), or(v.Text, w.Text)
	if v.Steps == nil {
		v.Steps = w.Steps
	}
	if v.Next.URL == "" {
		v.Next = w.Next
	}
	return v
}

func problemWords(status int) Problem {
	signIn := Link{"Go to sign-in", PageSignIn}
	switch status {
	case 403:
		return Problem{Title: "This is not for your role", Text: "You are signed in, but your role does not open this page. If you need it for your work, ask an administrator.", Next: Link{"My security", PageAccount}}
	case 404:
		return Problem{Title: "There is no such page", Text: "The address may be mistyped, or what it showed may be gone.", Next: signIn}
	case 410:
		return Problem{Title: "This link is used up", Text: "It was used already, was replaced by a newer one, or has run out. Ask the person who sent it for another.", Next: signIn}
	case 421:
		return Problem{Title: "Wrong address", Text: "This server does not answer under the name in your address bar. Use the address on your key card, or ask whoever runs the server to add this name."}
	case 429:
		return Problem{Title: "Too many tries from here", Text: "Nobody is locked out. Wait a little, then try again."}
	case 503:
		return Problem{Title: "Mitral cannot answer now", Text: "Open sessions go on working for a few minutes. Whoever runs the server should look at it now."}
	}
	return Problem{Title: "That did not work", Text: "Nothing was changed. Try again; if it happens twice, tell whoever runs the server.", Next: signIn}
}

// DemoStart is /demo: six things to try, and who to be.
type DemoStart struct {
	Frame  Frame
	People []DemoPerson
}

// DemoPerson is one of the demo clinic's made-up people.
type DemoPerson struct {
	Name, Role, Identifier, Key, PIN string
}

// Outbox is /demo/outbox: messages that a real clinic would have sent.
type Outbox struct {
	Frame    Frame
	Messages []Message
}

// Message is one mail or SMS of the outbox.
type Message struct {
	// Channel is "mail" or "sms".
	Channel, To, Subject, Text string
	// State is queued, sent, delivered or failed.
	At    time.Time
	State string
}
