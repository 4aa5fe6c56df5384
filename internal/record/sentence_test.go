package record_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/record"
)

var names = map[string]string{"usr_n": "Nadia Rahman", "usr_o": "Omar Haddad", "usr_g": "Grace Okafor"}

func tell(e audit.Event) string {
	return record.Sentence(record.Entry{Event: e}, func(id string) string { return names[id] })
}

func TestSentence(t *testing.T) {
	chrome := client("192.0.2.7")
	for want, e := range map[string]audit.Event{
		"Nadia Rahman signed in with key and PIN from Chrome, Windows": {Type: "sign_in.key_pin", Outcome: audit.Success, Actor: "usr_n", Method: "key-pin", Client: chrome},
		"Nadia Rahman gave key and PIN and was asked for more from Chrome, Windows": {Type: "sign_in.key_pin", Outcome: audit.Success, Actor: "usr_n", Method: "key-pin",
			Client: chrome, Detail: audit.Detail{"pending": "mfa_required"}},
		"A sign-in with key and PIN was refused from Chrome, Windows": {Type: "sign_in.key_pin", Outcome: audit.Denied, Method: "key-pin", Client: chrome},
		"A sign-in as Nadia Rahman with key and PIN was refused: wrong PIN": {Type: "sign_in.key_pin", Outcome: audit.Denied, Method: "key-pin", User: "usr_n",
			Detail: audit.Detail{"reason": "wrong_pin"}},
		"280 more refused sign-ins from 192.0.2.0/24 were counted together": record.FloodEvent(audit.Sum{Type: "sign_in.key_pin", Range: "192.0.2.0/24", Count: 280}),
		"9 more refusals from many networks were counted together":          record.FloodEvent(audit.Sum{Type: "claim.complete", Count: 9}),
		"The screen of Nadia Rahman was locked: nobody was there":           {Type: "session.lock", Outcome: audit.Success, Actor: "system", User: "usr_n", Detail: audit.Detail{"reason": "idle"}},
		"Nadia Rahman unlocked the screen with PIN (emergency access)":      {Type: "session.unlock", Outcome: audit.Success, Actor: "usr_n", Method: "pin", Grant: "grt_a"},
		"Grace Okafor opened emergency access BG-0042 for Omar Haddad: patient emergency": {Type: "break_glass.start", Outcome: audit.Success, Actor: "usr_g", User: "usr_o", Grant: "grt_a",
			Detail: audit.Detail{"ref": "BG-0042", "category": "patient_emergency", "reason": "wrong_pin"}},
		"Whoever holds the sealed code BG-A-03 opened a drill of emergency access BG-0043 for Omar Haddad: other reason": {Type: "break_glass.start", Outcome: audit.Success,
			Actor: "code:BG-A-03", User: "usr_o", Detail: audit.Detail{"ref": "BG-0043", "category": "other", "drill": true, "reason": "practice"}},
		"Emergency access BG-0042 of Omar Haddad ran out":                            {Type: "break_glass.expire", Outcome: audit.Success, Actor: "usr_o", Detail: audit.Detail{"ref": "BG-0042"}},
		"Somebody at the server made a claim for Omar Haddad, handed over by letter": {Type: "claim.create", Outcome: audit.Success, Actor: "cli", User: "usr_o", Detail: audit.Detail{"channel": "letter"}},
		"Grace Okafor made Omar Haddad doctor, before that nurse": {Type: "user.role", Outcome: audit.Success, Actor: "usr_g", User: "usr_o",
			Detail: audit.Detail{"role": "doctor", "was": "nurse"}},
		"Grace Okafor changed the policy: version 4, looser than before": {Type: "policy.change", Outcome: audit.Success, Actor: "usr_g", Detail: audit.Detail{"rev": int64(4), "loosens": true}},
		"Grace Okafor changed the policy: version 5":                     {Type: "policy.change", Outcome: audit.Success, Actor: "usr_g", Detail: audit.Detail{"rev": int64(5), "loosens": false}},
		"Grace Okafor exported the record as csv":                        {Type: "audit.export", Outcome: audit.Success, Actor: "usr_g", Detail: audit.Detail{"format": "csv"}},
		"A message to Omar Haddad by SMS could not be delivered":         {Type: "message.failed", Outcome: audit.Failure, Actor: "system", User: "usr_o", Grant: "grt_a", Detail: audit.Detail{"channel": "sms"}},
		"The server's clock was moved by 3.5s":                           {Type: "clock.jump", Outcome: audit.Success, Actor: "system", Detail: audit.Detail{"moved_ms": int64(3500)}},
		"Somebody no longer known signed out":                            {Type: "sign_out.user", Outcome: audit.Success, Actor: "usr_x"},
		"Grace Okafor: moon, full":                                       {Type: "moon.full", Outcome: audit.Success, Actor: "usr_g"},
		"Somebody unknown: moon, full, denied: too bright":               {Type: "moon.full", Outcome: audit.Denied, Detail: audit.Detail{"reason": "too_bright"}},
	} {
		if got := tell(e); got != want {
			t.Errorf("%s\n%s", got, want)
		}
	}
}

// A value is never read as a form.
func TestSentenceTakesValuesAsTheyAre(t *testing.T) {
	got := tell(audit.Event{Type: "user.role", Outcome: audit.Success, Actor: "usr_g", User: "usr_o", Detail: audit.Detail{"role": "{who}", "was": "{whom}"}})
	if got != "Grace Okafor made Omar Haddad {who}, before that {whom}" {
		t.Error(got)
	}
}

// Every type that any package records has a sentence of its own, and none of
// them leaves a brace or an id.
func TestEveryEventTypeHasASentence(t *testing.T) {
	told := map[string]bool{}
	for _, typ := range record.Tellings() {
		told[typ] = true
		for _, outcome := range []audit.Outcome{audit.Success, audit.Denied, audit.Failure} {
			s := tell(audit.Event{Type: typ, Outcome: outcome, Actor: "usr_n", User: "usr_o"})
			if s == "" || strings.ContainsAny(s, "{}_") {
				t.Errorf("%s, %s: %q", typ, outcome, s)
			}
		}
	}
	literal := regexp.MustCompile(`Type:\s*"([a-z_]+)\.([a-z_]+)"`)
	found := 0
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "mitraltest") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range literal.FindAllStringSubmatch(string(source), -1) {
			found++
			if !told[m[1]+"."+m[2]] && !told[m[1]] {
				t.Errorf("%s records %s.%s, which Sentence does not tell", path, m[1], m[2])
			}
		}
		return err
	})
	if err != nil || found < 20 {
		t.Errorf("%d types found: %v", found, err)
	}
}
