package session

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mitral-health/mitral/internal/identity"
)

// Dialect is which Auth.js the applications speak; a server has one.
type Dialect string

// The dialects.
const (
	// V4 is next-auth 4.
	V4 Dialect = "v4"
	// V5 is next-auth 5, on @auth/core.
	V5 Dialect = "v5"
)

const (
	// CookieTolerance is how far the clocks of an application and Mitral may
	// differ when a session cookie's times are checked.
	CookieTolerance = 15 * time.Second

	maxCookieValue = 32 << 10
	maxCookieKeys  = 64
)

// Errors about session cookies. A cookie with any of them is as good as none,
// but for ErrCookieExpired, which comes with the claims.
var (
	// ErrCookie says that a value is not a session cookie under these secrets.
	ErrCookie = errors.New("the session cookie does not open")
	// ErrCookieExpired says that nothing is wrong with a session cookie but its
	// "exp".
	ErrCookieExpired = errors.New("the session cookie has expired")
	// ErrDuplicate says that a request carried two session cookies of one name,
	// one of which somebody else may have planted: signed out.
	ErrDuplicate = errors.New("two session cookies of one name came along")
)

// CookieCodec is the session cookie as Auth.js writes and reads it: an
// encrypted JWT (JWE, "alg" dir) under a key derived from a shared secret, cut
// into chunks where it is long. The zero value is not usable.
type CookieCodec struct {
	Dialect Dialect
	// Secure says that the public URL is https; it is part of the name, and in
	// v5 through it of the key.
	Secure bool
}

// Name returns the name of the session cookie. A chunk's name is that, a dot
// and a number from 0.
func (c CookieCodec) Name() string {
	name := "authjs.session-token"
	if c.Dialect == V4 {
		name = "next-auth.session-token"
	}
	if c.Secure {
		name = "__Secure-" + name
	}
	return name
}

// Encode returns the claims as a JWE under the first secret, with "iat" now,
// "exp" as given (both whole seconds) and a fresh "jti".
func (c CookieCodec) Encode(secrets []identity.Secret, claims map[string]any, now, exp time.Time) (string, error) {
	return c.encode(secrets, c.salt(), claims, now, exp)
}

// Decode returns the claims of a cookie's value. In v5 the key is the one that
// the header's "kid" names, or without "kid" that of the first secret; in v4,
// which has no "kid", each secret is tried. Only "dir" with the dialect's own
// content encryption is accepted (in v5 A256GCM too, as there), uncompressed.
// "exp" is required and may be past, "nbf" ahead, by less than CookieTolerance.
// Numbers are float64. A cookie that is only too old is returned with
// ErrCookieExpired; every other error is ErrCookie.
func (c CookieCodec) Decode(secrets []identity.Secret, value string, now time.Time) (map[string]any, error) {
	return c.decode(secrets, c.salt(), value, now)
}

// salt is the HKDF salt of session cookies: the name in v5, nothing in v4.
func (c CookieCodec) salt() string {
	if c.Dialect == V4 {
		return ""
	}
	return c.Name()
}

func (c CookieCodec) encode(secrets []identity.Secret, salt string, claims map[string]any, now, exp time.Time) (string, error) {
	if len(secrets) == 0 {
		return "", errors.New("couldn't make a session cookie: there is no AUTH_SECRET")
	}
	all := maps.Clone(claims)
	if all == nil {
		all = map[string]any{}
	}
	all["iat"], all["exp"], all["jti"] = now.Unix(), exp.Unix(), newUUID()
	var plain bytes.Buffer
	writer := json.NewEncoder(&plain)
	writer.SetEscapeHTML(false) // as JavaScript writes it, and shorter
	if err := writer.Encode(all); err != nil {
		return "", fmt.Errorf("couldn't make a session cookie: %w", err)
	}
	enc := jose.A256CBC_HS512
	if c.Dialect == V4 {
		enc = jose.A256GCM
	}
	key, err := deriveCookieKey(c.Dialect, enc, salt, secrets[0])
	if err != nil {
		return "", fmt.Errorf("couldn't make a session cookie: %w", err)
	}
	recipient := jose.Recipient{Algorithm: jose.DIRECT, Key: key.bytes}
	if c.Dialect == V5 {
		recipient.KeyID = key.kid
	}
	encrypter, err := jose.NewEncrypter(enc, recipient, nil)
	if err != nil {
		return "", fmt.Errorf("couldn't make a session cookie: %w", err)
	}
	sealed, err := encrypter.Encrypt(bytes.TrimSpace(plain.Bytes()))
	if err != nil {
		return "", fmt.Errorf("couldn't make a session cookie: %w", err)
	}
	return sealed.CompactSerialize()
}

