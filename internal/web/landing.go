package web

import (
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

// home is where somebody goes who asked for nothing else. Behind an
// application's proxy that is the application.
func (c *call) home(live *session.Live) string {
	public := c.PublicURL.Scheme + "://" + c.PublicURL.Host
	if origin := edge.OriginOf(c.ctx()); origin != "" && origin != public {
		return origin + "/"
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

// back is the page that a form was on, where that can be loaded again.
func (c *call) back() string {
	if c.r.Method == "GET" {
		return c.r.URL.RequestURI()
	}
	u, err := url.Parse(c.r.Referer())
	if err != nil || u.Host != c.r.Host || u.Path == "" || strings.HasPrefix(u.Path, "/api/") || u.Path == view.PageSignIn {
		return view.PageAccount
	}
	return u.RequestURI()
}

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
