package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/web"
)

func get(method, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	web.Static().ServeHTTP(w, httptest.NewRequest(method, url, nil))
	return w
}

func TestStaticFilesAreKeptForEver(t *testing.T) {
	for name, kind := range map[string]string{
		"mitral.css": "text/css; charset=utf-8", "sheets.css": "text/css; charset=utf-8",
		"page.js": "text/javascript; charset=utf-8", "signin.js": "text/javascript; charset=utf-8",
		"hold.js": "text/javascript; charset=utf-8", "countdown.js": "text/javascript; charset=utf-8",
		"key.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml",
	} {
		url := web.Asset(name)
		w := get(http.MethodGet, url)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != kind || w.Body.Len() == 0 {
			t.Errorf("%s: %d %q, %d bytes", url, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
		if c := w.Header().Get("Cache-Control"); !strings.Contains(c, "immutable") {
			t.Errorf("%s: Cache-Control %q", url, c)
		}
		old := get(http.MethodGet, strings.Replace(url, "?v=", "?v=0", 1))
		if c := old.Header().Get("Cache-Control"); old.Code != http.StatusOK || c != "no-cache" {
			t.Errorf("%s with an old hash: %d, Cache-Control %q", name, old.Code, c)
		}
	}
}

func TestStaticRefuses(t *testing.T) {
	for url, want := range map[string]int{
		"/sdk/static/nothing.css":         http.StatusNotFound,
		"/sdk/static/":                    http.StatusNotFound,
		"/sdk/static/..%2fdoc.go":         http.StatusNotFound,
		"/sdk/static/../../web/static.go": http.StatusNotFound,
		web.Asset("nothing.css"):          http.StatusNotFound,
	} {
		if w := get(http.MethodGet, url); w.Code != want {
			t.Errorf("GET %s is %d, want %d", url, w.Code, want)
		}
	}
	if w := get(http.MethodPost, web.Asset("page.js")); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST is %d, want 405", w.Code)
	}
	if w := get(http.MethodHead, web.Asset("page.js")); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD is %d with %d bytes", w.Code, w.Body.Len())
	}
}

func TestStaticNotModified(t *testing.T) {
	first := get(http.MethodGet, web.Asset("mitral.css"))
	r := httptest.NewRequest(http.MethodGet, web.Asset("mitral.css"), nil)
	r.Header.Set("If-None-Match", first.Header().Get("ETag"))
	w := httptest.NewRecorder()
	web.Static().ServeHTTP(w, r)
	if w.Code != http.StatusNotModified {
		t.Errorf("a known ETag is answered %d, want 304", w.Code)
	}
}

// What is served of the stylesheet is what was written, less comments and
// space; a space before a colon means "inside" and stays.
func TestStylesheetIsSqueezedSafely(t *testing.T) {
	css := get(http.MethodGet, web.Asset("mitral.css")).Body.String()
	for _, want := range []string{".alarm :focus-visible{", "[hidden]{display:none !important}", `content:"!"`, "@media (max-width:30rem){"} {
		if !strings.Contains(css, want) {
			t.Errorf("the stylesheet lost %q", want)
		}
	}
	if strings.Contains(css, "/*") || strings.Contains(css, "\n") {
		t.Error("the stylesheet still has comments or lines")
	}
	if strings.Count(css, "{") != strings.Count(css, "}") {
		t.Error("the stylesheet's braces do not match")
	}
}
