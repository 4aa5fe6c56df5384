package directory

import (
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// User is a person as administrators see them.
type User struct {
	ID          string
	WorkspaceID string
	Email       string
	Name        string
	Phone       string
	Role        identity.Role
	Visiting    bool
	CreatedAt   time.Time
	ClaimedAt   time.Time // zero until the first key was taken
	SignedInAt  time.Time
	DisabledAt  time.Time // zero while enabled
	PausedUntil time.Time // key + PIN from unknown devices; zero when not
}

func userOf(u store.User) User {
	return User{u.ID, u.WorkspaceID, u.Email, u.Name, u.Phone, identity.Role(u.Role), u.Visiting > 0, at(u.CreatedAt), at(u.ClaimedAt),
		at(u.SignedInAt), at(u.DisabledAt), at(u.PausedUntil)}
}

func at(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// NewUser is a person to be added.
type NewUser struct {
	Email, Name, Phone string
	Role               identity.Role
}

// AddUser adds a person. They can do nothing until they have claimed their key.
// Action: users.
func (d *Directory) AddUser(ctx context.Context, who signin.Who, workspaceID string, in NewUser) (User, error) {
	name, err := cleanName("name", in.Name, 120)
	if err != nil {
		return User{}, err
	}
	mail, err := email("email", in.Email)
	if err != nil {
		return User{}, err
	}
	number, err := phone("phone", in.Phone)
	if err != nil {
		return User{}, err
	}
	var out User
	id := identity.NewID(identity.UserID)
	check := func(tx *store.Tx) error {
		if err := knownRole(tx, in.Role); err != nil {
			return err
		}
		return freeEmail(tx, mail, "")
	}
	err = d.signin.Act(ctx, who, workspaceID, policy.ActUsers, "user.create", check, func(tx *store.Tx) error {
		err := tx.InsertUser(store.InsertUserParams{ID: id, Email: mail, Name: name, Phone: number, Role: string(in.Role),
			CreatedBy: tx.By().Actor, RecoverySalt: []byte{}})
		if err != nil {
			return err
		}
		if _, err := tx.Record(audit.Event{Type: "user.create", Outcome: audit.Success, User: id, Detail: audit.Detail{"role": string(in.Role)}}); err != nil {
			return err
		}
		row, err := tx.User(id)
		out = userOf(row)
		return err
	})
	if store.Conflict(err) {
		err = errEmailTaken()
	}
	return out, err
}

func errEmailTaken() error {
	return identity.Refuse(identity.Conflict, "email_taken", "Somebody here has this address already.")
}

func freeEmail(tx *store.Tx, mail, butFor string) error {
	u, err := tx.UserByEmail(mail)
	switch {
	case errors.Is(err, store.ErrNoRows), err == nil && u.ID == butFor:
		return nil
	case err == nil:
		return errEmailTaken()
	}
	return err
}

func knownRole(tx *store.Tx, role identity.Role) error {
	doc, _, err := document(tx)
	if err != nil {
		return err
	}
	if _, ok := doc.Roles[role]; !ok {
		return identity.RefuseField("role", "unknown", "The policy has no such role.")
	}
	return nil
}

// Users lists the workspace's people. Class admin only.
func (d *Directory) Users(ctx context.Context, who signin.Who, workspaceID string) ([]User, error) {
	if err := d.signin.AllowedIn(ctx, who, workspaceID, policy.ActUsers, "user.list"); err != nil {
		return nil, err
	}
	var out []User
	err := d.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		rows, err := tx.Users()
		for _, u := range rows {
			out = append(out, userOf(u))
		}
		return err
	})
	return out, err
}

// User returns one person of the workspace. Class admin only.
func (d *Directory) User(ctx context.Context, who signin.Who, workspaceID, id string) (User, error) {
	if err := d.signin.AllowedIn(ctx, who, workspaceID, policy.ActUsers, "user.get"); err != nil {
		return User{}, err
	}
	return d.user(ctx, workspaceID, id)
}

