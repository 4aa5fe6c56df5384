package keyring_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
)

const pin = identity.Secret("4821")

func TestHash(t *testing.T) {
	phc, err := keyring.Hash(cheap, pin, []byte("somesalt"))
	if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$") || len(phc) != len("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$")+43 {
		t.Fatalf("%s: %v", phc, err)
	}
	if ok, cost, err := keyring.CheckHash(phc, pin); err != nil || !ok || cost != cheap {
		t.Errorf("the right secret: %v, %+v, %v", ok, cost, err)
	}
	for _, wrong := range []identity.Secret{"4822", "482", "48210", ""} {
		if ok, _, err := keyring.CheckHash(phc, wrong); err != nil || ok {
			t.Errorf("a wrong secret: %v, %v", ok, err)
		}
	}
	other, err := keyring.Hash(cheap, pin, []byte("othersalt"))
	if err != nil || other == phc {
		t.Errorf("another salt, the same hash: %v", err)
	}
}

func TestHashBounds(t *testing.T) {
	salt := []byte("somesalt")
	for _, cost := range []keyring.Cost{
		{}, {64, 1, 0}, {64, 0, 1}, {7, 1, 1}, {15, 1, 2}, {64, 21, 1}, {1<<20 + 1, 1, 1}, {1 << 31, 1, 1}, {1024, 1, 17},
	} {
		if _, err := keyring.Hash(cost, pin, salt); !errors.Is(err, keyring.ErrCost) {
			t.Errorf("%+v: %v", cost, err)
		}
		if _, err := keyring.NewSet(cost); !errors.Is(err, keyring.ErrCost) {
			t.Errorf("a set of %+v: %v", cost, err)
		}
		if _, err := keyring.SetHash(cost, salt, pin); !errors.Is(err, keyring.ErrCost) {
			t.Errorf("a hash at %+v: %v", cost, err)
		}
		keyring.Dummy(cost, pin) // must not panic
	}
	for _, bad := range [][]byte{nil, make([]byte, 7), make([]byte, 65)} {
		if _, err := keyring.Hash(cheap, pin, bad); !errors.Is(err, keyring.ErrPHC) {
			t.Errorf("a salt of %d bytes: %v", len(bad), err)
		}
	}
	if _, err := (keyring.Set{}).Hash(pin); !errors.Is(err, keyring.ErrCost) {
		t.Errorf("the zero set: %v", err)
	}
}

