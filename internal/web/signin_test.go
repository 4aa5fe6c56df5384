package web_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

func TestSignInInTwoSteps(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.browser()

	p := b.get("/signin?resume=0").is(200)
	p = b.submit(p, view.PostSignIn, "identifier", "", "key", "").is(422).says("Type your work email", "Type your key")
	if n := d.events("sign_in.key_pin", audit.Denied); n != 0 {
		t.Errorf("an empty form counted as %d failed attempts", n)
	}
	slip := []byte(nurse.Key.Reveal())
	slip[3]++
	p = b.submit(p, view.PostSignIn, "identifier", nurse.Email, "key", string(slip)).is(422).says("Check the key")
	if got := p.form(view.PostSignIn).Get("identifier"); got != nurse.Email {
		t.Errorf("after a slip the form holds the name %q", got)
	}
	p = b.submit(p, view.PostSignIn, "key", strings.ToLower(identity.FormatKey(nurse.Key))).is(200).says("PIN for " + nurse.Email)
	p.hides(nurse.Key.Reveal(), identity.FormatKey(nurse.Key), strings.ToLower(identity.FormatKey(nurse.Key)))

	p = b.submit(p, view.PostSignIn, "pin", "12").is(422).says("A PIN is four digits")
	p = b.submit(p, view.PostSignIn, "pin", "9713").is(401).says(view.Refused).hides("9713")
	b.submit(p, view.PostSignIn, "pin", nurse.PIN.Reveal()).is(200).at("/account")
}

// Everything that can be wrong is answered by one page.
func TestSignInRefusalsAreAlike(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse, gone := d.Add(identity.Nurse), d.Add(identity.Doctor)
	off := true
	_, err := d.Directory.UpdateUser(t.Context(), signin.CLI(), d.Workspace.ID, gone.ID, directory.Change{Disabled: &off})
	need(t, err)
	other := identity.NewKey().Reveal()
	var first string
	for name, typed := range map[string][3]string{
		"a wrong PIN":     {nurse.Email, nurse.Key.Reveal(), "9713"},
		"a wrong key":     {nurse.Email, other, nurse.PIN.Reveal()},
		"nobody":          {"zebra@hope.example", other, "9713"},
		"no address":      {"zebra", other, "9713"},
		"somebody gone":   {gone.Email, gone.Key.Reveal(), gone.PIN.Reveal()},
		"another's names": {"<b>nobody</b>@hope.example", other, "9713"},
	} {
		b := d.browser()
		p := b.submit(b.get("/signin?resume=0"), view.PostSignIn, "identifier", typed[0], "key", typed[1])
		p = b.submit(p, view.PostSignIn, "pin", typed[2]).is(401)
		words := strings.ReplaceAll(p.words(), typed[0], "somebody")
		if first == "" {
			first = words
		}
		if words != first {
			t.Errorf("%s is answered %q, another %q", name, words, first)
		}
	}
}

func TestHeldKeyIsForgotten(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.browser()
	p := b.submit(b.get("/signin?resume=0"), view.PostSignIn, "identifier", nurse.Email, "key", nurse.Key.Reveal())
	form := p.form(view.PostSignIn)
	forged := url.Values{"held": {form.Get("held")[:20] + "AAAA" + form.Get("held")[24:]}, "pin": {nurse.PIN.Reveal()}}
	b.post(view.PostSignIn, forged).is(422).says("Type your key again")
	d.Advance(11 * time.Minute)
	b.submit(p, view.PostSignIn, "pin", nurse.PIN.Reveal()).is(422).says("Type your key again")
	b.signIn(nurse).at("/account")
}

func TestTooManyTriesSayHowLongToWait(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.browser()
	p := b.submit(b.get("/signin?resume=0"), view.PostSignIn, "identifier", "nobody@hope.example", "key", identity.NewKey().Reveal())
	last := p
	for range 25 {
		if last = b.submit(p, view.PostSignIn, "pin", "9713"); last.status != 401 {
			break
		}
	}
	last.is(429).says(view.Throttled, "You can try again in")
	if last.header.Get("Retry-After") == "" {
		t.Error("a 429 has no Retry-After")
	}
	d.signedIn(d.Add(identity.Nurse)) // from elsewhere
}

