package e2e

import (
	"database/sql"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	_ "modernc.org/sqlite" // the "sqlite" driver

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// checkpoint is a signed note as somebody outside reads it.
type checkpoint struct {
	text string
	keys []string
	size int64
	root tlog.Hash
}

// checkpoint gets the newest one once it covers as many events as wanted, and
// holds its signature against the key that comes with it.
func (c *caller) checkpoint(t *testing.T, size int64) checkpoint {
	t.Helper()
	var got checkpoint
	until(t, follows, fmt.Sprintf("a checkpoint over %d events", size), func() (bool, string) {
		r := c.get("/api/v1/audit/checkpoint").is(http.StatusOK)
		got = parseCheckpoint(t, r.text("checkpoint"), r.at("verifier_keys").([]any))
		return got.size >= size, got.text
	})
	return got
}

func parseCheckpoint(t *testing.T, text string, keys []any) checkpoint {
	t.Helper()
	got := checkpoint{text: text}
	var verifiers []note.Verifier
	for _, key := range keys {
		v, err := note.NewVerifier(key.(string))
		if err != nil {
			t.Fatalf("a verifier key that can't be read: %v", err)
		}
		verifiers, got.keys = append(verifiers, v), append(got.keys, key.(string))
	}
	signed, err := note.Open([]byte(text), note.VerifierList(verifiers...))
	if err != nil {
		t.Fatalf("the checkpoint isn't signed by the log: %v\n%s", err, text)
	}
	var origin, root string
	if _, err := fmt.Sscanf(signed.Text, "%s\n%d\n%s\n", &origin, &got.size, &root); err != nil {
		t.Fatalf("no checkpoint: %v\n%s", err, text)
	}
	hash, err := base64.StdEncoding.DecodeString(root)
	if err != nil || copy(got.root[:], hash) != tlog.HashSize {
		t.Fatalf("no root: %q", root)
	}
	return got
}

// TestRecordCanBeCheckedFromOutside: with what the commands and the API give
// out, and published algorithms alone, anybody comes to the signed root.
func TestRecordCanBeCheckedFromOutside(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		admin := c.node.signIn(c.admin)
		early := admin.checkpoint(t, 5)
		c.node.signIn(c.nurse)
		c.node.caller().post("/api/v1/auth/key-pin", map[string]string{"identifier": "nobody@hope.example", "key": c.nurse.key, "pin": "0000"}).is(http.StatusUnauthorized)

		o := c.run("audit", "export", "--format", "jsonl").is(0)
		var leaves [][]byte
		for line := range strings.Lines(o.stdout) {
			leaves = append(leaves, []byte(strings.TrimSuffix(line, "\n")))
		}
		late := admin.checkpoint(t, int64(len(leaves)))
		hashes := hashReader{}
		for i, leaf := range leaves {
			if !json.Valid(leaf) {
				t.Fatalf("leaf %d is no JSON: %s", i, leaf)
			}
			stored, err := tlog.StoredHashes(int64(i), leaf, hashes)
			if err != nil {
				t.Fatal(err)
			}
			hashes = append(hashes, stored...)
		}
		for _, signed := range []checkpoint{early, late} {
			if signed.size > int64(len(leaves)) { // events since the export
				continue
			}
			if root, err := tlog.TreeHash(signed.size, hashes); err != nil || root != signed.root {
				t.Errorf("the exported events don't hash to the signed root of %d: %v", signed.size, err)
			}
		}
		var consistency tlog.TreeProof
		admin.get(fmt.Sprintf("/api/v1/audit/proof/consistency?from=%d&to=%d", early.size, late.size)).is(http.StatusOK).proof(&consistency)
		if err := tlog.CheckTree(consistency, late.size, late.root, early.size, early.root); err != nil {
			t.Errorf("the consistency proof: %v", err)
		}
		var inclusion tlog.TreeProof
		admin.get(fmt.Sprintf("/api/v1/audit/proof/inclusion?index=2&size=%d", late.size)).is(http.StatusOK).proof(&inclusion)
		if err := tlog.CheckRecord(tlog.RecordProof(inclusion), late.size, late.root, 2, tlog.RecordHash(leaves[2])); err != nil {
			t.Errorf("the inclusion proof: %v", err)
		}
		if err := tlog.CheckRecord(tlog.RecordProof(inclusion), late.size, late.root, 2, tlog.RecordHash(leaves[3])); err == nil {
			t.Error("the inclusion proof proves another event too")
		}
		admin.get("/api/v1/audit/proof/inclusion?index=9&size=3").is(http.StatusUnprocessableEntity)
		c.node.signIn(c.nurse).get("/api/v1/audit/checkpoint").is(http.StatusForbidden)

		text := o.stdout
		for _, hidden := range []string{c.admin.email, c.nurse.email, "nobody@hope.example", c.admin.name, c.nurse.name, adminPhone} {
			if strings.Contains(text, hidden) {
				t.Errorf("the record names %q", hidden)
			}
		}
		for _, secret := range c.secrets.all() {
			if strings.Contains(text, secret) {
				t.Errorf("the record holds a secret, %q", secret)
			}
		}
		rows, err := csv.NewReader(strings.NewReader(c.run("audit", "export", "--format", "csv").is(0).stdout)).ReadAll()
		if err != nil || len(rows) < len(leaves) {
			t.Errorf("the CSV export has %d rows: %v", len(rows), err)
		}
		for line := range strings.Lines(c.run("audit", "export", "--format", "fhir").is(0).stdout) {
			var resource struct{ ResourceType string }
			if err := json.Unmarshal([]byte(line), &resource); err != nil || resource.ResourceType != "AuditEvent" {
				t.Fatalf("a line of the FHIR export: %v: %s", err, line)
			}
		}
		for line := range strings.Lines(c.run("audit", "export", "--format", "jsonl", "--workspace", c.slug).is(0).stdout) {
			var one struct {
				Index *int64
				Leaf  string
			}
			if err := json.Unmarshal([]byte(line), &one); err != nil || one.Index == nil || *one.Index < int64(len(leaves)) && one.Leaf != string(leaves[*one.Index]) {
				t.Fatalf("a line of the filtered export: %v: %s", err, line)
			}
		}
		c.run("audit", "export", "--format", "xml").is(2)
		c.run("audit", "export", "--format", "jsonl", "--from", "yesterday").is(2)

		saved := filepath.Join(c.home, "checkpoint")
		c.write(saved, "As mailed:\n\n"+early.text+"\nRegards\n")
		c.run("audit", "verify", "--checkpoint", saved, "--key", late.keys[0]).is(0)
		c.run("audit", "verify", "--checkpoint", filepath.Join(c.home, "none")).is(1).says()
		pinned := object[struct {
			OK     bool
			Pinned string
		}](c.run("audit", "verify", "--json").is(0))
		if !pinned.OK || pinned.Pinned != "unpinned" {
			t.Errorf("verify with nothing from elsewhere says %+v", pinned)
		}
	})
}

