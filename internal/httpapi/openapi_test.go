package httpapi_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/identity"
)

var update = flag.Bool("update", false, "write the golden copy of the OpenAPI document")

func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	a := d.browser().get("/api/v1/openapi.json").must(200)
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, []byte(a.text), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(want, []byte(a.text)) {
		t.Errorf("the document differs from %s: look at the difference, then go test -run OpenAPI ./internal/httpapi -update", golden)
	}
	if a.get("openapi") != "3.1.0" {
		t.Errorf("the document is OpenAPI %v", a.get("openapi"))
	}
	if strings.Contains(a.text, "$schema") || strings.Contains(a.text, `"value"`) {
		t.Error("the document has what the framework adds of its own")
	}
}

// operation is one operation of the document, with its body's schema resolved.
type operation struct {
	method, path, id string
	secured          bool
	body             map[string]any // nil without a JSON body
	required         bool
}

func operations(t *testing.T, d *desk) []operation {
	t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string           `json:"operationId"`
			Security    []map[string]any `json:"security"`
			RequestBody *struct {
				Required bool `json:"required"`
				Content  map[string]struct {
					Schema map[string]any `json:"schema"`
				} `json:"content"`
			} `json:"requestBody"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	must(t, json.Unmarshal(d.api.OpenAPI(), &doc))
	var out []operation
	for path, item := range doc.Paths {
		for method, op := range item {
			o := operation{method: strings.ToUpper(method), path: path, id: op.OperationID, secured: len(op.Security) > 0}
			if op.RequestBody != nil {
				if content, ok := op.RequestBody.Content["application/json"]; ok {
					o.body, o.required = resolve(content.Schema, doc.Components.Schemas), op.RequestBody.Required
				}
			}
			out = append(out, o)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].path+out[i].method < out[j].path+out[j].method })
	return out
}

func resolve(s map[string]any, all map[string]map[string]any) map[string]any {
	if ref, ok := s["$ref"].(string); ok {
		return resolve(all[ref[strings.LastIndexByte(ref, '/')+1:]], all)
	}
	return s
}

// address fills the path's places in.
func (o operation) address() string {
	path := strings.ReplaceAll(o.path, "{id}", "usr_nobody")
	return strings.ReplaceAll(path, "{token}", "notoken")
}

// The contract's routes are all there.
func TestContractRoutes(t *testing.T) {
	t.Parallel()
	var have []string
	for _, o := range operations(t, newDesk(t)) {
		have = append(have, o.method+" "+o.path)
	}
	for _, want := range strings.Split(strings.TrimSpace(`
POST /api/v1/auth/key-pin
POST /api/v1/auth/magic-link
POST /api/v1/auth/passkey/begin
POST /api/v1/auth/passkey/finish
GET /api/v1/auth/providers
GET /api/v1/auth/csrf
POST /api/v1/auth/signin/{provider}
POST /api/v1/auth/callback/{provider}
POST /api/v1/auth/signout
GET /api/v1/auth/session
POST /api/v1/auth/session
POST /api/v1/auth/mfa/challenge
POST /api/v1/auth/mfa/verify
POST /api/v1/auth/mfa/enroll
POST /api/v1/auth/mfa/enroll/confirm
GET /api/v1/auth/factors
DELETE /api/v1/auth/factors/{id}
POST /api/v1/auth/recovery-codes
GET /api/v1/claims/{token}
POST /api/v1/claims/{token}
PUT /api/v1/auth/pin
POST /api/v1/auth/key/rotate
POST /api/v1/session/heartbeat
POST /api/v1/session/lock
POST /api/v1/session/unlock
POST /api/v1/session/refresh
GET /api/v1/session/resume
POST /api/v1/session/step-up
GET /api/v1/session/events
GET /api/v1/sessions
DELETE /api/v1/sessions/{id}
DELETE /api/v1/sessions
POST /api/v1/authz/check
POST /api/v1/session/token
GET /api/v1/authz/forward
GET /.well-known/jwks.json
POST /api/v1/break-glass
GET /api/v1/break-glass
GET /api/v1/break-glass/{id}
POST /api/v1/break-glass/{id}/end
POST /api/v1/break-glass/{id}/acknowledge
POST /api/v1/break-glass/{id}/note
POST /api/v1/break-glass/{id}/review
POST /api/v1/break-glass/{id}/patients
POST /api/v1/break-glass/pickup
POST /api/v1/break-glass/codes
GET /api/v1/break-glass/codes
GET /api/v1/workspaces
GET /api/v1/users
POST /api/v1/users
GET /api/v1/users/{id}
PATCH /api/v1/users/{id}
POST /api/v1/users/{id}/claims
POST /api/v1/users/{id}/enrollment-code
GET /api/v1/policy
PUT /api/v1/policy
GET /api/v1/devices
GET /api/v1/plans
GET /api/v1/audit/events
GET /api/v1/audit/export
GET /api/v1/audit/checkpoint
GET /api/v1/audit/proof/inclusion
GET /api/v1/audit/proof/consistency
GET /api/v1/openapi.json`), "\n") {
		if !slices.Contains(have, want) {
			t.Errorf("%s is not in the document", want)
		}
	}
}

// marker is text that no answer may repeat.
const marker = "Zq7PleaseNeverRepeatThis"

// Every JSON route refuses every kind of bad body with a field and a reason,
// repeats nothing of it, and leaves nothing behind. It is tried signed out and
// by an administrator.
func TestBadInputOnEveryRoute(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	admin := d.signedIn(d.Admin)
	before := len(d.Events())
	tried := 0
	for _, o := range operations(t, d) {
		if o.body == nil {
			continue
		}
		for _, bad := range badBodies(o) {
			for who, b := range map[string]*browser{"signed out": d.browser(), "administrator": admin} {
				a := b.ask(o.method, o.address(), bad.headers(), bad.body)
				tried++
				if a.status < 400 || a.status > 499 || a.header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%s %s, %s, %s: %d %.200s", o.method, o.path, bad.name, who, a.status, a.text)
					continue
				}
				if strings.Contains(a.text, marker) || strings.Contains(a.text, strings.ToLower(marker)) {
					t.Errorf("%s %s, %s: the answer repeats what was sent: %s", o.method, o.path, bad.name, a.text)
				}
				if bad.status > 0 && a.status != bad.status {
					t.Errorf("%s %s, %s, %s: %d %.200s, want %d", o.method, o.path, bad.name, who, a.status, a.text, bad.status)
				}
				if bad.field == "" {
					continue
				}
				fields, _ := a.get("errors").([]any)
				found := slices.ContainsFunc(fields, func(f any) bool {
					m, _ := f.(map[string]any)
					return m["field"] == bad.field && m["code"] != "" && m["detail"] != ""
				})
				if !found {
					t.Errorf("%s %s, %s, %s: %s names no field %s", o.method, o.path, bad.name, who, a.text, bad.field)
				}
			}
		}
	}
	if tried < 1000 {
		t.Errorf("only %d bodies were tried", tried)
	}
	if after := len(d.Events()); after != before {
		t.Errorf("%d events were left behind", after-before)
	}
	if users := admin.get("/api/v1/users").must(200).get("users").([]any); len(users) != 1 {
		t.Errorf("%d people are there, want the administrator alone", len(users))
	}
}

type badBody struct {
	name, body, kind, field string
	status                  int
}

func (b badBody) headers() map[string]string {
	kind := b.kind
	if kind == "" {
		kind = "application/json"
	}
	return map[string]string{"Content-Type": kind, "If-Match": `"1"`}
}

func badBodies(o operation) []badBody {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	all := []badBody{
		{name: "a list", body: `["` + marker + `"]`, field: "body", status: 422},
		{name: "text", body: `"` + marker + `"`, field: "body", status: 422},
		{name: "a number", body: `1`, field: "body", status: 422},
		{name: "no JSON", body: `{"` + marker, field: "body", status: 400},
		{name: "two values", body: `{} {"` + marker + `":1}`, field: "body", status: 400},
		{name: "no UTF-8", body: "{\"x\":\"" + marker + "\xff\"}", field: "body", status: 400},
		{name: "duplicate of an unknown member", body: `{"` + marker + `":1,"` + marker + `":2}`, field: "body", status: 400},
		{name: "deep", body: `{"` + marker + `":` + deep + `}`, field: "body", status: 400},
		{name: "oversized", body: `{"x":"` + strings.Repeat(marker, 4000) + `"}`, field: "body", status: 413},
		{name: "a form", body: "x=" + marker, kind: "application/x-www-form-urlencoded", status: 415},
		{name: "plain text", body: marker, kind: "text/plain", status: 415},
	}
	if o.id == "change-policy" {
		// Its members are the policy's own reader's: see package policy.
		for i := range all[:3] {
			all[i].field, all[i].status = "", 0
		}
		return all
	}
	if o.required {
		all = append(all, badBody{name: "nothing", kind: "application/json", field: "body", status: 400})
	}
	for _, name := range names(o.body["required"]) {
		all = append(all, badBody{name: "without " + name, body: without(o.body, name), field: name, status: 422})
	}
	properties, _ := o.body["properties"].(map[string]any)
	for name, p := range properties {
		schema, _ := p.(map[string]any)
		wrong := `{"wrong":"` + marker + `"}`
		if typeOf(schema) == "object" || schema["$ref"] != nil {
			wrong = `"` + marker + `"`
		}
		all = append(all,
			badBody{name: "wrong type of " + name, body: with(o.body, name, wrong), field: name, status: 422},
			badBody{name: "duplicate " + name, body: fmt.Sprintf(`{%q:1,%q:"%s"}`, name, name, marker), field: name, status: 400},
			badBody{name: "deep " + name, body: fmt.Sprintf(`{%q:%s}`, name, deep), field: name, status: 400},
			badBody{name: "no text in " + name, body: fmt.Sprintf(`{%q:"%s\u0000"}`, name, marker), field: name, status: 400})
		if typeOf(schema) == "string" && schema["maxLength"] != nil {
			all = append(all, badBody{name: "long " + name, body: with(o.body, name, `"`+strings.Repeat(marker, 400)+`"`), field: name, status: 422})
		}
		if schema["enum"] != nil {
			all = append(all, badBody{name: "unknown word in " + name, body: with(o.body, name, `"`+marker+`"`), field: name, status: 422})
		}
	}
	return all
}

