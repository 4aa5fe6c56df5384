package keyring_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
)

const origin = "auth.example/log/1"

var (
	noon  = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	cheap = keyring.Cost{MemoryKiB: 64, Time: 1, Threads: 1}
	costs = keyring.Costs{KeyPIN: cheap, Code: cheap}
)

// node is one server: its ring, and the keysets as the database has them.
type node struct {
	*keyring.Ring
	kek    *keyring.KEK
	stored []keyring.Wrapped
}

func newNode(t testing.TB) *node {
	t.Helper()
	kek := newKEK(t)
	stored, err := keyring.Create(kek, origin, noon)
	if err != nil {
		t.Fatal(err)
	}
	return openNode(t, kek, stored)
}

func openNode(t testing.TB, kek *keyring.KEK, stored []keyring.Wrapped, env ...identity.Secret) *node {
	t.Helper()
	ring, err := keyring.Open(kek, stored, keyring.Config{AuthSecrets: env, Costs: costs})
	if err != nil {
		t.Fatal(err)
	}
	return &node{ring, kek, slices.Clone(stored)}
}

// take stores changed keysets and takes them up.
func (n *node) take(t testing.TB, changed []keyring.Wrapped, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range changed {
		i := slices.IndexFunc(n.stored, func(s keyring.Wrapped) bool { return s.Name == w.Name })
		if w.Rev != n.stored[i].Rev+1 {
			t.Fatalf("%s goes from revision %d to %d", w.Name, n.stored[i].Rev, w.Rev)
		}
		n.stored[i] = w
	}
	if err := n.Reload(changed); err != nil {
		t.Fatal(err)
	}
}

