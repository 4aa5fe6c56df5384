package identity

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// ErrEmail says that a text is no mail address Mitral can use. It never holds
// the text.
var ErrEmail = errors.New("this is not a mail address: it needs one @ and no spaces or quotes")

// maxEmail is the longest address that SMTP carries (RFC 5321 §4.5.3.1.3, less
// the angle brackets).
const maxEmail = 254

// NormalizeEmail returns the one form in which an address is kept and compared:
// NFKC, trimmed, lower-case. Anything but exactly one @ between two non-empty
// parts is ErrEmail, and so are quotes, brackets, commas, control and invisible
// characters, and more than 254 bytes: a header or a list of recipients must
// not be smuggled in. Normalizing twice changes nothing.
func NormalizeEmail(s string) (string, error) {
	if len(s) > 4*maxEmail || !utf8.ValidString(s) {
		return "", ErrEmail
	}
	address := norm.NFKC.String(strings.ToLower(strings.TrimSpace(norm.NFKC.String(s))))
	local, domain, found := strings.Cut(address, "@")
	switch {
	case len(address) > maxEmail,
		!found, local == "", domain == "",
		strings.Contains(domain, "@"),
		strings.ContainsFunc(address, unmailable),
		strings.HasPrefix(domain, "."), strings.HasSuffix(domain, "."), strings.Contains(domain, ".."):
		return "", ErrEmail
	}
	return address, nil
}

func unmailable(r rune) bool {
	return !unicode.IsPrint(r) || strings.ContainsRune(" \"'`(),:;<>[\\]", r)
}

// maxSlug keeps slugs short enough to be said on the phone.
const maxSlug = 40

// Slug makes a workspace's name fit for addresses and the command line: lower-
// case a–z, 0–9 and single hyphens, at most 40. A name without any such letter
// gives "clinic". It is not unique by itself.
func Slug(name string) string {
	var b strings.Builder
	gap := false
	for _, r := range norm.NFKD.String(strings.ToLower(name)) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			gap = false
			b.WriteRune(r)
		case unicode.Is(unicode.Mn, r), r == '\'', r == '’':
			// An accent or apostrophe separates nothing.
		default:
			gap = true
		}
		if b.Len() >= maxSlug {
			break
		}
	}
	slug := strings.TrimSuffix(b.String()[:min(b.Len(), maxSlug)], "-")
	if slug == "" {
		return "clinic"
	}
	return slug
}
