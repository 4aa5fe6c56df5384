package session

import (
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mitral-health/mitral/internal/identity"
)

// The published vectors also hold Auth.js's other cookies, whose salt is their
// own name; Mitral seals those with its own keyring.

func (c CookieCodec) DecodeSalted(secrets []identity.Secret, salt, value string, now time.Time) (map[string]any, error) {
	return c.decode(secrets, salt, value, now)
}

func (c CookieCodec) EncodeSalted(secrets []identity.Secret, salt string, claims map[string]any, now, exp time.Time) (string, error) {
	return c.encode(secrets, salt, claims, now, exp)
}

func DeriveCookieKey(d Dialect, enc jose.ContentEncryption, salt string, secret identity.Secret) ([]byte, string, error) {
	key, err := deriveCookieKey(d, enc, salt, secret)
	return key.bytes, key.kid, err
}
