package record_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/record"
)

// Whatever can be recorded is read back as it was.
func TestParseLeafReadsWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		e := audit.Event{
			ID: identity.NewID(identity.EventID), At: time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "at")).UTC(),
			Type:    rapid.StringMatching(`[a-z_]+\.[a-z_]+`).Draw(t, "type"),
			Outcome: rapid.SampledFrom([]audit.Outcome{audit.Success, audit.Denied, audit.Failure}).Draw(t, "outcome"),
			Actor:   text.Draw(t, "actor"), User: text.Draw(t, "user"), Method: text.Draw(t, "method"),
			Client: identity.Client{UserAgent: text.Draw(t, "agent"), Device: text.Draw(t, "device")},
		}
		if rapid.Bool().Draw(t, "address") {
			e.Client.IP = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ip")))
		}
		for _, name := range rapid.SliceOfDistinct(rapid.StringMatching(`x[a-z0-9_]{0,6}`), rapid.ID).Draw(t, "names") {
			var v any = rapid.Int64Range(-(1<<53), 1<<53).Draw(t, "number")
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				v = text.Filter(func(s string) bool { return s != "" }).Draw(t, "text")
			case 1:
				v = rapid.Bool().Draw(t, "bool")
			}
			if e.Detail == nil {
				e.Detail = audit.Detail{}
			}
			e.Detail[name] = v
		}
		leaf, err := e.Leaf()
		if err != nil {
			t.Fatal(err)
		}
		got, err := record.ParseLeaf(string(leaf))
		if err != nil {
			t.Fatalf("%v: %s", err, leaf)
		}
		if diff := cmp.Diff(e, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

const plainLeaf = `{"at":"2026-11-25T15:04:05.000000Z","id":"evt_a","n":7,"outcome":"success","type":"user.create"}`

func TestParseLeafRefusesAnyOtherWriting(t *testing.T) {
	if _, err := record.ParseLeaf(plainLeaf); err != nil {
		t.Fatalf("the control is refused: %v", err)
	}
	for name, leaf := range map[string]string{
		"empty":            ``,
		"no object":        `[]`,
		"nothing":          `{}`,
		"no type":          `{"at":"2026-11-25T15:04:05.000000Z","id":"evt_a","outcome":"success"}`,
		"space":            strings.Replace(plainLeaf, `:7`, `: 7`, 1),
		"space after":      plainLeaf + "\n",
		"something after":  plainLeaf + plainLeaf,
		"cut off":          plainLeaf[:len(plainLeaf)-1],
		"order":            strings.Replace(plainLeaf, `"n":7,`, ``, 1)[:1] + `"n":7,` + strings.Replace(plainLeaf, `"n":7,`, ``, 1)[1:],
		"twice":            strings.Replace(plainLeaf, `"n":7`, `"n":7,"n":7`, 1),
		"float":            strings.Replace(plainLeaf, `:7`, `:7.0`, 1),
		"exponent":         strings.Replace(plainLeaf, `:7`, `:7e0`, 1),
		"leading zero":     strings.Replace(plainLeaf, `:7`, `:07`, 1),
		"minus nothing":    strings.Replace(plainLeaf, `:7`, `:-0`, 1),
		"inexact":          strings.Replace(plainLeaf, `:7`, `:9007199254740993`, 1),
		"null":             strings.Replace(plainLeaf, `:7`, `:null`, 1),
		"object":           strings.Replace(plainLeaf, `:7`, `:{}`, 1),
		"empty text":       strings.Replace(plainLeaf, `:7`, `:""`, 1),
		"needless escape":  strings.Replace(plainLeaf, `:7`, `:"\u0041"`, 1),
		"upper-case hex":   strings.Replace(plainLeaf, `:7`, `:"\u001F"`, 1),
		"long escape":      strings.Replace(plainLeaf, `:7`, `:"\u000a"`, 1),
		"escaped slash":    strings.Replace(plainLeaf, `:7`, `:"\/"`, 1),
		"raw control":      strings.Replace(plainLeaf, `:7`, ":\"\n\"", 1),
		"not UTF-8":        strings.Replace(plainLeaf, `:7`, ":\"\xff\"", 1),
		"member name":      strings.Replace(plainLeaf, `"n"`, `"N"`, 1),
		"time in a zone":   strings.Replace(plainLeaf, `05.000000Z`, `05.000000+00:00`, 1),
		"time too exact":   strings.Replace(plainLeaf, `05.000000Z`, `05.000000000Z`, 1),
		"time with comma":  strings.Replace(plainLeaf, `05.000000Z`, `05,000000Z`, 1),
		"number as type":   strings.Replace(plainLeaf, `"user.create"`, `7`, 1),
		"address, written": strings.Replace(plainLeaf, `"n":7`, `"ip":"0:0::1"`, 1),
	} {
		if e, err := record.ParseLeaf(leaf); !errors.Is(err, record.ErrLeaf) {
			t.Errorf("%s: accepted as %+v, %v", name, e, err)
		}
	}
}

// FuzzParseLeaf compares the parser with a slow one: decode by encoding/json,
// write again, compare the bytes.
func FuzzParseLeaf(f *testing.F) {
	f.Add(plainLeaf)
	f.Add(`{"at":"2026-11-25T15:04:05.000000Z","id":"evt_a","outcome":"denied","reason":"\"é\\\u001f\n","t":true,"type":"a.b"}`)
	f.Fuzz(func(t *testing.T, leaf string) {
		e, err := record.ParseLeaf(leaf)
		want, ok := slowParse(leaf)
		if (err == nil) != ok {
			t.Fatalf("ParseLeaf: %v, but decoded and written again: %v\n%s", err, ok, leaf)
		}
		if !ok {
			return
		}
		if diff := cmp.Diff(want, e, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func slowParse(leaf string) (audit.Event, bool) {
	members := map[string]any{}
	d := json.NewDecoder(strings.NewReader(leaf))
	d.UseNumber()
	if d.Decode(&members) != nil {
		return audit.Event{}, false
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return audit.Event{}, false
	}
	take := func(name string) string {
		v, _ := members[name].(string)
		if v != "" {
			delete(members, name)
		}
		return v
	}
	var err error
	e := audit.Event{ID: take("id"), Type: take("type"), Outcome: audit.Outcome(take("outcome")), Workspace: take("workspace_id"),
		Actor: take("actor"), User: take("user_id"), Method: take("method"), Session: take("session_id"), Grant: take("grant_id"),
		Purpose: take("purpose"), Client: identity.Client{UserAgent: take("user_agent"), Device: take("device_id")}}
	if e.At, err = time.Parse("2006-01-02T15:04:05.000000Z", take("at")); err != nil {
		return audit.Event{}, false
	}
	if ip := take("ip"); ip != "" {
		if e.Client.IP, err = netip.ParseAddr(ip); err != nil {
			return audit.Event{}, false
		}
	}
	for name, v := range members {
		if n, ok := v.(json.Number); ok {
			if members[name], err = n.Int64(); err != nil {
				return audit.Event{}, false
			}
		}
	}
	if len(members) > 0 {
		e.Detail = members
	}
	again, err := e.Leaf()
	return e, err == nil && string(again) == leaf
}