func TestSignInLeadsOnToAllowedPlacesOnly(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	for callback, want := range map[string]string{
		"/admin/people?q=a":                   "/admin/people",
		"http://localhost:8080/emergency":     "/emergency",
		"":                                    "/account",
		"https://evil.example/":               "/account",
		"//evil.example/":                     "/account",
		`/\evil.example`:                      "/account",
		"javascript:alert(1)":                 "/account",
		"http://localhost:8080@evil.example/": "/account",
		"/signin":                             "/account",
		"/api/v1/session/resume":              "/account",
	} {
		b := d.browser()
		p := b.get("/signin?" + url.Values{"callbackUrl": {callback}}.Encode()).is(200)
		p = b.submit(p, view.PostSignIn, "identifier", nurse.Email, "key", nurse.Key.Reveal())
		b.submit(p, view.PostSignIn, "pin", nurse.PIN.Reveal()).at(want)
	}
}

func TestSignInPageGoesThroughResume(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.browser()
	p := b.get("/signin?callbackUrl=%2Faccount").is(200)
	if want := []string{"/signin?callbackUrl=%2Faccount", "/api/v1/session/resume?callbackUrl=%2Faccount", "/signin?callbackUrl=%2Faccount&resume=0"}; strings.Join(p.steps, " ") != strings.Join(want, " ") {
		t.Errorf("signed out, the way is %v", p.steps)
	}
	b.get("/signin?error=CredentialsSignin").is(200).says(view.Refused)
	b.get("/signin?error=%3Cb%3E").is(200).says("That did not work. Sign in here.").hides("%3C", "&lt;b")

	b.signIn(nurse)
	b.get("/signin?callbackUrl=%2Femergency").at("/emergency")
	b.get("/signin").at("/account")
	b.get("/signin?resume=0").is(200).at("/signin")
}

func TestResumeRenewsOrLocksOrSignsOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(nurse)
	b.forget()
	if b.cookie("session-token") != "" {
		t.Fatal("the browser still has its session cookie")
	}
	p := b.get("/account").is(200).at("/account")
	if len(p.steps) != 3 || !strings.HasPrefix(p.steps[1], "/api/v1/session/resume?") {
		t.Errorf("the way back is %v", p.steps)
	}
	b.submit(p, view.PostLock)
	b.forget()
	p = b.get("/account").is(200).says("Locked.") // resume's own answer
	b.submit(p, view.PostUnlock, "pin", nurse.PIN.Reveal()).at("/account")
	p = b.submit(b.get("/account"), view.PostLock)
	for range 4 {
		p = b.submit(p, view.PostUnlock, "pin", "0000").is(401)
	}
	b.submit(p, view.PostUnlock, "pin", "0000").at("/signin").says("that session is over")
	b.get("/account").at("/signin")
	d.signedIn(nurse) // nobody is locked out
}

// A form on a page whose session is gone or locked does nothing; it leads to
// where the person can go on.
func TestFormsNeedAnOpenSession(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	add := b.get("/admin/people/new")
	account := b.get("/account")
	fields := []string{"name", "Ann Other", "email", "ann@hope.example", "role", "nurse", "channel", "letter"}
	b.submit(account, view.PostLock)
	b.submit(add, view.PostPeople, fields...).is(423).says("Locked.")
	b.submit(account, view.PostSignOut)
	b.submit(add, view.PostPeople, fields...).at("/signin")
	users, err := d.Directory.Users(t.Context(), signin.CLI(), d.Workspace.ID)
	need(t, err)
	if len(users) != 1 {
		t.Fatalf("there are %d people, want the administrator alone", len(users))
	}
	b.signIn(d.Admin)
	b.submit(add, view.PostPeople, fields...).is(200).says("Ann Other is added")
}

func TestOverduePINIsChosenAnewBeforeTheSignInEnds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	doc, rev, err := d.Directory.Policy(t.Context(), signin.CLI(), d.Workspace.ID)
	need(t, err)
	doc.PIN.MaxAgeDays = 30
	_, _, err = d.Directory.PutPolicy(t.Context(), signin.CLI(), d.Workspace.ID, directory.ETag(rev), doc.JSON(), "a test")
	need(t, err)
	d.Advance(60 * 24 * time.Hour)
	b := d.browser()
	p := b.signIn(nurse).is(200).at("/signin").says("Time for a new PIN, A")
	b.get("/account").at("/signin")
	b.get("/signin?resume=0").says("Sign in to Hope Clinic") // somebody else can begin
	p = b.submit(p, view.PostOverduePIN, "current_pin", nurse.PIN.Reveal(), "new_pin", "1234").is(422).says("Too easy to guess")
	b.submit(p, view.PostOverduePIN, "current_pin", nurse.PIN.Reveal(), "new_pin", "9713").at("/account")

	other := d.Add(identity.Doctor)
	d.Advance(60 * 24 * time.Hour)
	b = d.browser()
	p = b.signIn(other)
	b.submit(p, view.PostOverduePIN, "current_pin", "0000", "new_pin", "9713").at("/signin").says(view.Refused)
}
