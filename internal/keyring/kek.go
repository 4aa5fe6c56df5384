package keyring

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	gcm "github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Errors about the key-encryption key. None repeats what was read.
var (
	// ErrKEKFile says that a file does not hold a key-encryption key.
	ErrKEKFile = errors.New("this is not a key-encryption key file: it has one line that starts with mitral-kek-1")
	// ErrLetter says that a recovery letter was not typed as it is printed.
	ErrLetter = errors.New("this is not the key of a recovery letter")
)

const (
	kekSize      = 32
	kekFileStart = "mitral-kek-1:"

	crockford     = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	letterSymbols = 52
	letterGroup   = 4
)

var letterEncoding = base32.NewEncoding(crockford).WithPadding(base32.NoPadding)

// KEK is the key-encryption key: 256 random bits that open every keyset. It is
// kept outside the data directory and outside backups. It prints as "[secret]"
// and refuses to be marshalled; File and Letter are its only ways out.
type KEK struct {
	key  []byte
	aead tink.AEAD
}

var _ tink.AEAD = (*KEK)(nil)

// NewKEK returns a fresh key-encryption key.
func NewKEK() (*KEK, error) {
	key := make([]byte, kekSize)
	_, _ = rand.Read(key)
	return newKEK(key)
}

// ParseKEK reads what File wrote. Space around the line is ignored.
func ParseKEK(file []byte) (*KEK, error) {
	text, ok := strings.CutPrefix(strings.TrimSpace(string(file)), kekFileStart)
	if !ok {
		return nil, ErrKEKFile
	}
	key, ok := decode(base64.RawURLEncoding, text)
	if !ok || len(key) != kekSize {
		return nil, fmt.Errorf("%w, and that line is damaged: take it from the recovery letter", ErrKEKFile)
	}
	return newKEK(key)
}

// ParseLetter reads the key of a recovery letter as a person types it: in any
// case, with or without hyphens and spaces, I and L as 1, O as 0. It catches 15
// of 16 typing errors; the others show when the keysets do not open.
func ParseLetter(typed string) (*KEK, error) {
	var symbols strings.Builder
	for _, c := range strings.ToUpper(typed) {
		switch c {
		case '-', ' ', '\t', '\r', '\n':
			continue
		case 'I', 'L':
			c = '1'
		case 'O':
			c = '0'
		}
		if !strings.ContainsRune(crockford, c) {
			return nil, fmt.Errorf("%w: group %d holds a sign that no letter has", ErrLetter, symbols.Len()/letterGroup+1)
		}
		symbols.WriteRune(c)
	}
	if symbols.Len() != letterSymbols {
		return nil, fmt.Errorf("%w: it has %d letters and digits, this has %d", ErrLetter, letterSymbols, symbols.Len())
	}
	// 52 symbols are 260 bits; a 53rd of nothing fills the last byte.
	raw, err := letterEncoding.DecodeString(symbols.String() + "0")
	if err != nil || subtle.ConstantTimeByteEq(raw[kekSize], letterCheck(raw[:kekSize])) != 1 {
		return nil, fmt.Errorf("%w: a letter or digit is mistyped, compare it group by group", ErrLetter)
	}
	return newKEK(raw[:kekSize])
}

func newKEK(key []byte) (*KEK, error) {
	aead, err := gcm.NewAESGCM(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the key-encryption key: %w", err)
	}
	return &KEK{key: key, aead: aead}, nil
}

// File returns the key as the one line of a key file. Store it with mode 0600.
func (k *KEK) File() []byte {
	return []byte(kekFileStart + base64.RawURLEncoding.EncodeToString(k.key) + "\n")
}

// Letter returns the key for a printed recovery letter: 52 Crockford symbols in
// 13 groups of four, joined by hyphens.
func (k *KEK) Letter() string {
	symbols := letterEncoding.EncodeToString(append(k.key[:kekSize:kekSize], letterCheck(k.key)))[:letterSymbols]
	var groups []string
	for i := 0; i < letterSymbols; i += letterGroup {
		groups = append(groups, symbols[i:i+letterGroup])
	}
	return strings.Join(groups, "-")
}

// letterCheck returns four check bits, in the upper half of a byte.
func letterCheck(key []byte) byte {
	sum := sha256.Sum256(append([]byte("mitral recovery letter"), key...))
	return sum[0] & 0xf0
}

// Encrypt seals with AES-256-GCM under a random nonce (tink.AEAD).
func (k *KEK) Encrypt(plain, associated []byte) ([]byte, error) {
	return k.aead.Encrypt(plain, associated)
}

// Decrypt opens what Encrypt sealed with the same associated data (tink.AEAD).
func (k *KEK) Decrypt(sealed, associated []byte) ([]byte, error) {
	return k.aead.Decrypt(sealed, associated)
}

func (k *KEK) equal(other *KEK) bool {
	return subtle.ConstantTimeCompare(k.key, other.key) == 1
}

// String returns "[secret]".
func (*KEK) String() string { return "[secret]" }

// Format writes "[secret]" whatever the verb.
func (*KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue logs "[secret]".
func (*KEK) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText fails: a key leaves by File or Letter only.
func (*KEK) MarshalText() ([]byte, error) {
	return nil, errors.New("a key-encryption key cannot be marshalled")
}
