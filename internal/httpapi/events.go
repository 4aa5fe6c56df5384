package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/session"
)

func (a *API) eventRoutes() { a.raw("GET /api/v1/session/events", a.events) }

const (
	// stillHere is how often a silent stream says so: proxies cut what is idle
	// for a minute.
	stillHere = 15 * time.Second
	// writeWithin is how long a browser may take to read a line.
	writeWithin = 10 * time.Second
)

// events tells a browser of its session as it happens: locked, unlocked,
// changed (it came into a grant), ended, as server-sent events (HTML Living Standard §9.2). It goes on while the
// session is locked, counts as no activity and renews nothing.
func (a *API) events(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	live, err := a.Sessions.Check(ctx, edge.VisitOf(ctx), session.Peek)
	if err != nil && !errors.Is(err, session.ErrLocked) {
		edge.WriteProblem(w, r, err)
		return
	}
	changes, stop := a.Sessions.Subscribe(live.ID)
	defer stop()
	s := stream{w, http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep the lines back
	if s.send("retry: 2000\n\n") != nil {
		return
	}
	tick := time.NewTicker(stillHere)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.Stopping:
			return
		case <-tick.C:
			if s.send(": still here\n\n") != nil {
				return
			}
		case c, open := <-changes:
			if !open {
				c.State = session.Ended
			}
			if s.send(fmt.Sprintf("event: %s\ndata: {}\n\n", eventName(c))) != nil || c.State == session.Ended {
				return
			}
		}
	}
}

func eventName(c session.Change) string {
	switch {
	case c.State == session.Locked:
		return "locked"
	case c.State == session.Ended:
		return "ended"
	case c.Reason == session.ReasonGrant:
		return "changed"
	default:
		return "unlocked"
	}
}

// stream writes one event at a time, each with a deadline of its own.
type stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (s stream) send(text string) error {
	if err := s.c.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.c.Flush()
}
