package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/web/view"
)

// pagePeople keeps a page of people under 60 kB.
const pagePeople = 50

// peoplePage lists people, found by a part of name or address.
func (s *Web) peoplePage(c *call) error {
	users, err := c.Directory.Users(c.ctx(), c.plainWho(), c.live.WorkspaceID)
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	v := view.People{Query: strings.TrimSpace(q.Get("q"))}
	part := strings.ToLower(v.Query)
	users = slices.DeleteFunc(users, func(u directory.User) bool {
		return !strings.Contains(strings.ToLower(u.Name+" "+u.Email), part)
	})
	slices.SortStableFunc(users, func(a, b directory.User) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	from, _ := strconv.Atoi(q.Get("from"))
	from = max(0, min(from, len(users)))
	to := min(from+pagePeople, len(users))
	for _, u := range users[from:to] {
		v.People = append(v.People, c.personRow(u))
	}
	if to < len(users) {
		v.Older = with(with(view.PagePeople, "q", v.Query), "from", strconv.Itoa(to))
	}
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.PeoplePage(v))
}

func (c *call) personRow(u directory.User) view.PersonRow {
	row := view.PersonRow{ID: u.ID, Name: u.Name, Email: u.Email, Role: u.Role, State: "active", LastSeen: u.SignedInAt}
	switch {
	case !u.DisabledAt.IsZero():
		row.State = "disabled"
	case u.ClaimedAt.IsZero() && !u.Visiting:
		row.State = "invited"
	case u.PausedUntil.After(c.Now()):
		row.State = "paused"
	}
	return row
}

// roles are the workspace's, to choose from.
func (c *call) roles() ([]view.Option, error) {
	doc, _, err := c.Sessions.Policy(c.ctx(), c.live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	var out []view.Option
	for role := range doc.Roles {
		out = append(out, view.Option{Value: string(role), Label: view.RoleName(role)})
	}
	slices.SortFunc(out, func(a, b view.Option) int { return strings.Compare(a.Label, b.Label) })
	return out, nil
}

// newPersonPage asks who is to be added.
func (s *Web) newPersonPage(c *call) error {
	if err := c.allowed(policy.ActUsers, "user.create"); err != nil {
		return err
	}
	roles, err := c.roles()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.NewPersonPage(view.NewPerson{Frame: c.frame(), Roles: roles, Mail: s.Mail}))
}

// addPerson adds a person, makes their claim, and shows how it reaches them.
func (s *Web) addPerson(c *call) error {
	v := view.NewPerson{Name: c.field("name"), Email: c.field("email"), Phone: c.field("phone"), Role: c.field("role"), Channel: c.field("channel"), Mail: s.Mail}
	var err error
	if v.Roles, err = c.roles(); err != nil {
		return err
	}
	user, err := c.insertPerson(v)
	if err != nil {
		bad, err := c.wrong(c.confirm(err, asking{act: "add " + v.Name, back: view.PageNewPerson}), map[string]string{"email_taken": "email"},
			"name", "email", "phone", "role", "channel")
		if err != nil {
			return err
		}
		v.Errors, v.Frame = bad.fields, c.frame()
		return c.show(bad.status, view.NewPersonPage(v))
	}
	claim, err := c.makeClaim(user.ID, directory.NewClaim{Channel: v.Channel})
	if err != nil {
		// The person is there; what is missing is made on their page.
		c.form = map[string][]string{"channel": {v.Channel}, "checked": {"in_person"}}
		return c.confirm(err, asking{act: "make the key of " + user.Name, action: view.PostPerson(user.ID, "claims"), back: view.PersonURL(user.ID)})
	}
	return c.showDelivery(user, v.Channel, claim)
}

func (c *call) insertPerson(v view.NewPerson) (directory.User, error) {
	if v.Role == "" {
		return directory.User{}, identity.RefuseField("role", "missing", "Choose one.")
	}
	if !slices.Contains([]string{"mail", "letter", "screen"}, v.Channel) {
		return directory.User{}, identity.RefuseField("channel", "missing", "Choose one.")
	}
	who, err := c.who(policy.ActUsers)
	if err != nil {
		return directory.User{}, err
	}
	return c.Directory.AddUser(c.ctx(), who, c.live.WorkspaceID, directory.NewUser{Email: v.Email, Name: v.Name, Phone: v.Phone, Role: identity.Role(v.Role)})
}

// makeClaim asks for a proof of its own: a token is good for one act.
func (c *call) makeClaim(userID string, in directory.NewClaim) (directory.Claim, error) {
	who, err := c.who(policy.ActUsers)
	if err != nil {
		return directory.Claim{}, err
	}
	return c.Directory.NewClaim(c.ctx(), who, c.live.WorkspaceID, userID, in)
}

func (c *call) showDelivery(u directory.User, channel string, claim directory.Claim) error {
	return c.show(http.StatusOK, view.DeliveryPage(view.Delivery{Frame: c.frame(), ID: u.ID, Name: u.Name, Email: u.Email, Channel: channel, ClaimURL: claim.URL,
		ClaimCode: claim.Code.Reveal(), ExpiresAt: claim.ExpiresAt, Again: !u.ClaimedAt.IsZero()}))
}

// personPage is one person's page.
func (s *Web) personPage(c *call) error {
	v, err := c.person()
	if err != nil {
		return err
	}
	return c.show(http.StatusOK, view.PersonPage(v))
}

