package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// quiet is the log of commands, which package main points at the terminal: what
// goes wrong is their error.
func quiet() *slog.Logger { return slog.Default() }

// command runs f over an opened core and gives its events their leaves. What f
// did has committed: that the record could not be signed now is a warning, or
// the keys and codes that f made would be lost.
func command(ctx context.Context, c Config, f func(k *core) error) error {
	k, err := open(ctx, c, quiet())
	if err != nil {
		return inWords(err)
	}
	err = f(k)
	if err == nil {
		if err := k.settle(ctx); err != nil {
			k.log.Warn("the record was not signed yet; the next start does it", "error", err)
		}
	}
	return inWords(errors.Join(err, k.close()))
}

// inWords turns a refusal into what the person at the terminal needs.
func inWords(err error) error {
	var r *identity.Refusal
	if errors.As(err, &r) {
		if len(r.Fields) > 0 {
			return advise(r.Fields[0].Detail, "%s is not accepted", r.Fields[0].Field)
		}
		return advise(r.Detail, "%s", strings.ReplaceAll(r.Code, "_", " "))
	}
	if errors.Is(err, store.ErrUnavailable) {
		return advise("check that it runs, that its disk has room, and MITRAL_DATABASE", "%s", err)
	}
	return err
}

// SetupInput is what mitral setup is told.
type SetupInput struct {
	Workspace, AdminEmail, AdminName, AdminPhone, Preset string
	PIN                                                  identity.Secret
	Another, PrintKEK                                    bool
}

// SealedCode is a break-glass code for an envelope.
type SealedCode struct {
	Label    string `json:"label"`
	Code     string `json:"code"`
	Location string `json:"location"`
}

// SetupResult is what mitral setup shows, once.
type SetupResult struct {
	Workspace struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
	} `json:"workspace"`
	User struct {
		ID    string `json:"id"`
		Email string `json:"email"`
	} `json:"user"`
	Key           string       `json:"key"`
	RecoveryCodes []string     `json:"recovery_codes"`
	SealedCodes   []SealedCode `json:"sealed_codes"`
	KEKLetter     string       `json:"kek_letter,omitempty"`
}

// Setup makes a workspace and its first administrator.
func Setup(ctx context.Context, c Config, in SetupInput) (SetupResult, error) {
	var out SetupResult
	err := command(ctx, c, func(k *core) error {
		r, err := k.directory.Setup(ctx, directory.SetupInput{WorkspaceName: in.Workspace, AdminEmail: in.AdminEmail, AdminName: in.AdminName,
			AdminPhone: in.AdminPhone, Preset: in.Preset, PIN: in.PIN, Another: in.Another, ByOperator: true})
		if err != nil {
			return err
		}
		out.Workspace.ID, out.Workspace.Slug = r.Workspace.ID, r.Workspace.Slug
		out.User.ID, out.User.Email = r.User.ID, r.User.Email
		out.Key = identity.FormatKey(r.Key)
		for _, code := range r.RecoveryCodes {
			out.RecoveryCodes = append(out.RecoveryCodes, code.Reveal())
		}
		for _, s := range r.SealedCodes {
			out.SealedCodes = append(out.SealedCodes, SealedCode{s.Label, s.Code.Reveal(), s.Location})
		}
		if in.PrintKEK {
			out.KEKLetter = k.kek.Letter()
		}
		return nil
	})
	return out, err
}

// AddUserInput is what mitral user add is told.
type AddUserInput struct{ Workspace, Email, Name, Role, Phone string }

// AddUserResult is a new claim.
type AddUserResult struct {
	User struct {
		ID string `json:"id"`
	} `json:"user"`
	ClaimURL  string    `json:"claim_url"`
	ClaimCode string    `json:"claim_code"`
	ExpiresAt time.Time `json:"expires_at"`
}

// AddUser adds a person and makes their first claim.
func AddUser(ctx context.Context, c Config, in AddUserInput) (AddUserResult, error) {
	var out AddUserResult
	err := command(ctx, c, func(k *core) error {
		w, err := k.directory.WorkspaceBySlug(ctx, in.Workspace)
		if err != nil {
			return err
		}
		u, err := k.directory.AddUser(ctx, signin.CLI(), w.ID, directory.NewUser{Email: in.Email, Name: in.Name, Phone: in.Phone, Role: identity.Role(in.Role)})
		if err != nil {
			return err
		}
		claim, err := k.directory.NewClaim(ctx, signin.CLI(), w.ID, u.ID, directory.NewClaim{Channel: "screen"})
		out.User.ID = u.ID
		out.ClaimURL, out.ClaimCode, out.ExpiresAt = claim.URL, claim.Code.Reveal(), claim.ExpiresAt
		return err
	})
	return out, err
}

