package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/mitral-health/mitral/internal/identity"
)

// Names of the keysets.
const (
	// DataKeys seal columns (Tink, AES-256-GCM).
	DataKeys = "data"
	// MACKeys tag texts that come back to us (Tink, HMAC-SHA256, whole tag).
	MACKeys = "mac"
	// SigningKeys sign access tokens (ES256).
	SigningKeys = "signing"
	// LogKeys sign the log's checkpoints (Ed25519), with its origin.
	LogKeys = "log"
	// AuthSecretKeys are the secrets shared with Auth.js applications, used
	// where the environment gives none.
	AuthSecretKeys = "auth_secret"
)

// Names returns the names of all keysets.
func Names() []string {
	return []string{DataKeys, MACKeys, SigningKeys, LogKeys, AuthSecretKeys}
}

// Errors about keysets.
var (
	// ErrWrongKEK says that a keyset was wrapped under another key-encryption
	// key, or damaged.
	ErrWrongKEK = errors.New("this key-encryption key does not open the keysets: use the key file that belongs to this database, or type in its recovery letter")
	// ErrNoKeyset says that a keyset is missing.
	ErrNoKeyset = errors.New("a keyset is missing")
)

// Wrapped is one keyset as it is stored: encrypted under the key-encryption key
// with its name as associated data. Rev grows by one with every change; a store
// writes it only over the Rev before.
type Wrapped struct {
	Name string
	Rev  int64
	Blob []byte
}

// Create returns a fresh keyset of every name, at Rev 1, for a new installation
// whose log has the given origin (C2SP tlog-checkpoint: a schema-less URL such
// as "auth.example/log/1", without spaces or plus signs).
func Create(kek *KEK, origin string, now time.Time) ([]Wrapped, error) {
	data, err := newTinkKeys(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	macs, err := newTinkKeys(mac.HMACSHA256Tag256KeyTemplate())
	if err != nil {
		return nil, err
	}
	signing, err := newSigningKey(now, now)
	if err != nil {
		return nil, err
	}
	log, err := newLogKeys(origin, now, nil)
	if err != nil {
		return nil, err
	}
	secrets := &authSecrets{Secrets: []string{newAuthSecret()}}
	return wrapAll(kek, []wrapping{
		{DataKeys, 1, data},
		{MACKeys, 1, macs},
		{SigningKeys, 1, signingKeys{signing}},
		{LogKeys, 1, log},
		{AuthSecretKeys, 1, secrets},
	})
}

// contents is what a keyset holds once it is unwrapped.
type contents interface {
	wrap(kek *KEK, name string) ([]byte, error)
}

type wrapping struct {
	name string
	rev  int64
	keys contents
}

func wrapAll(kek *KEK, all []wrapping) ([]Wrapped, error) {
	var out []Wrapped
	for _, w := range all {
		blob, err := w.keys.wrap(kek, w.name)
		if err != nil {
			return nil, fmt.Errorf("couldn't wrap the keyset %s: %w", w.name, err)
		}
		out = append(out, Wrapped{Name: w.name, Rev: w.rev, Blob: blob})
	}
	return out, nil
}

// tinkKeys are the keys of one Tink keyset, oldest first. Those after the
// primary are announced and not yet used.
type tinkKeys struct{ handle *keyset.Handle }

func newTinkKeys(template *tinkpb.KeyTemplate) (tinkKeys, error) {
	handle, err := keyset.NewHandle(template)
	if err != nil {
		return tinkKeys{}, fmt.Errorf("couldn't make a keyset: %w", err)
	}
	return tinkKeys{handle}, nil
}

func (t tinkKeys) wrap(kek *KEK, name string) ([]byte, error) {
	var blob bytes.Buffer
	err := t.handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&blob), kek, []byte(name))
	return blob.Bytes(), err
}

func unwrapTink(kek *KEK, w Wrapped) (tinkKeys, error) {
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(w.Blob)), kek, []byte(w.Name))
	if err != nil {
		return tinkKeys{}, fmt.Errorf("couldn't open the keyset %s: %w", w.Name, ErrWrongKEK)
	}
	return tinkKeys{handle}, nil
}

// ids returns the ids of the keys, oldest first, and the primary's place.
func (t tinkKeys) ids() (ids []uint32, primary int, err error) {
	for i := range t.handle.Len() {
		entry, err := t.handle.Entry(i)
		if err != nil {
			return nil, 0, err
		}
		if entry.IsPrimary() {
			primary = i
		}
		ids = append(ids, entry.KeyID())
	}
	return ids, primary, nil
}

// authSecrets are the Auth.js secrets made here: the newest first, and the one
// announced to come next.
type authSecrets struct {
	Secrets []string `json:"secrets"`
	Next    string   `json:"next,omitempty"`
}

// newAuthSecret returns 256 random bits as text.
func newAuthSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (a *authSecrets) wrap(kek *KEK, name string) ([]byte, error) { return wrapJSON(kek, name, a) }

// list returns the secrets in the order in which they are tried; an announced
// one is known, but never the first.
func (a *authSecrets) list() []identity.Secret {
	var out []identity.Secret
	for _, s := range a.Secrets {
		out = append(out, identity.Secret(s))
	}
	if a.Next != "" {
		out = append(out, identity.Secret(a.Next))
	}
	return out
}

func unwrapAuthSecrets(kek *KEK, w Wrapped) (*authSecrets, error) {
	var a authSecrets
	if err := unwrapJSON(kek, w, &a); err != nil {
		return nil, err
	}
	if len(a.Secrets) == 0 {
		return nil, fmt.Errorf("couldn't open the keyset %s: it is empty", w.Name)
	}
	return &a, nil
}

func wrapJSON(kek *KEK, name string, v any) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return kek.Encrypt(plain, []byte(name))
}

func unwrapJSON(kek *KEK, w Wrapped, into any) error {
	plain, err := kek.Decrypt(w.Blob, []byte(w.Name))
	if err != nil {
		return fmt.Errorf("couldn't open the keyset %s: %w", w.Name, ErrWrongKEK)
	}
	if err := json.Unmarshal(plain, into); err != nil {
		// The decoder's own error may quote the plain text.
		return fmt.Errorf("couldn't read the keyset %s: it is of another version of Mitral", w.Name)
	}
	return nil
}
