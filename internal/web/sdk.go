package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/mitral-health/mitral/sdk/js"
)

var (
	lockModule    = js.Lock()
	lockModuleTag = tagOf(lockModule)
)

func tagOf(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// serveLockModule serves the browser side of the session. Its address is in
// applications' pages and never changes, so a copy is kept for five minutes and
// then asked about again.
func serveLockModule(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", lockModuleTag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(lockModule))
}
