package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mitral-health/mitral/examples/chart"
	"github.com/mitral-health/mitral/internal/mitraltest"
)

// person is one of the clinic's people, with what only they know.
type person struct {
	id, email, name, role string
	key, pin              string
	recovery              []string
}

// card is what the person's key card says to a scanner.
func (p person) card() string { return p.email + mitraltest.Tab + p.key + mitraltest.Enter }

// clinic is an installation at work: a server with mail and SMS at its other
// end, three people, and a patient chart beside it on the same name, as behind a
// clinic's reverse proxy.
type clinic struct {
	*place
	node                 *node
	front                *front
	mail                 *mitraltest.SMTPServer
	sms                  *mitraltest.TwilioServer
	slug                 string
	admin, doctor, nurse person
	sealed               []sealedCode
}

type sealedCode struct{ Label, Code, Location string }

const adminPhone = "+442079460101"

// newClinic makes one by the command line, with people who claimed their keys.
func newClinic(t *testing.T, db database) *clinic {
	t.Helper()
	c := &clinic{place: newPlace(t, db), mail: mitraltest.SMTP(t), sms: mitraltest.Twilio(t)}
	c.front = newFront(t)
	for name, value := range map[string]string{
		"MITRAL_LISTEN": freeAddress(t), "MITRAL_PUBLIC_URL": c.front.url,
		"MITRAL_MAIL_URL": c.mail.URL(), "MITRAL_MAIL_FROM": "mitral@hope.example",
		"MITRAL_SMS_PROVIDER": "twilio", "MITRAL_SMS_ACCOUNT_SID": c.sms.AccountSID, "MITRAL_SMS_AUTH_TOKEN": c.sms.AuthToken,
		"MITRAL_SMS_FROM": c.sms.From, "MITRAL_SMS_BASE_URL": c.sms.URL,
	} {
		c.env[name] = value
	}
	c.secrets.keep(c.sms.AuthToken)
	c.admin = person{email: "grace@hope.example", name: "Grace Okafor", role: "admin", pin: "8264"}
	c.setup()
	c.node = c.serve()
	c.front.lead(c.node)
	c.doctor = c.staff(person{email: "omar@hope.example", name: "Omar Haddad", role: "doctor", pin: "5917"})
	c.nurse = c.staff(person{email: "nadia@hope.example", name: "Nadia Rahman", role: "nurse", pin: "7306"})
	return c
}

// setup makes the workspace and its administrator.
func (c *clinic) setup() {
	c.t.Helper()
	made := object[setupAnswer](c.runWith(c.admin.pin+"\n", nil, "setup", "--workspace", "Hope Clinic", "--admin-email", c.admin.email,
		"--admin-name", c.admin.name, "--admin-phone", adminPhone, "--pin-file", "-", "--json").is(0))
	c.slug, c.sealed = made.Workspace.Slug, made.SealedCodes
	c.admin.id, c.admin.key, c.admin.recovery = made.User.ID, made.Key, made.RecoveryCodes
	c.secrets.keep(made.secrets()...)
}

// setupAnswer is what mitral setup --json answers.
type setupAnswer struct {
	Workspace     struct{ ID, Slug string }
	User          struct{ ID, Email string }
	Key           string
	RecoveryCodes []string     `json:"recovery_codes"`
	SealedCodes   []sealedCode `json:"sealed_codes"`
	KEKLetter     string       `json:"kek_letter"`
}

func (s setupAnswer) secrets() []string {
	list := append([]string{s.Key}, s.RecoveryCodes...)
	for _, code := range s.SealedCodes {
		list = append(list, code.Code)
	}
	return list
}

// claim is what mitral user add --json answers.
type claim struct {
	User      struct{ ID string }
	ClaimURL  string `json:"claim_url"`
	ClaimCode string `json:"claim_code"`
}

func (c claim) token() string { return path.Base(c.ClaimURL) }

// invite adds a person by the command line.
func (p *place) invite(slug string, who person) claim {
	p.t.Helper()
	got := object[claim](p.run("user", "add", "--workspace", slug, "--email", who.email, "--name", who.name, "--role", who.role, "--json").is(0))
	p.secrets.keep(got.token())
	return got
}

// staff adds a person who then claims their key.
func (c *clinic) staff(p person) person {
	c.t.Helper()
	invited := c.invite(c.slug, p)
	p.id = invited.User.ID
	c.node.claim(invited, &p)
	return p
}

// claim claims over the API, and gives the person their key.
func (n *node) claim(c claim, p *person) {
	n.t.Helper()
	r := n.caller().post("/api/v1/claims/"+c.token(), map[string]string{"claim_code": c.ClaimCode, "pin": p.pin}).is(http.StatusOK)
	p.key = r.text("key")
	codes, _ := r.at("recovery_codes").([]any)
	for _, code := range codes {
		p.recovery = append(p.recovery, code.(string))
	}
	n.secrets.keep(append(p.recovery, p.key)...)
}

// signIn signs a person in at a fresh browser.
func (n *node) signIn(p person) *caller {
	n.t.Helper()
	c := n.caller()
	c.signIn(p)
	return c
}

func (c *caller) signIn(p person) reply {
	c.t.Helper()
	r := c.post("/api/v1/auth/key-pin", map[string]string{"identifier": p.email, "key": p.key, "pin": p.pin}).is(http.StatusOK)
	if r.text("state") != "signed_in" {
		c.t.Fatalf("sign-in of %s: %s", p.email, r.body)
	}
	return r
}

// stepUp proves the person anew for an action, by PIN.
func (c *caller) stepUp(p person, action, txHash string) string {
	c.t.Helper()
	body := map[string]string{"action": action, "method": "pin", "pin": p.pin}
	if txHash != "" {
		body["tx_hash"] = txHash
	}
	token := c.post("/api/v1/session/step-up", body).is(http.StatusOK).text("step_up_token")
	c.node.secrets.keep(token)
	return token
}

// allowChart gives roles what the chart asks about, as its documentation says:
// administrators and one sealed record only inside a grant.
func (c *clinic) allowChart() {
	c.t.Helper()
	admin := c.node.signIn(c.admin)
	r := admin.get("/api/v1/policy").is(http.StatusOK)
	var doc map[string]any
	r.into(&doc)
	allow := chart.Allow()
	for name, role := range doc["roles"].(map[string]any) {
		if list, ok := allow[name]; ok {
			role.(map[string]any)["allow"] = list
		}
	}
	glass := doc["break_glass"].(map[string]any)
	glass["allow"] = allow[glass["role"].(string)]
	admin.do(http.MethodPut, "/api/v1/policy", doc, "If-Match", r.header.Get("ETag"), "Mitral-Reason", "the chart's actions").is(http.StatusOK)
}

// front is what browsers speak to: the chart on its paths, Mitral on all others,
// as a reverse proxy of the clinic's would have it.
type front struct {
	url  string
	node atomic.Pointer[node]
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{}
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f.url = "http://localhost:" + server.URL[strings.LastIndexByte(server.URL, ':')+1:]

	mux.Handle("/", &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", f.node.Load().address, r.In.Host
	}})
	record := chart.New(chart.Config{MitralURL: server.URL, PublicURL: f.url})
	mux.Handle("/demo/chart", record)
	mux.Handle("/demo/chart/", record)
	return f
}

// lead leads browsers to a node from now on.
func (f *front) lead(n *node) { f.node.Store(n) }
