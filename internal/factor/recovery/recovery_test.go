package recovery_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/factor/recovery"
	"github.com/mitral-health/mitral/internal/identity"
)

func TestCodesComeBackAsTyped(t *testing.T) {
	shape := regexp.MustCompile(`^([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}$`)
	seen := map[identity.Secret]bool{}
	codes := recovery.New()
	for _, code := range codes {
		shown := recovery.Format(code)
		if !shape.MatchString(shown) {
			t.Errorf("%s is not shown in four groups", shown)
		}
		for _, typed := range []string{shown, strings.ToLower(shown), code.Reveal(), " " + strings.ReplaceAll(shown, "-", " ") + "\n", strings.NewReplacer("1", "l", "0", "o").Replace(shown)} {
			if got, err := recovery.Parse(typed); err != nil || got != code {
				t.Errorf("%q: %v", typed, err)
			}
		}
		seen[code] = true
	}
	if len(codes) != 10 || len(seen) != 10 {
		t.Errorf("%d codes, %d different", len(codes), len(seen))
	}
}

func TestParseRefuses(t *testing.T) {
	const right = "DXBD-YXZ5-FXW0-DB00"
	if _, err := recovery.Parse(right); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]error{
		"": identity.ErrCodeLength, right + "0": identity.ErrCodeLength, right[1:]: identity.ErrCodeLength,
		"U" + right[1:]: identity.ErrCodeSymbol, "!" + right[1:]: identity.ErrCodeSymbol,
	} {
		if got, err := recovery.Parse(typed); !errors.Is(err, want) || got != "" {
			t.Errorf("%q: %v", typed, err)
		}
	}
}