func TestPHCRefuses(t *testing.T) {
	good, err := keyring.Hash(cheap, pin, []byte("somesalt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"argon2id", "argon2i"}, {"argon2id", "argon2d"}, {"v=19", "v=16"}, {"$v=19", ""}, {"m=64", "m=064"}, {"m=64", "m=+64"}, {"m=64", "m=-1"}, {"m=64", "m="}, {"m=64", "k=64"},
		{"m=64", "m=7"}, {"m=64", "m=1048577"}, {"m=64", "m=4294967296"}, {"t=1", "t=0"}, {"t=1", "t=21"}, {"p=1", "p=0"}, {"p=1", "p=17"}, {"p=1", "p=257"}, {",p=1", ""}, {"t=1,p=1", "p=1,t=1"},
		{"p=1", "p=1,keyid=1"}, {"c29tZXNhbHQ", ""}, {"c29tZXNhbHQ", "c29tZQ"}, {"c29tZXNhbHQ", "c29tZXNhbHQ="}, {"c29tZXNhbHQ", "c29tZXNhbHR"}, {"c29tZXNhbHQ", "!"},
		{"c29tZXNhbHQ", strings.Repeat("A", 88)}, {"$argon2id", "argon2id"}, {"$c29tZXNhbHQ$", "$c29tZXNhbHQ$AAAA$"}, {"$c29tZXNhbHQ$", "$c29tZXNhbHQ"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Fatalf("%q is not in %s", change[0], good)
		}
		if ok, _, err := keyring.CheckHash(bad, pin); ok || !errors.Is(err, keyring.ErrPHC) && !errors.Is(err, keyring.ErrCost) {
			t.Errorf("%s for %s: %v, %v", change[1], change[0], ok, err)
		}
	}
	front := good[:strings.LastIndex(good, "$")]
	for _, bad := range []string{"", "$", front, front + "$", front + "$" + strings.Repeat("A", 20), front + "$" + strings.Repeat("A", 87), good + "\n", good + "="} {
		if ok, _, err := keyring.CheckHash(bad, pin); ok || !errors.Is(err, keyring.ErrPHC) {
			t.Errorf("%q: %v, %v", bad, ok, err)
		}
	}
}

func TestVerifier(t *testing.T) {
	n := newNode(t)
	sealed, err := n.NewVerifier(cheap, "user", "pin", "usr_1", pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(cost keyring.Cost, row string, secret identity.Secret) (keyring.Match, error) {
		return n.CheckVerifier(cost, sealed, "user", "pin", row, secret)
	}
	if m, err := check(cheap, "usr_1", pin); err != nil || m != (keyring.Match{OK: true}) {
		t.Errorf("right: %+v, %v", m, err)
	}
	if m, err := check(cheap, "usr_1", "0000"); err != nil || m.OK {
		t.Errorf("wrong: %+v, %v", m, err)
	}
	if _, err := check(cheap, "usr_2", pin); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("moved to another row: %v", err)
	}
	if _, err := n.CheckVerifier(cheap, sealed, "user", "key", "usr_1", pin); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("moved to another column: %v", err)
	}
	for _, dearer := range []keyring.Cost{{128, 1, 1}, {64, 2, 1}} {
		if m, err := check(dearer, "usr_1", pin); err != nil || m != (keyring.Match{OK: true, Stale: true}) {
			t.Errorf("when it should cost %+v: %+v, %v", dearer, m, err)
		}
	}
	again, err := n.NewVerifier(cheap, "user", "pin", "usr_1", pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := n.Open("user", "pin", "usr_1", sealed)
	two, _ := n.Open("user", "pin", "usr_1", again)
	if bytes.Equal(one, two) || !bytes.HasPrefix(one, []byte("$argon2id$v=19$m=64,t=1,p=1$")) {
		t.Error("two verifiers share a salt, or hold no PHC string")
	}
	// The hash itself is the row's: not even inside the seal do two people with
	// one PIN and one salt have one.
	salt := []byte("0123456789abcdef")
	a, err := n.NewVerifier(cheap, "user", "pin", "usr_1", pin, salt)
	if err != nil {
		t.Fatal(err)
	}
	b, err := n.NewVerifier(cheap, "user", "pin", "usr_2", pin, salt)
	if err != nil {
		t.Fatal(err)
	}
	one, _ = n.Open("user", "pin", "usr_1", a)
	two, _ = n.Open("user", "pin", "usr_2", b)
	if len(one) == 0 || len(one) != len(two) || bytes.Equal(one, two) {
		t.Error("two rows share a hash")
	}
	stranger, err := n.Seal("user", "pin", "usr_1", []byte("4821"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.CheckVerifier(cheap, stranger, "user", "pin", "usr_1", pin); !errors.Is(err, keyring.ErrPHC) {
		t.Errorf("a column that holds no hash: %v", err)
	}
	if _, err := n.NewVerifier(keyring.Cost{}, "user", "pin", "usr_1", pin, nil); !errors.Is(err, keyring.ErrCost) {
		t.Errorf("no cost: %v", err)
	}
}

// The pepper rotates without anyone choosing a new PIN: sealing again needs no
// secret, and afterwards the old pepper opens nothing.
func TestF28PepperRotatesWithoutPeople(t *testing.T) {
	n := newNode(t)
	sealed, err := n.NewVerifier(cheap, "user", "pin", "usr_1", pin, nil)
	if err != nil {
		t.Fatal(err)
	}
	stolen := openNode(t, n.kek, n.stored)
	changed, err := n.Rotate(n.kek, keyring.Encryption, true, noon)
	n.take(t, changed, err)
	if m, err := n.CheckVerifier(cheap, sealed, "user", "pin", "usr_1", pin); err != nil || m != (keyring.Match{OK: true, Stale: true}) {
		t.Fatalf("between rotation and re-sealing: %+v, %v", m, err)
	}

	plain, err := n.Open("user", "pin", "usr_1", sealed)
	if err != nil {
		t.Fatal(err)
	}
	resealed, err := n.Seal("user", "pin", "usr_1", plain)
	if err != nil {
		t.Fatal(err)
	}
	changed, err = n.Finish(n.kek, keyring.Encryption)
	n.take(t, changed, err)

	if m, err := n.CheckVerifier(cheap, resealed, "user", "pin", "usr_1", pin); err != nil || m != (keyring.Match{OK: true}) {
		t.Errorf("the unchanged PIN: %+v, %v", m, err)
	}
	if m, err := n.CheckVerifier(cheap, resealed, "user", "pin", "usr_1", "0000"); err != nil || m.OK {
		t.Errorf("another PIN: %+v, %v", m, err)
	}
	if _, err := stolen.CheckVerifier(cheap, resealed, "user", "pin", "usr_1", pin); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("the old pepper opens the new row: %v", err)
	}
	if _, err := n.CheckVerifier(cheap, sealed, "user", "pin", "usr_1", pin); !errors.Is(err, keyring.ErrUnknownKey) {
		t.Errorf("the new pepper opens the old row: %v", err)
	}
}

// One hash answers for all codes of a set.
func TestSet(t *testing.T) {
	n := newNode(t)
	made, err := keyring.NewSet(cheap)
	if err != nil {
		t.Fatal(err)
	}
	codes := []identity.Secret{"7K2Q9M4XTZ", "0000000000", "ZZZZZZZZZZ"}
	var stored [][]byte
	for i, code := range codes {
		digest, err := made.Hash(code)
		if err != nil || len(digest) != 32 {
			t.Fatalf("%d bytes: %v", len(digest), err)
		}
		sealed, err := n.SealDigest("code", "digest", string(rune('a'+i)), digest)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, sealed)
	}
	set, err := keyring.ParseSet(made.String())
	if err != nil || set.Cost() != cheap {
		t.Fatalf("%s: %v", made, err)
	}
	for i, typed := range append(codes, "7K2Q9M4XTA") {
		digest, err := set.Hash(typed)
		if err != nil {
			t.Fatal(err)
		}
		for j, sealed := range stored {
			m, err := n.MatchDigest(digest, sealed, "code", "digest", string(rune('a'+j)))
			if err != nil || m.OK != (i == j) || m.Stale {
				t.Errorf("code %d against %d: %+v, %v", i, j, m, err)
			}
		}
	}
	digest, err := set.Hash(codes[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.MatchDigest(digest, stored[0], "code", "digest", "b"); !errors.Is(err, keyring.ErrSealed) {
		t.Errorf("a digest moved to another code's row: %v", err)
	}
	empty, err := n.SealDigest("code", "digest", "a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := n.MatchDigest(nil, empty, "code", "digest", "a"); err != nil || m.OK {
		t.Errorf("nothing matches nothing: %+v, %v", m, err)
	}
	changed, err := n.Rotate(n.kek, keyring.Encryption, false, noon)
	n.take(t, changed, err)
	if m, err := n.MatchDigest(digest, stored[0], "code", "digest", "a"); err != nil || m != (keyring.Match{OK: true, Stale: true}) {
		t.Errorf("after a rotation: %+v, %v", m, err)
	}
	whole, err := keyring.Hash(cheap, pin, []byte("somesalt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", whole, made.String() + "$", strings.Replace(made.String(), "m=64", "m=2097152", 1)} {
		if _, err := keyring.ParseSet(bad); err == nil {
			t.Errorf("%q is a set", bad)
		}
	}
	if other, err := keyring.NewSet(cheap); err != nil || other.String() == made.String() {
		t.Errorf("two sets share a salt: %v", err)
	}
}

// Whatever a stored hash says, it is read within bounds and never panics. The
// bounds alone would let a hash take seconds, so long ones are not computed.
func FuzzParseSet(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ")
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$")
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAA")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$c29tZXNhbHQ")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := keyring.ParseSet(text)
		if err != nil {
			return
		}
		if set.String() != text {
			t.Fatalf("%q reads as %q", text, set)
		}
		if cost := set.Cost(); cost.MemoryKiB <= 1024 && cost.Time <= 2 {
			if _, err := set.Hash(pin); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func BenchmarkKeyPIN(b *testing.B) {
	for b.Loop() {
		if _, err := keyring.SetHash(keyring.KeyPINCost, []byte("0123456789abcdef"), pin); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDummy(b *testing.B) {
	for b.Loop() {
		keyring.Dummy(keyring.KeyPINCost, pin)
	}
}