func (d *Directory) user(ctx context.Context, workspaceID, id string) (User, error) {
	var out User
	err := d.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		row, err := tx.User(id)
		out = userOf(row)
		return err
	})
	return out, unknown(err, "user")
}

// Change is what is changed about a person; nil leaves as it is.
type Change struct {
	Name, Phone, Email *string
	Role               *identity.Role
	Disabled           *bool
}

// UpdateUser changes a person. A new role applies to their open sessions at
// once; disabling ends sessions, attempts and claims. The last administrator
// can neither be demoted nor disabled, whoever tries at the same moment. Old
// addresses are told of what happens for a week more. Action: users.
func (d *Directory) UpdateUser(ctx context.Context, who signin.Who, workspaceID, id string, c Change) (User, error) {
	if err := c.clean(); err != nil {
		return User{}, err
	}
	var out User
	var was store.User
	check := func(tx *store.Tx) (err error) {
		// The workspace's row first: of two administrators who demote each other
		// at once the second waits here, and then sees what the first did.
		if _, err := tx.TouchWorkspace(); err != nil {
			return err
		}
		if was, err = tx.User(id); err != nil {
			return unknown(err, "user")
		}
		if c.Role != nil {
			if err := knownRole(tx, *c.Role); err != nil {
				return err
			}
		}
		if c.Email != nil {
			if err := freeEmail(tx, *c.Email, id); err != nil {
				return err
			}
		}
		return d.keepAdministrator(tx, was, c)
	}
	err := d.signin.Act(ctx, who, workspaceID, policy.ActUsers, "user.update", check, func(tx *store.Tx) error {
		if err := d.change(tx, was, c); err != nil {
			return err
		}
		row, err := tx.User(id)
		out = userOf(row)
		return err
	})
	if store.Conflict(err) {
		err = errEmailTaken()
	}
	return out, err
}

func (c *Change) clean() error {
	var err error
	if c.Name != nil {
		*c.Name, err = cleanName("name", *c.Name, 120)
	}
	if c.Phone != nil && err == nil {
		*c.Phone, err = phone("phone", *c.Phone)
	}
	if c.Email != nil && err == nil {
		*c.Email, err = email("email", *c.Email)
	}
	return err
}

// keepAdministrator refuses a change that would leave nobody to administer.
func (d *Directory) keepAdministrator(tx *store.Tx, was store.User, c Change) error {
	doc, _, err := document(tx)
	if err != nil {
		return err
	}
	if !administers(doc, was) || c.Role == nil && c.Disabled == nil {
		return nil
	}
	after := was
	if c.Role != nil {
		after.Role = string(*c.Role)
	}
	if c.Disabled != nil && *c.Disabled {
		after.DisabledAt = 1
	}
	users, err := tx.Users()
	if err != nil {
		return err
	}
	for _, u := range users {
		if u.ID == was.ID {
			u = after
		}
		if !administers(doc, u) {
			continue
		}
		if can, err := canSignIn(tx, doc, doc, u); can || err != nil {
			return err
		}
	}
	return identity.Refuse(identity.Conflict, "last_administrator", "This is the last administrator. Make somebody else one first.")
}

// administers reports whether a person can administer now: enabled, claimed,
// and of a role of class admin.
func administers(doc policy.Document, u store.User) bool {
	rules, ok := doc.Role(identity.Role(u.Role))
	return ok && rules.Class == identity.Administration && u.DisabledAt == 0 && u.ClaimedAt > 0
}

