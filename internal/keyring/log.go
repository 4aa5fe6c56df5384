package keyring

import (
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// logKeys sign the checkpoints of one log. The key's name is the log's origin.
type logKeys struct {
	Origin  string   `json:"origin"`
	Created int64    `json:"created"`
	Signer  string   `json:"signer"`
	Key     string   `json:"key"`
	Retired []string `json:"retired,omitempty"` // verifier keys, newest first

	signer note.Signer
}

func newLogKeys(origin string, now time.Time, retired []string) (*logKeys, error) {
	signer, key, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a log key: %w", err)
	}
	keys := &logKeys{Origin: origin, Created: now.UnixMicro(), Signer: signer, Key: key, Retired: retired}
	if keys.signer, err = note.NewSigner(signer); err != nil {
		return nil, fmt.Errorf("couldn't make a log key: the origin %q is not one: it has no spaces and no plus sign", origin)
	}
	return keys, nil
}

func (l *logKeys) wrap(kek *KEK, name string) ([]byte, error) { return wrapJSON(kek, name, l) }

func unwrapLog(kek *KEK, w Wrapped) (*logKeys, error) {
	var keys logKeys
	if err := unwrapJSON(kek, w, &keys); err != nil {
		return nil, err
	}
	var err error
	if keys.signer, err = note.NewSigner(keys.Signer); err != nil {
		return nil, fmt.Errorf("couldn't open the keyset %s: it holds no log key", w.Name)
	}
	return &keys, nil
}

// LogSigner signs the checkpoints of the current log (C2SP signed-note,
// Ed25519). A signer taken before RotateLog goes on signing with the old key,
// so that a change of keys can be signed by both.
func (r *Ring) LogSigner() note.Signer { return r.current.Load().log.signer }

// LogOrigin returns the origin of the current log, the first line of its
// checkpoints.
func (r *Ring) LogOrigin() string { return r.current.Load().log.Origin }

// LogVerifierKey returns the public key of LogSigner as "name+hash+base64"
// (golang.org/x/mod/sumdb/note).
func (r *Ring) LogVerifierKey() string { return r.current.Load().log.Key }

// LogVerifierKeys returns LogVerifierKey and after it the keys that signed
// before, of this log and of earlier ones, newest first.
func (r *Ring) LogVerifierKeys() []string {
	log := r.current.Load().log
	return append([]string{log.Key}, log.Retired...)
}

// RotateLog returns a log keyset with a new key. With the origin as it is the
// log goes on under the new key (a leaf "audit.key" says so); with another a
// new log begins, as after a restore or a leak. The old key still verifies.
func (r *Ring) RotateLog(kek *KEK, origin string, now time.Time) ([]Wrapped, error) {
	if !kek.equal(r.kek) {
		return nil, ErrWrongKEK
	}
	state := r.current.Load()
	keys, err := newLogKeys(origin, now, slices.Concat([]string{state.log.Key}, state.log.Retired))
	if err != nil {
		return nil, err
	}
	return state.changed(kek, LogKeys, keys)
}
