package web

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// stepNext, in the query of the sign-in page, asks for what a sign-in in
// progress waits for.
const stepNext = "next"

// signInPage shows the sign-in form. Unless it is told that there is nothing to
// resume, the browser is led through resume first: who is signed in goes on,
// and who is locked unlocks.
func (s *Web) signInPage(c *call) error {
	q := c.r.URL.Query()
	if q.Get("resume") != "0" && !q.Has("error") {
		return c.redirect(with(with(resumePath, callbackField, c.callback()), "workspace", q.Get("workspace")))
	}
	if q.Get("step") == stepNext {
		v, ok, err := c.nextStep()
		if err != nil {
			return err
		}
		if ok {
			return c.show(http.StatusOK, view.NextStepPage(v))
		}
	}
	v, err := c.signInView(q.Get("workspace"), c.callback())
	if err != nil {
		return err
	}
	if q.Has("error") {
		v.Errors = view.FieldErrors{"": signInError(q.Get("error"))}
	}
	v.NotResumed = v.CallbackURL != "" && !q.Has("error")
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.SignInPage(v))
}

// signInError says in a sentence what a word in the address means. Applications
// and the Auth.js routes send people here with it.
func signInError(word string) string {
	switch word {
	case "CredentialsSignin":
		return view.Refused
	case "SessionRequired":
		return "Sign in to open that page."
	case "AccessDenied":
		return "That is not open to you. Ask an administrator if you need it."
	case "RateLimited":
		return view.Throttled + " Wait a little, then try again."
	case "Unavailable":
		return "Mitral cannot answer now. Try again in a moment."
	case "session_ended":
		return "Five wrong tries: that session is over. Sign in again; nothing else is blocked."
	}
	return "That did not work. Sign in here."
}

// signInView is the sign-in form before anything was typed.
func (c *call) signInView(slug, callback string) (view.SignIn, error) {
	v := view.SignIn{Workspace: slug, CallbackURL: callback, KeyPIN: true}
	w, err := c.findWorkspace(slug)
	if err != nil || w.ID == "" {
		return v, err
	}
	c.space, v.Workspace = w, w.Slug
	doc, _, err := c.Sessions.Policy(c.ctx(), w.ID)
	if err != nil {
		return v, err
	}
	v.KeyPIN, v.PINLength = slices.Contains(doc.Methods, policy.KeyPIN), doc.PIN.Length
	return v, nil
}

// findWorkspace is the one that a page is for: by its slug, or the only one
// there is. Unknown slugs are like none, so that nobody learns which exist.
func (c *call) findWorkspace(slug string) (directory.Workspace, error) {
	if slug != "" {
		w, err := c.Directory.WorkspaceBySlug(c.ctx(), slug)
		if r := refusalOf(err); r != nil && r.Kind == identity.Unknown {
			return directory.Workspace{}, nil
		}
		return w, err
	}
	all, err := c.Directory.Workspaces(c.ctx())
	if err != nil || len(all) != 1 {
		return directory.Workspace{}, err
	}
	return all[0], nil
}

// signIn takes identifier and key, and asks for the PIN; or all three, and signs
// in. The key never stands in a page: between the two it is sealed.
func (s *Web) signIn(c *call) error {
	v, err := c.signInView(c.field("workspace"), c.callback())
	if err != nil {
		return err
	}
	v.Frame = c.frame()
	in, ok := c.typed(&v)
	if !ok {
		return c.show(http.StatusUnprocessableEntity, view.SignInPage(v))
	}
	if in.PIN == "" {
		return c.show(http.StatusOK, view.SignInPage(v))
	}
	out, err := c.Signin.KeyPIN(c.ctx(), c.visit, in)
	if err != nil {
		bad, err := c.wrong(err, nil, "pin")
		if err != nil {
			return err
		}
		if bad.status == http.StatusUnauthorized {
			bad.fields = view.FieldErrors{"": view.Refused}
		}
		v.Errors, v.RetryAfter = bad.fields, bad.retry
		return c.show(bad.status, view.SignInPage(v))
	}
	if out.Session == nil {
		return c.redirect(with(view.PageSignIn+"?resume=0&step="+stepNext, callbackField, v.CallbackURL))
	}
	return c.redirect(cmp.Or(v.CallbackURL, c.home(out.Session)))
}

