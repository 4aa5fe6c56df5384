package web

import (
	"net/http"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/web/view"
)

// claimPage shows a claim. It spends nothing: mail scanners follow links.
func (s *Web) claimPage(c *call) error {
	is, err := c.Directory.Claim(c.ctx(), c.claimToken())
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.ClaimPage(c.claimView(is)))
}

func (c *call) claimToken() identity.Secret { return identity.Secret(c.r.PathValue("token")) }

// claimView shows the workspace and the initials, whoever looks.
func (c *call) claimView(is directory.ClaimView) view.Claim {
	c.space.Name = is.Workspace
	return view.Claim{Frame: c.frame(), Token: c.claimToken().Reveal(), Initials: is.Initials, NewPIN: is.SetsPIN, PINLength: is.PINLength}
}

// claim takes a claim with its code and a PIN, and shows the key, once.
func (s *Web) claim(c *call) error {
	is, err := c.Directory.Claim(c.ctx(), c.claimToken())
	if err != nil {
		return err
	}
	out, err := c.Directory.CompleteClaim(c.ctx(), c.visit, c.claimToken(), c.secret("code"), c.secret("pin"))
	if err != nil {
		left, none := triesLeft(err)
		if none {
			return identity.Refuse(identity.Gone, "claim_over", refusalOf(err).Detail)
		}
		bad, err := c.wrong(err, map[string]string{"wrong_code": "code", "wrong_pin": "pin"}, "code", "pin")
		if err != nil {
			return err
		}
		v := c.claimView(is)
		v.Errors, v.RetryAfter, v.TriesLeft = bad.fields, bad.retry, left
		return c.show(bad.status, view.ClaimPage(v))
	}
	c.space.Name = is.Workspace
	codes := revealed(out.RecoveryCodes)
	if out.Key == "" {
		return c.afterKey(out.Name, out.Email, codes)
	}
	return c.show(http.StatusOK, view.KeyOncePage(view.KeyOnce{Frame: c.frame(), Action: view.PostClaimSaved(c.claimToken().Reveal()), Name: out.Name, Identifier: out.Email,
		Address: s.signInAddress(), Key: identity.FormatKey(out.Key), RecoveryCodes: codes}))
}

// claimSaved goes on once the key was kept. Everything comes along in the form:
// nothing is kept here, and nobody else could make use of it.
func (s *Web) claimSaved(c *call) error {
	c.space.Name = c.field("clinic")
	if again, ok := c.keptKey(view.PostClaimSaved(c.claimToken().Reveal())); !ok {
		return c.show(http.StatusUnprocessableEntity, view.KeyOncePage(again))
	}
	return c.afterKey(c.field("name"), c.field("identifier"), c.form["recovery_code"])
}

// afterKey shows the recovery codes, where there are some, and leads to sign-in.
func (c *call) afterKey(name, identifier string, codes []string) error {
	if len(codes) == 0 {
		return c.done(view.PageSignIn+"?resume=0", "claimed")
	}
	return c.show(http.StatusOK, view.RecoverySheetPage(view.RecoverySheet{Frame: c.frame(), Name: name, Identifier: identifier, Address: c.signInAddress(),
		Codes: codes, MadeAt: c.Now(), Next: view.Link{Label: "Sign in", URL: view.PageSignIn + "?resume=0"}}))
}

// keptKey reports whether the last two symbols say that a new key was kept; else
// it returns the page that shows it again.
func (c *call) keptKey(action string) (view.KeyOnce, bool) {
	key := c.form.Get("key")
	if view.LastTwoMatch(key, c.form.Get("last_two")) {
		return view.KeyOnce{}, true
	}
	return view.KeyOnce{Frame: c.frame(), Action: action, Name: c.field("name"), Identifier: c.field("identifier"), Address: c.signInAddress(), Key: key,
		RecoveryCodes: c.form["recovery_code"], Errors: view.FieldErrors{"last_two": "These are not the last two of your key. Read them again."}}, false
}

func revealed(codes []identity.Secret) []string {
	out := make([]string, len(codes))
	for i, code := range codes {
		out[i] = code.Reveal()
	}
	return out
}
