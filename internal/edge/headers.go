package edge

import (
	"net/http"
	"strings"
)

// contentSecurityPolicy returns the policy (CSP Level 3) before and after the
// nonce. Forms may lead on to the applications, because a sign-in ends there
// and browsers apply form-action to the redirect too.
func contentSecurityPolicy(origins []string) [2]string {
	return [2]string{
		"default-src 'none'; script-src 'nonce-",
		"' 'strict-dynamic'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
			"form-action 'self' " + strings.Join(origins, " ") + "; frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
	}
}

// permissions turns off what no page of a sign-in server needs; passkeys stay.
const permissions = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), " +
	"midi=(), payment=(), usb=(), publickey-credentials-create=(self), publickey-credentials-get=(self)"

// headers says what a browser may do with the answer. A handler may set any of
// them otherwise.
func (e *Edge) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", e.policy[0]+Nonce(r.Context())+e.policy[1])
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", referrer(r.URL.Path))
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", permissions)
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if isShared(r.URL.Path) {
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		}
		if e.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		}
		next.ServeHTTP(w, r)
	})
}

// referrer keeps addresses that hold a token to themselves. The others are told
// to Mitral only, so that a form's Origin header stays readable.
func referrer(path string) string {
	if strings.HasPrefix(path, "/claim/") || strings.HasPrefix(path, "/setup") || strings.HasPrefix(path, "/api/v1/auth/callback/") ||
		strings.HasPrefix(path, "/api/v1/claims/") {
		return "no-referrer"
	}
	return "same-origin"
}

// isShared reports paths whose answers are the same for everybody and meant to
// be loaded by applications' pages.
func isShared(path string) bool {
	return strings.HasPrefix(path, "/sdk/") || path == "/.well-known/jwks.json"
}
