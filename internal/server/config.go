package server

import (
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
)

// Config is everything an operator decides, checked and with its defaults in
// place. LoadConfig is the way to one; a Config that it returned is usable as
// it stands. It prints as its settings, one a line, with secrets as "[secret]".
type Config struct {
	// Demo says that the server was started with --demo: a made-up clinic, on
	// this machine only, that sends nothing.
	Demo bool

	// Listen holds the addresses to listen on, each "host:port" as net.Listen
	// takes it. "localhost" has become 127.0.0.1 and [::1] by now; the latter is
	// only there for machines that have IPv6.
	Listen []string

	// PublicURL is the origin that people's browsers use, without a slash at
	// its end: "https://auth.clinic.example". The port is 0 where that of the
	// listener is; see OnPort.
	PublicURL string

	// Data is the directory for the embedded database and the node's own files.
	Data string

	// DatabaseURL is "sqlite:PATH" or "postgres://…"; Database takes it apart.
	DatabaseURL identity.Secret

	// MigrateDatabaseURL is a second login for PostgreSQL, that owns the tables
	// and is used for migrations alone; "" where the first one does both.
	MigrateDatabaseURL identity.Secret

	// KEKFile is the key-encryption key's file where the operator named one.
	// KEKPath answers for the default too.
	KEKFile string

	// AuthSecrets are the secrets shared with Auth.js applications, the newest
	// first, each of 32 bytes or more. None means that Mitral makes and keeps
	// its own.
	AuthSecrets []identity.Secret

	// Dialect is the Auth.js dialect spoken to applications: "v4" or "v5".
	Dialect string

	// Apps are the applications that rely on Mitral. The public URL's origin is
	// always one of them.
	Apps []AppConfig

	// Mail is where messages leave by mail; without a URL none do.
	Mail MailConfig

	// SMS are the providers of text messages in the order they are tried; none
	// means that no text messages are sent.
	SMS []notify.TwilioConfig

	// Google, Microsoft and Telegram are on when they have a client id (Telegram
	// also with a bot token).
	Google    GoogleConfig
	Microsoft MicrosoftConfig
	Telegram  TelegramConfig

	// TrustedProxies are the addresses whose forwarded headers count; none by
	// default, and never everybody.
	TrustedProxies []netip.Prefix

	// TLS are the certificate's files; both are set, or neither.
	TLS TLSFiles

	// OutboundAllow are private addresses that calls on a tenant's behalf may
	// reach all the same.
	OutboundAllow []netip.Prefix

	// LogLevel is the least level that is logged.
	LogLevel slog.Level

	keyHome   string // where key-encryption keys live by default; "" if nowhere
	effective []string
}

// AppConfig is one application that relies on Mitral.
type AppConfig struct {
	Origin     string        // "https://chart.clinic.example"
	Workspaces []string      // slugs; nil means all
	Roles      []string      // nil means all
	Audience   string        // of its access tokens; the origin by default
	TokenTTL   time.Duration // of its access tokens: up to 10 minutes, 120 s by default

	// Implied is true for the public URL's own origin when the operator listed
	// no such app: it then serves all workspaces unasked.
	Implied bool
}

// MailConfig is how mail leaves.
type MailConfig struct {
	URL  identity.Secret // smtp://host:port or smtps://user:pass@host
	From string          // the sender's address
}

// GoogleConfig is the client registered with Google.
type GoogleConfig struct {
	ClientID     string
	ClientSecret identity.Secret
	Issuer       string
}

// MicrosoftConfig is the client registered with Microsoft Entra ID.
type MicrosoftConfig struct {
	ClientID     string
	ClientSecret identity.Secret
	Tenant       string // "common", "organizations", "consumers" or a GUID
	Issuer       string // may hold {tenantid}
}

// TelegramConfig is the bot, for the widget, and the OpenID Connect client.
type TelegramConfig struct {
	BotToken     identity.Secret
	BotUsername  string
	ClientID     string
	ClientSecret identity.Secret
	Issuer       string
}

// TLSFiles names a certificate chain and its key, both PEM.
type TLSFiles struct {
	Cert string
	Key  string
}

// Flags are the settings that came on the command line.
type Flags struct {
	// Config is the file given with --config; "" means ./mitral.yaml if there
	// is one.
	Config string
	// Demo is --demo.
	Demo bool
	// Settings maps a flag's name ("public-url") to its value; an empty value
	// counts as not given.
	Settings map[string]string
}

