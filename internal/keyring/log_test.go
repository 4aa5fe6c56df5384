package keyring_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/mitral-health/mitral/internal/keyring"
)

func verifierOf(t testing.TB, key string) note.Verifier {
	t.Helper()
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func signNote(t testing.TB, signers ...note.Signer) []byte {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: origin + "\n1\nAAAA\n"}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// A change of the log's key is signed by the old and the new one, and whoever
// pinned the old key goes on verifying what it signed.
func TestF30LogKeyChangeIsSignedByBoth(t *testing.T) {
	n := newNode(t)
	old, oldKey := n.LogSigner(), n.LogVerifierKey()
	if n.LogOrigin() != origin || old.Name() != origin || !strings.HasPrefix(oldKey, origin+"+") || !slices.Equal(n.LogVerifierKeys(), []string{oldKey}) {
		t.Fatalf("log key %s of %s", oldKey, n.LogOrigin())
	}
	before := signNote(t, old)

	changed, err := n.RotateLog(n.kek, n.LogOrigin(), noon)
	n.take(t, changed, err)
	newKey := n.LogVerifierKey()
	if newKey == oldKey || n.LogOrigin() != origin || !slices.Equal(n.LogVerifierKeys(), []string{newKey, oldKey}) {
		t.Fatalf("keys after the change: %q", n.LogVerifierKeys())
	}
	both := signNote(t, old, n.LogSigner())
	for _, key := range []string{oldKey, newKey} {
		if opened, err := note.Open(both, note.VerifierList(verifierOf(t, key))); err != nil || len(opened.Sigs) != 1 {
			t.Errorf("the change does not verify with %s: %v", key, err)
		}
	}
	if _, err := note.Open(before, note.VerifierList(verifierOf(t, oldKey))); err != nil {
		t.Errorf("a pinned key no longer verifies: %v", err)
	}
	if _, err := note.Open(before, note.VerifierList(verifierOf(t, newKey))); err == nil {
		t.Error("the new key verifies what it did not sign")
	}
	if _, err := note.Open(signNote(t, newNode(t).LogSigner()), note.VerifierList(verifierOf(t, oldKey), verifierOf(t, newKey))); err == nil {
		t.Error("another log of the same name verifies")
	}
}

func TestNewLog(t *testing.T) {
	n := newNode(t)
	oldKey := n.LogVerifierKey()
	changed, err := n.RotateLog(n.kek, "auth.example/log/2", noon)
	n.take(t, changed, err)
	again := openNode(t, n.kek, n.stored)
	if again.LogOrigin() != "auth.example/log/2" || again.LogSigner().Name() != again.LogOrigin() || !slices.Equal(again.LogVerifierKeys(), []string{n.LogVerifierKey(), oldKey}) {
		t.Errorf("the new log is %s with %q", again.LogOrigin(), again.LogVerifierKeys())
	}
	if _, err := n.RotateLog(n.kek, "two words", noon); err == nil {
		t.Error("an origin with a space was taken")
	}
	if n.Rev(keyring.LogKeys) != 2 || n.Rev("none") != 0 {
		t.Error("revisions are wrong")
	}
}
