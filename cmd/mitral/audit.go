package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/mitral-health/mitral/internal/server"
)

type auditCommands struct {
	Verify auditVerifyCommand `cmd:"" help:"Check every event, hash and signed checkpoint."`
	Export auditExportCommand `cmd:"" help:"Write the record to standard output."`
}

type auditVerifyCommand struct {
	Checkpoint string `placeholder:"FILE" help:"A checkpoint saved elsewhere, from a mail or a print."`
	Key        string `placeholder:"KEY" help:"The log's verifier key, name+hash+base64, kept apart from this copy."`
	asJSON
}

// Help is shown above the flags.
func (auditVerifyCommand) Help() string {
	return "Needs only the database: no key-encryption key and no server. With a checkpoint it also checks that " +
		"today's log contains that history. Exits with 1, and names the first bad index, when anything differs."
}

func (c *auditVerifyCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	report, err := server.VerifyAudit(ctx, config, server.VerifyInput{CheckpointFile: c.Checkpoint, Key: c.Key})
	if err != nil {
		return err
	}
	if err := a.answer(c.JSON, report, func(w *bytes.Buffer) { verifyInWords(w, report) }); err != nil {
		return err
	}
	if report.OK {
		return nil
	}
	what := "the record is not as it was written"
	if report.FirstBad != nil {
		what += fmt.Sprintf(", first at index %d", *report.FirstBad)
	}
	return &server.Advice{What: what, Do: "change nothing, keep a copy of the database, and compare it with your backups"}
}

func verifyInWords(w *bytes.Buffer, r server.VerifyReport) {
	if r.OK {
		fmt.Fprintf(w, "The record is whole: %d events, each as it was written.\n", r.Size)
	} else {
		fmt.Fprintf(w, "The record is NOT whole (%d events).\n", r.Size)
	}
	for _, finding := range r.Findings {
		fmt.Fprintln(w, "- "+finding)
	}
	if r.Pinned == "unpinned" {
		fmt.Fprintln(w, "The verifier key came from this copy itself. Give the printed one with --key to be sure of it.")
	}
}

type auditExportCommand struct {
	Format    string `required:"" enum:"jsonl,csv,fhir" placeholder:"FORMAT" help:"jsonl, csv or fhir."`
	Workspace string `placeholder:"SLUG" help:"Only this workspace's events."`
	From      string `placeholder:"TIME" help:"Only events from then on: 2026-11-25T14:00:00Z, or a date."`
	To        string `placeholder:"TIME" help:"Only events before then."`
}

// Help is shown above the flags.
func (auditExportCommand) Help() string {
	return "jsonl without filters is every event byte for byte, in order, so that anyone can recompute the log's root."
}

func (c *auditExportCommand) Run(ctx context.Context, a *app) error {
	from, err := exportTime("--from", c.From)
	if err != nil {
		return err
	}
	to, err := exportTime("--to", c.To)
	if err != nil {
		return err
	}
	config, err := a.config()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(a.stdout, 64<<10)
	err = server.ExportAudit(ctx, config, server.ExportInput{
		Format: c.Format, Workspace: c.Workspace, From: from, To: to,
	}, out)
	if err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("couldn't write the record: %w", err)
	}
	return nil
}

// exportTime reads an RFC 3339 time, or a date for its first moment in UTC.
func exportTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &usage{what: fmt.Sprintf("%s is no time (%q)", flag, s), see: "mitral audit export --help"}
}
