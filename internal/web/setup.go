package web

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// setupPage shows the step that the setup of this browser has come to. Loading
// it spends nothing, the printed token neither.
func (s *Web) setupPage(c *call) error {
	v, held := c.heldSetup()
	if held && v.Done {
		return c.showSetUp(v)
	}
	token := c.r.URL.Query().Get("token")
	if err := c.maySetUp(token, held); err != nil {
		return err
	}
	if held && c.r.URL.Query().Get("step") != "clinic" {
		return c.show(http.StatusOK, view.SetupYouPage(view.SetupYou{Frame: c.frame(), Token: token, NoPasskeys: s.noPasskeys()}))
	}
	return c.show(http.StatusOK, view.SetupClinicPage(c.clinicForm(v, token)))
}

// showSetUp shows what follows once the workspace is there.
func (c *call) showSetUp(v setup) error {
	c.space, _ = c.Directory.Workspace(c.ctx(), v.WorkspaceID)
	switch {
	case !v.Confirmed:
		return c.show(http.StatusOK, view.SetupSheetPage(c.safetySheet(v)))
	case !v.Decided:
		return c.show(http.StatusOK, view.SetupPeoplePage(view.SetupPeople{Frame: c.frame(), Roles: watchers}))
	}
	done := view.SetupDone{Frame: c.frame(), Readiness: c.firstReadiness(v), Next: view.Link{Label: "Sign in", URL: view.PageSignIn + "?resume=0"}}
	if a := v.Another; a != nil {
		done.Delivery = &view.Delivery{Frame: done.Frame, ID: a.ID, Name: a.Name, Email: a.Email, Channel: "letter", ClaimURL: a.URL, ClaimCode: a.Code, ExpiresAt: a.Until}
	}
	return c.show(http.StatusOK, view.SetupDonePage(done))
}

// maySetUp refuses who must not set up: anybody once there is a workspace, and
// else everybody but the browser that has begun, this machine, and whoever has
// the printed address.
func (c *call) maySetUp(token string, begun bool) error {
	ready, err := c.Directory.IsSetUp(c.ctx())
	switch {
	case err != nil:
		return err
	case ready:
		return identity.Refuse(identity.Gone, "already_set_up", "This server has its clinic already. Sign in there; further clinics are made at the command line, with mitral setup --another.")
	case begun, c.onThisMachine(), c.SetupToken != nil && token != "" && c.SetupToken(token):
		return nil
	}
	return identity.Refuse(identity.Forbidden, "setup_elsewhere",
		"Setup opens on the server itself, or at the address that “mitral serve” printed there. That address is good for 30 minutes; start the server again for a new one.")
}

// onThisMachine reports whether the browser runs on the server and asks under a
// loopback name. Behind a public name a loopback peer may be a proxy.
func (c *call) onThisMachine() bool {
	return c.visit.Client.IP.IsLoopback() && isLoopback(c.PublicURL)
}

