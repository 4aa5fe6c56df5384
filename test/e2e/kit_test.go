package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// patience is how long anything may take that has no budget of its own.
const patience = 20 * time.Second

// follows is within how long every node and page follows a lock or an end
// (contract §2.2).
const follows = 2 * time.Second

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mitral-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaryDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var binaryDir string

// binary is the product as it is released, but for the two tags that let a test
// move its clock and kill it between commits.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "mitral")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-tags", "testclock,testfault", "-o", path, "../../cmd/mitral")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("couldn't build the binary: %w\n%s", err, out)
	}
	return path, nil
})

// database is where an installation keeps its data. URLs are empty for the
// embedded one.
type database struct {
	name       string
	app, owner string
}

func (d database) embedded() bool { return d.app == "" }

// forEachDatabase runs a test on the embedded database and on PostgreSQL, where
// the running login owns no table.
func forEachDatabase(t *testing.T, f func(t *testing.T, db database)) {
	t.Helper()
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		f(t, database{name: "sqlite"})
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		f(t, postgres(t))
	})
}

func postgres(t *testing.T) database {
	t.Helper()
	owner, app := mitraltest.Postgres(t)
	return database{"postgres", app, owner}
}

// place is a machine's part of an installation: folders, settings and a clock.
// Commands and servers that run there share them.
type place struct {
	t    *testing.T
	db   database
	home string // HOME: the key-encryption key lies there
	data string
	env  map[string]string

	clock   *clock
	secrets *secrets
}

// newPlace makes an empty one.
func newPlace(t *testing.T, db database) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, db: db, home: filepath.Join(dir, "home"), data: filepath.Join(dir, "data"), secrets: &secrets{},
		clock: &clock{t: t, file: filepath.Join(dir, "clock")}, env: map[string]string{"MITRAL_TEST_CHEAP_HASHES": "1"}}
	if err := os.Mkdir(p.home, 0o700); err != nil {
		t.Fatal(err)
	}
	p.clock.write()
	if !db.embedded() {
		p.env["MITRAL_DATABASE"], p.env["MITRAL_MIGRATE_DATABASE"] = db.app, db.owner
		p.secrets.keep(password(db.app))
	}
	return p
}

// elsewhere is another machine that was given the key-encryption key and the
// same settings. Where the database is embedded it has its own, an empty one.
func (p *place) elsewhere() *place {
	p.t.Helper()
	q := newPlace(p.t, p.db)
	q.clock, q.secrets = p.clock, p.secrets
	for name, value := range p.env {
		q.env[name] = value
	}
	delete(q.env, "MITRAL_LISTEN")
	q.env["MITRAL_KEK_FILE"] = p.kek()
	return q
}

// kek is the file of the key-encryption key.
func (p *place) kek() string {
	p.t.Helper()
	found, err := filepath.Glob(filepath.Join(p.home, ".config", "mitral", "*.kek"))
	if err != nil || len(found) != 1 {
		p.t.Fatalf("key-encryption keys: %v, %v", found, err)
	}
	return found[0]
}

func (p *place) environ(more ...string) []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.home, "MITRAL_TEST_CLOCK=" + p.clock.file}
	if p.data != "" {
		env = append(env, "MITRAL_DATA="+p.data)
	}
	for name, value := range p.env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return append(env, more...)
}

// outcome is what a command came to.
type outcome struct {
	t              *testing.T
	args           []string
	code           int
	stdout, stderr string
}

// run runs a command to its end.
func (p *place) run(args ...string) outcome { p.t.Helper(); return p.runWith("", nil, args...) }

