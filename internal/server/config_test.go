package server_test

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/server"
)

const (
	oldest   = "oldest-secret-oldest-secret-oldest"
	newer    = "newer--secret-newer--secret-newer-"
	newest   = "newest-secret-newest-secret-newest"
	password = "swordfish"
)

// files stands for a file system; "" is what ./mitral.yaml is when absent.
type files map[string]string

func (f files) read(name string) ([]byte, error) {
	content, ok := f[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(content), nil
}

func load(yaml string, env ...string) (server.Config, error) {
	f := files{}
	if yaml != "" {
		f["mitral.yaml"] = yaml
	}
	return server.LoadConfig(server.Flags{}, env, f.read)
}

func mustLoad(t *testing.T, yaml string, env ...string) server.Config {
	t.Helper()
	c, err := load(yaml, env...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	var advice *server.Advice
	switch {
	case err == nil:
		t.Errorf("was accepted, want %q", want)
	case !errors.As(err, &advice):
		t.Errorf("%v is not advice", err)
	case err.Error() != want:
		t.Errorf("got  %q\nwant %q", err, want)
	case strings.ContainsAny(err.Error(), "\r\n"):
		t.Errorf("%q is more than one line", err)
	case strings.Contains(err.Error(), password):
		t.Errorf("%q holds a secret", err)
	}
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, "", "PATH=/bin", "HOME=/home/grace")
	if want := []string{"127.0.0.1:8080", "[::1]:8080"}; !slices.Equal(c.Listen, want) {
		t.Errorf("listens on %q, want %q", c.Listen, want)
	}
	if c.PublicURL != "http://localhost:8080" || c.Data != "./mitral-data" || c.Dialect != "v5" || c.LogLevel != slog.LevelInfo {
		t.Errorf("public URL %q, data %q, dialect %q, log level %v", c.PublicURL, c.Data, c.Dialect, c.LogLevel)
	}
	if got, want := c.Database(), (server.Database{SQLite: "mitral-data/mitral.db"}); got != want {
		t.Errorf("database is %+v, want %+v", got, want)
	}
	if c.MigrateDatabase() != c.Database() {
		t.Errorf("migrations use %+v", c.MigrateDatabase())
	}
	wantApps := []server.AppConfig{{
		Origin: "http://localhost:8080", Audience: "http://localhost:8080", TokenTTL: 2 * time.Minute, Implied: true,
	}}
	if diff := cmp.Diff(wantApps, c.Apps); diff != "" {
		t.Error(diff)
	}
	if c.Mail.URL != "" || c.SMS != nil || c.AuthSecrets != nil || c.TrustedProxies != nil || c.OutboundAllow != nil {
		t.Errorf("something is on that nobody asked for: %s", c)
	}
	if c.Secure() || c.TerminatesTLS() || c.OnlyFromProxies() || !c.ListensOnLoopback() {
		t.Errorf("secure %v, TLS %v, only from proxies %v, loopback %v",
			c.Secure(), c.TerminatesTLS(), c.OnlyFromProxies(), c.ListensOnLoopback())
	}
}

func TestPrecedence(t *testing.T) {
	f := files{
		"mitral.yaml": "data: from-default-file\nlog_level: error\n",
		"other.yaml":  "data: from-file\nlog_level: warn\nauthjs:\n  dialect: v4\n",
	}
	env := []string{"MITRAL_DATA=from-env", "MITRAL_LOG_LEVEL=debug", "MITRAL_KEK_FILE="}
	steps := []struct {
		flags          server.Flags
		env            []string
		data, dialect  string
		level          slog.Level
		effectivelyHas string
	}{
		{server.Flags{}, nil, "from-default-file", "v5", slog.LevelError, "data: from-default-file (data in mitral.yaml)"},
		{server.Flags{Config: "other.yaml"}, nil, "from-file", "v4", slog.LevelWarn, "authjs.dialect: v4 (authjs.dialect in other.yaml)"},
		{server.Flags{}, []string{"MITRAL_CONFIG=other.yaml"}, "from-file", "v4", slog.LevelWarn, ""},
		{server.Flags{Config: "other.yaml"}, env, "from-env", "v4", slog.LevelDebug, "data: from-env (MITRAL_DATA)"},
		{server.Flags{Config: "other.yaml", Settings: map[string]string{"data": "from-flag", "authjs-dialect": ""}}, env,
			"from-flag", "v4", slog.LevelDebug, "data: from-flag (--data)"},
	}
	for i, step := range steps {
		c, err := server.LoadConfig(step.flags, step.env, f.read)
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if c.Data != step.data || c.Dialect != step.dialect || c.LogLevel != step.level {
			t.Errorf("step %d: data %q, dialect %q, level %v", i, c.Data, c.Dialect, c.LogLevel)
		}
		if !strings.Contains(c.String(), step.effectivelyHas) {
			t.Errorf("step %d: %q is not in\n%s", i, step.effectivelyHas, c)
		}
	}
}

// everything sets every setting there is, in YAML; the environment's names for
// the same are in everythingEnv.
const everything = `
listen: [127.0.0.1:8443, "[::1]:8443"]
public_url: https://Auth.Clinic.example:443/
data: /var/lib/mitral
database: postgres://mitral:swordfish@db1:5432,db2:5432/mitral?target_session_attrs=read-write
migrate_database: postgres://owner:swordfish@db1/mitral
kek_file: /etc/mitral/kek
auth_secret:
  - newest-secret-newest-secret-newest
  - oldest-secret-oldest-secret-oldest
authjs: {dialect: v4}
apps:
  - origin: https://chart.clinic.example
    workspaces: [hope, 0123]
    roles: [nurse, doctor]
    audience: chart
    token_ttl: 10m
  - origin: https://lab.clinic.example:8443
mail: {url: "smtps://mitral:swordfish@mx.example", from: Mitral <mitral@clinic.example>}
sms:
  provider: twilio
  account_sid: AC1
  auth_token: 0123456789
  from: +12025550100
  base_url: https://sms.example
providers:
  google: {client_id: g, client_secret: swordfish, issuer: http://localhost:9000}
  microsoft: {client_id: m, client_secret: swordfish, tenant: organizations, issuer: "https://ms.example/{tenantid}/v2.0"}
  telegram: {bot_token: swordfish, bot_username: hope_bot, client_id: t, client_secret: swordfish, issuer: https://tg.example}
trusted_proxies: [10.1.2.3, 10.20.0.0/16, fd00::/8]
tls: {cert: /etc/mitral/cert.pem, key: /etc/mitral/key.pem}
outbound: {allow: 10.9.0.0/16}
log_level: warn
`

func TestEverySetting(t *testing.T) {
	fromFile := mustLoad(t, everything)
	fromEnv := mustLoad(t, "",
		"MITRAL_LISTEN=127.0.0.1:8443,[::1]:8443",
		"MITRAL_PUBLIC_URL=https://Auth.Clinic.example:443/",
		"MITRAL_DATA=/var/lib/mitral",
		"MITRAL_DATABASE=postgres://mitral:swordfish@db1:5432,db2:5432/mitral?target_session_attrs=read-write",
		"MITRAL_MIGRATE_DATABASE=postgres://owner:swordfish@db1/mitral",
		"MITRAL_KEK_FILE=/etc/mitral/kek",
		"AUTH_SECRET="+oldest, "AUTH_SECRET_1="+newest,
		"MITRAL_AUTHJS_DIALECT=v4",
		`MITRAL_APPS=[{"origin":"https://chart.clinic.example","workspaces":["hope","0123"],"roles":["nurse","doctor"],`+
			`"audience":"chart","token_ttl":600},{"origin":"https://lab.clinic.example:8443"}]`,
		"MITRAL_MAIL_URL=smtps://mitral:swordfish@mx.example", "MITRAL_MAIL_FROM=Mitral <mitral@clinic.example>",
		"MITRAL_SMS_PROVIDER=twilio", "MITRAL_SMS_ACCOUNT_SID=AC1", "MITRAL_SMS_AUTH_TOKEN=0123456789",
		"MITRAL_SMS_FROM=+12025550100", "MITRAL_SMS_BASE_URL=https://sms.example",
		"MITRAL_GOOGLE_CLIENT_ID=g", "MITRAL_GOOGLE_CLIENT_SECRET=swordfish", "MITRAL_GOOGLE_ISSUER=http://localhost:9000",
		"MITRAL_MICROSOFT_CLIENT_ID=m", "MITRAL_MICROSOFT_CLIENT_SECRET=swordfish", "MITRAL_MICROSOFT_TENANT=organizations",
		"MITRAL_MICROSOFT_ISSUER=https://ms.example/{tenantid}/v2.0",
		"MITRAL_TELEGRAM_BOT_TOKEN=swordfish", "MITRAL_TELEGRAM_BOT_USERNAME=hope_bot", "MITRAL_TELEGRAM_CLIENT_ID=t",
		"MITRAL_TELEGRAM_CLIENT_SECRET=swordfish", "MITRAL_TELEGRAM_ISSUER=https://tg.example",
		"MITRAL_TRUSTED_PROXIES=10.1.2.3, 10.20.0.0/16,fd00::/8",
		"MITRAL_TLS_CERT=/etc/mitral/cert.pem", "MITRAL_TLS_KEY=/etc/mitral/key.pem",
		"MITRAL_OUTBOUND_ALLOW=10.9.0.0/16",
		"MITRAL_LOG_LEVEL=warn",
	)
	c := fromFile
	if c.PublicURL != "https://auth.clinic.example" || !c.Secure() || !c.TerminatesTLS() || c.OnlyFromProxies() {
		t.Errorf("public URL is %q", c.PublicURL)
	}
	if c.Database().Postgres.Reveal() != "postgres://mitral:swordfish@db1:5432,db2:5432/mitral?target_session_attrs=read-write" ||
		c.MigrateDatabase().Postgres.Reveal() != "postgres://owner:swordfish@db1/mitral" {
		t.Error("the databases are not the ones set")
	}
	if want := []identity.Secret{newest, oldest}; !slices.Equal(c.AuthSecrets, want) {
		t.Error("the secrets are not the ones set, newest first")
	}
	wantApps := []server.AppConfig{
		{Origin: "https://chart.clinic.example", Workspaces: []string{"hope", "0123"}, Roles: []string{"nurse", "doctor"},
			Audience: "chart", TokenTTL: 10 * time.Minute},
		{Origin: "https://lab.clinic.example:8443", Audience: "https://lab.clinic.example:8443", TokenTTL: 2 * time.Minute},
		{Origin: "https://auth.clinic.example", Audience: "https://auth.clinic.example", TokenTTL: 2 * time.Minute, Implied: true},
	}
	if diff := cmp.Diff(wantApps, c.Apps); diff != "" {
		t.Error(diff)
	}
	if c.SMS[0].AuthToken.Reveal() != "0123456789" || c.SMS[0].From != "+12025550100" {
		t.Errorf("SMS is %q from %q: digits are not numbers", c.SMS[0].AuthToken.Reveal(), c.SMS[0].From)
	}
	wantProxies := []netip.Prefix{
		netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("fd00::/8"),
	}
	if !slices.Equal(c.TrustedProxies, wantProxies) {
		t.Errorf("proxies are %v", c.TrustedProxies)
	}

	exported := cmp.FilterPath(func(p cmp.Path) bool {
		field, ok := p.Last().(cmp.StructField)
		return ok && strings.ToLower(field.Name()[:1]) == field.Name()[:1]
	}, cmp.Ignore())
	if diff := cmp.Diff(fromFile, fromEnv, exported, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("file and environment differ:\n%s", diff)
	}
	for _, s := range server.Settings() {
		if !strings.Contains(fromEnv.String(), s.Path+": ") {
			t.Errorf("%s is not among the settings in effect", s.Path)
		}
		if strings.Contains(fromEnv.String(), s.Path+": not set") {
			t.Errorf("this test does not set %s", s.Path)
		}
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		for _, c := range []any{fromFile, &fromEnv} {
			got := fmt.Sprintf(form, c)
			for _, secret := range []string{password, newest, oldest, "0123456789"} {
				if strings.Contains(got, secret) {
					t.Errorf("%s prints a secret: %s", form, got)
				}
			}
		}
	}
	if want := "database: postgres://[secret]@db1:5432,db2:5432/mitral (MITRAL_DATABASE)"; !strings.Contains(fromEnv.String(), want) {
		t.Errorf("%q is not in\n%s", want, fromEnv)
	}
}

func TestSecondSMSProvider(t *testing.T) {
	const yaml = "sms:\n- {account_sid: AC1, auth_token: a, from: Hope}\n- {account_sid: AC2, auth_token: b, from: Hope}\n"
	c := mustLoad(t, yaml, "MITRAL_SMS_FROM=Clinic")
	if len(c.SMS) != 2 || c.SMS[0].AccountSID != "AC1" || c.SMS[0].From != "Clinic" ||
		c.SMS[1].AccountSID != "AC2" || c.SMS[1].From != "Hope" || c.SMS[1].BaseURL != "https://api.twilio.com" {
		t.Errorf("providers are %+v", c.SMS)
	}
	_, err := load(strings.ReplaceAll(yaml, "AC2", "AC1"))
	refused(t, err, "SMS provider 2 has the account of another: give each provider its own account_sid")
	_, err = load(strings.ReplaceAll(yaml, "auth_token: b, ", ""))
	refused(t, err, "SMS provider 2 is not usable (it has no auth token): see docs/operate/configuration.md, Text messages")
}

func TestAuthSecretOrder(t *testing.T) {
	c := mustLoad(t, "auth_secret: "+password+strings.Repeat("x", 32), "AUTH_SECRET="+oldest, "AUTH_SECRET_3="+newest, "AUTH_SECRET_1="+newer)
	if want := []identity.Secret{newest, newer, oldest}; !slices.Equal(c.AuthSecrets, want) {
		t.Error("the order is not _3, _1, plain")
	}
	c = mustLoad(t, "auth_secret: "+oldest)
	if want := []identity.Secret{oldest}; !slices.Equal(c.AuthSecrets, want) {
		t.Error("one secret alone in the file is not taken")
	}
	exactly := strings.Repeat("s", 32)
	if c = mustLoad(t, "", "AUTH_SECRET="+exactly); len(c.AuthSecrets) != 1 {
		t.Error("32 bytes are not enough")
	}
	for env, want := range map[string]string{
		"AUTH_SECRET=" + exactly[1:]: "AUTH_SECRET has only 31 bytes: use a random one of 32 bytes or more, such as openssl rand -base64 33 makes",
		"AUTH_SECRET_2=" + password:  "AUTH_SECRET_2 has only 9 bytes: use a random one of 32 bytes or more, such as openssl rand -base64 33 makes",
		"AUTH_SECRET=":               "AUTH_SECRET has only 0 bytes: use a random one of 32 bytes or more, such as openssl rand -base64 33 makes",
	} {
		_, err := load("", env)
		refused(t, err, want)
	}
}

func TestSecretsFromFiles(t *testing.T) {
	f := files{"/run/secrets/auth": newest + "\n", "/run/secrets/mail": "smtps://mitral:swordfish@mx.example\r\n"}
	c, err := server.LoadConfig(server.Flags{}, []string{
		"AUTH_SECRET_1_FILE=/run/secrets/auth", "AUTH_SECRET=" + oldest, "MITRAL_MAIL_URL_FILE=/run/secrets/mail",
	}, f.read)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.AuthSecrets, []identity.Secret{newest, oldest}) || c.Mail.URL.Reveal() != "smtps://mitral:swordfish@mx.example" {
		t.Error("the files' secrets are not taken")
	}
	_, err = server.LoadConfig(server.Flags{}, []string{"MITRAL_MAIL_URL_FILE=/run/secrets/mail", "MITRAL_MAIL_URL=smtp://x"}, f.read)
	refused(t, err, "MITRAL_MAIL_URL and MITRAL_MAIL_URL_FILE are both set: keep one of them")
	_, err = server.LoadConfig(server.Flags{}, []string{"AUTH_SECRET_FILE=/run/" + password}, f.read)
	refused(t, err, "the file that AUTH_SECRET_FILE names cannot be read (file does not exist): check the path, and that Mitral's user may read it")
	_, err = load("", "MITRAL_DATA_FILE=/x")
	refused(t, err, "MITRAL_DATA_FILE is not a setting: take it out, or see mitral serve --help for all settings")
}

