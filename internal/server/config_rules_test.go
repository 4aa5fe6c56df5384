package server_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mitral-health/mitral/internal/server"
)

// A PIN or a cookie never crosses a network in clear: plain http starts only on
// this machine, or towards a declared proxy.
func TestF37PlainHTTP(t *testing.T) {
	const (
		cert    = "MITRAL_TLS_CERT=cert.pem"
		key     = "MITRAL_TLS_KEY=key.pem"
		anyone  = "MITRAL_LISTEN=0.0.0.0:8080"
		proxy   = "MITRAL_TRUSTED_PROXIES=10.0.0.5"
		secure  = "MITRAL_PUBLIC_URL=https://auth.clinic.example"
		declare = ": set MITRAL_TLS_CERT and MITRAL_TLS_KEY, or MITRAL_TRUSTED_PROXIES to your reverse proxy"
		inClear = " is plain http off this machine: write it with https, and set MITRAL_TLS_CERT and MITRAL_TLS_KEY or MITRAL_TRUSTED_PROXIES"
		local   = "on 127.0.0.1:8080, [::1]:8080"
	)
	tests := map[string]struct {
		env         []string
		refusal     string
		onlyProxies bool
	}{
		"loopback, both":                     {[]string{}, "", false},
		"loopback, other names":              {[]string{"MITRAL_LISTEN=127.8.8.8:1", "MITRAL_PUBLIC_URL=http://hope.localhost:1"}, "", false},
		"loopback behind a proxy there":      {[]string{"MITRAL_TRUSTED_PROXIES=127.0.0.1"}, "", false},
		"certificate":                        {[]string{anyone, cert, key, secure}, "", false},
		"certificate and proxy":              {[]string{anyone, cert, key, secure, proxy}, "", false},
		"certificate on loopback":            {[]string{cert, key}, "", false},
		"declared proxy":                     {[]string{anyone, secure, proxy}, "", true},
		"declared proxy on this machine":     {[]string{secure, "MITRAL_TRUSTED_PROXIES=127.0.0.1"}, "", true},
		"declared proxy, loopback address":   {[]string{anyone, "MITRAL_PUBLIC_URL=http://localhost:8080", proxy}, "", true},
		"undeclared proxy":                   {[]string{secure}, "https://auth.clinic.example would be served by plain http " + local + declare, false},
		"open, without anything":             {[]string{anyone, secure}, "https://auth.clinic.example would be served by plain http on 0.0.0.0:8080" + declare, false},
		"open, loopback address":             {[]string{anyone, "MITRAL_PUBLIC_URL=http://localhost:8080"}, "http://localhost:8080 would be served by plain http on 0.0.0.0:8080" + declare, false},
		"one of two addresses open":          {[]string{"MITRAL_LISTEN=127.0.0.1:8080,192.0.2.7:8080", "MITRAL_PUBLIC_URL=http://localhost:8080"}, "http://localhost:8080 would be served by plain http on 127.0.0.1:8080, 192.0.2.7:8080" + declare, false},
		"every address open":                 {[]string{"MITRAL_LISTEN=:8080", "MITRAL_PUBLIC_URL=http://localhost:8080"}, "http://localhost:8080 would be served by plain http on :8080" + declare, false},
		"plain public address":               {[]string{"MITRAL_PUBLIC_URL=http://auth.clinic.example"}, "MITRAL_PUBLIC_URL" + inClear, false},
		"plain public address behind proxy":  {[]string{anyone, proxy, "MITRAL_PUBLIC_URL=http://auth.clinic.example"}, "MITRAL_PUBLIC_URL" + inClear, false},
		"name that only looks like loopback": {[]string{"MITRAL_PUBLIC_URL=http://localhost.clinic.example"}, "MITRAL_PUBLIC_URL" + inClear, false},
		"certificate, plain public address":  {[]string{cert, key, "MITRAL_PUBLIC_URL=http://localhost:8080"}, "MITRAL_PUBLIC_URL is plain http, but a certificate is set: write the public URL with https", false},
		"certificate without key":            {[]string{cert}, "MITRAL_TLS_CERT is set without its key: set MITRAL_TLS_KEY too", false},
		"key without certificate":            {[]string{key}, "MITRAL_TLS_KEY is set without its certificate: set MITRAL_TLS_CERT too", false},
		"open, nobody knows its address":     {[]string{anyone, cert, key}, "MITRAL_LISTEN opens Mitral to other machines, but no public URL is set: set MITRAL_PUBLIC_URL to the address that people type", false},
		"every machine a proxy":              {[]string{anyone, secure, "MITRAL_TRUSTED_PROXIES=0.0.0.0/0"}, "MITRAL_TRUSTED_PROXIES trusts every machine there is: name your proxies' own addresses", false},
		"every IPv6 machine a proxy":         {[]string{anyone, secure, "MITRAL_TRUSTED_PROXIES=10.0.0.1,::/0"}, "MITRAL_TRUSTED_PROXIES trusts every machine there is: name your proxies' own addresses", false},
		"proxy that is a name":               {[]string{anyone, secure, "MITRAL_TRUSTED_PROXIES=proxy"}, `MITRAL_TRUSTED_PROXIES holds "proxy": write networks as 10.0.0.0/8 or fd00::/8, separated by commas`, false},
		"proxy in the mapped form":           {[]string{anyone, secure, "MITRAL_TRUSTED_PROXIES=::ffff:10.0.0.0/104"}, `MITRAL_TRUSTED_PROXIES holds "::ffff:10.0.0.0/104": write it as an IPv4 network`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := load("", tt.env...)
			if tt.refusal != "" {
				refused(t, err, tt.refusal)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.OnlyFromProxies() != tt.onlyProxies {
				t.Errorf("only from proxies: %v, want %v", c.OnlyFromProxies(), tt.onlyProxies)
			}
		})
	}
}

