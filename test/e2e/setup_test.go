package e2e

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// within fails the test when a journey took longer than its budget. It starts
// the count.
func within(t *testing.T, name string, budget time.Duration) (end func()) {
	t.Helper()
	begun := time.Now()
	return func() {
		t.Helper()
		if took := time.Since(begun); took > budget {
			t.Errorf("journey %s took %s, its budget is %s", name, took.Round(time.Millisecond), budget)
		}
	}
}

var setupAddress = regexp.MustCompile(`https?://\S+/setup\?token=\S+`)

// TestFirstDay is J1, J2 and J3: an administrator sets the clinic up in the
// browser from the address that serve prints, adds a nurse, and the nurse claims
// her key.
func TestFirstDay(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		p := newPlace(t, db)
		mail := mitraltest.SMTP(t)
		p.env["MITRAL_LISTEN"] = freeAddress(t)
		p.env["MITRAL_PUBLIC_URL"] = "http://" + p.env["MITRAL_LISTEN"] // an address without a name
		p.env["MITRAL_MAIL_URL"], p.env["MITRAL_MAIL_FROM"] = mail.URL(), "mitral@hope.example"
		n := p.serve()
		address := setupAddress.FindString(n.stdout.find(t, "/setup?token="))
		p.secrets.keep(address[strings.Index(address, "token=")+len("token="):])
		n.caller().get(strings.TrimPrefix(address, n.url)).is(http.StatusOK) // looking at it spends nothing

		admin := mitraltest.Browser(t)
		grace := n.setUp(t, admin, address)
		signInAt(admin, n.url+"/admin", grace)
		admin.WaitText("h1", "Overview")

		nadia := n.addPerson(t, admin, mail)
		n.verify()
		signInAt(mitraltest.Browser(t), n.url+"/account", nadia)
		n.verify()
	})
}

// setUp is J1.
func (n *node) setUp(t *testing.T, b *mitraltest.Page, address string) person {
	t.Helper()
	p := person{email: "grace@hope.example", name: "Grace Okafor", role: "admin", pin: "8264"}
	b.ExpectConsole("status of 422", "status of 410")
	inTime := within(t, "J1", 3*time.Minute)
	counted := b.Journey("J1", mitraltest.Budget{Keystrokes: 80, Screens: 4 + 2}) // two for a slip and a reload on the way
	b.Open(address)
	b.WaitText("h1", "Your clinic")
	b.WaitText("main", "Passkeys are off until this server has a name and certificate")
	b.WaitFocused("#name")
	b.Press("Hope Clinic")
	if zone := b.Value("#time_zone"); zone == "" {
		t.Error("the browser's time zone is not filled in")
	}
	b.Axe()
	b.ClickNamed("button", "Next")

	b.WaitText("h1", "You, the first administrator")
	b.WaitFocused("#name")
	b.Press(p.name + mitraltest.Tab + p.email + mitraltest.Tab + adminPhone)
	b.Type("#pin", "1234")
	b.ClickNamed("button", "Next: your key")
	b.WaitVisible("#pin-wrong")
	if got := b.Value("#name") + b.Value("#email"); got != p.name+p.email {
		t.Errorf("after a PIN too easy to guess the form holds %q", got)
	}
	b.Type("#pin", p.pin)
	b.Axe()
	b.ClickNamed("button", "Next: your key")

	b.WaitText("h1", "Print your safety sheet")
	p.key = b.Text("#new-key")
	p.recovery = mitraltest.Eval[[]string](b, `[...document.querySelectorAll('.codes')[0].children].map(li => li.textContent.trim())`)
	sealed := mitraltest.Eval[[]string](b, `[...document.querySelectorAll('details .list code')].map(c => c.textContent.trim())`)
	n.secrets.keep(append(append(sealed, p.recovery...), p.key)...)
	if len(p.recovery) != 10 || len(sealed) < 2 {
		t.Errorf("%d recovery codes and %d sealed codes", len(p.recovery), len(sealed))
	}
	b.Reload() // a slip of the hand loses nothing until it is confirmed
	if again := b.Text("#new-key"); again != p.key {
		t.Errorf("after a reload the key is %q", again)
	}
	b.Media("print")
	printed := symbols(b.Text("body"))
	for _, code := range append(append(sealed, p.recovery...), p.key) {
		if !strings.Contains(printed, symbols(code)) {
			t.Errorf("the print lacks the code %s", code)
		}
	}
	b.Media("")
	b.Axe()
	b.Click("label:has([name=kept])")
	b.ClickNamed("button", "Next: who else?")

	b.WaitText("h1", "Who else?")
	b.Axe()
	counted()
	b.Type("#name", "A Reviewer")
	b.Type("#email", "reviewer@board.example")
	b.Select("#role", "privacy_reviewer")
	b.ClickNamed("button", "Add and finish")
	b.WaitText("h1", "Hope Clinic is ready")
	inTime()
	b.WaitText("main", "Ready for a bad day?")
	b.Axe()

	b.Open(address) // it is done: the address shows no setup any more
	if strings.Contains(b.Text("main"), "Clinic name") {
		t.Error("setup can be begun again")
	}
	return p
}