func isLoopback(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// noPasskeys reports whether the address has no name, or no certificate.
func (s *Web) noPasskeys() bool {
	_, err := netip.ParseAddr(s.PublicURL.Hostname())
	return err == nil || s.PublicURL.Scheme != "https" && s.PublicURL.Hostname() != "localhost"
}

// timeZones are suggestions; any other IANA name can be typed.
var timeZones = []string{"Africa/Cairo", "Africa/Johannesburg", "Africa/Lagos", "Africa/Nairobi", "America/Bogota", "America/Chicago", "America/Los_Angeles",
	"America/Mexico_City", "America/New_York", "America/Sao_Paulo", "Asia/Dhaka", "Asia/Dubai", "Asia/Jakarta", "Asia/Karachi", "Asia/Kolkata", "Asia/Manila",
	"Asia/Riyadh", "Australia/Sydney", "Europe/Berlin", "Europe/Istanbul", "Europe/London", "Europe/Madrid", "Europe/Paris", "Pacific/Auckland", "UTC"}

func (c *call) clinicForm(v setup, token string) view.SetupClinic {
	return view.SetupClinic{Frame: c.frame(), Token: token, Name: v.Name, TimeZone: v.TimeZone, Reach: v.Reach, Preset: v.Preset,
		TimeZones: timeZones, NoPasskeys: c.noPasskeys()}
}

// setupClinic takes the first step. Nothing is made yet.
func (s *Web) setupClinic(c *call) error {
	v, begun := c.heldSetup()
	token := c.form.Get("token")
	if err := c.maySetUp(token, begun); err != nil {
		return err
	}
	v = setup{Name: c.field("name"), TimeZone: c.field("time_zone"), Reach: c.field("reach"), Preset: c.field("preset")}
	bad := view.FieldErrors{}
	if v.Name == "" {
		bad["name"] = "Type your clinic's name."
	}
	if v.TimeZone == "" {
		v.TimeZone = "UTC"
	} else if _, err := time.LoadLocation(v.TimeZone); err != nil || len(v.TimeZone) > 64 {
		bad["time_zone"] = "Choose one from the list, or write one such as Europe/London."
	}
	if !slices.Contains([]string{"this_pc", "network", "internet"}, v.Reach) {
		v.Reach = "this_pc"
	}
	if v.Preset == "" {
		v.Preset = "clinic"
	} else if _, err := policy.Preset(v.Preset); err != nil {
		bad["preset"] = "Choose one of the four."
	}
	if len(bad) > 0 {
		form := c.clinicForm(v, token)
		form.Errors = bad
		return c.show(http.StatusUnprocessableEntity, view.SetupClinicPage(form))
	}
	if err := c.keepSetup(v, setupLife); err != nil {
		return err
	}
	return c.redirect(view.PageSetup)
}

// setupYou makes the workspace and its first administrator, all at once.
func (s *Web) setupYou(c *call) error {
	v, begun := c.heldSetup()
	token := c.form.Get("token")
	if begun && v.Done {
		return c.redirect(view.PageSetup)
	}
	if err := c.maySetUp(token, begun); err != nil {
		return err
	}
	if !begun {
		return c.redirect(with(view.PageSetup, "token", token))
	}
	you := view.SetupYou{Token: token, Name: c.field("name"), Email: c.field("email"), Phone: c.field("phone"), NoPasskeys: s.noPasskeys()}
	out, err := c.Directory.Setup(c.ctx(), directory.SetupInput{WorkspaceName: v.Name, TimeZone: v.TimeZone, Reach: v.Reach, Preset: v.Preset,
		AdminEmail: you.Email, AdminName: you.Name, AdminPhone: you.Phone, PIN: c.secret("pin"), Client: c.visit.Client})
	if err != nil {
		if r := refusalOf(err); r != nil && r.Kind == identity.Conflict {
			return err
		}
		bad, err := c.wrong(err, map[string]string{"admin_name": "name", "admin_email": "email", "admin_phone": "phone", "workspace": "clinic", "time_zone": "clinic", "preset": "clinic"},
			"name", "email", "phone", "pin", "clinic")
		if err != nil {
			return err
		}
		if said := bad.fields["clinic"]; said != "" {
			form := c.clinicForm(v, token)
			form.Errors = view.FieldErrors{"name": said}
			return c.show(bad.status, view.SetupClinicPage(form))
		}
		you.Errors, you.Frame = bad.fields, c.frame()
		return c.show(bad.status, view.SetupYouPage(you))
	}
	v.Done, v.WorkspaceID, v.UserID = true, out.Workspace.ID, out.User.ID
	v.AdminName, v.Email, v.Phone = out.User.Name, out.User.Email, out.User.Phone
	v.Key = identity.FormatKey(out.Key)
	for _, code := range out.RecoveryCodes {
		v.RecoveryCodes = append(v.RecoveryCodes, code.Reveal())
	}
	for _, code := range out.SealedCodes {
		v.Sealed = append(v.Sealed, view.SealedCode{Label: code.Label, Code: code.Code.Reveal(), Location: code.Location})
	}
	if err := c.keepSetup(v, shownLife); err != nil {
		return err
	}
	return c.redirect(view.PageSetup)
}

// sealedLife is after how long a sealed code should be replaced, as the letters
// say: directory mints them with the same date.
const sealedLife = 180 * 24 * time.Hour

func (c *call) safetySheet(v setup) view.SetupSheet {
	sheet := view.SetupSheet{Frame: c.frame(), Name: v.AdminName, Identifier: v.Email, Address: c.signInAddress(), Key: v.Key, RecoveryCodes: v.RecoveryCodes,
		Sealed: v.Sealed, ReplaceBy: c.Now().Add(sealedLife), VerifierKey: c.Keys.LogVerifierKey()}
	if v.Phone != "" {
		sheet.Phones = []view.Contact{{Name: v.AdminName, Role: view.RoleName(identity.Admin), Phone: v.Phone}}
	}
	return sheet
}

// signInAddress is what a printed card names.
func (s *Web) signInAddress() string { return s.origin() + view.PageSignIn }

// setupSheet ends the showing: from here on nobody sees the codes again.
func (s *Web) setupSheet(c *call) error {
	v, held := c.heldSetup()
	if !held || !v.Done {
		return c.redirect(view.PageSetup)
	}
	v.Key, v.RecoveryCodes, v.Sealed = "", nil, nil
	v.Confirmed, v.Kept = true, c.form.Get("kept") == "1"
	if err := c.keepSetup(v, setupLife); err != nil {
		return err
	}
	return c.redirect(view.PageSetup)
}

// watchers are the roles worth adding first.
var watchers = []view.Option{
	{Value: string(identity.Admin), Label: view.RoleName(identity.Admin)},
	{Value: string(identity.PrivacyReviewer), Label: view.RoleName(identity.PrivacyReviewer)},
}

// setupPeople adds a second person, or goes on without. It acts for the
// administrator who chose their PIN in this browser a moment ago; there is no
// session, because setup signs nobody in.
func (s *Web) setupPeople(c *call) error {
	v, held := c.heldSetup()
	if !held || !v.Confirmed || v.Decided {
		return c.redirect(view.PageSetup)
	}
	if c.form.Get("skip") == "" {
		form := view.SetupPeople{Name: c.field("name"), Email: c.field("email"), Phone: c.field("phone"), Role: c.field("role"), Roles: watchers}
		if bad, err := c.addAnother(&v, form); err != nil {
			return err
		} else if bad.fields != nil {
			c.space, _ = c.Directory.Workspace(c.ctx(), v.WorkspaceID)
			form.Frame, form.Errors = c.frame(), bad.fields
			return c.show(bad.status, view.SetupPeoplePage(form))
		}
	}
	v.Decided = true
	if err := c.keepSetup(v, setupLife); err != nil {
		return err
	}
	return c.redirect(view.PageSetup)
}

func (c *call) addAnother(v *setup, form view.SetupPeople) (wrong, error) {
	if form.Role == "" {
		return invalid("role", "Choose one."), nil
	}
	who := signin.Who{Visit: c.visit, Live: &session.Live{WorkspaceID: v.WorkspaceID, UserID: v.UserID, Name: v.AdminName, Role: identity.Admin, OwnRole: identity.Admin,
		Class: identity.Administration, State: session.Active, Method: policy.KeyPIN, FreshAt: c.Now()}}
	user, err := c.Directory.AddUser(c.ctx(), who, v.WorkspaceID, directory.NewUser{Email: form.Email, Name: form.Name, Phone: form.Phone, Role: identity.Role(form.Role)})
	if err != nil {
		return c.wrong(err, map[string]string{"email_taken": "email"}, "name", "email", "phone", "role")
	}
	claim, err := c.Directory.NewClaim(c.ctx(), who, v.WorkspaceID, user.ID, directory.NewClaim{Channel: "letter"})
	if err != nil {
		return wrong{}, err
	}
	v.Another = &added{ID: user.ID, Name: user.Name, Email: user.Email, URL: claim.URL, Code: claim.Code.Reveal(), Role: user.Role, Until: claim.ExpiresAt}
	return wrong{}, nil
}
