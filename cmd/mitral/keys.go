package main

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mitral-health/mitral/internal/server"
)

type keysCommands struct {
	Rotate keysRotateCommand `cmd:"" help:"Put a new key in an old one's place, while the server runs."`
}

type keysRotateCommand struct {
	What      string `arg:"" enum:"signing,encryption,auth-secret,users" help:"signing, encryption, auth-secret or users."`
	Emergency bool   `help:"The old one is known to others: all it signed or sealed is dead within a minute."`
	asJSON
}

// Help is shown above the flags.
func (keysRotateCommand) Help() string {
	return "signing is the key of access tokens, encryption that of stored data, auth-secret the secret shared with " +
		"Auth.js applications, users everybody's own key. Without --emergency old and new are good side by side " +
		"for a while."
}

func (c *keysRotateCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	result, err := server.RotateKeys(ctx, config, c.What, c.Emergency)
	if err != nil {
		return err
	}
	return a.answer(c.JSON, result, func(w *bytes.Buffer) { rotatedInWords(w, result, c.Emergency) })
}

func rotatedInWords(w *bytes.Buffer, r server.RotateResult, emergency bool) {
	fmt.Fprintf(w, "Rotated: %s.\n", r.Rotated)
	if r.Resealed > 0 {
		fmt.Fprintf(w, "%d stored values were sealed anew.\n", r.Resealed)
	}
	if emergency {
		fmt.Fprintln(w, "Everything the old one signed or sealed is dead within 60 seconds.")
	}
	if len(r.Claims) == 0 {
		return
	}
	fmt.Fprintln(w, "\nEach person claims the new key with a link and a code, given by two different ways.\n"+
		"Neither is shown again.")
	for _, claim := range r.Claims {
		link := claim.ClaimURL
		if link == "" {
			link = "sent by mail"
		}
		fmt.Fprintf(w, "  %s  code %s  %s\n", claim.UserID, claim.ClaimCode, link)
	}
}
