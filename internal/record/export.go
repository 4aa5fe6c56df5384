package record

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// Formats of an export.
const (
	FormatJSONL = "jsonl"
	FormatCSV   = "csv"
	FormatFHIR  = "fhir"
)

// ExportInput says what is exported, and how.
type ExportInput struct {
	Format      string
	WorkspaceID string    // "": all, the operator's export
	From        time.Time // zero: no bound
	To          time.Time // exclusive; zero: no bound
}

func (in ExportInput) filtered() bool {
	return in.WorkspaceID != "" || !in.From.IsZero() || !in.To.IsZero()
}

// CheckFormat refuses a format that Export does not know.
func CheckFormat(format string) error {
	switch format {
	case FormatJSONL, FormatCSV, FormatFHIR:
		return nil
	}
	return identity.RefuseField("format", "unknown", "The format is jsonl, csv or fhir.")
}

// Export writes the record in index order, as of one moment.
//
// JSON Lines without filters is every leaf byte for byte, a line each, so that
// anyone can recompute the root; a line {"log":n,"origin":…} comes before the
// leaves of a log that was begun after another. With a filter each line is
// {"index":n,"leaf":"…"}, with "log":n where it is not the first. CSV has the
// leaf's members as columns, and no cell that a spreadsheet would take for a
// formula. FHIR is R4 AuditEvents, a line each.
//
// An unknown format is an Invalid refusal. The caller records that the record
// was exported.
func Export(ctx context.Context, db *store.DB, in ExportInput, w io.Writer) error {
	if err := CheckFormat(in.Format); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<16)
	err := db.Snapshot(ctx, func(tx *store.SystemTx) error {
		switch in.Format {
		case FormatCSV:
			return exportCSV(tx, in, out)
		case FormatFHIR:
			return exportFHIR(tx, in, out)
		}
		return exportLines(tx, in, out)
	})
	if err != nil {
		return fmt.Errorf("couldn't export the record: %w", err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("couldn't write the export: %w", err)
	}
	return nil
}

func exportLines(tx *store.SystemTx, in ExportInput, w *bufio.Writer) error {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	var last int64
	return walk(tx, in, func(l store.AuditLog, index int64, leaf string) error {
		if in.filtered() {
			line := struct {
				Log   int64  `json:"log,omitempty"`
				Index int64  `json:"index"`
				Leaf  string `json:"leaf"`
			}{l.Log, index, leaf}
			if l.Log == 1 {
				line.Log = 0
			}
			return lines.Encode(line)
		}
		if l.Log != last && l.Log != 1 {
			if err := lines.Encode(struct {
				Log    int64  `json:"log"`
				Origin string `json:"origin"`
			}{l.Log, l.Origin}); err != nil {
				return err
			}
		}
		last = l.Log
		_, err := w.WriteString(leaf + "\n")
		return err
	})
}

// walk calls f for every leaf that in wants, in order.
func walk(tx *store.SystemTx, in ExportInput, f func(l store.AuditLog, index int64, leaf string) error) error {
	logs, err := tx.Logs()
	if err != nil {
		return fmt.Errorf("couldn't read the logs: %w", err)
	}
	for _, l := range logs {
		size, err := tx.TreeSize(l.Log)
		if err != nil {
			return fmt.Errorf("couldn't read the size of log %d: %w", l.Log, err)
		}
		for from := int64(0); from < size; from += window {
			if in.WorkspaceID != "" {
				err = walkShare(tx.Workspace(in.WorkspaceID), in, l, from, f)
			} else {
				err = walkAll(tx, in, l, from, f)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// walkAll goes over one window of a log.
func walkAll(tx *store.SystemTx, in ExportInput, l store.AuditLog, from int64, f func(l store.AuditLog, index int64, leaf string) error) error {
	rows, err := tx.Leaves(l.Log, from, from+window)
	if err != nil {
		return fmt.Errorf("couldn't read leaves from %d: %w", from, err)
	}
	for _, row := range rows {
		if row.At < micros(in.From, math.MinInt64) || row.At >= micros(in.To, math.MaxInt64) {
			continue
		}
		if err := f(l, row.Index, row.Leaf); err != nil {
			return err
		}
	}
	return nil
}

// walkShare goes over a workspace's share of one window.
func walkShare(tx *store.Tx, in ExportInput, l store.AuditLog, from int64, f func(l store.AuditLog, index int64, leaf string) error) error {
	rows, err := tx.EventsBetween(store.EventsBetweenParams{Log: l.Log, FromIdx: from, ToIdx: from + window, Count: window,
		FromAt: micros(in.From, math.MinInt64), ToAt: micros(in.To, math.MaxInt64)})
	if err != nil {
		return fmt.Errorf("couldn't read leaves from %d: %w", from, err)
	}
	for _, row := range rows {
		if err := f(l, row.Index, row.Leaf); err != nil {
			return err
		}
	}
	return nil
}

// firstColumns are the members that most leaves have; others follow by name.
var firstColumns = []string{"id", "at", "type", "outcome", "workspace_id", "actor", "user_id", "method", "ip", "user_agent",
	"device_id", "session_id", "grant_id", "purpose"}

// exportCSV goes over the record twice: the columns must be known before the
// first row.
func exportCSV(tx *store.SystemTx, in ExportInput, w io.Writer) error {
	details := map[string]bool{}
	err := walkEvents(tx, in, func(e Entry) error {
		for name := range e.Detail {
			details[name] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	rest := slices.Sorted(maps.Keys(details))
	rows := csv.NewWriter(w)
	if err := rows.Write(slices.Concat([]string{"log", "index"}, firstColumns, rest)); err != nil {
		return err
	}
	err = walkEvents(tx, in, func(e Entry) error {
		row := []string{strconv.FormatInt(e.Log, 10), strconv.FormatInt(e.Index, 10)}
		for _, cell := range []string{e.ID, e.At.Format(leafTime), e.Type, string(e.Outcome), e.Workspace, e.Actor, e.User, e.Method,
			e.Client.Address(), e.Client.UserAgent, e.Client.Device, e.Session, e.Grant, e.Purpose} {
			row = append(row, harmless(cell))
		}
		for _, name := range rest {
			row = append(row, detailText(e.Event, name, harmless))
		}
		return rows.Write(row)
	})
	if err != nil {
		return err
	}
	rows.Flush()
	return rows.Error()
}

func walkEvents(tx *store.SystemTx, in ExportInput, f func(e Entry) error) error {
	return walk(tx, in, func(l store.AuditLog, index int64, leaf string) error {
		e, err := ParseLeaf(leaf)
		if err != nil {
			return fmt.Errorf("couldn't read the event of index %d: %w", index, err)
		}
		return f(Entry{Log: l.Log, Index: index, Leaf: leaf, Event: e})
	})
}

// detailText writes one member, texts by the given function.
func detailText(e audit.Event, name string, text func(string) string) string {
	switch v := e.Detail[name].(type) {
	case string:
		return text(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// harmless puts an apostrophe before what a spreadsheet would calculate or
// fetch (OWASP, CSV injection), also behind spaces and in full-width signs.
func harmless(cell string) string {
	start := strings.TrimLeft(cell, " \u00a0\u3000")
	if start == "" {
		return cell
	}
	for _, sign := range []string{"=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"} {
		if strings.HasPrefix(start, sign) {
			return "'" + cell
		}
	}
	return cell
}
