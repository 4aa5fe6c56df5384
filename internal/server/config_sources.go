package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

const defaultConfigFile = "mitral.yaml"

// Setting is one thing an operator decides and the places it can be given in.
type Setting struct {
	Path    string // in mitral.yaml, dotted
	Env     string // environment variable
	Flag    string // flag without its dashes; "" where there is none
	Secret  bool   // never shown; may also come from the file that Env+"_FILE" names
	Default string // in words or as it would be written; "" for nothing
	Meaning string

	at func(*given) *text // nil for the three that are not one text
}

// Settings returns every setting there is, in the order of the manual.
func Settings() []Setting { return slices.Clone(settings) }

var identifier = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,40}$`)

var settings = []Setting{
	{Path: "listen", Env: "MITRAL_LISTEN", Flag: "listen", Default: "localhost:8080",
		Meaning: "address:port to listen on", at: func(g *given) *text { return &g.Listen.text }},
	{Path: "public_url", Env: "MITRAL_PUBLIC_URL", Flag: "public-url", Default: "http://localhost:PORT",
		Meaning: "the address people type", at: func(g *given) *text { return &g.PublicURL }},
	{Path: "data", Env: "MITRAL_DATA", Flag: "data", Default: "./mitral-data",
		Meaning: "directory of data", at: func(g *given) *text { return &g.Data }},
	{Path: "database", Env: "MITRAL_DATABASE", Flag: "database", Secret: true, Default: "sqlite:<data>/mitral.db",
		Meaning: "sqlite:PATH or postgres://...", at: func(g *given) *text { return &g.Database }},
	{Path: "migrate_database", Env: "MITRAL_MIGRATE_DATABASE", Secret: true,
		Meaning: "login that owns the tables", at: func(g *given) *text { return &g.MigrateDatabase }},
	{Path: "kek_file", Env: "MITRAL_KEK_FILE", Flag: "kek-file", Default: "~/.config/mitral/<id>.kek",
		Meaning: "key-encryption key", at: func(g *given) *text { return &g.KEKFile }},
	{Path: "auth_secret", Env: "AUTH_SECRET", Secret: true, Default: "made and kept",
		Meaning: "shared with Auth.js; and _1.._3"},
	{Path: "authjs.dialect", Env: "MITRAL_AUTHJS_DIALECT", Flag: "authjs-dialect", Default: "v5",
		Meaning: "v4 or v5", at: func(g *given) *text { return &g.AuthJS.Dialect }},
	{Path: "apps", Env: "MITRAL_APPS",
		Meaning: "applications, a JSON list"},
	{Path: "mail.url", Env: "MITRAL_MAIL_URL", Secret: true,
		Meaning: "smtp://... or smtps://...", at: func(g *given) *text { return &g.Mail.URL }},
	{Path: "mail.from", Env: "MITRAL_MAIL_FROM", Default: "mitral@<public host>",
		Meaning: "sender of mail", at: func(g *given) *text { return &g.Mail.From }},
	{Path: "sms.provider", Env: "MITRAL_SMS_PROVIDER", Default: "twilio",
		Meaning: "twilio", at: func(g *given) *text { return &g.SMS.first().Provider }},
	{Path: "sms.account_sid", Env: "MITRAL_SMS_ACCOUNT_SID",
		Meaning: "Twilio account", at: func(g *given) *text { return &g.SMS.first().AccountSID }},
	{Path: "sms.auth_token", Env: "MITRAL_SMS_AUTH_TOKEN", Secret: true,
		Meaning: "its token", at: func(g *given) *text { return &g.SMS.first().AuthToken }},
	{Path: "sms.from", Env: "MITRAL_SMS_FROM",
		Meaning: "sender of text messages", at: func(g *given) *text { return &g.SMS.first().From }},
	{Path: "sms.base_url", Env: "MITRAL_SMS_BASE_URL", Default: "https://api.twilio.com",
		Meaning: "a compatible gateway", at: func(g *given) *text { return &g.SMS.first().BaseURL }},
	{Path: "providers.google.client_id", Env: "MITRAL_GOOGLE_CLIENT_ID",
		Meaning: "client at Google", at: func(g *given) *text { return &g.Providers.Google.ClientID }},
	{Path: "providers.google.client_secret", Env: "MITRAL_GOOGLE_CLIENT_SECRET", Secret: true,
		Meaning: "its secret", at: func(g *given) *text { return &g.Providers.Google.ClientSecret }},
	{Path: "providers.google.issuer", Env: "MITRAL_GOOGLE_ISSUER", Default: "https://accounts.google.com",
		Meaning: "issuer", at: func(g *given) *text { return &g.Providers.Google.Issuer }},
	{Path: "providers.microsoft.client_id", Env: "MITRAL_MICROSOFT_CLIENT_ID",
		Meaning: "client at Microsoft", at: func(g *given) *text { return &g.Providers.Microsoft.Client.ClientID }},
	{Path: "providers.microsoft.client_secret", Env: "MITRAL_MICROSOFT_CLIENT_SECRET", Secret: true,
		Meaning: "its secret", at: func(g *given) *text { return &g.Providers.Microsoft.Client.ClientSecret }},
	{Path: "providers.microsoft.tenant", Env: "MITRAL_MICROSOFT_TENANT", Default: "common",
		Meaning: "common, organizations, ...", at: func(g *given) *text { return &g.Providers.Microsoft.Tenant }},
	{Path: "providers.microsoft.issuer", Env: "MITRAL_MICROSOFT_ISSUER", Default: "Microsoft's",
		Meaning: "issuer; may hold {tenantid}", at: func(g *given) *text { return &g.Providers.Microsoft.Client.Issuer }},
	{Path: "providers.telegram.bot_token", Env: "MITRAL_TELEGRAM_BOT_TOKEN", Secret: true,
		Meaning: "token of the bot", at: func(g *given) *text { return &g.Providers.Telegram.BotToken }},
	{Path: "providers.telegram.bot_username", Env: "MITRAL_TELEGRAM_BOT_USERNAME",
		Meaning: "name of the bot", at: func(g *given) *text { return &g.Providers.Telegram.BotUsername }},
	{Path: "providers.telegram.client_id", Env: "MITRAL_TELEGRAM_CLIENT_ID",
		Meaning: "client at Telegram", at: func(g *given) *text { return &g.Providers.Telegram.Client.ClientID }},
	{Path: "providers.telegram.client_secret", Env: "MITRAL_TELEGRAM_CLIENT_SECRET", Secret: true,
		Meaning: "its secret", at: func(g *given) *text { return &g.Providers.Telegram.Client.ClientSecret }},
	{Path: "providers.telegram.issuer", Env: "MITRAL_TELEGRAM_ISSUER", Default: "https://oauth.telegram.org",
		Meaning: "issuer", at: func(g *given) *text { return &g.Providers.Telegram.Client.Issuer }},
	{Path: "trusted_proxies", Env: "MITRAL_TRUSTED_PROXIES", Flag: "trusted-proxies",
		Meaning: "CIDRs of your proxies", at: func(g *given) *text { return &g.TrustedProxies.text }},
	{Path: "tls.cert", Env: "MITRAL_TLS_CERT", Flag: "tls-cert",
		Meaning: "certificate chain, PEM", at: func(g *given) *text { return &g.TLS.Cert }},
	{Path: "tls.key", Env: "MITRAL_TLS_KEY", Flag: "tls-key",
		Meaning: "its key, PEM", at: func(g *given) *text { return &g.TLS.Key }},
	{Path: "outbound.allow", Env: "MITRAL_OUTBOUND_ALLOW", Flag: "outbound-allow",
		Meaning: "private CIDRs calls may reach", at: func(g *given) *text { return &g.Outbound.Allow.text }},
	{Path: "log_level", Env: "MITRAL_LOG_LEVEL", Flag: "log-level", Default: "info",
		Meaning: "debug, info, warn, error", at: func(g *given) *text { return &g.LogLevel }},
}

// The environment's variables that start with MITRAL_ and are no settings:
// those of tests, and what Kubernetes sets for a service named mitral.
var foreignPrefixes = []string{"MITRAL_TEST_", "MITRAL_SERVICE_", "MITRAL_PORT"}

const (
	configFileVariable = "MITRAL_CONFIG"
	vectorsVariable    = "MITRAL_VECTORS"
)

// authSecretVariables in the order Auth.js tries them: the newest first.
var authSecretVariables = []string{"AUTH_SECRET_3", "AUTH_SECRET_2", "AUTH_SECRET_1", "AUTH_SECRET"}

// given is the configuration as it was written, before anything is checked.
type given struct {
	Listen          list    `yaml:"listen"`
	PublicURL       text    `yaml:"public_url"`
	Data            text    `yaml:"data"`
	Database        text    `yaml:"database"`
	MigrateDatabase text    `yaml:"migrate_database"`
	KEKFile         text    `yaml:"kek_file"`
	AuthSecret      texts   `yaml:"auth_secret"`
	Apps            appList `yaml:"apps"`
	TrustedProxies  list    `yaml:"trusted_proxies"`
	LogLevel        text    `yaml:"log_level"`
	SMS             smsList `yaml:"sms"`

	AuthJS struct {
		Dialect text `yaml:"dialect"`
	} `yaml:"authjs"`
	Mail struct {
		URL  text `yaml:"url"`
		From text `yaml:"from"`
	} `yaml:"mail"`
	TLS struct {
		Cert text `yaml:"cert"`
		Key  text `yaml:"key"`
	} `yaml:"tls"`
	Outbound struct {
		Allow list `yaml:"allow"`
	} `yaml:"outbound"`
	Providers struct {
		Google    clientGiven `yaml:"google"`
		Microsoft struct {
			Client clientGiven `yaml:",inline"`
			Tenant text        `yaml:"tenant"`
		} `yaml:"microsoft"`
		Telegram struct {
			Client      clientGiven `yaml:",inline"`
			BotToken    text        `yaml:"bot_token"`
			BotUsername text        `yaml:"bot_username"`
		} `yaml:"telegram"`
	} `yaml:"providers"`

	appsFrom string
}

type clientGiven struct {
	ClientID     text `yaml:"client_id"`
	ClientSecret text `yaml:"client_secret"`
	Issuer       text `yaml:"issuer"`
}

type smsGiven struct {
	Provider   text `yaml:"provider"`
	AccountSID text `yaml:"account_sid"`
	AuthToken  text `yaml:"auth_token"`
	From       text `yaml:"from"`
	BaseURL    text `yaml:"base_url"`
}

type appGiven struct {
	Origin     *text  `yaml:"origin" json:"origin"`
	Workspaces *texts `yaml:"workspaces" json:"workspaces"`
	Roles      *texts `yaml:"roles" json:"roles"`
	Audience   *text  `yaml:"audience" json:"audience"`
	TokenTTL   *text  `yaml:"token_ttl" json:"token_ttl"`
}

// text is a value as it was written and the place it was written in, which is
// what an error about it has to name. YAML's own idea of a value is not used:
// +44… is a telephone number, and 0123 four digits of a token.
type text struct{ value, from string }

func (t *text) UnmarshalYAML(n ast.Node) error {
	switch n := n.(type) {
	case *ast.StringNode:
		t.value = n.Value
	case *ast.LiteralNode:
		t.value = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		t.value = n.GetToken().Value
	case *ast.NullNode:
	default:
		return fmt.Errorf("line %d wants one plain value", line(n))
	}
	return nil
}

// UnmarshalJSON takes a string, or a number as it is written.
func (t *text) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &t.value) == nil {
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return errors.New("wants text where it has something else")
	}
	t.value = n.String()
	return nil
}

// list is several values in one text, separated by commas; in YAML it may be a
// sequence.
type list struct{ text }

func (l *list) UnmarshalYAML(n ast.Node) error {
	var values texts
	if err := values.UnmarshalYAML(n); err != nil {
		return err
	}
	for i, v := range values {
		if i > 0 {
			l.value += ","
		}
		l.value += v.value
	}
	return nil
}

// texts is a sequence of values; one alone need not be written as a sequence.
type texts []text

func (ts *texts) UnmarshalYAML(n ast.Node) error {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		var t text
		if err := t.UnmarshalYAML(n); err != nil {
			return err
		}
		*ts = texts{t}
		return nil
	}
	*ts = make(texts, len(sequence.Values))
	for i, value := range sequence.Values {
		if err := (*ts)[i].UnmarshalYAML(value); err != nil {
			return err
		}
	}
	return nil
}

// appList keeps an absent list and an empty one apart.
type appList []appGiven

func (a *appList) UnmarshalYAML(n ast.Node) error {
	var apps []appGiven
	if err := yaml.NodeToValue(n, &apps, yaml.Strict()); err != nil {
		return err
	}
	*a = apps
	return nil
}

// smsList is one provider, or in YAML a list of them.
type smsList []smsGiven

func (s *smsList) UnmarshalYAML(n ast.Node) error {
	if _, ok := n.(*ast.SequenceNode); !ok {
		*s = make(smsList, 1)
		return yaml.NodeToValue(n, &(*s)[0], yaml.Strict())
	}
	var providers []smsGiven
	if err := yaml.NodeToValue(n, &providers, yaml.Strict()); err != nil {
		return err
	}
	*s = providers
	return nil
}

func (s *smsList) first() *smsGiven {
	if len(*s) == 0 {
		*s = make(smsList, 1)
	}
	return &(*s)[0]
}

func line(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// environment turns os.Environ's form into a map and refuses variables that
// look like settings and are none.
func environment(env []string) (map[string]string, error) {
	vars := make(map[string]string, len(env))
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		vars[name] = value
	}
	names := make([]string, 0, len(vars))
	for name := range vars {
		if strings.HasPrefix(name, "MITRAL_") && !isVariable(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return vars, nil
	}
	slices.Sort(names)
	var known []string
	for _, s := range settings {
		known = append(known, s.Env)
	}
	return nil, advise(instead(names[0], known), "%s is not a setting", plain(names[0]))
}

func isVariable(name string) bool {
	if name == configFileVariable || name == vectorsVariable {
		return true
	}
	for _, prefix := range foreignPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.ContainsFunc(settings, func(s Setting) bool {
		return name == s.Env || s.Secret && name == s.Env+"_FILE"
	})
}

func (g *given) readYAML(flag string, vars map[string]string, readFile func(string) ([]byte, error)) error {
	name, asked := flag, "--config"
	if name == "" {
		name, asked = vars[configFileVariable], configFileVariable
	}
	if name == "" {
		name, asked = defaultConfigFile, ""
	}
	content, err := readFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && asked == "":
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return advise("check the path given with "+asked, "%s does not exist", plain(name))
	case err != nil:
		return advise("let Mitral's user read it", "%s cannot be read (%s)", plain(name), reason(err))
	}

	file := plain(filepath.Base(name))
	decoder := yaml.NewDecoder(bytes.NewReader(content), yaml.Strict())
	if err := decoder.Decode(g); err != nil && !errors.Is(err, io.EOF) {
		return yamlAdvice(file, err)
	}
	if err := decoder.Decode(&given{}); !errors.Is(err, io.EOF) {
		return advise("keep one and take out the line ---", "%s holds more than one document", file)
	}

	for _, s := range settings {
		if s.at == nil || strings.HasPrefix(s.Path, "sms.") && len(g.SMS) == 0 {
			continue
		}
		s.at(g).from = s.Path + " in " + file
	}
	for i := range g.SMS {
		g.SMS[i].from(fmt.Sprintf("sms[%d]", i), file, len(g.SMS) == 1)
	}
	for i := range g.AuthSecret {
		g.AuthSecret[i].from = fmt.Sprintf("auth_secret[%d] in %s", i, file)
	}
	g.appsFrom = "apps in " + file
	return nil
}

func (s *smsGiven) from(prefix, file string, only bool) {
	if only {
		prefix = "sms"
	}
	s.Provider.from = prefix + ".provider in " + file
	s.AccountSID.from = prefix + ".account_sid in " + file
	s.AuthToken.from = prefix + ".auth_token in " + file
	s.From.from = prefix + ".from in " + file
	s.BaseURL.from = prefix + ".base_url in " + file
}

func yamlAdvice(file string, err error) error {
	var unknown *yaml.UnknownFieldError
	var syntax yaml.Error
	if errors.As(err, &unknown) {
		key := unknown.Token.Value
		if !identifier.MatchString(key) { // a stray secret is no key, and is not repeated
			key = "a key there"
		}
		var keys []string
		for _, s := range settings {
			keys = append(keys, strings.Split(s.Path, ".")...)
		}
		return advise(instead(unknown.Token.Value, keys), "%s line %d: %s is not a setting there",
			file, unknown.Token.Position.Line, key)
	}
	if errors.As(err, &syntax) {
		at := 1
		if t := syntax.GetToken(); t != nil && t.Position != nil {
			at = t.Position.Line
		}
		return advise("correct that line; docs/operate/configuration.md has an example",
			"%s line %d is not as it should be", file, at)
	}
	return advise("correct that line; docs/operate/configuration.md has an example",
		"%s: %s", file, plain(err.Error()))
}

func (g *given) readEnvironment(vars map[string]string, readFile func(string) ([]byte, error)) error {
	for _, s := range settings {
		if s.at == nil {
			continue
		}
		value, from, err := variable(s, vars, readFile)
		if err != nil {
			return err
		}
		if value != "" {
			*s.at(g) = text{value, from}
		}
	}
	if apps := vars["MITRAL_APPS"]; apps != "" {
		g.Apps, g.appsFrom = nil, "MITRAL_APPS"
		decoder := json.NewDecoder(strings.NewReader(apps))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&g.Apps); err != nil {
			return advise(`write it as [{"origin":"https://chart.example"}]`, "MITRAL_APPS %s", jsonReason(err))
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return advise("write one JSON list and nothing after it", "MITRAL_APPS goes on after its list")
		}
	}
	return g.readAuthSecrets(vars, readFile)
}

// readAuthSecrets takes AUTH_SECRET as Auth.js does. Set but empty is not the
// same as absent here: a failed substitution must not start a server whose
// cookies no application can open.
func (g *given) readAuthSecrets(vars map[string]string, readFile func(string) ([]byte, error)) error {
	var secrets texts
	for _, name := range authSecretVariables {
		value, from, err := variable(Setting{Env: name, Secret: true}, vars, readFile)
		if err != nil {
			return err
		}
		if _, set := vars[name]; set || value != "" {
			secrets = append(secrets, text{value, from})
		}
	}
	if secrets != nil {
		g.AuthSecret = secrets
	}
	return nil
}

// variable returns a setting's value from the environment, or for a secret
// from the file that the variable with _FILE at its end names.
func variable(s Setting, vars map[string]string, readFile func(string) ([]byte, error)) (value, from string, err error) {
	value = vars[s.Env]
	name := s.Env + "_FILE"
	file := vars[name]
	if !s.Secret || file == "" {
		return value, s.Env, nil
	}
	if value != "" {
		return "", "", advise("keep one of them", "%s and %s are both set", s.Env, name)
	}
	content, err := readFile(file)
	if err != nil {
		return "", "", advise("check the path, and that Mitral's user may read it",
			"the file that %s names cannot be read (%s)", name, reason(err))
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), name, nil
}

func (g *given) readFlags(values map[string]string) error {
	for flag, value := range values {
		i := slices.IndexFunc(settings, func(s Setting) bool { return s.Flag == flag })
		if i < 0 || flag == "" {
			return advise("see mitral serve --help", "--%s is not a setting", plain(flag))
		}
		if value != "" {
			*settings[i].at(g) = text{value, "--" + flag}
		}
	}
	return nil
}

func jsonReason(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("is not JSON (at byte %d)", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("has the wrong kind of value (at byte %d)", kind.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "is not JSON (it ends too early)"
	}
	return "has an " + plain(strings.TrimPrefix(err.Error(), "json: "))
}

// reason keeps only why a file could not be read: the message around it
// repeats the path, which may be what is secret about it.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return plain(path.Err.Error())
	}
	return plain(err.Error())
}

// plain puts text that came from outside on one printable line.
func plain(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// instead says what to do about a name that is none of the known ones.
func instead(name string, known []string) string {
	best, least := "", min(3, len(name)/3+1)
	for _, k := range known {
		if d := distance(name, k); d > 0 && d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "take it out, or see mitral serve --help for all settings"
}

// distance is Levenshtein's: how many letters to add, drop or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			previous, row[j+1] = row[j+1], min(previous+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
