package record_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

func (in *installation) export(t *testing.T, e record.ExportInput) string {
	t.Helper()
	var b bytes.Buffer
	must(t, record.Export(context.Background(), in.db, e, &b))
	return b.String()
}

func rootOf(t *testing.T, leaves []string) tlog.Hash {
	t.Helper()
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(ids []int64) (out []tlog.Hash, _ error) {
		for _, id := range ids {
			out = append(out, stored[id])
		}
		return out, nil
	})
	for i, leaf := range leaves {
		more, err := tlog.StoredHashes(int64(i), []byte(leaf), reader)
		must(t, err)
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(int64(len(leaves)), reader)
	must(t, err)
	return root
}

func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

// Whoever has the export can recompute the root that was signed.
func TestExportLines(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		_, over20 := in.history(t)
		first := lines(in.export(t, record.ExportInput{Format: record.FormatJSONL}))
		if c := in.checkpoint(t, over20); len(first) != 20 || rootOf(t, first) != c.Root {
			t.Errorf("%d leaves do not give the root of %q", len(first), over20)
		}
		in.begin(t, 2)
		note := in.seal(t)
		all := lines(in.export(t, record.ExportInput{Format: record.FormatJSONL}))
		if want := `{"log":2,"origin":"clinic.example/log/2"}`; len(all) != 22 || !slices.Equal(all[:20], first) || all[20] != want {
			t.Fatalf("%d lines, the 21st %s", len(all), all[20])
		}
		if rootOf(t, all[21:]) != in.checkpoint(t, note).Root {
			t.Error("the second log's leaves do not give its root")
		}

		// Filtered: index and leaf.
		var last struct {
			Log, Index int64
			Leaf       string
		}
		filtered := lines(in.export(t, record.ExportInput{Format: record.FormatJSONL, WorkspaceID: workspace}))
		if len(filtered) != 19 || !strings.HasPrefix(filtered[0], `{"index":`) {
			t.Fatalf("%d lines, the first %s", len(filtered), filtered[0])
		}
		for _, line := range filtered {
			last.Log = 1
			must(t, json.Unmarshal([]byte(line), &last))
			if last.Leaf != first[last.Index] || !strings.Contains(last.Leaf, `"workspace_id":"`+workspace+`"`) {
				t.Errorf("index %d: %s", last.Index, last.Leaf)
			}
		}
		since := lines(in.export(t, record.ExportInput{Format: record.FormatJSONL, From: time.Unix(1, 0)}))
		must(t, json.Unmarshal([]byte(since[20]), &last))
		if len(since) != 21 || last.Log != 2 || last.Index != 0 || last.Leaf != all[21] {
			t.Errorf("%d lines, the last %+v", len(since), last)
		}
		e, err := record.ParseLeaf(first[10])
		must(t, err)
		some := in.export(t, record.ExportInput{Format: record.FormatJSONL, WorkspaceID: workspace, From: e.At, To: e.At.Add(time.Microsecond)})
		if n := strings.Count(some, "\n"); n < 1 || n > 2 || !strings.Contains(some, e.ID) {
			t.Errorf("the one microsecond: %s", some)
		}
		if none := in.export(t, record.ExportInput{Format: record.FormatJSONL, To: time.Unix(1, 0)}); none != "" {
			t.Errorf("before the beginning: %s", none)
		}
		if err := record.Export(context.Background(), in.db, record.ExportInput{Format: "xml"}, &bytes.Buffer{}); !refusedAs(err, identity.Invalid) {
			t.Errorf("%v", err)
		}
	})
}

