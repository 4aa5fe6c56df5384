//go:build testclock

package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/store"
)

// The file moves the machine's clock, or the cluster's, while the process runs.
func TestClockFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	t.Setenv("MITRAL_TEST_CLOCK", file)
	if !store.TestClock {
		t.Fatal("this binary does not say that its clock can be moved")
	}
	settle := func(text string, reached func() bool) {
		t.Helper()
		must(t, os.WriteFile(file, []byte(text), 0o600))
		deadline := time.After(5 * time.Second)
		for !reached() {
			select {
			case <-deadline:
				t.Fatalf("%q moved nothing", text)
			case <-time.After(time.Millisecond):
			}
		}
	}
	clock := store.NewClock()
	ahead := func() time.Duration { return time.Until(clock.Now()) }
	for _, text := range []string{"cluster 90s", "cluster=90s\nwall 0", "cluster: 90", `{"cluster":"90s"}`, `{"cluster":90}`} {
		settle("", func() bool { return near(ahead(), 0) })
		settle(text, func() bool { return near(ahead(), 90*time.Second) && near(clock.Jump(), 0) })
	}
	settle("", func() bool { return near(ahead(), 0) })
	// The machine's clock moves against the running one, and rules a new one.
	settle("wall 2h", func() bool { return near(clock.Jump(), 2*time.Hour) && near(ahead(), 0) })
	if later := store.NewClock(); !near(time.Until(later.Now()), 2*time.Hour) {
		t.Errorf("a new clock is %v ahead", time.Until(later.Now()))
	}
	settle("", func() bool { return near(time.Until(store.NewClock().Now()), 0) })
}
