package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// Config is what the pages work with.
type Config struct {
	Sessions   *session.Manager
	Signin     *signin.Machine
	Directory  *directory.Directory
	BreakGlass *breakglass.BreakGlass
	Recorder   *record.Recorder
	Keys       *keyring.Ring
	// PublicURL is the origin that people's browsers use. Needed.
	PublicURL *url.URL
	// Now is the time of the store's clock. Needed.
	Now func() time.Time

	// SetupToken reports whether a token is the one in the printed setup
	// address. Where it is nil, setup works on loopback only.
	SetupToken func(token string) bool
	// Checks are doctor's findings, for the page of the server's health; nil
	// shows none.
	Checks func(ctx context.Context) []view.HealthCheck
	// Mail and SMS say whether messages can leave by them.
	Mail, SMS bool
	// Version is shown on the page of the server's health.
	Version string
	// Demo adds the demo's pages; nil outside a demo.
	Demo *Demo
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Demo is what the demo clinic shows besides.
type Demo struct {
	// People are role, identifier, key and PIN of each.
	People [][4]string
	// Sent returns the messages that a real clinic would have sent.
	Sent func() []notify.Shown
	// Chart is the made-up patient chart, served at /demo/chart.
	Chart http.Handler
}

// Web is Mitral's own pages. It is safe for concurrent use.
type Web struct {
	Config
	secure bool
	held   holding
	zones  zones
}

// New makes the pages.
func New(c Config) (*Web, error) {
	if c.Sessions == nil || c.Signin == nil || c.Directory == nil || c.BreakGlass == nil || c.Recorder == nil || c.Keys == nil ||
		c.PublicURL == nil || c.PublicURL.Host == "" || c.Now == nil {
		return nil, errors.New("web: a field of Config is missing")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Web{Config: c, secure: c.Sessions.Secure()}, nil
}

// Mount adds every page, what the pages' forms post to, and the files they need
// to a mux that stands behind edge.Wrap.
func (s *Web) Mount(mux *http.ServeMux) {
	for _, rt := range s.routes() {
		mux.Handle(rt.pattern, s.serve(rt))
	}
	mux.Handle(view.StaticPath, Static())
	mux.HandleFunc("GET "+view.LockModule, serveLockModule)
	if s.Demo != nil && s.Demo.Chart != nil {
		mux.Handle(view.PageChart, s.Demo.Chart)
		mux.Handle(view.PageChart+"/", s.Demo.Chart)
	}
}
