package mitraltest

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
)

// The logins of every test database. The owner migrates; the app login is what
// a server runs as: it owns no table and has only what migrations grant it.
const (
	PostgresOwner = "mitral_owner"
	PostgresApp   = "mitral_app"
)

// postgresEnv holds the URL of a superuser, where one PostgreSQL serves all the
// test processes of a run.
const postgresEnv = "MITRAL_TEST_POSTGRES"

const noPostgres = "couldn't find initdb: install PostgreSQL 15 or newer (Debian: apt-get install postgresql), or put its bin folder on PATH"

// Postgres makes a fresh, empty database and returns its URL for the owner, who
// may create tables, and for the app login, who owns none. The database is
// dropped when the test ends. The server behind it is the one named by
// MITRAL_TEST_POSTGRES, else one that this process starts at the first call and
// that ends with it.
func Postgres(tb testing.TB) (ownerURL, appURL string) {
	tb.Helper()
	server, err := sharedPostgres()
	if err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	return server.Database(tb)
}

var sharedPostgres = sync.OnceValues(func() (*PostgresServer, error) {
	superuser := os.Getenv(postgresEnv)
	if superuser == "" {
		return StartPostgres()
	}
	u, err := url.Parse(superuser)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL: give it as postgres://superuser:password@host:port/postgres", postgresEnv)
	}
	s := &PostgresServer{super: u}
	return s, s.open()
})

// PostgresServer is a running PostgreSQL.
type PostgresServer struct {
	super *url.URL
	admin *sql.DB

	// Of a server that was started here; dir is empty otherwise.
	dir string
	bin string
	as  *syscall.Credential
}

// StartPostgres starts a server of its own on a free port of the loopback
// address, for a test that stops it or wants other settings ("fsync=on"). It
// writes nothing through to the disk unless told to, and allows 200
// connections. Run by root, it drops to an unprivileged user. It ends, and its
// folder goes, with Close or with this process.
func StartPostgres(settings ...string) (*PostgresServer, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mitral-postgres-")
	if err != nil {
		return nil, err
	}
	s := &PostgresServer{dir: dir, bin: bin, as: as}
	if err := s.create(settings); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// URL returns the superuser's URL.
func (s *PostgresServer) URL() string { return s.super.String() }

// Database makes a fresh, empty database on this server, as Postgres does.
func (s *PostgresServer) Database(tb testing.TB) (ownerURL, appURL string) {
	tb.Helper()
	name := "t_" + strings.ToLower(rand.Text()[:16])
	if _, err := s.admin.ExecContext(context.Background(), "create database "+name+" owner "+PostgresOwner); err != nil {
		tb.Fatalf("couldn't create a test database: %v", err)
	}
	tb.Cleanup(func() {
		_, err := s.admin.ExecContext(context.Background(), "drop database if exists "+name+" with (force)")
		if err != nil && s.dir == "" { // a server of our own may have been stopped by the test, and goes whole
			tb.Errorf("couldn't drop a test database: %v", err)
		}
	})
	return s.login(PostgresOwner, name), s.login(PostgresApp, name)
}

// Stop ends the server as a crash would: every connection is cut, nothing is
// written. Start brings it back on the same port, after recovery.
func (s *PostgresServer) Stop() error { return s.ctl("stop", "-m", "immediate") }

// Start starts a stopped server again.
func (s *PostgresServer) Start() error { return s.ctl("start", "-l", filepath.Join(s.dir, "log")) }

// Close ends the server for good and removes its folder.
func (s *PostgresServer) Close() error {
	if s.admin != nil {
		_ = s.admin.Close()
	}
	if _, err := os.Stat(filepath.Join(s.data(), "postmaster.pid")); err == nil {
		if err := s.Stop(); err != nil {
			return err
		}
	}
	return os.RemoveAll(s.dir)
}

func (s *PostgresServer) data() string { return filepath.Join(s.dir, "data") }

// create makes the cluster and starts it.
func (s *PostgresServer) create(settings []string) error {
	password := rand.Text()
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
		return err
	}
	if s.as != nil {
		for _, path := range []string{s.dir, secret} {
			if err := os.Chown(path, int(s.as.Uid), int(s.as.Gid)); err != nil {
				return err
			}
		}
	}
	// A linguistic collation, as a clinic's server has, so that a query which
	// leans on SQLite's byte order is seen to differ here.
	if err := s.run("initdb", "--pgdata", s.data(), "--username=postgres", "--pwfile", secret,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US",
		"--no-sync", "--no-instructions"); err != nil {
		return err
	}
	stop := strings.Join([]string{`"$1" -D "$2" -m immediate -w stop`, `rm -rf "$3"`}, "; ")
	if err := afterExit(s.as, stop, filepath.Join(s.bin, "pg_ctl"), s.data(), s.dir); err != nil {
		return err
	}
	var err error
	for range 3 { // the port may be taken between the look and the start
		var port int
		if port, err = freePort(); err != nil {
			return err
		}
		s.super = &url.URL{
			Scheme: "postgres", User: url.UserPassword("postgres", password),
			Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Path: "/postgres", RawQuery: "sslmode=disable",
		}
		if err = s.configure(port, settings); err != nil {
			return err
		}
		if err = s.Start(); err == nil {
			return nil
		}
	}
	return err
}

