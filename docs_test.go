package mitral_test

import (
	"flag"
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/policy"
)

var update = flag.Bool("update", false, "write the tests' names into docs/threats.md")

// documents are the pages that people read: path and text.
func documents(t *testing.T) map[string]string {
	t.Helper()
	names := []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"}
	for _, pattern := range []string{"docs/*.md", "docs/*/*.md", "examples/*/*.md", "sdk/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	all := map[string]string{}
	for _, name := range names {
		all[filepath.ToSlash(name)] = read(t, name)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Every link leads to a file that is there, and to a heading that it has.
func TestLinks(t *testing.T) {
	t.Parallel()
	found := 0
	for name, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			found++
			file, heading, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if picture, ok := strings.CutPrefix(target, "docs/images/"); ok {
				if !slices.Contains(pictures(t), picture) {
					t.Errorf("%s: no picture %s is taken by test/e2e", name, picture)
				}
			} else if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			} else if heading != "" && !slices.Contains(headings(read(t, target)), heading) {
				t.Errorf("%s: the link %s has no such heading", name, m[1])
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d links were found", found)
	}
}

// pictures returns the names of the pictures that scripts/screenshots takes: of
// each page in two widths and two schemes, and of sheets as they are printed.
func pictures(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range regexp.MustCompile(`g\.(shoot|print)\(\w+, "([a-z-]+)"\)`).FindAllStringSubmatch(read(t, "test/e2e/pages_test.go"), -1) {
		if m[1] == "print" {
			names = append(names, m[2]+".png")
			continue
		}
		for _, form := range []string{"320-light", "320-dark", "1280-light", "1280-dark"} {
			names = append(names, m[2]+"-"+form+".png")
		}
	}
	return names
}

var notInAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)

// headings returns the anchors of a page's headings, as GitHub makes them.
func headings(text string) []string {
	var anchors []string
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			anchor := notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			anchors = append(anchors, strings.ReplaceAll(anchor, " ", "-"))
		}
	}
	return anchors
}

// The README is one screen with two commands.
func TestReadme(t *testing.T) {
	t.Parallel()
	text := read(t, "README.md")
	if n := strings.Count(text, "\n"); n > 80 {
		t.Errorf("README.md has %d lines; 80 fit one screen", n)
	}
	var commands []string
	for _, block := range regexp.MustCompile("(?s)```[a-z]*\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			if word, _, _ := strings.Cut(line, " "); word != "git" && word != "cd" {
				commands = append(commands, strings.TrimSpace(line))
			}
		}
	}
	if want := []string{"go run ./cmd/mitral serve --demo", "./scripts/test"}; !slices.Equal(commands, want) {
		t.Errorf("the README's commands are %q, want %q", commands, want)
	}
	if regexp.MustCompile(`(?m)^(    |\t)\S`).MatchString(text) {
		t.Error("README.md has an indented block of code: it has two commands and nothing else")
	}
}

// threatRow is a line of docs/threats.md: number, severity, threat, decision,
// and what makes it real.
var threatRow = regexp.MustCompile(`(?m)^\| (F\d\d) \| ([CHML]) \| (.+) \| (.+) \| (.+) \|$`)

// Every threat has the tests named after it, or says what it waits for.
func TestThreats(t *testing.T) {
	const file = "docs/threats.md"
	text := read(t, file)
	tests := threatTests(t)
	if *update {
		text = threatRow.ReplaceAllStringFunc(text, func(line string) string {
			m := threatRow.FindStringSubmatch(line)
			if names := tests[m[1]]; names != nil {
				m[5] = "`" + strings.Join(names, "`, `") + "`"
			}
			return "| " + strings.Join(m[1:], " | ") + " |"
		})
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rows := threatRow.FindAllStringSubmatch(text, -1)
	for i, m := range rows {
		if want := "F" + string(rune('0'+(i+1)/10)) + string(rune('0'+(i+1)%10)); m[1] != want {
			t.Fatalf("%s: row %d is %s, want %s", file, i+1, m[1], want)
		}
		named := regexp.MustCompile(`TestF\w+`).FindAllString(m[5], -1)
		switch {
		case len(named) > 0 && !slices.Equal(named, tests[m[1]]):
			t.Errorf("%s names %q for %s, there are %q: run go test . -run TestThreats -update", file, named, m[1], tests[m[1]])
		case len(named) == 0 && tests[m[1]] != nil:
			t.Errorf("%s does not name %q: run go test . -run TestThreats -update", file, tests[m[1]])
		case len(named) == 0 && !regexp.MustCompile(`^(Waits for|Decided in words)`).MatchString(m[5]):
			t.Errorf("%s: %s has no test, and does not say what it waits for", file, m[1])
		}
	}
	if len(rows) != 49 {
		t.Errorf("%s has %d threats, want 49", file, len(rows))
	}
}

// threatTests returns the tests named after threats, by number, sorted.
func threatTests(t *testing.T) map[string][]string {
	t.Helper()
	shape := regexp.MustCompile(`^Test(F\d\d)`)
	tests := map[string][]string{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !s.test || f.Recv != nil {
				continue
			}
			if m := shape.FindStringSubmatch(f.Name.Name); m != nil && !slices.Contains(tests[m[1]], f.Name.Name) {
				tests[m[1]] = append(tests[m[1]], f.Name.Name)
			}
		}
	}
	for _, names := range tests {
		slices.Sort(names)
	}
	return tests
}

