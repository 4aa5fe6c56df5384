package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mitral-health/mitral/internal/server"
)

type recoverAdminCommand struct {
	Workspace string `required:"" placeholder:"SLUG" help:"The workspace's short name."`
	Email     string `required:"" placeholder:"ADDRESS" help:"The administrator's mail address."`
	asJSON
}

// Help is shown above the flags.
func (recoverAdminCommand) Help() string {
	return "Gives a claim that is good for an hour, not a session. All administrators, reviewers and the person's " +
		"old contacts are told first."
}

func (c *recoverAdminCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	result, err := server.RecoverAdmin(ctx, config, c.Workspace, c.Email)
	if err != nil {
		return err
	}
	return a.answer(c.JSON, result, func(w *bytes.Buffer) {
		fmt.Fprintf(w, "%s can claim the account again within an hour. Everybody responsible is being told.\n\n", c.Email)
		claimInWords(w, result)
	})
}
