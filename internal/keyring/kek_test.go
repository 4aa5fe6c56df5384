package keyring_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/keyring"
)

func newKEK(t testing.TB) *keyring.KEK {
	t.Helper()
	kek, err := keyring.NewKEK()
	if err != nil {
		t.Fatal(err)
	}
	return kek
}

// same says whether one key opens what the other sealed.
func same(t testing.TB, a, b *keyring.KEK) bool {
	t.Helper()
	sealed, err := a.Encrypt([]byte("text"), []byte("name"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Decrypt(sealed, []byte("name"))
	return err == nil
}

func TestKEKFile(t *testing.T) {
	kek := newKEK(t)
	file := kek.File()
	if !regexp.MustCompile(`^mitral-kek-1:[A-Za-z0-9_-]{43}\n$`).Match(file) {
		t.Fatalf("a key file of another form, %d bytes", len(file))
	}
	for _, text := range [][]byte{file, bytes.TrimSpace(file), append([]byte(" \r\n"), file...)} {
		again, err := keyring.ParseKEK(text)
		if err != nil || !same(t, kek, again) {
			t.Errorf("the file does not bring the key back: %v", err)
		}
	}
	if same(t, kek, newKEK(t)) {
		t.Error("two fresh keys are one")
	}
	line := strings.TrimSpace(string(file))
	for name, bad := range map[string]string{
		"empty": "", "no key": "mitral-kek-1:", "cut": line[:len(line)-1], "longer": line + "A", "two lines": line + "\n" + line,
		"another version": "mitral-kek-2:" + line[13:], "the key alone": line[13:], "a letter": kek.Letter(), "binary": strings.Repeat("\x00", 32),
	} {
		if _, err := keyring.ParseKEK([]byte(bad)); !errors.Is(err, keyring.ErrKEKFile) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKEKLetter(t *testing.T) {
	for range 50 {
		kek := newKEK(t)
		letter := kek.Letter()
		if !regexp.MustCompile(`^([0-9A-HJKMNP-TV-Z]{4}-){12}[0-9A-HJKMNP-TV-Z]{4}$`).MatchString(letter) {
			t.Fatal("a letter of another form")
		}
		typed := strings.NewReplacer("1", "l", "0", "o", "-", " ").Replace(strings.ToLower(letter))
		for _, text := range []string{letter, typed, strings.ReplaceAll(letter, "-", ""), letter + "\n"} {
			again, err := keyring.ParseLetter(text)
			if err != nil || !same(t, kek, again) {
				t.Fatalf("the letter does not bring the key back: %v", err)
			}
		}
	}
	zero, err := keyring.KEKOf(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if got := zero.Letter(); !strings.HasPrefix(got, "0000-0000-0000") {
		t.Errorf("the letter of a key of zeros is %s", got)
	}
}

func TestKEKLetterMistyped(t *testing.T) {
	letter := newKEK(t).Letter()
	for name, tt := range map[string]struct{ typed, says string }{
		"short": {letter[:len(letter)-1], "this has 51"},
		"long":  {letter + "0", "this has 53"},
		"empty": {"", "this has 0"},
		"a U":   {letter[:6] + "U" + letter[7:], "group 2"},
		"an é":  {letter[:30] + "é" + letter[31:], "group 7"},
	} {
		_, err := keyring.ParseLetter(tt.typed)
		if !errors.Is(err, keyring.ErrLetter) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	refused, tried := 0, 0
	for i := range letter {
		if letter[i] == '-' {
			continue
		}
		for _, c := range alphabet {
			if byte(c) == letter[i] {
				continue
			}
			tried++
			if _, err := keyring.ParseLetter(letter[:i] + string(c) + letter[i+1:]); errors.Is(err, keyring.ErrLetter) {
				refused++
			}
		}
	}
	if share := float64(refused) / float64(tried); tried != 52*31 || share < 0.9 {
		t.Errorf("%d of %d mistyped letters were noticed, want 15 of 16", refused, tried)
	}
}

func TestKEKIsNeverShown(t *testing.T) {
	kek := newKEK(t)
	secret := strings.TrimPrefix(strings.TrimSpace(string(kek.File())), "mitral-kek-1:")
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "kek", kek)
	shown := fmt.Sprintf("%v %+v %#v %s %x %d", kek, kek, kek, kek, kek, kek) + kek.String() + log.String()
	if strings.Contains(shown, secret) || strings.Count(shown, "[secret]") != 8 {
		t.Errorf("shown as %s", shown)
	}
	if _, err := json.Marshal(map[string]any{"kek": kek}); err == nil {
		t.Error("a key was marshalled")
	}
}
