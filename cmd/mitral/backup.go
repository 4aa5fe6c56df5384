package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mitral-health/mitral/internal/server"
)

type backupCommand struct {
	File string `arg:"" help:"File to write."`
	asJSON
}

// Help is shown above the flags.
func (backupCommand) Help() string {
	return "A backup holds the database and the wrapped keys, never the key-encryption key: keep that elsewhere, " +
		"or the backup cannot be used. It works beside a running server."
}

func (c *backupCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	if err := server.Backup(ctx, config, c.File); err != nil {
		return err
	}
	return a.answer(c.JSON, done{OK: true, File: c.File}, func(w *bytes.Buffer) {
		fmt.Fprintf(w, "The backup is in %s. The key-encryption key is not in it.\n", c.File)
	})
}
