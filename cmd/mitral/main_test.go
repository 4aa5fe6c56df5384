package main

import (
	"bytes"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mitral-health/mitral/internal/server"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mitral": main})
}

// The scripts are what an operator may type and what comes back.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits CODE COMMAND… runs a command that ends with this exit code.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: exits code command…")
				}
				code, err := 0, ts.Exec(args[1], args[2:]...)
				var failed *exec.ExitError
				if errors.As(err, &failed) {
					code = failed.ExitCode()
				} else if err != nil {
					ts.Fatalf("%v", err)
				}
				if strconv.Itoa(code) != args[0] {
					ts.Fatalf("exit code %d, want %s", code, args[0])
				}
			},
		},
	})
}

// commands returns every command line that has a --help, words apart.
func commands(t *testing.T) [][]string {
	t.Helper()
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	all := [][]string{nil}
	err = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		if command, ok := node.(*kong.Command); ok && command.Type == kong.CommandNode {
			all = append(all, strings.Fields(command.FullPath())[1:])
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestHelpFits(t *testing.T) {
	all := commands(t)
	if len(all) < 12 {
		t.Fatalf("found only %d commands", len(all))
	}
	for _, columns := range []string{"", "60", "1000"} {
		t.Setenv("COLUMNS", columns)
		for _, command := range all {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), append(command, "--help"), []string{"MITRAL_UNKNOWN=1"}, nil, &stdout, &stderr)
			if code != exitOK || stderr.Len() > 0 || !strings.HasPrefix(stdout.String(), "Usage: mitral") {
				t.Errorf("%s --help: exit code %d, %q", command, code, stderr.String())
			}
			for line := range strings.Lines(stdout.String()) {
				if len(strings.TrimSuffix(line, "\n")) > helpWidth {
					t.Errorf("%s --help has a line of %d bytes: %s", command, len(line)-1, line)
				}
			}
		}
	}
}

func TestServeHelpListsEverySetting(t *testing.T) {
	var help, stderr bytes.Buffer
	run(t.Context(), []string{"serve", "--help"}, nil, nil, &help, &stderr)
	for _, s := range server.Settings() {
		for _, name := range []string{" " + s.Env + " ", " " + s.Path + " ", s.Meaning} {
			if !strings.Contains(help.String(), name) {
				t.Errorf("serve --help does not name %q", name)
			}
		}
		if s.Flag != "" && !strings.Contains(help.String(), " --"+s.Flag+"=") {
			t.Errorf("serve --help has no --%s", s.Flag)
		}
	}
}

func TestFlagsReachTheConfiguration(t *testing.T) {
	var grammar cli
	parser, err := kong.New(&grammar)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"serve"}
	want := map[string]string{}
	for _, s := range server.Settings() {
		if s.Flag != "" {
			args = append(args, "--"+s.Flag+"=value of "+s.Flag)
			want[s.Flag] = "value of " + s.Flag
		}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	got := settingFlags(parsed)
	for flag, value := range want {
		if got[flag] != value {
			t.Errorf("--%s arrives as %q", flag, got[flag])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d flags arrive, want %d: %v", len(got), len(want), got)
	}
}
