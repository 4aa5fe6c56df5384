package server

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
)

const (
	minAuthSecret   = 32 // bytes
	defaultTokenTTL = 120 * time.Second
	maxTokenTTL     = 10 * time.Minute
)

var (
	roleName = regexp.MustCompile(`^[a-z0-9_]+$`)
	slugName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	guid     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// keyHome is where an operator's own keys live by the XDG base directory
// specification, which ignores relative paths; "" if there is no such place.
func keyHome(vars map[string]string) string {
	if dir := vars["XDG_CONFIG_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "mitral")
	}
	if dir := vars["HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, ".config", "mitral")
	}
	return ""
}

// config checks what was given and fills in what was not.
func (g *given) config(demo bool, keyHome string) (Config, error) {
	c := Config{Demo: demo, keyHome: keyHome, KEKFile: g.KEKFile.value}
	for _, check := range []func(*Config) error{
		g.checkTLS, g.checkListen, g.checkPublicURL, g.checkPlainHTTP, g.checkDatabase, g.checkAuthSecrets,
		g.checkApps, g.checkMessages, g.checkProviders, g.checkNetworks, g.checkWords, g.checkDemo,
	} {
		if err := check(&c); err != nil {
			return Config{}, err
		}
	}
	c.effective = g.effective(c)
	return c, nil
}

func (g *given) checkTLS(c *Config) error {
	c.TLS = TLSFiles{Cert: g.TLS.Cert.value, Key: g.TLS.Key.value}
	switch {
	case c.TLS.Cert == "" && c.TLS.Key != "":
		return advise("set MITRAL_TLS_CERT too", "%s is set without its certificate", g.TLS.Key.from)
	case c.TLS.Cert != "" && c.TLS.Key == "":
		return advise("set MITRAL_TLS_KEY too", "%s is set without its key", g.TLS.Cert.from)
	}
	return nil
}

func (g *given) checkListen(c *Config) error {
	written := cmp.Or(g.Listen.value, "localhost:8080")
	for _, address := range splitList(written) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return advise("write it as 127.0.0.1:8080", "%s is %q", g.Listen.from, plain(address))
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return advise("a port is a number up to 65535", "%s has the port %q", g.Listen.from, plain(port))
		}
		switch _, err := netip.ParseAddr(host); {
		case host == "localhost":
			c.Listen = append(c.Listen, net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port))
		case host == "" || err == nil:
			c.Listen = append(c.Listen, address)
		default:
			return advise("write an IP address, localhost, or nothing for all addresses",
				"%s names the host %q", g.Listen.from, plain(host))
		}
	}
	if len(c.Listen) == 0 {
		return advise("write it as 127.0.0.1:8080", "%s names no address", g.Listen.from)
	}
	return nil
}

func (g *given) checkPublicURL(c *Config) error {
	if g.PublicURL.value == "" {
		if !c.ListensOnLoopback() {
			return advise("set MITRAL_PUBLIC_URL to the address that people type",
				"%s opens Mitral to other machines, but no public URL is set", g.Listen.from)
		}
		_, port, _ := net.SplitHostPort(c.Listen[0])
		c.PublicURL, _ = origin(c.scheme() + "://localhost:" + port)
		return nil
	}
	public, problem := origin(g.PublicURL.value)
	if problem != "" {
		return advise("write it as https://auth.clinic.example", "%s %s", g.PublicURL.from, problem)
	}
	c.PublicURL = public
	return nil
}

func (c *Config) scheme() string {
	if c.TerminatesTLS() {
		return "https"
	}
	return "http"
}