func names(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, n := range list {
		out = append(out, n.(string))
	}
	return out
}

// typeOf is the schema's type, of which "null" may be one.
func typeOf(schema map[string]any) string {
	switch typ := schema["type"].(type) {
	case string:
		return typ
	case []any:
		return typ[0].(string)
	}
	return ""
}

// with is a body whose members are in order but for one.
func with(schema map[string]any, name, value string) string {
	var members []string
	for _, n := range names(schema["required"]) {
		if n != name {
			members = append(members, fmt.Sprintf("%q:%s", n, good(schema, n)))
		}
	}
	return "{" + strings.Join(append(members, fmt.Sprintf("%q:%s", name, value)), ",") + "}"
}

func without(schema map[string]any, name string) string {
	var members []string
	for _, n := range names(schema["required"]) {
		if n != name {
			members = append(members, fmt.Sprintf("%q:%s", n, good(schema, n)))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

// good is a value of the member's type.
func good(schema map[string]any, name string) string {
	p, _ := schema["properties"].(map[string]any)[name].(map[string]any)
	if words, ok := p["enum"].([]any); ok {
		return fmt.Sprintf("%q", words[0])
	}
	switch typeOf(p) {
	case "integer", "number":
		return "1"
	case "boolean":
		return "true"
	case "array":
		return "[]"
	case "string":
		return `"x"`
	}
	return "{}"
}

// Every route that needs a session says so when there is none, and, of the
// contract's list apart, when it is locked.
func TestRoutesWantTheirSession(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.Add(identity.Nurse)
	whileLocked := []string{"unlock-session", "refresh-session", "step-up"}
	tried := 0
	for _, o := range operations(t, d) {
		if !o.secured {
			continue
		}
		tried++
		body, kind := "", ""
		if o.body != nil {
			body, kind = with(o.body, "-", "1"), "application/json"
		}
		query := ""
		switch {
		case o.id == "export-events":
			query = "?format=csv"
		case strings.HasPrefix(o.id, "prove-"):
			query = "?index=0&size=1&from=1&to=1"
		}
		headers := map[string]string{"If-Match": `"1"`}
		if kind != "" {
			headers["Content-Type"] = kind
		}
		d.browser().ask(o.method, o.address()+query, headers, body).refused(401, "signed_out")
		b := d.signedIn(p)
		b.post("/api/v1/session/lock", object{}).must(200)
		a := b.ask(o.method, o.address()+query, headers, body)
		if slices.Contains(whileLocked, o.id) {
			if a.status == 423 && o.id != "step-up" {
				t.Errorf("%s is refused while locked: %s", o.id, a.text)
			}
			continue
		}
		a.refused(423, "session_locked")
		if cookies := strings.Join(a.header.Values("Set-Cookie"), "\n"); !strings.Contains(cookies, "authjs.session-token=") {
			t.Errorf("%s: a 423 does not set the lock's cookie again: %q", o.id, cookies)
		}
	}
	if tried < 30 {
		t.Errorf("only %d routes need a session", tried)
	}
}

func TestNothingThere(t *testing.T) {
	t.Parallel()
	b := newDesk(t).browser()
	b.get("/api/v1/nothing").refused(404, "not_found")
	a := b.get("/api/v1/auth/key-pin").refused(405, "method_not_allowed")
	if a.header.Get("Allow") != "POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
}
