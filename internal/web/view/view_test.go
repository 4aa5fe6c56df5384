package view_test

import (
	"bytes"
	"context"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/mitral-health/mitral/internal/web/view"
)

// element is one start tag of a rendered page. Templ writes every attribute
// value in double quotes, so that two expressions read all of it.
type element struct {
	name  string
	attrs map[string]string
}

var (
	startTag  = regexp.MustCompile(`<([a-z][a-z0-9-]*)((?:\s+[^\s=>"]+(?:="[^"]*")?)*)\s*/?>`)
	attribute = regexp.MustCompile(`([^\s="]+)(?:="([^"]*)")?`)
)

func elements(page string) []element {
	var list []element
	for _, m := range startTag.FindAllStringSubmatch(page, -1) {
		e := element{m[1], map[string]string{}}
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			e.attrs[a[1]] = html.UnescapeString(a[2])
		}
		list = append(list, e)
	}
	return list
}

func render(t *testing.T, s sample) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.page.Render(context.Background(), &b); err != nil {
		t.Fatalf("couldn't render %s: %v", s.name, err)
	}
	return b.String()
}

func eachPage(t *testing.T, check func(t *testing.T, page string, all []element)) {
	t.Helper()
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			page := render(t, s)
			check(t, page, elements(page))
		})
	}
}

func TestEveryPageIsFilled(t *testing.T) {
	for _, s := range samples() {
		if page := render(t, s); !strings.Contains(page, s.says) {
			t.Errorf("%s does not contain %q", s.name, s.says)
		}
	}
}

func TestPagesReadAlike(t *testing.T) {
	eachPage(t, func(t *testing.T, page string, all []element) {
		seen := map[string]int{}
		for _, e := range all {
			seen[e.name]++
		}
		for _, name := range []string{"html", "head", "title", "main", "footer"} {
			if seen[name] != 1 {
				t.Errorf("%d elements %s, want 1", seen[name], name)
			}
		}
		if seen["h1"] == 0 {
			t.Error("no h1")
		}
		if !strings.HasPrefix(page, `<!doctype html><html lang="en" dir="ltr">`) {
			t.Errorf("begins %.60s", page)
		}
	})
}

func TestIDsAreUnique(t *testing.T) {
	eachPage(t, func(t *testing.T, _ string, all []element) {
		seen := map[string]bool{}
		for _, e := range all {
			id, ok := e.attrs["id"]
			if !ok {
				continue
			}
			if seen[id] || id == "" {
				t.Errorf("id %q twice, or empty", id)
			}
			seen[id] = true
		}
		for _, e := range all {
			for _, name := range []string{"for", "list", "form", "data-reveal", "data-copy", "data-pad"} {
				if id, ok := e.attrs[name]; ok && !seen[id] {
					t.Errorf("%s=%q names nothing", name, id)
				}
			}
			for id := range strings.FieldsSeq(e.attrs["aria-describedby"]) {
				if !seen[id] {
					t.Errorf("aria-describedby names %q, which is not there", id)
				}
			}
		}
	})
}

func TestEveryFieldHasALabel(t *testing.T) {
	eachPage(t, func(t *testing.T, page string, all []element) {
		labelled := map[string]bool{}
		for _, e := range all {
			if e.name == "label" {
				labelled[e.attrs["for"]] = true
			}
		}
		wrapped := regexp.MustCompile(`<label class="(?:choice|check)"><input[^>]* id="([^"]+)"`)
		for _, m := range wrapped.FindAllStringSubmatch(page, -1) {
			labelled[m[1]] = true
		}
		for _, e := range all {
			switch e.name {
			case "input", "select", "textarea":
			default:
				continue
			}
			if e.attrs["type"] == "hidden" || e.attrs["aria-label"] != "" {
				continue
			}
			if !labelled[e.attrs["id"]] {
				t.Errorf("%s %q has no label", e.name, e.attrs["name"])
			}
		}
	})
}

