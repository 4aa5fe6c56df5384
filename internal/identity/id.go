package identity

import (
	"crypto/rand"
	"strings"
)

// Prefixes of ids, one per kind of thing, so that an id read in a log or a
// support mail says what it names.
const (
	WorkspaceID = "wks"
	UserID      = "usr"
	SessionID   = "ses"
	DeviceID    = "dev"
	AttemptID   = "att"
	ClaimID     = "clm"
	GrantID     = "grt"
	CodeID      = "cod"
	EventID     = "evt"
	MessageID   = "msg"
	KeyID       = "key"
	NoteID      = "not"
	NodeID      = "nod"
	InstallID   = "ins"
)

// NewID returns a fresh id: the prefix, an underscore and 130 random bits in
// lower-case base32. Ids are public and opaque; they order nothing and prove
// nothing.
func NewID(prefix string) string {
	return prefix + "_" + strings.ToLower(rand.Text())
}

// NewToken returns a fresh bearer secret of 260 random bits, safe in a URL
// path, a header and a cookie.
func NewToken() Secret {
	return Secret(strings.ToLower(rand.Text() + rand.Text()))
}
