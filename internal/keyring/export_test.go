package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"time"
)

// VerifyJWS checks a compact JWS against one key under a name of the caller's:
// published tokens are not of our type and their keys have other names.
func VerifyJWS(kid string, private *ecdsa.PrivateKey, raw string) ([]byte, error) {
	_, payload, err := signingKeys{{kid: kid, private: private}}.verify(raw)
	return payload, err
}

func Thumbprint(public crypto.PublicKey) (string, error) { return thumbprint(public) }

// KEKOf makes a key-encryption key of 32 given bytes.
func KEKOf(key []byte) (*KEK, error) { return newKEK(key) }

// WrapSigning wraps one given key as the signing keyset.
func WrapSigning(kek *KEK, private *ecdsa.PrivateKey, rev int64, now time.Time) ([]Wrapped, error) {
	key, err := makeSigningKey(private, now, now)
	if err != nil {
		return nil, err
	}
	return wrapAll(kek, []wrapping{{SigningKeys, rev, signingKeys{key}}})
}