func (r reply) proof(into *tlog.TreeProof) {
	r.t.Helper()
	for _, step := range r.at("proof").([]any) {
		b, err := base64.StdEncoding.DecodeString(step.(string))
		var h tlog.Hash
		if err != nil || copy(h[:], b) != tlog.HashSize || len(b) != tlog.HashSize {
			r.t.Fatalf("%s: a step of the proof is no hash: %v", r.what, step)
		}
		*into = append(*into, h)
	}
}

// hashReader holds the hashes of a tree in tlog's order.
type hashReader []tlog.Hash

func (h hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		if i >= int64(len(h)) {
			return nil, fmt.Errorf("no hash %d", i)
		}
		out = append(out, h[i])
	}
	return out, nil
}

// TestTamperingIsFound changes copies of a database whose triggers are gone, as
// somebody with the file or the owner's login could, and has each found by the
// command that needs nothing else.
func TestTamperingIsFound(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		admin := c.node.signIn(c.admin)
		early := admin.checkpoint(t, 4)
		for range 4 {
			c.node.signIn(c.nurse)
			early = admin.checkpoint(t, early.size+1)
		}
		saved := filepath.Join(c.home, "checkpoint")
		c.write(saved, early.text)
		admin.post("/api/v1/session/lock", map[string]any{}).is(http.StatusOK)
		c.node.stop()
		c.run("audit", "verify", "--checkpoint", saved, "--key", early.keys[0]).is(0)

		const leafOf = `(SELECT event_id FROM audit_leaf WHERE idx = %d)`
		for _, tamper := range []struct {
			name     string
			first    int64 // the index that must be named
			needsOld bool  // only an old checkpoint shows it
			acts     []string
		}{
			{name: "altered", first: 3, acts: []string{
				`UPDATE audit_event SET leaf = replace(leaf, '"outcome":"success"', '"outcome":"failure"') WHERE id = ` + fmt.Sprintf(leafOf, 3)}},
			{name: "altered beside the leaf", first: 3, acts: []string{`UPDATE audit_event SET outcome = 'failure' WHERE id = ` + fmt.Sprintf(leafOf, 3)}},
			{name: "removed", first: 3, acts: []string{
				`CREATE TABLE gone AS SELECT event_id AS id FROM audit_leaf WHERE idx = 3`,
				`DELETE FROM audit_leaf WHERE idx = 3`, `DELETE FROM audit_event WHERE id IN (SELECT id FROM gone)`}},
			{name: "swapped", first: 3, acts: []string{
				`UPDATE audit_leaf SET idx = -1 WHERE idx = 3`, `UPDATE audit_leaf SET idx = 3 WHERE idx = 5`, `UPDATE audit_leaf SET idx = 5 WHERE idx = -1`}},
			{name: "back-dated", first: 4, acts: []string{`UPDATE audit_event SET at = at - 3600000000 WHERE id = ` + fmt.Sprintf(leafOf, 4)}},
			{name: "a hash changed", first: -1, acts: []string{
				`UPDATE audit_node SET hash = (SELECT hash FROM audit_node WHERE id = 1) WHERE id = 0`}},
			{name: "cut off", first: 5, needsOld: true, acts: cutOff(5)},
		} {
			t.Run(tamper.name, func(t *testing.T) {
				q := c.copied(t)
				q.run("audit", "verify").is(0) // the copy itself is whole
				q.alter(t, tamper.acts...)
				if tamper.needsOld {
					q.run("audit", "verify").is(0)
				}
				o := q.run("audit", "verify", "--json", "--checkpoint", saved, "--key", early.keys[0]).is(1)
				r := object[struct {
					OK       bool
					FirstBad *int64 `json:"first_bad"`
					Findings []string
				}](o)
				if r.OK || r.FirstBad == nil || tamper.first >= 0 && *r.FirstBad != tamper.first || len(r.Findings) == 0 {
					t.Errorf("found %s, want the first bad index %d", o.stdout, tamper.first)
				}
				if words := q.run("audit", "verify", "--checkpoint", saved).is(1); r.FirstBad != nil && !strings.Contains(words.stderr, fmt.Sprint("index ", *r.FirstBad)) {
					t.Errorf("in words: %q", words.stderr)
				}
			})
		}

		t.Run("rebuilt", func(t *testing.T) { // another history, whole in itself and under the same name
			other := newPlace(t, db)
			if !db.embedded() {
				another := postgres(t)
				other.db, other.env["MITRAL_DATABASE"], other.env["MITRAL_MIGRATE_DATABASE"] = another, another.app, another.owner
			}
			other.env["MITRAL_PUBLIC_URL"], other.env["MITRAL_LISTEN"] = c.env["MITRAL_PUBLIC_URL"], "127.0.0.1:0"
			other.runWith("8264", nil, "setup", "--workspace", "Hope Clinic", "--admin-email", "grace@hope.example", "--admin-name", "Grace Okafor",
				"--pin-file", "-", "--json").is(0)
			for i := range 6 {
				other.invite("hope-clinic", person{email: fmt.Sprintf("p%d@hope.example", i), name: "Somebody", role: "nurse"})
			}
			other.run("audit", "verify").is(0)
			o := other.run("audit", "verify", "--json", "--checkpoint", saved).is(1)
			if r := object[struct {
				OK       bool
				FirstBad *int64 `json:"first_bad"`
			}](o); r.OK || r.FirstBad == nil {
				t.Errorf("a rebuilt record: %s", o.stdout)
			}
		})
	})
}

