package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

// Check is one thing the doctor looked at.
type Check struct {
	Name   string `json:"name"`
	Status string `json:"status"` // green, yellow or red
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// DoctorReport is all of them.
type DoctorReport struct {
	Checks []Check `json:"checks"`
}

func green(name, detail string) Check       { return Check{name, "green", detail, ""} }
func yellow(name, detail, fix string) Check { return Check{name, "yellow", detail, fix} }
func red(name, detail, fix string) Check    { return Check{name, "red", detail, fix} }

// Doctor checks configuration, exposure, keys, mail, SMS, clock, database and
// record. It changes nothing.
func Doctor(ctx context.Context, c Config) (DoctorReport, error) {
	r := DoctorReport{Checks: []Check{checkExposure(c), checkMail(c), checkSMS(c), checkDisk(c), checkHashing()}}
	if path := c.Database().SQLite; path != "" {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			r.Checks = append(r.Checks, yellow("database", "there is none yet", "run mitral serve or mitral setup"))
			return r, nil
		}
	}
	db, err := store.Open(store.Config{URL: c.DatabaseURL.Reveal(), Log: quiet()})
	if err != nil {
		r.Checks = append(r.Checks, red("database", err.Error(), "check MITRAL_DATABASE"))
		return r, nil
	}
	defer func() { _ = db.Close() }()
	is, want, err := db.SchemaVersion(ctx)
	switch {
	case err != nil:
		r.Checks = append(r.Checks, red("database", "it does not answer", "check that it runs and MITRAL_DATABASE"))
		return r, nil
	case is != want:
		r.Checks = append(r.Checks, red("database", fmt.Sprintf("its schema is at %d, this version needs %d", is, want), "run mitral migrate"))
		return r, nil
	}
	r.Checks = append(r.Checks, green("database", "it answers and its schema is up to date"))
	r.Checks = append(r.Checks, checkClock(ctx, db), checkOwner(ctx, db), checkKeys(ctx, c, db))
	r.Checks = append(r.Checks, checkRecord(ctx, c, db), checkMessages(ctx, db), checkAdministrators(ctx, db), checkApps(ctx, c, db))
	return r, nil
}

func checkExposure(c Config) Check {
	switch {
	case c.TerminatesTLS():
		return green("exposure", "https, with the certificate in "+c.TLS.Cert)
	case c.OnlyFromProxies():
		return green("exposure", "http from the declared proxies only")
	}
	return yellow("exposure", "reachable from this computer only", "give it a name and a certificate before other computers use it; passkeys need both")
}

func checkApps(ctx context.Context, c Config, db *store.DB) Check {
	var n int64
	err := db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		n, err = tx.CountWorkspaces()
		return err
	})
	if err != nil {
		return red("apps", "the workspaces cannot be counted", "check the database")
	}
	for _, a := range c.Apps {
		if a.Implied && n > 1 {
			return yellow("apps", "the public address serves every workspace, unasked", "list the applications and their workspaces in MITRAL_APPS")
		}
	}
	return green("apps", fmt.Sprintf("%d listed", len(c.Apps)))
}

func checkMail(c Config) Check {
	if c.Mail.URL == "" && !c.Demo {
		return yellow("mail", "no mail settings: links are printed, and emergencies are told by SMS only", "set MITRAL_MAIL_URL and MITRAL_MAIL_FROM")
	}
	return green("mail", "set")
}

func checkSMS(c Config) Check {
	if len(c.SMS) == 0 && !c.Demo {
		return yellow("sms", "no SMS settings: emergencies are told by mail only", "set MITRAL_SMS_PROVIDER and its account")
	}
	return green("sms", "set")
}

func checkDisk(c Config) Check {
	low, err := lowDisk(c)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return green("disk", "there is no data folder yet")
	case err != nil:
		return yellow("disk", err.Error(), "check the data folder")
	case low:
		return red("disk", "less than a tenth, or less than 1 GB, is free", "make room: strangers' refused attempts are only counted now")
	}
	return green("disk", "there is room")
}

func checkHashing() Check {
	begun := time.Now()
	keyring.Dummy(keyring.KeyPINCost, identity.Secret("0000"))
	took := time.Since(begun).Round(time.Millisecond)
	if took > 500*time.Millisecond {
		return yellow("hashing", fmt.Sprintf("one key or PIN takes %s", took), "give this machine more processor time: people wait for it at every unlock")
	}
	return green("hashing", fmt.Sprintf("one key or PIN takes %s", took))
}

