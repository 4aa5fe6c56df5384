package store

import (
	"context"
	"sync/atomic"
	"time"
)

// Clock is the time that every act goes by. It runs on monotonic time, so that
// a jump of the machine's clock neither lengthens nor cuts a window; on
// PostgreSQL it follows the database's clock, so that all nodes agree.
type Clock struct {
	booted  time.Time // carries the monotonic reading
	wall    time.Time // what the machine's clock said then
	offset  atomic.Int64
	advance atomic.Int64
}

// waitStep is how often a wait looks at the clock: tests move it.
const waitStep = 250 * time.Millisecond

// NewClock starts a clock at the machine's time.
func NewClock() *Clock {
	c := &Clock{booted: time.Now()}
	c.wall = c.booted.Round(0).Add(fileOffsets().wall)
	return c
}

// Now returns the time, UTC, in whole microseconds.
func (c *Clock) Now() time.Time {
	return c.own().Add(time.Duration(c.offset.Load())).Add(fileOffsets().cluster).Add(time.Duration(c.advance.Load())).
		UTC().Truncate(time.Microsecond)
}

func (c *Clock) own() time.Time { return c.wall.Add(time.Since(c.booted)) }

// Jump returns how far the machine's clock has moved against this one since
// both were started: what somebody set, or what a suspended machine slept.
func (c *Clock) Jump() time.Duration {
	return time.Now().Round(0).Add(fileOffsets().wall).Sub(c.own())
}

// Follow sets the clock to another's, usually the database's, and returns by
// how much the offset changed.
func (c *Clock) Follow(theirs time.Time) time.Duration {
	offset := theirs.Sub(c.own())
	return offset - time.Duration(c.offset.Swap(int64(offset)))
}

// Sleep waits until the clock has moved by d or ctx is done.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	until := c.Now().Add(d)
	for {
		left := until.Sub(c.Now())
		if left <= 0 {
			return ctx.Err()
		}
		t := time.NewTimer(min(left, waitStep))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// TestOnlyAdvance moves the clock forward (or back) for tests in this process.
func (c *Clock) TestOnlyAdvance(d time.Duration) { c.advance.Add(int64(d)) }

type offsets struct{ wall, cluster time.Duration }
