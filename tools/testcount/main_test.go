package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a small module with one test of published vectors, Three, and
// one that reads them through a helper and a constant, Four.
func module(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, root, "go.mod", "module example.test/m\n")
	write(t, root, "a/a_test.go", `package a
import ("os"; "testing")
const env = "MITRAL_VECTORS"
func folder() string { return os.Getenv(env) }
func TestOne(t *testing.T) {}
func TestThree(t *testing.T) { _ = os.Getenv("MITRAL_VECTORS") }
func TestFour(t *testing.T) { _ = folder() }
`)
	return root
}

func write(t *testing.T, root, name, text string) string {
	t.Helper()
	file := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// result is what go prints of one test.
func result(test, outcome string) string {
	return `{"Action":"run","Package":"example.test/m/a","Test":"` + test + `"}
{"Action":"output","Package":"example.test/m/a","Test":"` + test + `","Output":"    a_test.go:1: said by ` + test + `\n"}
{"Action":"` + outcome + `","Package":"example.test/m/a","Test":"` + test + `","Elapsed":0.1}
`
}

func TestCounts(t *testing.T) {
	const ended = `{"Action":"pass","Package":"example.test/m/a","Elapsed":11}` + "\n"
	for _, tt := range []struct {
		name    string
		output  string
		vectors bool
		ok      bool
		says    []string
	}{
		{"all passed", result("TestOne", "pass") + result("TestThree", "pass") + result("TestFour", "pass") + ended, true, true,
			[]string{"11.0s example.test/m/a", "2 ran, 0 did not run", "\n3 passed, 0 failed, 0 skipped\n"}},
		{"vectors skipped, and none there", result("TestOne", "pass") + result("TestThree", "skip") + result("TestFour", "skip") + ended, false, true,
			[]string{"0 ran, 2 did not run", "1 passed, 0 failed, 2 skipped"}},
		{"vectors skipped, though there", result("TestOne", "pass") + result("TestThree", "skip") + result("TestFour", "pass") + ended, true, false,
			[]string{"1 ran, 1 did not run", "did not run: example.test/m/a TestThree", "TestThree was skipped"}},
		{"vectors skipped within", result("TestThree", "pass") + result("TestThree/one", "skip") + result("TestFour", "pass") + ended, true, false,
			[]string{"1 ran, 1 did not run"}},
		{"vector test missing, though there", result("TestOne", "pass") + result("TestThree", "pass") + ended, true, false,
			[]string{"did not run: example.test/m/a TestFour"}},
		{"another skip", result("TestOne", "skip") + result("TestThree", "pass") + result("TestFour", "pass") + ended, true, false,
			[]string{"--- example.test/m/a TestOne was skipped"}},
		{"a failure", result("TestOne", "fail") + result("TestThree", "pass") + result("TestFour", "pass"), true, false,
			[]string{"--- example.test/m/a TestOne failed", "said by TestOne", "2 passed, 1 failed, 0 skipped"}},
		{"a subtest", result("TestOne/sub", "pass") + result("TestOne", "pass") + result("TestThree", "pass") + result("TestFour", "pass"), true, true,
			[]string{"3 passed, 0 failed"}},
		{"worst of two runs", result("TestOne", "pass") + result("TestThree", "pass") + result("TestFour", "pass") + result("TestOne", "fail") + result("TestOne", "pass"), true, false,
			[]string{"TestOne failed", "2 passed, 1 failed"}},
		{"a build failure", `{"ImportPath":"example.test/m/a","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"example.test/m/a","Action":"build-fail"}
{"Action":"fail","Package":"example.test/m/a","Elapsed":0,"FailedBuild":"example.test/m/a"}
`, false, false, []string{"the package failed", "undefined: x", "0 passed, 1 failed"}},
		{"a crash", `{"Action":"run","Package":"example.test/m/a","Test":"TestOne"}` + "\n", false, false, []string{"TestOne never ended", "0 passed, 1 failed"}},
		{"nothing", "", false, false, []string{"no test ran at all", "0 passed, 1 failed"}},
		{"a journey", strings.Replace(result("TestOne", "pass"), "said by TestOne", "journey unlock: 4 keystrokes, 0 clicks, 1 screens, 80 ms", 1), false, true,
			[]string{"\njourney unlock: 4 keystrokes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := module(t)
			var out bytes.Buffer
			ok, err := run(&out, root, 10e9, 0, tt.vectors, []string{write(t, root, "out.json", tt.output)})
			if err != nil || ok != tt.ok {
				t.Errorf("ok %v, %v; want %v", ok, err, tt.ok)
			}
			for _, part := range tt.says {
				if !strings.Contains("\n"+out.String(), part) {
					t.Errorf("doesn't say %q:\n%s", part, &out)
				}
			}
		})
	}
}

func TestABrokenPartIsAFailure(t *testing.T) {
	root := module(t)
	file := write(t, root, "out.json", result("TestOne", "pass"))
	for broken, want := range []string{"\n1 passed, 0 failed, 0 skipped\n", "\n1 passed, 1 failed, 0 skipped\n", "\n1 passed, 2 failed, 0 skipped\n"} {
		var out bytes.Buffer
		ok, err := run(&out, root, 10e9, broken, false, []string{file})
		if err != nil || ok != (broken == 0) || !strings.HasSuffix(out.String(), want) {
			t.Errorf("%d broken parts: ok %v, %v:\n%s", broken, ok, err, &out)
		}
	}
}

func TestNoFileIsAnError(t *testing.T) {
	if _, err := run(&bytes.Buffer{}, t.TempDir(), 0, 0, false, nil); err == nil {
		t.Error("no file was named, and nothing is wrong")
	}
}
