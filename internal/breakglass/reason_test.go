package breakglass_test

import (
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/breakglass"
)

func TestReasonRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ category, reason, code string }{
		{breakglass.CannotSignIn, "Chest pain, phone broken", ""},
		{breakglass.CannotSignIn, "Phone lost", "too_short"}, // nine besides the space
		{breakglass.CannotSignIn, "Phones lost", ""},
		{breakglass.CannotSignIn, "Douleur thoracique, téléphone cassé", ""},
		{breakglass.CannotSignIn, "ألم في الصدر والهاتف معطل", ""},
		{breakglass.CannotSignIn, "", "too_short"},
		{breakglass.CannotSignIn, "a b c d e f g h i", "too_short"},
		{breakglass.CannotSignIn, "emergencyemergency", "one_word"},
		{breakglass.CannotSignIn, "emergency !!!!!!", "one_word"},
		{breakglass.CannotSignIn, "aaaaaaaaaa aaaaa", "repeated"},
		{breakglass.CannotSignIn, "xxxxx yyyyy xxxxx", "repeated"},
		{breakglass.CannotSignIn, "asdfghjkl qwertyuiop", "keyboard"},
		{breakglass.CannotSignIn, "qwerty qwerty qwerty", "keyboard"},
		{breakglass.CannotSignIn, "asdfasdf jkljkl asdf", "keyboard"},
		{breakglass.CannotSignIn, "ASDF jkl; ASDF jkl;", "keyboard"},
		{breakglass.CannotSignIn, "poiuytrewq lkjhgfdsa", "keyboard"},
		{breakglass.CannotSignIn, "abcdefgh ijklmnop", "keyboard"},
		{breakglass.CannotSignIn, "1234567890 12345", "keyboard"},
		{breakglass.CannotSignIn, "qaz wsx edc rfv tgb", "keyboard"},
		{breakglass.CannotSignIn, "aaaaaaa bbbbbbb ccccccc", "keyboard"},
		{breakglass.CannotSignIn, "Key card 12345 torn in two", ""},
		{breakglass.CannotSignIn, "Nothing works: asdf appears on screen", ""},
		{breakglass.Other, "Chest pain, phone broken", "too_short"},
		{breakglass.Other, "Chest pain and the phone is broken", ""},
		{breakglass.CannotSignIn, strings.Repeat("No phone. ", 100)[:999], ""},
		{breakglass.CannotSignIn, strings.Repeat("No phone. ", 101), "too_long"},
		{breakglass.CannotSignIn, "Chest pain\nphone broken", ""},
		{breakglass.CannotSignIn, "Chest pain\x00 phone broken", "invalid"},
		{breakglass.CannotSignIn, "Chest pain\xff phone broken", "invalid"},
	} {
		if code, detail := breakglass.WeakReason(tt.category, tt.reason); code != tt.code || (code != "") != (detail != "") {
			t.Errorf("%s %.40q: %q %q, want %q", tt.category, tt.reason, code, detail, tt.code)
		}
	}
}