// person reads the person whom the address names.
func (c *call) person() (view.PersonView, error) {
	u, err := c.Directory.User(c.ctx(), c.plainWho(), c.live.WorkspaceID, c.r.PathValue("id"))
	if err != nil {
		return view.PersonView{}, err
	}
	v := view.PersonView{Person: c.personRow(u), Phone: u.Phone, Self: u.ID == c.live.UserID, Mail: c.Mail}
	if v.LastAdmin, err = c.isLastAdministrator(u); err != nil {
		return v, err
	}
	if v.Roles, err = c.roles(); err != nil {
		return v, err
	}
	own, err := c.Directory.Credentials(c.ctx(), c.live.WorkspaceID, u.ID)
	if err != nil {
		return v, err
	}
	v.KeyMade, v.PINChanged, v.ClaimUntil = own.KeyMade, own.PINSet, own.ClaimUntil
	list, err := c.Sessions.Sessions(c.ctx(), &session.Live{WorkspaceID: c.live.WorkspaceID, UserID: u.ID})
	if err != nil {
		return v, err
	}
	v.Sessions = sessionRows(list)
	if v.Activity, err = c.watched(record.Filter{User: u.ID, Limit: 12}); err != nil {
		return v, err
	}
	v.Frame = c.frame()
	return v, nil
}

// administers reports whether a person can administer now.
func administers(doc policy.Document, u directory.User) bool {
	rules, ok := doc.Role(u.Role)
	return ok && rules.Class == identity.Administration && u.DisabledAt.IsZero() && !u.ClaimedAt.IsZero()
}

func (c *call) isLastAdministrator(u directory.User) (bool, error) {
	doc, _, err := c.Sessions.Policy(c.ctx(), c.live.WorkspaceID)
	if err != nil || !administers(doc, u) {
		return false, err
	}
	all, err := c.Directory.Users(c.ctx(), c.plainWho(), c.live.WorkspaceID)
	return !slices.ContainsFunc(all, func(o directory.User) bool { return o.ID != u.ID && administers(doc, o) }), err
}

// savePerson changes name, phone and role.
func (s *Web) savePerson(c *call) error {
	name, phone, role := c.field("name"), c.field("phone"), identity.Role(c.field("role"))
	change := directory.Change{Name: &name, Phone: &phone}
	if role != "" {
		change.Role = &role
	}
	err := c.changePerson(change, "change the details of")
	if err == nil {
		return c.done(view.PersonURL(c.r.PathValue("id")), "person_saved")
	}
	bad, err := c.wrong(err, nil, "name", "phone", "role")
	if err != nil {
		return err
	}
	return c.personAgain(bad, func(v *view.PersonView) { v.Person.Name, v.Phone, v.Person.Role = name, phone, role })
}

// personAgain shows a person's page with what was wrong, and what was typed.
func (c *call) personAgain(bad wrong, typed func(*view.PersonView)) error {
	v, err := c.person()
	if err != nil {
		return err
	}
	typed(&v)
	v.Errors = bad.fields
	return c.show(bad.status, view.PersonPage(v))
}

// changePerson is a change of the person whom the address names. An error that
// was answered already, by asking for the PIN, is errAnswered.
func (c *call) changePerson(change directory.Change, act string) error {
	id := c.r.PathValue("id")
	who, err := c.who(policy.ActUsers)
	if err == nil {
		_, err = c.Directory.UpdateUser(c.ctx(), who, c.live.WorkspaceID, id, change)
	}
	if err == nil {
		return nil
	}
	return c.confirm(err, asking{act: act + " " + c.nameOf(id), back: view.PersonURL(id)})
}

// nameOf is what somebody is called, for a sentence.
func (c *call) nameOf(id string) string {
	called, err := c.called()
	if err != nil || called(id) == "" {
		return "this person"
	}
	return called(id)
}

func (s *Web) disablePerson(c *call) error {
	disabled := true
	return c.switchPerson(directory.Change{Disabled: &disabled}, "disable", "person_disabled")
}

func (s *Web) enablePerson(c *call) error {
	disabled := false
	return c.switchPerson(directory.Change{Disabled: &disabled}, "let in again", "person_enabled")
}

func (c *call) switchPerson(change directory.Change, act, notice string) error {
	err := c.changePerson(change, act)
	if err == nil {
		return c.done(view.PersonURL(c.r.PathValue("id")), notice)
	}
	bad, err := c.wrong(err, nil)
	if err != nil {
		return err
	}
	return c.personAgain(bad, func(*view.PersonView) {})
}

// newClaim makes a new key for somebody: a link and a code that they take it
// with.
func (s *Web) newClaim(c *call) error {
	id, channel := c.r.PathValue("id"), c.field("channel")
	user, err := c.Directory.User(c.ctx(), c.plainWho(), c.live.WorkspaceID, id)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"in_person", "call", "photo_id"}, c.field("checked")) {
		return c.personAgain(invalid("checked", "Say how you made sure that it is them."), func(*view.PersonView) {})
	}
	claim, err := c.makeClaim(id, directory.NewClaim{Channel: channel, Reset: c.form["reset"], Checked: c.field("checked")})
	if err != nil {
		bad, err := c.wrong(c.confirm(err, asking{act: "make a new key for " + user.Name, detail: "The old one stops when they take the new one.", back: view.PersonURL(id)}), nil, "channel")
		if err != nil {
			return err
		}
		return c.personAgain(bad, func(*view.PersonView) {})
	}
	return c.showDelivery(user, channel, claim)
}

// signPersonOut ends all of somebody's sessions.
func (s *Web) signPersonOut(c *call) error {
	id := c.r.PathValue("id")
	who, err := c.who(policy.ActUsers)
	if err == nil {
		err = s.Directory.EndSessions(c.ctx(), who, id)
	}
	if err != nil {
		return c.confirm(err, asking{act: "sign out " + c.nameOf(id), back: view.PersonURL(id)})
	}
	return c.done(view.PersonURL(id), "person_out")
}
