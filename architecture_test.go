package mitral_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
	_ "modernc.org/sqlite"
)

const module = "github.com/mitral-health/mitral"

// rings is the order of imports, innermost first: a package may import those of
// the lines above its own, and of its own line only the folders below itself.
var rings = []struct {
	ring  int
	names string
}{
	{0, "identity"},
	{1, "policy audit keyring factor federation"},
	{2, "store"},
	{2, "notify"},
	{2, "record"},
	{2, "session"},
	{2, "signin"},
	{2, "directory"},
	{2, "breakglass"},
	{3, "edge"},
	{3, "httpapi authjs web"},
	{3, "server"},
	{3, "mitraltest"},
}

// place returns where in rings a package under internal/ stands, -1 for none.
func place(name string) int {
	top, _, _ := strings.Cut(name, "/")
	return slices.IndexFunc(rings, func(r struct {
		ring  int
		names string
	}) bool {
		return slices.Contains(strings.Fields(r.names), top)
	})
}

// source is one Go file of the module, whatever its build tags.
type source struct {
	path  string // relative to the module, with slashes
	fset  *token.FileSet
	file  *ast.File
	test  bool
	wrote bool // by a generator
}

func (s source) dir() string { return path.Dir(s.path) }

// internal returns the folder's name under internal/, "" outside.
func (s source) internal() string {
	name, ok := strings.CutPrefix(s.dir(), "internal/")
	if !ok {
		return ""
	}
	return name
}

func (s source) at(n ast.Node) string {
	return s.path + ":" + strconv.Itoa(s.fset.Position(n.Pos()).Line)
}

func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, imported)
		}
	}
	return paths
}

// calls reports every mention of one of names in a package, as in time.Now.
func (s source) calls(pkg string, names ...string) (found []ast.Node) {
	local := ""
	for _, spec := range s.file.Imports {
		if spec.Path.Value == strconv.Quote(pkg) {
			local = path.Base(pkg)
			if spec.Name != nil {
				local = spec.Name.Name
			}
		}
	}
	if local == "" {
		return nil
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local && slices.Contains(names, sel.Sel.Name) {
				found = append(found, n)
			}
		}
		return true
	})
	return found
}

// sources parses every Go file of the module, but generators that are run by
// themselves (tag ignore) and other modules below it.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if entry.IsDir() {
			base := path.Base(name)
			if name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			if _, err := os.Stat(path.Join(name, "go.mod")); err == nil && name != "." {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		s := source{path: name, fset: token.NewFileSet(), test: strings.HasSuffix(name, "_test.go")}
		if s.file, err = parser.ParseFile(s.fset, name, nil, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		s.wrote = ast.IsGenerated(s.file)
		if !ignored(s.file) {
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func ignored(file *ast.File) bool {
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if !constraint.IsGoBuild(comment.Text) || comment.Pos() > file.Package {
				continue
			}
			expr, err := constraint.Parse(comment.Text)
			if err == nil && !expr.Eval(func(tag string) bool { return tag != "ignore" && tag != "depsonly" }) &&
				expr.Eval(func(string) bool { return true }) {
				return true
			}
		}
	}
	return false
}

func TestImportsPointInward(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		external := s.test && strings.HasSuffix(s.file.Name.Name, "_test")
		for _, imported := range s.imports() {
			target, ours := strings.CutPrefix(imported, module+"/internal/")
			if !ours || external {
				continue // a test from outside may build its surroundings with any package
			}
			if problem := importProblem(s.dir(), target); problem != "" {
				t.Errorf("%s imports internal/%s: %s", s.path, target, problem)
			}
		}
		if s.internal() != "" && place(s.internal()) < 0 {
			t.Errorf("internal/%s has no place in the rings: put it into architecture_test.go and ARCHITECTURE.md, or elsewhere", s.internal())
		}
	}
}

// importProblem says why a package in dir may not import internal/target, ""
// where it may.
func importProblem(dir, target string) string {
	name, inside := strings.CutPrefix(dir, "internal/")
	if !inside {
		switch top, _, _ := strings.Cut(dir, "/"); top {
		case "client", "examples", "sdk":
			return top + " is for programs outside, and imports nothing under internal/"
		case "cmd", "scripts", "test", ".":
			return ""
		}
		return "only cmd and tests may reach into internal/ from outside"
	}
	here, there := place(name), place(target)
	top, _, _ := strings.Cut(name, "/")
	targetTop, _, _ := strings.Cut(target, "/")
	switch {
	case name == "web/view" && target != "identity":
		return "the views are plain templates, and import only identity"
	case top == targetTop && strings.HasPrefix(target, name+"/"):
		return ""
	case there < here && !(rings[here].names == "httpapi authjs web" && targetTop == "store"):
		return ""
	case there < here:
		return "a door asks the acts, never the store"
	}
	return "imports point inward, and inside ring 2 leftward"
}

