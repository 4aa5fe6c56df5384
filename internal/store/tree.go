package store

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
)

// head is the end of the current log's tree with the hashes that its next
// leaves need. It may be kept only while nobody else writes.
type head struct {
	log   int64
	size  int64
	nodes map[int64]tlog.Hash
}

// maxKept bounds the hashes a head remembers between batches.
const maxKept = 4096

func readHead(ctx context.Context, q *Queries) (*head, error) {
	l, err := q.currentLog(ctx)
	if errors.Is(err, ErrNoRows) {
		return nil, errors.New("the database has no log yet: run mitral setup or mitral serve")
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the log: %w", err)
	}
	size, err := q.treeSize(ctx, l.Log)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the tree's size: %w", err)
	}
	return &head{log: l.Log, size: size, nodes: map[int64]tlog.Hash{}}, nil
}

// add appends leaves to the tree within q's transaction. On an error the head
// must be thrown away.
func (h *head) add(ctx context.Context, q *Queries, events []recorded) error {
	if len(h.nodes) > maxKept {
		h.nodes = map[int64]tlog.Hash{}
	}
	for _, e := range events {
		hashes, err := tlog.StoredHashesForRecordHash(h.size, audit.LeafHash(e.leaf), h.reader(ctx, q))
		if err != nil {
			return fmt.Errorf("couldn't hash leaf %d: %w", h.size, err)
		}
		if err := q.insertLeaf(ctx, insertLeafParams{Log: h.log, Index: h.size, EventID: e.id}); err != nil {
			return fmt.Errorf("couldn't add leaf %d: %w", h.size, err)
		}
		at := tlog.StoredHashIndex(0, h.size)
		for i, hash := range hashes {
			id := at + int64(i)
			if err := q.insertNode(ctx, insertNodeParams{Log: h.log, ID: id, Hash: hash[:]}); err != nil {
				return fmt.Errorf("couldn't add node %d: %w", id, err)
			}
			h.nodes[id] = hash
		}
		h.size++
	}
	return nil
}

func (h *head) reader(ctx context.Context, q *Queries) tlog.HashReader {
	return tlog.HashReaderFunc(func(ids []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ids))
		for i, id := range ids {
			hash, ok := h.nodes[id]
			if !ok {
				b, err := q.node(ctx, nodeParams{Log: h.log, ID: id})
				if err != nil {
					return nil, fmt.Errorf("couldn't read node %d: %w", id, err)
				}
				copy(hash[:], b)
				h.nodes[id] = hash
			}
			out[i] = hash
		}
		return out, nil
	})
}

// Sequence gives up to max waiting events their leaves, in order, and returns
// the log, its size afterwards and how many were added. On SQLite nothing ever
// waits. The caller holds the sequencer's lease in the same transaction.
func (t *UpkeepTx) Sequence(max int32) (log, size, added int64, err error) {
	h, err := readHead(t.ctx, t.q)
	if err != nil {
		return 0, 0, 0, err
	}
	waiting, err := t.QueuedEvents(max)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("couldn't read waiting events: %w", err)
	}
	events := make([]recorded, len(waiting))
	for i, e := range waiting {
		events[i] = recorded{e.ID, []byte(e.Leaf)}
		if err := t.q.unqueueEvent(t.ctx, e.ID); err != nil {
			return 0, 0, 0, fmt.Errorf("couldn't unqueue an event: %w", err)
		}
	}
	if err := h.add(t.ctx, t.q, events); err != nil {
		return 0, 0, 0, err
	}
	return h.log, h.size, int64(len(events)), nil
}

// TreeHashes reads stored hashes of a log's tree, for roots and proofs.
func (t systemQueries) TreeHashes(log int64) tlog.HashReader {
	return (&head{log: log, nodes: map[int64]tlog.Hash{}}).reader(t.ctx, t.q)
}