// The administrators' page has every field of the policy, and no other.
func TestPolicyIsExplained(t *testing.T) {
	t.Parallel()
	const file = "docs/administer.md"
	var explained []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.<>]+)` \\|").FindAllStringSubmatch(read(t, file), -1) {
		explained = append(explained, m[1])
	}
	explained = slices.DeleteFunc(explained, func(s string) bool { // the tables of roles and marks
		return !strings.Contains(s, ".") && s != "methods" && s != "key_overlap_days"
	})
	fields := fieldsOf(reflect.TypeFor[policy.Document](), "")
	for _, field := range fields {
		if !slices.Contains(explained, field) {
			t.Errorf("%s does not explain %s", file, field)
		}
	}
	for _, field := range explained {
		if !slices.Contains(fields, field) {
			t.Errorf("%s explains %s, which the policy does not have", file, field)
		}
	}
}

// fieldsOf returns the paths of a document's fields; a map's key is written
// <role> under roles and <action> elsewhere.
func fieldsOf(typ reflect.Type, at string) []string {
	if typ.Kind() == reflect.Map {
		at += map[bool]string{true: ".<role>", false: ".<action>"}[at == "roles"]
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return []string{at}
	}
	var paths []string
	for f := range typ.Fields() {
		paths = append(paths, fieldsOf(f.Type, strings.TrimPrefix(at+"."+f.Tag.Get("json"), "."))...)
	}
	return paths
}

// The developers' page has every code that an error can have.
func TestErrorCodesAreExplained(t *testing.T) {
	t.Parallel()
	const file = "docs/integrate.md"
	text := read(t, file)
	codes := errorCodes(t)
	if len(codes) < 40 {
		t.Fatalf("only %d codes were found", len(codes))
	}
	for code, at := range codes {
		if !regexp.MustCompile("(?m)^\\| [0-9, ]+ \\|[^|]*`" + code + "`").MatchString(text) {
			t.Errorf("%s does not explain the code %s (%s)", file, code, at)
		}
	}
}

// errorCodes returns the codes of refusals that are written in the source, and
// where. Codes that are put together there are left out.
func errorCodes(t *testing.T) map[string]string {
	t.Helper()
	codes := map[string]string{}
	for _, s := range sources(t) {
		if s.test || s.internal() == "" || s.internal() == "mitraltest" {
			continue
		}
		for _, call := range s.calls(module+"/internal/identity", "Refuse") {
			ast.Inspect(s.file, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok && c.Fun == call && len(c.Args) == 3 {
					keepCode(codes, c.Args[1], s.at(c))
				}
				return true
			})
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit: // edge's refusals of the protocol itself
				if name, ok := n.Type.(*ast.Ident); ok && name.Name == "wire" && len(n.Elts) == 3 {
					keepCode(codes, n.Elts[1], s.at(n))
				}
			case *ast.CallExpr:
				switch name := nameOf(n.Fun); {
				case name == "newProblem" && len(n.Args) == 4:
					keepCode(codes, n.Args[2], s.at(n))
				case name == "WriteStatus" && len(n.Args) == 5:
					keepCode(codes, n.Args[3], s.at(n))
				}
			}
			return true
		})
	}
	return codes
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func keepCode(codes map[string]string, e ast.Expr, at string) {
	if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
		if code, err := strconv.Unquote(lit.Value); err == nil {
			codes[code] = at
		}
	}
}

// The example proxies and the developers' page know every header of the forward
// check: one that a proxy does not set can be sent by a client.
func TestForwardHeadersAreSet(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`"(X-Mitral-[A-Za-z-]+)"`)
	found := shape.FindAllStringSubmatch(read(t, "internal/edge/forward.go"), -1)
	if len(found) < 9 {
		t.Fatalf("only %d headers were found", len(found))
	}
	for _, m := range found {
		variable := "mitral" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(m[1], "X-Mitral"), "-", "_"))
		if !strings.Contains(read(t, "examples/nginx/nginx.conf"), "auth_request_set $"+variable+" $upstream_http_x_"+variable+";") {
			t.Errorf("examples/nginx/nginx.conf does not take %s", m[1])
		}
		if identity := m[1] != "X-Mitral-Reason" && m[1] != "X-Mitral-Redirect"; identity &&
			!strings.Contains(read(t, "examples/nginx/nginx.conf"), "proxy_set_header "+m[1]+" $"+variable+";") {
			t.Errorf("examples/nginx/nginx.conf does not set %s", m[1])
		}
		if !strings.Contains(read(t, "docs/integrate.md"), "`"+m[1]+"`") {
			t.Errorf("docs/integrate.md does not explain %s", m[1])
		}
	}
}

// Every command that the documents name is one, with flags that it has.
func TestCommandsExist(t *testing.T) {
	t.Parallel()
	g := grammarOf(t)
	shape := regexp.MustCompile("(?m)(?:^[ \t>]*|`|[( ])(?:\\./|/usr/local/bin/|sudo \\S+ \\S+ env \\S+ |go run \\./cmd/)?mitral ((?:--)?[a-z][^`\n]*)")
	found := 0
	for name, text := range documents(t) {
		for _, m := range shape.FindAllStringSubmatch(commandsOnly(text), -1) {
			found++
			if problem := g.problem(strings.Fields(m[1])); problem != "" {
				t.Errorf("%s: mitral %s: %s", name, m[1], problem)
			}
		}
	}
	if found < 25 {
		t.Errorf("only %d commands were found", found)
	}
}

// commandsOnly keeps what stands in code: spans and blocks.
func commandsOnly(text string) string {
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced, strings.HasPrefix(line, "    "), strings.HasPrefix(line, "\t"):
			b.WriteString(line)
		default:
			for _, span := range regexp.MustCompile("`[^`\n]+`").FindAllString(line, -1) {
				b.WriteString(span + "\n")
			}
		}
	}
	return b.String()
}

