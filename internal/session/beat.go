package session

import (
	"context"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

const (
	// firstGap is what a tab's first beat may reach back.
	firstGap = time.Minute
	// beatSlack is what a beat may be late by.
	beatSlack = 5 * time.Second
	maxTabs   = 16
	maxTabID  = 64
)

// Beat is one heartbeat of one browser tab: how long ago its person last did
// something, as an age, so that clocks need not agree.
type Beat struct {
	Tab      string
	Seq      int64
	Visible  bool
	InputAge time.Duration
}

// BeatAnswer says how the session stands, in whole seconds.
type BeatAnswer struct {
	State        string    `json:"state"` // active, or warning shortly before idle
	IdleLeft     int64     `json:"idle_left_s"`
	AbsoluteLeft int64     `json:"absolute_left_s"`
	WarnIn       int64     `json:"warn_in_s"`
	ServerNow    time.Time `json:"server_now"`
}

// tab is what is remembered of a browser tab.
type tab struct {
	seq  int64
	beat time.Time
}

// Beat takes a heartbeat of an active session, of which Check came first. It is
// activity only if its age fits the time since the tab's previous beat: an age
// is never made to fit, so that an abandoned tab cannot look alive by honestly
// saying how long it has been so.
func (m *Manager) Beat(ctx context.Context, _ *Visit, live *Live, b Beat) (BeatAnswer, error) {
	switch {
	case b.Tab == "" || len(b.Tab) > maxTabID:
		return BeatAnswer{}, identity.RefuseField("tab", "length", "A tab's name has 1 to 64 characters.")
	case b.Seq < 0:
		return BeatAnswer{}, identity.RefuseField("seq", "negative", "The sequence number counts up from 0.")
	}
	h, err := m.load(ctx, live.ID)
	if err != nil {
		return BeatAnswer{}, err
	}
	now := m.clock.Now()
	if at, good := h.beat(b, now); good {
		m.move(h, at)
	}
	is, err := m.standing(ctx, h, now)
	if err != nil {
		return BeatAnswer{}, err
	}
	idle := is.IdleExpiresAt.Sub(now)
	a := BeatAnswer{
		State: string(Active), IdleLeft: seconds(idle), AbsoluteLeft: seconds(is.AbsoluteExpiresAt.Sub(now)),
		WarnIn: seconds(idle - is.Rules.Warning), ServerNow: now,
	}
	if idle <= is.Rules.Warning {
		a.State = "warning"
	}
	return a, nil
}

// beat remembers the beat and returns when its person was last there, if the
// beat is good.
func (h *held) beat(b Beat, now time.Time) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, met := h.tabs[b.Tab]
	if met && b.Seq <= before.seq {
		return time.Time{}, false
	}
	gap := firstGap
	if met {
		gap = now.Sub(before.beat)
	} else if len(h.tabs) >= maxTabs {
		h.forgetTab()
	}
	if h.tabs == nil {
		h.tabs = map[string]tab{}
	}
	h.tabs[b.Tab] = tab{b.Seq, now}
	return now.Add(-b.InputAge), b.InputAge >= 0 && b.InputAge <= gap+beatSlack
}

// forgetTab drops the tab that has been silent longest.
func (h *held) forgetTab() {
	oldest := ""
	for id, t := range h.tabs {
		if oldest == "" || t.beat.Before(h.tabs[oldest].beat) {
			oldest = id
		}
	}
	delete(h.tabs, oldest)
}

func seconds(d time.Duration) int64 { return max(0, int64(d/time.Second)) }
