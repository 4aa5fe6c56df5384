package server_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/server"
	"github.com/mitral-health/mitral/internal/store"
)

// installation is a server's configuration over folders of its own.
type installation struct {
	server.Config
	t *testing.T
}

// newInstallation returns one in data, with its key-encryption key in home.
func newInstallation(t *testing.T, data, home string) installation {
	t.Helper()
	c, err := server.LoadConfig(server.Flags{}, []string{"MITRAL_DATA=" + data, "HOME=" + home}, os.ReadFile)
	if err != nil {
		t.Fatal(err)
	}
	return installation{c, t}
}

func (i installation) setup() server.SetupResult {
	i.t.Helper()
	r, err := server.Setup(context.Background(), i.Config, server.SetupInput{Workspace: "Hope Clinic", AdminEmail: "grace@hope.example",
		AdminName: "Grace Okafor", AdminPhone: "+442079460101", PIN: "8264"})
	if err != nil {
		i.t.Fatal(err)
	}
	return r
}

func (i installation) leaves() string {
	i.t.Helper()
	var out bytes.Buffer
	if err := server.ExportAudit(context.Background(), i.Config, server.ExportInput{Format: "jsonl"}, &out); err != nil {
		i.t.Fatal(err)
	}
	return out.String()
}

func (i installation) verify() server.VerifyReport {
	i.t.Helper()
	r, err := server.VerifyAudit(context.Background(), i.Config, server.VerifyInput{})
	if err != nil {
		i.t.Fatal(err)
	}
	if !r.OK {
		i.t.Fatalf("the record is not whole: %v", r.Findings)
	}
	return r
}

// TestF49BackupsAreEntriesAndNeedTheHost: writing and restoring a backup leave
// their traces, the second as the first leaf of a new log.
func TestF49BackupsAreEntriesAndNeedTheHost(t *testing.T) {
	ctx := context.Background()
	home := t.TempDir()
	clinic := newInstallation(t, filepath.Join(t.TempDir(), "data"), home)
	clinic.setup()
	if before := clinic.leaves(); strings.Contains(before, `"backup.write"`) {
		t.Fatal("a backup is recorded before there is one")
	}
	file := filepath.Join(t.TempDir(), "tuesday.mitral")
	if err := server.Backup(ctx, clinic.Config, file); err != nil {
		t.Fatal(err)
	}
	if after := clinic.leaves(); !strings.Contains(after, `"file":"tuesday.mitral"`) || !strings.Contains(after, `"type":"backup.write"`) {
		t.Errorf("the backup is not recorded:\n%s", after)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup's mode is %v (%v)", info.Mode(), err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	kek, err := filepath.Glob(filepath.Join(home, ".config", "mitral", "*.kek"))
	if err != nil || len(kek) != 1 {
		t.Fatalf("the key-encryption key is not where it belongs: %v %v", kek, err)
	}
	key, err := os.ReadFile(kek[0])
	if err != nil || bytes.Contains(content, bytes.TrimSpace(key)) {
		t.Errorf("the backup holds the key-encryption key (%v)", err)
	}

	// A second backup to the same name is refused, and so is a restore over data.
	var advice *server.Advice
	if err := server.Backup(ctx, clinic.Config, file); !errors.As(err, &advice) {
		t.Errorf("a backup was written over another: %v", err)
	}
	if err := server.Restore(ctx, clinic.Config, file, false); !errors.As(err, &advice) {
		t.Errorf("a restore went over an installation: %v", err)
	}

	// Another machine, the same key: everything is there, under a new log.
	other := newInstallation(t, filepath.Join(t.TempDir(), "data"), t.TempDir())
	if err := server.Restore(ctx, other.Config, file, false); err == nil {
		t.Error("a restore without the key-encryption key succeeded")
	}
	withKey := newInstallation(t, filepath.Join(t.TempDir(), "data"), home)
	if err := server.Restore(ctx, withKey.Config, file, false); err != nil {
		t.Fatal(err)
	}
	restored := withKey.leaves()
	if !strings.Contains(restored, `"type":"audit.restored"`) || !strings.Contains(restored, `{"log":2,`) {
		t.Errorf("the restore is not the beginning of a new log:\n%s", restored)
	}
	withKey.verify()
}

// TestF03ALoadedBackupRevivesNothing: killed right after a backup was loaded,
// before the new log begins, a restore has brought no code back to life.
func TestF03ALoadedBackupRevivesNothing(t *testing.T) {
	ctx := context.Background()
	clinic := newInstallation(t, filepath.Join(t.TempDir(), "data"), t.TempDir())
	set := clinic.setup()
	file := filepath.Join(t.TempDir(), "backup.mitral")
	if err := server.Backup(ctx, clinic.Config, file); err != nil {
		t.Fatal(err)
	}
	spent := func(db *store.DB) (n int) {
		t.Helper()
		err := db.Read(ctx, set.Workspace.ID, func(tx *store.Tx) error {
			codes, err := tx.SealedCodes()
			if len(codes) != 2 {
				t.Errorf("%d sealed codes", len(codes))
			}
			for _, c := range codes {
				if c.UsedAt > 0 {
					n++
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before, err := store.Open(store.Config{URL: clinic.DatabaseURL.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	if n := spent(before); n != 0 {
		t.Errorf("%d codes are spent where they were made", n)
	}
	after, err := store.Open(store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "mitral.db")})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(after.Migrate(ctx, ""), after.Load(ctx, f, func(string, []store.FirstKeyset) error { return nil }), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	if n := spent(after); n != 2 {
		t.Errorf("%d of 2 codes are spent after loading", n)
	}
	if err := errors.Join(before.Close(), after.Close()); err != nil {
		t.Error(err)
	}
}

// TestF29LeavesNameNobody: the record, which nobody can change, holds no names,
// addresses or numbers, in whatever way they came in.
func TestF29LeavesNameNobody(t *testing.T) {
	ctx := context.Background()
	clinic := newInstallation(t, filepath.Join(t.TempDir(), "data"), t.TempDir())
	set := clinic.setup()
	added, err := server.AddUser(ctx, clinic.Config, server.AddUserInput{Workspace: set.Workspace.Slug, Email: "omar@hope.example", Name: "Omar Haddad",
		Role: string(identity.Doctor), Phone: "+442079460102"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.RecoverAdmin(ctx, clinic.Config, set.Workspace.Slug, "grace@hope.example"); err != nil {
		t.Fatal(err)
	}
	leaves := clinic.leaves()
	for _, control := range []string{set.User.ID, added.User.ID, `"type":"user.create"`, `"type":"claim.create"`} {
		if !strings.Contains(leaves, control) {
			t.Errorf("the record does not hold %s", control)
		}
	}
	for _, private := range []string{"Grace", "Okafor", "Omar", "Haddad", "hope.example", "+44", "2079460101", "2079460102", set.Key, set.RecoveryCodes[0],
		set.SealedCodes[0].Code, added.ClaimCode + `"`, "8264"} {
		if strings.Contains(leaves, private) {
			t.Errorf("the record holds %q", private)
		}
	}
	clinic.verify()
}
