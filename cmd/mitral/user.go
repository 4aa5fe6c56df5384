package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mitral-health/mitral/internal/server"
)

type userCommands struct {
	Add userAddCommand `cmd:"" help:"Add a person, who then claims the account with a link and a code."`
}

type userAddCommand struct {
	Workspace string `required:"" placeholder:"SLUG" help:"The workspace's short name, as in its addresses."`
	Email     string `required:"" placeholder:"ADDRESS" help:"The person's mail address."`
	Name      string `required:"" placeholder:"NAME" help:"The person's name."`
	Role      string `required:"" placeholder:"ROLE" help:"nurse, doctor, staff, admin, privacy_reviewer, or one of your own."`
	Phone     string `placeholder:"NUMBER" help:"The person's telephone, as +442071838750."`
	asJSON
}

func (c *userAddCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	result, err := server.AddUser(ctx, config, server.AddUserInput{
		Workspace: c.Workspace, Email: c.Email, Name: c.Name, Role: c.Role, Phone: c.Phone,
	})
	if err != nil {
		return err
	}
	return a.answer(c.JSON, result, func(w *bytes.Buffer) {
		fmt.Fprintf(w, "%s is added as %s (%s).\n\n", c.Name, c.Role, result.User.ID)
		claimInWords(w, result)
	})
}

// claimInWords says how a person gets in with a claim.
func claimInWords(w *bytes.Buffer, r server.AddUserResult) {
	fmt.Fprintf(w, "Claim link: %s\nClaim code: %s\n\n", r.ClaimURL, r.ClaimCode)
	fmt.Fprintln(w, "Give the link and the code by two different ways, such as mail and telephone.\n"+
		"Neither is shown again.")
}
