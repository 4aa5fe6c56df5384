package recovery

import "github.com/mitral-health/mitral/internal/identity"

// Count is how many codes a person gets at a time.
const Count = 10

// length in symbols: 80 random bits, so a code needs no check symbol and no
// name beside it.
const length = 16

// New returns ten fresh codes of 80 random bits in canonical form: 16 Crockford
// symbols without hyphens, ready to be hashed. Format makes them readable.
func New() []identity.Secret {
	codes := make([]identity.Secret, Count)
	for i := range codes {
		codes[i] = identity.NewSymbols(length)
	}
	return codes
}

// Parse reads a code as people type it (any case, I and L for 1, O for 0, with
// or without hyphens and spaces) and returns its canonical form, or
// identity.ErrCodeLength or identity.ErrCodeSymbol.
func Parse(s string) (identity.Secret, error) { return identity.ParseSymbols(s, length) }

// Format writes a code for people: XXXX-XXXX-XXXX-XXXX.
func Format(code identity.Secret) string { return identity.Group(code, 4) }
