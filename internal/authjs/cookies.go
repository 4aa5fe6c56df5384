package authjs

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
)

// csrfPurpose is what the keyring's tag is for.
const csrfPurpose = "csrf"

func (d *Door) cookieName(prefix, use string) string {
	name := "authjs." + use
	if d.v4 {
		name = "next-auth." + use
	}
	if d.secure {
		return prefix + name
	}
	return name
}

func (d *Door) csrfName() string     { return d.cookieName("__Host-", "csrf-token") }
func (d *Door) callbackName() string { return d.cookieName("__Secure-", "callback-url") }

// token returns the csrf token of the browser's cookie, or "". The cookie is
// "token|tag"; the tag is the keyring's, compared in constant time.
func (d *Door) token(v *visit) string {
	token, tag, ok := strings.Cut(v.Cookie(d.csrfName()), "|")
	if !ok || len(token) != 64 || !d.keys.Verify(csrfPurpose, tag, token) {
		return ""
	}
	return token
}

// csrfGood reports whether a post carries the token that its browser was given.
func (d *Door) csrfGood(v *visit) bool {
	token := d.token(v)
	return token != "" && equal(v.form.Get("csrfToken"), token)
}

// csrf answers the browser's token, a fresh one where it has none.
func (d *Door) csrf(w http.ResponseWriter, r *http.Request, v *visit) {
	h := w.Header()
	h.Set("Cache-Control", "private, no-cache, no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "0")
	writeJSON(w, http.StatusOK, map[string]string{"csrfToken": d.keep(v, r)})
}

// keep sets the cookies that any answer of the protocol sets, and returns the
// csrf token: that cookie when the browser had none that verifies, the
// callback's when another address was asked for.
func (d *Door) keep(v *visit, r *http.Request) string {
	token := d.token(v)
	if token == "" {
		var b [32]byte
		_, _ = rand.Read(b[:])
		token = hex.EncodeToString(b[:])
		d.set(v, d.csrfName(), token+"|"+d.keys.Tag(csrfPurpose, token))
	}
	if to := d.callbackURL(v, r); to != v.Cookie(d.callbackName()) {
		d.set(v, d.callbackName(), to)
	}
	return token
}

func (d *Door) set(v *visit, name, value string) {
	// The wire form is JavaScript's encodeURIComponent.
	value = strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
	v.SetCookie(&http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: d.secure, SameSite: http.SameSiteLaxMode})
}

// callbackURL is where the browser goes afterwards: from the body, else the
// query, else the cookie, else the origin itself.
func (d *Door) callbackURL(v *visit, r *http.Request) string {
	for _, asked := range []string{v.form.Get("callbackUrl"), r.URL.Query().Get("callbackUrl"), v.Cookie(d.callbackName())} {
		if asked != "" {
			return d.landing(v.origin, asked)
		}
	}
	return v.origin
}

// landing returns an address to send a browser to: a path under the origin, or
// an address of the origin's, the public URL's or an application's. Whatever
// else was asked for is the origin.
func (d *Door) landing(origin, asked string) string {
	u, err := url.Parse(asked)
	switch {
	case err != nil, len(asked) > 2048:
	case strings.HasPrefix(asked, "/"):
		// Prefixing keeps "//elsewhere" and "/\elsewhere" on the origin.
		if u, err := url.Parse(origin + asked); err == nil {
			return u.String()
		}
	case u.Scheme == "http" || u.Scheme == "https":
		if _, app := d.sessions.AppAt(u.Scheme + "://" + strings.ToLower(u.Host)); app && u.User == nil {
			return u.String()
		}
	}
	return origin
}
