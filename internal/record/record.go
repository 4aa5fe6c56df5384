package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	// beat is how often the log is looked at unasked. With what a commit takes,
	// no checkpoint is more than a second behind.
	beat = 500 * time.Millisecond
	// flush is how often refusals that were only counted become events.
	flush = time.Minute
	// parting is what is left for the last checkpoint when the process ends.
	parting = 5 * time.Second
	// glance is how often a waiter looks for what another node sequenced.
	glance = 100 * time.Millisecond
)

// Config is what a Recorder needs.
type Config struct {
	DB   *store.DB
	Keys *keyring.Ring
	// HighwaterPath is the file that remembers how far the log has come. It
	// lies outside database and data directory; "" keeps none.
	HighwaterPath string
	// Holder names this node in the sequencer's lease.
	Holder string
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Recorder sequences the record of one node and hands out its checkpoints. It
// is safe for concurrent use; Run is called once.
type Recorder struct {
	db     *store.DB
	log    *slog.Logger
	wake   chan struct{}
	water  *highwater
	lead   *leader
	counts sums

	mu   sync.Mutex
	news chan struct{} // closed when a checkpoint was made here
	err  error         // what went wrong in the last round
}

// New makes a Recorder. It touches neither database nor disk.
func New(c Config) *Recorder {
	log := c.Log
	if log == nil {
		log = slog.Default()
	}
	return &Recorder{
		db: c.DB, log: log, wake: make(chan struct{}, 1), news: make(chan struct{}),
		water: &highwater{path: c.HighwaterPath}, lead: &leader{db: c.DB, keys: c.Keys, holder: c.Holder},
	}
}

// Run sequences and signs until ctx ends, then once more, and gives the lease
// away so that another node goes on without a pause. A fault is logged, shows
// in Status and is tried again.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	flushed := r.db.Clock().Now()
	for {
		if now := r.db.Clock().Now(); now.Sub(flushed) >= flush || now.Before(flushed) {
			flushed = now
			r.note(ctx, errors.Join(r.counts.record(ctx, r.db), r.round(ctx)))
		} else {
			r.note(ctx, r.round(ctx))
		}
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
			defer cancel()
			return errors.Join(r.counts.record(last, r.db), r.round(last), r.water.settle(), r.lead.resign(last))
		case <-r.wake:
		case <-ticker.C:
		}
	}
}

// Wake asks for a checkpoint at once: something was recorded that somebody
// waits for. It never blocks.
func (r *Recorder) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // asked already
	}
}

// Await waits until a signed checkpoint covers the event and returns the leaf's
// index and that checkpoint, the smallest that does. It gives up after max, or
// when ctx ends; the event is recorded all the same.
func (r *Recorder) Await(ctx context.Context, eventID string, max time.Duration) (index int64, checkpoint string, ok bool) {
	if eventID == "" { // it was summed
		return 0, "", false
	}
	until := r.db.Clock().Now().Add(max)
	r.Wake()
	for {
		news := r.listen()
		index, signed, err := r.covering(ctx, eventID)
		if err == nil {
			return index, signed, true
		}
		left := until.Sub(r.db.Clock().Now())
		if left <= 0 {
			return 0, "", false
		}
		timer := time.NewTimer(min(left, glance))
		select {
		case <-ctx.Done():
			timer.Stop()
			return 0, "", false
		case <-news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Latest returns the newest signed checkpoint, whichever node made it. Before
// the first one it is an Unavailable refusal.
func (r *Recorder) Latest(ctx context.Context) (string, error) {
	var c mark
	var signed string
	err := r.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		l, err := tx.CurrentLog()
		if err != nil {
			return err
		}
		last, err := tx.LastCheckpoint(l.Log)
		if err != nil {
			return err
		}
		signed = last.Note
		c, err = markOf(last)
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		no := identity.Refuse(identity.Unavailable, "no_checkpoint_yet", "The record has no signed checkpoint yet. Try again in a second.")
		no.RetryAfter = time.Second
		return "", no
	}
	if err != nil {
		return "", fmt.Errorf("couldn't read the newest checkpoint: %w", err)
	}
	if err := r.water.raise(c); err != nil {
		return "", err
	}
	return signed, nil
}

// Status is how the record is doing, for readiness and doctor.
type Status struct {
	Log  int64
	Size int64 // leaves
	// Covered is how many of them the newest checkpoint covers.
	Covered int64
	// Behind is the age of the oldest event that no checkpoint covers, else 0.
	Behind time.Duration
	// Err is what went wrong when this node last tried, or nil.
	Err error
}

// Status asks the database and this node's sequencer.
func (r *Recorder) Status(ctx context.Context) (Status, error) {
	v, err := look(ctx, r.db)
	if err != nil {
		return Status{}, err
	}
	s := Status{Log: v.log, Size: v.size, Covered: v.last.Size}
	oldest := v.waiting
	if v.size > v.last.Size {
		err := r.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
			first, err := tx.Leaves(v.log, v.last.Size, v.last.Size+1)
			if err == nil && len(first) > 0 && (oldest == 0 || first[0].At < oldest) {
				oldest = first[0].At
			}
			return err
		})
		if err != nil {
			return Status{}, fmt.Errorf("couldn't read the oldest event without a checkpoint: %w", err)
		}
	}
	if oldest > 0 {
		s.Behind = max(0, r.db.Clock().Now().Sub(time.UnixMicro(oldest)))
	}
	r.mu.Lock()
	s.Err = r.err
	r.mu.Unlock()
	return s, nil
}

// round makes leaves and checkpoints until nothing waits, as far as this node
// holds the lease, and keeps the high water.
func (r *Recorder) round(ctx context.Context) error {
	for {
		v, err := look(ctx, r.db)
		if err != nil {
			return err
		}
		if v.last.Size > 0 {
			c, err := markOf(v.last)
			if err != nil {
				return err
			}
			if err := r.water.follow(c, r.db.Clock().Now()); err != nil {
				return err
			}
		}
		if !v.due() {
			return nil
		}
		made, err := r.lead.batch(ctx)
		if err != nil || !made {
			return err
		}
		r.tell()
	}
}

// note keeps what went wrong and logs it when it is news.
func (r *Recorder) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	was := r.err
	r.err = err
	r.mu.Unlock()
	if err != nil && (was == nil || was.Error() != err.Error()) {
		r.log.ErrorContext(ctx, "the record has fallen behind", "error", err)
	}
	if err == nil && was != nil {
		r.log.InfoContext(ctx, "the record has caught up")
	}
}

func (r *Recorder) tell() {
	r.mu.Lock()
	close(r.news)
	r.news = make(chan struct{})
	r.mu.Unlock()
}

func (r *Recorder) listen() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

// covering reads the leaf of an event and the checkpoint over it, which may
// leave the machine once the high water is as high.
func (r *Recorder) covering(ctx context.Context, eventID string) (index int64, signed string, err error) {
	var c mark
	err = r.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		leaf, err := tx.LeafOfEvent(eventID)
		if err != nil {
			return err
		}
		over, err := tx.CheckpointCovering(leaf.Log, leaf.Index)
		if err != nil {
			return err
		}
		index, signed = leaf.Index, over.Note
		c, err = markOf(over)
		return err
	})
	if err != nil {
		return 0, "", err
	}
	return index, signed, r.water.raise(c)
}
