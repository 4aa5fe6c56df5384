package session_test

import (
	"testing"

	"github.com/mitral-health/mitral/internal/session"
)

// BenchmarkCheck is a request of a loaded session whose cookies need nothing.
func BenchmarkCheck(b *testing.B) {
	c := newClinic(b, sqliteURL(b), "")
	nadia := c.browser()
	nadia.signIn(c.nurse)
	nadia.active()
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			v := nadia.visit("/chart/7")
			if _, err := c.m.Check(ctx, v, session.Peek); err != nil {
				b.Error(err)
			}
		}
	})
}