func TestExportCSV(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		reasons := []string{"=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", " =1", "＝1", "\n=1", "plain, with \"quotes\"\nand lines", "'"}
		for _, reason := range reasons {
			in.record(t, 1, audit.Event{Type: "break_glass.start", Outcome: audit.Success, Detail: audit.Detail{"reason": reason, "minutes": int64(-60), "drill": true}})
		}
		in.seal(t)
		rows, err := csv.NewReader(strings.NewReader(in.export(t, record.ExportInput{Format: record.FormatCSV}))).ReadAll()
		must(t, err)
		head := rows[0]
		if !slices.Equal(head, []string{"log", "index", "id", "at", "type", "outcome", "workspace_id", "actor", "user_id", "method", "ip", "user_agent",
			"device_id", "session_id", "grant_id", "purpose", "drill", "minutes", "reason"}) {
			t.Errorf("%q", head)
		}
		if len(rows) != 3+len(reasons) {
			t.Fatalf("%d rows", len(rows))
		}
		column := slices.Index(head, "reason")
		for i, reason := range reasons {
			row := rows[3+i]
			cell := row[column]
			if start := strings.TrimLeft(cell, " "); strings.ContainsRune("=+-@\t\r\n＝", []rune(start)[0]) {
				t.Errorf("a spreadsheet would calculate %q", cell)
			}
			if strings.TrimPrefix(cell, "'") != reason && cell != reason {
				t.Errorf("%q became %q", reason, cell)
			}
			if row[column-1] != "-60" || row[column-2] != "true" || row[4] != "break_glass.start" {
				t.Errorf("%q", row)
			}
		}
	})
}

func TestExportFHIR(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		in.history(t)
		for i, line := range lines(in.export(t, record.ExportInput{Format: record.FormatFHIR})) {
			var a map[string]any
			must(t, json.Unmarshal([]byte(line), &a))
			if a["resourceType"] != "AuditEvent" || !regexp.MustCompile(`^[A-Za-z0-9.-]{1,64}$`).MatchString(a["id"].(string)) {
				t.Errorf("line %d: %s", i, line)
			}
		}
	})
}

func fhir(e audit.Event) record.AuditEvent {
	e.ID, e.At = "evt_a", time.Date(2026, 11, 25, 15, 4, 5, 0, time.UTC)
	return record.FHIR(record.Entry{Log: 1, Index: 7, Event: e})
}

// The codes are DICOM's, as contract §3 and the HL7 examples have them.
func TestFHIRCodes(t *testing.T) {
	by := identity.Client{}
	for name, c := range map[string]struct {
		event                                   audit.Event
		kind, subtype, action, outcome, purpose string
	}{
		"sign-in":         {audit.Event{Type: "sign_in.key_pin", Outcome: audit.Success}, "110114", "110122", "E", "0", ""},
		"refused sign-in": {audit.Event{Type: "sign_in.key_pin", Outcome: audit.Denied}, "110114", "110122", "E", "4", ""},
		"flood":           {audit.Event{Type: "sign_in.flood", Outcome: audit.Denied}, "110114", "110122", "E", "8", ""},
		"sign-out":        {audit.Event{Type: "sign_out.user", Outcome: audit.Success}, "110114", "110123", "E", "0", ""},
		"start": {audit.Event{Type: "break_glass.start", Outcome: audit.Success, Purpose: "ETREAT", Grant: "grt_a"},
			"110113", "110127", "E", "0", "ETREAT"},
		"start, category only": {audit.Event{Type: "break_glass.start", Outcome: audit.Success, Detail: audit.Detail{"category": "system_outage"}},
			"110113", "110127", "E", "0", "BTG"},
		"drill": {audit.Event{Type: "break_glass.start", Outcome: audit.Success, Purpose: "BTG", Detail: audit.Detail{"drill": true}},
			"110113", "110127", "E", "0", ""},
		"refused start": {audit.Event{Type: "break_glass.start", Outcome: audit.Denied}, "110113", "110127", "E", "4", ""},
		"end":           {audit.Event{Type: "break_glass.end", Outcome: audit.Success, Purpose: "BTG"}, "110113", "110138", "E", "0", "BTG"},
		"expiry":        {audit.Event{Type: "break_glass.expire", Outcome: audit.Success, Purpose: "BTG"}, "110113", "110138", "E", "0", "BTG"},
		"role":          {audit.Event{Type: "user.role", Outcome: audit.Success}, "110113", "110136", "U", "0", ""},
		"inside a grant": {audit.Event{Type: "authz.check", Outcome: audit.Success, Purpose: "ETREAT", Grant: "grt_a"},
			"110113", "110132", "E", "0", "ETREAT"},
		"log read":     {audit.Event{Type: "audit.read", Outcome: audit.Success}, "110101", "", "R", "0", ""},
		"log exported": {audit.Event{Type: "audit.export", Outcome: audit.Success}, "110106", "", "R", "0", ""},
		"fault":        {audit.Event{Type: "message.failed", Outcome: audit.Failure}, "110100", "", "E", "8", ""},
		"unknown type": {audit.Event{Type: "moon.full", Outcome: audit.Success}, "110113", "", "E", "0", ""},
	} {
		c.event.Client = by
		a := fhir(c.event)
		if a.Type.System != "http://dicom.nema.org/resources/ontology/DCM" || a.Type.Code != c.kind || a.Type.Display == "" || a.Action != c.action || a.Outcome != c.outcome {
			t.Errorf("%s: %+v", name, a)
		}
		last := a.Subtype[len(a.Subtype)-1]
		if last.Code != c.event.Type || (c.subtype != "") != (len(a.Subtype) == 2) || (c.subtype != "" && a.Subtype[0].Code != c.subtype) {
			t.Errorf("%s: %+v", name, a.Subtype)
		}
		purpose := ""
		if len(a.Purpose) > 0 {
			purpose = a.Purpose[0].Coding[0].Code
		}
		if purpose != c.purpose {
			t.Errorf("%s: purpose %q", name, purpose)
		}
	}
}