// RecoverAdmin makes a claim, good for an hour, for an administrator who has lost
// everything.
func RecoverAdmin(ctx context.Context, c Config, workspace, email string) (AddUserResult, error) {
	var out AddUserResult
	err := command(ctx, c, func(k *core) error {
		claim, err := k.directory.RecoverAdmin(ctx, workspace, email)
		out.User.ID = claim.UserID
		out.ClaimURL, out.ClaimCode, out.ExpiresAt = claim.URL, claim.Code.Reveal(), claim.ExpiresAt
		return err
	})
	return out, err
}

// Migrate brings the schema up to date.
func Migrate(ctx context.Context, c Config) error {
	db, err := store.Open(store.Config{URL: c.DatabaseURL.Reveal(), Log: quiet()})
	if err != nil {
		return inWords(err)
	}
	return inWords(errors.Join(db.Migrate(ctx, c.MigrateDatabaseURL.Reveal()), db.Close()))
}

// VerifyInput is what the record is held against.
type VerifyInput struct{ CheckpointFile, Key string }

// VerifyReport is what was found.
type VerifyReport struct {
	OK       bool     `json:"ok"`
	Size     int64    `json:"size"`
	FirstBad *int64   `json:"first_bad,omitempty"`
	Pinned   string   `json:"pinned"`
	Findings []string `json:"findings"`
}

// VerifyAudit checks the record. It needs the database only and writes nothing.
func VerifyAudit(ctx context.Context, c Config, in VerifyInput) (VerifyReport, error) {
	input := record.VerifyInput{Key: in.Key}
	if in.CheckpointFile != "" {
		b, err := os.ReadFile(in.CheckpointFile)
		if err != nil {
			return VerifyReport{}, advise("check --checkpoint", "the checkpoint cannot be read (%v)", err)
		}
		input.Checkpoint = string(b)
	}
	db, err := store.OpenReadOnly(store.Config{URL: c.DatabaseURL.Reveal(), Log: quiet()})
	if err != nil {
		return VerifyReport{}, inWords(err)
	}
	r, err := record.Verify(ctx, db, input)
	if errors.Is(err, record.ErrNoSavedCheckpoint) {
		err = advise("save the mail or the print whole, from the log's name to the signature", "there is no checkpoint in %s", in.CheckpointFile)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return VerifyReport{}, inWords(err)
	}
	findings := r.Findings
	if findings == nil {
		findings = []string{}
	}
	return VerifyReport{r.OK, r.Size, r.FirstBad, r.Pinned, findings}, nil
}

// ExportInput is what of the record is wanted. Zero times are no bounds.
type ExportInput struct {
	Format, Workspace string
	From, To          time.Time
}

// ExportAudit writes the record to w. It is the operator's act and is recorded.
func ExportAudit(ctx context.Context, c Config, in ExportInput, w io.Writer) error {
	return command(ctx, c, func(k *core) error {
		e := record.ExportInput{Format: in.Format, From: in.From, To: in.To}
		if in.Workspace != "" {
			ws, err := k.directory.WorkspaceBySlug(ctx, in.Workspace)
			if err != nil {
				return err
			}
			e.WorkspaceID = ws.ID
		}
		err := k.db.System(ctx, signin.CLI().By(), func(tx *store.SystemTx) error {
			_, err := tx.Record(audit.Event{Type: "audit.export", Outcome: audit.Success, Detail: audit.Detail{"format": in.Format}})
			return err
		})
		if err != nil {
			return err
		}
		if err := k.settle(ctx); err != nil {
			return err
		}
		return record.Export(ctx, k.db, e, w)
	})
}

// VersionInfo says which Mitral this is.
type VersionInfo struct {
	Version   string `json:"version"`
	Commit    string `json:"commit"`
	Go        string `json:"go"`
	TestClock bool   `json:"test_clock"`
}

// Version reads it from the binary.
func Version() VersionInfo {
	v := VersionInfo{Version: "development", Go: runtime.Version(), TestClock: store.TestClock}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	return v
}