func mustSeal(t testing.TB, r *keyring.Ring, plain string) []byte {
	t.Helper()
	sealed, err := r.Seal("user", "totp", "usr_1", []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func opens(r *keyring.Ring, sealed []byte) error {
	_, err := r.Open("user", "totp", "usr_1", sealed)
	return err
}

func TestOpenRefuses(t *testing.T) {
	n := newNode(t)
	open := func(kek *keyring.KEK, stored []keyring.Wrapped, config keyring.Config) error {
		_, err := keyring.Open(kek, stored, config)
		return err
	}
	if err := open(n.kek, n.stored, keyring.Config{}); err != nil {
		t.Fatalf("control: %v", err)
	}
	if err := open(newKEK(t), n.stored, keyring.Config{}); !errors.Is(err, keyring.ErrWrongKEK) {
		t.Errorf("another key: %v", err)
	}
	for i, w := range n.stored {
		if err := open(n.kek, slices.Delete(slices.Clone(n.stored), i, i+1), keyring.Config{}); !errors.Is(err, keyring.ErrNoKeyset) || !strings.Contains(err.Error(), w.Name) {
			t.Errorf("without %s: %v", w.Name, err)
		}
		damaged := slices.Clone(n.stored)
		damaged[i].Blob = bytes.Clone(w.Blob)
		damaged[i].Blob[len(w.Blob)/2] ^= 1
		if err := open(n.kek, damaged, keyring.Config{}); err == nil {
			t.Errorf("%s damaged: opened", w.Name)
		}
		moved := slices.Clone(n.stored)
		moved[i].Blob = n.stored[(i+1)%len(n.stored)].Blob
		if err := open(n.kek, moved, keyring.Config{}); err == nil {
			t.Errorf("%s with the blob of another name: opened", w.Name)
		}
	}
	if err := open(n.kek, append(n.stored, keyring.Wrapped{Name: "later", Rev: 1}), keyring.Config{}); err == nil {
		t.Error("a keyset of a later version: opened")
	}
	if err := open(n.kek, n.stored, keyring.Config{AuthSecrets: []identity.Secret{identity.Secret(strings.Repeat("x", 32)), identity.Secret(strings.Repeat("y", 31))}}); !errors.Is(err, keyring.ErrWeakAuthSecret) || strings.Contains(err.Error(), "yyy") {
		t.Errorf("a short AUTH_SECRET: %v", err)
	}
	if err := open(n.kek, n.stored, keyring.Config{Costs: keyring.Costs{Code: keyring.Cost{MemoryKiB: 1 << 21, Time: 1, Threads: 1}}}); !errors.Is(err, keyring.ErrCost) {
		t.Errorf("a cost of 2 GiB: %v", err)
	}
	for _, bad := range []string{"", "auth example/log/1", "auth+example"} {
		if _, err := keyring.Create(n.kek, bad, noon); err == nil {
			t.Errorf("a log of origin %q was made", bad)
		}
	}
}

func TestDefaultCosts(t *testing.T) {
	n := newNode(t)
	ring, err := keyring.Open(n.kek, n.stored, keyring.Config{})
	if err != nil {
		t.Fatal(err)
	}
	want := keyring.Costs{KeyPIN: keyring.Cost{MemoryKiB: 19456, Time: 2, Threads: 1}, Code: keyring.Cost{MemoryKiB: 65536, Time: 3, Threads: 1}}
	if ring.Costs() != want {
		t.Errorf("costs are %+v", ring.Costs())
	}
}

func TestSealIsBoundToItsPlace(t *testing.T) {
	n := newNode(t)
	sealed, err := n.Seal("user", "totp", "usr_1", []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := n.Open("user", "totp", "usr_1", sealed); err != nil || string(plain) != "plain" {
		t.Fatalf("control: %q, %v", plain, err)
	}
	if len(sealed) != len("plain")+33 || bytes.Contains(sealed, []byte("plain")) {
		t.Errorf("sealed to %d bytes", len(sealed))
	}
	for _, place := range [][3]string{
		{"user", "totp", "usr_2"}, {"user", "phone", "usr_1"}, {"device", "totp", "usr_1"},
		{"usert", "otp", "usr_1"}, {"user", "totpusr_1", ""}, {"", "usertotp", "usr_1"}, {"user\x04totp", "", "usr_1"},
	} {
		if _, err := n.Open(place[0], place[1], place[2], sealed); !errors.Is(err, keyring.ErrSealed) {
			t.Errorf("opened at %q: %v", place, err)
		}
	}
	for i := range sealed {
		altered := bytes.Clone(sealed)
		altered[i] ^= 1
		if err := opens(n.Ring, altered); !errors.Is(err, keyring.ErrSealed) && !errors.Is(err, keyring.ErrUnknownKey) {
			t.Fatalf("byte %d altered: %v", i, err)
		}
	}
	for _, short := range [][]byte{nil, {}, {1}, sealed[:5], sealed[:32]} {
		if err := opens(n.Ring, short); err == nil || n.SealedByPrimary(short) && len(short) < 5 {
			t.Errorf("%d bytes opened", len(short))
		}
	}
	again, err := n.Seal("user", "totp", "usr_1", []byte("plain"))
	if err != nil || bytes.Equal(sealed, again) {
		t.Errorf("the same text sealed twice is the same: %v", err)
	}
	if empty, err := n.Seal("user", "totp", "usr_1", nil); err != nil || opens(n.Ring, empty) != nil {
		t.Errorf("nothing, sealed: %v", err)
	}
}

func TestTag(t *testing.T) {
	n := newNode(t)
	tag := n.Tag("csrf", "a", "bc")
	if raw, err := base64.RawURLEncoding.DecodeString(tag); err != nil || len(raw) != 5+32 || len(tag) != 50 {
		t.Errorf("a tag of %d characters: %v", len(tag), err)
	}
	if tag != n.Tag("csrf", "a", "bc") || !n.Verify("csrf", tag, "a", "bc") {
		t.Fatal("control: the tag does not verify")
	}
	for _, tt := range []struct {
		purpose string
		parts   []string
	}{
		{"csrf", []string{"ab", "c"}}, {"csrf", []string{"a", "bc", ""}}, {"csrf", []string{"abc"}}, {"csrf", []string{"", "a", "bc"}},
		{"csrf", []string{"bc", "a"}}, {"state", []string{"a", "bc"}}, {"csr", []string{"fa", "bc"}}, {"csrf\x01a", []string{"bc"}}, {"", []string{"csrf", "a", "bc"}}, {"csrf", nil},
	} {
		if n.Verify(tt.purpose, tag, tt.parts...) {
			t.Errorf("verifies for %q, %q", tt.purpose, tt.parts)
		}
	}
	for _, bad := range []string{"", "A", tag[:49], tag + "A", tag + "=", strings.ToUpper(tag), "!" + tag[1:]} {
		if n.Verify("csrf", bad, "a", "bc") {
			t.Errorf("%q verifies", bad)
		}
	}
	if newNode(t).Verify("csrf", tag, "a", "bc") {
		t.Error("another installation's ring verifies it")
	}
}

// No two lists of texts share a tag.
func TestTagEncodingIsUnambiguous(t *testing.T) {
	n := newNode(t)
	texts := rapid.SliceOfN(rapid.StringOfN(rapid.SampledFrom([]rune("ab\x00\x01\x02")), 0, 4, -1), 1, 4)
	rapid.Check(t, func(t *rapid.T) {
		one, two := texts.Draw(t, "one"), texts.Draw(t, "two")
		tag := n.Tag(one[0], one[1:]...)
		if n.Verify(two[0], tag, two[1:]...) != slices.Equal(one, two) {
			t.Fatalf("%q and %q", one, two)
		}
	})
}

func TestAuthSecrets(t *testing.T) {
	n := newNode(t)
	made := n.AuthSecrets()
	if len(made) != 1 || len(made[0].Reveal()) < keyring.MinAuthSecret || n.AuthSecretFromEnvironment() {
		t.Fatalf("made %d secrets", len(made))
	}
	env := []identity.Secret{identity.Secret(strings.Repeat("n", 32)), identity.Secret(strings.Repeat("o", 40))}
	given := openNode(t, n.kek, n.stored, env...)
	if got := given.AuthSecrets(); !slices.Equal(got, env) || !given.AuthSecretFromEnvironment() {
		t.Error("the environment's secrets are not the ones used")
	}
	for _, err := range []error{
		second(given.Announce(n.kek, keyring.AuthSecret, noon)), second(given.Rotate(n.kek, keyring.AuthSecret, true, noon)), second(given.Finish(n.kek, keyring.AuthSecret)),
	} {
		if !errors.Is(err, keyring.ErrAuthSecretOutside) {
			t.Errorf("rotating what the operator keeps: %v", err)
		}
	}
}

func second(_ []keyring.Wrapped, err error) error { return err }

// The database and a backup hold the wrapped keysets: nothing in them is a key.
func TestF04StolenDatabaseHoldsNoKeys(t *testing.T) {
	n := newNode(t)
	stolen := bytes.Join(func() (all [][]byte) {
		for _, w := range n.stored {
			all = append(all, w.Blob)
		}
		return all
	}(), nil)
	for _, mark := range []string{n.AuthSecrets()[0].Reveal(), "PRIVATE+KEY", "pkcs8", origin} {
		if bytes.Contains(stolen, []byte(mark)) {
			t.Errorf("the wrapped keysets hold %.12q in clear", mark)
		}
	}
	if _, err := keyring.Open(newKEK(t), n.stored, keyring.Config{}); !errors.Is(err, keyring.ErrWrongKEK) {
		t.Errorf("without the key-encryption key: %v", err)
	}
	letter, err := keyring.ParseLetter(n.kek.Letter())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Open(letter, n.stored, keyring.Config{}); err != nil {
		t.Errorf("control, with the recovery letter: %v", err)
	}
}

// Whoever holds AUTH_SECRET holds nothing of the keyring, and changing it
// leaves all other sealed things as they are.
func TestF34AuthSecretOpensNothingElse(t *testing.T) {
	n := newNode(t)
	secret := identity.Secret(strings.Repeat("s", 32))
	before := openNode(t, n.kek, n.stored, secret)
	tag := before.Tag("csrf", "token")
	sealed := mustSeal(t, before.Ring, "text")

	forged := hmac.New(sha256.New, []byte(secret.Reveal()))
	forged.Write([]byte("\x04csrf\x05token"))
	raw, err := base64.RawURLEncoding.DecodeString(tag)
	if err != nil {
		t.Fatal(err)
	}
	if before.Verify("csrf", base64.RawURLEncoding.EncodeToString(forged.Sum(raw[:5:5])), "token") {
		t.Error("a tag made with AUTH_SECRET verifies")
	}
	after := openNode(t, n.kek, n.stored, identity.Secret(strings.Repeat("z", 32)))
	if !after.Verify("csrf", tag, "token") || opens(after.Ring, sealed) != nil {
		t.Error("another AUTH_SECRET, and what Mitral sealed no longer opens")
	}
}

// A change is seen only once its COMMIT is known, and then whole.
func TestF41NothingChangesBeforeReload(t *testing.T) {
	n := newNode(t)
	sealed, secret, key := mustSeal(t, n.Ring, "text"), n.AuthSecrets()[0], n.LogVerifierKey()
	var changed []keyring.Wrapped
	for _, what := range []string{keyring.Encryption, keyring.AuthSecret, keyring.Signing} {
		w, err := n.Rotate(n.kek, what, true, noon)
		if err != nil {
			t.Fatal(err)
		}
		changed = append(changed, w...)
	}
	w, err := n.RotateLog(n.kek, "auth.example/log/2", noon)
	if err != nil {
		t.Fatal(err)
	}
	changed = append(changed, w...)
	if len(changed) != len(keyring.Names()) {
		t.Fatalf("%d keysets changed", len(changed))
	}

	next, err := n.With(changed)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range []*keyring.Ring{n.Ring, next} {
		old := i == 0
		if r.SealedByPrimary(sealed) != old || (r.AuthSecrets()[0] == secret) != old || (r.LogVerifierKey() == key) != old || (r.Rev(keyring.DataKeys) == 1) != old {
			t.Errorf("ring %d is not what it should be", i)
		}
	}

	damaged := slices.Clone(changed)
	damaged[len(damaged)-1].Blob = []byte("damaged")
	if err := n.Reload(damaged); !errors.Is(err, keyring.ErrWrongKEK) || !n.SealedByPrimary(sealed) {
		t.Errorf("a reload that failed changed the ring: %v", err)
	}
	if err := n.Reload(changed); err != nil || n.SealedByPrimary(sealed) {
		t.Errorf("the reload that succeeds: %v", err)
	}
	if err := n.Reload(n.stored); err != nil || n.SealedByPrimary(sealed) || n.Rev(keyring.DataKeys) != 2 {
		t.Errorf("older keysets were taken up: %v", err)
	}
}

func TestRotateRefuses(t *testing.T) {
	n := newNode(t)
	for _, what := range []string{"", "users", "log", "data", "auth_secret"} {
		if err := errors.Join(second(n.Announce(n.kek, what, noon)), second(n.Rotate(n.kek, what, false, noon)), second(n.Finish(n.kek, what))); err == nil || strings.Count(err.Error(), keyring.ErrNotRotatable.Error()) != 3 {
			t.Errorf("%q: %v", what, err)
		}
	}
	other := newKEK(t)
	for _, what := range []string{keyring.Signing, keyring.Encryption, keyring.AuthSecret} {
		for _, err := range []error{second(n.Announce(other, what, noon)), second(n.Rotate(other, what, true, noon)), second(n.Finish(other, what)), second(n.RotateLog(other, origin, noon))} {
			if !errors.Is(err, keyring.ErrWrongKEK) {
				t.Errorf("%s under another key-encryption key: %v", what, err)
			}
		}
	}
}

func TestRotateEncryption(t *testing.T) {
	n := newNode(t)
	first, tag := mustSeal(t, n.Ring, "first"), n.Tag("csrf", "x")

	changed, err := n.Rotate(n.kek, keyring.Encryption, false, noon)
	n.take(t, changed, err)
	if opens(n.Ring, first) != nil || n.SealedByPrimary(first) || !n.Verify("csrf", tag, "x") {
		t.Error("after a rotation the old no longer opens")
	}
	resealed := mustSeal(t, n.Ring, "first")
	if !n.SealedByPrimary(resealed) || n.Tag("csrf", "x") == tag {
		t.Error("the new key is not used")
	}
	changed, err = n.Finish(n.kek, keyring.Encryption)
	n.take(t, changed, err)
	if err := opens(n.Ring, first); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("what was not sealed again: %v", err)
	}
	if opens(n.Ring, resealed) != nil || !n.Verify("csrf", tag, "x") {
		t.Error("what was sealed again, or a tag of the key before, is lost")
	}
	for range 2 {
		changed, err = n.Rotate(n.kek, keyring.Encryption, false, noon)
		n.take(t, changed, err)
		changed, err = n.Finish(n.kek, keyring.Encryption)
		n.take(t, changed, err)
	}
	if n.Verify("csrf", tag, "x") {
		t.Error("a tag of two keys ago verifies")
	}
	if opens(openNode(t, n.kek, n.stored).Ring, mustSeal(t, n.Ring, "later")) != nil {
		t.Error("a node that starts now does not open what this one seals")
	}
}

func TestRotateEncryptionInAnEmergency(t *testing.T) {
	n := newNode(t)
	sealed, tag := mustSeal(t, n.Ring, "x"), n.Tag("csrf", "x")
	changed, err := n.Rotate(n.kek, keyring.Encryption, true, noon)
	n.take(t, changed, err)
	if n.Verify("csrf", tag, "x") {
		t.Error("a tag of the leaked key verifies")
	}
	if opens(n.Ring, sealed) != nil || n.SealedByPrimary(sealed) || !n.Verify("csrf", n.Tag("csrf", "x"), "x") {
		t.Error("stored data cannot be sealed again")
	}
	changed, err = n.Finish(n.kek, keyring.Encryption)
	n.take(t, changed, err)
	if err := opens(n.Ring, sealed); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("the leaked key opens: %v", err)
	}
}

// Two nodes, one of which learns of everything a step later: with Announce
// neither meets a key it does not know; without, it can tell.
func TestRotationAcrossNodes(t *testing.T) {
	for _, emergency := range []bool{false, true} {
		a := newNode(t)
		b := openNode(t, a.kek, a.stored)
		changed, err := a.Announce(a.kek, keyring.Encryption, noon)
		a.take(t, changed, err)
		if sealed := mustSeal(t, a.Ring, "x"); opens(b.Ring, sealed) != nil || !b.Verify("p", a.Tag("p", "x"), "x") {
			t.Error("an announced key was used")
		}
		b.take(t, changed, nil)
		before := mustSeal(t, b.Ring, "x")
		changed, err = a.Rotate(a.kek, keyring.Encryption, emergency, noon)
		a.take(t, changed, err)
		if opens(a.Ring, before) != nil || opens(b.Ring, mustSeal(t, a.Ring, "x")) != nil || !b.Verify("p", a.Tag("p", "x"), "x") {
			t.Errorf("emergency %v: a node that lags behind does not know the new key", emergency)
		}

		changed, err = a.Announce(a.kek, keyring.AuthSecret, noon)
		a.take(t, changed, err)
		old := a.AuthSecrets()
		b.take(t, changed, nil)
		changed, err = a.Rotate(a.kek, keyring.AuthSecret, emergency, noon)
		a.take(t, changed, err)
		if now := a.AuthSecrets(); len(old) != 2 || now[0] != old[1] || !slices.Contains(b.AuthSecrets(), now[0]) || slices.Contains(now, old[0]) == emergency {
			t.Errorf("emergency %v: the announced secret is not the one that is used", emergency)
		}
	}

	a := newNode(t)
	b := openNode(t, a.kek, a.stored)
	changed, err := a.Rotate(a.kek, keyring.Encryption, false, noon)
	a.take(t, changed, err)
	if err := opens(b.Ring, mustSeal(t, a.Ring, "x")); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("unannounced: %v", err)
	}
}