func TestUnknownVariables(t *testing.T) {
	for env, want := range map[string]string{
		"MITRAL_LISTN=x":                  "MITRAL_LISTN is not a setting: did you mean MITRAL_LISTEN?",
		"MITRAL_SECRET_SAUCE=" + password: "MITRAL_SECRET_SAUCE is not a setting: take it out, or see mitral serve --help for all settings",
		"MITRAL_=x":                       "MITRAL_ is not a setting: take it out, or see mitral serve --help for all settings",
		"MITRAL_VECTORSX=x":               "MITRAL_VECTORSX is not a setting: take it out, or see mitral serve --help for all settings",
		"MITRAL_TESTING=x":                "MITRAL_TESTING is not a setting: take it out, or see mitral serve --help for all settings",
	} {
		_, err := load("", env)
		refused(t, err, want)
	}
	mustLoad(t, "", "MITRAL_VECTORS=/vectors", "MITRAL_TEST_CLOCK=/clock", "MITRAL_TEST_ANYTHING=1",
		"MITRAL_SERVICE_HOST=10.0.0.1", "MITRAL_SERVICE_PORT_HTTP=8080", "MITRAL_PORT=tcp://10.0.0.1:8080",
		"MITRAL_PORT_8080_TCP_ADDR=10.0.0.1", "MITRALX=1", "NOT_MITRAL_=1", "AUTH_URL=https://x")
}

