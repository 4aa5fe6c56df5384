package record

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	"github.com/mitral-health/mitral/internal/identity"
)

// RunOnce sequences and signs what is there, as Run does, and gives the lease
// away: for a command that ends. Where a server holds the lease it is left to
// the server.
func (r *Recorder) RunOnce(ctx context.Context) error {
	return errors.Join(r.counts.record(ctx, r.db), r.round(ctx), r.water.settle(), r.lead.resign(ctx))
}

// Newest returns what is known of the newest state of the log, in the database
// or on this machine: a signed checkpoint, or the high-water mark where that is
// further; "" when there is neither.
func (r *Recorder) Newest(ctx context.Context) (string, error) {
	note, err := r.Latest(ctx)
	var refusal *identity.Refusal
	if err != nil && !errors.As(err, &refusal) {
		return "", err
	}
	if r.water.path == "" {
		return note, nil
	}
	seen, err := readHighwater(r.water.path)
	if errors.Is(err, os.ErrNotExist) || (err == nil && r.CheckHighwater(ctx) == nil) {
		return note, nil
	}
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(seen)
	return string(text), err
}
