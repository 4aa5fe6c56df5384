package web

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/a-h/templ"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// call is one request for a page, or one form, while it is answered.
type call struct {
	*Web
	w     http.ResponseWriter
	r     *http.Request
	visit *session.Visit
	form  url.Values // of a POST
	live  *session.Live
	space directory.Workspace // of live, or what the page is for; read when first asked for
}

func (c *call) ctx() context.Context { return c.r.Context() }

// serve makes a handler of a route.
func (s *Web) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Web: s, w: w, r: r, visit: edge.VisitOf(r.Context())}
		err := c.prepare(rt)
		if err == nil {
			err = rt.handle(c)
		}
		if err != nil {
			c.fail(err)
		}
	})
}

// prepare reads the form and finds the session, as the route needs them.
func (c *call) prepare(rt route) error {
	if strings.HasPrefix(rt.pattern, http.MethodPost+" ") {
		if err := c.sameOrigin(); err != nil {
			return err
		}
		form, err := edge.ReadForm(c.w, c.r)
		if err != nil {
			return err
		}
		c.form = form
	}
	if rt.need == anyone {
		return nil
	}
	live, err := c.Sessions.Check(c.ctx(), c.visit, rt.use)
	c.live = live
	switch {
	case err == nil:
		// A person's own step is activity; what a page loads by itself is not.
		if c.r.Header.Get("Sec-Fetch-User") == "?1" {
			c.Sessions.Touch(live)
		}
		return nil
	case rt.need == perhaps && (errors.Is(err, session.ErrSignedOut) || errors.Is(err, session.ErrLocked)):
		return nil
	}
	return err
}

// sameOrigin refuses a form that another origin's page sent, an application's
// too: edge lets those call the API, but nobody else shows our forms.
func (c *call) sameOrigin() error {
	cross := identity.Refuse(identity.Forbidden, "cross_site", "This was sent from another site's page. Open Mitral itself and try again.")
	switch c.r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return nil
	case "":
	default:
		return cross
	}
	if origin := c.r.Header.Get("Origin"); origin != "" && origin != edge.OriginOf(c.ctx()) {
		return cross
	}
	return nil
}

// locked reports whether the browser's session is there and locked.
func (c *call) locked() bool { return c.live != nil && c.live.State == session.Locked }

// open reports whether the browser's session is there and not locked.
func (c *call) open() bool { return c.live != nil && c.live.State == session.Active }

// who is the session's person, for an act. Where the form holds a PIN it is
// proven first, for this action, and the act gets the token of that. What is
// wrong with the PIN is an *unproven error.
func (c *call) who(action string) (signin.Who, error) {
	who := signin.Who{Live: c.live, Visit: c.visit}
	pin := c.secret("pin")
	if pin == "" {
		return who, nil
	}
	token, _, err := c.Signin.StepUp(c.ctx(), who, signin.StepUpInput{Action: action, Method: "pin", PIN: pin})
	if err != nil {
		return who, &unproven{err}
	}
	who.StepUp = token
	return who, nil
}

// field is a form's field, without the space around it.
func (c *call) field(name string) string { return strings.TrimSpace(c.form.Get(name)) }

// secret is a form's field that must not be seen: a PIN, key or code.
func (c *call) secret(name string) identity.Secret { return identity.Secret(c.field(name)) }

// plainWho is the session's person, without a proof of the moment.
func (c *call) plainWho() signin.Who { return signin.Who{Live: c.live, Visit: c.visit} }

// allowed refuses, and records, an act that the person's role has no right to.
func (c *call) allowed(action, operation string) error {
	err := c.Signin.Allowed(c.ctx(), c.plainWho(), action)
	if err == nil {
		return nil
	}
	return c.Signin.RecordRefusal(c.ctx(), c.plainWho(), c.live.WorkspaceID, operation, err)
}

// mayWatch reports whether the person may look at emergencies and the record.
func (c *call) mayWatch() bool {
	return c.open() && (c.live.Class == identity.Administration || c.live.Class == identity.Review)
}

// now is the moment in the workspace's time zone.
func (c *call) now() time.Time {
	if c.space.ID == "" && c.live != nil {
		// A page about a fault must not depend on this.
		if w, err := c.Directory.Workspace(c.ctx(), c.live.WorkspaceID); err == nil {
			c.space = w
		}
	}
	return c.Now().In(c.zones.of(c.space.TimeZone))
}

// names says what people of the workspace are called; for an id that is
// nobody's it returns the id.
func (c *call) names() (func(id string) string, error) {
	id := c.space.ID
	if c.live != nil {
		id = c.live.WorkspaceID
	}
	return c.Directory.Names(c.ctx(), id)
}

// frame is what is around the page's content.
func (c *call) frame() view.Frame {
	f := view.Frame{Nonce: edge.Nonce(c.ctx()), Asset: Asset, Now: c.now(), Workspace: c.space.Name, Demo: c.Demo != nil, Notice: c.takeNotice()}
	if !c.open() {
		return f
	}
	f.Person = &view.Person{Name: c.live.Name, Role: c.live.Role, Class: c.live.Class}
	if g := c.live.Grant; g != nil {
		f.Alarm = &view.Alarm{ID: g.ID, Ref: g.Ref, Who: c.live.Name, Category: g.Category, Left: c.live.AbsoluteExpiresAt.Sub(f.Now), MayEnd: true}
	}
	return f
}

// show answers with a page.
func (c *call) show(status int, page templ.Component) error {
	var b bytes.Buffer
	if err := page.Render(c.ctx(), &b); err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b.Bytes())
	return nil
}

// redirect leads the browser on, with a GET.
func (c *call) redirect(to string) error {
	c.w.Header().Set("Location", to)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// done leads the browser on and has the page there say what was done.
func (c *call) done(to, notice string) error {
	c.leaveNotice(notice)
	return c.redirect(to)
}

// zones keeps time zones, which are files.
type zones struct{ known sync.Map }

// of returns a zone by its IANA name; UTC where there is none.
func (z *zones) of(name string) *time.Location {
	if l, ok := z.known.Load(name); ok {
		return l.(*time.Location)
	}
	l, err := time.LoadLocation(name)
	if err != nil {
		l = time.UTC
	}
	z.known.Store(name, l)
	return l
}
