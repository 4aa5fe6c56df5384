package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSetupCommand(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		p := newPlace(t, db)
		args := []string{"setup", "--workspace", "Hope Clinic", "--admin-email", "grace@hope.example", "--admin-name", "Grace Okafor", "--json", "--pin-file"}
		pin := filepath.Join(p.home, "pin")
		for _, wrong := range []string{"1234", "826", "82640", "８２６４", ""} {
			p.write(pin, wrong+"\n")
			if o := p.run(append(args, pin)...).is(1).says(); o.stdout != "" {
				t.Errorf("a refused setup prints %q", o.stdout)
			}
		}
		p.run("setup", "--workspace", "Hope Clinic").is(2)
		p.run(append(args, filepath.Join(p.home, "none"))...).is(1).says("--pin-file")

		p.write(pin, "8264\n")
		codes := filepath.Join(p.home, "codes.json")
		made := object[setupAnswer](p.run(append(args, pin, "--codes-file", codes, "--print-kek", "--admin-phone", adminPhone)...).is(0))
		if made.Workspace.ID == "" || made.Workspace.Slug != "hope-clinic" || made.User.Email != "grace@hope.example" || len(made.RecoveryCodes) != 10 {
			t.Errorf("setup answers %+v", made)
		}
		if made.KEKLetter == "" || len(made.SealedCodes) != 0 {
			t.Errorf("setup answers the letter %q and the codes %+v, which went to a file", made.KEKLetter, made.SealedCodes)
		}
		var kept struct {
			SealedCodes []sealedCode `json:"sealed_codes"`
		}
		b, err := os.ReadFile(codes)
		if err == nil {
			err = json.Unmarshal(b, &kept)
		}
		if info, _ := os.Stat(codes); err != nil || len(kept.SealedCodes) < 2 || info.Mode().Perm() != 0o600 {
			t.Errorf("the codes' file: %v, %s", err, b)
		}
		p.run(append(args, pin)...).is(1).says()

		n := p.serve()
		if address := n.stdout.find(t, "/signin"); !strings.Contains(address, n.url) {
			t.Errorf("serve says %q", address)
		}
		n.signIn(person{email: made.User.Email, key: made.Key, pin: "8264"})
		other := object[setupAnswer](p.run(append(slices.Replace(slices.Clone(args), 2, 3, "Other Clinic"), pin, "--another")...).is(0))
		if other.Workspace.Slug == made.Workspace.Slug {
			t.Errorf("two workspaces are called %q", other.Workspace.Slug)
		}
		n.caller().post("/api/v1/auth/key-pin", map[string]string{"identifier": "grace@hope.example", "key": other.Key, "pin": "8264", "workspace": other.Workspace.Slug}).is(http.StatusOK)
		p.verify()
	})
}

func TestCommandsBesideAServer(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		nurse := c.node.signIn(c.nurse)

		c.run("user", "add", "--workspace", c.slug, "--email", c.nurse.email, "--name", "Again", "--role", "nurse").is(1).says()
		c.run("user", "add", "--workspace", c.slug, "--email", "new@hope.example", "--name", "New", "--role", "sailor").is(1).says("role")
		c.run("user", "add", "--workspace", "elsewhere", "--email", "new@hope.example", "--name", "New", "--role", "nurse").is(1).says()
		if o := c.run("user", "add", "--workspace", c.slug, "--email", "staff@hope.example", "--name", "Reception", "--role", "staff", "--phone", "12").is(1); o.stdout != "" {
			t.Errorf("a refused user add prints %q", o.stdout)
		}

		version := object[struct {
			Version   string
			TestClock bool `json:"test_clock"`
		}](c.run("version", "--json").is(0))
		if version.Version == "" || !version.TestClock {
			t.Errorf("version answers %+v", version)
		}
		c.run("migrate", "--json").is(0)

		doctor := object[struct {
			Checks []struct{ Name, Status, Detail, Fix string }
		}](c.run("doctor", "--json").is(0))
		if len(doctor.Checks) < 8 {
			t.Errorf("the doctor looked at %+v", doctor.Checks)
		}
		for _, check := range doctor.Checks {
			if check.Status != "green" && check.Fix == "" {
				t.Errorf("doctor: %s is %s and doesn't say what to do", check.Name, check.Status)
			}
		}
		ill := map[string]string{"keys": "MITRAL_KEK_FILE=" + filepath.Join(c.home, "none.kek")}
		if !db.embedded() {
			ill["record owner"] = "MITRAL_DATABASE=" + db.owner // who serves must not own the record
		}
		for name, setting := range ill {
			o := c.runWith("", []string{setting}, "doctor", "--json").is(1).says(name)
			if !strings.Contains(o.stdout, `"red"`) {
				t.Errorf("the doctor fails for %s, but nothing is red: %s", name, o.stdout)
			}
		}
		if nurse.state() != "active" {
			t.Error("commands beside the server ended a session")
		}
		c.verify()
	})
}

