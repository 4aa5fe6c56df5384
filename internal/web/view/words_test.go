package view

import (
	"slices"
	"testing"
	"time"
)

func TestWhenIsSaidAsPeopleSayIt(t *testing.T) {
	zone := time.FixedZone("EAT", 3*60*60)
	f := Frame{Now: time.Date(2026, time.January, 2, 8, 30, 0, 0, zone)}
	for want, at := range map[string]time.Time{
		"never":              {},
		"07:15":              f.Now.Add(-75 * time.Minute),
		"00:10":              time.Date(2026, time.January, 1, 21, 10, 0, 0, time.UTC),
		"yesterday 23:00":    f.Now.Add(-570 * time.Minute),
		"tomorrow 08:30":     f.Now.AddDate(0, 0, 1),
		"Mon 5 Jan, 08:30":   f.Now.AddDate(0, 0, 3),
		"31 Dec 2025, 08:30": f.Now.AddDate(0, 0, -2),
	} {
		if got := f.when(at); got != want {
			t.Errorf("when(%v) = %q, want %q", at, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		mmss(41*time.Minute + 7*time.Second):         "41:07",
		mmss(60 * time.Minute):                       "60:00",
		mmss(-time.Second):                           "00:00",
		lasting(29 * time.Minute):                    "29 minutes",
		lasting(time.Second):                         "1 second",
		count(3, "try"):                              "3 tries",
		count(1, "try"):                              "1 try",
		initials("Nadia Rahman"):                     "NR",
		initials("nadia"):                            "N",
		initials("Ana de la Cruz"):                   "AC",
		initials("  "):                               "",
		firstName("Omar Haddad"):                     "Omar",
		RoleName("admin"):                            "Administrator",
		RoleName("privacy_reviewer"):                 "Privacy reviewer",
		label(Categories(), "system_outage"):         "Outage",
		label(Categories(), "new_word"):              "New word",
		lastTwo("DXBD-YXZ5-FXW0-DB"):                 "DB",
		lastTwo("D"):                                 "D",
		withCallback("/signin?resume=0", "/a?b=c&d"): "/signin?resume=0&callbackUrl=%2Fa%3Fb%3Dc%26d",
		withCallback("/emergency", ""):               "/emergency",
		PostPerson("usr_1/..", "claims"):             "/api/v1/pages/admin/people/usr_1%2F../claims",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLastTwoMatch(t *testing.T) {
	for typed, want := range map[string]bool{
		"01": true, "o1": true, "OI": true, "0l": true, " 0-1 ": true,
		"10": false, "": false, "1": false, "001": false, "FXW0-01": false,
	} {
		if got := LastTwoMatch("DXBD-YXZ5-FXW0-01", typed); got != want {
			t.Errorf("LastTwoMatch(%q) = %v, want %v", typed, got, want)
		}
	}
	if LastTwoMatch("", "") || LastTwoMatch("1", "1") {
		t.Error("a key too short to have two last symbols matched")
	}
}

// Verified once with an independent reader: the drawn card reads as identifier,
// TAB, key.
func TestCode128(t *testing.T) {
	got, err := code128("a\tB7")
	want := []int{104, 65, 98, 73, 34, 23, (104 + 65 + 2*98 + 3*73 + 4*34 + 5*23) % 103, 106}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("code128 = %v, %v; want %v", got, err, want)
	}
	if _, err := code128("Zoë"); err == nil {
		t.Error("a symbol outside Code 128 was drawn")
	}
	for v, widths := range code128Widths {
		sum := 0
		for _, w := range widths {
			sum += int(w - '0')
		}
		if wide := map[bool]int{false: 11, true: 13}[v == 106]; sum != wide {
			t.Errorf("symbol %d is %d modules wide, want %d", v, sum, wide)
		}
	}
	if len(code128Widths) != 107 {
		t.Errorf("%d symbols, want 107", len(code128Widths))
	}
}

func TestPicturesOfWhatCannotBeDrawnAreEmpty(t *testing.T) {
	if p := keyCardCode("zoë@hope.example", "DXBD"); p.path != "" {
		t.Error("drawn all the same")
	}
	if p := keyCardCode("zoe@hope.example", "DXBD"); p.path == "" || p.w < 100 {
		t.Errorf("the control is empty: %+v", p)
	}
	if p := qrCode(string(make([]byte, 5000))); p.path != "" {
		t.Error("5,000 bytes were drawn")
	}
	if p := qrCode("https://auth.hope.example/claim/x"); p.path == "" {
		t.Error("the control is empty")
	}
}
