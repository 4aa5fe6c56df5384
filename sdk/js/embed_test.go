package js_test

import (
	"bytes"
	"os"
	"testing"

	js "github.com/mitral-health/mitral/sdk/js"
)

// A page may weigh 60 kB in all, and this is on every page.
const mostBytes = 18_000

func TestLockIsSmallAndNeedsNothingElse(t *testing.T) {
	served := js.Lock()
	if len(served) > mostBytes {
		t.Errorf("mitral-lock.js is served with %d bytes, more than %d", len(served), mostBytes)
	}
	for _, banned := range []string{"import ", "import(", "eval(", "localStorage", "document.cookie", "http://", "https://", ".setAttribute(\"style\""} {
		if bytes.Contains(served, []byte(banned)) {
			t.Errorf("mitral-lock.js contains %q", banned)
		}
	}
	for _, name := range []string{"lock", "stepUp", "fetchWithStepUp"} {
		if !bytes.Contains(served, []byte("function "+name+"(")) || !bytes.Contains(served, []byte("export ")) {
			t.Errorf("mitral-lock.js does not export %s", name)
		}
	}
}

func TestLockServesEveryLineOfCode(t *testing.T) {
	source, err := os.ReadFile("mitral-lock.js")
	if err != nil {
		t.Fatalf("couldn't read the source: %v", err)
	}
	rest := js.Lock()
	for line := range bytes.Lines(source) {
		code := bytes.TrimSpace(line)
		if len(code) == 0 || bytes.HasPrefix(code, []byte("//")) || bytes.HasPrefix(code, []byte("/**")) {
			continue
		}
		_, after, found := bytes.Cut(rest, code)
		if !found {
			t.Fatalf("line %q is not served, or not in its place", code)
		}
		rest = after
	}
	if left := bytes.TrimSpace(rest); len(left) > 0 {
		t.Errorf("more is served than the source holds: %q", left)
	}
}

func TestLockIsACopy(t *testing.T) {
	first := js.Lock()
	first[0] ^= 0xff
	if bytes.Equal(first, js.Lock()) {
		t.Error("a change to one answer shows in the next")
	}
}
