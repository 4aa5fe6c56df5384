package record

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	// window is how many leaves are read at a time.
	window = 4096
	// overdue is how old an event may be that has no leaf.
	overdue = time.Minute
	// maxFindings bounds a report; the first bad index is among them.
	maxFindings = 50
)

// How the verifier came to the log's key.
const (
	PinnedByKey        = "key"        // it was given
	PinnedByCheckpoint = "checkpoint" // it verifies the saved checkpoint
	Unpinned           = "unpinned"   // it comes from the database itself
)

// VerifyInput is what is known from outside the database.
type VerifyInput struct {
	// Checkpoint is a signed checkpoint that was saved elsewhere: the note, or
	// a text that holds it, such as a mail saved whole; or "".
	Checkpoint string
	// Key is the verifier key of the current log ("name+hash+base64"), or "".
	Key string
}

// Report is what Verify found. Only OK without a saved checkpoint or a key says
// that the record fits itself; somebody who may write to the database could
// have made another that does.
type Report struct {
	OK  bool  `json:"ok"`
	Log int64 `json:"log"` // the current one, or the first with something bad
	// Size is how many leaves that log has.
	Size int64 `json:"size"`
	// FirstBad is the first index of that log at which something is wrong, or,
	// where hashes only show that it lies in a range, the range's beginning.
	FirstBad *int64 `json:"first_bad"`
	Root     string `json:"root"` // of all Size leaves, base64
	Pinned   string `json:"pinned"`
	Key      string `json:"key"` // the verifier key that the log names
	// Findings are sentences, one for each thing wrong. There may be more
	// wrong than are listed.
	Findings []string `json:"findings"`
	// Notes are sentences about what is not wrong and should be known.
	Notes []string `json:"notes"`
}

// ErrNoSavedCheckpoint is the error of a saved text without a checkpoint in it.
var ErrNoSavedCheckpoint = errors.New("there is no checkpoint in that file: save the mail whole, or copy the lines from the log's name to the line that begins with a long dash")

// ErrBadKey is the error of a text that is no verifier key.
var ErrBadKey = errors.New("the key cannot be read: give it whole, as name+hash+letters")

// Verify checks every leaf, every hash and every signed checkpoint of all logs,
// and that the saved checkpoint's history is contained in today's. It needs
// nothing but the database, which it only reads, in one view; also a copy
// without triggers or indexes. An error means that it could not look: a database
// without the record's tables, or a key or checkpoint that cannot be read.
func Verify(ctx context.Context, db *store.DB, in VerifyInput) (Report, error) {
	v := &verifier{now: db.Clock().Now(), report: Report{Pinned: Unpinned, Findings: []string{}, Notes: []string{}}}
	if in.Key != "" {
		key, err := note.NewVerifier(strings.TrimSpace(in.Key))
		if err != nil {
			return Report{}, ErrBadKey
		}
		v.given = key
	}
	if in.Checkpoint != "" {
		text, ok := findCheckpoint(in.Checkpoint)
		if !ok {
			return Report{}, ErrNoSavedCheckpoint
		}
		body, _, _ := strings.Cut(text, "\n\n")
		saved, err := audit.ParseCheckpoint(body + "\n")
		if err != nil {
			return Report{}, ErrNoSavedCheckpoint
		}
		v.saved = &savedCheckpoint{Checkpoint: saved, note: text}
	}
	if err := db.Snapshot(ctx, func(tx *store.SystemTx) error { return v.run(ctx, tx) }); err != nil {
		return Report{}, fmt.Errorf("couldn't verify: %w", err)
	}
	return v.report, nil
}

// verifier is one verification. What is said of the log under way is in tree.
type verifier struct {
	now    time.Time
	given  note.Verifier
	saved  *savedCheckpoint
	trees  []*tree
	report Report
	bad    *tree // the first with something wrong
	more   int   // findings beyond the list
}

func (v *verifier) run(ctx context.Context, tx *store.SystemTx) error {
	logs, err := tx.Logs()
	if err != nil {
		return fmt.Errorf("couldn't read the logs: %w", err)
	}
	if len(logs) == 0 {
		return errors.New("the database has no log")
	}
	for _, l := range logs {
		v.trees = append(v.trees, &tree{log: l.Log, origin: l.Origin})
	}
	for i, l := range logs {
		if err := v.log(ctx, tx, v.trees[i], l.VerifierKey); err != nil {
			return err
		}
	}
	current := v.trees[len(logs)-1]
	v.report.Key = logs[len(logs)-1].VerifierKey
	v.pin(current)
	if err := v.events(tx, current); err != nil {
		return err
	}
	if v.bad != nil {
		v.report.FirstBad = &v.bad.bad
		current = v.bad
	}
	v.report.Log, v.report.Size = current.log, current.size
	if !current.lost {
		v.report.Root = base64.StdEncoding.EncodeToString(current.root[:])
	}
	if v.more > 0 {
		v.report.Findings = append(v.report.Findings, fmt.Sprintf("%d more are not listed.", v.more))
	}
	v.report.OK = len(v.report.Findings) == 0
	return nil
}

