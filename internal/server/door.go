package server

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// frontDoor answers before the server is built: alive, not ready.
type frontDoor struct {
	secure bool // https
	inner  atomic.Pointer[http.Handler]
}

func (d *frontDoor) open(h http.Handler) { d.inner.Store(&h) }

func (d *frontDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := d.inner.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if d.secure {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	}
	if r.URL.Path == "/healthz" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	w.Header().Set("Retry-After", "2")
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"type":"about:blank","title":"Service Unavailable","status":503,"code":"starting","detail":"Mitral is starting. Try again in a moment; in an emergency use the paper procedure."}` + "\n"))
}

// setupToken is the one-time secret in the printed setup address.
type setupToken struct {
	clock *store.Clock
	mu    sync.Mutex
	token identity.Secret
	until time.Time
}

const setupTokenLife = 30 * time.Minute

func newSetupToken(clock *store.Clock) *setupToken { return &setupToken{clock: clock} }

func (s *setupToken) make() identity.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token, s.until = identity.NewToken(), s.clock.Now().Add(setupTokenLife)
	return s.token
}

// good reports whether a token opens setup. It is spent by setup being done.
func (s *setupToken) good(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token != "" && s.clock.Now().Before(s.until) && s.token.Equal(identity.Secret(token))
}

// certFiles serves a certificate from files and follows them when they change.
type certFiles struct {
	files TLSFiles
	mu    sync.Mutex
	seen  [2]time.Time
	asked time.Time
	cert  *tls.Certificate
}

// certRecheck is how often the files are looked at.
const certRecheck = 10 * time.Second

func newCertFiles(f TLSFiles) (*certFiles, error) {
	c := &certFiles{files: f}
	if _, err := c.get(nil); err != nil {
		return nil, advise("check MITRAL_TLS_CERT and MITRAL_TLS_KEY", "the certificate cannot be used (%v)", err)
	}
	return c, nil
}

func (c *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil && time.Since(c.asked) < certRecheck {
		return c.cert, nil
	}
	c.asked = time.Now()
	var seen [2]time.Time
	for i, name := range []string{c.files.Cert, c.files.Key} {
		info, err := os.Stat(name)
		if err != nil {
			return c.keep(err)
		}
		seen[i] = info.ModTime()
	}
	if c.cert != nil && seen == c.seen {
		return c.cert, nil
	}
	cert, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return c.keep(err)
	}
	c.cert, c.seen = &cert, seen
	return c.cert, nil
}

// keep goes on with the certificate there is: half-written files must not take
// the clinic down.
func (c *certFiles) keep(err error) (*tls.Certificate, error) {
	if c.cert != nil {
		return c.cert, nil
	}
	return nil, fmt.Errorf("couldn't read the certificate: %w", err)
}

// lowDisk reports whether the disk under the data has less than a tenth, or less
// than 1 GB, free.
func lowDisk(c Config) (bool, error) {
	if c.Database().SQLite == "" {
		return false, nil
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(c.Data, &fs); err != nil {
		return false, fmt.Errorf("couldn't look at the disk: %w", err)
	}
	free, all := fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize)
	return free < 1<<30 || free < all/10, nil
}
