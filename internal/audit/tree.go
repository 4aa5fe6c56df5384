package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is a tree head: what the log was when it had Size leaves.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// ErrCheckpoint is the error of a text that is not a checkpoint.
var ErrCheckpoint = errors.New("not a checkpoint")

// Text returns the note's body (C2SP tlog-checkpoint): origin, size and root,
// a line each.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// Sign returns the checkpoint as a signed note.
func (c Checkpoint) Sign(s note.Signer) (string, error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, s)
	if err != nil {
		return "", fmt.Errorf("couldn't sign a checkpoint: %w", err)
	}
	return string(b), nil
}

// ParseCheckpoint reads a note's body, whatever its signatures.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 || lines[0] == "" {
		return Checkpoint{}, ErrCheckpoint
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, ErrCheckpoint
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, ErrCheckpoint
	}
	c := Checkpoint{Origin: lines[0], Size: size}
	copy(c.Root[:], root)
	if !strings.HasPrefix(text, c.Text()) { // base64 can be written in other ways
		return Checkpoint{}, ErrCheckpoint
	}
	return c, nil
}

// OpenCheckpoint reads a signed note and checks that one of the given verifier
// keys ("name+hash+base64") signed it.
func OpenCheckpoint(signed string, keys ...string) (Checkpoint, error) {
	var vs []note.Verifier
	for _, k := range keys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return Checkpoint{}, fmt.Errorf("couldn't read the verifier key: %w", err)
		}
		vs = append(vs, v)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(vs...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("couldn't open the checkpoint: %w", err)
	}
	return ParseCheckpoint(n.Text)
}

// FindCheckpoint cuts a signed note out of a longer text, such as a mail that
// was saved whole: from the origin line to the last signature line.
func FindCheckpoint(text string) (string, bool) {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := 0; i+4 < len(lines); i++ {
		if lines[i+3] != "" || !strings.HasPrefix(lines[i+4], "— ") {
			continue
		}
		body := strings.Join(lines[i:i+3], "\n") + "\n"
		if _, err := ParseCheckpoint(body); err != nil {
			continue
		}
		out := body + "\n"
		for _, l := range lines[i+4:] {
			if !strings.HasPrefix(l, "— ") {
				break
			}
			out += l + "\n"
		}
		return out, true
	}
	return "", false
}

// LeafHash is the RFC 6962 hash of a leaf.
func LeafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }
