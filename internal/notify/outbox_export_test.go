package notify

import "time"

// TestOnlyHasten looks for messages more often and cuts attempts sooner.
func (o *Outbox) TestOnlyHasten(patience time.Duration) {
	o.beat, o.patience = 10*time.Millisecond, patience
}