// Nothing of the leaf is lost, and nobody has a name.
func TestFHIRHoldsTheLeaf(t *testing.T) {
	a := fhir(audit.Event{Type: "break_glass.start", Outcome: audit.Success, Workspace: "wks_one", Actor: audit.CodeActor("BG-A-03"), User: "usr_b", Method: "sealed_code",
		Client:  identity.Client{IP: client("192.0.2.7").IP, UserAgent: "Chrome, Windows", Device: "dev_a"},
		Session: "ses_a", Grant: "grt_a", Detail: audit.Detail{"reason": "chest pain in room 2", "minutes": int64(60)}})
	text, err := json.Marshal(a)
	must(t, err)
	for _, want := range []string{"wks_one", `"BG-A-03"`, "usr_b", "sealed_code", "192.0.2.7", "Chrome, Windows", "dev_a", "ses_a", "grt_a", "chest pain in room 2", `"60"`,
		`"1/7"`, `"recorded":"2026-11-25T15:04:05.000000Z"`, `"id":"evt-a"`, `"requestor":true`, `"observer":{"display":"Mitral"}`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
}

// The members are R4's, not R5's: those that IHE's R4 examples have.
func TestFHIRMembersOfPublishedExamples(t *testing.T) {
	dir := os.Getenv("MITRAL_VECTORS")
	if dir == "" {
		t.Skip("MITRAL_VECTORS is not set: vectors not run")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "fhir", "balp", "json", "*.json"))
	must(t, err)
	known := map[string]bool{}
	for _, path := range paths {
		var example any
		text, err := os.ReadFile(path)
		must(t, err)
		must(t, json.Unmarshal(text, &example))
		members("", example, known)
	}
	if len(paths) < 40 || !known[".type.code"] {
		t.Fatalf("%d examples with %d members", len(paths), len(known))
	}
	// In R4's definition, and in none of the examples.
	for _, member := range []string{".purposeOfEvent.coding.system", ".purposeOfEvent.coding.code", ".purposeOfEvent.coding", ".purposeOfEvent", ".source.site", ".outcomeDesc",
		".entity.detail", ".entity.detail.type", ".entity.detail.valueString", ".entity.what.identifier", ".entity.what.identifier.system", ".entity.what.identifier.value",
		".agent.who.identifier", ".agent.who.identifier.system", ".agent.who.identifier.value", ".entity.type.display", ".source.type.display", ".id"} {
		known[member] = true
	}
	mine := map[string]bool{}
	for _, e := range []audit.Event{
		{Type: "break_glass.start", Outcome: audit.Success, Purpose: "BTG", Actor: "usr_a", User: "usr_b", Workspace: "wks_one", Session: "ses_a", Grant: "grt_a", Client: client("192.0.2.7"),
			Detail: audit.Detail{"reason": "x"}},
		{Type: "sign_in.key_pin", Outcome: audit.Denied},
	} {
		text, err := json.Marshal(fhir(e))
		must(t, err)
		var a any
		must(t, json.Unmarshal(text, &a))
		members("", a, mine)
	}
	for member := range mine {
		if !known[member] {
			t.Errorf("%s is in none of the published R4 examples", member)
		}
	}
	// HL7's own break-glass start has the same codes.
	start, err := os.ReadFile(filepath.Join(dir, "fhir", "hl7-auditevent", "auditevent-example-breakglass-start.r5draft.xml"))
	must(t, err)
	a := fhir(audit.Event{Type: "break_glass.start", Outcome: audit.Success, Purpose: "ETREAT"})
	for _, c := range []record.Coding{a.Type, a.Subtype[0], a.Purpose[0].Coding[0]} {
		if !strings.Contains(string(start), `"`+c.System+`"`) || !strings.Contains(string(start), `"`+c.Code+`"`) {
			t.Errorf("%+v is not in HL7's example", c)
		}
	}
}

