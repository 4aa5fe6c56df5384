package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/web/view"
)

//go:embed static/*.css static/*.js static/*.svg
var staticFiles embed.FS

// asset is one static file as it is served.
type asset struct {
	name, contentType, version string
	body                       []byte
}

var assets = loadAssets()

// Asset returns the URL path of a file of static/, with a hash of its content,
// so that it may be kept for ever. A name that does not exist gives a path that
// answers 404.
func Asset(name string) string {
	a, ok := assets[name]
	if !ok {
		return view.StaticPath + name
	}
	return view.StaticPath + name + "?v=" + a.version
}

// Static serves the files of static/ under view.StaticPath: for a year and
// immutable when asked with the present hash, else with revalidation. It holds
// no secrets and asks for no session.
func Static() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := assets[strings.TrimPrefix(r.URL.Path, view.StaticPath)]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", a.contentType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("ETag", `"`+a.version+`"`)
		if r.URL.Query().Get("v") == a.version {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			h.Set("Cache-Control", "no-cache")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.body))
	})
}

func loadAssets() map[string]asset {
	types := map[string]string{
		".css": "text/css; charset=utf-8",
		".js":  "text/javascript; charset=utf-8",
		".svg": "image/svg+xml",
	}
	found := map[string]asset{}
	entries, _ := staticFiles.ReadDir("static") // an embedded folder cannot fail to read
	for _, e := range entries {
		body, _ := staticFiles.ReadFile("static/" + e.Name())
		kind := path.Ext(e.Name())
		if kind == ".css" {
			body = squeeze(body)
		}
		sum := sha256.Sum256(body)
		found[e.Name()] = asset{e.Name(), types[kind], hex.EncodeToString(sum[:8]), body}
	}
	return found
}

var (
	cssComment = regexp.MustCompile(`(?s)/\*.*?\*/`)
	cssSpace   = regexp.MustCompile(`\s+`)
	cssAround  = regexp.MustCompile(` ?([{};,>]) ?`)
)

// squeeze takes comments and needless space out of a stylesheet. Space before a
// colon stays: in a selector it means "inside".
func squeeze(css []byte) []byte {
	css = cssComment.ReplaceAll(css, nil)
	css = cssSpace.ReplaceAll(css, []byte(" "))
	css = cssAround.ReplaceAll(css, []byte("$1"))
	css = bytes.ReplaceAll(css, []byte(": "), []byte(":"))
	css = bytes.ReplaceAll(css, []byte(";}"), []byte("}"))
	return bytes.TrimSpace(css)
}