// LoadConfig reads the configuration: flags, then the environment (as
// os.Environ gives it), then mitral.yaml, then defaults. Any error is an
// *Advice; an unknown key or MITRAL_… variable is one. readFile is os.ReadFile
// outside tests.
func LoadConfig(flags Flags, env []string, readFile func(string) ([]byte, error)) (Config, error) {
	vars, err := environment(env)
	if err != nil {
		return Config{}, err
	}
	var g given
	if err := g.readYAML(flags.Config, vars, readFile); err != nil {
		return Config{}, err
	}
	if err := g.readEnvironment(vars, readFile); err != nil {
		return Config{}, err
	}
	if err := g.readFlags(flags.Settings); err != nil {
		return Config{}, err
	}
	return g.config(flags.Demo, keyHome(vars))
}

// Database is where the data is: exactly one member is set.
type Database struct {
	SQLite   string          // a file's path
	Postgres identity.Secret // a postgres:// URL
}

// Database returns what DatabaseURL names.
func (c Config) Database() Database { return database(c.DatabaseURL.Reveal()) }

// MigrateDatabase returns the login for migrations: that of
// MigrateDatabaseURL, or else Database.
func (c Config) MigrateDatabase() Database {
	if c.MigrateDatabaseURL == "" {
		return c.Database()
	}
	return database(c.MigrateDatabaseURL.Reveal())
}

func database(from string) Database {
	if path, ok := strings.CutPrefix(from, "sqlite:"); ok {
		return Database{SQLite: path}
	}
	return Database{Postgres: identity.Secret(from)}
}

// KEKPath returns the key-encryption key's file for an installation, and a
// warning when that lies beside the data it protects.
func (c Config) KEKPath(installationID string) (path, warning string) {
	switch {
	case c.KEKFile != "":
		return c.KEKFile, ""
	case c.Demo:
		return c.FallbackKEKPath(), ""
	case c.keyHome == "":
		path := c.FallbackKEKPath()
		return path, "the key-encryption key " + path + " lies beside the data it protects: " +
			"name another place in MITRAL_KEK_FILE"
	}
	return filepath.Join(c.keyHome, fileName(installationID)+".kek"), ""
}

// FallbackKEKPath is where the key-encryption key lies when it has no other
// home: in the data directory.
func (c Config) FallbackKEKPath() string { return filepath.Join(c.Data, "keys", "kek") }

// HighwaterPath returns the file that remembers the newest size and root of
// the log. It lies beside the default key-encryption key even when KEKFile
// names another, so that a restored database or data directory does not bring
// its own along.
func (c Config) HighwaterPath(installationID string) string {
	if c.Demo || c.keyHome == "" {
		return filepath.Join(c.Data, "keys", "highwater")
	}
	return filepath.Join(c.keyHome, fileName(installationID)+".highwater")
}

// fileName keeps an id read from a database from naming another directory.
func fileName(id string) string { return filepath.Base(filepath.Clean("/" + id)) }

// Secure says whether browsers reach Mitral by https.
func (c Config) Secure() bool { return strings.HasPrefix(c.PublicURL, "https://") }

// TerminatesTLS says whether Mitral itself speaks https.
func (c Config) TerminatesTLS() bool { return c.TLS.Cert != "" }

// OnlyFromProxies says that plain http is lawful because a proxy is declared,
// and so that connections from any other peer are to be refused.
func (c Config) OnlyFromProxies() bool {
	return !c.TerminatesTLS() && !(c.ListensOnLoopback() && isLoopbackOrigin(c.PublicURL))
}

// ListensOnLoopback says whether no other machine can connect.
func (c Config) ListensOnLoopback() bool {
	return !slices.ContainsFunc(c.Listen, func(address string) bool {
		host, _, err := net.SplitHostPort(address)
		return err != nil || !isLoopbackHost(host)
	})
}

// OnPort returns the configuration with the port that a listener was given in
// place of port 0, in the public URL and the app that follows from it.
func (c Config) OnPort(port int) Config {
	public, ok := strings.CutSuffix(c.PublicURL, ":0")
	if !ok {
		return c
	}
	public += ":" + strconv.Itoa(port)
	c.Apps = slices.Clone(c.Apps)
	for i := range c.Apps {
		if c.Apps[i].Implied {
			c.Apps[i].Origin, c.Apps[i].Audience = public, public
		}
	}
	c.PublicURL = public
	return c
}

// String returns the settings as they are in effect, one a line, each with the
// place it came from. Secrets are "[secret]".
func (c Config) String() string { return strings.Join(c.effective, "\n") }

// GoString is String, so that no verb of fmt prints more.
func (c Config) GoString() string { return c.String() }

func isLoopbackOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && isLoopbackHost(u.Hostname())
}

func isLoopbackHost(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
