package view

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/identity"
)

// The sentences that several pages and their handlers say.
const (
	// Refused is the one answer to every kind of wrong key, PIN or name.
	Refused = "That did not match. Type the PIN again, or go back and check your name and key."
	// Throttled is said beside the seconds to wait.
	Throttled = "Too many wrong tries from here. Nobody is locked out."
	// KeyTypo is what the browser says of a key whose check symbol is wrong.
	KeyTypo = "Check the key: one symbol is wrong."
)

// Categories are the reasons a grant can be opened for, in the order shown when
// nothing suggests another.
func Categories() []Option {
	return []Option{
		{"patient_emergency", "Patient emergency", "Someone is unstable and needs care now"},
		{"cannot_sign_in", "I cannot sign in", "Lost or forgotten key, PIN or phone"},
		{"system_outage", "Outage", "Sign-in, mail or phone network is down"},
		{"role_too_small", "My role is too small", "I need a record or function I do not have"},
		{"cover_or_visiting", "Cover or visiting", "No account here yet"},
		{"other", "Something else", "Say more below: 25 letters or more"},
	}
}

// Verdicts are what a review can find.
func Verdicts() []Option {
	return []Option{
		{"appropriate", "Appropriate", "It was needed"},
		{"appropriate_process_gap", "Appropriate, fix the cause", "It was needed, but should not have been"},
		{"inappropriate", "Not appropriate", "It should not have happened"},
		{"drill", "It was a drill", "Practice; no patient involved"},
		{"needs_info", "Ask first", "Send it back with a question"},
	}
}

func label(options []Option, value string) string {
	for _, o := range options {
		if o.Value == value {
			return o.Label
		}
	}
	return sentence(value)
}

// RoleName writes a role as people say it: "privacy_reviewer" is "Privacy
// reviewer".
func RoleName(r identity.Role) string {
	if r == identity.Admin {
		return "Administrator"
	}
	return sentence(string(r))
}

func sentence(word string) string { return capital(strings.ReplaceAll(word, "_", " ")) }

func capital(word string) string {
	first, n := utf8.DecodeRuneInString(word)
	if n == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + word[n:]
}

// initials of a name: at most two, first and last word's.
func initials(name string) string {
	words := strings.Fields(name)
	if len(words) > 2 {
		words = []string{words[0], words[len(words)-1]}
	}
	var b strings.Builder
	for _, w := range words {
		r, _ := utf8.DecodeRuneInString(w)
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

func firstName(name string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(name), " ")
	return first
}

// when writes a moment as it is said now: "14:02", "yesterday 14:02",
// "Tue 3 Mar, 14:02", with the year where it differs.
func (f Frame) when(t time.Time) string {
	now := f.Now
	if t.IsZero() {
		return "never"
	}
	t = t.In(now.Location())
	clock := t.Format("15:04")
	switch {
	case day(t) == day(now):
		return clock
	case day(t) == day(now.AddDate(0, 0, -1)):
		return "yesterday " + clock
	case day(t) == day(now.AddDate(0, 0, 1)):
		return "tomorrow " + clock
	case t.Year() == now.Year():
		return t.Format("Mon 2 Jan, 15:04")
	}
	return t.Format("2 Jan 2006, 15:04")
}

// date writes a day: "3 Mar 2026".
func date(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.In(now.Location()).Format("2 Jan 2006")
}

// dayName heads the events of one day.
func dayName(now, t time.Time) string {
	t = t.In(now.Location())
	switch day(t) {
	case day(now):
		return "Today, " + t.Format("2 January")
	case day(now.AddDate(0, 0, -1)):
		return "Yesterday, " + t.Format("2 January")
	}
	return t.Format("Monday 2 January 2006")
}

func day(t time.Time) string { return t.Format(time.DateOnly) }

// mmss writes what is left of a window, never below nothing: "41:07".
func mmss(left time.Duration) string {
	s := seconds(left)
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

func seconds(left time.Duration) int { return max(0, int(left/time.Second)) }

// lasting writes a length of time in words: "29 minutes".
func lasting(d time.Duration) string {
	if d < time.Minute {
		return count(seconds(d), "second")
	}
	return count(int(d/time.Minute), "minute")
}

func count(n int, thing string) string {
	return strconv.Itoa(n) + " " + plural(n, thing)
}

func plural(n int, thing string) string {
	if n == 1 {
		return thing
	}
	if root, ok := strings.CutSuffix(thing, "try"); ok {
		return root + "tries"
	}
	return thing + "s"
}

// lastTwo are the symbols that confirm a key was kept.
func lastTwo(key string) string { return key[max(0, len(key)-2):] }

// canonical reads typed Crockford symbols: upper case, no spaces or hyphens, O
// as 0, I and L as 1.
func canonical(code string) string {
	return strings.NewReplacer(" ", "", "-", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(code))
}