// The rule itself is tried on what must be refused and on what must not.
func TestImportRule(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		dir, target string
		ok          bool
	}{
		{"internal/policy", "identity", true}, {"internal/identity", "policy", false}, {"internal/policy", "audit", false},
		{"internal/session", "store", true}, {"internal/store", "session", false}, {"internal/directory", "breakglass", false},
		{"internal/web", "web/view", true}, {"internal/web/view", "web", false}, {"internal/web/view", "policy", false},
		{"internal/httpapi", "signin", true}, {"internal/httpapi", "store", false}, {"internal/web", "store", false}, {"internal/authjs", "store", false},
		{"internal/httpapi", "edge", true}, {"internal/edge", "httpapi", false}, {"internal/server", "store", true}, {"internal/web", "server", false},
		{"internal/factor/keypin", "factor/recovery", false}, {"internal/signin", "factor/keypin", true},
		{"client", "identity", false}, {"examples/chart", "identity", false}, {"sdk/js", "identity", false}, {"cmd/mitral", "server", true},
		{"other", "identity", false},
	} {
		if problem := importProblem(tt.dir, tt.target); (problem == "") != tt.ok {
			t.Errorf("%s importing internal/%s: %q, want allowed %v", tt.dir, tt.target, problem, tt.ok)
		}
	}
}

// Rings 0 and 1 decide; they are told the time, and touch nothing outside.
func TestInnerRingsHaveNoClockAndDoNothing(t *testing.T) {
	t.Parallel()
	outside := []string{"os", "os/exec", "os/user", "net", "net/http", "syscall", "database/sql", "log"}
	for _, s := range sources(t) {
		at := place(s.internal())
		if s.internal() == "" || s.test || at < 0 || rings[at].ring > 1 {
			continue
		}
		for _, n := range s.calls("time", "Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep") {
			t.Errorf("%s asks for the time: it is an argument in rings 0 and 1", s.at(n))
		}
		for _, imported := range s.imports() {
			if slices.Contains(outside, imported) {
				t.Errorf("%s imports %s: rings 0 and 1 do no I/O", s.path, imported)
			}
		}
	}
}

var statement = regexp.MustCompile(`(?s)^\s*(?:select\s.*\sfrom\s|SELECT\s.*\sFROM\s|(?i:insert\s+(?:or\s+\w+\s+)?into\s|update\s+\w+\s+set\s|delete\s+from\s|(?:create|alter|drop)\s+(?:table|index|trigger|view|role|database)\s|pragma\s+\w))`)

func TestSQLStandsInTheStoreOnly(t *testing.T) {
	t.Parallel()
	for text, isSQL := range map[string]bool{
		"select id from users": true, "INSERT INTO a VALUES (1)": true, "update x set y = 1": true, "pragma wal_checkpoint": true,
		"select a role": false, "Select one from the list": false, "Update the policy": false, "delete": false,
	} {
		if statement.MatchString(text) != isSQL {
			t.Errorf("%q is taken for SQL: %v, want %v", text, !isSQL, isSQL)
		}
	}
	for _, s := range sources(t) {
		top, _, _ := strings.Cut(s.internal(), "/")
		if s.test || top == "store" || top == "mitraltest" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && statement.MatchString(text) {
					t.Errorf("%s holds SQL: it belongs to internal/store", s.at(n))
				}
			}
			return true
		})
		for _, imported := range s.imports() {
			if imported == "database/sql" || strings.HasPrefix(imported, "github.com/jackc/pgx/") || imported == "modernc.org/sqlite" {
				t.Errorf("%s imports %s: only internal/store speaks to a database", s.path, imported)
			}
		}
	}
}

func TestOnlyCommandsWriteToTheTerminal(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.path, "cmd/") || strings.HasPrefix(s.path, "scripts/") {
			continue
		}
		found := append(s.calls("fmt", "Print", "Printf", "Println"), s.calls("os", "Stdout", "Stderr", "Exit")...)
		for _, n := range found {
			t.Errorf("%s writes to the terminal or ends the program: only commands do", s.at(n))
		}
	}
}

func TestSomeLibrariesHaveOnePlace(t *testing.T) {
	t.Parallel()
	only := map[string]string{ // import path prefix → the one folder, "" for none
		"github.com/tink-crypto/":         "internal/keyring",
		"github.com/crewjam/saml":         "internal/federation/saml",
		"encoding/xml":                    "internal/federation/saml",
		"github.com/chromedp/":            "internal/mitraltest",
		"github.com/emersion/go-smtp":     "internal/mitraltest",
		"github.com/wneessen/go-mail":     "internal/notify",
		"github.com/nyaruka/phonenumbers": "internal/notify",
		"math/rand":                       "",
		"net/smtp":                        "",
	}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, imported := range s.imports() {
			for prefix, folder := range only {
				if strings.HasPrefix(imported, prefix) && s.dir() != folder {
					t.Errorf("%s imports %s, which belongs to %q only", s.path, imported, folder)
				}
			}
		}
	}
}

