package audit_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
)

const origin = "clinic.example/log/1"

func newKey(t testing.TB) (note.Signer, string) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, public
}

// The text is C2SP tlog-checkpoint's: origin, size, root, a line each.
func TestCheckpointIsWrittenAndRead(t *testing.T) {
	signer, key := newKey(t)
	c := audit.Checkpoint{Origin: origin, Size: 20852163, Root: tlog.Hash{1, 2, 3}}
	if want := origin + "\n20852163\nAQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"; c.Text() != want {
		t.Errorf("%q", c.Text())
	}
	signed, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := audit.OpenCheckpoint(signed, key)
	if err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	_, other := newKey(t)
	for name, open := range map[string]func() (audit.Checkpoint, error){
		"another key": func() (audit.Checkpoint, error) { return audit.OpenCheckpoint(signed, other) },
		"no key":      func() (audit.Checkpoint, error) { return audit.OpenCheckpoint(signed) },
		"altered": func() (audit.Checkpoint, error) {
			return audit.OpenCheckpoint(strings.Replace(signed, "2085", "2086", 1), key)
		},
		"bad key": func() (audit.Checkpoint, error) { return audit.OpenCheckpoint(signed, "key") },
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestParseCheckpointRefuses(t *testing.T) {
	root := strings.Repeat("A", 43) + "="
	if _, err := audit.ParseCheckpoint("o\n1\n" + root + "\n"); err != nil {
		t.Fatalf("the control: %v", err)
	}
	for name, text := range map[string]string{
		"empty": "", "no origin": "\n1\n" + root + "\n", "two lines": "o\n1\n", "no last line end": "o\n1\n" + root, "leading zero": "o\n01\n" + root + "\n",
		"plus": "o\n+1\n" + root + "\n", "negative": "o\n-1\n" + root + "\n", "no size": "o\nx\n" + root + "\n", "short root": "o\n1\nAAAA\n", "no base64": "o\n1\n" + strings.Repeat("?", 44) + "\n",
		"another base64": "o\n1\n" + strings.Repeat("A", 42) + "B=\n", "carriage return": "o\n1\n" + root + "\r\n", "beyond numbers": "o\n99999999999999999999\n" + root + "\n",
	} {
		if c, err := audit.ParseCheckpoint(text); !errors.Is(err, audit.ErrCheckpoint) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func FuzzParseCheckpoint(f *testing.F) {
	f.Add("o\n1\n" + strings.Repeat("A", 43) + "=\n")
	f.Add("o\n0\n" + strings.Repeat("A", 43) + "=\nan extension\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := audit.ParseCheckpoint(text)
		if err != nil {
			return
		}
		if !strings.HasPrefix(text, c.Text()) {
			t.Fatalf("%q became %q", text, c.Text())
		}
		if again, err := audit.ParseCheckpoint(c.Text()); err != nil || again != c {
			t.Fatalf("%+v, %v", again, err)
		}
	})
}

// A note is found in whatever surrounds it, and what is found is in the text.
func FuzzFindCheckpoint(f *testing.F) {
	signer, key := newKey(f)
	c := audit.Checkpoint{Origin: origin, Size: 7}
	signed, err := c.Sign(signer)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Subject: EMERGENCY ACCESS\n\nRef BG-0042\n\n", "\nThis mail was sent by a machine.\n", false)
	f.Add("a\n1\n", "", true)
	f.Add(signed[:40], "— x y\n", false)
	f.Fuzz(func(t *testing.T, before, after string, crlf bool) {
		if found, ok := audit.FindCheckpoint(before); ok {
			body, _, _ := strings.Cut(found, "\n\n")
			if _, err := audit.ParseCheckpoint(body + "\n"); err != nil || !strings.Contains(strings.ReplaceAll(before, "\r\n", "\n")+"\n", found) {
				t.Fatalf("found %q in %q: %v", found, before, err)
			}
			return // that one comes first
		}
		text := before + "\n" + signed + "\n" + after
		if crlf {
			text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
		}
		found, ok := audit.FindCheckpoint(text)
		if !ok {
			t.Fatalf("not found in %q", text)
		}
		got, err := audit.OpenCheckpoint(found, key)
		if err != nil || got != c {
			if lead, _ := audit.FindCheckpoint(before + "\n" + signed[:1]); lead == "" && strings.HasPrefix(found, origin) {
				t.Fatalf("found %q: %v", found, err)
			}
		}
	})
}

// published is one case of the RFC 6962 proofs of transparency-dev/merkle.
type published struct {
	LeafIdx, TreeSize, Size1, Size2 uint64
	Root, LeafHash, Root1, Root2    []byte
	Proof                           [][]byte
	WantErr                         bool
}

// size keeps sizes that no log has from wrapping around.
func size(n uint64) int64 {
	if n > math.MaxInt64 {
		return -1
	}
	return int64(n)
}

// The proofs that verify and the sequencer rely on are RFC 6962's.
func TestPublishedProofs(t *testing.T) {
	dir := os.Getenv("MITRAL_VECTORS")
	if dir == "" {
		t.Skip("MITRAL_VECTORS is not set: vectors not run")
	}
	good, bad := 0, 0
	check := func(path string, p published, verify func(proof []tlog.Hash, hashes ...tlog.Hash) error, hashes ...[]byte) {
		t.Helper()
		var all, proof []tlog.Hash
		ok := true
		for i, bytes := range append(hashes, p.Proof...) {
			h := tlog.RecordHash(bytes) // some cases have other bytes where a hash belongs
			ok = ok && len(bytes) > 0
			if len(bytes) == tlog.HashSize {
				h = tlog.Hash(bytes)
			}
			if i < len(hashes) {
				all = append(all, h)
			} else {
				proof = append(proof, h)
			}
		}
		ok = ok && verify(proof, all...) == nil
		if ok == p.WantErr {
			t.Errorf("%s: accepted %v", path, ok)
		}
		if ok {
			good++
		} else {
			bad++
		}
	}
	for _, kind := range []string{"inclusion", "consistency"} {
		err := filepath.WalkDir(filepath.Join(dir, "merkle", "testdata", kind), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var p published
			if err := json.Unmarshal(text, &p); err != nil {
				return err
			}
			if kind == "inclusion" {
				check(path, p, func(proof []tlog.Hash, h ...tlog.Hash) error {
					return tlog.CheckRecord(proof, size(p.TreeSize), h[0], size(p.LeafIdx), h[1])
				}, p.Root, p.LeafHash)
				return nil
			}
			check(path, p, func(proof []tlog.Hash, h ...tlog.Hash) error {
				return tlog.CheckTree(proof, size(p.Size2), h[1], size(p.Size1), h[0])
			}, p.Root1, p.Root2)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d proofs hold and %d do not", good, bad)
	if good != 12 || bad < 150 {
		t.Errorf("only %d good and %d bad proofs were checked", good, bad)
	}
}

// A leaf's hash has RFC 6962's prefix 0: the empty one is a published value.
func TestLeafHash(t *testing.T) {
	h := audit.LeafHash(nil)
	if got := base64.StdEncoding.EncodeToString(h[:]); got != "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=" {
		t.Error(got)
	}
}
