package edge

import (
	"net/http"
	"strings"

	"github.com/mitral-health/mitral/internal/identity"
)

// The API's own headers, for applications on other origins.
const (
	allowedHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, Mitral-Reason, Mitral-Step-Up, X-Auth-Return-Redirect"
	exposedHeaders = "ETag, Retry-After, WWW-Authenticate, X-Request-Id"
	allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
)

// crossSite lets the applications' pages call with the person's cookies (CORS)
// and refuses what any other site's page sends to change something, by
// Sec-Fetch-Site and Origin. A request without either comes from no browser.
func (e *Edge) crossSite(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if callable(r.URL.Path) {
			w.Header().Add("Vary", "Origin")
			if origin := r.Header.Get("Origin"); origin != "" {
				if _, app := e.sessions.AppAt(origin); app {
					e.allow(w, origin)
					if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
						w.WriteHeader(http.StatusNoContent)
						return
					}
				}
			}
		}
		if err := e.cross.Check(r); err != nil {
			WriteProblem(w, r, identity.Refuse(identity.Forbidden, "cross_site", "This was sent from another site's page. Open Mitral itself and try again."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (e *Edge) allow(w http.ResponseWriter, origin string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Allow-Methods", allowedMethods)
	h.Set("Access-Control-Allow-Headers", allowedHeaders)
	h.Set("Access-Control-Expose-Headers", exposedHeaders)
	h.Set("Access-Control-Max-Age", "600")
}

// callable reports paths that applications' pages may call from their own
// origin: the API but for what pages of ours post.
func callable(path string) bool {
	return isShared(path) || strings.HasPrefix(path, "/api/v1/") && !strings.HasPrefix(path, "/api/v1/pages/")
}