// symbols leaves out what only groups the symbols of a code.
func symbols(text string) string {
	return strings.NewReplacer("-", "", " ", "", "\n", "").Replace(text)
}

// addPerson is J2 by mailed link and on screen, and J3.
func (n *node) addPerson(t *testing.T, b *mitraltest.Page, mail *mitraltest.SMTPServer) person {
	t.Helper()
	p := person{email: "nadia@hope.example", name: "Nadia Rahman", role: "nurse", pin: "7306"}
	inTime := within(t, "J2", 45*time.Second)
	counted := b.Journey("J2", mitraltest.Budget{Keystrokes: 40, Screens: 3})
	b.ClickNamed("link", "Add a person")
	b.WaitFocused("#name")
	b.Press(p.name + mitraltest.Tab + p.email)
	b.Select("#role", p.role)
	b.Click("label:has([value=mail])")
	b.Axe()
	b.ClickNamed("button", "Add")
	b.WaitText("h1", "Nadia Rahman is added")
	code := b.Text("#claim-code")
	counted()
	inTime()
	b.Axe()
	if b.Visible("#claim-url") {
		t.Error("the page shows the link that went by mail")
	}
	got := mail.WaitMail(p.email, "/claim/")
	link := regexp.MustCompile(`https?://\S+/claim/\S+`).FindString(got.Text)
	n.secrets.keep(link[strings.LastIndexByte(link, '/')+1:])
	if strings.Contains(got.Text, code) {
		t.Error("the mail holds link and code both")
	}

	n.claimInBrowser(t, link, code, &p)

	// The same for someone who stands beside the administrator, and by letter.
	b.ClickNamed("link", "Add another person")
	b.Type("#name", "Omar Haddad")
	b.Type("#email", "omar@hope.example")
	b.Select("#role", "doctor")
	b.Click("label:has([value=screen])")
	b.ClickNamed("button", "Add")
	b.WaitText("h1", "Omar Haddad is added")
	onScreen := strings.TrimSpace(b.Text("#claim-url"))
	n.secrets.keep(onScreen[strings.LastIndexByte(onScreen, '/')+1:])
	if !strings.HasPrefix(onScreen, n.url+"/claim/") {
		t.Errorf("the address on the screen is %q", onScreen)
	}
	omar := person{email: "omar@hope.example", pin: "5917"}
	n.claim(claim{ClaimURL: onScreen, ClaimCode: b.Text("#claim-code")}, &omar)
	n.signIn(omar)

	b.ClickNamed("link", "Add another person")
	b.Type("#name", "Reception")
	b.Type("#email", "reception@hope.example")
	b.Select("#role", "staff")
	b.Click("label:has([value=letter])")
	b.ClickNamed("button", "Add")
	b.WaitText("h1", "Reception is added")
	letter := strings.TrimSpace(b.Text("#claim-url"))
	n.secrets.keep(letter[strings.LastIndexByte(letter, '/')+1:])
	b.Media("print")
	if printed := b.Text("body"); !strings.Contains(printed, letter) || !strings.Contains(printed, "Reception") {
		t.Error("the letter lacks its address or name")
	}
	b.PDF()
	b.Media("")
	return p
}

