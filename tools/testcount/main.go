// Command testcount reads the output of `go test -json`, prints what failed, and
// ends with one line of counts.
//
//	testcount [-root DIR] [-slow DURATION] [-broken PART]… FILE…
//
// A test of published vectors is one whose code, or a function of its package
// that it calls, reads MITRAL_VECTORS. Such a test may be skipped where that
// variable is not set, and must have run where it is. Any other skip is a
// failure, and so is a package that printed no result. Of a test that several
// FILEs tell of, the worst result counts. A PART is something beside the tests
// that was found broken: the last line then can't say that nothing failed.
// Exit code 1 tells of a failure.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

const vectorsEnv = "MITRAL_VECTORS"

// event is a line of `go test -json` (cmd/test2json).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

type testName struct{ pkg, test string }

// report is what all files together tell.
type report struct {
	results  map[testName]string // pass, skip, fail
	output   map[testName][]string
	elapsed  map[string]float64 // by package
	started  map[testName]bool
	journeys []string
}

func main() {
	root := flag.String("root", ".", "folder of the module under test")
	slow := flag.Duration("slow", 10*time.Second, "name the packages that took longer")
	broken := 0
	flag.Func("broken", "name of a part that is broken", func(string) error { broken++; return nil })
	flag.Parse()
	ok, err := run(os.Stdout, *root, *slow, broken, os.Getenv(vectorsEnv) != "", flag.Args())
	if err != nil {
		fmt.Printf("testcount: %v\n0 passed, 1 failed, 0 skipped\n", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(w io.Writer, root string, slow time.Duration, broken int, haveVectors bool, files []string) (bool, error) {
	if len(files) == 0 {
		return false, errors.New("no file of `go test -json` output was named")
	}
	r := report{
		results: map[testName]string{}, output: map[testName][]string{},
		elapsed: map[string]float64{}, started: map[testName]bool{},
	}
	for _, file := range files {
		if err := r.read(file); err != nil {
			return false, err
		}
	}
	vectors, err := vectorTests(root)
	if err != nil {
		return false, err
	}
	return r.print(w, slow, broken, vectors, haveVectors), nil
}

func (r *report) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			// What go itself says beside the tests.
			key := testName{"go", ""}
			r.output[key] = append(r.output[key], lines.Text()+"\n")
			continue
		}
		r.add(e)
	}
	return lines.Err()
}

func (r *report) add(e event) {
	name := testName{cmp.Or(e.Package, e.ImportPath), e.Test}
	switch e.Action {
	case "run", "start":
		r.started[name] = true
		delete(r.output, name)
	case "output", "build-output":
		r.output[name] = append(r.output[name], e.Output)
		if _, journey, ok := strings.Cut(e.Output, ": journey "); ok {
			r.journeys = append(r.journeys, strings.TrimSpace(journey))
		}
	case "build-fail":
		r.results[name] = "fail"
	case "pass", "skip", "fail":
		delete(r.started, name)
		if worse(e.Action, r.results[name]) {
			r.results[name] = e.Action
		}
		if e.Test == "" {
			r.elapsed[e.Package] = max(r.elapsed[e.Package], e.Elapsed)
		}
	}
}

func worse(one, other string) bool {
	rank := []string{"", "skip", "pass", "fail"}
	return slices.Index(rank, one) > slices.Index(rank, other)
}

// print writes the report and tells whether all is well.
func (r *report) print(w io.Writer, slow time.Duration, broken int, vectors map[testName]bool, haveVectors bool) bool {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	bad := map[testName]string{}
	counts := map[string]int{}
	parents := r.parents()
	for name, result := range r.results {
		if name.test == "" {
			if result == "fail" && !r.anyFailed(name.pkg) {
				bad[name] = "the package failed"
			}
			continue
		}
		if parents[name] && result != "fail" {
			continue // its subtests are counted
		}
		counts[result]++
		switch {
		case result == "fail":
			bad[name] = "failed"
		case result == "skip" && (haveVectors || !vectors[testName{name.pkg, top(name.test)}]):
			bad[name] = "was skipped: only a test of published vectors may be, where " + vectorsEnv + " is not set"
		}
	}
	for name := range r.started {
		bad[name] = "never ended"
	}
	ran, missed := 0, []string(nil)
	for name := range vectors {
		if result := r.results[name]; (result == "pass" || result == "fail") && !r.skippedWithin(name) {
			ran++
		} else {
			missed = append(missed, name.pkg+" "+name.test)
		}
	}
	slices.Sort(missed)
	if len(r.results) == 0 && len(r.started) == 0 {
		bad[testName{"go", ""}] = "no test ran at all"
	}

	names := slices.SortedFunc(maps.Keys(bad), func(a, b testName) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test))
	})
	for _, name := range names {
		say("--- %s %s %s", name.pkg, name.test, bad[name])
		for _, line := range r.output[name] {
			_, _ = io.WriteString(w, "    "+line)
		}
	}
	if len(names) > 0 {
		for _, line := range r.output[testName{"go", ""}] {
			_, _ = io.WriteString(w, line)
		}
	}
	slices.Sort(r.journeys)
	for _, journey := range slices.Compact(r.journeys) {
		say("journey %s", journey)
	}
	for _, pkg := range slices.SortedFunc(maps.Keys(r.elapsed), func(a, b string) int { return cmp.Compare(r.elapsed[b], r.elapsed[a]) }) {
		if took := time.Duration(r.elapsed[pkg] * float64(time.Second)); took > slow {
			say("%6.1fs %s", took.Seconds(), pkg)
		}
	}
	if haveVectors {
		for _, name := range missed {
			say("A test of published vectors did not run: %s", name)
		}
	}
	say("Tests of published vectors: %d ran, %d did not run", ran, len(missed))
	failed := len(bad)
	if haveVectors {
		failed += len(missed)
	}
	failed = max(failed, broken)
	say("%d passed, %d failed, %d skipped", counts["pass"], failed, counts["skip"])
	return failed == 0
}

// parents names the tests that have subtests.
func (r *report) parents() map[testName]bool {
	parents := map[testName]bool{}
	for name := range r.results {
		if i := strings.LastIndex(name.test, "/"); i >= 0 {
			parents[testName{name.pkg, name.test[:i]}] = true
		}
	}
	return parents
}

func (r *report) anyFailed(pkg string) bool {
	for name, result := range r.results {
		if name.pkg == pkg && name.test != "" && result == "fail" {
			return true
		}
	}
	return false
}

func (r *report) skippedWithin(parent testName) bool {
	for name, result := range r.results {
		if result == "skip" && name.pkg == parent.pkg && strings.HasPrefix(name.test, parent.test+"/") {
			return true
		}
	}
	return false
}

func top(test string) string {
	name, _, _ := strings.Cut(test, "/")
	return name
}
