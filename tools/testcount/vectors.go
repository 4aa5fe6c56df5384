package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
)

// vectorTests finds the tests of the module that read the published vectors:
// the test functions in whose code, or in that of a function of their folder
// they call, the variable's name stands (or a constant that holds it), or which
// call a function Vectors of the test kit.
func vectorTests(root string) (map[testName]bool, error) {
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	module := modfile.ModulePath(gomod)
	found := map[testName]bool{}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if path != root {
			if strings.HasPrefix(entry.Name(), ".") || entry.Name() == "node_modules" || entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir // another module
			}
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		pkg := module
		if rel != "." {
			pkg += "/" + filepath.ToSlash(rel)
		}
		names, err := vectorTestsOf(path)
		for _, name := range names {
			found[testName{pkg, name}] = true
		}
		return err
	})
	return found, err
}

func vectorTestsOf(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	reads := map[string]bool{}     // functions and constants that hold the name
	calls := map[string][]string{} // identifiers by function
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range parsed.Decls {
			for name, body := range named(decl) {
				ast.Inspect(body, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.BasicLit:
						if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && text == vectorsEnv {
							reads[name] = true
						}
					case *ast.SelectorExpr:
						reads[name] = reads[name] || n.Sel.Name == "Vectors"
					case *ast.Ident:
						calls[name] = append(calls[name], n.Name)
					}
					return true
				})
			}
		}
	}
	for grew := true; grew; {
		grew = false
		for name, called := range calls {
			for _, c := range called {
				if reads[c] && !reads[name] {
					reads[name], grew = true, true
				}
			}
		}
	}
	var names []string
	for name, does := range reads {
		if does && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")) {
			names = append(names, name)
		}
	}
	return names, nil
}

// named gives what a declaration names, and the code behind each name. A method
// goes by its own name.
func named(decl ast.Decl) map[string]ast.Node {
	names := map[string]ast.Node{}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Body != nil {
			names[d.Name.Name] = d.Body
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if values, ok := spec.(*ast.ValueSpec); ok {
				for _, name := range values.Names {
					names[name.Name] = values
				}
			}
		}
	}
	return names
}
