package keyring

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// TokenType is the "typ" of access tokens (RFC 9068 §2.1).
	TokenType = "at+jwt"
	// PublishLead is how long a new signing key is published before it signs.
	PublishLead = 2 * time.Minute
	// TokenOverlap is how long a replaced signing key still verifies: longer
	// than any access token lives.
	TokenOverlap = 15 * time.Minute

	maxToken = 16 << 10
)

// ErrToken says that an access token is not one of ours.
var ErrToken = errors.New("this is not a valid access token")

// signingKey is one ES256 key. It signs from a moment on, until a later one
// does.
type signingKey struct {
	kid     string
	created time.Time
	from    time.Time
	private *ecdsa.PrivateKey
	signer  jose.Signer
}

// signingKeys are in the order of from.
type signingKeys []signingKey

func newSigningKey(now, from time.Time) (signingKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signingKey{}, fmt.Errorf("couldn't make a signing key: %w", err)
	}
	return makeSigningKey(private, now, from)
}

func makeSigningKey(private *ecdsa.PrivateKey, created, from time.Time) (signingKey, error) {
	kid, err := thumbprint(private.Public())
	if err != nil {
		return signingKey{}, fmt.Errorf("couldn't name a signing key: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: kid}},
		(&jose.SignerOptions{}).WithType(TokenType))
	if err != nil {
		return signingKey{}, fmt.Errorf("couldn't use a signing key: %w", err)
	}
	return signingKey{kid, created, from, private, signer}, nil
}

// thumbprint is the key's name: its JWK thumbprint (RFC 7638, SHA-256).
func thumbprint(public crypto.PublicKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// current returns the key that signs at now: the latest that has begun, or the
// first where a clock that was set back finds none.
func (s signingKeys) current(now time.Time) signingKey {
	for _, k := range slices.Backward(s) {
		if !k.from.After(now) {
			return k
		}
	}
	return s[0]
}

// live returns the keys that verify at now: those to come, the current one, and
// replaced ones within the overlap.
func (s signingKeys) live(now time.Time) signingKeys {
	for i := range s {
		if i == len(s)-1 || s[i+1].from.Add(TokenOverlap).After(now) {
			return s[i:]
		}
	}
	return nil
}

type storedSigningKey struct {
	Created int64  `json:"created"`
	From    int64  `json:"from"`
	PKCS8   []byte `json:"pkcs8"`
}

func (s signingKeys) wrap(kek *KEK, name string) ([]byte, error) {
	var stored []storedSigningKey
	for _, k := range s {
		der, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			return nil, err
		}
		stored = append(stored, storedSigningKey{k.created.UnixMicro(), k.from.UnixMicro(), der})
	}
	return wrapJSON(kek, name, stored)
}

func unwrapSigning(kek *KEK, w Wrapped) (signingKeys, error) {
	var stored []storedSigningKey
	if err := unwrapJSON(kek, w, &stored); err != nil {
		return nil, err
	}
	var keys signingKeys
	for _, s := range stored {
		parsed, err := x509.ParsePKCS8PrivateKey(s.PKCS8)
		private, ok := parsed.(*ecdsa.PrivateKey)
		if err != nil || !ok || private.Curve != elliptic.P256() {
			return nil, fmt.Errorf("couldn't open the keyset %s: it holds a key that is not ES256", w.Name)
		}
		key, err := makeSigningKey(private, time.UnixMicro(s.Created), time.UnixMicro(s.From))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("couldn't open the keyset %s: it is empty", w.Name)
	}
	slices.SortStableFunc(keys, func(a, b signingKey) int { return cmp.Compare(a.from.UnixMicro(), b.from.UnixMicro()) })
	return keys, nil
}

// SignToken returns the claims as a JWT signed with ES256 by the key of that
// moment, "typ" at+jwt (RFC 9068). It adds no claims.
func (r *Ring) SignToken(claims map[string]any, now time.Time) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("couldn't sign a token: %w", err)
	}
	signed, err := r.current.Load().signing.current(now).signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("couldn't sign a token: %w", err)
	}
	return signed.CompactSerialize()
}

// VerifyToken returns the claims of a token that one of the ring's keys signed
// and that is a JWT of type at+jwt under ES256. It looks at no claim: issuer,
// audience, times and session are the caller's. Numbers are float64. The error
// is ErrUnknownKey for a well-formed token of an unknown key, else ErrToken.
func (r *Ring) VerifyToken(raw string, now time.Time) (map[string]any, error) {
	header, payload, err := r.current.Load().signing.live(now).verify(raw)
	if err != nil {
		return nil, err
	}
	if header.ExtraHeaders[jose.HeaderType] != TokenType {
		return nil, ErrToken
	}
	var claims map[string]any
	if json.Unmarshal(payload, &claims) != nil || claims == nil {
		return nil, ErrToken
	}
	return claims, nil
}

// verify checks a compact JWS against these keys. Only alg, kid and typ may
// stand in its header, so that nothing in it can name another key, algorithm or
// encoding.
func (s signingKeys) verify(raw string) (jose.Header, []byte, error) {
	var none jose.Header
	if len(raw) > maxToken {
		return none, nil, ErrToken
	}
	var members map[string]json.RawMessage
	for i, part := range strings.Split(raw, ".") {
		b, ok := decode(base64.RawURLEncoding, part)
		if !ok || i == 0 && json.Unmarshal(b, &members) != nil {
			return none, nil, ErrToken
		}
	}
	for name := range members {
		if name != "alg" && name != "kid" && name != "typ" {
			return none, nil, ErrToken
		}
	}
	signed, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(signed.Signatures) != 1 {
		return none, nil, ErrToken
	}
	header := signed.Signatures[0].Protected
	if header.KeyID == "" {
		return none, nil, ErrToken
	}
	i := slices.IndexFunc(s, func(k signingKey) bool { return k.kid == header.KeyID })
	if i < 0 {
		return none, nil, ErrUnknownKey
	}
	payload, err := signed.Verify(s[i].private.Public())
	if err != nil {
		return none, nil, ErrToken
	}
	return header, payload, nil
}

// JWKS returns the public keys that verify access tokens at now, those to come
// and those being retired included, as a JWK Set (RFC 7517 §5).
func (r *Ring) JWKS(now time.Time) []byte {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range r.current.Load().signing.live(now) {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Algorithm: string(jose.ES256), Use: "sig"})
	}
	out, err := json.Marshal(set)
	if err != nil {
		return []byte(`{"keys":[]}`)
	}
	return out
}
