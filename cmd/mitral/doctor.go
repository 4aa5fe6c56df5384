package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/mitral-health/mitral/internal/server"
)

type doctorCommand struct {
	asJSON
}

// Help is shown above the flags.
func (doctorCommand) Help() string {
	return "green is well, yellow wants attention, red wants it now; exits with 1 when anything is red."
}

func (c *doctorCommand) Run(ctx context.Context, a *app) error {
	config, err := a.config()
	if err != nil {
		return err
	}
	report, err := server.Doctor(ctx, config)
	if err != nil {
		return err
	}
	if err := a.answer(c.JSON, report, func(w *bytes.Buffer) { doctorInWords(w, report) }); err != nil {
		return err
	}
	var red []string
	for _, check := range report.Checks {
		if check.Status == "red" {
			red = append(red, check.Name)
		}
	}
	if len(red) > 0 {
		return &server.Advice{What: "not well: " + strings.Join(red, ", "), Do: "do what is said beside each"}
	}
	return nil
}

func doctorInWords(w *bytes.Buffer, r server.DoctorReport) {
	for _, check := range r.Checks {
		fmt.Fprintf(w, "%-6s  %s: %s\n", check.Status, check.Name, check.Detail)
		if check.Fix != "" && check.Status != "green" {
			fmt.Fprintf(w, "        %s\n", check.Fix)
		}
	}
}