func TestNothingInline(t *testing.T) {
	eachPage(t, func(t *testing.T, page string, all []element) {
		for _, e := range all {
			for name, value := range e.attrs {
				if strings.HasPrefix(name, "on") || name == "style" {
					t.Errorf("%s has %s=%q", e.name, name, value)
				}
			}
			switch e.name {
			case "style", "iframe", "img", "object":
				t.Errorf("there is a %s", e.name)
			case "script":
				if e.attrs["nonce"] == "" || e.attrs["src"] == "" {
					t.Errorf("script without nonce or src: %v", e.attrs)
				}
			}
			for _, name := range []string{"src", "action"} {
				if url, ok := e.attrs[name]; ok && (!strings.HasPrefix(url, "/") || strings.HasPrefix(url, "//")) {
					t.Errorf("%s leads elsewhere: %q", name, url)
				}
			}
		}
		if strings.Contains(page, "<script>") || strings.Contains(page, "javascript:") {
			t.Error("there is inline script")
		}
	})
}

// Page forms need the refresh cookie, whose path is /api/v1, and must never be
// sent by a GET that a log would keep.
func TestPostsGoUnderTheAPI(t *testing.T) {
	posts := 0
	eachPage(t, func(t *testing.T, page string, all []element) {
		for _, e := range all {
			if e.name != "form" {
				continue
			}
			if e.attrs["method"] == "get" {
				continue
			}
			posts++
			action := e.attrs["action"]
			if e.attrs["method"] != "post" || !strings.HasPrefix(action, "/api/v1/pages/") && !strings.HasPrefix(action, "/api/v1/auth/") && action != "/demo/gallery" {
				t.Errorf("form posts to %q by %q", action, e.attrs["method"])
			}
		}
	})
	if posts < 60 {
		t.Errorf("only %d posts were looked at", posts)
	}
}

func TestPINsAndKeysAreTypedAsTheSpecificationSays(t *testing.T) {
	pins, keys := 0, 0
	eachPage(t, func(t *testing.T, _ string, all []element) {
		for _, e := range all {
			if e.name != "input" || e.attrs["type"] == "hidden" {
				continue
			}
			switch name := e.attrs["name"]; name {
			case "pin", "current_pin", "new_pin":
				pins++
				for attr, want := range map[string]string{"type": "password", "inputmode": "numeric", "autocomplete": "off"} {
					if e.attrs[attr] != want {
						t.Errorf("%s has %s=%q, want %q", name, attr, e.attrs[attr], want)
					}
				}
				if _, ok := e.attrs["data-1p-ignore"]; !ok {
					t.Errorf("a password manager would fill %s", name)
				}
				if _, ok := e.attrs["maxlength"]; ok {
					t.Errorf("%s cuts what is pasted", name)
				}
				if e.attrs["value"] != "" {
					t.Errorf("%s is filled", name)
				}
			case "key":
				keys++
				want := "current-password"
				if e.attrs["value"] != "" {
					want = "new-password"
				}
				if e.attrs["type"] != "password" || e.attrs["autocomplete"] != want {
					t.Errorf("key is %q with autocomplete %q, want %q", e.attrs["type"], e.attrs["autocomplete"], want)
				}
			}
		}
	})
	if pins < 10 || keys < 3 {
		t.Errorf("looked at %d PINs and %d keys only", pins, keys)
	}
}

