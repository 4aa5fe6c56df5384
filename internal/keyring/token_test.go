package keyring_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mitral-health/mitral/internal/keyring"
)

func mustSign(t testing.TB, n *node, now time.Time) string {
	t.Helper()
	token, err := n.SignToken(map[string]any{"sub": "usr_1", "aud": "https://app.example", "exp": now.Add(2 * time.Minute).Unix()}, now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func publishedKeys(t testing.TB, n *node, now time.Time) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(n.JWKS(now), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestToken(t *testing.T) {
	n := newNode(t)
	token := mustSign(t, n, noon)
	claims, err := n.VerifyToken(token, noon)
	if err != nil || claims["sub"] != "usr_1" || claims["exp"] != float64(noon.Unix()+120) || len(claims) != 3 {
		t.Fatalf("claims %v: %v", claims, err)
	}
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var header map[string]any
	if err := json.Unmarshal(raw, &header); err != nil {
		t.Fatal(err)
	}
	set := publishedKeys(t, n, noon)
	if len(set.Keys) != 1 || len(header) != 3 || header["alg"] != "ES256" || header["typ"] != "at+jwt" || header["kid"] != set.Keys[0].KeyID {
		t.Errorf("header %v", header)
	}
	if _, err := n.SignToken(map[string]any{"f": func() {}}, noon); err == nil {
		t.Error("claims that are no JSON were signed")
	}
}

// An application verifies with nothing but the published set.
func TestJWKS(t *testing.T) {
	n := newNode(t)
	text := string(n.JWKS(noon))
	if strings.Contains(text, `"d"`) {
		t.Fatal("a private key was published")
	}
	set := publishedKeys(t, n, noon)
	key := set.Keys[0]
	if !key.IsPublic() || !key.Valid() || key.Algorithm != "ES256" || key.Use != "sig" {
		t.Errorf("published %s", text)
	}
	signed, err := jose.ParseSignedCompact(mustSign(t, n, noon), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(&set); err != nil {
		t.Errorf("an application cannot verify: %v", err)
	}
	if kid, err := keyring.Thumbprint(key.Key); err != nil || kid != key.KeyID {
		t.Errorf("kid %s is not the thumbprint %s: %v", key.KeyID, kid, err)
	}
}

func TestTokenRefuses(t *testing.T) {
	n := newNode(t)
	good := mustSign(t, n, noon)
	parts := strings.Split(good, ".")
	kid := publishedKeys(t, n, noon).Keys[0].KeyID
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	signed := func(header string) string { return encode(header) + "." + parts[1] + "." + parts[2] }
	for name, raw := range map[string]string{
		"empty": "", "dots": "..", "two parts": parts[0] + "." + parts[1], "four parts": good + ".x", "no signature": parts[0] + "." + parts[1] + ".",
		"another payload": parts[0] + "." + encode(`{"sub":"usr_2"}`) + "." + parts[2],
		"alg none":        encode(`{"alg":"none","typ":"at+jwt","kid":"`+kid+`"}`) + "." + parts[1] + ".",
		"alg HS256":       signed(`{"alg":"HS256","typ":"at+jwt","kid":"` + kid + `"}`),
		"alg ES384":       signed(`{"alg":"ES384","typ":"at+jwt","kid":"` + kid + `"}`),
		"no kid":          signed(`{"alg":"ES256","typ":"at+jwt"}`),
		"two kids":        signed(`{"alg":"ES256","typ":"at+jwt","kid":"x","kid":"` + kid + `"}`),
		"a jku":           signed(`{"alg":"ES256","typ":"at+jwt","kid":"` + kid + `","jku":"https://evil.example"}`),
		"an x5c":          signed(`{"alg":"ES256","typ":"at+jwt","kid":"` + kid + `","x5c":[]}`),
		"crit":            signed(`{"alg":"ES256","typ":"at+jwt","kid":"` + kid + `","crit":["b64"],"b64":false}`),
		"JSON form":       `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"a newline":       parts[0] + "\n." + parts[1] + "." + parts[2],
		"padding":         good + "==",
		"a session JWE":   "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AA.AA.AA",
		"huge":            good + strings.Repeat("A", 20<<10),
	} {
		if claims, err := n.VerifyToken(raw, noon); !errors.Is(err, keyring.ErrToken) || claims != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newNode(t).VerifyToken(good, noon); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("at another installation: %v", err)
	}
	for i := range good {
		if good[i] == '.' {
			continue
		}
		b := []byte(good)
		if b[i] = 'A'; good[i] == 'A' {
			b[i] = 'B'
		}
		if _, err := n.VerifyToken(string(b), noon); err == nil {
			t.Fatalf("character %d changed: verifies", i)
		}
	}
}

// Even the right key signs only access tokens: with another type, another
// header member or claims that are no object it proves nothing.
func TestTokenOfTheRightKeyButAnotherKind(t *testing.T) {
	n := newNode(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := keyring.WrapSigning(n.kek, private, 2, noon)
	n.take(t, changed, err)
	kid := publishedKeys(t, n, noon).Keys[0].KeyID
	sign := func(payload string, headers map[jose.HeaderKey]any, embed bool) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: kid}},
			&jose.SignerOptions{ExtraHeaders: headers, EmbedJWK: embed})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	type headers = map[jose.HeaderKey]any
	if _, err := n.VerifyToken(sign(`{"sub":"u"}`, headers{"typ": "at+jwt"}, false), noon); err != nil {
		t.Fatalf("control: %v", err)
	}
	for name, raw := range map[string]string{
		"no type":         sign(`{"sub":"u"}`, nil, false),
		"an ID token":     sign(`{"sub":"u"}`, headers{"typ": "JWT"}, false),
		"type no text":    sign(`{"sub":"u"}`, headers{"typ": 1}, false),
		"a jku":           sign(`{"sub":"u"}`, headers{"typ": "at+jwt", "jku": "https://evil.example"}, false),
		"an x5u":          sign(`{"sub":"u"}`, headers{"typ": "at+jwt", "x5u": "https://evil.example"}, false),
		"its own key":     sign(`{"sub":"u"}`, headers{"typ": "at+jwt"}, true),
		"a nonce":         sign(`{"sub":"u"}`, headers{"typ": "at+jwt", "nonce": "x"}, false),
		"unencoded":       sign(`{"sub":"u"}`, headers{"typ": "at+jwt", "b64": false, "crit": []string{"b64"}}, false),
		"claims null":     sign(`null`, headers{"typ": "at+jwt"}, false),
		"claims a list":   sign(`["sub"]`, headers{"typ": "at+jwt"}, false),
		"claims no JSON":  sign(`sub`, headers{"typ": "at+jwt"}, false),
		"claims and more": sign(`{"sub":"u"}{}`, headers{"typ": "at+jwt"}, false),
		"no claims":       sign(``, headers{"typ": "at+jwt"}, false),
	} {
		if claims, err := n.VerifyToken(raw, noon); !errors.Is(err, keyring.ErrToken) || claims != nil {
			t.Errorf("%s: %v, %v", name, claims, err)
		}
	}
}

// A new key is published before it signs, and the old verifies until the last
// token it signed is over.
func TestRotateSigning(t *testing.T) {
	n := newNode(t)
	first := mustSign(t, n, noon)
	changed, err := n.Rotate(n.kek, keyring.Signing, false, noon)
	n.take(t, changed, err)
	if len(changed) != 1 || changed[0].Name != keyring.SigningKeys {
		t.Fatalf("%d keysets changed", len(changed))
	}
	verifies := func(token string, at time.Time) bool {
		_, err := n.VerifyToken(token, at)
		return err == nil
	}
	keyOf := func(at time.Time) string {
		token := mustSign(t, n, at)
		if !verifies(token, at) {
			t.Fatalf("at %v: does not verify", at)
		}
		head, _, _ := strings.Cut(token, ".")
		return head
	}
	firstKey, _, _ := strings.Cut(first, ".")
	begins := noon.Add(keyring.PublishLead)
	for _, at := range []time.Time{noon.Add(-time.Hour), noon, begins.Add(-time.Second)} {
		if keyOf(at) != firstKey || len(publishedKeys(t, n, at).Keys) != 2 {
			t.Errorf("at %v the new key signs, or is not yet published", at)
		}
	}
	last := mustSign(t, n, begins.Add(-time.Second))
	if keyOf(begins) == firstKey {
		t.Error("the new key does not begin")
	}
	over := begins.Add(keyring.TokenOverlap)
	if !verifies(last, over.Add(-time.Second)) || keyring.TokenOverlap <= 10*time.Minute {
		t.Error("the old key does not verify through the overlap")
	}
	if _, err := n.VerifyToken(last, over); !errors.Is(err, keyring.ErrUnknownKey) || len(publishedKeys(t, n, over).Keys) != 1 {
		t.Errorf("the old key verifies for ever: %v", err)
	}

	// Rotated again before it began: the later key takes its place.
	changed, err = n.Rotate(n.kek, keyring.Signing, false, over)
	n.take(t, changed, err)
	changed, err = n.Announce(n.kek, keyring.Signing, over)
	n.take(t, changed, err)
	if keys := publishedKeys(t, n, over).Keys; len(keys) != 2 {
		t.Errorf("%d keys published", len(keys))
	}
	if changed, err := n.Finish(n.kek, keyring.Signing); err != nil || len(changed) != 0 {
		t.Errorf("finishing: %v", err)
	}
	if !verifies(mustSign(t, openNode(t, n.kek, n.stored), over.Add(time.Hour)), over.Add(time.Hour)) {
		t.Error("a node that starts now signs what this one does not know")
	}
}

func TestRotateSigningInAnEmergency(t *testing.T) {
	n := newNode(t)
	token := mustSign(t, n, noon)
	for range 2 {
		changed, err := n.Rotate(n.kek, keyring.Signing, false, noon)
		n.take(t, changed, err)
	}
	announced := publishedKeys(t, n, noon).Keys[1].KeyID
	changed, err := n.Rotate(n.kek, keyring.Signing, true, noon)
	n.take(t, changed, err)
	if _, err := n.VerifyToken(token, noon); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("a token of the leaked key: %v", err)
	}
	keys := publishedKeys(t, n, noon).Keys
	if len(keys) != 1 || keys[0].KeyID != announced {
		t.Errorf("%d keys published, or not the announced one", len(keys))
	}
	if _, err := n.VerifyToken(mustSign(t, n, noon), noon); err != nil {
		t.Errorf("control, a token of the new key: %v", err)
	}
	changed, err = n.Rotate(n.kek, keyring.Signing, true, noon)
	n.take(t, changed, err)
	if keys := publishedKeys(t, n, noon).Keys; len(keys) != 1 || keys[0].KeyID == announced {
		t.Error("a second emergency left the key as it was")
	}
}