// What was announced before is not what an emergency uses.
func TestAnnounceReplacesAnEarlierAnnouncement(t *testing.T) {
	n := newNode(t)
	changed, err := n.Announce(n.kek, keyring.Encryption, noon)
	n.take(t, changed, err)
	leaked := openNode(t, n.kek, n.stored)
	promoted, err := leaked.Rotate(n.kek, keyring.Encryption, false, noon)
	leaked.take(t, promoted, err)
	stolen := mustSeal(t, leaked.Ring, "x")

	changed, err = n.Announce(n.kek, keyring.AuthSecret, noon)
	n.take(t, changed, err)
	secret := n.AuthSecrets()[1]
	for _, what := range []string{keyring.Encryption, keyring.AuthSecret} {
		changed, err = n.Announce(n.kek, what, noon)
		n.take(t, changed, err)
		changed, err = n.Rotate(n.kek, what, true, noon)
		n.take(t, changed, err)
	}
	if err := opens(n.Ring, stolen); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("an announced key that had leaked: %v", err)
	}
	if slices.Contains(n.AuthSecrets(), secret) || len(n.AuthSecrets()) != 1 {
		t.Error("an announced secret that had leaked is in use")
	}
}

func TestRotateAuthSecret(t *testing.T) {
	n := newNode(t)
	var seen []identity.Secret
	for range 4 {
		seen = append(seen, n.AuthSecrets()[0])
		changed, err := n.Rotate(n.kek, keyring.AuthSecret, false, noon)
		n.take(t, changed, err)
	}
	got := n.AuthSecrets()
	if len(got) != 3 || got[1] != seen[3] || got[2] != seen[2] || slices.Contains(seen, got[0]) {
		t.Errorf("after four rotations there are %d secrets", len(got))
	}
	changed, err := n.Finish(n.kek, keyring.AuthSecret)
	n.take(t, changed, err)
	if left := n.AuthSecrets(); len(left) != 1 || left[0] != got[0] {
		t.Error("finishing leaves more than the newest")
	}
	changed, err = n.Rotate(n.kek, keyring.AuthSecret, true, noon)
	n.take(t, changed, err)
	if left := n.AuthSecrets(); len(left) != 1 || left[0] == got[0] {
		t.Error("in an emergency the old secret stays")
	}
}