// checkPlainHTTP refuses to let PINs and cookies cross a network in clear.
func (g *given) checkPlainHTTP(c *Config) error {
	proxies, err := prefixes(g.TrustedProxies.text)
	if err != nil {
		return err
	}
	for _, p := range proxies {
		if p.Bits() == 0 {
			return advise("name your proxies' own addresses", "%s trusts every machine there is", g.TrustedProxies.from)
		}
	}
	c.TrustedProxies = proxies

	switch {
	case c.TerminatesTLS() && !c.Secure():
		return advise("write the public URL with https", "%s is plain http, but a certificate is set", g.PublicURL.from)
	case !c.Secure() && !isLoopbackOrigin(c.PublicURL):
		return advise("write it with https, and set MITRAL_TLS_CERT and MITRAL_TLS_KEY or MITRAL_TRUSTED_PROXIES",
			"%s is plain http off this machine", g.PublicURL.from)
	case c.OnlyFromProxies() && len(proxies) == 0:
		return advise("set MITRAL_TLS_CERT and MITRAL_TLS_KEY, or MITRAL_TRUSTED_PROXIES to your reverse proxy",
			"%s would be served by plain http on %s", c.PublicURL, strings.Join(c.Listen, ", "))
	}
	return nil
}

func (g *given) checkDatabase(c *Config) error {
	c.Data = cmp.Or(g.Data.value, "./mitral-data")
	if c.Demo {
		c.Data = cmp.Or(g.Data.value, "./mitral-demo")
	}
	c.DatabaseURL = identity.Secret(cmp.Or(g.Database.value, "sqlite:"+filepath.Join(c.Data, "mitral.db")))
	c.MigrateDatabaseURL = identity.Secret(g.MigrateDatabase.value)

	switch where := c.DatabaseURL.Reveal(); {
	case isPostgres(where):
	case strings.HasPrefix(where, "sqlite:"):
		path := strings.TrimPrefix(where, "sqlite:")
		if path == "" || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "?#\x00") || strings.Contains(path, ":memory:") {
			return advise("write it as sqlite:/var/lib/mitral/mitral.db", "%s does not name a file", g.Database.from)
		}
		if c.MigrateDatabaseURL != "" {
			return advise("take it out", "%s is for PostgreSQL only", g.MigrateDatabase.from)
		}
	default:
		return advise("write it as sqlite:PATH or postgres://…", "%s is neither SQLite nor PostgreSQL", g.Database.from)
	}
	if c.MigrateDatabaseURL != "" && !isPostgres(c.MigrateDatabaseURL.Reveal()) {
		return advise("write it as postgres://…", "%s is no PostgreSQL address", g.MigrateDatabase.from)
	}
	return nil
}