// finding adds a sentence. Where it is about a tree, the index counts as bad.
func (v *verifier) finding(t *tree, index int64, format string, args ...any) {
	if t != nil && (!t.isBad || index < t.bad) {
		t.isBad, t.bad = true, index
	}
	if t != nil && (v.bad == nil || t.log < v.bad.log) {
		v.bad = t
	}
	if len(v.report.Findings) >= maxFindings {
		v.more++
		return
	}
	sentence := fmt.Sprintf(format, args...)
	if t != nil && len(v.trees) > 1 {
		sentence = fmt.Sprintf("Log %d: %s", t.log, sentence)
	}
	v.report.Findings = append(v.report.Findings, sentence)
}

// tree is one log while its leaves go by: of its hashes only those that the
// next ones need, one for each bit of the size.
type tree struct {
	log, size int64
	origin    string
	keys      []note.Verifier // in force, oldest first
	trusted   []note.Verifier // those of them that are known from outside, or endorsed by one that is
	next      int64           // the index awaited
	stack     []tlog.Hash     // complete subtrees, largest first
	lost      bool            // a hash is missing: no roots from here on
	root      tlog.Hash
	good      int64  // the size of the newest checkpoint that fits
	goodNote  string // and itself
	unfit     int    // checkpoints that do not
	isBad     bool
	bad       int64 // the first bad index
}

// batch is a window of a log as it was read.
type batch struct {
	to          int64 // the index after its last
	leaves      []store.RecordedLeavesRow
	nodes       []store.NodesRow
	checkpoints []store.AuditCheckpoint
}

// log verifies one log. One goroutine reads while the other computes.
func (v *verifier) log(ctx context.Context, tx *store.SystemTx, t *tree, key string) error {
	var err error
	if t.size, err = tx.TreeSize(t.log); err != nil {
		return fmt.Errorf("couldn't read the size of log %d: %w", t.log, err)
	}
	v.recognise(t, key)
	batches := make(chan batch, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := range batches {
			if v.check(t, b); t.lost {
				return
			}
		}
	}()
	err = read(ctx, tx, t.log, t.size, batches, done)
	close(batches)
	<-done
	if err != nil {
		return err
	}
	if !t.lost {
		t.root = rootOf(t.stack)
	}
	return v.ends(tx, t)
}

