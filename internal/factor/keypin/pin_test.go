package keypin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/identity"
)

func TestPINForm(t *testing.T) {
	for pin, length := range map[string]int{"4839": 4, "0382": 4, "483926": 6} {
		if err := keypin.ValidatePIN(identity.Secret(pin), length, keypin.Personal{}); err != nil {
			t.Errorf("%s of %d: %v", pin, length, err)
		}
	}
	for _, c := range []struct {
		pin    string
		length int
	}{
		{"", 4}, {"483", 4}, {"48392", 4}, {"483926", 4}, {"4839", 6}, {" 4839", 4}, {"48 39", 4}, {"48a9", 4}, {"4839\n", 4},
		{"-483", 4}, {"٤٨٣٩", 4}, {"４８３９", 4}, {"\x00\x00\x00\x00", 4}, {"48392", 5}, {"", 0}, {"4839261", 7},
	} {
		err := keypin.ValidatePIN(identity.Secret(c.pin), c.length, keypin.Personal{})
		if !errors.Is(err, keypin.ErrPINFormat) {
			t.Errorf("%q of %d: %v", c.pin, c.length, err)
		}
	}
}

func TestEasyPINs(t *testing.T) {
	for why, pins := range map[string]string{
		"repeats":    "0000 7777 000000 555555",
		"runs":       "0123 6789 7890 9876 0987 3210 123456 345678 987654 890123",
		"steps":      "1357 2468 8642 0246 135791",
		"pairs":      "1122 9900 6969 1010 112233 121212 123123 777888",
		"years":      "1930 1984 2000 2039",
		"days":       "1231 3112 0229 2902 0704 122590 251290 901225 199012 121990",
		"zeros":      "0007 4000 0300 000009",
		"keypad":     "2580 1478 1236 9632 147896 258963",
		"favourites": "5150 1701 1004 159753 520131",
	} {
		for pin := range strings.FieldsSeq(pins) {
			if err := keypin.ValidatePIN(identity.Secret(pin), len(pin), keypin.Personal{}); !errors.Is(err, keypin.ErrPINTooEasy) {
				t.Errorf("%s: %s was allowed", why, pin)
			}
		}
	}
	for pin := range strings.FieldsSeq("4839 7306 1929 2040 3213 0230 8317 483926 730659 194839 907415") {
		if err := keypin.ValidatePIN(identity.Secret(pin), len(pin), keypin.Personal{}); err != nil {
			t.Errorf("%s: %v", pin, err)
		}
	}
}

func TestATenthIsRefused(t *testing.T) {
	for length, all := range map[int]int{4: 10_000, 6: 1_000_000} {
		refused := 0
		for n := range all {
			if keypin.ValidatePIN(identity.Secret(fmt.Sprintf("%0*d", length, n)), length, keypin.Personal{}) != nil {
				refused++
			}
		}
		if refused < all*8/100 || refused > all*12/100 {
			t.Errorf("%d of %d are refused, want about a tenth", refused, all)
		}
		t.Logf("%d digits: %d of %d refused", length, refused, all)
	}
}

func TestPersonalNumbers(t *testing.T) {
	personal := keypin.Personal{
		Phones:    []string{"+44 20 7946 0958", "(555) 018-3472"},
		Addresses: []string{"73 Hope Street", "Unit 618, 48391 Ward", "5 Elm"},
		BirthYear: 1926,
	}
	for pin := range strings.FieldsSeq("4420 0794 4609 0958 8347 3472 0073 7300 6180 8391 1926 207946 607300 192683 831926") {
		length := len(pin)
		known := pin != "607300"
		if err := keypin.ValidatePIN(identity.Secret(pin), length, personal); known != errors.Is(err, keypin.ErrPINTooEasy) {
			t.Errorf("%s of this person: %v", pin, err)
		}
		if err := keypin.ValidatePIN(identity.Secret(pin), length, keypin.Personal{}); err != nil {
			t.Errorf("%s of a stranger: %v", pin, err)
		}
	}
}

// TestRefusalsSayNothing: one sentence for a pattern and for a personal number.
func TestRefusalsSayNothing(t *testing.T) {
	pattern := keypin.ValidatePIN("1234", 4, keypin.Personal{})
	own := keypin.ValidatePIN("3472", 4, keypin.Personal{Phones: []string{"0183472"}})
	if pattern == nil || own == nil || pattern.Error() != own.Error() {
		t.Errorf("%q and %q differ", pattern, own)
	}
	for refusal, code := range map[keypin.Refusal]string{
		keypin.ErrPINFormat: "pin_format", keypin.ErrPINTooEasy: "pin_too_easy", keypin.ErrPINUsed: "pin_used",
	} {
		if refusal.Code() != code || refusal.Error() == code || strings.ContainsAny(refusal.Error(), "0123456789") {
			t.Errorf("%s: %q", code, refusal.Error())
		}
	}
}

func TestPublishedFavourites(t *testing.T) {
	dir := os.Getenv("MITRAL_VECTORS")
	if dir == "" {
		t.Skip("MITRAL_VECTORS is not set: vectors not run")
	}
	var common struct{ Ranked []string }
	readJSON(t, filepath.Join(dir, "pins", "common4_ranked.json"), &common)
	for top, least := range map[int]int{20: 100, 100: 100, 300: 99} {
		var allowed []string
		for _, pin := range common.Ranked[:top] {
			if keypin.ValidatePIN(identity.Secret(pin), 4, keypin.Personal{}) == nil {
				allowed = append(allowed, pin)
			}
		}
		if share := 100 * (top - len(allowed)) / top; share < least {
			t.Errorf("of the first %d only %d %% are refused; allowed: %v", top, share, allowed)
		}
	}
	var top20 struct{ Percent []struct{ PIN string } }
	readJSON(t, filepath.Join(dir, "pins", "datagenetics_top20.json"), &top20)
	if len(top20.Percent) != 20 {
		t.Fatalf("%d entries", len(top20.Percent))
	}
	for _, p := range top20.Percent {
		if keypin.ValidatePIN(identity.Secret(p.PIN), 4, keypin.Personal{}) == nil {
			t.Errorf("%s was allowed", p.PIN)
		}
	}
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestAgeOf(t *testing.T) {
	set := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	day := func(n int) time.Time { return set.AddDate(0, 0, n) }
	for _, c := range []struct {
		now  time.Time
		max  int
		want keypin.Age
	}{
		{day(0), 90, keypin.AgeFine},
		{day(76).Add(-time.Second), 90, keypin.AgeFine},
		{day(76), 90, keypin.AgeSoon},
		{day(97).Add(-time.Second), 90, keypin.AgeSoon},
		{day(97), 90, keypin.AgeOverdue},
		{day(5000), 0, keypin.AgeFine},
	} {
		if got := keypin.AgeOf(set, c.now, c.max); got != c.want {
			t.Errorf("%v of %d days: %s, want %s", c.now.Sub(set), c.max, got, c.want)
		}
	}
}
