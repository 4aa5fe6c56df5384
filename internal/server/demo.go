package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/factor/keypin"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/signin"
)

// demoFile holds the credentials of the demo clinic's people. It also marks a
// directory as the demo's own.
const demoFile = "demo.txt"

// demoPerson is one of the people of the demo clinic.
type demoPerson struct {
	role  identity.Role
	email string
	name  string
	phone string
}

var demoPeople = []demoPerson{
	{identity.Admin, "grace@hope.example", "Grace Okafor", "+442079460101"},
	{identity.Doctor, "omar@hope.example", "Omar Haddad", ""},
	{identity.Nurse, "nadia@hope.example", "Nadia Rahman", ""},
}

// checkDemo refuses what a demo must not touch: a listener that others reach, a
// directory with real data, and mail settings that would really send.
func checkDemo(c Config) error {
	if !c.ListensOnLoopback() {
		return advise("leave MITRAL_LISTEN out, or name a loopback address", "the demo listens on this machine only")
	}
	if c.Mail.URL != "" || len(c.SMS) > 0 {
		return advise("leave the mail and SMS settings out", "the demo sends nothing")
	}
	entries, err := os.ReadDir(c.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return advise("name another folder with --data", "the folder %s cannot be read", c.Data)
	}
	path := filepath.Join(c.Data, demoFile)
	b, err := os.ReadFile(path)
	switch {
	case err == nil && len(demoLines(b)) == len(demoPeople):
		return nil
	case err == nil:
		return beginDemoAgain(c, path)
	case len(entries) > 0:
		return advise("name an empty folder with --data", "the folder %s is not a demo's", c.Data)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return advise("name another folder with --data", "the folder %s cannot be made (%v)", c.Data, err)
	}
	return os.WriteFile(path, []byte(demoMark), 0o600)
}

// demoMark begins demo.txt, before there is anybody to list.
const demoMark = "# This folder is the demo's. It can be deleted.\n"

// beginDemoAgain clears what a demo that was killed while it was being made has
// left: it holds nothing of anybody's.
func beginDemoAgain(c Config, path string) error {
	entries, err := os.ReadDir(c.Data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != demoFile {
			if err := os.RemoveAll(filepath.Join(c.Data, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(path, []byte(demoMark), 0o600)
}

// demoLines reads the people of a demo.txt: role, identifier, key and PIN.
func demoLines(b []byte) [][4]string {
	var out [][4]string
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 4 && f[0] != "#" {
			out = append(out, [4]string(f))
		}
	}
	return out
}

// seedDemo makes the demo clinic on the first start.
func (k *core) seedDemo(ctx context.Context) error {
	people, err := k.demoCredentials()
	if err != nil || len(people) == len(demoPeople) {
		return err
	}
	b, err := k.makeDemo(ctx)
	if err == nil {
		err = os.WriteFile(filepath.Join(k.config.Data, demoFile), append([]byte(demoMark), b...), 0o600)
	}
	if err != nil {
		return fmt.Errorf("couldn't make the demo clinic: %w", err)
	}
	return nil
}

// introduceDemo prints who can sign in: a line each of role, identifier, key and
// PIN.
func (k *core) introduceDemo(out io.Writer) error {
	people, err := k.demoCredentials()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Mitral demo clinic: %s/demo\n", k.config.PublicURL)
	for _, p := range people {
		fmt.Fprintln(out, strings.Join(p[:], " "))
	}
	return nil
}

// demoCredentials reads who is in demo.txt.
func (k *core) demoCredentials() ([][4]string, error) {
	b, err := os.ReadFile(filepath.Join(k.config.Data, demoFile))
	if err != nil {
		return nil, fmt.Errorf("couldn't read the demo's people: %w", err)
	}
	return demoLines(b), nil
}

// makeDemo makes the clinic and returns the lines of demo.txt.
func (k *core) makeDemo(ctx context.Context) ([]byte, error) {
	var lines strings.Builder
	admin := demoPeople[0]
	pin := demoPIN()
	set, err := k.directory.Setup(ctx, directory.SetupInput{WorkspaceName: "Hope Clinic", TimeZone: "Europe/London", Reach: "this_pc",
		AdminEmail: admin.email, AdminName: admin.name, AdminPhone: admin.phone, PIN: pin, ByOperator: true})
	if err != nil {
		return nil, err
	}
	write := func(p demoPerson, key, pin identity.Secret) {
		fmt.Fprintf(&lines, "%s %s %s %s\n", p.role, p.email, identity.FormatKey(key), pin.Reveal())
	}
	write(admin, set.Key, pin)
	if err := k.demoPolicy(ctx, set.Workspace.ID); err != nil {
		return nil, err
	}
	for _, p := range demoPeople[1:] {
		u, err := k.directory.AddUser(ctx, signin.CLI(), set.Workspace.ID, directory.NewUser{Email: p.email, Name: p.name, Phone: p.phone, Role: p.role})
		if err != nil {
			return nil, err
		}
		claim, err := k.directory.NewClaim(ctx, signin.CLI(), set.Workspace.ID, u.ID, directory.NewClaim{Channel: "screen"})
		if err != nil {
			return nil, err
		}
		pin := demoPIN()
		got, err := k.directory.CompleteClaim(ctx, k.sessions.Visit(&http.Request{}, identity.Client{}), identity.Secret(claim.URL[strings.LastIndexByte(claim.URL, '/')+1:]), claim.Code, pin)
		if err != nil {
			return nil, err
		}
		write(p, got.Key, pin)
	}
	for _, c := range set.SealedCodes {
		fmt.Fprintf(&lines, "sealed-code %s %s\n", c.Label, c.Code.Reveal())
	}
	return []byte(lines.String()), nil
}

// demoPolicy says what the demo chart's actions are and who may do them, so that
// one record opens only by emergency access.
func (k *core) demoPolicy(ctx context.Context, workspaceID string) error {
	doc, rev, err := k.directory.Policy(ctx, signin.CLI(), workspaceID)
	if err != nil {
		return err
	}
	allow := []string{"chart_read", "chart_write", "export", "delete"}
	for name, role := range doc.Roles {
		if role.Class == identity.Clinical {
			role.Allow = allow
		} else {
			role.Allow = []string{}
		}
		doc.Roles[name] = role
	}
	doc.BreakGlass.Allow = []string{"chart_read", "chart_write", "read_restricted"}
	_, _, err = k.directory.PutPolicy(ctx, signin.CLI(), workspaceID, directory.ETag(rev), doc.JSON(), "the demo chart's actions")
	return err
}

// demoPIN returns a PIN that the rules accept.
func demoPIN() identity.Secret {
	for {
		pin := identity.NewDigits(4)
		if keypin.ValidatePIN(pin, 4, keypin.Personal{}) == nil {
			return pin
		}
	}
}