func TestRecoverAdminCommand(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		c.run("recover-admin", "--workspace", c.slug, "--email", c.nurse.email).is(1).says()
		before := len(c.mail.Mails())
		got := object[claim](c.run("recover-admin", "--workspace", c.slug, "--email", c.admin.email, "--json").is(0))
		c.secrets.keep(got.token())
		c.mail.WaitMail(c.admin.email, "")
		until(t, patience, "the administrator is told", func() (bool, string) { return len(c.mail.Mails()) > before, "nothing came" })

		old := c.admin
		c.admin.pin = "6180" // who lost everything chooses anew
		c.node.claim(got, &c.admin)
		if c.admin.key == old.key {
			t.Error("the claim gave the old key")
		}
		c.node.signIn(c.admin)
		c.node.caller().post("/api/v1/auth/key-pin", map[string]string{"identifier": old.email, "key": old.key, "pin": old.pin}).is(http.StatusUnauthorized)

		late := object[claim](c.run("recover-admin", "--workspace", c.slug, "--email", c.admin.email, "--json").is(0))
		c.clock.advance(61 * time.Minute)
		c.node.caller().post("/api/v1/claims/"+late.token(), map[string]string{"claim_code": late.ClaimCode, "pin": "3927"}).is(http.StatusGone)
		c.verify()
	})
}

func TestKeysRotateWhileServing(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		nurse := c.node.signIn(c.nurse)
		token := nurse.post("/api/v1/session/token", map[string]any{}).is(http.StatusOK).text("access_token")
		check := func(token string) reply {
			return c.node.caller().post("/api/v1/authz/check", map[string]string{"action": "chart_read"}, "Authorization", "Bearer "+token)
		}
		check(token).is(http.StatusOK)

		for _, what := range []string{"signing", "encryption", "auth-secret"} {
			got := object[struct{ Rotated string }](c.run("keys", "rotate", what, "--json").is(0))
			if got.Rotated != what {
				t.Errorf("rotate %s answers %q", what, got.Rotated)
			}
			if nurse.state() != "active" {
				t.Fatalf("rotating %s in order ended a session", what)
			}
			check(token).is(http.StatusOK)
			c.node.signIn(c.doctor)
		}
		c.run("keys", "rotate", "colours").is(2)

		c.run("keys", "rotate", "signing", "--emergency", "--json").is(0)
		until(t, time.Minute, "the old tokens are dead", func() (bool, string) {
			r := check(token)
			return r.status == http.StatusUnauthorized, string(r.body)
		})
		fresh := nurse.post("/api/v1/session/token", map[string]any{}).is(http.StatusOK).text("access_token")
		check(fresh).is(http.StatusOK)

		c.run("keys", "rotate", "encryption", "--emergency", "--json").is(0)
		c.node.signIn(c.doctor)
		c.run("keys", "rotate", "auth-secret", "--emergency", "--json").is(0)
		c.node.signIn(c.doctor)

		users := object[struct {
			Claims []struct {
				UserID    string `json:"user_id"`
				ClaimCode string `json:"claim_code"`
			}
		}](c.run("keys", "rotate", "users", "--json").is(0))
		if len(users.Claims) != 3 || slices.ContainsFunc(users.Claims, func(c struct {
			UserID    string `json:"user_id"`
			ClaimCode string `json:"claim_code"`
		}) bool {
			return c.ClaimCode == ""
		}) {
			t.Errorf("rotate users answers %+v", users)
		}
		c.node.signIn(c.nurse) // the old keys go on for a while
		c.verify()
	})
}