func isPostgres(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

func (g *given) checkAuthSecrets(c *Config) error {
	for _, t := range g.AuthSecret {
		if len(t.value) < minAuthSecret {
			return advise("use a random one of 32 bytes or more, such as openssl rand -base64 33 makes",
				"%s has only %d bytes", t.from, len(t.value))
		}
		c.AuthSecrets = append(c.AuthSecrets, identity.Secret(t.value))
	}
	return nil
}

func (g *given) checkApps(c *Config) error {
	seen := make(map[string]bool)
	for i, written := range g.Apps {
		app, problem, do := written.app()
		if problem != "" {
			return advise(do, "app %d of %s %s", i+1, g.appsFrom, problem)
		}
		if seen[app.Origin] {
			return advise("keep one of them", "app %d of %s is %s again", i+1, g.appsFrom, app.Origin)
		}
		seen[app.Origin] = true
		c.Apps = append(c.Apps, app)
	}
	if !seen[c.PublicURL] {
		c.Apps = append(c.Apps, AppConfig{
			Origin: c.PublicURL, Audience: c.PublicURL, TokenTTL: defaultTokenTTL, Implied: true,
		})
	}
	return nil
}

func (a appGiven) app() (app AppConfig, problem, do string) {
	if a.Origin == nil {
		return app, "has no origin", "write it as https://chart.clinic.example"
	}
	app.Origin, problem = origin(a.Origin.value)
	if problem != "" {
		return app, "has an origin that " + problem, "write it as https://chart.clinic.example"
	}
	if app.Workspaces, problem = names(a.Workspaces, slugName); problem != "" {
		return app, "has workspaces that " + problem, "list their slugs, or leave the list out for all"
	}
	if app.Roles, problem = names(a.Roles, roleName); problem != "" {
		return app, "has roles that " + problem, "list roles such as nurse, or leave the list out for all"
	}
	app.Audience = app.Origin
	if a.Audience != nil {
		app.Audience = a.Audience.value
		if app.Audience == "" || len(app.Audience) > 256 || strings.ContainsFunc(app.Audience, unprintable) {
			return app, "has an audience that is empty, long or not plain text", "leave it out to use the origin"
		}
	}
	app.TokenTTL = defaultTokenTTL
	if a.TokenTTL != nil {
		app.TokenTTL, problem = tokenTTL(a.TokenTTL.value)
		if problem != "" {
			return app, "has a token_ttl that " + problem, `write it as "2m", at most "10m"`
		}
	}
	return app, "", ""
}

func names(written *texts, form *regexp.Regexp) ([]string, string) {
	if written == nil {
		return nil, ""
	}
	if len(*written) == 0 {
		return nil, "are an empty list"
	}
	var all []string
	for _, t := range *written {
		if !form.MatchString(t.value) {
			return nil, fmt.Sprintf("hold %q", plain(t.value))
		}
		all = append(all, t.value)
	}
	return all, ""
}

// tokenTTL takes a duration, or a number of seconds.
func tokenTTL(s string) (time.Duration, string) {
	ttl, err := time.ParseDuration(s)
	if err != nil {
		if ttl, err = time.ParseDuration(s + "s"); err != nil {
			return 0, "is no duration"
		}
	}
	if ttl < time.Second || ttl > maxTokenTTL {
		return 0, "is out of bounds"
	}
	return ttl, ""
}

func (g *given) checkMessages(c *Config) error {
	c.Mail = MailConfig{URL: identity.Secret(g.Mail.URL.value), From: g.Mail.From.value}
	if c.Mail.From == "" {
		c.Mail.From = "mitral@" + mailDomain(c.PublicURL)
	}
	if c.Mail.URL != "" {
		if _, err := notify.NewSMTP(c.Mail.URL, c.Mail.From); err != nil {
			return advise("write smtp://host:port or smtps://user:pass@host, and set MITRAL_MAIL_FROM to one address",
				"%s is not usable (%v)", g.Mail.URL.from, err)
		}
	}
	accounts := make(map[string]bool)
	for i, s := range g.SMS {
		if s.empty() {
			continue
		}
		name := "SMS provider"
		if len(g.SMS) > 1 {
			name += " " + strconv.Itoa(i+1)
		}
		if p := s.Provider.value; p != "" && p != "twilio" {
			return advise("write twilio; sms.base_url may name any gateway compatible with it",
				"%s is %q", s.Provider.from, plain(p))
		}
		provider := notify.TwilioConfig{
			AccountSID: s.AccountSID.value, AuthToken: identity.Secret(s.AuthToken.value),
			From: s.From.value, BaseURL: cmp.Or(s.BaseURL.value, notify.TwilioURL),
		}
		if _, err := notify.NewTwilio(provider); err != nil {
			return advise("see docs/operate/configuration.md, Text messages", "%s is not usable (%v)", name, err)
		}
		if accounts[provider.AccountSID] {
			return advise("give each provider its own account_sid", "%s has the account of another", name)
		}
		accounts[provider.AccountSID] = true
		c.SMS = append(c.SMS, provider)
	}
	return nil
}

func (s smsGiven) empty() bool {
	return s.Provider.value+s.AccountSID.value+s.AuthToken.value+s.From.value+s.BaseURL.value == ""
}

// mailDomain is the part after the @ of a sender nobody chose.
func mailDomain(public string) string {
	u, err := url.Parse(public)
	if err != nil {
		return "localhost"
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return "localhost"
	}
	return u.Hostname()
}

func (g *given) checkProviders(c *Config) error {
	google, microsoft, telegram := &g.Providers.Google, &g.Providers.Microsoft, &g.Providers.Telegram
	c.Google = GoogleConfig{
		ClientID: google.ClientID.value, ClientSecret: identity.Secret(google.ClientSecret.value),
		Issuer: cmp.Or(google.Issuer.value, "https://accounts.google.com"),
	}
	c.Microsoft = MicrosoftConfig{
		ClientID: microsoft.Client.ClientID.value, ClientSecret: identity.Secret(microsoft.Client.ClientSecret.value),
		Tenant: cmp.Or(microsoft.Tenant.value, "common"),
		Issuer: cmp.Or(microsoft.Client.Issuer.value, "https://login.microsoftonline.com/{tenantid}/v2.0"),
	}
	c.Telegram = TelegramConfig{
		BotToken: identity.Secret(telegram.BotToken.value), BotUsername: telegram.BotUsername.value,
		ClientID: telegram.Client.ClientID.value, ClientSecret: identity.Secret(telegram.Client.ClientSecret.value),
		Issuer: cmp.Or(telegram.Client.Issuer.value, "https://oauth.telegram.org"),
	}
	for _, client := range []clientGiven{*google, microsoft.Client, telegram.Client} {
		switch {
		case client.ClientID.value == "" && client.ClientSecret.value != "":
			return advise("set the client id too, or neither", "%s is set without its client id", client.ClientSecret.from)
		case client.ClientID.value != "" && client.ClientSecret.value == "":
			return advise("set the client secret too, or neither", "%s is set without its client secret", client.ClientID.from)
		}
		if problem := issuer(client.Issuer.value); problem != "" {
			return advise("write it as https://issuer.example", "%s %s", client.Issuer.from, problem)
		}
	}
	switch tenant := c.Microsoft.Tenant; tenant {
	case "common", "organizations", "consumers":
	default:
		if !guid.MatchString(tenant) {
			return advise("write common, organizations, consumers or the tenant's GUID",
				"%s is %q", microsoft.Tenant.from, plain(tenant))
		}
	}
	return nil
}

// issuer says what keeps a provider's address from being one that secrets may
// be sent to.
func issuer(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "is no plain URL"
	case u.Scheme == "https", u.Scheme == "http" && isLoopbackHost(u.Hostname()):
		return ""
	}
	return "is not https"
}

