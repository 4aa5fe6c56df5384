package identity_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/identity"
)

func TestNormalizeEmail(t *testing.T) {
	for typed, want := range map[string]string{
		"nadia@hope.example":                   "nadia@hope.example",
		"  Nadia@Hope.Example\r\n":             "nadia@hope.example",
		"ｎａｄｉａ@hope.example":                   "nadia@hope.example",
		"nadia+ward@hope.example":              "nadia+ward@hope.example",
		"na\u0308dia@hope.example":             "n\u00e4dia@hope.example",
		"admin@localhost":                      "admin@localhost",
		strings.Repeat("a", 240) + "@b.health": strings.Repeat("a", 240) + "@b.health",
	} {
		if got, err := identity.NormalizeEmail(typed); err != nil || got != want {
			t.Errorf("%q: got %q, %v", typed, got, err)
		}
	}
	for _, typed := range []string{
		"", "@", "nadia", "nadia@", "@hope.example", "a@b@c", "nadia@hope.example@evil.example",
		`"nadia"@hope.example`, "na dia@hope.example", "nadia@hope.example,evil@evil.example", "nadia@hope.example\r\nBcc: x@evil.example",
		"nadia@hope.example\x00", "nadia\u200b@hope.example", "\u202enadia@hope.example", "nadia@.example", "nadia@example.", "nadia@a..b",
		"Nadia <nadia@hope.example>", "nadia＠hope.example@evil.example", "nad\xffia@hope.example", strings.Repeat("a", 254) + "@b.c", strings.Repeat("a", 5000),
	} {
		if got, err := identity.NormalizeEmail(typed); !errors.Is(err, identity.ErrEmail) || got != "" {
			t.Errorf("%.40q was taken as %q", typed, got)
		}
	}
}

func FuzzNormalizeEmail(f *testing.F) {
	for _, s := range []string{"Nadia@Hope.Example", "İ@x", "ß@ǅ.x", "a＠b", "ﷺ@x", "ª@K"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := identity.NormalizeEmail(s)
		if err != nil {
			return
		}
		if twice, err := identity.NormalizeEmail(once); err != nil || twice != once {
			t.Errorf("%q, once %q, twice %q, %v", s, once, twice, err)
		}
		if strings.Count(once, "@") != 1 || strings.ContainsAny(once, " \r\n\",<>") || len(once) > 254 {
			t.Errorf("%q came through as %q", s, once)
		}
	})
}

func TestSlug(t *testing.T) {
	for name, want := range map[string]string{
		"Hope Clinic":               "hope-clinic",
		"  St. Mary's — Ward 2 ":    "st-marys-ward-2",
		"Clínica São José":          "clinica-sao-jose",
		"عيادة الأمل":               "clinic",
		"":                          "clinic",
		"---":                       "clinic",
		"../../etc":                 "etc",
		strings.Repeat("long ", 20): "long-long-long-long-long-long-long-long",
	} {
		if got := identity.Slug(name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
	shape := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, name := range []string{strings.Repeat("x", 300), "a" + strings.Repeat("-", 60) + "b", strings.Repeat("ab-", 30)} {
		if got := identity.Slug(name); !shape.MatchString(got) || len(got) > 40 {
			t.Errorf("%q: %q", name, got)
		}
	}
}

func TestReduceUserAgent(t *testing.T) {
	for header, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                         "Chrome, Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0":           "Edge, Windows",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/142.0.0.0 Safari/537.36":                           "Chrome, Linux",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                   "Safari, macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari, iOS",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                        "Firefox, Windows",
		"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36":                   "Chrome, Android",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36":                          "Chrome, ChromeOS",
		"Mozilla/5.0 (Windows NT 10.0) nadia@hope.example":                                                                                        "other, Windows",
		"Go-http-client/1.1":      "other",
		"curl/8.14.1":             "other",
		"":                        "other",
		"nadia@hope.example":      "other",
		"\x00\xff<script>":        "other",
		strings.Repeat("A", 9000): "other",
	} {
		if got := identity.ReduceUserAgent(header); got != want {
			t.Errorf("%.60q: got %q, want %q", header, got, want)
		}
	}
}

func FuzzReduceUserAgent(f *testing.F) {
	for _, s := range []string{"Chrome/1 Safari", "Mozilla/5.0 (((", "Firefox/", "(X11; Linux)", "a/b;c(d)e"} {
		f.Add(s)
	}
	fixed := regexp.MustCompile(`^(other|(Chrome|Firefox|Safari|Edge|Opera|Vivaldi|Samsung Browser|Internet Explorer|other), (Windows|macOS|iOS|Android|Linux|ChromeOS|FreeBSD|other))$`)
	f.Fuzz(func(t *testing.T, header string) {
		if got := identity.ReduceUserAgent(header); !fixed.MatchString(got) {
			t.Errorf("%q: %q is not from the list", header, got)
		}
	})
}