func TestBackupAndRestore(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		nurse := c.node.signIn(c.nurse)
		file := filepath.Join(c.home, "backup")
		c.run("backup", file, "--json").is(0)
		c.run("backup", file).is(1).says()
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the backup: %v, %v", info, err)
		}
		kek, err := os.ReadFile(c.kek())
		if err != nil || len(bytes.TrimSpace(kek)) < 20 || bytes.Contains(unzipped(t, file), bytes.TrimSpace(kek)) {
			t.Errorf("the backup holds the key-encryption key, or that can't be read: %v", err)
		}
		if nurse.state() != "active" {
			t.Error("a backup ended a session")
		}
		c.run("restore", file).is(1).says() // not into a database that holds something

		there := c.elsewhere()
		if !db.embedded() {
			empty := postgres(t)
			there.env["MITRAL_DATABASE"], there.env["MITRAL_MIGRATE_DATABASE"], there.db = empty.app, empty.owner, empty
		}
		c.node.stop()
		key := there.env["MITRAL_KEK_FILE"]
		there.env["MITRAL_KEK_FILE"] = filepath.Join(there.home, "none.kek")
		there.run("restore", file).is(1).says("key-encryption key")
		there.env["MITRAL_KEK_FILE"] = key
		there.run("restore", filepath.Join(c.home, "none")).is(1).says()
		there.run("restore").is(2)
		there.run("restore", file, "--json").is(0)
		there.verify()
		n := there.serve()
		if got := nurse.at(n).state(); got != "" {
			t.Errorf("a session of before the restore is %q", got)
		}
		n.signIn(c.nurse)
		n.caller().post("/api/v1/break-glass", map[string]any{"kind": "sealed", "workspace": c.slug, "sealed_code": c.sealed[0].Code, "subject": c.doctor.id,
			"pin": c.doctor.pin, "category": "cannot_sign_in", "reason": "Lost my key card today"}).refused(http.StatusUnauthorized, "wrong_code")
		there.verify()
	})
}

// TestRollbackIsSeen: a server on an older copy of its database answers, but
// takes nothing more down until the operator says that it is meant.
func TestRollbackIsSeen(t *testing.T) {
	t.Parallel()
	c := newClinic(t, database{name: "sqlite"})
	c.node.stop()
	older := copyFolder(t, c.data)
	c.node.start()
	c.node.waitReady()
	c.node.signIn(c.admin).checkpoint(t, 3)
	c.node.stop()

	if err := os.RemoveAll(c.data); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(older, c.data); err != nil {
		t.Fatal(err)
	}
	c.node.expectError("older copy")
	c.node.start()
	caller := c.node.caller()
	until(t, patience, "the server answers", func() (bool, string) { return c.node.probe("/healthz") == http.StatusOK, c.node.log.String() })
	until(t, patience, "readyz names the way out", func() (bool, string) {
		r := caller.get("/readyz")
		return r.status == http.StatusServiceUnavailable && strings.Contains(string(r.body), "mitral restore --accept-rollback"), string(r.body)
	})
	caller.post("/api/v1/auth/key-pin", map[string]string{"identifier": c.nurse.email, "key": c.nurse.key, "pin": c.nurse.pin}).is(http.StatusServiceUnavailable)
	c.node.stop()

	c.run("restore", "--accept-rollback", "--json").is(0)
	c.node.start()
	c.node.waitReady()
	c.node.signIn(c.nurse)
	c.verify()
}

func TestServeRefusesABadStart(t *testing.T) {
	t.Parallel()
	p := newPlace(t, database{name: "sqlite"})
	for name, with := range map[string]struct {
		env  string
		says string
	}{
		"an unknown setting":  {"MITRAL_COLOUR=red", "MITRAL_COLOUR"},
		"a weak secret":       {"AUTH_SECRET=short", "AUTH_SECRET"},
		"plain http abroad":   {"MITRAL_PUBLIC_URL=http://auth.clinic.example", "MITRAL_PUBLIC_URL"},
		"a wrong database":    {"MITRAL_DATABASE=mysql://127.0.0.1/mitral", "MITRAL_DATABASE"},
		"an unknown dialect":  {"MITRAL_AUTHJS_DIALECT=v3", "MITRAL_AUTHJS_DIALECT"},
		"everybody a proxy":   {"MITRAL_TRUSTED_PROXIES=0.0.0.0/0", "MITRAL_TRUSTED_PROXIES"},
		"a listener no-where": {"MITRAL_LISTEN=everywhere", "MITRAL_LISTEN"},
	} {
		o := p.runWith("", []string{with.env}, "serve").is(1).says(with.says)
		if strings.Contains(o.stderr, "short") && name == "a weak secret" {
			t.Errorf("the weak secret is repeated: %s", o.stderr)
		}
	}
	p.run("sail").is(2)
	p.run().is(2)
	p.run("--help").is(0)

	n := p.serve()
	p.runWith("", []string{"MITRAL_LISTEN=" + n.address}, "serve").is(1).says("MITRAL_LISTEN")
}

func unzipped(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(zip)
	if err != nil || !bytes.Contains(b, []byte("audit_event")) {
		t.Fatalf("the backup is not whole: %v", err)
	}
	return b
}

func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := from + "-copy"
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}
