package identity

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that must not be seen: a key, PIN, code, token or password.
// It prints as "[secret]" through fmt, log/slog and String, and refuses to be
// marshalled; Reveal is the one way to its text, so that a search for it finds
// every place that lets a secret out.
type Secret string

const redacted = "[secret]"

// Reveal returns the text itself, for hashing, sealing, or the one answer that
// shows it.
func (s Secret) Reveal() string { return string(s) }

// Equal compares in constant time for texts of one length.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(other)) == 1
}

// String returns "[secret]".
func (Secret) String() string { return redacted }

// Format writes "[secret]" whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue logs "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText fails: a secret that is meant to leave is revealed by name.
func (Secret) MarshalText() ([]byte, error) {
	return nil, errors.New("a secret cannot be marshalled")
}

// UnmarshalText accepts a secret from a request body.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = Secret(b)
	return nil
}