func (d *Directory) change(tx *store.Tx, was store.User, c Change) error {
	var changed []string
	if c.Name != nil && *c.Name != was.Name {
		if err := tx.SetUserName(was.ID, *c.Name); err != nil {
			return err
		}
		changed = append(changed, "name")
	}
	if c.Phone != nil && *c.Phone != was.Phone {
		if err := d.replaceContact(tx, was.ID, "sms", was.Phone); err != nil {
			return err
		}
		if err := tx.SetUserPhone(was.ID, *c.Phone); err != nil {
			return err
		}
		changed = append(changed, "phone")
	}
	if c.Email != nil && *c.Email != was.Email {
		if err := d.replaceContact(tx, was.ID, "mail", was.Email); err != nil {
			return err
		}
		if err := tx.SetUserEmail(was.ID, *c.Email); err != nil {
			return err
		}
		changed = append(changed, "email")
	}
	for _, word := range changed {
		if _, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success, User: was.ID, Detail: audit.Detail{"changed": word}}); err != nil {
			return err
		}
	}
	if c.Role != nil && string(*c.Role) != was.Role {
		if err := d.changeRole(tx, was, *c.Role); err != nil {
			return err
		}
		changed = append(changed, "role")
	}
	if c.Disabled != nil && *c.Disabled != (was.DisabledAt > 0) {
		if err := d.changeDisabled(tx, was, *c.Disabled); err != nil {
			return err
		}
		changed = append(changed, "disabled")
	}
	if len(changed) == 0 {
		// Nothing of the person changed, but the workspace's revision did.
		_, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success, User: was.ID})
		return err
	}
	return nil
}

func (d *Directory) replaceContact(tx *store.Tx, userID, channel, old string) error {
	if old == "" {
		return nil
	}
	return tx.InsertContactHistory(store.InsertContactHistoryParams{ID: identity.NewID("con"), UserID: userID, Channel: channel, Value: old})
}

// formerly returns until when somebody who loses a watching role is still told.
func formerly(tx *store.Tx, doc policy.Document, was store.User) (admin, reviewer int64) {
	rules, _ := doc.Role(identity.Role(was.Role))
	admin, reviewer = was.AdminUntil, was.ReviewerUntil
	if was.DisabledAt > 0 {
		return admin, reviewer
	}
	switch until := tx.Now().Add(week).UnixMicro(); rules.Class {
	case identity.Administration:
		admin = until
	case identity.Review:
		reviewer = until
	}
	return admin, reviewer
}

func (d *Directory) changeRole(tx *store.Tx, was store.User, role identity.Role) error {
	doc, _, err := document(tx)
	if err != nil {
		return err
	}
	admin, reviewer := formerly(tx, doc, was)
	err = tx.SetUserRole(store.SetUserRoleParams{ID: was.ID, Role: string(role), ChangedBy: tx.By().Actor, AdminUntil: admin, ReviewerUntil: reviewer})
	if err != nil {
		return err
	}
	if err := d.sessions.ChangeRights(tx, was.ID); err != nil {
		return err
	}
	_, err = tx.Record(audit.Event{Type: "user.role", Outcome: audit.Success, User: was.ID, Detail: audit.Detail{"role": string(role), "was": was.Role}})
	return err
}

func (d *Directory) changeDisabled(tx *store.Tx, was store.User, disabled bool) error {
	doc, _, err := document(tx)
	if err != nil {
		return err
	}
	admin, reviewer := formerly(tx, doc, was)
	p := store.SetUserDisabledParams{ID: was.ID, AdminUntil: admin, ReviewerUntil: reviewer}
	typ := "user.enable"
	if disabled {
		p.DisabledAt, typ = tx.Micros(), "user.disable"
	}
	if err := tx.SetUserDisabled(p); err != nil {
		return err
	}
	if _, err := tx.Record(audit.Event{Type: typ, Outcome: audit.Success, User: was.ID}); err != nil {
		return err
	}
	if !disabled {
		return nil
	}
	if _, err := d.sessions.EndAll(tx, was.ID, "user_disabled", ""); err != nil {
		return err
	}
	if err := tx.EndAttemptsOfUser(was.ID); err != nil {
		return err
	}
	return tx.VoidClaims(was.ID)
}
