package server

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// Backup writes the database and its wrapped keysets to a new file, readable by
// its owner alone: whole or not at all. The key-encryption key is not in it.
func Backup(ctx context.Context, c Config, file string) error {
	return command(ctx, c, func(k *core) error {
		if err := k.settle(ctx); err != nil {
			return err
		}
		if _, err := os.Stat(file); err == nil {
			return advise("name a new file", "%s is there already", file)
		}
		f, err := os.CreateTemp(filepath.Dir(file), ".mitral-backup-*")
		if err != nil {
			return advise("name a file in a folder that can be written", "the backup cannot be written (%v)", err)
		}
		defer func() { _ = os.Remove(f.Name()) }()
		err = k.db.Dump(ctx, f)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("couldn't write the backup: %w", err)
		}
		if err := os.Link(f.Name(), file); err != nil {
			return advise("name a new file", "the backup cannot be written (%v)", err)
		}
		return k.db.System(ctx, signin.CLI().By(), func(tx *store.SystemTx) error {
			_, err := tx.Record(audit.Event{Type: "backup.write", Outcome: audit.Success, Detail: audit.Detail{"file": filepath.Base(file)}})
			return err
		})
	})
}

// Restore fills an empty database from a backup, or, with acceptRollback, takes
// the database as it stands. Either way a new log begins, everybody is signed
// out, one-time things are spent, and the administrators are told.
func Restore(ctx context.Context, c Config, file string, acceptRollback bool) error {
	if !acceptRollback {
		if err := load(ctx, c, file); err != nil {
			return inWords(err)
		}
	}
	return command(ctx, c, func(k *core) error { return k.beginLog(ctx, filepath.Base(file)) })
}

func load(ctx context.Context, c Config, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return advise("check its name", "the backup cannot be read (%v)", err)
	}
	defer func() { _ = f.Close() }()
	db, err := store.Open(store.Config{URL: c.DatabaseURL.Reveal(), Log: quiet()})
	if err != nil {
		return err
	}
	err = db.Migrate(ctx, c.MigrateDatabaseURL.Reveal())
	if err == nil {
		err = db.Load(ctx, f, func(id string, sets []store.FirstKeyset) error { return opens(c, id, sets) })
	}
	err = errors.Join(err, db.Close())
	switch {
	case errors.Is(err, store.ErrNotEmpty):
		return advise("restore into an empty database or data folder", "the database already holds an installation")
	case errors.Is(err, store.ErrBackup):
		return advise("take another one", "%s is not a whole backup", file)
	}
	return err
}

// opens reports whether the key-encryption key that lies here opens an
// installation's keysets, so that a backup is not restored to no use.
func opens(c Config, id string, sets []store.FirstKeyset) error {
	k := &core{config: c, log: quiet(), installation: store.Installation{ID: id}}
	if err := k.loadKEK(); err != nil {
		return err
	}
	var wrapped []keyring.Wrapped
	for _, s := range sets {
		wrapped = append(wrapped, keyring.Wrapped{Name: s.Name, Rev: 1, Blob: s.Blob})
	}
	return k.unwrap(wrapped)
}

// beginLog begins a new log after a restore: its first leaf names the newest
// checkpoint that is known of the old one.
func (k *core) beginLog(ctx context.Context, file string) error {
	known, err := k.recorder.Newest(ctx)
	if err != nil {
		return err
	}
	if err := k.settle(ctx); err != nil && !errors.Is(err, store.ErrUnavailable) {
		return err
	}
	public, err := url.Parse(k.config.PublicURL)
	if err != nil {
		return err
	}
	var n int64
	err = k.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		l, err := tx.CurrentLog()
		n = l.Log + 1
		return err
	})
	if err != nil {
		return err
	}
	origin := fmt.Sprintf("%s/log/%d", public.Hostname(), n)
	wrapped, err := k.keys.RotateLog(k.kek, origin, k.db.Clock().Now())
	if err != nil {
		return err
	}
	ring, err := k.keys.With(wrapped)
	if err != nil {
		return err
	}
	err = k.db.System(ctx, signin.CLI().By(), func(tx *store.SystemTx) error {
		for _, w := range wrapped {
			if rows, err := tx.ReplaceKeyset(w.Name, w.Blob, k.keys.Rev(w.Name)); err != nil || rows == 0 {
				return errors.Join(err, errors.New("the log's key changed meanwhile: try again"))
			}
		}
		if err := tx.InsertLog(store.InsertLogParams{Log: n, Origin: origin, VerifierKey: ring.LogVerifierKey(), StartedAt: tx.Micros()}); err != nil {
			return err
		}
		detail := audit.Detail{"file": file}
		if known != "" {
			detail["checkpoint"] = known
		}
		if _, err := tx.Record(audit.Event{Type: "audit.restored", Outcome: audit.Success, Detail: detail}); err != nil {
			return err
		}
		return k.spendEverything(tx)
	})
	if err != nil {
		return err
	}
	fresh, err := readKeysets(ctx, k.db)
	if err != nil {
		return err
	}
	if err := k.keys.Reload(fresh); err != nil {
		return err
	}
	return k.settle(ctx)
}

// spendEverything ends and spends whatever an older copy may have brought back
// to life, and tells every administrator.
func (k *core) spendEverything(tx *store.SystemTx) error {
	for _, f := range []func() (int64, error){
		func() (int64, error) { return tx.EndAllSessions("restored") }, tx.VoidAllClaims, tx.SpendAllSealedCodes, tx.SpendAllRecoveryCodes, tx.ExpireAllGrants,
	} {
		if _, err := f(); err != nil {
			return err
		}
	}
	if err := errors.Join(tx.DeleteAllAttempts(), tx.DeleteAllStepUps()); err != nil {
		return err
	}
	spaces, err := tx.Workspaces()
	if err != nil {
		return err
	}
	for _, w := range spaces {
		wtx := tx.Workspace(w.ID)
		told, err := directory.Recipients(wtx, "")
		if err != nil {
			return err
		}
		for _, r := range told {
			for _, to := range r.Mail {
				if err := k.outbox.Enqueue(wtx, notify.Message{Channel: "mail", To: to, UserID: r.UserID, Template: "restored", Data: map[string]string{"name": w.Name}}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
