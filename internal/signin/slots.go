package signin

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

const (
	openQueue    = 16               // waiting hashes of one address range
	openPatience = time.Second      // how long one waits in the open lane
	knownBudget  = 6                // hashes a minute that a known device has of its own
	knownWait    = 10 * time.Second // how long one waits in the reserved lane
)

// Lane says who is hashing: a known or registered device, by its id, or anyone
// else, by address range.
type Lane struct {
	Device string // "" for the open lane
	Range  string
}

// Slots admits Argon2id work. One slot is never given to the open lane, so that
// no flood of strangers keeps the people of a clinic from their PIN; strangers
// are served fairly by address range and none waits longer than a second.
type Slots struct {
	clock func() time.Time

	mu      sync.Mutex
	n       int
	busy    int
	open    int // of busy, those of the open lane
	known   []*waiter
	ranges  map[string][]*waiter
	order   []string // ranges in turn
	budgets map[string]*budget
}

type waiter struct{ admitted chan struct{} }

type budget struct {
	since time.Time
	used  int
}

// NewSlots makes max(2, the cores this process may run on) slots.
func NewSlots(clock func() time.Time) *Slots {
	return &Slots{clock: clock, n: max(2, runtime.GOMAXPROCS(0)), ranges: map[string][]*waiter{}, budgets: map[string]*budget{}}
}

// Do runs f when a slot is free. It returns a Throttled refusal at once when the
// range's queue is full and after a second when no slot came; f has then not
// run.
func (s *Slots) Do(ctx context.Context, lane Lane, f func()) error {
	known := lane.Device != "" && s.withinBudget(lane.Device)
	if err := s.acquire(ctx, lane, known); err != nil {
		return err
	}
	defer s.release(known)
	f()
	return nil
}

func (s *Slots) withinBudget(device string) bool {
	now := s.clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.budgets) > 10_000 {
		for k, b := range s.budgets {
			if now.Sub(b.since) >= time.Minute {
				delete(s.budgets, k)
			}
		}
	}
	b := s.budgets[device]
	if b == nil || now.Sub(b.since) >= time.Minute {
		b = &budget{since: now}
		s.budgets[device] = b
	}
	b.used++
	return b.used <= knownBudget
}

func busyRefusal() error {
	r := identity.Refuse(identity.Throttled, "busy", "Many people are signing in. Try again in a moment.")
	r.RetryAfter = time.Second
	return r
}

func (s *Slots) acquire(ctx context.Context, lane Lane, known bool) error {
	s.mu.Lock()
	if s.free(known) && (known || len(s.order) == 0) {
		s.take(known)
		s.mu.Unlock()
		return nil
	}
	w := &waiter{admitted: make(chan struct{})}
	patience := knownWait
	if known {
		s.known = append(s.known, w)
	} else {
		if len(s.ranges[lane.Range]) >= openQueue {
			s.mu.Unlock()
			return busyRefusal()
		}
		if len(s.ranges[lane.Range]) == 0 {
			s.order = append(s.order, lane.Range)
		}
		s.ranges[lane.Range] = append(s.ranges[lane.Range], w)
		patience = openPatience
	}
	s.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.admitted:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-w.admitted: // admitted while giving up
		return nil
	default:
	}
	s.leave(w, lane.Range)
	if err := ctx.Err(); err != nil {
		return err
	}
	return busyRefusal()
}

// leave takes somebody who gave up out of their queue. Called with mu held.
func (s *Slots) leave(w *waiter, ipRange string) {
	itself := func(o *waiter) bool { return o == w }
	s.known = slices.DeleteFunc(s.known, itself)
	queue := slices.DeleteFunc(s.ranges[ipRange], itself)
	if len(queue) > 0 {
		s.ranges[ipRange] = queue
		return
	}
	delete(s.ranges, ipRange)
	s.order = slices.DeleteFunc(s.order, func(r string) bool { return r == ipRange })
}

// free reports whether a slot may be taken now. Called with mu held.
func (s *Slots) free(known bool) bool {
	return s.busy < s.n && (known || s.open < s.n-1)
}

func (s *Slots) take(known bool) {
	s.busy++
	if !known {
		s.open++
	}
}

func (s *Slots) release(known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	if !known {
		s.open--
	}
	for s.free(true) && len(s.known) > 0 {
		w := s.known[0]
		s.known = s.known[1:]
		s.admit(w, true)
	}
	for s.free(false) && len(s.order) > 0 {
		r := s.order[0]
		s.order = s.order[1:]
		w := s.ranges[r][0]
		s.ranges[r] = s.ranges[r][1:]
		if len(s.ranges[r]) > 0 {
			s.order = append(s.order, r)
		} else {
			delete(s.ranges, r)
		}
		s.admit(w, false)
	}
}

func (s *Slots) admit(w *waiter, known bool) {
	s.take(known)
	close(w.admitted)
}