func TestBadFiles(t *testing.T) {
	const correct = ": correct that line; docs/operate/configuration.md has an example"
	for yaml, want := range map[string]string{
		"listn: x":                 "mitral.yaml line 1: listn is not a setting there: did you mean listen?",
		"data: x\nmail:\n  frm: x": "mitral.yaml line 3: frm is not a setting there: did you mean from?",
		"apps: [{origin: https://a.example, ttl: 1m}]": "mitral.yaml line 1: ttl is not a setting there: take it out, or see mitral serve --help for all settings",
		"sms: [{token: x}]":                            "mitral.yaml line 1: token is not a setting there: take it out, or see mitral serve --help for all settings",
		"providers: {google: {tenant: x}}":             "mitral.yaml line 1: tenant is not a setting there: take it out, or see mitral serve --help for all settings",
		"data: a\ndata: b":                             "mitral.yaml line 2 is not as it should be" + correct,
		"data: [":                                      "mitral.yaml line 1 is not as it should be" + correct,
		"data: {a: " + password + "}":                  "mitral.yaml: line 1 wants one plain value" + correct,
		"- a":                                          "mitral.yaml line 1 is not as it should be" + correct,
		password:                                       "mitral.yaml line 1 is not as it should be" + correct,
		"tls: " + password:                             "mitral.yaml line 1 is not as it should be" + correct,
		"postgres://u:" + password + "@h/: x":          "mitral.yaml line 1: a key there is not a setting there: take it out, or see mitral serve --help for all settings",
		"data: a\n---\ndata: b":                        "mitral.yaml holds more than one document: keep one and take out the line ---",
		"auth_secret: [{a: b}]":                        "mitral.yaml: line 1 wants one plain value" + correct,
	} {
		_, err := load(yaml)
		refused(t, err, want)
	}
	for _, yaml := range []string{"", "# nothing yet\n", "data:\nmail:\napps:\nsms:\nlisten: ~\n"} {
		if c := mustLoad(t, yaml); c.Data != "./mitral-data" {
			t.Errorf("%q: data is %q", yaml, c.Data)
		}
	}

	_, err := server.LoadConfig(server.Flags{Config: "gone.yaml"}, nil, files{}.read)
	refused(t, err, "gone.yaml does not exist: check the path given with --config")
	_, err = server.LoadConfig(server.Flags{}, []string{"MITRAL_CONFIG=gone.yaml"}, files{}.read)
	refused(t, err, "gone.yaml does not exist: check the path given with MITRAL_CONFIG")
	_, err = server.LoadConfig(server.Flags{}, nil, func(name string) ([]byte, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: os.ErrPermission}
	})
	refused(t, err, "mitral.yaml cannot be read (permission denied): let Mitral's user read it")
}
