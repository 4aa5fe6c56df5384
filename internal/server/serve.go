package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

// ServeOptions is what serve is told besides the configuration.
type ServeOptions struct {
	Demo   bool
	Stdout io.Writer // the setup address, the demo's credentials
	Stderr io.Writer // the log, JSON lines
}

// Limits on connections. A request's header must be complete within ten seconds.
const (
	headerTimeout   = 10 * time.Second
	bodyTimeout     = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	maxHeader       = 32 << 10
	shutdownPatient = 10 * time.Second
)

// Serve runs the server until ctx is done. It returns once it listens no more
// and every act in progress has been answered.
func Serve(ctx context.Context, c Config, o ServeOptions) error {
	log := slog.New(slog.NewJSONHandler(o.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	if o.Demo {
		if err := checkDemo(c); err != nil {
			return err
		}
	}
	listeners, c, err := listen(c)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	door := &frontDoor{secure: c.Secure()}
	servers, err := startServers(c, log, listeners, door)
	if err != nil {
		return err
	}
	k, err := openPatiently(ctx, c, log)
	if err != nil {
		stopServers(log, servers)
		return err
	}
	defer func() {
		if err := k.close(); err != nil {
			log.Error("couldn't close the database", "error", err)
		}
	}()
	// Nobody is answered by a closed database: the doors close first.
	defer stopServers(log, servers)
	return k.serve(ctx, o, door)
}

// openPatiently waits for a database that is away at the start; the doors answer
// 503 meanwhile.
func openPatiently(ctx context.Context, c Config, log *slog.Logger) (*core, error) {
	for {
		k, err := open(ctx, c, log)
		if err == nil || !errors.Is(err, store.ErrUnavailable) || c.Database().SQLite != "" {
			return k, err
		}
		log.Warn("the database is away; trying again", "error", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// serve runs the loops and opens the door, until ctx is done.
func (k *core) serve(ctx context.Context, o ServeOptions, door *frontDoor) error {
	if err := k.recorder.CheckHighwater(ctx); errors.Is(err, record.ErrRolledBack) {
		k.db.Freeze(err)
		k.log.Error("the database is an older copy: nothing is written", "error", err, "next", "mitral restore --accept-rollback")
	} else if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	defer loops.Wait()
	defer stop()
	k.run(ctx, &loops, "the sequencer", k.recorder.Run)
	k.run(ctx, &loops, "the sessions", k.sessions.Run)
	k.run(ctx, &loops, "the keys", k.followKeys)
	k.run(ctx, &loops, "upkeep", k.upkeep)
	if k.db.Frozen() == nil {
		k.run(ctx, &loops, "the outbox", k.outbox.Run)
		k.run(ctx, &loops, "break-glass", k.breakglass.Run)
	}
	k.stopping = ctx.Done()
	if o.Demo {
		if err := k.seedDemo(ctx); err != nil {
			return err
		}
	}
	token := newSetupToken(k.db.Clock())
	handler, err := k.doors(o.Demo, token)
	if err != nil {
		return err
	}
	door.open(handler)
	if err := k.greet(ctx, o, token); err != nil {
		return err
	}
	k.log.Info("ready", "url", k.config.PublicURL)
	<-ctx.Done()
	return nil
}

func (k *core) run(ctx context.Context, loops *sync.WaitGroup, what string, f func(context.Context) error) {
	loops.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("a loop stopped", "loop", what, "error", err)
		}
	})
}

// greet prints where to set up a new server, who is in the demo, or where the
// server is.
func (k *core) greet(ctx context.Context, o ServeOptions, token *setupToken) error {
	if o.Demo {
		return k.introduceDemo(o.Stdout)
	}
	ready, err := k.directory.IsSetUp(ctx)
	if err != nil {
		return err
	}
	if ready {
		_, err = fmt.Fprintf(o.Stdout, "Mitral is at %s/signin\n", k.config.PublicURL)
		return err
	}
	_, err = fmt.Fprintf(o.Stdout, "Set up your clinic, within 30 minutes, at:\n%s/setup?token=%s\n", k.config.PublicURL, token.make().Reveal())
	return err
}

// upkeep throws away what is over and watches the disk.
func (k *core) upkeep(ctx context.Context) error {
	for {
		if low, err := lowDisk(k.config); err == nil {
			k.db.Fold().LowDisk(low)
		}
		if k.db.Frozen() == nil {
			err := k.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
				return errors.Join(tx.DeleteOldAttempts(), tx.DeleteOldStepUps(), tx.DeleteOldThrottles(), tx.DeleteOldIdempotency())
			})
			if err != nil && ctx.Err() == nil {
				k.log.Warn("upkeep failed", "error", err)
			}
		}
		if err := k.db.Clock().Sleep(ctx, time.Minute); err != nil {
			return err
		}
	}
}

// listen opens every address of the configuration. With port 0 all take the
// port that the first was given.
func listen(c Config) ([]net.Listener, Config, error) {
	var out []net.Listener
	port := 0
	for i, address := range c.Listen {
		host, p, err := net.SplitHostPort(address)
		if err != nil {
			return nil, c, advise("write it as host:port", "the address %s cannot be listened on", address)
		}
		if p == "0" && port != 0 {
			address = net.JoinHostPort(host, fmt.Sprint(port))
		}
		l, err := net.Listen("tcp", address) //nolint:noctx // lives as long as the process
		if err != nil {
			if i > 0 && host == "::1" {
				continue // a machine without IPv6
			}
			for _, l := range out {
				_ = l.Close()
			}
			return nil, c, advise("stop what uses it, or choose another with MITRAL_LISTEN", "couldn't listen on %s (%v)", address, err)
		}
		if t, ok := l.Addr().(*net.TCPAddr); ok && port == 0 {
			port = t.Port
		}
		out = append(out, l)
	}
	return out, c.OnPort(port), nil
}

func startServers(c Config, log *slog.Logger, listeners []net.Listener, h http.Handler) ([]*http.Server, error) {
	var config *tls.Config
	if c.TerminatesTLS() {
		files, err := newCertFiles(c.TLS)
		if err != nil {
			return nil, err
		}
		config = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get, NextProtos: []string{"h2", "http/1.1"}}
	}
	var out []*http.Server
	for _, l := range listeners {
		s := &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), TLSConfig: config}
		out = append(out, s)
		go func() {
			var err error
			if config != nil {
				err = s.ServeTLS(l, "", "")
			} else {
				err = s.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				log.Error("a listener stopped", "error", err)
			}
		}()
	}
	return out, nil
}

func stopServers(log *slog.Logger, servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownPatient)
	defer cancel()
	for _, s := range servers {
		if err := s.Shutdown(ctx); err != nil {
			log.Warn("connections were cut", "error", err)
			_ = s.Close()
		}
	}
}
