package record

import (
	"context"
	"fmt"
	"strings"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/store"
)

// sums turns refusals that were only counted into one event each minute for
// every workspace, type and address range. What could not be recorded is kept
// for the next time. Only Run's goroutine uses it.
type sums struct{ pending []audit.Sum }

func (s *sums) record(ctx context.Context, db *store.DB) error {
	if fold := db.Fold(); fold != nil {
		s.pending = merge(s.pending, fold.Drain())
	}
	if len(s.pending) == 0 {
		return nil
	}
	err := db.System(ctx, audit.By{Actor: audit.ActorSystem}, func(tx *store.SystemTx) error {
		for _, sum := range s.pending {
			record := tx.Record
			if sum.Workspace != "" {
				record = tx.Workspace(sum.Workspace).Record
			}
			if _, err := record(FloodEvent(sum)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("couldn't record what was summed: %w", err)
	}
	s.pending = nil
	return nil
}

// FloodEvent is the event that stands for refusals which were only counted:
// "sign_in.flood" for any "sign_in.…".
func FloodEvent(s audit.Sum) audit.Event {
	subject, _, _ := strings.Cut(s.Type, ".")
	return audit.Event{Type: subject + ".flood", Outcome: audit.Denied,
		Detail: audit.Detail{"count": s.Count, "summed_type": s.Type, "ip_range": s.Range}}
}

// merge adds sums of one kind, so that what waits stays bounded.
func merge(a, b []audit.Sum) []audit.Sum {
	type kind struct{ workspace, typ, ipRange string }
	at := map[kind]int{}
	var out []audit.Sum
	for _, list := range [][]audit.Sum{a, b} {
		for _, s := range list {
			k := kind{s.Workspace, s.Type, s.Range}
			if i, ok := at[k]; ok {
				out[i].Count += s.Count
				continue
			}
			at[k] = len(out)
			out = append(out, s)
		}
	}
	return out
}
