package keyring

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/mac"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/mitral-health/mitral/internal/identity"
)

// MinAuthSecret is the least length of a secret shared with applications, in
// bytes.
const MinAuthSecret = 32

var (
	// ErrWeakAuthSecret says that a configured secret is too short.
	ErrWeakAuthSecret = errors.New("an AUTH_SECRET has fewer than 32 bytes: replace it by a longer random one, such as openssl rand -base64 33 prints")
	// ErrUnknownKey says that something was sealed or signed by a key that this
	// ring does not hold: another node may have rotated, so read the keysets
	// again (at most once a second) and retry. If it is still unknown, refuse.
	ErrUnknownKey = errors.New("this was made with a key that is not in the ring")
)

// Config is what Open is told besides the keysets.
type Config struct {
	// AuthSecrets are the operator's AUTH_SECRET values, newest first. Where
	// there are any, the stored ones are not used.
	AuthSecrets []identity.Secret
	// Costs of hashing; zero ones become the defaults. A server refuses costs
	// below the defaults; tests pass lower ones.
	Costs Costs
}

// Ring is the opened keysets. It is safe for use by any number of goroutines;
// reading takes no lock.
type Ring struct {
	kek     *KEK
	fromEnv []identity.Secret
	costs   Costs
	writing sync.Mutex // held by Reload only
	current atomic.Pointer[opened]
}

// opened is one state of the ring. It is never changed.
type opened struct {
	revs    map[string]int64
	data    tinkKeys
	aead    tink.AEAD
	macs    tinkKeys
	mac     tink.MAC
	signing signingKeys
	log     *logKeys
	secrets *authSecrets
}

// Open unwraps the keysets. All of Names must be there.
func Open(kek *KEK, wrapped []Wrapped, config Config) (*Ring, error) {
	r := &Ring{kek: kek, fromEnv: slices.Clone(config.AuthSecrets), costs: config.Costs.orDefaults()}
	if err := r.costs.check(); err != nil {
		return nil, err
	}
	for _, secret := range r.fromEnv {
		if len(secret.Reveal()) < MinAuthSecret {
			return nil, ErrWeakAuthSecret
		}
	}
	state, err := (&opened{}).with(kek, wrapped)
	if err != nil {
		return nil, err
	}
	for _, name := range Names() {
		if state.revs[name] == 0 {
			return nil, fmt.Errorf("couldn't open the keyring: %w: %s: restore a backup of this database", ErrNoKeyset, name)
		}
	}
	r.current.Store(state)
	return r, nil
}

// Reload takes up those of the keysets that are newer than what the ring holds,
// all of them or, on an error, none. Call it once their COMMIT is known.
func (r *Ring) Reload(wrapped []Wrapped) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	state, err := r.current.Load().with(r.kek, wrapped)
	if err != nil {
		return err
	}
	r.current.Store(state)
	return nil
}

// With returns a ring that has taken up the keysets while r has not: for work
// inside the transaction that stores them.
func (r *Ring) With(wrapped []Wrapped) (*Ring, error) {
	state, err := r.current.Load().with(r.kek, wrapped)
	if err != nil {
		return nil, err
	}
	next := &Ring{kek: r.kek, fromEnv: r.fromEnv, costs: r.costs}
	next.current.Store(state)
	return next, nil
}

// with returns the state after the newer ones of the keysets.
func (o *opened) with(kek *KEK, wrapped []Wrapped) (*opened, error) {
	next := *o
	next.revs = maps.Clone(o.revs)
	if next.revs == nil {
		next.revs = map[string]int64{}
	}
	for _, w := range wrapped {
		if w.Rev <= next.revs[w.Name] {
			continue
		}
		var err error
		switch w.Name {
		case DataKeys:
			if next.data, err = unwrapTink(kek, w); err == nil {
				next.aead, err = aead.New(next.data.handle)
			}
		case MACKeys:
			if next.macs, err = unwrapTink(kek, w); err == nil {
				next.mac, err = mac.New(next.macs.handle)
			}
		case SigningKeys:
			next.signing, err = unwrapSigning(kek, w)
		case LogKeys:
			next.log, err = unwrapLog(kek, w)
		case AuthSecretKeys:
			next.secrets, err = unwrapAuthSecrets(kek, w)
		default:
			err = fmt.Errorf("there is no keyset %q in this version of Mitral", w.Name)
		}
		if err != nil {
			return nil, err
		}
		next.revs[w.Name] = w.Rev
	}
	return &next, nil
}

// Rev returns the revision of the keyset that the ring holds.
func (r *Ring) Rev(name string) int64 { return r.current.Load().revs[name] }

// Costs returns the configured costs of hashing.
func (r *Ring) Costs() Costs { return r.costs }

// AuthSecrets returns the secrets shared with Auth.js applications: the first
// one encrypts, all of them decrypt. They seal the session cookie and nothing
// else.
func (r *Ring) AuthSecrets() []identity.Secret {
	if len(r.fromEnv) > 0 {
		return slices.Clone(r.fromEnv)
	}
	return r.current.Load().secrets.list()
}

// AuthSecretFromEnvironment says whether the operator, and not Mitral, keeps
// the secrets that AuthSecrets returns.
func (r *Ring) AuthSecretFromEnvironment() bool { return len(r.fromEnv) > 0 }
