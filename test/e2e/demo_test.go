package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var demoPerson = regexp.MustCompile(`^(admin|doctor|nurse) (\S+@\S+) ([0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{2}) ([0-9]{4})$`)

// demoPeople are the people that a demo has printed.
func (n *node) demoPeople() []person {
	n.t.Helper()
	n.stdout.find(n.t, "nurse ")
	var people []person
	for line := range strings.Lines(n.stdout.String()) {
		if m := demoPerson.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			people = append(people, person{role: m[1], email: m[2], key: m[3], pin: m[4]})
			n.secrets.keep(m[3])
		}
	}
	return people
}

func TestDemoStart(t *testing.T) {
	t.Parallel()
	p := newPlace(t, database{name: "sqlite"})
	p.data = "" // so that it is ./mitral-demo
	n := p.serve("--demo")
	people := n.demoPeople()
	var roles []string
	for _, who := range people {
		roles = append(roles, who.role)
	}
	if !slices.Equal(roles, []string{"admin", "doctor", "nurse"}) {
		t.Fatalf("the demo prints %q", n.stdout)
	}
	if !strings.Contains(n.stdout.String(), n.url+"/demo") {
		t.Errorf("the demo doesn't say where it is: %q", n.stdout)
	}
	for _, who := range people {
		c := n.signIn(who)
		if got := c.get("/api/v1/auth/session").text("user.email"); got != who.email {
			t.Errorf("signed in as %q, want %q", got, who.email)
		}
	}
	info, err := os.Stat(filepath.Join(p.home, "mitral-demo", "demo.txt"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("demo.txt: %v, %v", info, err)
	}
	admin := n.signIn(people[0])
	for _, path := range []string{"/demo", "/demo/outbox", "/demo/gallery"} {
		admin.get(path).is(http.StatusOK)
	}
	if r := n.caller().get("/demo/chart").is(http.StatusSeeOther); !strings.Contains(r.header.Get("Location"), "/signin?callbackUrl=") {
		t.Errorf("the chart sends strangers to %q", r.header.Get("Location"))
	}

	n.restart(true, "--demo")
	n.stdout = newLines() // what was printed before the restart was read above
	n.restart(false, "--demo")
	if again := n.demoPeople(); !slices.EqualFunc(again, people, func(a, b person) bool { return a.key == b.key && a.pin == b.pin && a.email == b.email }) {
		t.Errorf("started again, the demo prints %q", n.stdout)
	}
	p.data = filepath.Join(p.home, "mitral-demo")
	p.verify()
}

func TestDemoObeysAddressAndURL(t *testing.T) {
	t.Parallel()
	p := newPlace(t, database{name: "sqlite"})
	p.env["MITRAL_LISTEN"] = freeAddress(t)
	p.env["MITRAL_PUBLIC_URL"] = "http://clinic.localhost" + p.env["MITRAL_LISTEN"][strings.LastIndexByte(p.env["MITRAL_LISTEN"], ':'):]
	n := p.serve("--demo")
	n.demoPeople()
	if !strings.Contains(n.stdout.String(), p.env["MITRAL_PUBLIC_URL"]+"/demo") {
		t.Errorf("the demo says it is at %q", n.stdout)
	}
	c := n.caller()
	c.get("/demo").is(http.StatusOK)
	c.get("/demo/chart").is(http.StatusSeeOther) // it calls Mitral as an application would
	c.base = "http://localhost" + p.env["MITRAL_LISTEN"][strings.LastIndexByte(p.env["MITRAL_LISTEN"], ':'):]
	c.get("/demo").is(http.StatusMisdirectedRequest)
}

func TestDemoRefusesWhatItMustNotTouch(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(p *place){
		"a folder that is not its own": func(p *place) {
			p.write(filepath.Join(p.data, "patients.db"), "real")
		},
		"an installation's folder": func(p *place) {
			p.runWith("8264", nil, "setup", "--workspace", "Hope Clinic", "--admin-email", "grace@hope.example", "--admin-name", "Grace Okafor",
				"--pin-file", "-", "--json").is(0)
		},
		"a listener off loopback": func(p *place) { p.env["MITRAL_LISTEN"] = "0.0.0.0:0" },
		"mail settings": func(p *place) {
			p.env["MITRAL_MAIL_URL"], p.env["MITRAL_MAIL_FROM"] = "smtp://127.0.0.1:2525", "mitral@hope.example"
		},
		"SMS settings": func(p *place) {
			p.env["MITRAL_SMS_PROVIDER"], p.env["MITRAL_SMS_ACCOUNT_SID"] = "twilio", "AC00000000000000000000000000000000"
			p.env["MITRAL_SMS_AUTH_TOKEN"], p.env["MITRAL_SMS_FROM"] = "00000000000000000000000000000000", "+15005550006"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, database{name: "sqlite"})
			p.env["MITRAL_LISTEN"] = "127.0.0.1:0"
			spoil(p)
			before := p.files()
			o := p.run("serve", "--demo").is(1).says()
			if o.stdout != "" {
				t.Errorf("a refused demo prints %q", o.stdout)
			}
			if after := p.files(); !slices.Equal(after, before) {
				t.Errorf("a refused demo wrote: %v, before %v", after, before)
			}
		})
	}
}

// TestDemoIsNotThereWithoutIt: a control for what TestDemoStart reaches.
func TestDemoIsNotThereWithoutIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t, database{name: "sqlite"})
	p.runWith("8264", nil, "setup", "--workspace", "Hope Clinic", "--admin-email", "grace@hope.example", "--admin-name", "Grace Okafor",
		"--pin-file", "-", "--json").is(0)
	c := p.serve().caller()
	c.get("/signin?resume=0").is(http.StatusOK)
	for _, path := range []string{"/demo", "/demo/", "/demo/chart", "/demo/chart/patients/P-1001", "/demo/chart/static/chart.js", "/demo/outbox", "/demo/gallery"} {
		c.get(path).is(http.StatusNotFound)
	}
	c.send(http.MethodPost, "/demo/chart/export", "application/x-www-form-urlencoded", nil).is(http.StatusNotFound)
}

func (p *place) write(file, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// files are the names of all files in the data folder.
func (p *place) files() []string {
	p.t.Helper()
	var names []string
	err := filepath.WalkDir(p.data, func(name string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}