func (c CookieCodec) decode(secrets []identity.Secret, salt, value string, now time.Time) (map[string]any, error) {
	if len(value) > maxCookieValue || len(secrets) == 0 || !isCompactDirectJWE(value) {
		return nil, ErrCookie
	}
	accepted := []jose.ContentEncryption{jose.A256GCM}
	if c.Dialect == V5 {
		accepted = []jose.ContentEncryption{jose.A256CBC_HS512, jose.A256GCM}
	}
	sealed, err := jose.ParseEncryptedCompact(value, []jose.KeyAlgorithm{jose.DIRECT}, accepted)
	if err != nil {
		return nil, ErrCookie
	}
	if _, compressed := sealed.Header.ExtraHeaders["zip"]; compressed {
		return nil, ErrCookie
	}
	enc, _ := sealed.Header.ExtraHeaders["enc"].(string)
	if c.Dialect == V5 && sealed.Header.KeyID == "" {
		secrets = secrets[:1]
	}
	for _, secret := range secrets {
		key, err := deriveCookieKey(c.Dialect, jose.ContentEncryption(enc), salt, secret)
		if err != nil {
			return nil, ErrCookie
		}
		if c.Dialect == V5 && sealed.Header.KeyID != "" && sealed.Header.KeyID != key.kid {
			continue
		}
		if plain, err := sealed.Decrypt(key.bytes); err == nil {
			return checkCookieClaims(plain, now)
		}
	}
	return nil, ErrCookie
}

// isCompactDirectJWE says whether the value has the five parts of a compact JWE
// and, as "dir" demands (RFC 7518 §4.5), nothing in the second.
func isCompactDirectJWE(value string) bool {
	dots, empty := 0, false
	for i := range len(value) {
		switch b := value[i]; {
		case b == '.':
			dots++
			empty = empty || dots == 2 && value[i-1] == '.'
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_':
		default:
			return false
		}
	}
	return dots == 4 && empty
}

func checkCookieClaims(plain []byte, now time.Time) (map[string]any, error) {
	var claims map[string]any
	if json.Unmarshal(plain, &claims) != nil || claims == nil {
		return nil, ErrCookie
	}
	at, tolerance := float64(now.Unix()), CookieTolerance.Seconds()
	exp, ok := claims["exp"].(float64)
	if !ok {
		return nil, ErrCookie
	}
	for _, name := range []string{"nbf", "iat"} {
		if v, there := claims[name]; there {
			number, ok := v.(float64)
			if !ok || name == "nbf" && number > at+tolerance {
				return nil, ErrCookie
			}
		}
	}
	if exp <= at-tolerance {
		return claims, ErrCookieExpired
	}
	return claims, nil
}

// cookieKey is a derived key and its name.
type cookieKey struct {
	bytes []byte
	kid   string
}

// cookieKeyID names a derived key without holding the secret.
type cookieKeyID struct {
	dialect Dialect
	enc     jose.ContentEncryption
	salt    string
	secret  [sha256.Size]byte
}

// cookieKeys remembers derived keys: HKDF and thumbprint cost more than the
// decryption itself. The map is replaced, never changed.
var cookieKeys atomic.Pointer[map[cookieKeyID]cookieKey]

// deriveCookieKey derives the key for one content encryption: HKDF-SHA256
// (RFC 5869), 64 bytes for A256CBC-HS512 and 32 for A256GCM, and names it by
// the thumbprint of the key as a JWK (RFC 7638) under the hash of its length.
func deriveCookieKey(dialect Dialect, enc jose.ContentEncryption, salt string, secret identity.Secret) (cookieKey, error) {
	id := cookieKeyID{dialect, enc, salt, sha256.Sum256([]byte(secret.Reveal()))}
	known := cookieKeys.Load()
	if known != nil {
		if key, ok := (*known)[id]; ok {
			return key, nil
		}
	}
	info := "Auth.js Generated Encryption Key (" + salt + ")"
	if dialect == V4 {
		info = "NextAuth.js Generated Encryption Key"
		if salt != "" {
			info += " (" + salt + ")"
		}
	}
	size := 32
	if enc == jose.A256CBC_HS512 {
		size = 64
	}
	raw, err := hkdf.Key(sha256.New, []byte(secret.Reveal()), []byte(salt), info, size)
	if err != nil {
		return cookieKey{}, err
	}
	key := cookieKey{bytes: raw, kid: cookieKeyThumbprint(raw)}

	next := map[cookieKeyID]cookieKey{id: key}
	if known != nil && len(*known) < maxCookieKeys {
		maps.Copy(next, *known)
	}
	cookieKeys.CompareAndSwap(known, &next) // a lost race is derived again
	return key, nil
}

