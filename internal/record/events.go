package record

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/store"
)

// maxEvents bounds one page of events.
const maxEvents = 500

// Filter says which of a workspace's events are wanted.
type Filter struct {
	Log    int64     // 0: the current one
	Before int64     // only indexes below; 0: from the newest
	Limit  int       // at most 500; 0: 50
	From   time.Time // zero: no bound
	To     time.Time // exclusive; zero: no bound
	User   string    // who acted or whom it is about; "": everybody
	Kind   string    // a type ("sign_in.key_pin") or its subject ("sign_in"); "": all
	Grant  string    // "": all
}

// Events returns a workspace's events that have their leaves, newest first. The
// caller records that the record was read.
func (r *Recorder) Events(ctx context.Context, workspaceID string, f Filter) ([]Entry, error) {
	var out []Entry
	err := r.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		var err error
		out, err = Events(tx, f)
		return err
	})
	return out, err
}

// Events is Recorder.Events inside the caller's transaction.
func Events(tx *store.Tx, f Filter) ([]Entry, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = 50
	}
	want := store.RecordedEventsParams{Log: f.Log, Before: f.Before, Count: int32(min(limit, maxEvents)), FromAt: micros(f.From, 0),
		ToAt: micros(f.To, math.MaxInt64), UserID: f.User, GrantID: f.Grant, Kind: beginning(f.Kind)}
	want.Length = int32(len(want.Kind))
	if want.Before <= 0 {
		want.Before = math.MaxInt64
	}
	rows, err := tx.RecordedEvents(want)
	if err != nil {
		return nil, fmt.Errorf("couldn't read events: %w", err)
	}
	out := make([]Entry, 0, len(rows))
	for _, row := range rows {
		e, err := ParseLeaf(row.Leaf)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the event of index %d: %w", row.Index, err)
		}
		out = append(out, Entry{Log: row.Log, Index: row.Index, Leaf: row.Leaf, Event: e})
	}
	return out, nil
}

// beginning is what the types of a kind begin with.
func beginning(kind string) string {
	if kind == "" || strings.Contains(kind, ".") {
		return kind
	}
	return kind + "."
}

func micros(t time.Time, otherwise int64) int64 {
	if t.IsZero() {
		return otherwise
	}
	return t.UnixMicro()
}
