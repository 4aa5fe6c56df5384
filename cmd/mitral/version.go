package main

import (
	"bytes"
	"fmt"

	"github.com/mitral-health/mitral/internal/server"
)

type versionCommand struct {
	asJSON
}

func (c *versionCommand) Run(a *app) error {
	v := server.Version()
	return a.answer(c.JSON, v, func(w *bytes.Buffer) {
		built := v.Go
		if v.Commit != "" {
			built = v.Commit + ", " + built
		}
		fmt.Fprintf(w, "mitral %s (%s)\n", v.Version, built)
		if v.TestClock {
			fmt.Fprintln(w, "Built with a test clock: not for use with people.")
		}
	})
}