// runWith runs a command with this on standard input and more environment.
func (p *place) runWith(stdin string, env []string, args ...string) outcome {
	p.t.Helper()
	path, err := binary()
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = p.home, p.environ(env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		p.t.Fatalf("mitral %s: %v", strings.Join(args, " "), err)
	}
	return outcome{p.t, args, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// is fails the test unless the command ended with this exit code.
func (o outcome) is(code int) outcome {
	o.t.Helper()
	if o.code != code {
		o.t.Fatalf("mitral %s: exit code %d, want %d\nstdout: %s\nstderr: %s", strings.Join(o.args, " "), o.code, code, o.stdout, o.stderr)
	}
	return o
}

// says fails the test unless standard error is one line in the agreed form that
// holds every part.
func (o outcome) says(parts ...string) outcome {
	o.t.Helper()
	line := strings.TrimSuffix(o.stderr, "\n")
	if !strings.HasPrefix(line, "mitral: ") || strings.Count(line, ": ") < 2 || strings.Contains(line, "\n") {
		o.t.Errorf("mitral %s: stderr is not one line of what is wrong and what to do: %q", strings.Join(o.args, " "), o.stderr)
	}
	for _, part := range parts {
		if !strings.Contains(line, part) {
			o.t.Errorf("mitral %s: stderr doesn't say %q: %q", strings.Join(o.args, " "), part, o.stderr)
		}
	}
	return o
}

// object reads standard output as the one JSON object that --json promises.
func object[T any](o outcome) T {
	o.t.Helper()
	var v T
	d := json.NewDecoder(strings.NewReader(o.stdout))
	if err := d.Decode(&v); err != nil {
		o.t.Fatalf("mitral %s: stdout is no JSON object: %v\n%s\nstderr: %s", strings.Join(o.args, " "), err, o.stdout, o.stderr)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		o.t.Fatalf("mitral %s: stdout holds more than one JSON object: %s", strings.Join(o.args, " "), o.stdout)
	}
	return v
}

// verify fails the test unless the record is whole. It may be a second behind
// what was done, which looks longer where the clock was moved meanwhile.
func (p *place) verify() {
	p.t.Helper()
	p.until(follows, "the record is whole", func() (bool, string) {
		o := p.run("audit", "verify", "--json")
		r := object[struct {
			OK   bool
			Size int
		}](o)
		return o.code == 0 && r.OK && r.Size > 0, o.stdout
	})
}

// node is one running server.
type node struct {
	*place
	address string // what it listens on
	url     string // its public URL
	cmd     *exec.Cmd
	stdout  *lines
	log     *lines
	ended   chan struct{}
	allowed []string // parts of errors that a test causes on purpose
}

// serve starts a server and waits until it is ready. Before its port is free
// again a restarted one may listen on the same.
func (p *place) serve(args ...string) *node {
	p.t.Helper()
	n := p.launch(args...)
	n.waitReady()
	return n
}

// launch starts a server without waiting.
func (p *place) launch(args ...string) *node {
	p.t.Helper()
	address := p.env["MITRAL_LISTEN"]
	if address == "" {
		address = freeAddress(p.t)
	}
	n := &node{place: p, address: address, url: p.env["MITRAL_PUBLIC_URL"], stdout: newLines(), log: newLines()}
	if n.url == "" {
		_, port, _ := net.SplitHostPort(address)
		n.url = "http://localhost:" + port
	}
	n.start(args...)
	p.t.Cleanup(n.stop)
	return n
}

func (n *node) start(args ...string) {
	n.t.Helper()
	path, err := binary()
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.CommandContext(context.Background(), path, append([]string{"serve"}, args...)...)
	n.cmd.Dir, n.cmd.Env = n.home, n.environ("MITRAL_LISTEN="+n.address)
	n.cmd.Stdout, n.cmd.Stderr = n.stdout, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // never outlives the tests
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	ended, cmd := make(chan struct{}), n.cmd
	n.ended = ended
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
}

// waitReady asks /readyz until it says yes.
func (n *node) waitReady() {
	n.t.Helper()
	n.until(patience, "the server is ready", func() (bool, string) {
		select {
		case <-n.ended:
			n.t.Fatalf("the server ended: %v\n%s", n.cmd.ProcessState, n.log)
		default:
		}
		status := n.probe("/readyz")
		return status == http.StatusOK, fmt.Sprintf("/readyz answers %d\n%s", status, n.log)
	})
}

// probe asks the node itself, under the name localhost, and returns the status;
// 0 when nobody answers.
func (n *node) probe(path string) int {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+n.address+path, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	res, err := probes.Do(r)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

var probes = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// stop ends a server as an operator does, and holds its log against what a log
// may hold.
func (n *node) stop() {
	n.t.Helper()
	select {
	case <-n.ended: // stopped or killed by the test, or by itself, which was told then
	default:
		if n.signal(syscall.SIGTERM); n.cmd.ProcessState.ExitCode() != 0 {
			n.t.Errorf("the server ended with %v\n%s", n.cmd.ProcessState, n.log)
		}
	}
	n.checkLog()
}

// kill ends a server as a power cut does.
func (n *node) kill() {
	n.t.Helper()
	n.signal(syscall.SIGKILL)
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	select {
	case <-n.ended:
		return
	default:
	}
	_ = n.cmd.Process.Signal(s)
	select {
	case <-n.ended:
	case <-time.After(patience):
		_ = n.cmd.Process.Kill()
		<-n.ended
		n.t.Errorf("the server did not end on %v\n%s", s, n.log)
	}
}

// restart ends a server, with a power cut or in order, and starts it anew at the
// same address.
func (n *node) restart(powerCut bool, args ...string) {
	n.t.Helper()
	if powerCut {
		n.kill()
	} else {
		n.stop()
	}
	n.start(args...)
	n.waitReady()
}

// expectError allows error lines in the log that hold one of these parts.
func (n *node) expectError(parts ...string) { n.allowed = append(n.allowed, parts...) }

// checkLog fails the test where a secret was logged, where a line is no JSON, or
// where an error is told that no test meant to cause.
func (n *node) checkLog() {
	n.t.Helper()
	text := n.log.String()
	for _, secret := range n.secrets.all() {
		if strings.Contains(text, secret) {
			n.t.Errorf("the log holds a secret, %q", secret)
		}
	}
	for line := range strings.Lines(text) {
		var entry struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			n.t.Errorf("a line of the log is no JSON: %s", line)
			continue
		}
		expected := slices.ContainsFunc(n.allowed, func(part string) bool { return strings.Contains(line, part) })
		if entry.Level == "ERROR" && !expected {
			n.t.Errorf("the server logged an error: %s", line)
		}
	}
}

// until polls until done, or fails the test at the deadline with what was last
// seen.
func (p *place) until(within time.Duration, what string, done func() (bool, string)) {
	p.t.Helper()
	until(p.t, within, what, done)
}

func until(t *testing.T, within time.Duration, what string, done func() (bool, string)) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := done()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %s: %s; last: %s", within, what, seen)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// clock moves the time of every process of an installation.
type clock struct {
	t             *testing.T
	file          string
	cluster, wall time.Duration
}

// advance moves the installation's time forward.
func (c *clock) advance(by time.Duration) {
	c.t.Helper()
	c.cluster += by
	c.write()
}

// set moves what the machine's own clock says, as a person or a dead battery
// does.
func (c *clock) set(wall time.Duration) {
	c.t.Helper()
	c.wall = wall
	c.write()
}

func (c *clock) write() {
	c.t.Helper()
	text := fmt.Sprintf("wall %s\ncluster %s\n", c.wall, c.cluster)
	next := c.file + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, c.file); err != nil {
		c.t.Fatal(err)
	}
	<-time.After(2 * clockRead)
}

// clockRead is how often a process reads the file anew (store.Clock).
const clockRead = 20 * time.Millisecond

// secrets are what no log may hold.
type secrets struct {
	mu   sync.Mutex
	list []string
}

// keep adds secrets, each also as it is written without its groups.
func (s *secrets) keep(list ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, secret := range list {
		if len(secret) < 8 { // PINs and claim codes may be part of any number
			continue
		}
		s.list = append(s.list, secret)
		if bare := strings.ReplaceAll(secret, "-", ""); bare != secret {
			s.list = append(s.list, bare)
		}
	}
}

func (s *secrets) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func password(databaseURL string) string {
	_, after, _ := strings.Cut(databaseURL, "://")
	credentials, _, _ := strings.Cut(after, "@")
	_, password, _ := strings.Cut(credentials, ":")
	return password
}

// lines keeps what a process writes.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func newLines() *lines { return &lines{} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// find returns the first line that holds part, once there is one.
func (l *lines) find(t *testing.T, part string) string {
	t.Helper()
	var found string
	until(t, patience, "a line with "+part, func() (bool, string) {
		scanner := bufio.NewScanner(strings.NewReader(l.String()))
		for scanner.Scan() {
			if strings.Contains(scanner.Text(), part) {
				found = scanner.Text()
				return true, ""
			}
		}
		return false, l.String()
	})
	return found
}