func (g *given) checkNetworks(c *Config) (err error) {
	c.OutboundAllow, err = prefixes(g.Outbound.Allow.text)
	return err
}

func (g *given) checkWords(c *Config) error {
	c.Dialect = cmp.Or(g.AuthJS.Dialect.value, "v5")
	if c.Dialect != "v4" && c.Dialect != "v5" {
		return advise("write v4 or v5", "%s is %q", g.AuthJS.Dialect.from, plain(c.Dialect))
	}
	levels := map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
	level, ok := levels[cmp.Or(g.LogLevel.value, "info")]
	if !ok {
		return advise("write debug, info, warn or error", "%s is %q", g.LogLevel.from, plain(g.LogLevel.value))
	}
	c.LogLevel = level
	return nil
}

func (g *given) checkDemo(c *Config) error {
	if !c.Demo {
		return nil
	}
	if !c.ListensOnLoopback() {
		return advise("listen on localhost, or serve without --demo",
			"%s would show the demo to other machines", g.Listen.from)
	}
	messages := []text{g.Mail.URL, g.Mail.From}
	for _, s := range g.SMS {
		messages = append(messages, s.Provider, s.AccountSID, s.AuthToken, s.From, s.BaseURL)
	}
	for _, t := range messages {
		if t.value != "" {
			return advise("take it out; the demo shows its messages at /demo/outbox",
				"%s is set, but the demo sends nothing", t.from)
		}
	}
	return nil
}