// typed reads what was typed, or was typed a step earlier, and has the form hold
// it. It is false where the form must be shown again.
func (c *call) typed(v *view.SignIn) (signin.KeyPIN, bool) {
	in := signin.KeyPIN{Identifier: c.field("identifier"), Key: c.secret("key"), PIN: c.secret("pin"), Workspace: c.field("workspace")}
	v.Identifier = in.Identifier
	if sealed := c.form.Get("held"); sealed != "" {
		h, ok := c.unhold(sealed)
		if !ok {
			v.Errors = view.FieldErrors{"": "That took a while. Type your key again."}
			return in, false
		}
		in.Identifier, in.Key, v.Identifier, v.Held = h.Identifier, identity.Secret(h.Key), h.Identifier, sealed
		return in, true
	}
	v.Errors = view.FieldErrors{}
	if in.Identifier == "" {
		v.Errors["identifier"] = "Type your work email or staff code."
	}
	if _, err := identity.ParseKey(in.Key.Reveal()); err != nil {
		// A slip of the hand, found by the check symbol: no failed attempt.
		v.Errors["key"] = keyError(in.Key, err)
	}
	if len(v.Errors) > 0 {
		return in, false
	}
	sealed, err := c.hold(held{Identifier: in.Identifier, Key: in.Key.Reveal(), Until: c.Now().Add(heldLife)})
	if err != nil {
		c.Log.ErrorContext(c.ctx(), "couldn't hold a key until its PIN comes", "error", err)
		v.Errors[""] = "That did not work. Try again."
		return in, false
	}
	v.Held = sealed
	return in, true
}

func keyError(key identity.Secret, err error) string {
	if key == "" {
		return "Type your key, or scan your card."
	}
	return "Check the key: " + err.Error() + "."
}

// held is identifier and key between the two steps of the form.
type held struct {
	Identifier string    `json:"i"`
	Key        string    `json:"k"`
	Until      time.Time `json:"u"`
}

const (
	heldLife = 10 * time.Minute
	maxHeld  = 8 << 10
)

func (s *Web) hold(h held) (string, error) {
	b, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	sealed, err := s.Keys.Seal("page", "held", "signin", b)
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

func (s *Web) unhold(text string) (held, bool) {
	var h held
	if len(text) > maxHeld {
		return h, false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return h, false
	}
	b, err := s.Keys.Open("page", "held", "signin", sealed)
	if err != nil || json.Unmarshal(b, &h) != nil {
		return h, false
	}
	return h, s.Now().Before(h.Until)
}

// nextStep is what the sign-in in progress in this browser waits for; false
// where there is none.
func (c *call) nextStep() (view.NextStep, bool, error) {
	var v view.NextStep
	a, err := c.Signin.Pending(c.ctx(), c.visit)
	switch {
	case refusalOf(err) != nil:
		return v, false, nil //nolint:nilerr // that there is none is the answer
	case err != nil:
		return v, false, err
	}
	if c.space, err = c.Directory.Workspace(c.ctx(), a.WorkspaceID); err != nil {
		return v, false, err
	}
	names, err := c.Directory.Names(c.ctx(), a.WorkspaceID)
	if err != nil {
		return v, false, err
	}
	doc, _, err := c.Sessions.Policy(c.ctx(), a.WorkspaceID)
	if err != nil {
		return v, false, err
	}
	v = view.NextStep{Name: names(a.UserID), PIN: a.Need == "pin", PINLength: doc.PIN.Length, CallbackURL: c.callback()}
	for _, m := range doc.MFA.Accept {
		if word, ok := factorWords[m]; ok {
			v.Methods = append(v.Methods, word)
		}
	}
	v.Frame = c.frame()
	return v, true, nil
}

var factorWords = map[string]string{
	policy.WebAuthn:         "a passkey or security key",
	policy.TOTP:             "a code from an app on your phone",
	policy.PairOnRegistered: "key and PIN, on a workstation that is registered",
}

// overduePIN sets the new PIN that a sign-in waits for.
func (s *Web) overduePIN(c *call) error {
	out, err := c.Signin.ChangePIN(c.ctx(), signin.Who{Visit: c.visit}, c.secret("current_pin"), c.secret("new_pin"))
	if err == nil {
		return c.redirect(cmp.Or(c.callback(), c.home(out.Session)))
	}
	bad, err := c.wrong(err, nil, "current_pin", "new_pin")
	if err != nil {
		return err
	}
	v, ok, err := c.nextStep()
	switch {
	case err != nil:
		return err
	case !ok: // a wrong PIN ends the attempt
		return c.redirect(with(view.PageSignIn+"?error=CredentialsSignin", callbackField, c.callback()))
	}
	v.Errors = bad.fields
	return c.show(bad.status, view.NextStepPage(v))
}

// frontPage leads on to where a visitor without an address wants to be.
func (s *Web) frontPage(c *call) error {
	if !c.atHome() {
		return c.redirect(s.origin() + "/") // the proxy should have kept this path
	}
	if s.Demo != nil {
		return c.redirect(view.PageDemo)
	}
	ready, err := c.Directory.IsSetUp(c.ctx())
	if err != nil {
		return err
	}
	if !ready {
		return c.redirect(view.PageSetup)
	}
	return c.redirect(view.PageSignIn)
}
