package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/web/view"
)

// callbackField is the name, in queries and forms, of where to go afterwards.
const callbackField = "callbackUrl"

const maxCallback = 2048

// landing returns an address that a browser may be led to: a path of the origin
// it is on, or an address of an application's. Anything else that was asked for
// is "", and so are the pages that would lead straight back here.
func (c *call) landing(asked string) string {
	u, err := url.Parse(asked)
	switch {
	case err != nil, asked == "", len(asked) > maxCallback, u.User != nil,
		strings.ContainsFunc(asked, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }):
		return ""
	case u.Scheme == "" && u.Host == "" && strings.HasPrefix(asked, "/") && !strings.HasPrefix(asked, "//"):
	case u.Scheme == "http" || u.Scheme == "https":
		if _, app := c.Sessions.AppAt(u.Scheme + "://" + strings.ToLower(u.Host)); !app {
			return ""
		}
	default:
		return ""
	}
	if u.Path == view.PageSignIn || strings.HasPrefix(u.Path, "/api/v1/") {
		return ""
	}
	return asked
}

// callback is the landing that the query or form asks for.
func (c *call) callback() string {
	if c.form != nil {
		return c.landing(c.form.Get(callbackField))
	}
	return c.landing(c.r.URL.Query().Get(callbackField))
}

// origin is the public URL's.
func (s *Web) origin() string { return s.PublicURL.Scheme + "://" + s.PublicURL.Host }

// atHome reports whether the page was asked for under the public URL, and not
// behind an application's proxy.
func (c *call) atHome() bool { return edge.OriginOf(c.ctx()) == c.origin() }

// home is where somebody goes who asked for nothing else. Behind an
// application's proxy that is the application.
func (c *call) home(live *session.Live) string {
	if !c.atHome() {
		return edge.OriginOf(c.ctx()) + "/"
	}
	switch {
	case live.Grant != nil:
		return view.PageEmergency
	case live.Class == identity.Administration:
		return view.PageAdmin
	case live.Class == identity.Review:
		return view.PageBreakGlass
	case c.Demo != nil:
		return view.PageChart
	}
	return view.PageAccount
}

// back is where a call that cannot be answered now leads once it can: the page
// itself, or the page that the form was on.
func (c *call) back() string {
	if c.r.Method == http.MethodGet && !strings.HasPrefix(c.r.URL.Path, postPages) {
		return c.r.URL.RequestURI()
	}
	u, err := url.Parse(c.r.Referer())
	if err != nil || u.Host != c.r.Host || u.Path == "" || strings.HasPrefix(u.Path, "/api/") || u.Path == view.PageSignIn {
		return pageOf(c.r.URL.Path)
	}
	return u.RequestURI()
}

// pageOf is the page with the form that posts to a path. The answer to a form
// stands under that path, and somebody may ask for it again.
func pageOf(post string) string {
	parts := append(strings.Split(strings.TrimPrefix(post, postPages), "/"), "", "", "")
	switch parts[0] {
	case "setup":
		return view.PageSetup
	case "claim":
		return "/claim/" + parts[1]
	case "emergency":
		if parts[2] != "" {
			return ownGrantURL(parts[1])
		}
		return view.PageEmergency
	case "admin":
		page := view.PageAdmin + "/" + parts[1]
		if parts[2] != "" {
			page += "/" + parts[2]
		}
		return page
	case "signin", "unlock", "lock", "signout":
		return view.PageSignIn
	}
	return view.PageAccount
}

// formAgain leads somebody who loads the address of a form's answer anew to the
// page with the form.
func (s *Web) formAgain(c *call) error { return c.redirect(c.back()) }

// with adds a field to an address's query, unless its value is "".
func with(page, field, value string) string {
	if value == "" {
		return page
	}
	mark := "?"
	if strings.Contains(page, "?") {
		mark = "&"
	}
	return page + mark + url.Values{field: {value}}.Encode()
}
