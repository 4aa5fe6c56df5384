package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	leaseName = "sequencer"
	leaseTime = 3 * time.Second
	// batchSize bounds the events of one batch, so that it ends well within its
	// lease.
	batchSize = 256
)

// ErrDiverged is the error of a tree that does not continue what was signed
// before. Nothing is signed over it.
var ErrDiverged = errors.New("the record in the database does not continue the last signed checkpoint: run mitral audit verify")

// view is how far the log has come.
type view struct {
	log, size int64
	waiting   int64 // when the first event without a leaf was recorded, or 0
	last      store.AuditCheckpoint
}

func (v view) due() bool { return v.waiting > 0 || v.size > v.last.Size }

func look(ctx context.Context, db *store.DB) (view, error) {
	var v view
	err := db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		l, err := tx.CurrentLog()
		if err != nil {
			return err
		}
		if v.last, err = lastCheckpoint(tx.LastCheckpoint(l.Log)); err != nil {
			return err
		}
		if v.size, err = tx.TreeSize(l.Log); err != nil {
			return err
		}
		first, err := tx.QueuedEvents(1)
		if err == nil && len(first) > 0 {
			v.waiting = first[0].At
		}
		v.log = l.Log
		return err
	})
	if err != nil {
		return view{}, fmt.Errorf("couldn't read how far the log has come: %w", err)
	}
	return v, nil
}

func lastCheckpoint(c store.AuditCheckpoint, err error) (store.AuditCheckpoint, error) {
	if errors.Is(err, store.ErrNoRows) {
		return store.AuditCheckpoint{}, nil
	}
	return c, err
}

// leader makes batches while it holds the lease. Only Run's goroutine uses it.
type leader struct {
	db     *store.DB
	keys   *keyring.Ring
	holder string
	epoch  int64       // of the lease it took last
	signer note.Signer // that signed its last checkpoint
}

// batch gives waiting events their leaves and signs the tree, in one
// transaction that is void unless the lease is still held. The note is known to
// nobody before the COMMIT is; an unknown outcome is read back by the next look.
// It reports whether a checkpoint was made: not while another node leads.
func (l *leader) batch(ctx context.Context) (made bool, err error) {
	var epoch int64
	var signer note.Signer
	err = l.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		made = false
		var err error
		if epoch, err = l.hold(tx); err != nil || epoch == 0 {
			return err
		}
		log, size, _, err := tx.Sequence(batchSize)
		if err != nil {
			return err
		}
		last, err := lastCheckpoint(tx.LastCheckpoint(log))
		if err != nil {
			return fmt.Errorf("couldn't read the last checkpoint: %w", err)
		}
		if size <= last.Size {
			return nil
		}
		signer = l.keys.LogSigner()
		signed, err := l.sign(tx, signer, log, size, last)
		if err != nil {
			return err
		}
		made = true
		return tx.InsertCheckpoint(store.InsertCheckpointParams{Log: log, Size: size, Note: signed, At: tx.Micros()})
	})
	if err != nil {
		return false, fmt.Errorf("couldn't sequence: %w", err)
	}
	l.epoch = epoch
	if made {
		l.signer = signer
	}
	return made, nil
}

// hold renews the lease, or takes one that ran out, under a new epoch. It
// returns 0 while another holds it. The row it updates keeps every other leader
// out until this transaction ends.
func (l *leader) hold(tx *store.UpkeepTx) (epoch int64, err error) {
	until := tx.Now().Add(leaseTime).UnixMicro()
	if l.epoch > 0 {
		n, err := tx.RenewLease(store.RenewLeaseParams{Name: leaseName, Holder: l.holder, Epoch: l.epoch, ExpiresAt: until})
		if err != nil {
			return 0, fmt.Errorf("couldn't renew the lease: %w", err)
		}
		if n == 1 {
			return l.epoch, nil
		}
	}
	n, err := tx.TakeLease(leaseName, l.holder, until)
	if err != nil {
		return 0, fmt.Errorf("couldn't take the lease: %w", err)
	}
	if n == 0 {
		return 0, nil
	}
	lease, err := tx.Lease(leaseName)
	if err != nil {
		return 0, fmt.Errorf("couldn't read the lease: %w", err)
	}
	return lease.Epoch, nil
}

// sign makes the note over the tree's first size leaves, if they continue the
// last one. After a change of keys one note carries both signatures, so that
// whoever knows the old key can follow.
func (l *leader) sign(tx *store.UpkeepTx, signer note.Signer, log, size int64, last store.AuditCheckpoint) (string, error) {
	current, err := tx.CurrentLog()
	if err != nil {
		return "", fmt.Errorf("couldn't read the log: %w", err)
	}
	if signer.Name() != current.Origin {
		return "", fmt.Errorf("the key is of the log %s and the database is at %s: the keysets have to be read again", signer.Name(), current.Origin)
	}
	hashes := tx.TreeHashes(log)
	root, err := tlog.TreeHash(size, hashes)
	if err != nil {
		return "", fmt.Errorf("couldn't compute the root: %w", err)
	}
	if last.Size > 0 {
		before, err := audit.ParseCheckpoint(last.Note)
		if err != nil {
			return "", ErrDiverged
		}
		proof, err := tlog.ProveTree(size, last.Size, hashes)
		if err != nil {
			return "", fmt.Errorf("couldn't prove the log against its last checkpoint: %w", err)
		}
		if before.Size != last.Size || tlog.CheckTree(proof, size, root, before.Size, before.Root) != nil {
			return "", ErrDiverged
		}
	}
	signers := []note.Signer{signer}
	if l.signer != nil && l.signer.Name() == signer.Name() && l.signer.KeyHash() != signer.KeyHash() {
		signers = append(signers, l.signer)
	}
	signed, err := note.Sign(&note.Note{Text: audit.Checkpoint{Origin: current.Origin, Size: size, Root: root}.Text()}, signers...)
	if err != nil {
		return "", fmt.Errorf("couldn't sign a checkpoint: %w", err)
	}
	return string(signed), nil
}

// resign lets the lease run out at once.
func (l *leader) resign(ctx context.Context) error {
	if l.epoch == 0 {
		return nil
	}
	err := l.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		_, err := tx.RenewLease(store.RenewLeaseParams{Name: leaseName, Holder: l.holder, Epoch: l.epoch, ExpiresAt: tx.Micros()})
		return err
	})
	l.epoch = 0
	if err != nil {
		return fmt.Errorf("couldn't give the lease away: %w", err)
	}
	return nil
}
