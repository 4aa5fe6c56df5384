package keyring

import (
	"crypto/subtle"

	"github.com/mitral-health/mitral/internal/identity"
)

// Match is the answer of a check.
type Match struct {
	// OK says that the secret was right.
	OK bool
	// Stale says that what is stored should be made anew now that the secret is
	// at hand: its cost is below the present one, or a replaced key sealed it.
	Stale bool
}

// NewVerifier returns what to store of a key, PIN or code so that it can be
// checked later: its Argon2id hash, together with the row's name, sealed for
// this table, column and row. A nil salt becomes 16 random bytes.
func (r *Ring) NewVerifier(cost Cost, table, column, row string, secret identity.Secret, salt []byte) ([]byte, error) {
	if salt == nil {
		salt = newSalt()
	}
	phc, err := hashPHC(cost, frame(row, secret.Reveal()), salt)
	if err != nil {
		return nil, err
	}
	return r.Seal(table, column, row, []byte(phc))
}

// CheckVerifier says whether the secret is the one that NewVerifier was given
// for this table, column and row, and whether the verifier is stale against
// cost. A wrong secret is an answer, not an error.
func (r *Ring) CheckVerifier(cost Cost, sealed []byte, table, column, row string, secret identity.Secret) (Match, error) {
	phc, err := r.Open(table, column, row, sealed)
	if err != nil {
		return Match{}, err
	}
	ok, was, err := checkPHC(string(phc), frame(row, secret.Reveal()))
	if err != nil {
		return Match{}, err
	}
	return Match{OK: ok, Stale: !was.AtLeast(cost) || !r.SealedByPrimary(sealed)}, nil
}

// Set is the cost and salt that the codes of one set share, so that one hash of
// what was typed answers for all of them: a workspace's sealed codes, a
// person's recovery codes. String is stored once for the set; each code is
// stored as SealDigest of its Hash.
type Set struct {
	cost Cost
	salt []byte
}

// NewSet returns a set with a random salt.
func NewSet(cost Cost) (Set, error) {
	if err := cost.check(); err != nil {
		return Set{}, err
	}
	return Set{cost: cost, salt: newSalt()}, nil
}

// ParseSet reads what String wrote. The bounds of Hash hold.
func ParseSet(text string) (Set, error) {
	cost, salt, digest, err := parsePHC(text)
	if err != nil {
		return Set{}, err
	}
	if digest != nil {
		return Set{}, ErrPHC
	}
	return Set{cost: cost, salt: salt}, nil
}

// String returns the set as the front of a PHC string. It is no secret.
func (s Set) String() string { return formatPHC(s.cost, s.salt) }

// Cost returns what one Hash spends.
func (s Set) Cost() Cost { return s.cost }

// Hash returns the Argon2id hash of a code of this set: 32 bytes.
func (s Set) Hash(code identity.Secret) ([]byte, error) {
	return SetHash(s.cost, s.salt, code)
}

// SetHash is Hash for a cost and salt kept elsewhere.
func SetHash(cost Cost, salt []byte, code identity.Secret) ([]byte, error) {
	return cost.digest([]byte(code.Reveal()), salt, digestSize)
}

// SealDigest seals the Hash of a code for the place where it is stored.
func (r *Ring) SealDigest(table, column, row string, digest []byte) ([]byte, error) {
	return r.Seal(table, column, row, digest)
}

// OpenDigest opens what SealDigest sealed.
func (r *Ring) OpenDigest(table, column, row string, sealed []byte) ([]byte, error) {
	return r.Open(table, column, row, sealed)
}

// MatchDigest compares the Hash of what was typed with a stored one, in
// constant time.
func (r *Ring) MatchDigest(digest, sealed []byte, table, column, row string) (Match, error) {
	want, err := r.OpenDigest(table, column, row, sealed)
	if err != nil {
		return Match{}, err
	}
	ok := len(want) == digestSize && subtle.ConstantTimeCompare(digest, want) == 1
	return Match{OK: ok, Stale: !r.SealedByPrimary(sealed)}, nil
}
