// Package keyring owns every key of Mitral and what is done with them: it seals
// and opens columns, tags and verifies short texts, signs and verifies access
// tokens and log checkpoints, hashes and checks keys, PINs and codes, and holds
// the secrets that Auth.js applications share. It does no I/O but reading
// crypto/rand, knows no clock (time is an argument) and never decides who may
// do what.
//
// One key-encryption key (KEK) wraps a handful of keysets. The wrapped keysets
// lie in the database and in backups; the KEK lies in neither. A Ring is the
// opened keysets. It is read without locks and changed as a whole: Announce,
// Rotate, Finish and RotateLog only return new wrapped keysets, the caller
// stores them, and Reload takes them up once their COMMIT is known, on this
// node and on every other.
//
// On several nodes a rotation goes
//
//	Announce → store, Reload → wait until every node has reloaded →
//	Rotate   → store, Reload → re-seal what SealedByPrimary denies →
//	Finish   → store, Reload
//
// so that no node meets a key it does not know. One node may skip Announce. A
// node that nevertheless gets ErrUnknownKey reads the keysets again and retries.
//
// The pepper of keys, PINs and codes is the sealing itself: what is stored is
// Seal(Argon2id(row, secret)), so a stolen database holds nothing to guess
// against, and the pepper rotates without anyone choosing a new PIN.
package keyring