// Readers never see a ring between two states.
func TestRingIsSafeToShare(t *testing.T) {
	n := newNode(t)
	sealed := mustSeal(t, n.Ring, "x")
	tag := n.Tag("p", "x")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				token, err := n.SignToken(map[string]any{"sub": "u"}, noon)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := n.VerifyToken(token, noon); err != nil || opens(n.Ring, sealed) != nil || !n.Verify("p", tag, "x") || len(n.AuthSecrets()) == 0 {
					t.Errorf("a reader was disturbed: %v", err)
					return
				}
			}
		})
	}
	for range 5 {
		for _, what := range []string{keyring.Encryption, keyring.Signing, keyring.AuthSecret} {
			changed, err := n.Rotate(n.kek, what, false, noon)
			n.take(t, changed, err)
		}
	}
	close(done)
	wg.Wait()
}

func BenchmarkSeal(b *testing.B) {
	n := newNode(b)
	plain := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Seal("user", "totp", "usr_1", plain); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	n := newNode(b)
	sealed := mustSeal(b, n.Ring, strings.Repeat("x", 32))
	b.ReportAllocs()
	for b.Loop() {
		if err := opens(n.Ring, sealed); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTag(b *testing.B) {
	n := newNode(b)
	b.ReportAllocs()
	for b.Loop() {
		if n.Tag("session", "skey", "1795315834") == "" {
			b.Fatal("no tag")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	n := newNode(b)
	tag := n.Tag("session", "skey", "1795315834")
	b.ReportAllocs()
	for b.Loop() {
		if !n.Verify("session", tag, "skey", "1795315834") {
			b.Fatal("does not verify")
		}
	}
}
