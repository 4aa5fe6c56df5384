package record

import "context"

// TestOnlyRound is one round of Run.
func (r *Recorder) TestOnlyRound(ctx context.Context) error { return r.round(ctx) }

// TestOnlyFlush is what Run does each minute.
func (r *Recorder) TestOnlyFlush(ctx context.Context) error { return r.counts.record(ctx, r.db) }

// TestOnlyLeads reports whether the recorder took a lease that it believes in.
func (r *Recorder) TestOnlyLeads() bool { return r.lead.epoch > 0 }

// Tellings are the types of events that have a sentence.
func Tellings() []string {
	var out []string
	for t := range tellings {
		out = append(out, t)
	}
	return out
}
