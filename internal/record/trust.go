package record

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/mitral-health/mitral/internal/audit"
)

// keyEvent is the event by which a log goes on under another key.
const keyEvent = "audit.key"

// KeyChange is the event that changes the current log's key: the old key's
// signer endorses the new verifier key, so that whoever knows the old one can
// follow. It is recorded in the transaction that stores the new keyset.
func KeyChange(old note.Signer, verifierKey string) (audit.Event, error) {
	signed, err := note.Sign(&note.Note{Text: endorsement(verifierKey)}, old)
	if err != nil {
		return audit.Event{}, fmt.Errorf("couldn't endorse the new key: %w", err)
	}
	return audit.Event{Type: keyEvent, Outcome: audit.Success,
		Detail: audit.Detail{"verifier_key": verifierKey, "endorsement": string(signed)}}, nil
}

func endorsement(verifierKey string) string {
	return "the log goes on under the key\n" + verifierKey + "\n"
}

// savedCheckpoint is a checkpoint that was kept outside the database.
type savedCheckpoint struct {
	audit.Checkpoint
	note  string
	known bool // a key of its log verifies it
}

func (v *verifier) savedOf(t *tree) bool { return v.saved != nil && v.saved.Origin == t.origin }

// recognise starts a log's keys with the one its row names.
func (v *verifier) recognise(t *tree, verifierKey string) {
	if v.given != nil && v.given.Name() == t.origin {
		t.trusted = append(t.trusted, v.given)
	}
	key, err := note.NewVerifier(verifierKey)
	if err != nil || key.Name() != t.origin {
		v.finding(t, 0, "The row of the log %s does not name a key of it.", t.origin)
		return
	}
	v.admit(t, key)
}

// admit takes a key into force, and trusts it if it made the saved checkpoint.
func (v *verifier) admit(t *tree, key note.Verifier) {
	if !slices.ContainsFunc(t.keys, func(k note.Verifier) bool { return k.KeyHash() == key.KeyHash() }) {
		t.keys = append(t.keys, key)
	}
	if v.savedOf(t) && noteText(v.saved.note, []note.Verifier{key}) != "" {
		v.saved.known = true
		if v.given == nil {
			t.trusted = append(t.trusted, key)
		}
	}
}

// keyChange follows a log to its next key.
func (v *verifier) keyChange(t *tree, index int64, e audit.Event) {
	text, _ := e.Detail["verifier_key"].(string)
	signed, _ := e.Detail["endorsement"].(string)
	key, err := note.NewVerifier(text)
	if err != nil || key.Name() != t.origin || noteText(signed, t.keys) != endorsement(text) {
		v.finding(t, index, "The change of the log's key at index %d is not signed by the key before.", index)
		return
	}
	trusted := noteText(signed, t.trusted) == endorsement(text)
	v.admit(t, key)
	if trusted {
		t.trusted = append(t.trusted, key)
	}
}

// pin says how the current log's newest checkpoint is tied to what is known
// from outside.
func (v *verifier) pin(t *tree) {
	if v.saved != nil && !slices.ContainsFunc(v.trees, v.savedOf) {
		v.finding(nil, 0, "The saved checkpoint is of the log %s, and this database has no log of that name.", v.saved.Origin)
	}
	tied := t.goodNote != "" && noteText(t.goodNote, t.trusted) != ""
	switch {
	case v.given != nil && tied:
		v.report.Pinned = PinnedByKey
	case v.given != nil && v.given.Name() != t.origin:
		v.finding(t, 0, "The key is of the log %s, and the current log is %s: after a restore take the key from a newer mail or print.", v.given.Name(), t.origin)
	case v.given != nil && t.goodNote != "":
		v.finding(t, 0, "The newest checkpoint is not signed by the key you gave: the log's key was replaced.")
	case tied:
		v.report.Pinned = PinnedByCheckpoint
	}
}

// noteText returns the text of a note that one of the keys signed, else "".
func noteText(signed string, keys []note.Verifier) string {
	for _, k := range keys {
		if n, err := note.Open([]byte(signed), note.VerifierList(k)); err == nil {
			return n.Text
		}
	}
	return ""
}

// findCheckpoint finds a checkpoint in a text; also in a mail whose body some
// server on the way has re-encoded.
func findCheckpoint(text string) (string, bool) {
	if found, ok := audit.FindCheckpoint(text); ok {
		return found, true
	}
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		return "", false
	}
	return findInPart(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body, 0)
}

// maxDepth bounds parts within parts of a mail.
const maxDepth = 5

func findInPart(contentType, encoding string, body io.Reader, depth int) (string, bool) {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err == nil && strings.HasPrefix(kind, "multipart/") && depth < maxDepth {
		parts := multipart.NewReader(body, parameters["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				return "", false
			}
			if found, ok := findInPart(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p, depth+1); ok {
				return found, true
			}
		}
	}
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return "", false
	}
	return audit.FindCheckpoint(string(text))
}