// grammar is a command of cmd/mitral, or the whole line above all commands.
type grammar struct {
	commands map[string]grammar
	flags    []string
	words    []string // that its argument must be one of; nil for any
	argument bool
}

// problem says what is wrong with the words after "mitral".
func (g grammar) problem(words []string) string {
	flags := slices.Clone(g.flags)
	for _, word := range words {
		word = strings.Trim(word, ",.;:)\"'")
		if flag, ok := strings.CutPrefix(word, "--"); ok {
			if name, _, _ := strings.Cut(flag, "="); name != "help" && !slices.Contains(flags, name) {
				return "it has no --" + name
			}
			continue
		}
		below, ok := g.commands[word]
		switch {
		case ok:
			g, flags = below, append(flags, below.flags...)
		case len(g.commands) > 0 && regexp.MustCompile(`^[a-z-]+$`).MatchString(word):
			return word + " is no command"
		case g.words != nil && regexp.MustCompile(`^[a-z-]+$`).MatchString(word) && !slices.Contains(g.words, word):
			return word + " is none of " + strings.Join(g.words, ", ")
		}
	}
	return ""
}

// grammarOf reads cmd/mitral's types as kong does.
func grammarOf(t *testing.T) grammar {
	t.Helper()
	types := map[string]*ast.StructType{}
	for _, s := range sources(t) {
		if s.dir() == "cmd/mitral" && !s.test {
			ast.Inspect(s.file, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok {
					if typ, ok := spec.Type.(*ast.StructType); ok {
						types[spec.Name.Name] = typ
					}
				}
				return true
			})
		}
	}
	if types["cli"] == nil {
		t.Fatal("cmd/mitral has no type cli")
	}
	return grammarIn(types, types["cli"])
}

func grammarIn(types map[string]*ast.StructType, typ *ast.StructType) grammar {
	g := grammar{commands: map[string]grammar{}}
	for _, f := range typ.Fields.List {
		name, _ := f.Type.(*ast.Ident)
		if len(f.Names) == 0 { // embedded: its flags
			if name != nil && types[name.Name] != nil {
				g.flags = append(g.flags, grammarIn(types, types[name.Name]).flags...)
			}
			continue
		}
		tag := reflect.StructTag("")
		if f.Tag != nil {
			text, _ := strconv.Unquote(f.Tag.Value)
			tag = reflect.StructTag(text)
		}
		word := tag.Get("name")
		if word == "" {
			word = kebab(f.Names[0].Name)
		}
		_, command := tag.Lookup("cmd")
		_, argument := tag.Lookup("arg")
		switch {
		case command && name != nil && types[name.Name] != nil:
			g.commands[word] = grammarIn(types, types[name.Name])
		case argument:
			g.argument = true
			if enum := tag.Get("enum"); enum != "" {
				g.words = strings.Split(enum, ",")
			}
		default:
			g.flags = append(g.flags, word)
		}
	}
	return g
}

// kebab writes a field's name as kong does: AcceptRollback is accept-rollback.
func kebab(name string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(name, "$1-$2"))
}
