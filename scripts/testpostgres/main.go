// Command testpostgres starts a PostgreSQL for tests, prints a superuser's URL
// as its one line of output, and holds the server until its standard input
// ends. Tests use it when the URL stands in MITRAL_TEST_POSTGRES.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testpostgres:", err)
		os.Exit(1)
	}
}

func run(leash io.Reader, out io.Writer) error {
	server, err := mitraltest.StartPostgres()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, server.URL()); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, leash)
	return server.Close()
}
