package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mitral-health/mitral/internal/server"
)

type migrateCommand struct {
	asJSON
}

// Help is shown above the flags.
func (migrateCommand) Help() string {
	return "serve and setup do this themselves. On PostgreSQL it uses the login in MITRAL_MIGRATE_DATABASE, where given."
}

func (c *migrateCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	if err := server.Migrate(ctx, config); err != nil {
		return err
	}
	return a.answer(c.JSON, done{OK: true}, func(w *bytes.Buffer) { fmt.Fprintln(w, "The tables are up to date.") })
}