// claimInBrowser is J3.
func (n *node) claimInBrowser(t *testing.T, link, code string, p *person) {
	t.Helper()
	scanner := n.caller() // a mail scanner follows links, too
	for range 3 {
		scanner.get(strings.TrimPrefix(link, n.url)).is(http.StatusOK)
	}
	b := mitraltest.Browser(t)
	b.ExpectConsole("status of 422", "status of 410")
	inTime := within(t, "J3", 2*time.Minute)
	counted := b.Journey("J3", mitraltest.Budget{Keystrokes: 30, Screens: 3 + 1}) // one for a slip on the way
	b.Open(link)
	if text := b.Text("main"); strings.Contains(text, p.email) || strings.Contains(text, p.name) {
		t.Error("the link alone shows whom it is for")
	}
	b.WaitFocused("#code")
	b.Axe()
	b.Press(code)
	b.Type("#pin", "1111")
	b.ClickNamed("button", "Make my key")
	b.WaitText("#pin-wrong", "easy to guess")
	b.Type("#code", code)
	b.Type("#pin", p.pin)
	b.ClickNamed("button", "Make my key")

	b.WaitText("h1", "Your key")
	p.key = b.Text("#new-key")
	n.secrets.keep(p.key)
	for _, attribute := range []string{
		`document.querySelector('[name=identifier]').autocomplete === 'username'`,
		`document.querySelector('[name=identifier]').value === ` + quoted(p.email),
		`document.querySelector('[name=key]').autocomplete === 'new-password'`,
		`document.querySelector('[name=key]').type === 'password'`,
		`document.querySelector('[name=last_two]').form.querySelector('[name=pin]') === null`,
	} {
		if !mitraltest.Eval[bool](b, attribute) {
			t.Errorf("for the password manager: %s is not so", attribute)
		}
	}
	b.WaitVisible("[data-print]")
	b.ClickNamed("button", "Copy")
	b.WaitText("#say", "Copied")
	b.Axe()
	b.Type("#last_two", "ZZ")
	b.ClickNamed("button", "I have kept my key")
	b.WaitText("h1", "Your key") // the browser holds it back
	mitraltest.Eval[string](b, `document.getElementById('last_two').value = ''`)
	b.Type("#last_two", strings.ToLower(p.key[len(p.key)-2:]))
	b.ClickNamed("button", "I have kept my key")

	b.WaitText("h1", "Your recovery codes")
	if codes := mitraltest.Eval[[]string](b, `[...document.querySelectorAll('.codes')[0].children].map(li => li.textContent.trim())`); len(codes) != 10 {
		t.Errorf("%d recovery codes", len(codes))
	} else {
		n.secrets.keep(codes...)
	}
	b.Axe()
	counted()
	inTime()

	b.Open(link)
	if b.Status() != http.StatusGone {
		t.Errorf("a used link answers %d", b.Status())
	}
	b.WaitText("h1", "used up")
	b.Axe()
}

func quoted(s string) string { return `"` + s + `"` }

// signInAt opens a page and signs in on the way, by key card and PIN.
func signInAt(b *mitraltest.Page, address string, p person) {
	b.Open(address)
	b.WaitFocused("#identifier")
	b.Press(p.card())
	b.WaitFocused("#pin")
	b.Press(p.pin)
	b.WaitFor("!location.pathname.startsWith('/signin') && document.readyState === 'complete'")
}
