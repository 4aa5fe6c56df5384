package authjs

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"regexp"
)

// word is what may be handed on to a page: an error's or provider's name.
var word = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// signInPage leads to Mitral's own sign-in page. It never starts anything: a
// link on another page must not sign anybody in.
func (d *Door) signInPage(w http.ResponseWriter, r *http.Request, v *visit) {
	q := r.URL.Query()
	to := url.Values{}
	if q.Get("callbackUrl") != "" {
		to.Set("callbackUrl", d.callbackURL(v, r))
	}
	switch {
	case word.MatchString(q.Get("error")):
		to.Set("error", q.Get("error"))
	case q.Get("csrf") == "true":
		to.Set("error", "MissingCSRF")
	case r.PathValue("provider") != "" && !d.v4:
		to.Set("error", "Configuration")
	}
	if word.MatchString(q.Get("code")) {
		to.Set("code", q.Get("code"))
	}
	d.keep(v, r)
	d.page(w, v.origin+"/signin", to)
}

// fixedSignIn is where v4 clients send a page that requires a session, whatever
// their base path is.
func (d *Door) fixedSignIn(w http.ResponseWriter, r *http.Request, v *visit) { d.signInPage(w, r, v) }

// errorPage shows errors on the sign-in page, in words, with what to do next.
func (d *Door) errorPage(w http.ResponseWriter, r *http.Request, v *visit) {
	q := r.URL.Query()
	to := url.Values{}
	for _, name := range []string{"error", "code", "provider"} {
		if word.MatchString(q.Get(name)) {
			to.Set(name, q.Get(name))
		}
	}
	if len(to) == 0 {
		to.Set("error", "Configuration")
	}
	d.page(w, v.origin+"/signin", to)
}

// signOutPage leads to the page that has the button: a link signs nobody out.
func (d *Door) signOutPage(w http.ResponseWriter, _ *http.Request, v *visit) {
	d.page(w, v.origin+"/account", nil)
}

func (d *Door) page(w http.ResponseWriter, to string, q url.Values) {
	if len(q) > 0 {
		to += "?" + q.Encode()
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusFound)
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
