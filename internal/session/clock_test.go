//go:build testclock

package session_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestClockJumpIsAnEvent moves the machine's clock under a running node: no
// session notices, the record does.
func TestClockJumpIsAnEvent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	t.Setenv("MITRAL_TEST_CLOCK", file)
	c := newClinic(t, sqliteURL(t), "")
	b := c.browser()
	b.signIn(c.nurse)
	jumps := func() int { return c.query("SELECT COUNT(*) FROM audit_event WHERE type = 'clock.jump'") }
	for i, wall := range []string{"wall 2h", "wall -1h", "wall -1h"} {
		must(t, os.WriteFile(file, []byte(wall), 0o600))
		deadline := time.Now().Add(5 * time.Second)
		for want := min(i+1, 2); jumps() < want && time.Now().Before(deadline); {
			must(t, c.m.Poll(t.Context()))
		}
		if n, want := jumps(), min(i+1, 2); n != want {
			t.Fatalf("after %s: %d events, want %d", wall, n, want)
		}
		b.active()
	}
}
