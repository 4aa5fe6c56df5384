package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mitral-health/mitral/internal/server"
)

type restoreCommand struct {
	File           string `arg:"" optional:"" help:"Backup to restore."`
	AcceptRollback bool   `help:"Go on with the database as it stands, though it is older than the record says."`
	asJSON
}

// Help is shown above the flags.
func (restoreCommand) Help() string {
	return "Begins a new log, signs everyone out, and spends links, claims and other one-time things. " +
		"Stop the server first."
}

func (c *restoreCommand) Run(ctx context.Context, a *app) error {
	if (c.File == "") != c.AcceptRollback {
		return &usage{what: "restore takes either a file or --accept-rollback", see: "mitral restore --help"}
	}
	config, err := a.config()
	if err != nil {
		return err
	}
	if err := server.Restore(ctx, config, c.File, c.AcceptRollback); err != nil {
		return err
	}
	return a.answer(c.JSON, done{OK: true, File: c.File}, func(w *bytes.Buffer) {
		fmt.Fprintln(w, "Done. A new log has begun and everyone is signed out. Start the server again.")
	})
}