func members(path string, v any, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			out[path+"."+name] = true
			members(path+"."+name, inner, out)
		}
	case []any:
		for _, inner := range v {
			members(path, inner, out)
		}
	}
}

func TestEventsFilter(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, in *installation) {
		ctx := context.Background()
		in.record(t, 2, audit.Event{Type: "sign_in.key_pin", Outcome: audit.Success})
		in.record(t, 1, audit.Event{Type: "sign_out.user", Outcome: audit.Success})
		in.record(t, 3, audit.Event{Type: "user.update", Outcome: audit.Success, User: "usr_b", Grant: "grt_a", Purpose: "BTG"})
		must(t, in.db.Workspace(ctx, audit.By{Actor: "usr_a"}, "wks_two", func(tx *store.Tx) error {
			_, err := tx.Record(plain)
			return err
		}))
		in.seal(t)
		r := in.recorder()
		for name, c := range map[string]struct {
			filter record.Filter
			want   int
		}{
			"all":              {record.Filter{}, 7},
			"two":              {record.Filter{Limit: 2}, 2},
			"subject":          {record.Filter{Kind: "sign_in"}, 2},
			"type":             {record.Filter{Kind: "sign_in.key_pin"}, 2},
			"half a word":      {record.Filter{Kind: "sign"}, 0},
			"pattern":          {record.Filter{Kind: "%"}, 0},
			"one unknown sign": {record.Filter{Kind: "sign_in.key_pi_"}, 0},
			"about whom":       {record.Filter{User: "usr_b"}, 3},
			"by whom":          {record.Filter{User: "usr_a"}, 3},
			"grant":            {record.Filter{Grant: "grt_a"}, 3},
			"another's grant":  {record.Filter{Grant: "grt_b"}, 0},
			"before":           {record.Filter{Before: 2}, 1},
			"too early":        {record.Filter{To: time.Unix(1, 0)}, 0},
			"no such log":      {record.Filter{Log: 2}, 0},
			"the log by name":  {record.Filter{Log: 1}, 7},
		} {
			got, err := r.Events(ctx, workspace, c.filter)
			must(t, err)
			if len(got) != c.want {
				t.Errorf("%s: %d events, want %d", name, len(got), c.want)
			}
			if !slices.IsSortedFunc(got, func(a, b record.Entry) int { return int(b.Index - a.Index) }) {
				t.Errorf("%s: not newest first", name)
			}
		}
	})
}
