package identity_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mitral-health/mitral/internal/identity"
)

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

func TestKeyVectors(t *testing.T) {
	for bits, want := range map[uint64]string{
		0:                  "0000-0000-0000-00",
		1:                  "0000-0000-0000-1W",
		0x0123456789ABCDEF: "028T-5CY4-TQKF-FD",
		0xFFFFFFFFFFFFFFFF: "FZZZ-ZZZZ-ZZZZ-ZB",
		0xDEADBEEFCAFEF00D: "DXBD-YXZ5-FXW0-DB",
	} {
		key := identity.KeyOf(bits)
		if got := identity.FormatKey(key); got != want {
			t.Errorf("%#x: got %s, want %s", bits, got, want)
		}
		parsed, err := identity.ParseKey(want)
		if err != nil || parsed != key {
			t.Errorf("%s does not come back: %v", want, err)
		}
	}
}

func TestParseKeyReadsWhatPeopleType(t *testing.T) {
	const canonical = "DXBDYXZ5FXW0DB"
	for _, typed := range []string{
		"DXBD-YXZ5-FXW0-DB", "dxbdyxz5fxw0db", " dxbd yxz5 fxwo db\n", "DXBD–YXZ5—FXWO−DB", "d-x-b-d-y-x-z-5-f-x-w-0-d-b",
	} {
		if got, err := identity.ParseKey(typed); err != nil || got.Reveal() != canonical {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for _, one := range []string{"0000-0000-0000-1W", "0000-0000-0000-IW", "oooo-oooo-oooo-lw", "OOOO0000OOOOiW"} {
		if got, err := identity.ParseKey(one); err != nil || got.Reveal() != "0000000000001W" {
			t.Errorf("%q: %v", one, err)
		}
	}
	for typed, want := range map[string]error{
		"":                       identity.ErrCodeLength,
		"DXBD-YXZ5-FXW0-D":       identity.ErrCodeLength,
		"DXBD-YXZ5-FXW0-DBB":     identity.ErrCodeLength,
		strings.Repeat("0", 999): identity.ErrCodeLength,
		"DXBD-YXZ5-FXW0-DU":      identity.ErrCodeSymbol,
		"DXBD-YXZ5-FXW0-D*":      identity.ErrCodeSymbol,
		"DXBD-YXZ5-FXW0-D\x00":   identity.ErrCodeSymbol,
		"DXBD-YXZ5-FXW0-D\xff":   identity.ErrCodeSymbol,
		"DXBD-YXZ5-FXW0-DD":      identity.ErrCodeCheck,
		"G000-0000-0000-05":      identity.ErrCodeSymbol, // right check, but version 1
	} {
		got, err := identity.ParseKey(typed)
		if !errors.Is(err, want) || got != "" {
			t.Errorf("%.30q: got %v, want %v", typed, err, want)
		}
	}
}

// TestOneSlipIsAlwaysSeen types every single wrong symbol and exchanges every
// two symbols of fresh keys and codes.
func TestOneSlipIsAlwaysSeen(t *testing.T) {
	lengths := map[int]func(string) error{
		8:  func(s string) error { _, err := identity.ParseCode(s, 8); return err },
		10: func(s string) error { _, err := identity.ParseCode(s, 10); return err },
		14: func(s string) error { _, err := identity.ParseKey(s); return err },
		31: func(s string) error { _, err := identity.ParseCode(s, 31); return err },
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{8, 10, 14, 31}).Draw(t, "length")
		code := identity.NewCode(n).Reveal()
		if n == 14 {
			code = identity.KeyOf(binary.BigEndian.Uint64(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "bits"))).Reveal()
		}
		parse := lengths[n]
		if err := parse(code); err != nil {
			t.Fatalf("the right one: %v", err)
		}
		for i := range code {
			for _, wrong := range alphabet {
				slip := code[:i] + string(wrong) + code[i+1:]
				if slip != code && parse(slip) == nil {
					t.Fatalf("symbol %d of %d wrong is not seen", i, n)
				}
			}
			for j := i + 1; j < n; j++ {
				b := []byte(code)
				b[i], b[j] = b[j], b[i]
				if string(b) != code && parse(string(b)) == nil {
					t.Fatalf("exchange of %d and %d is not seen", i, j)
				}
			}
		}
	})
}

func TestNewKeyAndCodes(t *testing.T) {
	key := identity.NewKey()
	if back, err := identity.ParseKey(identity.FormatKey(key)); err != nil || back != key || len(key) != 14 {
		t.Errorf("a fresh key does not come back: %v", err)
	}
	if key == identity.NewKey() {
		t.Error("two keys are alike")
	}
	for n, shape := range map[int][]int{8: {4, 4}, 10: {5, 5}} {
		code := identity.NewCode(n)
		shown := identity.FormatCode(code)
		groups := strings.Split(shown, "-")
		if len(groups) != 2 || len(groups[0]) != shape[0] || len(groups[1]) != shape[1] {
			t.Errorf("%d symbols are shown as %s", n, shown)
		}
		if back, err := identity.ParseCode(strings.ToLower(shown), n); err != nil || back != code {
			t.Errorf("%d symbols do not come back: %v", n, err)
		}
		if _, err := identity.ParseCode(shown, n+1); !errors.Is(err, identity.ErrCodeLength) {
			t.Errorf("the wrong length: %v", err)
		}
	}
	plain := identity.NewSymbols(16)
	if back, err := identity.ParseSymbols(identity.Group(plain, 4), 16); err != nil || back != plain {
		t.Errorf("symbols do not come back: %v", err)
	}
	if _, err := identity.ParseSymbols("UUUU", 4); !errors.Is(err, identity.ErrCodeSymbol) {
		t.Errorf("U: %v", err)
	}
}

func TestNewDigits(t *testing.T) {
	seen := map[rune]bool{}
	for range 200 {
		digits := identity.NewDigits(6).Reveal()
		if len(digits) != 6 || strings.Trim(digits, "0123456789") != "" {
			t.Fatalf("not six digits: %q", digits)
		}
		for _, d := range digits {
			seen[d] = true
		}
	}
	if len(seen) != 10 {
		t.Errorf("1,200 digits hold only %d kinds", len(seen))
	}
}
