package web

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// resume is where a page load comes whose session cookie is missing: the refresh
// cookie reaches it here. A session is renewed and the browser led back, a
// locked one shows the lock screen, and where there is none the sign-in form
// follows (contract §2.2).
func (s *Web) resume(c *call) error {
	callback := c.callback()
	switch {
	case c.live == nil:
		to := with(with(view.PageSignIn, callbackField, callback), "resume", "0")
		return c.redirect(with(to, "workspace", c.r.URL.Query().Get("workspace")))
	case c.locked():
		return c.show(http.StatusOK, view.LockPage(c.lockScreen(callback)))
	}
	return c.redirect(cmp.Or(callback, c.home(c.live)))
}

// lockScreen is what stands over a locked session.
func (c *call) lockScreen(callback string) view.LockScreen {
	v := view.LockScreen{Name: c.live.Name, KeptUntil: c.live.LockExpiresAt, CallbackURL: callback, PINLength: c.pinLength()}
	v.LockedAt = lockedAt(c.live)
	if g := c.live.Grant; g != nil {
		v.NoPIN = g.Identity == breakglass.IdentityVisiting
		v.SealedCode = strings.HasPrefix(g.InvokerID, audit.CodeActor(""))
	}
	v.Frame = c.frame()
	return v
}

// lockedAt is when the session locked, as its end tells: a lock lasts for the
// role's time, or to the session's end.
func lockedAt(l *session.Live) time.Time {
	at := l.LockExpiresAt.Add(-l.Rules.LockTTL)
	if !l.LockExpiresAt.Before(l.AbsoluteExpiresAt) || at.Before(l.LastActivity) {
		return l.LastActivity
	}
	return at
}

// pinLength is how many digits a PIN has where this session is.
func (c *call) pinLength() int {
	if c.live == nil {
		return 0
	}
	doc, _, err := c.Sessions.Policy(c.ctx(), c.live.WorkspaceID)
	if err != nil {
		return 0 // the page goes on with four
	}
	return doc.PIN.Length
}

// unlock opens a locked session with its person's PIN, or with the sealed code
// that opened it.
func (s *Web) unlock(c *call) error {
	if c.live == nil {
		return c.redirect(with(view.PageSignIn+"?resume=0", callbackField, c.callback()))
	}
	in := signin.UnlockInput{Method: "pin", PIN: c.secret("pin")}
	if code := c.secret("sealed_code"); code != "" {
		in = signin.UnlockInput{Method: "sealed_code", Code: code}
	}
	open, err := c.Signin.Unlock(c.ctx(), c.visit, c.live, in)
	if err == nil {
		return c.redirect(cmp.Or(c.callback(), c.home(open)))
	}
	bad, rest := c.wrong(err, map[string]string{"wrong_pin": "pin", "wrong_sealed_code": "sealed_code"}, "pin")
	if rest != nil {
		return rest
	}
	v := c.lockScreen(c.callback())
	v.Errors, v.RetryAfter = bad.fields, bad.retry
	v.TriesLeft, _ = triesLeft(err)
	return c.show(bad.status, view.LockPage(v))
}

// lock locks the session and keeps its work.
func (s *Web) lock(c *call) error {
	if c.live == nil {
		return c.redirect(view.PageSignIn + "?resume=0")
	}
	if _, err := c.Sessions.Lock(c.ctx(), c.visit, c.live, session.ReasonUser); err != nil {
		return err
	}
	return c.redirect(with(resumePath, callbackField, c.back()))
}

// signOut ends the session, locked or not.
func (s *Web) signOut(c *call) error {
	if err := c.Sessions.SignOut(c.ctx(), c.visit); err != nil {
		return err
	}
	return c.redirect(view.PageSignIn + "?resume=0")
}
