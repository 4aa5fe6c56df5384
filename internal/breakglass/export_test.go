package breakglass

import "context"

// WeakReason says why a text is no reason.
var WeakReason = weakReason

// Looker does one round of Run at a time.
func (b *BreakGlass) Looker() func(context.Context) error {
	w := windows{left: map[string]remainder{}, reached: map[string]bool{}}
	return func(ctx context.Context) error { return b.round(ctx, &w) }
}
