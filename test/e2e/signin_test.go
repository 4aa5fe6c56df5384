package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/mitraltest"
)

// TestSignIn is J4: the start of a shift on a shared PC.
func TestSignIn(t *testing.T) {
	forEachDatabase(t, func(t *testing.T, db database) {
		c := newClinic(t, db)
		c.allowChart()

		t.Run("by key card and PIN", func(t *testing.T) {
			b := mitraltest.Browser(t)
			b.Open(c.front.url + "/demo/chart")
			b.WaitURL("/signin")
			b.WaitFocused("#identifier")
			inTime := within(t, "J4", 8*time.Second)
			counted := b.Journey("J4", mitraltest.Budget{Keystrokes: len(c.nurse.card()) + len(c.nurse.pin), Screens: 2})
			b.Press(c.nurse.card()) // one scan
			b.WaitFocused("#pin")
			b.Press(c.nurse.pin) // the last digit signs in
			b.WaitText("#name", "Patient Maple")
			counted()
			inTime()
			if !strings.HasSuffix(b.URL(), "/demo/chart") {
				t.Errorf("signed in at %s", b.URL())
			}
		})

		t.Run("the whole card in one field", func(t *testing.T) {
			b := mitraltest.Browser(t)
			b.Open(c.node.url + "/signin?resume=0")
			b.WaitFocused("#identifier")
			mitraltest.Eval[bool](b, `document.activeElement.blur() ?? true`)
			b.Press(c.nurse.email[:1]) // a scan while nothing has the focus goes where it belongs
			b.WaitFocused("#identifier")
			if got := b.Value("#identifier"); got != c.nurse.email[:1] {
				t.Errorf("the first symbol of a scan went to %q", got)
			}
			mitraltest.Eval[string](b, `document.getElementById('identifier').value = `+quoted(c.nurse.email+`\t`+c.nurse.key))
			b.Press(mitraltest.Enter)
			b.WaitFocused("#pin")
		})

		t.Run("what password managers read", func(t *testing.T) {
			b := mitraltest.Browser(t)
			b.Open(c.node.url + "/signin?resume=0")
			for _, attribute := range []string{
				`document.forms.length >= 1 && signin.identifier.form === signin.key.form`,
				`signin.identifier.autocomplete === 'username webauthn'`,
				`signin.key.autocomplete === 'current-password' && signin.key.type === 'password' && signin.key.spellcheck === false`,
				`!signin.pin`,
			} {
				if !mitraltest.Eval[bool](b, attribute) {
					t.Errorf("%s is not so", attribute)
				}
			}
			b.Type("#key", c.nurse.key)
			b.Click("[data-reveal=key]")
			if kind := mitraltest.Eval[string](b, `signin.key.type`); kind != "text" {
				t.Errorf("a shown key's field has the type %q", kind)
			}
			b.Type("#identifier", c.nurse.email)
			b.Press(mitraltest.Enter)
			b.WaitFocused("#pin")
			for _, attribute := range []string{
				`signin.pin.autocomplete === 'off' && signin.pin.inputMode === 'numeric' && signin.pin.type === 'password'`,
				`signin.pin.hasAttribute('data-1p-ignore')`,
				`[...document.querySelectorAll('[name=pin]')].length === 1`,
			} {
				if !mitraltest.Eval[bool](b, attribute) {
					t.Errorf("%s is not so", attribute)
				}
			}
			b.Axe()
			b.Paste("#pin", c.nurse.pin)
			b.WaitFor("!location.pathname.startsWith('/signin')")
		})

		t.Run("a slip is no attempt", func(t *testing.T) {
			b := mitraltest.Browser(t)
			b.Open(c.node.url + "/signin?resume=0")
			b.WaitFocused("#identifier")
			for _, slip := range []string{misread(c.nurse.key), swapped(c.nurse.key), c.nurse.key[:10], "U" + c.nurse.key[1:]} {
				b.Type("#identifier", "")
				mitraltest.Eval[string](b, `signin.identifier.value = `+quoted(c.nurse.email))
				mitraltest.Eval[string](b, `signin.key.value = ''`)
				b.Type("#key", slip)
				b.Press(mitraltest.Enter)
				b.WaitVisible("#key-wrong")
				if !b.Focused("#key") || b.Value("#key") != slip || b.Visible("#pin") {
					t.Errorf("after the slip the key's field holds %q", b.Value("#key"))
				}
				b.Press(mitraltest.Space) // typing on takes the complaint away
				b.WaitGone("#key-wrong")
			}
			b.Type("#key", "")
			mitraltest.Eval[string](b, `signin.key.value = `+quoted(strings.ToLower(strings.NewReplacer("-", " ", "0", "o", "1", "l").Replace(c.nurse.key))))
			b.Press(mitraltest.Enter)
			b.WaitFocused("#pin")
			b.Press(c.nurse.pin)
			b.WaitFor("!location.pathname.startsWith('/signin')")
			for _, r := range b.Requests() {
				if r.Status == 401 {
					t.Errorf("a slip reached the server: %+v", r)
				}
			}
		})

		t.Run("one answer for every wrong", func(t *testing.T) {
			var answers []string
			stranger := person{email: "nobody@hope.example", key: c.nurse.key, pin: c.nurse.pin}
			wrongKey := c.nurse
			wrongKey.key = c.doctor.key
			wrongPIN := c.nurse
			wrongPIN.pin = "0907"
			for _, p := range []person{stranger, wrongKey, wrongPIN} {
				b := mitraltest.Browser(t)
				b.ExpectConsole("status of 401")
				b.Open(c.node.url + "/signin?resume=0")
				b.WaitFocused("#identifier")
				b.Press(p.card())
				b.WaitFocused("#pin")
				b.Press(p.pin)
				b.WaitVisible("[role=alert]")
				b.WaitFocused("#pin") // the name and key are kept
				if b.Value("#pin") != "" {
					t.Error("the page holds the wrong PIN")
				}
				b.Axe()
				answers = append(answers, strings.ReplaceAll(b.Text("main"), p.email, "NAME"))
			}
			if answers[0] != answers[1] || answers[0] != answers[2] {
				t.Errorf("three kinds of wrong are told apart:\n%s", strings.Join(answers, "\n---\n"))
			}
			b := mitraltest.Browser(t) // the right ones still do
			signInAt(b, c.node.url+"/signin?resume=0", c.nurse)
		})
		c.verify()
	})
}

// misread changes a key's sixth symbol.
func misread(key string) string {
	other := "7"
	if key[6] == '7' {
		other = "8"
	}
	return key[:6] + other + key[7:]
}

// swapped exchanges the first two symbols of a key that differ.
func swapped(key string) string {
	for i := 0; i+1 < len(key); i++ {
		if a, b := key[i], key[i+1]; a != b && a != '-' && b != '-' {
			return key[:i] + string(b) + string(a) + key[i+2:]
		}
	}
	return key[:1]
}
