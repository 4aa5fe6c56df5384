package signin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// counter is Argon2id work that takes as long as it is told.
type counter struct {
	t     *testing.T
	slots *Slots

	mu     sync.Mutex
	ran    []string
	now    int
	most   int
	failed map[string]error
	wg     sync.WaitGroup
}

func newCounter(t *testing.T, n int) *counter {
	s := NewSlots(time.Now)
	s.n = n
	return &counter{t: t, slots: s, failed: map[string]error{}}
}

// pass lets time go by, in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// start asks for a slot and keeps it for as long as work says.
func (c *counter) start(name string, lane Lane, work time.Duration) {
	c.wg.Go(func() {
		err := c.slots.Do(context.Background(), lane, func() {
			c.mu.Lock()
			c.ran = append(c.ran, name)
			c.now++
			c.most = max(c.most, c.now)
			c.mu.Unlock()
			pass(work)
			c.mu.Lock()
			c.now--
			c.mu.Unlock()
		})
		c.mu.Lock()
		c.failed[name] = err
		c.mu.Unlock()
	})
	synctest.Wait()
}

func (c *counter) busy(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var r *identity.Refusal
	if !errors.As(c.failed[name], &r) {
		return false
	}
	if r.Kind != identity.Throttled || r.RetryAfter != time.Second {
		c.t.Errorf("%s: %+v", name, r)
	}
	return true
}

// idle fails unless everything has been given back.
func (c *counter) idle() {
	c.wg.Wait()
	s := c.slots
	if s.busy != 0 || s.open != 0 || len(s.known) != 0 || len(s.ranges) != 0 || len(s.order) != 0 {
		c.t.Errorf("something is left: %d busy, %d open, %d %d %d waiting", s.busy, s.open, len(s.known), len(s.ranges), len(s.order))
	}
}

func TestF25AFloodLeavesTheReservedSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(t, 3)
		for i := range 40 {
			c.start(fmt.Sprint("stranger", i), Lane{Range: fmt.Sprint(i % 20)}, 10*time.Second)
		}
		c.start("nurse", Lane{Device: "dev_a", Range: "1"}, time.Millisecond)
		if c.ran[len(c.ran)-1] != "nurse" {
			t.Error("the known device waits for strangers")
		}
		if len(c.ran) != 3 {
			t.Errorf("%d run, want the two open slots and the reserved one", len(c.ran))
		}
		pass(time.Second)
		synctest.Wait()
		turnedAway := 0
		for i := range 40 {
			if c.busy(fmt.Sprint("stranger", i)) {
				turnedAway++
			}
		}
		if turnedAway != 38 {
			t.Errorf("%d strangers were turned away after a second, want 38", turnedAway)
		}
		// The control: a device that nobody signed in with is a stranger.
		c.start("late", Lane{Range: "1"}, time.Millisecond)
		pass(time.Second)
		synctest.Wait()
		if !c.busy("late") {
			t.Error("a stranger came in by the reserved slot")
		}
		c.idle()
		if c.most > 3 {
			t.Errorf("%d at once", c.most)
		}
	})
}

func TestF25AKnownDeviceHasSixAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(t, 2)
		c.start("flood", Lane{Range: "flood"}, time.Hour)
		device := Lane{Device: "dev_a", Range: "clinic"}
		for i := range 7 {
			c.start(fmt.Sprint(i), device, time.Millisecond)
			pass(2 * time.Second)
			synctest.Wait()
		}
		for i := range 6 {
			if c.busy(fmt.Sprint(i)) {
				t.Errorf("hash %d of the known device was turned away", i)
			}
		}
		if !c.busy("6") {
			t.Error("the seventh did not go by the open lane")
		}
		c.start("colleague", Lane{Device: "dev_b", Range: "clinic"}, time.Millisecond)
		pass(time.Minute)
		c.start("later", device, time.Millisecond)
		pass(time.Second)
		synctest.Wait()
		if c.busy("colleague") || c.busy("later") {
			t.Error("another device, or another minute, has none of its own")
		}
		c.idle()
	})
}

func TestOpenLaneIsFairByRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(t, 2)
		for i := range 17 { // one runs, sixteen wait
			c.start(fmt.Sprint("flood", i), Lane{Range: "flood"}, 50*time.Millisecond)
		}
		c.start("one more", Lane{Range: "flood"}, time.Millisecond)
		if !c.busy("one more") {
			t.Error("the seventeenth waiting of a range was not answered at once")
		}
		c.start("a", Lane{Range: "a"}, 50*time.Millisecond)
		c.start("b", Lane{Range: "b"}, 50*time.Millisecond)
		c.start("a2", Lane{Range: "a"}, 50*time.Millisecond)
		c.idle()
		if want := []string{"flood0", "flood1", "a", "b", "flood2", "a2", "flood3"}; !slices.Equal(c.ran[:7], want) {
			t.Errorf("served %v, want %v", c.ran[:7], want)
		}
		if c.most != 1 {
			t.Errorf("%d strangers at once, want 1", c.most)
		}
	})
}

func TestWhoGivesUpLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(t, 2)
		c.start("hung", Lane{Range: "a"}, time.Hour)
		for i := range 16 {
			c.start(fmt.Sprint(i), Lane{Range: "a"}, time.Millisecond)
		}
		pass(1100 * time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error)
		go func() { gone <- c.slots.Do(ctx, Lane{Range: "a"}, func() { t.Error("it ran") }) }()
		synctest.Wait()
		if len(c.slots.ranges["a"]) != 1 {
			t.Errorf("%d wait, want the new one", len(c.slots.ranges["a"]))
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who left: %v", err)
		}
		c.idle()
	})
}

func TestKnownDevicesWaitTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCounter(t, 2)
		for i := range 2 {
			c.start(fmt.Sprint(i), Lane{Device: fmt.Sprint("dev", i)}, 9*time.Second)
		}
		c.start("third", Lane{Device: "dev2"}, 9*time.Second)
		c.start("fourth", Lane{Device: "dev3"}, 9*time.Second)
		c.start("fifth", Lane{Device: "dev4"}, time.Second)
		pass(10 * time.Second)
		synctest.Wait()
		if c.busy("third") || c.busy("fourth") || !c.busy("fifth") {
			t.Errorf("after ten seconds: %v", c.failed)
		}
		c.idle()
	})
}
