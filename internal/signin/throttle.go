package signin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

// The bound on failed proofs from one address range, or one known device.
const (
	failuresPerMinute = 20
	failureWindow     = time.Minute
	longestRetry      = 30 * time.Second
)

// strikes counts refusals of ranges that are over their bound, so that
// Retry-After grows without writing anything.
type strikes struct {
	mu sync.Mutex
	n  map[string]int
	at int64 // the minute they belong to
}

func (s *strikes) next(k string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := now.Unix() / 60; m != s.at || len(s.n) > 10_000 {
		s.at, s.n = m, map[string]int{}
	}
	n := s.n[k]
	s.n[k]++
	return min(time.Second<<min(n, 5), longestRetry)
}

// failureKey names the counter that a failed proof goes to: a known device has
// its own, everybody else shares their address range's.
func failureKey(v *session.Visit, known bool) string {
	if known {
		return "fail:" + v.Client.Device
	}
	return "fail:" + v.Client.Range()
}

// Throttle refuses when the visitor's range, or known device, has failed too
// often this minute. It reads only, and is asked before anything is hashed.
func (m *Machine) Throttle(ctx context.Context, v *session.Visit, known bool) error {
	k := failureKey(v, known)
	var n int64
	err := m.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		row, err := tx.CountedWithin(k)
		n = row.N
		if errors.Is(err, store.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	if n >= failuresPerMinute {
		return m.throttled(k)
	}
	return nil
}

// CountFailure counts one failed proof in the transaction that records it.
func (m *Machine) CountFailure(tx *store.SystemTx, v *session.Visit, known bool) error {
	k := failureKey(v, known)
	n, err := tx.CountWithin(k, failureWindow.Microseconds())
	if err != nil {
		return err
	}
	if n > failuresPerMinute {
		return m.throttled(k)
	}
	return nil
}

func (m *Machine) throttled(k string) error {
	r := identity.Refuse(identity.Throttled, "throttled", "Too many failed attempts from here. Wait a moment, then try again.")
	r.RetryAfter = m.strikes.next(k, m.db.Clock().Now())
	return r
}