func TestListen(t *testing.T) {
	for written, want := range map[string][]string{
		"127.0.0.1:9000":           {"127.0.0.1:9000"},
		"localhost:0":              {"127.0.0.1:0", "[::1]:0"},
		"[::1]:1, 127.0.0.1:2":     {"[::1]:1", "127.0.0.1:2"},
		"8080":                     nil,
		"127.0.0.1":                nil,
		"127.0.0.1:http":           nil,
		"127.0.0.1:65536":          nil,
		"127.0.0.1:080":            nil,
		"127.0.0.1:":               nil,
		"clinic.example:80":        nil,
		",":                        nil,
		"127.0.0.1:1\n127.0.0.1:2": nil,
	} {
		c, err := load("", "MITRAL_LISTEN="+written)
		if (err == nil) != (want != nil) || !slices.Equal(c.Listen, want) {
			t.Errorf("%q listens on %q (%v)", written, c.Listen, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than one line: %v", written, err)
		}
	}
}

func TestOrigins(t *testing.T) {
	for written, want := range map[string]string{
		"https://auth.clinic.example":        "https://auth.clinic.example",
		"https://AUTH.clinic.example:443/":   "https://auth.clinic.example",
		"https://auth.clinic.example:8443":   "https://auth.clinic.example:8443",
		"http://localhost:80":                "http://localhost",
		"http://[::1]:8080":                  "http://[::1]:8080",
		"https://192.0.2.1:":                 "https://192.0.2.1",
		"auth.clinic.example":                "",
		"//auth.clinic.example":              "",
		"ftp://auth.clinic.example":          "",
		"https://":                           "",
		"https://auth.clinic.example/mitral": "",
		"https://auth.clinic.example?x":      "",
		"https://auth.clinic.example?":       "",
		"https://auth.clinic.example#":       "",
		"https://u:p@auth.clinic.example":    "",
		"https://*.clinic.example":           "",
		"https://klinik-köln.example":        "",
		"https://auth.clinic.example:0443":   "",
		"https://auth.clinic.example:99999":  "",
		"https://a b.example":                "",
	} {
		c, err := load("", "MITRAL_PUBLIC_URL="+written, "MITRAL_TRUSTED_PROXIES=127.0.0.1")
		if c.PublicURL != want || (err == nil) != (want != "") {
			t.Errorf("public URL %q is %q (%v), want %q", written, c.PublicURL, err, want)
		}
		c, err = load("", `MITRAL_APPS=[{"origin":"`+written+`"}]`)
		if (err == nil) != (want != "") || err == nil && c.Apps[0].Origin != want {
			t.Errorf("app %q is %+v (%v), want %q", written, c.Apps, err, want)
		}
	}
}

func TestApps(t *testing.T) {
	const form = `: write it as [{"origin":"https://chart.example"}]`
	for apps, want := range map[string]string{
		`[{"origin":"https://a.example"}]`:                                    "",
		`[{"origin":"https://a.example","workspaces":null,"token_ttl":"1s"}]`: "",
		`[]`:                                 "",
		`{"origin":"https://a.example"}`:     "MITRAL_APPS has the wrong kind of value (at byte 1)" + form,
		`[{"origin":"https://a.example"}`:    "MITRAL_APPS is not JSON (it ends too early)" + form,
		`[{"origin":https}]`:                 "MITRAL_APPS is not JSON (at byte 12)" + form,
		`[{"orgin":"https://a.example"}]`:    `MITRAL_APPS has an unknown field "orgin"` + form,
		`[] []`:                              "MITRAL_APPS goes on after its list: write one JSON list and nothing after it",
		`[{}]`:                               "app 1 of MITRAL_APPS has no origin: write it as https://chart.clinic.example",
		`[{"origin":"https://a.example/x"}]`: "app 1 of MITRAL_APPS has an origin that has a path: write it as https://chart.clinic.example",
		`[{"origin":"https://a.example"},{"origin":"https://A.example/"}]`: "app 2 of MITRAL_APPS is https://a.example again: keep one of them",
		`[{"origin":"https://a.example","workspaces":[]}]`:                 "app 1 of MITRAL_APPS has workspaces that are an empty list: list their slugs, or leave the list out for all",
		`[{"origin":"https://a.example","workspaces":["Hope!"]}]`:          `app 1 of MITRAL_APPS has workspaces that hold "Hope!": list their slugs, or leave the list out for all`,
		`[{"origin":"https://a.example","roles":[]}]`:                      "app 1 of MITRAL_APPS has roles that are an empty list: list roles such as nurse, or leave the list out for all",
		`[{"origin":"https://a.example","audience":""}]`:                   "app 1 of MITRAL_APPS has an audience that is empty, long or not plain text: leave it out to use the origin",
		`[{"origin":"https://a.example","token_ttl":"11m"}]`:               `app 1 of MITRAL_APPS has a token_ttl that is out of bounds: write it as "2m", at most "10m"`,
		`[{"origin":"https://a.example","token_ttl":0}]`:                   `app 1 of MITRAL_APPS has a token_ttl that is out of bounds: write it as "2m", at most "10m"`,
		`[{"origin":"https://a.example","token_ttl":"soon"}]`:              `app 1 of MITRAL_APPS has a token_ttl that is no duration: write it as "2m", at most "10m"`,
	} {
		c, err := load("", "MITRAL_APPS="+apps)
		if want != "" {
			refused(t, err, want)
		} else if err != nil || !c.Apps[len(c.Apps)-1].Implied {
			t.Errorf("%s: %+v, %v", apps, c.Apps, err)
		}
	}

	c := mustLoad(t, "", `MITRAL_APPS=[{"origin":"http://localhost:8080","workspaces":["hope"]}]`)
	if len(c.Apps) != 1 || c.Apps[0].Implied || !slices.Equal(c.Apps[0].Workspaces, []string{"hope"}) {
		t.Errorf("the public URL listed as an app: %+v", c.Apps)
	}
}

func TestDatabases(t *testing.T) {
	const form = " is neither SQLite nor PostgreSQL: write it as sqlite:PATH or postgres://…"
	const file = " does not name a file: write it as sqlite:/var/lib/mitral/mitral.db"
	for written, want := range map[string]string{
		"sqlite:/srv/mitral.db":         "",
		"sqlite:here.db":                "",
		"postgres://m:swordfish@h/db":   "",
		"postgresql://h/db":             "",
		"mysql://m:swordfish@h/db":      "MITRAL_DATABASE" + form,
		"host=h password=swordfish":     "MITRAL_DATABASE" + form,
		"sqlite:":                       "MITRAL_DATABASE" + file,
		"sqlite:///srv/mitral.db":       "MITRAL_DATABASE" + file,
		"sqlite::memory:":               "MITRAL_DATABASE" + file,
		"sqlite:m.db?_journal_mode=OFF": "MITRAL_DATABASE" + file,
	} {
		if _, err := load("", "MITRAL_DATABASE="+written); want != "" {
			refused(t, err, want)
		} else if err != nil {
			t.Errorf("%s: %v", written, err)
		}
	}
	_, err := load("", "MITRAL_MIGRATE_DATABASE=postgres://o:swordfish@h/db")
	refused(t, err, "MITRAL_MIGRATE_DATABASE is for PostgreSQL only: take it out")
	_, err = load("", "MITRAL_DATABASE=postgres://h/db", "MITRAL_MIGRATE_DATABASE=swordfish")
	refused(t, err, "MITRAL_MIGRATE_DATABASE is no PostgreSQL address: write it as postgres://…")

	for url, want := range map[string]string{
		"postgres://h/db?password=" + password:   "database: postgres://h/db (MITRAL_DATABASE)",
		"postgres://m:a@" + password + "@h/db":   "database: postgres://[secret]@h/db (MITRAL_DATABASE)",
		"postgres://m:" + password + "?x@h/db":   "database: postgres://[secret] (MITRAL_DATABASE)",
		"postgres://h/db?password=x@" + password: "database: postgres://[secret] (MITRAL_DATABASE)",
	} {
		if got := mustLoad(t, "", "MITRAL_DATABASE="+url).String(); !strings.Contains(got, want) || strings.Contains(got, password) {
			t.Errorf("%s shows as\n%s", url, got)
		}
	}
}

func TestWordsAndProviders(t *testing.T) {
	for env, want := range map[string]string{
		"MITRAL_AUTHJS_DIALECT=v6":                           `MITRAL_AUTHJS_DIALECT is "v6": write v4 or v5`,
		"MITRAL_LOG_LEVEL=loud":                              `MITRAL_LOG_LEVEL is "loud": write debug, info, warn or error`,
		"MITRAL_OUTBOUND_ALLOW=x":                            `MITRAL_OUTBOUND_ALLOW holds "x": write networks as 10.0.0.0/8 or fd00::/8, separated by commas`,
		"MITRAL_MAIL_URL=mx:25":                              "MITRAL_MAIL_URL is not usable (it does not begin with smtp:// or smtps://): write smtp://host:port or smtps://user:pass@host, and set MITRAL_MAIL_FROM to one address",
		"MITRAL_SMS_PROVIDER=other":                          `MITRAL_SMS_PROVIDER is "other": write twilio; sms.base_url may name any gateway compatible with it`,
		"MITRAL_SMS_FROM=Hope":                               "SMS provider is not usable (it has no account SID): see docs/operate/configuration.md, Text messages",
		"MITRAL_GOOGLE_CLIENT_ID=g":                          "MITRAL_GOOGLE_CLIENT_ID is set without its client secret: set the client secret too, or neither",
		"MITRAL_TELEGRAM_CLIENT_SECRET=swordfish":            "MITRAL_TELEGRAM_CLIENT_SECRET is set without its client id: set the client id too, or neither",
		"MITRAL_MICROSOFT_TENANT=hope":                       `MITRAL_MICROSOFT_TENANT is "hope": write common, organizations, consumers or the tenant's GUID`,
		"MITRAL_GOOGLE_ISSUER=http://google.example":         "MITRAL_GOOGLE_ISSUER is not https: write it as https://issuer.example",
		"MITRAL_GOOGLE_ISSUER=https://u:swordfish@g.example": "MITRAL_GOOGLE_ISSUER is no plain URL: write it as https://issuer.example",
	} {
		_, err := load("", env)
		refused(t, err, want)
	}
	c := mustLoad(t, "", "MITRAL_MICROSOFT_TENANT=9188040D-6c67-4c5b-b112-36a304b66dad", "MITRAL_GOOGLE_ISSUER=http://127.0.0.1:9000/realm",
		"MITRAL_TELEGRAM_BOT_TOKEN=swordfish", "MITRAL_MAIL_URL=smtp://127.0.0.1:25")
	if c.Mail.From != "mitral@localhost" || c.Google.Issuer != "http://127.0.0.1:9000/realm" {
		t.Errorf("sender %q, issuer %q", c.Mail.From, c.Google.Issuer)
	}
}

func TestDemo(t *testing.T) {
	demo := func(env ...string) (server.Config, error) {
		return server.LoadConfig(server.Flags{Demo: true}, env, files{}.read)
	}
	c, err := demo("HOME=/home/grace", "MITRAL_LISTEN=127.0.0.1:9000")
	if err != nil || !c.Demo || c.Data != "./mitral-demo" || c.PublicURL != "http://localhost:9000" {
		t.Fatalf("demo is %s (%v)", c, err)
	}
	if path, warning := c.KEKPath("ins_1"); path != "mitral-demo/keys/kek" || warning != "" {
		t.Errorf("key is at %q (%q)", path, warning)
	}
	if c, err = demo("MITRAL_DATA=/tmp/mine"); err != nil || c.Data != "/tmp/mine" {
		t.Errorf("data is %q (%v)", c.Data, err)
	}
	for env, want := range map[string]string{
		"MITRAL_MAIL_URL=smtp://mx.example": "MITRAL_MAIL_URL is set, but the demo sends nothing: take it out; the demo shows its messages at /demo/outbox",
		"MITRAL_MAIL_FROM=a@b.example":      "MITRAL_MAIL_FROM is set, but the demo sends nothing: take it out; the demo shows its messages at /demo/outbox",
	} {
		_, err := demo(env)
		refused(t, err, want)
	}
	_, err = demo("MITRAL_SMS_ACCOUNT_SID=AC1", "MITRAL_SMS_AUTH_TOKEN=x", "MITRAL_SMS_FROM=Hope")
	refused(t, err, "MITRAL_SMS_ACCOUNT_SID is set, but the demo sends nothing: take it out; the demo shows its messages at /demo/outbox")
	_, err = demo("MITRAL_LISTEN=0.0.0.0:8443", "MITRAL_PUBLIC_URL=https://demo.example", "MITRAL_TLS_CERT=c", "MITRAL_TLS_KEY=k")
	refused(t, err, "MITRAL_LISTEN would show the demo to other machines: listen on localhost, or serve without --demo")
}

// The key that opens everything does not lie beside what it opens, and neither
// does the memory of how far the log had come.
func TestF04KeysLieElsewhere(t *testing.T) {
	const warning = "the key-encryption key mitral-data/keys/kek lies beside the data it protects: name another place in MITRAL_KEK_FILE"
	tests := map[string]struct {
		env                     []string
		id                      string
		kek, warning, highwater string
	}{
		"home":            {[]string{"HOME=/home/g"}, "ins_1", "/home/g/.config/mitral/ins_1.kek", "", "/home/g/.config/mitral/ins_1.highwater"},
		"XDG":             {[]string{"HOME=/home/g", "XDG_CONFIG_HOME=/cfg"}, "ins_1", "/cfg/mitral/ins_1.kek", "", "/cfg/mitral/ins_1.highwater"},
		"XDG is relative": {[]string{"HOME=/home/g", "XDG_CONFIG_HOME=cfg"}, "ins_1", "/home/g/.config/mitral/ins_1.kek", "", "/home/g/.config/mitral/ins_1.highwater"},
		"named":           {[]string{"HOME=/home/g", "MITRAL_KEK_FILE=/etc/kek"}, "ins_1", "/etc/kek", "", "/home/g/.config/mitral/ins_1.highwater"},
		"named, no home":  {[]string{"MITRAL_KEK_FILE=/etc/kek"}, "ins_1", "/etc/kek", "", "mitral-data/keys/highwater"},
		"no home":         {nil, "ins_1", "mitral-data/keys/kek", warning, "mitral-data/keys/highwater"},
		"hostile id":      {[]string{"HOME=/home/g"}, "../../../etc/x", "/home/g/.config/mitral/x.kek", "", "/home/g/.config/mitral/x.highwater"},
		"id of dots":      {[]string{"HOME=/home/g"}, "..", "/home/g/.config/mitral/.kek", "", "/home/g/.config/mitral/.highwater"},
	}
	for name, tt := range tests {
		c := mustLoad(t, "", tt.env...)
		kek, warned := c.KEKPath(tt.id)
		if kek != tt.kek || warned != tt.warning || c.HighwaterPath(tt.id) != tt.highwater {
			t.Errorf("%s: key %q (%q), high water %q", name, kek, warned, c.HighwaterPath(tt.id))
		}
	}
}

func TestOnPort(t *testing.T) {
	c := mustLoad(t, "", "MITRAL_LISTEN=127.0.0.1:0", `MITRAL_APPS=[{"origin":"http://localhost:3000"}]`)
	on := c.OnPort(40123)
	if on.PublicURL != "http://localhost:40123" || on.Apps[1].Origin != "http://localhost:40123" ||
		on.Apps[1].Audience != "http://localhost:40123" || on.Apps[0].Origin != "http://localhost:3000" {
		t.Errorf("on port 40123: %q, %+v", on.PublicURL, on.Apps)
	}
	if c.PublicURL != "http://localhost:0" || c.Apps[1].Origin != "http://localhost:0" {
		t.Errorf("the original changed: %q, %+v", c.PublicURL, c.Apps)
	}
	if fixed := mustLoad(t, "").OnPort(40123); fixed.PublicURL != "http://localhost:8080" {
		t.Errorf("a port that was chosen changed: %q", fixed.PublicURL)
	}
}
