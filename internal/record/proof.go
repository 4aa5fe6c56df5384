package record

import (
	"context"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// Inclusion returns the audit path (RFC 6962 §2.1.1, leaf upwards) by which the
// leaf of that index is contained in the log's first size leaves. Log 0 is the
// current one. Numbers that name no leaf or no tree are an Invalid refusal.
func (r *Recorder) Inclusion(ctx context.Context, log, index, size int64) ([][]byte, error) {
	var proof tlog.RecordProof
	err := r.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		log, err := treeOf(tx, log, "size", size)
		if err != nil {
			return err
		}
		if index < 0 || index >= size {
			return identity.RefuseField("index", "out_of_range", "There is no leaf of this index in a log of that size.")
		}
		if proof, err = tlog.ProveRecord(size, index, tx.TreeHashes(log)); err != nil {
			return fmt.Errorf("couldn't prove that leaf %d is contained: %w", index, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return bytesOf(proof), nil
}

// Consistency returns the proof (RFC 6962 §2.1.2) that the log's first to
// leaves begin with its first from leaves. Log 0 is the current one. Sizes that
// name no tree are an Invalid refusal.
func (r *Recorder) Consistency(ctx context.Context, log, from, to int64) ([][]byte, error) {
	var proof tlog.TreeProof
	err := r.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		log, err := treeOf(tx, log, "to", to)
		if err != nil {
			return err
		}
		if from < 1 || from > to {
			return identity.RefuseField("from", "out_of_range", "The older size is at least 1 and not beyond the newer one.")
		}
		if proof, err = tlog.ProveTree(to, from, tx.TreeHashes(log)); err != nil {
			return fmt.Errorf("couldn't prove that %d leaves continue %d: %w", to, from, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return bytesOf(proof), nil
}

// treeOf resolves a log and refuses a size it does not have.
func treeOf(tx *store.SystemTx, log int64, field string, size int64) (int64, error) {
	current, err := tx.CurrentLog()
	if err != nil {
		return 0, fmt.Errorf("couldn't read the log: %w", err)
	}
	if log == 0 {
		log = current.Log
	}
	if log < 1 || log > current.Log {
		return 0, identity.RefuseField("log", "unknown", "There is no log of this number.")
	}
	has, err := tx.TreeSize(log)
	if err != nil {
		return 0, fmt.Errorf("couldn't read the log's size: %w", err)
	}
	if size < 1 || size > has {
		return 0, identity.RefuseField(field, "out_of_range", "The log does not have that many leaves.")
	}
	return log, nil
}

func bytesOf(hashes []tlog.Hash) [][]byte {
	out := make([][]byte, len(hashes))
	for i, h := range hashes {
		out[i] = h[:]
	}
	return out
}
