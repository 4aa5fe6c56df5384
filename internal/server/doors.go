package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/examples/chart"
	"github.com/mitral-health/mitral/internal/authjs"
	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/httpapi"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/web"
	"github.com/mitral-health/mitral/internal/web/view"
)

// doors builds the handler of everything that is served: the API, the Auth.js
// protocol, the pages and the forward check, behind the edge's chain.
func (k *core) doors(demo bool, token *setupToken) (http.Handler, error) {
	public, err := url.Parse(k.config.PublicURL)
	if err != nil {
		return nil, err
	}
	e, err := edge.New(edge.Config{Sessions: k.sessions, Signin: k.signin, PublicURL: public, TrustedProxies: k.config.TrustedProxies,
		OnlyFromProxies: k.config.OnlyFromProxies(), Now: k.db.Clock().Now, Log: k.log})
	if err != nil {
		return nil, err
	}
	api, err := httpapi.New(httpapi.Config{Sessions: k.sessions, Signin: k.signin, Directory: k.directory, BreakGlass: k.breakglass,
		Recorder: k.recorder, Keys: k.keys, Export: k.export, Mail: k.config.Mail.URL != "" || demo, Now: k.db.Clock().Now, Version: Version().Version, Stopping: k.stopping, Log: k.log})
	if err != nil {
		return nil, err
	}
	auth, err := authjs.New(authjs.Config{Sessions: k.sessions, Signin: k.signin, Keys: k.keys, Log: k.log})
	if err != nil {
		return nil, err
	}
	pages := web.Config{Sessions: k.sessions, Signin: k.signin, Directory: k.directory, BreakGlass: k.breakglass, Recorder: k.recorder,
		Keys: k.keys, PublicURL: public, Now: k.db.Clock().Now,
		SetupToken: token.good, Checks: k.healthChecks,
		Mail: k.config.Mail.URL != "" || demo, SMS: len(k.config.SMS) > 0 || demo, Version: Version().Version, Log: k.log}
	if demo {
		if pages.Demo, err = k.demoPages(public); err != nil {
			return nil, err
		}
	}
	w, err := web.New(pages)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", k.healthz)
	mux.HandleFunc("GET /readyz", k.readyz)
	e.Mount(mux)
	api.Mount(mux)
	auth.Mount(mux)
	w.Mount(mux)
	return e.Wrap(mux), nil
}

// demoPages are the demo's own: who can sign in, what would have been sent, and
// the chart, which calls this server as any application would.
func (k *core) demoPages(public *url.URL) (*web.Demo, error) {
	people, err := k.demoCredentials()
	if err != nil {
		return nil, err
	}
	return &web.Demo{People: people, Sent: k.demo.Messages,
		Chart: chart.New(chart.Config{MitralURL: k.nearby(), PublicURL: k.config.PublicURL, BasePath: "/demo/chart"})}, nil
}

// nearby is where this machine itself reaches the server: a public name such as
// clinic.localhost is known to browsers, but not to every resolver.
func (k *core) nearby() string {
	host, port, err := net.SplitHostPort(k.config.Listen[0])
	if err != nil || port == "0" || k.config.TerminatesTLS() {
		return k.config.PublicURL
	}
	return "http://" + net.JoinHostPort(host, port)
}

// healthChecks are doctor's findings for the console.
func (k *core) healthChecks(ctx context.Context) []view.HealthCheck {
	r, err := Doctor(ctx, k.config)
	if err != nil {
		k.log.Error("the doctor failed", "error", err)
		return nil
	}
	tones := map[string]view.Tone{"green": view.Good, "yellow": view.Warn, "red": view.Bad}
	var out []view.HealthCheck
	for _, c := range r.Checks {
		out = append(out, view.HealthCheck{Name: c.Name, Detail: c.Detail, Fix: c.Fix, Tone: tones[c.Status]})
	}
	worst := []view.Tone{view.Bad, view.Warn, view.Good}
	slices.SortStableFunc(out, func(a, b view.HealthCheck) int { return slices.Index(worst, a.Tone) - slices.Index(worst, b.Tone) })
	return out
}

// export writes the record for the API.
func (k *core) export(ctx context.Context, in record.ExportInput, w io.Writer) error {
	return record.Export(ctx, k.db, in, w)
}

// healthz says that the process lives.
func (k *core) healthz(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") }

// readyz says whether this node should be sent people, and what is in its way.
func (k *core) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	var wrong, warn []string
	if err := k.db.Frozen(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if err := k.db.Ping(ctx); err != nil {
		wrong = append(wrong, "the database does not answer")
	}
	if err := k.sessions.Ready(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if s, err := k.recorder.Status(ctx); err == nil && s.Err != nil {
		wrong = append(wrong, "the record is not written: "+s.Err.Error())
	}
	if low, err := lowDisk(k.config); err == nil && low {
		warn = append(warn, "warning: the disk is nearly full")
	}
	if len(wrong) > 0 {
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, strings.Join(append(wrong, warn...), "\n"))
		return
	}
	answer(w, http.StatusOK, strings.Join(append([]string{"ready"}, warn...), "\n"))
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
