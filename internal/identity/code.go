package identity

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"unicode"
)

// Why a key or code that a person typed is refused before anything is hashed.
// A typing slip is never a failed attempt. Only the check symbol notices a
// wrong symbol, and it cannot tell which one.
var (
	// ErrCodeLength: too few or too many symbols.
	ErrCodeLength = errors.New("it has too few or too many characters: look for one left out or typed twice")
	// ErrCodeSymbol: a character that no key or code has.
	ErrCodeSymbol = errors.New("it has a character that is never used: only digits and letters, and no U")
	// ErrCodeCheck: every symbol is possible, but they do not belong together.
	ErrCodeCheck = errors.New("one character is wrong: compare it with the paper once more")
)

// symbols is Crockford's base32 alphabet; a symbol's value is its place.
const symbols = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// keySymbols is 13 symbols for 64 bits (the first one's top bit is the version,
// 0) and one check symbol.
const keySymbols = 14

// maxTyped bounds what the parsers look at: the longest form with room for
// hyphens and spaces.
const maxTyped = 128

// NewKey returns a fresh key: 64 random bits in canonical form, 14 symbols
// without hyphens, ready to be hashed. FormatKey makes it readable.
func NewKey() Secret {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return keyOf(binary.BigEndian.Uint64(b[:]))
}

// ParseKey reads a key as people type it: any case, I and L for 1, O for 0,
// spaces and hyphens ignored. It returns the canonical 14 symbols, or
// ErrCodeLength, ErrCodeSymbol (U, foreign signs, a later version) or
// ErrCodeCheck (any one wrong symbol, any two exchanged).
func ParseKey(s string) (Secret, error) {
	values, err := parseSymbols(s, keySymbols)
	if err != nil {
		return "", err
	}
	if !checks(values) {
		return "", ErrCodeCheck
	}
	if values[0] > 15 {
		return "", ErrCodeSymbol
	}
	return text(values), nil
}

// FormatKey writes a key for people: DXBD-YXZ5-FXW0-DB.
func FormatKey(key Secret) string { return Group(key, 4) }

func keyOf(bits uint64) Secret {
	values := make([]byte, keySymbols)
	for i := keySymbols - 2; i >= 0; i-- {
		values[i] = byte(bits & 31)
		bits >>= 5
	}
	values[keySymbols-1] = checkSymbol(values[:keySymbols-1])
	return text(values)
}

// NewCode returns a fresh code of n symbols (2 to 31) in canonical form, the
// last one a check symbol: 5·(n−1) random bits. Pick-up and enrolment codes
// have 8 symbols, sealed codes 10.
func NewCode(n int) Secret {
	values := randomSymbols(n)
	values[n-1] = checkSymbol(values[:n-1])
	return text(values)
}

// ParseCode reads a code of n symbols as people type it, like ParseKey.
func ParseCode(s string, n int) (Secret, error) {
	values, err := parseSymbols(s, n)
	if err != nil {
		return "", err
	}
	if !checks(values) {
		return "", ErrCodeCheck
	}
	return text(values), nil
}

// FormatCode writes a code for people, in two halves: XXXX-XXXX, XXXXX-XXXXX.
func FormatCode(code Secret) string { return Group(code, (len(code)+1)/2) }

// NewSymbols returns n random symbols without a check symbol: 5·n random bits,
// for codes long enough to be told by their hash alone.
func NewSymbols(n int) Secret { return text(randomSymbols(n)) }

// ParseSymbols reads n symbols without a check symbol, with ParseKey's
// leniency. It returns ErrCodeLength or ErrCodeSymbol.
func ParseSymbols(s string, n int) (Secret, error) {
	values, err := parseSymbols(s, n)
	if err != nil {
		return "", err
	}
	return text(values), nil
}

// Group writes a canonical code in groups of size symbols with hyphens between.
func Group(code Secret, size int) string {
	s := code.Reveal()
	var b strings.Builder
	for size > 0 && len(s) > size {
		b.WriteString(s[:size] + "-")
		s = s[size:]
	}
	b.WriteString(s)
	return b.String()
}

// NewDigits returns n uniformly random ASCII digits (the 6-digit claim code).
func NewDigits(n int) Secret {
	digits := make([]byte, n)
	for i := range digits {
		d, _ := rand.Int(rand.Reader, big.NewInt(10)) // fails only as rand.Read does: never
		digits[i] = '0' + byte(d.Int64())
	}
	return Secret(digits)
}

func randomSymbols(n int) []byte {
	values := make([]byte, n)
	_, _ = rand.Read(values)
	for i := range values {
		values[i] &= 31
	}
	return values
}

func text(values []byte) Secret {
	b := make([]byte, len(values))
	for i, v := range values {
		b[i] = symbols[v]
	}
	return Secret(b)
}

func parseSymbols(s string, n int) ([]byte, error) {
	if len(s) > maxTyped {
		return nil, ErrCodeLength
	}
	var values []byte
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.Is(unicode.Dash, r) {
			continue
		}
		v := symbolValue(unicode.ToUpper(r))
		if v < 0 {
			return nil, ErrCodeSymbol
		}
		values = append(values, byte(v))
	}
	if len(values) != n {
		return nil, ErrCodeLength
	}
	return values, nil
}

func symbolValue(r rune) int {
	switch r {
	case 'I', 'L':
		r = '1'
	case 'O':
		r = '0'
	}
	return strings.IndexRune(symbols, r)
}

// checkSymbol is the sum of αⁱ·dᵢ (i from 1, leftmost) in GF(2⁵) with
// x⁵+x²+1 and α = 2. The weights and the check symbol's own, 1, are all
// different up to 31 symbols; so one wrong symbol or one exchange of two never
// leaves the sum as it was.
func checkSymbol(values []byte) byte {
	var sum byte
	for i := len(values) - 1; i >= 0; i-- {
		sum = double(sum ^ values[i])
	}
	return sum
}

func checks(values []byte) bool {
	last := len(values) - 1
	return checkSymbol(values[:last]) == values[last]
}

// double multiplies by α.
func double(v byte) byte {
	v <<= 1
	if v > 31 {
		v ^= 0b100101
	}
	return v
}