func checkClock(ctx context.Context, db *store.DB) Check {
	moved, err := db.Follow(ctx)
	if err != nil {
		return red("clock", "the database's clock cannot be asked", "check that it runs")
	}
	if moved.Abs() > 2*time.Second {
		return yellow("clock", fmt.Sprintf("this machine's clock and the database's differ by %s", moved.Round(time.Second)), "let both follow the same time server")
	}
	return green("clock", "it agrees with the database's")
}

func checkOwner(ctx context.Context, db *store.DB) Check {
	owns, err := db.OwnsRecord(ctx)
	switch {
	case err != nil:
		return red("record owner", "it cannot be asked", "check the database")
	case owns && db.Postgres():
		return red("record owner", "the running login owns the record's tables and could drop their triggers",
			"run as a second login: put the owning one into MITRAL_MIGRATE_DATABASE")
	case owns:
		return green("record owner", "an embedded database: whoever owns its file can change it, and a checkpoint kept elsewhere shows it")
	}
	return green("record owner", "the running login owns no table of the record")
}

func checkKeys(ctx context.Context, c Config, db *store.DB) Check {
	k := &core{config: c, log: quiet(), db: db}
	err := db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		k.installation, err = tx.Installation()
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return yellow("keys", "nothing is set up yet", "run mitral serve or mitral setup")
	}
	if err == nil {
		err = k.loadKEK()
	}
	if err == nil {
		err = k.openKeys(ctx)
	}
	if err != nil {
		return red("keys", "the key-encryption key does not open the installation's keys", "put the right key in place; the recovery letter holds it")
	}
	path, _ := c.KEKPath(k.installation.ID)
	if strings.HasPrefix(path, c.Data+string(os.PathSeparator)) && !c.Demo {
		return red("keys", "the key-encryption key lies in the data folder: who copies that has everything", "name another place in MITRAL_KEK_FILE and move it there")
	}
	return green("keys", "they open")
}

func checkRecord(ctx context.Context, c Config, db *store.DB) Check {
	var in store.Installation
	err := db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		in, err = tx.Installation()
		return err
	})
	if errors.Is(err, store.ErrNoRows) {
		return green("record", "nothing is recorded yet")
	}
	if err == nil {
		err = record.New(record.Config{DB: db, HighwaterPath: c.HighwaterPath(in.ID), Log: quiet()}).CheckHighwater(ctx)
	}
	if errors.Is(err, record.ErrRolledBack) {
		return red("record", "the database is older than what this machine has seen", "restore the newest backup, or run mitral restore --accept-rollback")
	}
	r, err := record.Verify(ctx, db, record.VerifyInput{})
	switch {
	case err != nil:
		return red("record", "it cannot be checked", "run mitral audit verify")
	case !r.OK:
		return red("record", "it is not as it was written", "run mitral audit verify, change nothing, and keep a copy of the database")
	}
	return green("record", fmt.Sprintf("%d events, each as it was written", r.Size))
}

func checkMessages(ctx context.Context, db *store.DB) Check {
	var failed, waiting int64
	err := db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		if failed, err = tx.UndeliveredCount(tx.Now().Add(-7 * 24 * time.Hour).UnixMicro()); err != nil {
			return err
		}
		waiting, err = tx.QueuedCount()
		return err
	})
	switch {
	case err != nil:
		return red("messages", "they cannot be counted", "check the database")
	case failed > 0:
		return yellow("messages", fmt.Sprintf("%d could not be delivered in the last week", failed), "check addresses and the mail and SMS settings")
	case waiting > 0:
		return yellow("messages", fmt.Sprintf("%d wait for another attempt", waiting), "check the mail and SMS settings")
	}
	return green("messages", "all delivered")
}

func checkAdministrators(ctx context.Context, db *store.DB) Check {
	alone := ""
	err := db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		spaces, err := tx.Workspaces()
		if err != nil {
			return err
		}
		for _, w := range spaces {
			users, err := tx.Workspace(w.ID).Users()
			if err != nil {
				return err
			}
			n := 0
			row, err := tx.Workspace(w.ID).CurrentPolicy()
			if err != nil {
				return err
			}
			doc, _ := policy.Parse([]byte(row.Document))
			for _, u := range users {
				rules, _ := doc.Role(identity.Role(u.Role))
				if rules.Class == identity.Administration && u.DisabledAt == 0 && u.ClaimedAt > 0 {
					n++
				}
			}
			if n < 2 {
				alone = w.Name
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return red("administrators", "they cannot be counted", "check the database")
	case alone != "":
		return yellow("administrators", alone+" has one administrator", "add a second one, or a privacy reviewer: nobody reviews their own emergency access")
	}
	return green("administrators", "every workspace has two or more")
}