func TestTestKitIsNotInTheBinary(t *testing.T) {
	t.Parallel()
	for _, imported := range strings.Fields(golist(t, "-deps", "./cmd/mitral")) {
		if imported == "testing" || imported == module+"/internal/mitraltest" {
			t.Errorf("the binary holds %s", imported)
		}
	}
}

// Every package says what it owns, and in which file a reader finds that.
func TestEveryPackageIntroducesItself(t *testing.T) {
	t.Parallel()
	names, docs := map[string]string{}, map[string]string{}
	for _, s := range sources(t) {
		if s.test {
			if _, known := names[s.dir()]; !known {
				names[s.dir()] = strings.TrimSuffix(s.file.Name.Name, "_test")
			}
			continue
		}
		names[s.dir()] = s.file.Name.Name
		if path.Base(s.path) == "doc.go" || path.Base(s.path) == "main.go" {
			docs[s.dir()] += s.file.Doc.Text()
		}
	}
	for dir, name := range names {
		want := "Package " + name + " owns"
		if name == "main" {
			want = "Command " + path.Base(dir)
		}
		if !strings.HasPrefix(strings.Join(strings.Fields(docs[dir]), " "), want) {
			t.Errorf("%s has no doc.go (main.go for a command) that begins with %q", dir, want)
		}
	}
}

func TestLicenseIsApache2(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("LICENSE lacks %q", part)
		}
	}
}

// Versions older than these have known holes, and modules on the deny list have
// no good version. A vulnerability database is not always in reach; this list
// is kept by hand.
func TestVersionFloors(t *testing.T) {
	t.Parallel()
	floors := map[string]string{
		"github.com/russellhaering/goxmldsig": "v1.6.0",  // CVE-2026-33487: signature bypass
		"github.com/go-jose/go-jose/v4":       "v4.1.4",  // CVE-2026-34986: panic on key wrapping
		"github.com/go-jose/go-jose/v3":       "v3.0.5",  // the same
		"github.com/crewjam/saml":             "v0.5.1",  // CVE-2022-41912, CVE-2023-45683
		"golang.org/x/crypto":                 "v0.45.0", // CVE-2025-47914, CVE-2025-58181
		"github.com/golang-jwt/jwt/v5":        "v5.2.2",  // CVE-2025-30204
		"github.com/gorilla/csrf":             "v1.7.3",  // CVE-2025-24358
		"modernc.org/sqlite":                  "v1.60.1", // the WAL reset bug, see TestSQLiteIsSound
	}
	denied := []string{"github.com/dgrijalva/jwt-go", "github.com/golang-jwt/jwt", "github.com/form3tech-oss/jwt-go", "github.com/mattn/go-sqlite3", "github.com/satori/go.uuid"}
	for _, line := range strings.Split(strings.TrimSpace(golist(t, "-m", "-f", "{{.Path}} {{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}} {{with .Replace}}{{.Path}}{{end}}", "all")), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue // this module
		}
		if floor := floors[fields[0]]; floor != "" && semver.Compare(fields[1], floor) < 0 {
			t.Errorf("%s %s is older than %s", fields[0], fields[1], floor)
		}
	}
	for _, imported := range strings.Fields(golist(t, "-deps", "-test", "./...")) {
		for _, bad := range denied {
			if imported == bad || strings.HasPrefix(imported, bad+"/") && !regexp.MustCompile(`/v\d+`).MatchString(imported[len(bad):]) {
				t.Errorf("%s is in the build: it is on the deny list", imported)
			}
		}
	}
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := modfile.Parse("go.mod", gomod, nil)
	if err != nil {
		t.Fatal(err)
	}
	if semver.Compare("v"+parsed.Go.Version, "v1.25.1") < 0 { // CVE-2025-47910: CrossOriginProtection
		t.Errorf("go.mod asks for Go %s, which is older than 1.25.1", parsed.Go.Version)
	}
}

// SQLite up to 3.51.2 can lose committed data when a write-ahead log is reset.
func TestSQLiteIsSound(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var version string
	if err := db.QueryRowContext(t.Context(), "select sqlite_version()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if semver.Compare("v"+version, "v3.51.3") < 0 {
		t.Errorf("SQLite is %s, want 3.51.3 or newer", version)
	}
}

// A lockfile that names a package registry works at one workplace only.
func TestNpmLockfileNamesNoRegistry(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("test/npm/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity, Resolved string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	for name, p := range lock.Packages {
		if name != "" && p.Integrity == "" {
			t.Errorf("%s is not pinned by a checksum", name)
		}
		if p.Resolved != "" {
			t.Errorf("%s is resolved to an address: npm install with omit-lockfile-registry-resolved=true", name)
		}
	}
	if len(lock.Packages) < 2 {
		t.Error("the lockfile pins nothing")
	}
}

func golist(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}
