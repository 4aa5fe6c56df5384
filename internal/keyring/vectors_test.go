package keyring_test

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
)

func readVectors(t *testing.T, name string, into any) {
	t.Helper()
	dir := os.Getenv("MITRAL_VECTORS")
	if dir == "" {
		t.Skip("MITRAL_VECTORS is not set: vectors not run")
	}
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func TestVectorsArgon2id(t *testing.T) {
	var file struct {
		Password string `json:"password_ascii"`
		Salt     string `json:"salt_ascii"`
		Vectors  []struct {
			Mode   string
			T, P   int
			Memory int `json:"m_kib"`
			Tag    string
		}
	}
	readVectors(t, "argon2/xcrypto_password_somesalt.json", &file)
	checked := 0
	for _, v := range file.Vectors {
		tag, err := hex.DecodeString(v.Tag)
		if err != nil {
			t.Fatal(err)
		}
		phc := fmt.Sprintf("$%s$v=19$m=%d,t=%d,p=%d$%s$%s", v.Mode, v.Memory, v.T, v.P,
			base64.RawStdEncoding.EncodeToString([]byte(file.Salt)), base64.RawStdEncoding.EncodeToString(tag))
		ok, cost, err := keyring.CheckHash(phc, identity.Secret(file.Password))
		if v.Mode != "argon2id" {
			if err == nil {
				t.Errorf("%s: taken for Argon2id", phc)
			}
			continue
		}
		checked++
		if err != nil || !ok || cost != (keyring.Cost{MemoryKiB: uint32(v.Memory), Time: uint32(v.T), Threads: uint8(v.P)}) {
			t.Errorf("%s: %v, %v", phc, ok, err)
		}
		if ok, _, err := keyring.CheckHash(phc, identity.Secret(file.Password+"x")); err != nil || ok {
			t.Errorf("%s with another password: %v, %v", phc, ok, err)
		}
	}
	if checked != 8 {
		t.Errorf("%d vectors checked", checked)
	}
}

// The key-encryption key is AES-256-GCM with the nonce in front.
func TestVectorsKEK(t *testing.T) {
	var file struct {
		TestGroups []struct {
			IVSize, KeySize, TagSize int
			Tests                    []struct {
				TcID                                        int
				Comment, Key, IV, AAD, Msg, CT, Tag, Result string
			}
		}
	}
	readVectors(t, "wycheproof/aes_gcm_test.json", &file)
	results := map[string]int{}
	for _, group := range file.TestGroups {
		if group.KeySize != 256 || group.IVSize != 96 || group.TagSize != 128 {
			continue
		}
		for _, v := range group.Tests {
			kek, err := keyring.KEKOf(unhex(t, v.Key))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := kek.Decrypt(unhex(t, v.IV+v.CT+v.Tag), unhex(t, v.AAD))
			if v.Result == "valid" && (err != nil || !bytes.Equal(plain, unhex(t, v.Msg))) || v.Result != "valid" && err == nil {
				t.Errorf("%d (%s): %s, %v", v.TcID, v.Comment, v.Result, err)
			}
			results[v.Result]++
		}
	}
	if results["valid"] < 20 || results["invalid"] < 20 {
		t.Errorf("only %v", results)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Published tokens against an ES256 key: only the one that is valid verifies,
// and of the other algorithms none, though the key has the right name.
func TestVectorsJWS(t *testing.T) {
	for _, name := range []string{"wycheproof/json_web_signature_test.json", "wycheproof/json_web_crypto_test.json"} {
		var file struct {
			TestGroups []struct {
				Comment string
				Private json.RawMessage
				Tests   []struct {
					TcID            int
					Comment, Result string
					JWS             json.RawMessage
				}
			}
		}
		readVectors(t, name, &file)
		own := newNode(t)
		verified, refused := 0, 0
		for _, group := range file.TestGroups {
			var named struct{ Alg, Use, Kid string }
			_ = json.Unmarshal(group.Private, &named)
			key, ours := es256Key(group.Private)
			for _, v := range group.Tests {
				if v.JWS == nil {
					continue // an encrypted token
				}
				raw := string(v.JWS) // in the JSON form, or compact
				_ = json.Unmarshal(v.JWS, &raw)
				if !ours {
					key, named.Kid = otherKey(t), kidIn(raw)
				}
				_, err := keyring.VerifyJWS(named.Kid, key, raw)
				if want := ours && v.Result == "valid"; want != (err == nil) {
					t.Errorf("%s %d (%s, %s): %v", name, v.TcID, group.Comment, v.Comment, err)
				}
				if _, err := own.VerifyToken(raw, noon); err == nil {
					t.Errorf("%s %d: taken for a token of ours", name, v.TcID)
				}
				if err == nil {
					verified++
				} else {
					refused++
				}
			}
		}
		if verified < 1 || refused < 40 {
			t.Errorf("%s: %d verified, %d refused", name, verified, refused)
		}
	}
}

// es256Key reads the key of a group that is for signing with ES256.
func es256Key(raw json.RawMessage) (*ecdsa.PrivateKey, bool) {
	var key jose.JSONWebKey
	if json.Unmarshal(raw, &key) != nil || key.Algorithm != "ES256" || key.Use != "sig" {
		return nil, false
	}
	private, ok := key.Key.(*ecdsa.PrivateKey)
	return private, ok
}

// otherKey is an ES256 key that signed none of the tokens.
func otherKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, ok := es256Key(json.RawMessage(`{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig",
		"x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
		"d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}`))
	if !ok {
		t.Fatal("RFC 7517's example key cannot be read")
	}
	return key
}

func kidIn(jws string) string {
	signed, err := jose.ParseSignedCompact(jws, []jose.SignatureAlgorithm{
		jose.HS256, jose.HS384, jose.HS512, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512,
	})
	if err != nil || len(signed.Signatures) == 0 {
		return ""
	}
	return signed.Signatures[0].Header.KeyID
}

func TestVectorsThumbprint(t *testing.T) {
	var file struct {
		Thumbprint struct {
			JWK  json.RawMessage
			Want string `json:"sha256_b64url"`
		} `json:"jwk_thumbprint"`
	}
	readVectors(t, "oauth/pkce_and_thumbprint.json", &file)
	var key jose.JSONWebKey
	if err := json.Unmarshal(file.Thumbprint.JWK, &key); err != nil {
		t.Fatal(err)
	}
	if got, err := keyring.Thumbprint(key.Key); err != nil || got != file.Thumbprint.Want {
		t.Errorf("%s, want %s: %v", got, file.Thumbprint.Want, err)
	}
}