// configure writes the settings that differ from PostgreSQL's own.
func (s *PostgresServer) configure(port int, settings []string) error {
	lines := append([]string{
		"port=" + strconv.Itoa(port), "listen_addresses='127.0.0.1'", "unix_socket_directories=''",
		"max_connections=200", "fsync=off", "full_page_writes=off", "jit=off",
		"log_timezone='UTC'", "timezone='UTC'",
	}, settings...) // the last of two lines for one setting holds
	return os.WriteFile(filepath.Join(s.data(), "postgresql.auto.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

// open connects as the superuser and makes the two logins where they are
// missing. Their password is the superuser's.
func (s *PostgresServer) open() error {
	admin, err := sql.Open("pgx", s.super.String())
	if err != nil {
		return err
	}
	admin.SetMaxOpenConns(4)
	s.admin = admin
	password, _ := s.super.User.Password()
	for _, role := range []string{PostgresOwner, PostgresApp} {
		_, err := admin.ExecContext(context.Background(), fmt.Sprintf("create role %s login password '%s'", role, strings.ReplaceAll(password, "'", "''")))
		var refusal *pgconn.PgError
		if errors.As(err, &refusal) && (refusal.Code == "42710" || refusal.Code == "23505") { // there already, or made beside us
			continue
		}
		if err != nil {
			return fmt.Errorf("couldn't make the login %s: %w", role, err)
		}
	}
	return nil
}

func (s *PostgresServer) login(role, database string) string {
	u := *s.super
	password, _ := s.super.User.Password()
	u.User, u.Path = url.UserPassword(role, password), "/"+database
	return u.String()
}

func (s *PostgresServer) ctl(act string, args ...string) error {
	if s.dir == "" {
		return fmt.Errorf("this PostgreSQL was not started here: use StartPostgres to %s one", act)
	}
	return s.run("pg_ctl", append([]string{act, "-D", s.data(), "-w", "-t", "60"}, args...)...)
}

// run runs one of PostgreSQL's programs. Its output goes to a file and not to a
// pipe, which the server it starts would keep open.
func (s *PostgresServer) run(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := os.Create(filepath.Join(s.dir, program+".out"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C"}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		logged, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("%s: %w\n%s%s", program, err, bytes.TrimSpace(said), lastLines(logged))
	}
	return nil
}

// postgresBin finds the folder of initdb and pg_ctl: on PATH, or the newest of
// Debian's packages, which are not on it.
func postgresBin() (string, error) {
	if initdb, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(initdb), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	best, newest := "", 14 // 15 is the oldest that will do
	for _, initdb := range found {
		bin := filepath.Dir(initdb)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > newest {
			best, newest = bin, version
		}
	}
	if best == "" {
		return "", errors.New(noPostgres)
	}
	return best, nil
}

// unprivileged returns the user that PostgreSQL runs as when root runs the
// tests (it refuses root), nil otherwise.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			continue
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			continue
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("couldn't find a user to run PostgreSQL as: it refuses root, and there is neither a user postgres nor nobody")
}

// unprivilegedName is that user's name.
func unprivilegedName(as *syscall.Credential) string {
	u, err := user.LookupId(strconv.FormatUint(uint64(as.Uid), 10))
	if err != nil {
		return "nobody"
	}
	return u.Username
}

func freePort() (int, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func lastLines(log []byte) []byte {
	log = bytes.TrimSpace(log)
	if len(log) > 2000 {
		log = log[len(log)-2000:]
	}
	if len(log) > 0 {
		log = append([]byte("\n"), log...)
	}
	return log
}