// read sends a log's windows in order, until nobody wants more. Windows have
// both ends, so that no database without statistics reads on to the end.
func read(ctx context.Context, tx *store.SystemTx, log, size int64, to chan<- batch, done <-chan struct{}) error {
	for from := int64(0); from < size; from += window {
		b := batch{to: min(from+window, size)}
		var err error
		if b.leaves, err = tx.RecordedLeaves(log, from, b.to); err != nil {
			return fmt.Errorf("couldn't read leaves from %d: %w", from, err)
		}
		first := tlog.StoredHashIndex(0, from)
		if b.nodes, err = tx.Nodes(log, first, tlog.StoredHashIndex(0, b.to)); err != nil {
			return fmt.Errorf("couldn't read hashes from %d: %w", first, err)
		}
		if b.checkpoints, err = tx.Checkpoints(log, from, b.to); err != nil {
			return fmt.Errorf("couldn't read checkpoints from %d: %w", from, err)
		}
		select {
		case to <- b:
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// check goes over one window, index by index.
func (v *verifier) check(t *tree, b batch) {
	for ; t.next < b.to && !t.lost; t.next++ {
		leaf, there := v.leaf(t, &b)
		v.grow(t, &b, leaf, there)
		for len(b.checkpoints) > 0 && b.checkpoints[0].Size <= t.next+1 {
			if !t.lost {
				v.checkpoint(t, b.checkpoints[0])
			}
			b.checkpoints = b.checkpoints[1:]
		}
		if v.savedOf(t) && v.saved.Size == t.next+1 && !t.lost && v.saved.Root != rootOf(t.stack) {
			// Checkpoints under a key that does not verify the saved one prove nothing.
			from := int64(0)
			if v.saved.known {
				from = t.good
			}
			v.finding(t, from, "The saved checkpoint over %d leaves has another root: what it covered was changed since.", v.saved.Size)
		}
	}
}

// leaf takes the rows of the awaited index and returns the hash of its bytes.
func (v *verifier) leaf(t *tree, b *batch) (hash tlog.Hash, there bool) {
	for len(b.leaves) > 0 && b.leaves[0].Index <= t.next {
		row := b.leaves[0]
		b.leaves = b.leaves[1:]
		switch {
		case row.Index < t.next || there:
			v.finding(t, row.Index, "Index %d has more than one leaf.", row.Index)
		case row.Leaf == "":
			v.finding(t, row.Index, "The event of index %d is gone.", row.Index)
		default:
			there, hash = true, audit.LeafHash([]byte(row.Leaf))
			v.content(t, row)
		}
	}
	return hash, there
}

// content checks that a leaf is canonical and that its row says the same.
func (v *verifier) content(t *tree, row store.RecordedLeavesRow) {
	e, err := ParseLeaf(row.Leaf)
	if err != nil {
		v.finding(t, row.Index, "The event of index %d is %v.", row.Index, err)
		return
	}
	for _, c := range []struct {
		column string
		same   bool
	}{
		{"id", e.ID == row.EventID}, {"at", e.At.UnixMicro() == row.At}, {"workspace_id", e.Workspace == row.WorkspaceID},
		{"type", e.Type == row.Type}, {"outcome", string(e.Outcome) == row.Outcome}, {"actor", e.Actor == row.Actor},
		{"user_id", userOf(e) == row.UserID}, {"session_id", e.Session == row.SessionID}, {"grant_id", e.Grant == row.GrantID},
	} {
		if !c.same {
			v.finding(t, row.Index, "The event of index %d has another %s in its row than in its leaf.", row.Index, c.column)
		}
	}
	if e.Type == keyEvent {
		v.keyChange(t, row.Index, e)
	}
}

// grow adds the leaf to the tree and compares each hash that it completes with
// the stored one. The stored one is carried on, so that one alteration is one
// finding and not one on every level above.
func (v *verifier) grow(t *tree, b *batch, leaf tlog.Hash, there bool) {
	id := tlog.StoredHashIndex(0, t.next)
	hash, stored := v.node(t, b, id)
	switch {
	case !stored && !there:
		v.finding(t, t.next, "Index %d is missing.", t.next)
		t.lost = true
		return
	case !there:
		v.finding(t, t.next, "The leaf of index %d is missing.", t.next)
	case !stored:
		v.finding(t, t.next, "The hash of index %d is missing.", t.next)
		hash = leaf
	case hash != leaf:
		v.finding(t, t.next, "The event of index %d is not the one that was recorded there: its bytes do not fit its hash.", t.next)
	}
	for level := 1; level <= bits.TrailingZeros64(^uint64(t.next)); level++ {
		id++
		left := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		parent := tlog.NodeHash(left, hash)
		first := t.next + 1 - 1<<level
		hash, stored = v.node(t, b, id)
		switch {
		case !stored:
			v.finding(t, first, "The hash over the indexes %d to %d is missing.", first, t.next)
			hash = parent
		case hash != parent:
			v.finding(t, first, "The hash over the indexes %d to %d does not fit what it covers.", first, t.next)
		}
	}
	t.stack = append(t.stack, hash)
}

// node takes the stored hash of that id.
func (v *verifier) node(t *tree, b *batch, id int64) (hash tlog.Hash, there bool) {
	for len(b.nodes) > 0 && b.nodes[0].ID <= id {
		n := b.nodes[0]
		b.nodes = b.nodes[1:]
		switch {
		case n.ID < id || there:
			v.finding(t, t.next, "The hash %d is stored more than once.", n.ID)
		case len(n.Hash) != tlog.HashSize:
			v.finding(t, t.next, "The hash %d is damaged.", n.ID)
		default:
			there = true
			copy(hash[:], n.Hash)
		}
	}
	return hash, there
}

// checkpoint checks one signed checkpoint against the tree as it stands.
func (v *verifier) checkpoint(t *tree, c store.AuditCheckpoint) {
	n, err := note.Open([]byte(c.Note), note.VerifierList(t.keys...))
	if err != nil {
		v.unfit(t, "The checkpoint over %d leaves is not signed by the log's key.", c.Size)
		return
	}
	signed, err := audit.ParseCheckpoint(n.Text)
	if err != nil || signed.Origin != t.origin || signed.Size != c.Size {
		v.unfit(t, "The checkpoint over %d leaves is of something else.", c.Size)
		return
	}
	if signed.Size != t.next+1 || signed.Root != rootOf(t.stack) {
		v.unfit(t, "The signed checkpoint over %d leaves has another root: one of the leaves from %d to %d was changed since, and the hashes with it.", c.Size, t.good, c.Size-1)
		return
	}
	t.good, t.goodNote = c.Size, c.Note
}

// unfit lists the first checkpoint that does not fit; those after it only
// repeat it.
func (v *verifier) unfit(t *tree, format string, args ...any) {
	t.unfit++
	if t.unfit == 1 {
		v.finding(t, t.good, format, args...)
	}
}

// ends checks what lies beyond the last leaf.
func (v *verifier) ends(tx *store.SystemTx, t *tree) error {
	if t.unfit > 1 {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%d checkpoints of log %d do not fit; the first is listed.", t.unfit, t.log))
	}
	beyond, err := lastCheckpoint(tx.LastCheckpoint(t.log))
	if err != nil {
		return fmt.Errorf("couldn't read the last checkpoint: %w", err)
	}
	if beyond.Size > t.size {
		v.finding(t, t.size, "A checkpoint is signed over %d leaves, and only %d are there: the end was cut off.", beyond.Size, t.size)
	}
	nodes, err := tx.CountNodes(t.log)
	if err != nil {
		return fmt.Errorf("couldn't count the hashes: %w", err)
	}
	if want := tlog.StoredHashCount(t.size); nodes > want {
		v.finding(t, t.size, "There are %d hashes more than %d leaves have: the end was cut off, or something was added.", nodes-want, t.size)
	}
	if v.savedOf(t) && v.saved.Size > t.size {
		v.finding(t, t.size, "The saved checkpoint is over %d leaves, and only %d are there: the end was cut off.", v.saved.Size, t.size)
	}
	if v.savedOf(t) && !v.saved.known {
		v.finding(t, 0, "The saved checkpoint is not signed by a key of this log: the log's key was replaced, or the checkpoint is not genuine.")
	}
	if !t.lost && t.unfit == 0 && t.good < t.size {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("No signed checkpoint covers the leaves from %d to %d of log %d yet.", t.good, t.size-1, t.log))
	}
	return nil
}

// events looks for events that are in no leaf, and for leaves that no log has.
func (v *verifier) events(tx *store.SystemTx, t *tree) error {
	leaves, err := tx.CountLeaves()
	if err != nil {
		return fmt.Errorf("couldn't count the leaves: %w", err)
	}
	of := map[int64]*tree{}
	for _, t := range v.trees {
		of[t.log] = t
		leaves -= t.size
	}
	if leaves > 0 {
		v.finding(nil, 0, "There are %d leaves more than the logs have.", leaves)
	}
	events, err := tx.CountEvents()
	if err != nil {
		return fmt.Errorf("couldn't count the events: %w", err)
	}
	repeated, err := tx.RepeatedEvents()
	if err != nil {
		return fmt.Errorf("couldn't look for events with several leaves: %w", err)
	}
	for _, id := range repeated {
		in, err := tx.LeavesOfEvent(id)
		if err != nil {
			return fmt.Errorf("couldn't read the leaves of an event: %w", err)
		}
		if len(in) > 1 { // in the order of the logs
			again := in[1]
			v.finding(of[again.Log], again.Index, "The event of index %d has a leaf before.", again.Index)
		}
	}
	var all int64
	for _, t := range v.trees {
		all += t.size
	}
	if events == all && len(repeated) == 0 {
		return nil
	}
	missing, err := tx.UnsequencedBefore(v.now.Add(-overdue).UnixMicro())
	if err != nil {
		return fmt.Errorf("couldn't look for events without a leaf: %w", err)
	}
	if missing > 0 {
		v.finding(t, t.size, "%d events are older than a minute and in no leaf: leaves were taken away, the sequencer has stopped, or this is a copy that was made in the middle of its work.", missing)
	}
	return nil
}

// rootOf folds the complete subtrees of a tree into its root.
func rootOf(stack []tlog.Hash) tlog.Hash {
	if len(stack) == 0 {
		root, _ := tlog.TreeHash(0, nil)
		return root
	}
	root := stack[len(stack)-1]
	for i := len(stack) - 2; i >= 0; i-- {
		root = tlog.NodeHash(stack[i], root)
	}
	return root
}
