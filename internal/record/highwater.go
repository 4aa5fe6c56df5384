package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/store"
)

// ErrRolledBack is the error of a database that is older than what this machine
// has seen of it, or another one: it was restored or set back, or its record
// was rewritten.
var ErrRolledBack = errors.New("the database is older than the record this machine has seen: restore the newest backup, or go on with mitral restore --accept-rollback")

// mark is how far a log had come.
type mark struct {
	Log  int64     `json:"log"`
	Size int64     `json:"size"`
	Root tlog.Hash `json:"root"`
}

func (m mark) beyond(other mark) bool {
	return m.Log > other.Log || (m.Log == other.Log && m.Size > other.Size)
}

func markOf(c store.AuditCheckpoint) (mark, error) {
	parsed, err := audit.ParseCheckpoint(c.Note)
	if err != nil {
		return mark{}, fmt.Errorf("couldn't read the checkpoint of %d leaves: %w", c.Size, err)
	}
	return mark{Log: c.Log, Size: parsed.Size, Root: parsed.Root}, nil
}

// highwater is the file that remembers the newest checkpoint outside the
// database. Every mark that was raised is on the disk.
type highwater struct {
	path string

	mu    sync.Mutex
	saved mark      // on the disk
	at    time.Time // when it was written
	next  mark      // seen, perhaps not yet on the disk
}

// follow takes note of a checkpoint and writes at most once a second.
func (h *highwater) follow(m mark, now time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.beyond(h.next) {
		h.next = m
	}
	if since := now.Sub(h.at); since >= 0 && since < time.Second {
		return nil
	}
	h.at = now
	return h.write()
}

// raise writes at once if the disk knows only of less: the checkpoint is about
// to leave the machine.
func (h *highwater) raise(m mark) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.beyond(h.next) {
		h.next = m
	}
	if !m.beyond(h.saved) {
		return nil
	}
	return h.write()
}

// settle writes what is not yet on the disk.
func (h *highwater) settle() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.write()
}

func (h *highwater) write() error {
	if h.path == "" || !h.next.beyond(h.saved) {
		return nil
	}
	// Another node on this machine may share the file and be further.
	if there, err := readHighwater(h.path); err == nil && !h.next.beyond(there) {
		h.saved = there
		return nil
	}
	text, err := json.Marshal(h.next)
	if err != nil {
		return fmt.Errorf("couldn't write the high-water file: %w", err)
	}
	if err := replaceFile(h.path, append(text, '\n')); err != nil {
		return fmt.Errorf("couldn't write the high-water file: %w", err)
	}
	h.saved = h.next
	return nil
}

func readHighwater(path string) (mark, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return mark{}, err
	}
	var m mark
	if err := json.Unmarshal(text, &m); err != nil {
		return mark{}, err
	}
	return m, nil
}

// replaceFile puts a whole file in the place of another and waits for the disk.
func replaceFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// CheckHighwater compares the database with what this machine has seen of it:
// ErrRolledBack when the log is shorter, or is another one. A later log is none
// of the two: a restore that was accepted began it. Without a file there is
// nothing to compare.
func (r *Recorder) CheckHighwater(ctx context.Context) error {
	if r.water.path == "" {
		return nil
	}
	seen, err := readHighwater(r.water.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't read the high-water file %s: if it is damaged, compare the record with a saved checkpoint (mitral audit verify --checkpoint FILE) and remove it: %w", r.water.path, err)
	}
	err = r.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		current, err := tx.CurrentLog()
		if errors.Is(err, store.ErrNoRows) {
			return ErrRolledBack
		}
		if err != nil {
			return fmt.Errorf("couldn't read the log: %w", err)
		}
		if current.Log != seen.Log {
			if current.Log < seen.Log {
				return ErrRolledBack
			}
			return nil
		}
		size, err := tx.TreeSize(seen.Log)
		if err != nil {
			return fmt.Errorf("couldn't read the log's size: %w", err)
		}
		if size < seen.Size {
			return ErrRolledBack
		}
		if seen.Size == 0 {
			return nil
		}
		root, err := tlog.TreeHash(seen.Size, tx.TreeHashes(seen.Log))
		if err != nil {
			return fmt.Errorf("couldn't compute the log's root: %w", err)
		}
		if root != seen.Root {
			return ErrRolledBack
		}
		return nil
	})
	return err
}
