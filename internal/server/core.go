package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// core is everything below the doors, built once per process in the order in
// which the parts need each other.
type core struct {
	config       Config
	log          *slog.Logger
	db           *store.DB
	installation store.Installation
	kek          *keyring.KEK
	keys         *keyring.Ring
	node         string
	demo         *notify.Demo // what would have been sent, with --demo
	outbox       *notify.Outbox
	recorder     *record.Recorder
	sessions     *session.Manager
	signin       *signin.Machine
	directory    *directory.Directory
	breakglass   *breakglass.BreakGlass
	stopping     <-chan struct{} // closed when serve ends, for streams
}

// open builds the core. The database must be reachable; its schema is brought
// up to date and an installation founded where there is none.
func open(ctx context.Context, c Config, log *slog.Logger) (*core, error) {
	k := &core{config: c, log: log, node: identity.NewID(identity.NodeID)}
	db, err := store.Open(store.Config{URL: c.DatabaseURL.Reveal(), Fold: &audit.Fold{}, Log: log})
	if err != nil {
		return nil, advise("check MITRAL_DATABASE", "%s", err)
	}
	k.db = db
	if err := k.build(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return k, nil
}

func (k *core) build(ctx context.Context) error {
	if err := k.db.Migrate(ctx, k.config.MigrateDatabaseURL.Reveal()); err != nil {
		return err
	}
	if _, err := k.db.Follow(ctx); err != nil {
		return err
	}
	if err := k.found(ctx); err != nil {
		return err
	}
	if err := k.openKeys(ctx); err != nil {
		return err
	}
	if err := k.buildOutbox(); err != nil {
		return err
	}
	return k.buildActs()
}

func (k *core) buildOutbox() error {
	c := notify.Config{DB: k.db, Keys: k.keys, Clock: k.db.Clock(), Log: k.log}
	if k.config.Demo {
		k.demo = notify.NewDemo(k.db.Clock())
		c.Mail, c.SMS = k.demo, k.demo
	} else {
		if k.config.Mail.URL != "" {
			m, err := notify.NewSMTP(k.config.Mail.URL, k.config.Mail.From)
			if err != nil {
				return err
			}
			c.Mail = m
		}
		var providers notify.SMSProviders
		for _, s := range k.config.SMS {
			t, err := notify.NewTwilio(s)
			if err != nil {
				return err
			}
			providers = append(providers, t)
		}
		if len(providers) > 0 {
			c.SMS = providers
		}
	}
	k.outbox = notify.New(c)
	return nil
}

func (k *core) buildActs() (err error) {
	public, err := url.Parse(k.config.PublicURL)
	if err != nil {
		return fmt.Errorf("couldn't read the public URL: %w", err)
	}
	k.recorder = record.New(record.Config{DB: k.db, Keys: k.keys, HighwaterPath: k.highwaterPath(), Holder: k.node, Log: k.log})
	k.sessions, err = session.New(session.Config{DB: k.db, Keys: k.keys, Dialect: session.Dialect(k.config.Dialect), PublicURL: public, Apps: k.apps(), Log: k.log})
	if err != nil {
		return err
	}
	k.signin, err = signin.New(signin.Config{DB: k.db, Keys: k.keys, Sessions: k.sessions, Outbox: k.outbox, Slots: signin.NewSlots(k.db.Clock().Now), Log: k.log})
	if err != nil {
		return err
	}
	k.directory, err = directory.New(directory.Config{DB: k.db, Keys: k.keys, Sessions: k.sessions, Signin: k.signin, Outbox: k.outbox, PublicURL: k.config.PublicURL, Log: k.log})
	if err != nil {
		return err
	}
	k.breakglass, err = breakglass.New(breakglass.Config{DB: k.db, Keys: k.keys, Sessions: k.sessions, Signin: k.signin, Directory: k.directory,
		Outbox: k.outbox, Recorder: k.recorder, PublicURL: k.config.PublicURL, Log: k.log})
	return err
}

func (k *core) apps() []session.App {
	var out []session.App
	for _, a := range k.config.Apps {
		out = append(out, session.App{Origin: a.Origin, Workspaces: a.Workspaces, Roles: a.Roles, Audience: a.Audience, TokenTTL: a.TokenTTL})
	}
	return out
}

func (k *core) close() error { return k.db.Close() }

// settle gives the events of a command their leaves and checkpoint when no
// server is there to do it.
func (k *core) settle(ctx context.Context) error { return k.recorder.RunOnce(ctx) }

// found makes sure that there is an installation, with keysets sealed under a
// key-encryption key that lies where KEKPath says.
func (k *core) found(ctx context.Context) error {
	err := k.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		k.installation, err = tx.Installation()
		return err
	})
	if err == nil {
		return k.loadKEK()
	}
	if !errors.Is(err, store.ErrNoRows) {
		return err
	}
	id := identity.NewID(identity.InstallID)
	if k.kek, err = k.makeKEK(id); err != nil {
		return err
	}
	public, err := url.Parse(k.config.PublicURL)
	if err != nil {
		return fmt.Errorf("couldn't read the public URL: %w", err)
	}
	wrapped, err := keyring.Create(k.kek, public.Hostname()+"/log/1", k.db.Clock().Now())
	if err != nil {
		return err
	}
	ring, err := keyring.Open(k.kek, wrapped, keyring.Config{})
	if err != nil {
		return err
	}
	var first []store.FirstKeyset
	for _, w := range wrapped {
		first = append(first, store.FirstKeyset{Name: w.Name, Blob: w.Blob})
	}
	if k.installation, err = k.db.Found(ctx, id, ring.LogOrigin(), ring.LogVerifierKey(), first); err != nil {
		return err
	}
	if k.installation.ID != id { // another node was first
		return k.loadKEK()
	}
	return nil
}