func cookieKeyThumbprint(raw []byte) string {
	jwk := []byte(`{"k":"` + base64.RawURLEncoding.EncodeToString(raw) + `","kty":"oct"}`)
	if len(raw) == 64 {
		sum := sha512.Sum512(jwk)
		return base64.RawURLEncoding.EncodeToString(sum[:])
	}
	sum := sha256.Sum256(jwk)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// newUUID returns a random UUID (RFC 9562 §5.4), which is what Auth.js puts
// into "jti".
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// chunkSize is how many characters of a value one cookie holds.
func (c CookieCodec) chunkSize() int {
	if c.Dialect == V4 {
		return 4096 - 163
	}
	return 4096 - 160
}

// Cookies returns the cookies that set the value: one, or chunks where it is
// long, good for maxAge (whole seconds, rounded down; none left clears them);
// before them, a clearing one for each session cookie that was presented and is
// not set now. The values are percent-encoded for the wire.
func (c CookieCodec) Cookies(value string, maxAge time.Duration, presented []*http.Cookie) []*http.Cookie {
	seconds := int(maxAge / time.Second)
	if value == "" || seconds < 1 {
		return c.Clear(presented)
	}
	var set []*http.Cookie
	if size := c.chunkSize(); len(value) <= size {
		set = append(set, c.cookie(c.Name(), value, seconds))
	} else {
		i := 0
		for chunk := range slices.Chunk([]byte(value), size) {
			set = append(set, c.cookie(c.Name()+"."+strconv.Itoa(i), string(chunk), seconds))
			i++
		}
	}
	stale := slices.DeleteFunc(c.Clear(presented), func(old *http.Cookie) bool {
		return slices.ContainsFunc(set, func(fresh *http.Cookie) bool { return fresh.Name == old.Name })
	})
	return append(stale, set...)
}

// Read returns the value of the presented session cookie, its chunks joined in
// the order of their numbers, and the names it came under. Without one the
// value is "". Two cookies of one name are ErrDuplicate, the names returned
// beside it.
func (c CookieCodec) Read(cookies []*http.Cookie) (value string, presentNames []string, err error) {
	parts := c.presented(cookies)
	for _, p := range parts {
		if slices.Contains(presentNames, p.Name) {
			err = ErrDuplicate
			continue
		}
		presentNames = append(presentNames, p.Name)
	}
	if err != nil {
		return "", presentNames, err
	}
	slices.SortStableFunc(parts, func(a, b *http.Cookie) int { return chunkNumber(a.Name) - chunkNumber(b.Name) })
	var joined strings.Builder
	for _, p := range parts {
		joined.WriteString(unescapeCookie(p.Value))
	}
	return joined.String(), presentNames, nil
}

// Clear returns cookies that remove every presented session cookie, each name
// once.
func (c CookieCodec) Clear(presented []*http.Cookie) []*http.Cookie {
	var out []*http.Cookie
	for _, p := range c.presented(presented) {
		if !slices.ContainsFunc(out, func(o *http.Cookie) bool { return o.Name == p.Name }) {
			out = append(out, c.cookie(p.Name, "", -1))
		}
	}
	return out
}

// presented picks the session cookies: as in Auth.js, all whose names begin
// with the session cookie's.
func (c CookieCodec) presented(cookies []*http.Cookie) []*http.Cookie {
	var out []*http.Cookie
	for _, cookie := range cookies {
		if strings.HasPrefix(cookie.Name, c.Name()) {
			out = append(out, cookie)
		}
	}
	return out
}

func (c CookieCodec) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: escapeCookie(value), Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: c.Secure, SameSite: http.SameSiteLaxMode,
	}
}

// chunkNumber returns the number after the last dot; the plain name comes
// before all chunks.
func chunkNumber(name string) int {
	n, err := strconv.ParseUint(name[strings.LastIndexByte(name, '.')+1:], 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// escapeCookie is JavaScript's encodeURIComponent.
func escapeCookie(value string) string {
	var b strings.Builder
	for i := range len(value) {
		switch ch := value[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', strings.IndexByte("-_.!~*'()", ch) >= 0:
			b.WriteByte(ch)
		default:
			fmt.Fprintf(&b, "%%%02X", ch)
		}
	}
	return b.String()
}

// unescapeCookie decodes percent escapes; a value with a malformed one stays as
// it is.
func unescapeCookie(value string) string {
	if decoded, err := url.PathUnescape(value); err == nil {
		return decoded
	}
	return value
}
