// Command mitral is the server and everything an operator does beside it.
// Package server does the work; here are the words: flags, help, output and
// exit codes.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/mitral-health/mitral/internal/server"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // refused or failed
	exitUsage  = 2
)

// helpWidth is what any --help fits.
const helpWidth = 100

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cli is the whole command line. A setting's flag has the name that
// server.Settings gives it.
type cli struct {
	Config    string `placeholder:"FILE" help:"Configuration file. Default: mitral.yaml, where there is one."`
	Data      string `placeholder:"DIR" help:"Directory of data."`
	Database  string `placeholder:"URL" help:"sqlite:PATH or postgres://... (a password is safer in MITRAL_DATABASE)."`
	KEKFile   string `name:"kek-file" placeholder:"FILE" help:"Key-encryption key."`
	PublicURL string `name:"public-url" placeholder:"URL" help:"Address that people type."`

	Serve        serveCommand        `cmd:"" help:"Run the server."`
	Setup        setupCommand        `cmd:"" help:"Make the first workspace and administrator."`
	User         userCommands        `cmd:"" help:"Add people."`
	Audit        auditCommands       `cmd:"" help:"Check or export the record."`
	Keys         keysCommands        `cmd:"" help:"Rotate keys."`
	RecoverAdmin recoverAdminCommand `cmd:"" name:"recover-admin" help:"Last resort: let an administrator in again."`
	Doctor       doctorCommand       `cmd:"" help:"Check configuration, keys, mail, clock, database and record."`
	Backup       backupCommand       `cmd:"" help:"Write a backup."`
	Restore      restoreCommand      `cmd:"" help:"Restore a backup, or accept a database that went back."`
	Migrate      migrateCommand      `cmd:"" help:"Bring the database's tables up to date."`
	Version      versionCommand      `cmd:"" help:"Say which Mitral this is."`
}

// app is what a command has at hand.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string
	flags          server.Flags
}

// run is main with everything it touches as an argument.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	slog.SetDefault(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	var grammar cli
	helped := false
	parser, err := kong.New(&grammar,
		kong.Name("mitral"),
		kong.Description("Sign-in for clinics: people, sessions, emergency access, and a record of all of it."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }), // kong calls it after --help, and goes on
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: helpWidth}),
		kong.Help(printHelp),
	)
	if err != nil {
		return a.fail(err)
	}
	parsed, err := parser.Parse(args)
	if helped {
		return exitOK
	}
	if err != nil {
		return a.fail(usageError(parsed, err))
	}
	a.flags = server.Flags{Config: grammar.Config, Demo: grammar.Serve.Demo, Settings: settingFlags(parsed)}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return a.fail(parsed.Run(a))
}

// settingFlags returns the settings among the flags that were given.
func settingFlags(parsed *kong.Context) map[string]string {
	values := make(map[string]string)
	for _, flag := range parsed.Flags() {
		isSetting := slices.ContainsFunc(server.Settings(), func(s server.Setting) bool { return s.Flag == flag.Name })
		if value, ok := parsed.FlagValue(flag).(string); ok && isSetting {
			values[flag.Name] = value
		}
	}
	return values
}

// config loads the configuration; every command but version begins with it.
func (a *app) config() (server.Config, error) {
	return server.LoadConfig(a.flags, a.env, os.ReadFile)
}

// usage is a command line that cannot be meant; it exits with 2.
type usage struct{ what, see string }

func (u *usage) Error() string { return u.what + ": see " + u.see }

// usageError puts kong's error into our words.
func usageError(parsed *kong.Context, err error) error {
	u := &usage{what: err.Error(), see: "mitral --help"}
	var failed *kong.ParseError
	if parsed == nil && errors.As(err, &failed) {
		parsed = failed.Context
	}
	if parsed == nil {
		return u
	}
	if len(parsed.Args) == 0 {
		u.what = "no command is given"
	}
	if command := parsed.Selected(); command != nil {
		u.see = command.FullPath() + " --help"
	}
	return u
}

// errReported ends a command that failed and has said all there is to say.
var errReported = errors.New("reported")

// fail prints an error as "mitral: what is wrong: what to do", on one line, and
// returns the exit code.
func (a *app) fail(err error) int {
	var advice *server.Advice
	var wrong *usage
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errReported):
		return exitFailed
	case errors.As(err, &wrong):
		a.complain(err.Error())
		return exitUsage
	case errors.As(err, &advice):
		a.complain(err.Error())
	default:
		a.complain(err.Error() + ": run mitral doctor to find out why")
	}
	return exitFailed
}

func (a *app) complain(text string) {
	fmt.Fprintln(a.stderr, "mitral: "+strings.Join(strings.Fields(text), " "))
}

// answer prints one JSON object, or what words prints.
func (a *app) answer(asJSON bool, object any, words func(w *bytes.Buffer)) error {
	var out bytes.Buffer
	if asJSON {
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(object); err != nil {
			return fmt.Errorf("couldn't write the answer: %w", err)
		}
	} else {
		words(&out)
	}
	if _, err := out.WriteTo(a.stdout); err != nil {
		return fmt.Errorf("couldn't write the answer: %w", err)
	}
	return nil
}

// done is the answer of a command that has nothing to tell but that it is done.
type done struct {
	OK   bool   `json:"ok"`
	File string `json:"file,omitempty"`
}

// asJSON is the flag of every command that answers with one object.
type asJSON struct {
	JSON bool `name:"json" help:"Answer with one JSON object."`
}

// printHelp adds to the help of serve what else can be set.
func printHelp(options kong.HelpOptions, parsed *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, parsed); err != nil {
		return err
	}
	if command := parsed.Selected(); command == nil || command.Name != "serve" {
		return nil
	}
	_, err := io.WriteString(parsed.Stdout, settingsHelp())
	return err
}