// origin returns scheme, host and port in the one form that browsers send, or
// what is wrong with the text.
func origin(s string) (string, string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "" || u.Hostname() == "":
		return "", "is not an address"
	case u.Scheme != "http" && u.Scheme != "https":
		return "", "does not begin with https:// or http://"
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#"):
		return "", "holds more than scheme, host and port"
	case u.Path != "" && u.Path != "/":
		return "", "has a path"
	case strings.ContainsFunc(u.Host, func(r rune) bool {
		return unprintable(r) || strings.ContainsRune(`*\%"'<>`, r)
	}):
		return "", "has a host that is not written in plain letters"
	}
	port := u.Port()
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || strconv.FormatUint(n, 10) != port) {
		return "", "has no real port"
	}
	host := strings.ToLower(strings.TrimSuffix(u.Host, ":"+port))
	if port == "" {
		host = strings.TrimSuffix(host, ":")
	}
	if defaultPort := map[string]string{"http": "80", "https": "443"}[u.Scheme]; port != "" && port != defaultPort {
		host += ":" + port
	}
	return u.Scheme + "://" + host, ""
}

func unprintable(r rune) bool { return r <= ' ' || r >= 0x7f }

// prefixes reads addresses and CIDRs separated by commas.
func prefixes(t text) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, s := range splitList(t.value) {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			ip, notIP := netip.ParseAddr(s)
			if notIP != nil || ip.Zone() != "" {
				return nil, advise("write networks as 10.0.0.0/8 or fd00::/8, separated by commas",
					"%s holds %q", t.from, plain(s))
			}
			prefix = netip.PrefixFrom(ip, ip.BitLen())
		}
		if prefix.Addr().Is4In6() {
			return nil, advise("write it as an IPv4 network", "%s holds %q", t.from, plain(s))
		}
		all = append(all, prefix.Masked())
	}
	return all, nil
}

func splitList(s string) []string {
	fields := strings.Split(s, ",")
	for i := range fields {
		fields[i] = strings.TrimSpace(fields[i])
	}
	return slices.DeleteFunc(fields, func(f string) bool { return f == "" })
}

// effective tells the settings as they are in effect and where each came from.
func (g *given) effective(c Config) []string {
	fromDefault := map[string]string{
		"public_url": c.PublicURL, "data": c.Data, "database": c.DatabaseURL.Reveal(), "mail.from": c.Mail.From,
	}
	var lines []string
	for _, s := range settings {
		var value, from string
		switch {
		case s.Path == "auth_secret" && len(g.AuthSecret) > 0:
			value, from = fmt.Sprintf("%d of them: [secret]", len(g.AuthSecret)), g.AuthSecret[0].from
		case s.Path == "apps":
			var origins []string
			for _, app := range c.Apps {
				origins = append(origins, app.Origin)
			}
			value = strings.Join(origins, ", ")
			if len(g.Apps) > 0 {
				from = g.appsFrom
			}
		case strings.HasPrefix(s.Path, "sms.") && len(g.SMS) == 0:
		case s.at != nil:
			value, from = s.at(g).value, s.at(g).from
		}
		if value == "" {
			value, from = cmp.Or(fromDefault[s.Path], s.Default), "default"
		}
		if s.Secret && s.Path != "auth_secret" {
			value = withoutSecrets(value)
		}
		lines = append(lines, fmt.Sprintf("%s: %s (%s)", s.Path, plain(cmp.Or(value, "not set")), cmp.Or(from, "default")))
	}
	return lines
}

// withoutSecrets keeps of a secret setting what an operator needs to recognise
// it: of an address its host and name, of anything else nothing.
func withoutSecrets(s string) string {
	if s == "" || strings.HasPrefix(s, "sqlite:") {
		return s
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return "[secret]"
	}
	rest, query, _ := strings.Cut(rest, "?")
	if strings.Contains(query, "@") { // then what looks like a host may be a password
		return scheme + "://[secret]"
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = "[secret]@" + rest[at+1:]
	}
	return scheme + "://" + rest
}