// cutOff removes all that came after the first n events, so that what is left
// fits together.
func cutOff(n int64) []string {
	return []string{
		fmt.Sprintf(`CREATE TABLE gone AS SELECT event_id AS id FROM audit_leaf WHERE idx >= %d`, n),
		fmt.Sprintf(`DELETE FROM audit_leaf WHERE idx >= %d`, n),
		`DELETE FROM audit_event WHERE id IN (SELECT id FROM gone)`,
		fmt.Sprintf(`DELETE FROM audit_node WHERE id >= %d`, tlog.StoredHashCount(n)),
		fmt.Sprintf(`DELETE FROM audit_checkpoint WHERE size > %d`, n),
	}
}

// copied makes a copy of a stopped installation's database, without its
// triggers.
func (c *clinic) copied(t *testing.T) *place {
	t.Helper()
	q := newPlace(t, c.db)
	q.clock, q.env["MITRAL_PUBLIC_URL"], q.env["MITRAL_LISTEN"] = c.clock, c.env["MITRAL_PUBLIC_URL"], "127.0.0.1:0"
	if c.db.embedded() {
		if err := os.CopyFS(q.data, os.DirFS(c.data)); err != nil {
			t.Fatal(err)
		}
		db := q.open(t)
		for _, name := range column[string](t, db, `SELECT name FROM sqlite_master WHERE type = 'trigger'`) {
			execute(t, db, `DROP TRIGGER `+name)
		}
		return q
	}
	owner, app := mitraltest.Postgres(t)
	q.db = database{"postgres", app, owner}
	q.env["MITRAL_DATABASE"], q.env["MITRAL_MIGRATE_DATABASE"] = app, owner
	q.run("migrate").is(0)
	from, to := c.open(t), q.open(t)
	tables := column[string](t, from, `SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'goose%'`)
	for _, table := range tables {
		execute(t, to, `ALTER TABLE `+table+` DISABLE TRIGGER USER`)
		for _, constraint := range column[string](t, to, `SELECT conname::text FROM pg_constraint WHERE contype = 'f' AND conrelid = '`+table+`'::regclass`) {
			execute(t, to, `ALTER TABLE `+table+` DROP CONSTRAINT `+constraint)
		}
	}
	for _, table := range tables {
		execute(t, to, `DELETE FROM `+table)
		for _, row := range column[string](t, from, `SELECT to_jsonb(x)::text FROM `+table+` x`) {
			execute(t, to, `INSERT INTO `+table+` SELECT * FROM jsonb_populate_record(NULL::`+table+`, $1::text::jsonb)`, row)
		}
	}
	return q
}

