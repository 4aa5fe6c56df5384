package keyring

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// ErrSealed says that a sealed value was altered, moved to another place, or
// never sealed here.
var ErrSealed = errors.New("a sealed value does not open: it was altered or moved")

// Seal encrypts a column's value (AES-256-GCM). It opens only for the same
// table, column and row, so values cannot be exchanged between rows. It is 33
// bytes longer than plain.
func (r *Ring) Seal(table, column, row string, plain []byte) ([]byte, error) {
	sealed, err := r.current.Load().aead.Encrypt(plain, frame(table, column, row))
	if err != nil {
		return nil, fmt.Errorf("couldn't seal %s.%s: %w", table, column, err)
	}
	return sealed, nil
}

// Open decrypts what Seal sealed for this table, column and row. The error is
// ErrUnknownKey for a key that is not in the ring, else ErrSealed.
func (r *Ring) Open(table, column, row string, sealed []byte) ([]byte, error) {
	state := r.current.Load()
	plain, err := state.aead.Decrypt(sealed, frame(table, column, row))
	if err == nil {
		return plain, nil
	}
	if id, ok := keyID(sealed); ok {
		if ids, _, err := state.data.ids(); err == nil && !slices.Contains(ids, id) {
			return nil, fmt.Errorf("couldn't open %s.%s: %w", table, column, ErrUnknownKey)
		}
	}
	return nil, fmt.Errorf("couldn't open %s.%s: %w", table, column, ErrSealed)
}

// SealedByPrimary says whether the key that seals now sealed this value. If
// not, sealing it again is due.
func (r *Ring) SealedByPrimary(sealed []byte) bool {
	id, ok := keyID(sealed)
	if !ok {
		return false
	}
	ids, primary, err := r.current.Load().data.ids()
	return err == nil && ids[primary] == id
}

// Tag returns a MAC over the purpose and the parts in their order (HMAC-SHA256,
// base64url, 50 characters). Different purposes never share a tag. A tag is
// there to be verified, not looked up: it changes when the key does.
func (r *Ring) Tag(purpose string, parts ...string) string {
	tag, err := r.current.Load().mac.ComputeMAC(framePurpose(purpose, parts))
	if err != nil {
		return "" // verifies for nothing
	}
	return base64.RawURLEncoding.EncodeToString(tag)
}

// Verify says whether tag is the Tag of this purpose and these parts under any
// key in the ring. It compares in constant time.
func (r *Ring) Verify(purpose, tag string, parts ...string) bool {
	raw, ok := decode(base64.RawURLEncoding, tag)
	if !ok {
		return false
	}
	return r.current.Load().mac.VerifyMAC(raw, framePurpose(purpose, parts)) == nil
}

// frame encodes texts so that no two lists of them have one encoding: each is
// preceded by its length.
func frame(parts ...string) []byte {
	size := 0
	for _, p := range parts {
		size += binary.MaxVarintLen32 + len(p)
	}
	return appendFrame(make([]byte, 0, size), parts)
}

func framePurpose(purpose string, parts []string) []byte {
	return appendFrame(frame(purpose), parts)
}

func appendFrame(b []byte, parts []string) []byte {
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// decode reads base64 that has one spelling: the decoder alone passes over line
// breaks and unused bits.
func decode(encoding *base64.Encoding, text string) ([]byte, bool) {
	raw, err := encoding.DecodeString(text)
	return raw, err == nil && encoding.EncodeToString(raw) == text
}

// keyID reads the key id that Tink puts before every ciphertext: one byte 1 and
// four of id.
func keyID(sealed []byte) (uint32, bool) {
	if len(sealed) < 5 || sealed[0] != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[1:5]), true
}