func TestRequiredFields(t *testing.T) {
	want := map[string][]string{
		"signin":           {"identifier", "key", "pin", "callbackUrl"},
		"signin-pin":       {"held", "pin"},
		"lock":             {"pin", "callbackUrl"},
		"challenge":        {"code", "method"},
		"nextstep-pin":     {"current_pin", "new_pin"},
		"setup-clinic":     {"token", "name", "time_zone", "reach", "preset"},
		"setup-you":        {"name", "email", "phone", "pin"},
		"setup-sheet":      {"kept", "identifier", "key"},
		"setup-people":     {"name", "email", "phone", "role", "skip"},
		"claim":            {"code", "pin"},
		"claim-key":        {"identifier", "key", "last_two", "recovery_code"},
		"emergency-own":    {"authority", "for", "pin", "category", "reason", "patient_ref", "unidentified", "idempotency_key", "workspace"},
		"emergency-sealed": {"authority", "sealed_code", "who", "subject", "visiting_name", "visiting_reg_no", "category", "reason", "identifier", "code"},
		"emergency-drill":  {"drill"},
		"emergency-open":   {"patient_ref"},
		"emergency-over":   {"text"},
		"account":          {"current_pin", "new_pin"},
		"person-new":       {"name", "email", "phone", "role", "channel"},
		"person":           {"name", "phone", "role", "channel", "checked", "reset"},
		"record":           {"person", "type", "from", "to"},
		"story":            {"text", "verdict", "fix", "comment"},
		"sealed":           {"count", "location"},
		"policy-edit":      {"document", "etag", "reason", "confirm"},
		"stepup":           {"pin", "channel"},
	}
	for _, s := range samples() {
		have := map[string]bool{}
		for _, e := range elements(render(t, s)) {
			have[e.attrs["name"]] = true
		}
		for _, name := range want[s.name] {
			if !have[name] {
				t.Errorf("%s has no field %q", s.name, name)
			}
		}
		delete(want, s.name)
	}
	if len(want) > 0 {
		t.Errorf("no such pages: %v", want)
	}
}

// What a page shows signed out must not have the signed-in menu, nor beat.
func TestOnlyAPersonBeats(t *testing.T) {
	for _, s := range samples() {
		page := render(t, s)
		beats := strings.Contains(page, "<mitral-lock")
		menu := strings.Contains(page, `aria-label="Sections"`)
		script := strings.Contains(page, "/sdk/mitral-lock.js")
		if beats != menu || beats != script {
			t.Errorf("%s: heartbeat %v, menu %v, script %v", s.name, beats, menu, script)
		}
	}
}

// A first visit must load in 60 kB, over a bad line, with nothing compressed.
func TestPagesAreSmall(t *testing.T) {
	const limit, lockModule = 60_000, 18_000
	size := func(path string) int {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatalf("couldn't weigh %s: %v", path, err)
		}
		return int(info.Size())
	}
	eachPage(t, func(t *testing.T, page string, all []element) {
		weight := len(page)
		for _, e := range all {
			url := e.attrs["src"] + e.attrs["href"]
			switch {
			case e.name == "script" && strings.HasSuffix(url, "mitral-lock.js"):
				weight += lockModule
			case e.name == "script" || e.name == "link":
				weight += size(filepath.Join("..", "static", filepath.Base(url)))
			}
		}
		if weight >= limit {
			t.Errorf("weighs %d bytes, limit %d", weight, limit)
		}
	})
}

func TestHostileTextStaysText(t *testing.T) {
	const nasty = `"><script>alert(1)</script><a href="javascript:alert(1)`
	f := frame(grace)
	f.Workspace, f.Device, f.Title = nasty, nasty, nasty
	f.Notice = Notice{Title: nasty, Link: Link{nasty, "javascript:alert(1)"}}
	for name, page := range map[string]sample{
		"person":    {page: PersonPage(PersonView{Frame: f, Person: PersonRow{ID: nasty, Name: nasty, Email: nasty}, Phone: nasty, Activity: []Event{{Who: nasty, Did: nasty, Detail: nasty}}})},
		"signin":    {page: SignInPage(SignIn{Frame: f, KeyPIN: true, Identifier: nasty, CallbackURL: nasty, Errors: FieldErrors{"": nasty, "key": nasty}})},
		"emergency": {page: EmergencyPage(Emergency{Frame: f, Reason: "</textarea>" + nasty, Subject: nasty})},
	} {
		html := render(t, page)
		if strings.Contains(html, "<script>") || strings.Contains(html, `="javascript:`) {
			t.Errorf("%s lets markup through", name)
		}
		if !strings.Contains(html, "&lt;script&gt;") {
			t.Errorf("%s lost the text", name)
		}
	}
}
