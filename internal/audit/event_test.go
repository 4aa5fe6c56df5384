package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
)

// The one form, written out (RFC 8785): members sorted, none without a value,
// nothing escaped that need not be.
func TestLeafIsCanonical(t *testing.T) {
	e := audit.Event{ID: "evt_a", At: time.Date(2026, 11, 25, 16, 4, 5, 600, time.FixedZone("", 3600)), Type: "break_glass.start", Outcome: audit.Success, Workspace: "wks_a",
		Actor: audit.CodeActor("BG-A-03"), User: "usr_b", Method: "sealed_code", Client: identity.Client{IP: netip.MustParseAddr("2001:db8::1"), UserAgent: "Chrome, Windows"},
		Detail: audit.Detail{"minutes": int64(60), "flags": "", "drill": false, "n": 7, "none": nil, "reason": "„Ω\u2028\" \\ / <b>\n\t\x01\x7f"}}
	leaf, err := e.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"actor":"code:BG-A-03","at":"2026-11-25T15:04:05.000000Z","drill":false,"id":"evt_a","ip":"2001:db8::1","method":"sealed_code","minutes":60,"n":7,` +
		`"outcome":"success","reason":"„Ω` + "\u2028" + `\" \\ / <b>\n\t\u0001` + "\x7f" + `","type":"break_glass.start","user_agent":"Chrome, Windows","user_id":"usr_b","workspace_id":"wks_a"}`
	if string(leaf) != want {
		t.Errorf("%s\n%s", leaf, want)
	}
}

func TestLeafRefuses(t *testing.T) {
	whole := func(d audit.Detail) audit.Event {
		return audit.Event{ID: "evt_a", At: time.Now(), Type: "user.update", Outcome: audit.Success, Detail: d}
	}
	if _, err := whole(audit.Detail{"n": int64(1) << 53}).Leaf(); err != nil {
		t.Fatalf("the control: %v", err)
	}
	for name, e := range map[string]audit.Event{
		"no id": {Type: "a.b", Outcome: audit.Success}, "no type": {ID: "evt_a", Outcome: audit.Success}, "no outcome": {ID: "evt_a", Type: "a.b"},
		"common member": whole(audit.Detail{"session_id": "x"}), "upper case": whole(audit.Detail{"Reason": "x"}), "float": whole(audit.Detail{"n": 1.0}),
		"too large": whole(audit.Detail{"n": int64(1)<<53 + 1}), "list": whole(audit.Detail{"n": []string{"x"}}), "secret": whole(audit.Detail{"n": identity.Secret("x")}),
		"not UTF-8": whole(audit.Detail{"n": "\xc3"}), "time": whole(audit.Detail{"n": time.Now()}),
	} {
		if leaf, err := e.Leaf(); !errors.Is(err, audit.ErrLeaf) {
			t.Errorf("%s: %s, %v", name, leaf, err)
		}
	}
}

// FuzzLeaf: whatever the texts are, the leaf is JSON with the members in order,
// no number but whole ones, and says what the event said.
func FuzzLeaf(f *testing.F) {
	f.Add("usr_a", "key-pin", "a reason", "reason", int64(-5), true)
	f.Add("\"\\\x00\x1f\u2028😀", "\x7f", "</script>", "a_9", int64(1)<<53, false)
	f.Fuzz(func(t *testing.T, actor, method, text, name string, n int64, flag bool) {
		e := audit.Event{ID: "evt_a", At: time.UnixMicro(1), Type: "user.update", Outcome: audit.Success, Actor: actor, Method: method, Detail: audit.Detail{name: text, "zz": n, "zzz": flag}}
		leaf, err := e.Leaf()
		if err != nil {
			possible := utf8.ValidString(actor) && utf8.ValidString(method) && utf8.ValidString(text) && n <= 1<<53 && n >= -(1<<53) &&
				name != "" && !slices.Contains([]string{"id", "at", "type", "outcome", "actor", "method", "user_id", "ip", "user_agent", "device_id", "session_id", "grant_id", "purpose", "workspace_id"}, name) &&
				strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
			if possible && strings.IndexFunc(name, func(r rune) bool { return r > 'z' }) < 0 {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		var got map[string]any
		d := json.NewDecoder(bytes.NewReader(leaf))
		d.UseNumber()
		if err := d.Decode(&got); err != nil || d.More() {
			t.Fatalf("%s: %v", leaf, err)
		}
		for member, want := range map[string]string{"actor": actor, "method": method, name: text} {
			if v, _ := got[member].(string); v != want && member != "zz" && member != "zzz" {
				t.Fatalf("%s: %s is %q and was %q", leaf, member, v, want)
			}
		}
		for member, v := range got {
			if number, ok := v.(json.Number); ok && strings.ContainsAny(number.String(), ".eE") {
				t.Fatalf("%s: %s is %s", leaf, member, number)
			}
		}
		if names := membersInOrder(t, leaf); !slices.IsSorted(names) || len(names) != len(got) {
			t.Fatalf("%s: %q", leaf, names)
		}
	})
}

// membersInOrder reads the member names of a flat object.
func membersInOrder(t *testing.T, leaf []byte) (names []string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(leaf))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name.(string))
		if _, err := d.Token(); err != nil {
			t.Fatal(err)
		}
	}
	return names
}
