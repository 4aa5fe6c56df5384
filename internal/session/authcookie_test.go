package session_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
)

const (
	cookieSecretNew   = identity.Secret("the-newest-secret-of-32-bytes-or-more")
	cookieSecretOld   = identity.Secret("an-older-secret-of-32-bytes-or-more!")
	cookieSecretOther = identity.Secret("somebody-else's-secret-of-32-bytes!!")
)

var cookieNoon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

var cookieCodecs = []session.CookieCodec{
	{Dialect: session.V4}, {Dialect: session.V4, Secure: true},
	{Dialect: session.V5}, {Dialect: session.V5, Secure: true},
}

func TestCookieNames(t *testing.T) {
	want := []string{"next-auth.session-token", "__Secure-next-auth.session-token", "authjs.session-token", "__Secure-authjs.session-token"}
	for i, c := range cookieCodecs {
		if c.Name() != want[i] {
			t.Errorf("%+v is named %q, want %q", c, c.Name(), want[i])
		}
	}
}

func TestCookieRoundTrip(t *testing.T) {
	claims := map[string]any{
		"sub": "usr_1", "sid": "ses_1", "skey": "k", "hard_exp": float64(cookieNoon.Unix() + 120),
		"name": "Łucja 李 🩺", "picture": nil, "roles": []any{"nurse"}, "deep": map[string]any{"n": 1.5},
	}
	for _, c := range cookieCodecs {
		value, err := c.Encode([]identity.Secret{cookieSecretNew}, claims, cookieNoon, cookieNoon.Add(2*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode([]identity.Secret{cookieSecretNew}, value, cookieNoon.Add(time.Minute))
		if err != nil {
			t.Fatalf("%s: %v", c.Name(), err)
		}
		jti, _ := got["jti"].(string)
		if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(jti) {
			t.Errorf("%s: jti %q is no random UUID", c.Name(), jti)
		}
		if got["iat"] != float64(cookieNoon.Unix()) || got["exp"] != float64(cookieNoon.Unix()+120) {
			t.Errorf("%s: iat %v, exp %v", c.Name(), got["iat"], got["exp"])
		}
		delete(got, "jti")
		delete(got, "iat")
		delete(got, "exp")
		if diff := cmp.Diff(claims, got); diff != "" {
			t.Errorf("%s: claims differ (-want +got):\n%s", c.Name(), diff)
		}
		if _, there := claims["exp"]; there {
			t.Error("Encode wrote into the caller's claims")
		}
	}
}

// A cookie opens under any secret of the list in its own dialect and name, and
// under nothing else.
func TestCookieSecretsAndNames(t *testing.T) {
	for _, c := range cookieCodecs {
		old, err := c.Encode([]identity.Secret{cookieSecretOld}, map[string]any{"sub": "u"}, cookieNoon, cookieNoon.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Decode([]identity.Secret{cookieSecretNew, cookieSecretOld}, old, cookieNoon); err != nil {
			t.Errorf("%s: a cookie of the older secret: %v", c.Name(), err)
		}
		for _, secrets := range [][]identity.Secret{{cookieSecretNew}, {cookieSecretNew, cookieSecretOther}, {}, nil} {
			if _, err := c.Decode(secrets, old, cookieNoon); !errors.Is(err, session.ErrCookie) {
				t.Errorf("%s with %d wrong secrets: %v", c.Name(), len(secrets), err)
			}
		}
		for _, other := range cookieCodecs {
			_, err := other.Decode([]identity.Secret{cookieSecretOld}, old, cookieNoon)
			same := other == c || c.Dialect == session.V4 && other.Dialect == session.V4 // v4's key knows no name
			if same != (err == nil) {
				t.Errorf("%s read as %s: %v", c.Name(), other.Name(), err)
			}
		}
		if _, err := c.Encode(nil, nil, cookieNoon, cookieNoon); err == nil {
			t.Errorf("%s: encoded without a secret", c.Name())
		}
	}
}

func TestCookieTimes(t *testing.T) {
	c := session.CookieCodec{Dialect: session.V5}
	secrets := []identity.Secret{cookieSecretNew}
	at := float64(cookieNoon.Unix())
	for _, tt := range []struct {
		name   string
		claims map[string]any
		want   error
	}{
		{"good", map[string]any{"exp": at + 60}, nil},
		{"exp 14 s ago", map[string]any{"exp": at - 14}, nil},
		{"exp 15 s ago", map[string]any{"exp": at - 15}, session.ErrCookieExpired},
		{"no exp", map[string]any{"sub": "u"}, session.ErrCookie},
		{"exp a text", map[string]any{"exp": "tomorrow"}, session.ErrCookie},
		{"exp null", map[string]any{"exp": nil}, session.ErrCookie},
		{"nbf 15 s ahead", map[string]any{"exp": at + 60, "nbf": at + 15}, nil},
		{"nbf 16 s ahead", map[string]any{"exp": at + 60, "nbf": at + 16}, session.ErrCookie},
		{"nbf a text", map[string]any{"exp": at + 60, "nbf": "now"}, session.ErrCookie},
		{"iat a text", map[string]any{"exp": at + 60, "iat": "now"}, session.ErrCookie},
		{"expired and not yet", map[string]any{"exp": at - 60, "nbf": at + 60}, session.ErrCookie},
	} {
		claims, err := c.Decode(secrets, sealCookie(t, c, cookieSecretNew, tt.claims, nil), cookieNoon)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		if (claims != nil) != (tt.want == nil || errors.Is(tt.want, session.ErrCookieExpired)) {
			t.Errorf("%s: claims %v beside %v", tt.name, claims, err)
		}
	}
}

func TestCookieHostileHeaders(t *testing.T) {
	c := session.CookieCodec{Dialect: session.V5, Secure: true}
	secrets := []identity.Secret{cookieSecretNew, cookieSecretOld}
	claims := map[string]any{"exp": cookieNoon.Unix() + 60}
	good := sealCookie(t, c, cookieSecretNew, claims, nil)
	parts := strings.Split(good, ".")
	header := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }

	accepted := map[string]string{
		"control":                       good,
		"no kid, first secret":          sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) { o.kid = "" }),
		"kid of the second secret":      sealCookie(t, c, cookieSecretOld, claims, nil),
		"A256GCM of the 32-byte key":    sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) { o.enc = jose.A256GCM }),
		"A256GCM of the second secret":  sealCookie(t, c, cookieSecretOld, claims, func(o *cookieOptions) { o.enc = jose.A256GCM }),
		"A256GCM, no kid, of the first": sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) { o.enc = jose.A256GCM; o.kid = "" }),
		"a header member that means nothing": sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) {
			o.extra = map[jose.HeaderKey]any{"typ": "JWT"}
		}),
	}
	for name, value := range accepted {
		if _, err := c.Decode(secrets, value, cookieNoon); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	big := map[string]any{"exp": cookieNoon.Unix() + 60, "x": strings.Repeat("a", 40<<10)}
	refused := map[string]string{
		"empty":                       "",
		"dots":                        "....",
		"four parts":                  strings.Join(parts[:4], "."),
		"six parts":                   good + ".x",
		"an encrypted key":            parts[0] + ".AAAA." + strings.Join(parts[2:], "."),
		"JSON serialization":          `{"protected":"` + parts[0] + `","iv":"` + parts[2] + `","ciphertext":"` + parts[3] + `","tag":"` + parts[4] + `"}`,
		"a newline in a part":         parts[0] + ".." + parts[2] + "\n." + parts[3] + "." + parts[4],
		"padding":                     good + "=",
		"no kid, second secret":       sealCookie(t, c, cookieSecretOld, claims, func(o *cookieOptions) { o.kid = "" }),
		"kid of another secret":       sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) { o.kid = "bogus" }),
		"kid of one, key of another":  sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) { o.kid = kidOf(t, c, cookieSecretOld) }),
		"compressed":                  sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) { o.zip = true }),
		"crit":                        sealCookie(t, c, cookieSecretNew, claims, func(o *cookieOptions) { o.extra = map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1} }),
		"enc by another name":         header(`{"alg":"dir","enc":"A192CBC-HS384"}`) + "." + strings.Join(parts[1:], "."),
		"alg none":                    header(`{"alg":"none","enc":"A256CBC-HS512"}`) + "." + strings.Join(parts[1:], "."),
		"alg PBES2":                   header(`{"alg":"PBES2-HS256+A128KW","enc":"A256CBC-HS512","p2c":2000000000,"p2s":"AAAAAAAAAAA"}`) + "." + strings.Join(parts[1:], "."),
		"alg in other case":           header(`{"alg":"DIR","enc":"A256CBC-HS512"}`) + "." + strings.Join(parts[1:], "."),
		"two algs":                    header(`{"alg":"dir","alg":"dir","enc":"A256CBC-HS512"}`) + "." + strings.Join(parts[1:], "."),
		"header not an object":        header(`"dir"`) + "." + strings.Join(parts[1:], "."),
		"too long":                    sealCookie(t, c, cookieSecretNew, big, nil),
		"claims not an object":        sealRaw(t, c, cookieSecretNew, []byte(`["exp"]`)),
		"claims null":                 sealRaw(t, c, cookieSecretNew, []byte(`null`)),
		"claims not JSON":             sealRaw(t, c, cookieSecretNew, []byte(`exp`)),
		"an empty plain text":         sealRaw(t, c, cookieSecretNew, nil),
		"a signed token in its place": header(`{"alg":"HS256"}`) + "." + header(`{"exp":9999999999}`) + ".AAAA",
	}
	for name, value := range refused {
		if claims, err := c.Decode(secrets, value, cookieNoon); !errors.Is(err, session.ErrCookie) || claims != nil {
			t.Errorf("%s: %v, %v", name, claims, err)
		}
	}

	v4 := session.CookieCodec{Dialect: session.V4}
	if _, err := v4.Decode(secrets, sealCookie(t, v4, cookieSecretNew, claims, func(o *cookieOptions) { o.enc = jose.A256CBC_HS512 }), cookieNoon); !errors.Is(err, session.ErrCookie) {
		t.Errorf("v4 took A256CBC-HS512: %v", err)
	}
}

