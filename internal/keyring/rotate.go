package keyring

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
)

// What Announce, Rotate and Finish take, as "mitral keys rotate" names it.
const (
	// Signing is the access tokens' keys.
	Signing = "signing"
	// Encryption is the keys that seal and tag.
	Encryption = "encryption"
	// AuthSecret is the secrets shared with Auth.js applications.
	AuthSecret = "auth-secret"
)

// keptAuthSecrets is how many secrets stay readable, the newest included.
const keptAuthSecrets = 3

var (
	// ErrNotRotatable says that there is no such thing to rotate.
	ErrNotRotatable = errors.New("only signing, encryption and auth-secret can be rotated")
	// ErrAuthSecretOutside says that the operator keeps the secret.
	ErrAuthSecretOutside = errors.New("AUTH_SECRET comes from the environment: put a new one there (of AUTH_SECRET, _1, _2 and _3 the highest number is the newest), take out a leaked one, and restart every node")
)

// Announce returns keysets that hold the next key without using it, so that
// every node knows it before one of them seals or signs with it. It replaces a
// key announced before. A signing key comes into use by itself after
// PublishLead.
func (r *Ring) Announce(kek *KEK, what string, now time.Time) ([]Wrapped, error) {
	if !kek.equal(r.kek) {
		return nil, ErrWrongKEK
	}
	state := r.current.Load()
	switch what {
	case Signing:
		return state.addSigning(kek, now)
	case Encryption:
		return state.changeTink(kek, func(keys tinkKeys, template *tinkpb.KeyTemplate, _ string) (tinkKeys, error) {
			return keys.announce(template)
		})
	case AuthSecret:
		if r.AuthSecretFromEnvironment() {
			return nil, ErrAuthSecretOutside
		}
		return state.changed(kek, AuthSecretKeys, &authSecrets{Secrets: state.secrets.Secrets, Next: newAuthSecret()})
	}
	return nil, ErrNotRotatable
}

// Rotate returns keysets that use a new key: the announced one, else a fresh
// one. The old stay good: signing keys for TokenOverlap after the new one
// begins, sealing keys until Finish, secrets for two more rotations. In an
// emergency the new key is used at once and the old signing, tagging and secret
// keys are gone with the next Reload; the old sealing keys go with Finish, once
// everything has been sealed again. Announce first, also in an emergency: an
// older announced key may have leaked with the rest.
func (r *Ring) Rotate(kek *KEK, what string, emergency bool, now time.Time) ([]Wrapped, error) {
	if !kek.equal(r.kek) {
		return nil, ErrWrongKEK
	}
	state := r.current.Load()
	switch what {
	case Signing:
		if emergency {
			return state.replaceSigning(kek, now)
		}
		return state.addSigning(kek, now)
	case Encryption:
		return state.changeTink(kek, func(keys tinkKeys, template *tinkpb.KeyTemplate, name string) (tinkKeys, error) {
			keys, err := keys.promote(template)
			if err == nil && emergency && name == MACKeys {
				keys, err = keys.dropReplaced(0)
			}
			return keys, err
		})
	case AuthSecret:
		if r.AuthSecretFromEnvironment() {
			return nil, ErrAuthSecretOutside
		}
		newest := state.secrets.Next
		if newest == "" {
			newest = newAuthSecret()
		}
		secrets := []string{newest}
		if !emergency {
			secrets = slices.Concat(secrets, state.secrets.Secrets)
		}
		return state.changed(kek, AuthSecretKeys, &authSecrets{Secrets: secrets[:min(len(secrets), keptAuthSecrets)]})
	}
	return nil, ErrNotRotatable
}

// Finish returns keysets without the replaced keys, after everything has been
// sealed again: for encryption every replaced sealing key, and every tagging
// key but the present one and the one before; for auth-secret all but the
// newest. Signing keys finish by themselves: nothing is returned.
func (r *Ring) Finish(kek *KEK, what string) ([]Wrapped, error) {
	if !kek.equal(r.kek) {
		return nil, ErrWrongKEK
	}
	state := r.current.Load()
	switch what {
	case Signing:
		return nil, nil
	case Encryption:
		return state.changeTink(kek, func(keys tinkKeys, _ *tinkpb.KeyTemplate, name string) (tinkKeys, error) {
			if name == MACKeys {
				return keys.dropReplaced(1)
			}
			return keys.dropReplaced(0)
		})
	case AuthSecret:
		if r.AuthSecretFromEnvironment() {
			return nil, ErrAuthSecretOutside
		}
		return state.changed(kek, AuthSecretKeys, &authSecrets{Secrets: state.secrets.Secrets[:1], Next: state.secrets.Next})
	}
	return nil, ErrNotRotatable
}

