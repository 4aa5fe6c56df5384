package notify

import (
	"errors"
	"strings"
	"unicode"

	"github.com/nyaruka/phonenumbers"
	"golang.org/x/text/unicode/norm"
)

// maxSMS is what one text message holds in the GSM 7-bit alphabet (3GPP TS
// 23.038 §6.2.1); one symbol outside it would halve that and more.
const maxSMS = 160

const (
	gsmBasic = "@£$¥èéùìòÇ\nØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?" +
		"¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
	gsmExtended = "^{}\\[~]|€" // each takes two places
)

var gsmSpelling = map[rune]string{
	'–': "-", '—': "-", '‐': "-", '‑': "-", '−': "-", '·': "-", '•': "*", '…': "...", '→': "->", '⁄': "/", '×': "x",
	'‘': "'", '’': "'", '‚': "'", '`': "'", '´': "'", '“': `"`, '”': `"`, '„': `"`, '«': `"`, '»': `"`,
	'ç': "c", 'ł': "l", 'Ł': "L", 'đ': "d", 'Đ': "D", 'ð': "d", 'Ð': "D", 'þ': "th", 'Þ': "Th", 'ı': "i",
	'œ': "oe", 'Œ': "OE", 'ẞ': "SS", '©': "(c)", '®': "(r)", '№': "No",
}

// GSM7 spells text in the GSM 7-bit alphabet: accents the alphabet lacks are
// dropped, typographic signs become plain ones, any other run of strange symbols
// becomes one question mark.
func GSM7(s string) string {
	var b strings.Builder
	strange := false
	write := func(t string) {
		strange = false
		b.WriteString(t)
	}
	for _, r := range norm.NFC.String(strings.ToValidUTF8(s, "?")) {
		if spelled, ok := gsmLetter(r); ok {
			write(spelled)
			continue
		}
		var plain strings.Builder
		for _, part := range norm.NFKD.String(string(r)) {
			if spelled, ok := gsmLetter(part); ok {
				plain.WriteString(spelled)
			}
		}
		switch {
		case plain.Len() > 0:
			write(plain.String())
		case unicode.IsSpace(r):
			write(" ")
		case unicode.Is(unicode.Mn, r), unicode.Is(unicode.Cf, r), unicode.IsControl(r):
		case !strange:
			write("?")
			strange = true
		}
	}
	return b.String()
}

func gsmLetter(r rune) (string, bool) {
	if strings.ContainsRune(gsmBasic, r) || strings.ContainsRune(gsmExtended, r) {
		return string(r), true
	}
	spelled, ok := gsmSpelling[r]
	return spelled, ok
}

// gsmLength counts the places that text in the GSM alphabet takes.
func gsmLength(s string) int {
	n := 0
	for _, r := range s {
		n++
		if strings.ContainsRune(gsmExtended, r) {
			n++
		}
	}
	return n
}

// FitSMS writes one text message of at most 160 places. Each "%s" in format is
// replaced by the name at its turn; when the whole is too long the longest names
// are cut, so that times, references and addresses in the format itself come
// through. Without names the text's end is cut.
func FitSMS(format string, names ...string) string {
	pieces := []string{GSM7(format)}
	if len(names) > 0 {
		pieces = strings.SplitN(GSM7(format), "%s", len(names)+1)
	}
	names = append([]string(nil), names...)
	for i := range names {
		names[i] = GSM7(names[i])
	}
	join := func() string {
		var b strings.Builder
		for i, piece := range pieces {
			if i > 0 {
				b.WriteString(names[i-1])
			}
			b.WriteString(piece)
		}
		return b.String()
	}
	text := join()
	for gsmLength(text) > maxSMS {
		longest := -1
		for i := range names {
			if i < len(pieces)-1 && len(names[i]) > len(".") && (longest < 0 || len(names[i]) > len(names[longest])) {
				longest = i
			}
		}
		if longest < 0 {
			return cutSMS(text)
		}
		names[longest] = shorten(names[longest])
		text = join()
	}
	return text
}

// shorten drops a name's last letter and marks the place with one full stop.
func shorten(name string) string {
	letters := []rune(strings.TrimSuffix(name, "."))
	return strings.TrimRight(string(letters[:max(len(letters)-1, 0)]), " ") + "."
}

func cutSMS(text string) string {
	const mark = "..."
	letters := []rune(text)
	for gsmLength(string(letters))+len(mark) > maxSMS {
		letters = letters[:len(letters)-1]
	}
	return string(letters) + mark
}

// ErrPhone means that text is no telephone number in international form.
var ErrPhone = errors.New("not a telephone number in international form, such as +442071838750")

// ParsePhone returns a telephone number in E.164 ("+442071838750"). It takes
// digits after a "+", with the usual spaces, hyphens, dots and brackets between
// them, for a country that exists and of a length that is possible there. It
// does not ask whether the number's range is in use: such lists age, and a
// number refused is an alarm not heard.
func ParsePhone(s string) (e164 string, err error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "+") || len(s) > 40 || strings.Trim(s[1:], "0123456789 -.()\u00a0") != "" {
		return "", ErrPhone
	}
	number, err := phonenumbers.Parse(s, "")
	if err != nil || phonenumbers.IsPossibleNumberWithReason(number) != phonenumbers.IS_POSSIBLE {
		return "", ErrPhone
	}
	return phonenumbers.Format(number, phonenumbers.E164), nil
}