// kekPath is the key-encryption key's place, and whether it had to be beside the
// data.
func (k *core) kekPath(id string) string {
	path, warning := k.config.KEKPath(id)
	if warning != "" {
		k.log.Warn("the key-encryption key has no good place", "warning", warning)
	}
	return path
}

// highwaterPath is where the high-water file can be written: beside the data
// where its own place cannot.
func (k *core) highwaterPath() string {
	path := k.config.HighwaterPath(k.installation.ID)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err == nil {
		probe, err := os.CreateTemp(dir, ".probe-*")
		if err == nil {
			_ = probe.Close()
			_ = os.Remove(probe.Name())
			return path
		}
	}
	k.log.Warn("the high-water file lies beside the data: a restored copy brings its own along", "wanted", path)
	return filepath.Join(filepath.Dir(k.config.FallbackKEKPath()), "highwater")
}

// parseKEK reads a key-encryption key's file, or a recovery letter typed into
// one.
func parseKEK(b []byte) (*keyring.KEK, error) {
	kek, err := keyring.ParseKEK(b)
	if err == nil {
		return kek, nil
	}
	if letter, bad := keyring.ParseLetter(string(b)); bad == nil {
		return letter, nil
	}
	return nil, err
}

func (k *core) loadKEK() error {
	path := k.kekPath(k.installation.ID)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && path != k.config.FallbackKEKPath() && k.config.KEKFile == "" {
		b, err = os.ReadFile(k.config.FallbackKEKPath())
	}
	if err != nil {
		return advise("put it there, or name its place in MITRAL_KEK_FILE; the recovery letter holds it too",
			"the key-encryption key of this installation is not at %s", path)
	}
	k.kek, err = parseKEK(b)
	return err
}

// makeKEK makes the key, or takes one that the operator put there already. Where
// its place is not writable it falls back to the data directory, with a warning.
func (k *core) makeKEK(id string) (*keyring.KEK, error) {
	path := k.kekPath(id)
	b, err := os.ReadFile(path)
	if err == nil {
		return parseKEK(b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, advise("make it readable for the user that Mitral runs as", "couldn't read %s", path)
	}
	kek, err := keyring.NewKEK()
	if err != nil {
		return nil, err
	}
	if err := writeSecretFile(path, kek.File()); err != nil {
		if k.config.KEKFile != "" {
			return nil, advise("make its folder writable for the user that Mitral runs as, or put the key there", "couldn't write %s", path)
		}
		path = k.config.FallbackKEKPath()
		k.log.Warn("the key-encryption key lies beside the data it protects: name another place in MITRAL_KEK_FILE", "path", path)
		if err := writeSecretFile(path, kek.File()); err != nil {
			return nil, err
		}
	}
	return kek, nil
}

// writeSecretFile writes a file that only its owner can read, whole or not at
// all, and never over another.
func writeSecretFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("couldn't make the folder: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("couldn't write: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("couldn't write: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil {
		return fmt.Errorf("couldn't write: %w", err)
	}
	return nil
}

func (k *core) openKeys(ctx context.Context) error {
	wrapped, err := readKeysets(ctx, k.db)
	if err != nil {
		return err
	}
	return k.unwrap(wrapped)
}

// unwrap opens keysets with the key-encryption key.
func (k *core) unwrap(wrapped []keyring.Wrapped) (err error) {
	k.keys, err = keyring.Open(k.kek, wrapped, keyring.Config{AuthSecrets: k.config.AuthSecrets, Costs: testCosts()})
	if errors.Is(err, keyring.ErrWrongKEK) {
		return advise("put back the one it was made with; the recovery letter holds it", "the key-encryption key does not open this installation's keys")
	}
	return err
}

func readKeysets(ctx context.Context, db *store.DB) ([]keyring.Wrapped, error) {
	var out []keyring.Wrapped
	err := db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		rows, err := tx.Keysets()
		for _, r := range rows {
			out = append(out, keyring.Wrapped{Name: r.Name, Rev: r.Rev, Blob: r.Blob})
		}
		return err
	})
	return out, err
}

// followKeys reloads the keysets within a second of a rotation elsewhere.
func (k *core) followKeys(ctx context.Context) error {
	var seen int64
	for {
		var revs int64
		err := k.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
			revs, err = tx.KeysetRevs()
			return err
		})
		if err == nil && revs != seen {
			wrapped, err := readKeysets(ctx, k.db)
			if err == nil {
				err = k.keys.Reload(wrapped)
			}
			if err != nil {
				k.log.Error("couldn't reload the keys", "error", err)
			} else {
				seen = revs
			}
		}
		if err := k.db.Clock().Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}