// Any one changed character breaks the cookie, in either dialect.
func TestCookieTampered(t *testing.T) {
	for _, c := range cookieCodecs[1:3] {
		value, err := c.Encode([]identity.Secret{cookieSecretNew}, map[string]any{"sub": "u"}, cookieNoon, cookieNoon.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for i := range value {
			if value[i] == '.' || i+1 == len(value) || value[i+1] == '.' {
				continue // the last character of a part may hold unused bits
			}
			b := []byte(value)
			if b[i] = 'A'; value[i] == 'A' {
				b[i] = 'B'
			}
			if _, err := c.Decode([]identity.Secret{cookieSecretNew}, string(b), cookieNoon); !errors.Is(err, session.ErrCookie) {
				t.Fatalf("%s: character %d changed: %v", c.Name(), i, err)
			}
		}
	}
}

func TestCookieChunks(t *testing.T) {
	for _, c := range cookieCodecs {
		size := 3936
		if c.Dialect == session.V4 {
			size = 3933
		}
		for _, length := range []int{1, size, size + 1, 2 * size, 2*size + 1, 11 * size} {
			value := strings.Repeat("abcdefghij", length/10+1)[:length]
			w := httptest.NewRecorder()
			for _, cookie := range c.Cookies(value, 2*time.Minute, nil) {
				http.SetCookie(w, cookie)
				if !cookie.HttpOnly || cookie.Secure != c.Secure || cookie.Path != "/" || cookie.SameSite != http.SameSiteLaxMode || cookie.MaxAge != 120 || cookie.Domain != "" {
					t.Errorf("%s: flags %v", c.Name(), cookie)
				}
			}
			sent := w.Result().Cookies()
			if want := (length + size - 1) / size; len(sent) != want {
				t.Fatalf("%s: %d characters went into %d cookies, want %d", c.Name(), length, len(sent), want)
			}
			slices.Reverse(sent) // browsers promise no order
			got, names, err := c.Read(sent)
			if err != nil || got != value || len(names) != len(sent) {
				t.Errorf("%s: %d characters came back as %d from %v: %v", c.Name(), length, len(got), names, err)
			}
		}
	}
}

func TestCookieEscapes(t *testing.T) {
	c := session.CookieCodec{Dialect: session.V5}
	w := httptest.NewRecorder()
	value := "a|b c;,\"%é\\~!*'()"
	http.SetCookie(w, c.Cookies(value, time.Minute, nil)[0])
	if line := w.Header().Get("Set-Cookie"); !strings.HasPrefix(line, "authjs.session-token=a%7Cb%20c%3B%2C%22%25%C3%A9%5C~!*'(); Path=/; Max-Age=60; HttpOnly; SameSite=Lax") {
		t.Errorf("on the wire: %s", line)
	}
	if got, _, _ := c.Read(w.Result().Cookies()); got != value {
		t.Errorf("read back %q, want %q", got, value)
	}
	if got, _, _ := c.Read([]*http.Cookie{{Name: c.Name(), Value: "100%"}}); got != "100%" {
		t.Errorf("a malformed escape became %q", got)
	}
}

func TestCookieClear(t *testing.T) {
	c := session.CookieCodec{Dialect: session.V5, Secure: true}
	presented := []*http.Cookie{
		{Name: c.Name(), Value: "x"}, {Name: c.Name() + ".0", Value: "y"}, {Name: c.Name() + ".0", Value: "z"},
		{Name: "__Host-authjs.csrf-token", Value: "t"}, {Name: "authjs.session-token", Value: "plain"},
	}
	var got []string
	for _, cookie := range c.Clear(presented) {
		got = append(got, cookie.String())
	}
	want := []string{
		"__Secure-authjs.session-token=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		"__Secure-authjs.session-token.0=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("clearing (-want +got):\n%s", diff)
	}
	// A shorter value leaves no chunk of a longer one behind, and a chunked one
	// no plain cookie.
	setNames := func(length int, presented ...*http.Cookie) (set, cleared []string) {
		for _, cookie := range c.Cookies(strings.Repeat("a", length), time.Minute, presented) {
			if cookie.MaxAge < 0 {
				cleared = append(cleared, cookie.Name)
			} else {
				set = append(set, cookie.Name)
			}
		}
		return set, cleared
	}
	name := c.Name()
	chunks := []*http.Cookie{{Name: name + ".0"}, {Name: name + ".1"}, {Name: name + ".2"}}
	if set, cleared := setNames(100, chunks...); !slices.Equal(set, []string{name}) || !slices.Equal(cleared, []string{name + ".0", name + ".1", name + ".2"}) {
		t.Errorf("chunks to plain: sets %v, clears %v", set, cleared)
	}
	if set, cleared := setNames(5000, chunks...); !slices.Equal(set, []string{name + ".0", name + ".1"}) || !slices.Equal(cleared, []string{name + ".2"}) {
		t.Errorf("three chunks to two: sets %v, clears %v", set, cleared)
	}
	if set, cleared := setNames(5000, presented[0]); !slices.Equal(set, []string{name + ".0", name + ".1"}) || !slices.Equal(cleared, []string{name}) {
		t.Errorf("plain to chunks: sets %v, clears %v", set, cleared)
	}
	if got := c.Clear(nil); len(got) != 0 {
		t.Errorf("cleared %v where nothing was", got)
	}
	if got := c.Cookies("value", 999*time.Millisecond, presented[:1]); len(got) != 1 || got[0].MaxAge != -1 {
		t.Errorf("a value without a second left was set: %v", got)
	}
}

// A sibling subdomain can plant a second cookie of the session's name.
func TestF46DuplicateSessionCookieIsSignedOut(t *testing.T) {
	for _, c := range cookieCodecs {
		value, err := c.Encode([]identity.Secret{cookieSecretNew}, map[string]any{"sub": "u"}, cookieNoon, cookieNoon.Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		own := &http.Cookie{Name: c.Name(), Value: value}
		if got, _, err := c.Read([]*http.Cookie{own, {Name: "other", Value: "x"}, {Name: "other", Value: "y"}}); err != nil || got != value {
			t.Fatalf("%s alone: %v", c.Name(), err)
		}
		for _, planted := range []string{"planted", value, ""} {
			got, names, err := c.Read([]*http.Cookie{own, {Name: c.Name(), Value: planted}})
			if !errors.Is(err, session.ErrDuplicate) || got != "" || !slices.Equal(names, []string{c.Name()}) {
				t.Errorf("%s twice: %q, %v, %v", c.Name(), got, names, err)
			}
		}
		chunk := &http.Cookie{Name: c.Name() + ".0", Value: "a"}
		if _, _, err := c.Read([]*http.Cookie{chunk, chunk}); !errors.Is(err, session.ErrDuplicate) {
			t.Errorf("%s.0 twice: %v", c.Name(), err)
		}
	}
}

func TestCookieKeysAreSafeToShare(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := cookieCodecs[i%len(cookieCodecs)]
			for j := range 40 {
				secret := identity.Secret(strings.Repeat(string(rune('a'+(i+j)%20)), 32))
				value, err := c.Encode([]identity.Secret{secret}, nil, cookieNoon, cookieNoon.Add(time.Minute))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.Decode([]identity.Secret{secret}, value, cookieNoon); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

type authjsVectors struct {
	Encode []struct {
		Name, Secret, Salt, Cookie string
		KeyHex                     string `json:"key_hex"`
		Header                     map[string]string
		Input, Payload             map[string]any
	}
	Negative []struct{ Name, Secret, Salt, Cookie, Result string }
	Clock    []struct {
		Name, Cookie, Secret, Salt, Result string
		Now                                int64
	}
	Chunk []struct {
		Name           string
		Value          string
		RequestCookies []string `json:"request_cookies"`
		Set            []struct {
			Name    string
			Length  int
			Cleared bool
		}
	}
	Join []struct {
		RequestCookies json.RawMessage `json:"request_cookies"`
		Value          string
	}
	Defaults map[string]map[string]struct {
		Name    string
		Options struct {
			HttpOnly, Secure bool
			SameSite, Path   string
		}
	}
}

func readAuthjsVectors(t *testing.T, d session.Dialect) authjsVectors {
	t.Helper()
	dir := os.Getenv("MITRAL_VECTORS")
	if dir == "" {
		t.Skip("MITRAL_VECTORS is not set: vectors not run")
	}
	raw, err := os.ReadFile(filepath.Join(dir, "authjs-"+string(d)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var v authjsVectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Encode) < 20 || len(v.Negative) < 9 || len(v.Clock) < 5 || len(v.Chunk) < 9 || len(v.Join) < 4 {
		t.Fatal("the vector file is not the one this test is for")
	}
	return v
}

func TestAuthjsVectorsV4(t *testing.T) { testAuthjsVectors(t, session.V4, jose.A256GCM) }
func TestAuthjsVectorsV5(t *testing.T) { testAuthjsVectors(t, session.V5, jose.A256CBC_HS512) }

func testAuthjsVectors(t *testing.T, dialect session.Dialect, enc jose.ContentEncryption) {
	v := readAuthjsVectors(t, dialect)
	c := session.CookieCodec{Dialect: dialect}
	for _, e := range v.Encode {
		secrets := []identity.Secret{identity.Secret(e.Secret)}
		key, kid, err := session.DeriveCookieKey(dialect, enc, e.Salt, secrets[0])
		if err != nil || hex.EncodeToString(key) != e.KeyHex {
			t.Errorf("%s: derived key differs: %v", e.Name, err)
		}
		if want := e.Header["kid"]; want != "" && kid != want {
			t.Errorf("%s: kid %q, want %q", e.Name, kid, want)
		}
		at := time.Unix(int64(e.Payload["iat"].(float64)), 0)
		got, err := c.DecodeSalted(secrets, e.Salt, e.Cookie, at)
		if err != nil {
			t.Errorf("%s: %v", e.Name, err)
			continue
		}
		if diff := cmp.Diff(e.Payload, got); diff != "" {
			t.Errorf("%s: payload (-want +got):\n%s", e.Name, diff)
		}
		// Ours has their header, member for member, and the same claims.
		ours, err := c.EncodeSalted(secrets, e.Salt, e.Input, at, time.Unix(int64(e.Payload["exp"].(float64)), 0))
		if err != nil {
			t.Fatal(err)
		}
		header, _, _ := strings.Cut(ours, ".")
		theirs, _, _ := strings.Cut(e.Cookie, ".")
		if header != theirs {
			t.Errorf("%s: header %s, theirs %s", e.Name, header, theirs)
		}
		back, err := c.DecodeSalted(secrets, e.Salt, ours, at)
		if err != nil {
			t.Fatal(err)
		}
		back["jti"] = got["jti"]
		if diff := cmp.Diff(e.Payload, back); diff != "" {
			t.Errorf("%s: our payload (-want +got):\n%s", e.Name, diff)
		}
		if d := len(ours) - len(e.Cookie); d < -4 || d > 4 {
			t.Errorf("%s: ours has %d characters, theirs %d", e.Name, len(ours), len(e.Cookie))
		}
	}
	// The session cookies of the list also open through the codec itself.
	opened := 0
	for _, secure := range []bool{false, true} {
		codec := session.CookieCodec{Dialect: dialect, Secure: secure}
		for _, e := range v.Encode {
			if e.Salt == codec.Name() || dialect == session.V4 && e.Salt == "" {
				if _, err := codec.Decode([]identity.Secret{identity.Secret(e.Secret)}, e.Cookie, cookieNoon); err != nil {
					t.Errorf("%s as %s: %v", e.Name, codec.Name(), err)
				}
				opened++
			}
		}
	}
	if opened < 16 {
		t.Errorf("only %d session cookies among the vectors", opened)
	}
	for _, n := range v.Negative {
		claims, err := c.DecodeSalted([]identity.Secret{identity.Secret(n.Secret)}, n.Salt, n.Cookie, cookieNoon)
		if !errors.Is(err, session.ErrCookie) || claims != nil || !strings.HasPrefix(n.Result, "error:") {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
	for _, k := range v.Clock {
		_, err := c.DecodeSalted([]identity.Secret{identity.Secret(k.Secret)}, k.Salt, k.Cookie, time.Unix(k.Now, 0))
		if want := k.Result == "accepted"; want != (err == nil) || !want && !errors.Is(err, session.ErrCookieExpired) {
			t.Errorf("%s: %v, theirs %s", k.Name, err, k.Result)
		}
	}
	for i, k := range v.Chunk {
		codec := session.CookieCodec{Dialect: dialect, Secure: strings.HasPrefix(k.Name, "__Secure-")}
		var presented []*http.Cookie
		for _, name := range k.RequestCookies {
			presented = append(presented, &http.Cookie{Name: name, Value: "old"})
		}
		set := codec.Cookies(k.Value, time.Minute, presented)
		if len(set) != len(k.Set) {
			t.Fatalf("chunk %d: %d cookies, theirs %d", i, len(set), len(k.Set))
		}
		for j, want := range k.Set {
			if got := set[j]; got.Name != want.Name || len(got.Value) != want.Length || (got.MaxAge < 0) != want.Cleared {
				t.Errorf("chunk %d, cookie %d: %s of %d, cleared %v; theirs %+v", i, j, got.Name, len(got.Value), got.MaxAge < 0, want)
			}
		}
	}
	for i, j := range v.Join {
		got, _, err := c.Read(cookiesInOrder(t, j.RequestCookies))
		if err != nil || got != j.Value {
			t.Errorf("join %d: %q, theirs %q: %v", i, got, j.Value, err)
		}
	}
	for kind, d := range v.Defaults {
		codec := session.CookieCodec{Dialect: dialect, Secure: kind == "secure"}
		want := d["sessionToken"]
		got := codec.Cookies("v", time.Minute, nil)[0]
		if got.Name != want.Name || got.HttpOnly != want.Options.HttpOnly || got.Secure != want.Options.Secure || got.Path != want.Options.Path || want.Options.SameSite != "lax" {
			t.Errorf("%s: %v, theirs %+v", kind, got, want)
		}
	}
}

// cookiesInOrder reads an object of cookies in the order in which it is written.
func cookiesInOrder(t *testing.T, raw json.RawMessage) []*http.Cookie {
	t.Helper()
	var out []*http.Cookie
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		value, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &http.Cookie{Name: name.(string), Value: value.(string)})
	}
	return out
}

type cookieOptions struct {
	enc   jose.ContentEncryption
	kid   string
	zip   bool
	extra map[jose.HeaderKey]any
}

// sealCookie makes a cookie as another program with the secret might.
func sealCookie(t testing.TB, c session.CookieCodec, secret identity.Secret, claims map[string]any, change func(*cookieOptions)) string {
	t.Helper()
	plain, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return sealCookiePlain(t, c, secret, plain, change)
}

func sealRaw(t testing.TB, c session.CookieCodec, secret identity.Secret, plain []byte) string {
	return sealCookiePlain(t, c, secret, plain, nil)
}

func sealCookiePlain(t testing.TB, c session.CookieCodec, secret identity.Secret, plain []byte, change func(*cookieOptions)) string {
	t.Helper()
	const unset = "the key's own"
	o := cookieOptions{enc: jose.A256CBC_HS512, kid: unset}
	salt := c.Name()
	if c.Dialect == session.V4 {
		o.enc, salt = jose.A256GCM, ""
	}
	if change != nil {
		change(&o)
	}
	key, kid, err := session.DeriveCookieKey(c.Dialect, o.enc, salt, secret)
	if err != nil {
		t.Fatal(err)
	}
	if o.kid == unset {
		o.kid = kid
	}
	options := &jose.EncrypterOptions{ExtraHeaders: o.extra}
	if o.zip {
		options.Compression = jose.DEFLATE
	}
	encrypter, err := jose.NewEncrypter(o.enc, jose.Recipient{Algorithm: jose.DIRECT, Key: key, KeyID: o.kid}, options)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := encrypter.Encrypt(plain)
	if err != nil {
		t.Fatal(err)
	}
	value, err := sealed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func kidOf(t testing.TB, c session.CookieCodec, secret identity.Secret) string {
	t.Helper()
	_, kid, err := session.DeriveCookieKey(c.Dialect, jose.A256CBC_HS512, c.Name(), secret)
	if err != nil {
		t.Fatal(err)
	}
	return kid
}

// Whatever comes along as a cookie, Decode answers claims or a refusal, and
// what it accepts it can encode and read again.
func FuzzDecode(f *testing.F) {
	secrets := []identity.Secret{cookieSecretNew, cookieSecretOld}
	for _, c := range cookieCodecs {
		value, err := c.Encode(secrets, map[string]any{"sub": "u", "n": 1.5, "x": nil}, cookieNoon, cookieNoon.Add(time.Minute))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
		f.Add(strings.Replace(value, "..", ".AA.", 1))
	}
	c := session.CookieCodec{Dialect: session.V5}
	f.Add(sealCookie(f, c, cookieSecretNew, map[string]any{"exp": cookieNoon.Unix() - 60}, nil))
	f.Add(sealCookie(f, c, cookieSecretNew, map[string]any{"exp": 1e300, "nbf": -1}, func(o *cookieOptions) { o.kid = "" }))
	f.Add(sealCookie(f, c, cookieSecretNew, map[string]any{"exp": cookieNoon.Unix() + 60}, func(o *cookieOptions) { o.zip = true }))
	f.Add("....")
	f.Add("eyJhbGciOiJub25lIn0..AA.AA.AA")
	f.Fuzz(func(t *testing.T, value string) {
		for _, c := range cookieCodecs {
			claims, err := c.Decode(secrets, value, cookieNoon)
			switch {
			case errors.Is(err, session.ErrCookie):
				if claims != nil {
					t.Fatal("claims beside a refusal")
				}
				continue
			case err != nil && !errors.Is(err, session.ErrCookieExpired):
				t.Fatalf("an error of another kind: %v", err)
			}
			again, err := c.Encode(secrets, claims, cookieNoon, cookieNoon.Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			back, err := c.Decode(secrets, again, cookieNoon)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"iat", "exp", "jti"} {
				delete(claims, name)
				delete(back, name)
			}
			if diff := cmp.Diff(claims, back); diff != "" {
				t.Fatalf("claims changed on the way (-was +is):\n%s", diff)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	claims := map[string]any{"sub": "usr_1", "sid": "ses_1", "skey": "k", "wid": "wks_1", "name": "Nadia Rahman", "email": "nadia@hope.example", "picture": nil}
	for _, c := range cookieCodecs[1:3] {
		b.Run(string(c.Dialect), func(b *testing.B) {
			secrets := []identity.Secret{cookieSecretNew, cookieSecretOld}
			value, err := c.Encode(secrets, claims, cookieNoon, cookieNoon.Add(time.Minute))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Decode(secrets, value, cookieNoon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	c := session.CookieCodec{Dialect: session.V5}
	claims := map[string]any{"sub": "usr_1", "sid": "ses_1", "skey": "k", "wid": "wks_1", "name": "Nadia Rahman", "email": "nadia@hope.example", "picture": nil}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Encode([]identity.Secret{cookieSecretNew}, claims, cookieNoon, cookieNoon.Add(time.Minute)); err != nil {
			b.Fatal(err)
		}
	}
}
