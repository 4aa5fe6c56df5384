package session

import "context"

// What Run does by the clock, tests do step by step.

func (m *Manager) Poll(ctx context.Context) error          { return m.poll(ctx, true) }
func (m *Manager) Sweep(ctx context.Context) error         { m.sweepLoaded(ctx); return m.sweep(ctx) }
func (m *Manager) SweepLoaded(ctx context.Context)         { m.sweepLoaded(ctx) }
func (m *Manager) WriteActivity(ctx context.Context) error { return m.writeActivity(ctx) }
func (m *Manager) Loaded(id string) bool                   { return m.table.get(id) != nil }
func (m *Manager) Codec() CookieCodec                      { return m.codec }