// changed wraps new contents of one keyset at its next revision.
func (o *opened) changed(kek *KEK, name string, keys contents) ([]Wrapped, error) {
	return wrapAll(kek, []wrapping{{name, o.revs[name] + 1, keys}})
}

// addSigning adds a key that is published now and signs after PublishLead. It
// takes the place of one that had not begun, and drops what no longer verifies.
func (o *opened) addSigning(kek *KEK, now time.Time) ([]Wrapped, error) {
	key, err := newSigningKey(now, now.Add(PublishLead))
	if err != nil {
		return nil, err
	}
	keys := slices.Clone(o.signing.live(now))
	current := o.signing.current(now)
	keys = slices.DeleteFunc(keys, func(k signingKey) bool { return k.from.After(now) && k.kid != current.kid })
	return o.changed(kek, SigningKeys, append(keys, key))
}

// replaceSigning leaves one key, the announced or a fresh one, signing at once.
func (o *opened) replaceSigning(kek *KEK, now time.Time) ([]Wrapped, error) {
	key := o.signing[len(o.signing)-1]
	if len(o.signing) == 1 || !key.from.After(now) {
		var err error
		if key, err = newSigningKey(now, now); err != nil {
			return nil, err
		}
	}
	key.from = now
	return o.changed(kek, SigningKeys, signingKeys{key})
}

// changeTink changes the sealing and the tagging keys in one way.
func (o *opened) changeTink(kek *KEK, change func(tinkKeys, *tinkpb.KeyTemplate, string) (tinkKeys, error)) ([]Wrapped, error) {
	data, err := change(o.data, aead.AES256GCMKeyTemplate(), DataKeys)
	if err != nil {
		return nil, fmt.Errorf("couldn't change the sealing keys: %w", err)
	}
	macs, err := change(o.macs, mac.HMACSHA256Tag256KeyTemplate(), MACKeys)
	if err != nil {
		return nil, fmt.Errorf("couldn't change the tagging keys: %w", err)
	}
	return wrapAll(kek, []wrapping{
		{DataKeys, o.revs[DataKeys] + 1, data},
		{MACKeys, o.revs[MACKeys] + 1, macs},
	})
}

// announce puts a fresh key after the primary, in place of any that is there.
func (t tinkKeys) announce(template *tinkpb.KeyTemplate) (tinkKeys, error) {
	ids, primary, err := t.ids()
	if err != nil {
		return tinkKeys{}, err
	}
	return t.edit(ids[primary+1:], func(m *keyset.Manager) error {
		_, err := m.Add(template)
		return err
	})
}

// promote makes the announced key, else a fresh one, the primary.
func (t tinkKeys) promote(template *tinkpb.KeyTemplate) (tinkKeys, error) {
	ids, primary, err := t.ids()
	if err != nil {
		return tinkKeys{}, err
	}
	return t.edit(nil, func(m *keyset.Manager) error {
		if primary < len(ids)-1 {
			return m.SetPrimary(ids[len(ids)-1])
		}
		id, err := m.Add(template)
		if err != nil {
			return err
		}
		return m.SetPrimary(id)
	})
}

// dropReplaced deletes the keys before the primary, but for the last few.
func (t tinkKeys) dropReplaced(keep int) (tinkKeys, error) {
	ids, primary, err := t.ids()
	if err != nil {
		return tinkKeys{}, err
	}
	return t.edit(ids[:max(0, primary-keep)], func(*keyset.Manager) error { return nil })
}

// edit deletes keys and makes a change, on a copy.
func (t tinkKeys) edit(drop []uint32, change func(*keyset.Manager) error) (tinkKeys, error) {
	m := keyset.NewManagerFromHandle(t.handle)
	for _, id := range drop {
		if err := m.Delete(id); err != nil {
			return tinkKeys{}, err
		}
	}
	if err := change(m); err != nil {
		return tinkKeys{}, err
	}
	handle, err := m.Handle()
	if err != nil {
		return tinkKeys{}, err
	}
	return tinkKeys{handle}, nil
}