// open opens a place's database as its owner.
func (p *place) open(t *testing.T) *sql.DB {
	t.Helper()
	driver, name := "sqlite", filepath.Join(p.data, "mitral.db")
	if !p.db.embedded() {
		driver, name = "pgx", p.db.owner
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// alter changes a copy.
func (p *place) alter(t *testing.T, acts ...string) {
	t.Helper()
	db := p.open(t)
	for _, act := range acts {
		execute(t, db, act)
	}
	_ = db.Close()
}

func execute(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func column[T any](t *testing.T, db *sql.DB, query string) []T {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		var v T
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestRecordRefusesChanges: as long as the triggers are there, not even the
// owner changes the record, and the running login owns nothing.
func TestRecordRefusesChanges(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		c.node.stop()
		owner := c.open(t)
		before := column[string](t, owner, `SELECT leaf FROM audit_event ORDER BY id`)
		if len(before) < 5 {
			t.Fatalf("only %d events to try it on", len(before))
		}
		acts := []string{
			`UPDATE audit_event SET outcome = 'failure'`, `DELETE FROM audit_event`, `UPDATE audit_leaf SET idx = idx + 1`, `DELETE FROM audit_leaf`,
			`UPDATE audit_node SET hash = hash`, `DELETE FROM audit_node`, `DELETE FROM audit_checkpoint`,
		}
		if db.embedded() {
			acts = append(acts, `INSERT OR REPLACE INTO audit_event SELECT * FROM audit_event LIMIT 1`)
		} else {
			acts = append(acts, `TRUNCATE audit_event CASCADE`)
		}
		for _, act := range acts {
			if _, err := owner.ExecContext(t.Context(), act); err == nil {
				t.Errorf("the database let the owner %s", act)
			}
		}
		if after := column[string](t, owner, `SELECT leaf FROM audit_event ORDER BY id`); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Error("the record changed")
		}
		if !db.embedded() {
			owned := column[string](t, owner, `SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tableowner = '`+mitraltest.PostgresApp+`'`)
			if len(owned) > 0 {
				t.Errorf("the running login owns %v", owned)
			}
		}
		c.verify()
	})
}
