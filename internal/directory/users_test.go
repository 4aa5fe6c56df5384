package directory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

func nurse() directory.NewUser {
	return directory.NewUser{Email: "Nurse@Hope.example", Name: " A  Nurse ", Phone: "+44 20 7946 0102", Role: identity.Nurse}
}

func TestAddUser(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx, who := context.Background(), c.admin()
		u, err := c.Directory.AddUser(ctx, who, c.Workspace.ID, nurse())
		ok(t, err)
		want(t, "added", directory.User{ID: u.ID, WorkspaceID: c.Workspace.ID, Email: "nurse@hope.example", Name: "A Nurse", Phone: "+442079460102",
			Role: identity.Nurse, CreatedAt: u.CreatedAt}, u)
		if u.CreatedAt.IsZero() {
			t.Error("no time")
		}
		want(t, "events", c.Count("user.create", success, `"actor":"`+c.Admin.ID, `"user_id":"`+u.ID, `"role":"nurse"`), 1)
		want(t, "names in the record", c.Count("user.create", "Nurse"), 0)
		refused(t, c.signIn(mitraltest.Person{Email: u.Email, Key: identity.NewKey(), PIN: "8264"}), "invalid_credentials")
		got, err := c.Directory.User(ctx, who, c.Workspace.ID, u.ID)
		ok(t, err)
		want(t, "read back", got, u)
		all, err := c.Directory.Users(ctx, who, c.Workspace.ID)
		ok(t, err)
		want(t, "people", len(all), 2)
		names, err := c.Directory.Names(ctx, c.Workspace.ID)
		ok(t, err)
		want(t, "name", names(u.ID), "A Nurse")
		want(t, "nobody's name", names("cli"), "cli")

		in := nurse()
		in.Email = " nurse@HOPE.example "
		_, err = c.Directory.AddUser(ctx, who, c.Workspace.ID, in)
		want(t, "kind", refused(t, err, "email_taken").Kind, identity.Conflict)
		for name, edit := range map[string]func(*directory.NewUser){
			"email": func(in *directory.NewUser) { in.Email = "two@at@once" },
			"name":  func(in *directory.NewUser) { in.Name = strings.Repeat("n", 121) },
			"phone": func(in *directory.NewUser) { in.Phone = "07700 900000" },
			"role":  func(in *directory.NewUser) { in.Role = "porter" },
		} {
			in := nurse()
			in.Email = "other@hope.example"
			edit(&in)
			_, err := c.Directory.AddUser(ctx, who, c.Workspace.ID, in)
			field(t, err, name)
		}
		want(t, "people", c.Count("user.create"), 2) // with the administrator

		// The same address in another clinic is another user.
		other, err := c.Directory.Setup(ctx, directory.SetupInput{WorkspaceName: "Other Clinic", AdminEmail: "admin@other.example", AdminName: "Another Administrator",
			PIN: "8264", Another: true, ByOperator: true})
		ok(t, err)
		_, err = c.Directory.AddUser(ctx, signin.CLI(), other.Workspace.ID, nurse())
		ok(t, err)
		_, err = c.Directory.User(ctx, who, c.Workspace.ID, other.User.ID)
		want(t, "kind", refused(t, err, "unknown_user").Kind, identity.Unknown)
		_, err = c.Directory.UpdateUser(ctx, who, c.Workspace.ID, other.User.ID, directory.Change{Name: ptr("Mine")})
		refused(t, err, "unknown_user")
		_, err = c.Directory.NewClaim(ctx, who, c.Workspace.ID, other.User.ID, directory.NewClaim{Channel: "screen"})
		refused(t, err, "unknown_user")
	})
}

func TestPeopleAreAnAdministratorsBusiness(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		p := c.Add(identity.Nurse)
		for _, role := range []identity.Role{identity.Doctor, identity.Staff, identity.PrivacyReviewer} {
			b := c.NewDevice()
			b.SignIn(c.Add(role))
			who, n := b.Who(), c.Count("authz.refused", denied, `"reason":"forbidden"`)
			for _, act := range []func() error{
				func() error { _, err := c.Directory.AddUser(ctx, who, c.Workspace.ID, nurse()); return err },
				func() error {
					_, err := c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, directory.Change{Name: ptr("Other")})
					return err
				},
				func() error { _, err := c.Directory.Users(ctx, who, c.Workspace.ID); return err },
				func() error { _, err := c.Directory.User(ctx, who, c.Workspace.ID, p.ID); return err },
				func() error { return c.Directory.EndSessions(ctx, who, p.ID) },
				func() error {
					_, err := c.Directory.NewClaim(ctx, who, c.Workspace.ID, p.ID, directory.NewClaim{Channel: "screen"})
					return err
				},
				func() error { _, err := c.Directory.Devices(ctx, who, c.Workspace.ID); return err },
				func() error { _, _, err := c.Directory.Policy(ctx, who, c.Workspace.ID); return err },
				func() error { _, err := c.Directory.PolicyHistory(ctx, who, c.Workspace.ID); return err },
				func() error {
					_, _, err := c.Directory.PutPolicy(ctx, who, c.Workspace.ID, `"1"`, policyText(t, c), "")
					return err
				},
			} {
				want(t, "kind", refused(t, act(), "forbidden").Kind, identity.Forbidden)
			}
			want(t, "in the record", c.Count("authz.refused", denied, `"reason":"forbidden"`)-n, 10)
		}
		devices, err := c.Directory.Devices(ctx, c.admin(), c.Workspace.ID)
		ok(t, err)
		if len(devices) < 4 {
			t.Errorf("%d devices", len(devices))
		}
	})
}

func TestF26AConflictCostsNoStepUp(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		b := c.NewDevice()
		b.SignIn(c.Admin)
		c.Advance(6 * time.Minute)
		_, err := c.Directory.AddUser(ctx, b.Who(), c.Workspace.ID, nurse())
		r := refused(t, err, needsStep)
		want(t, "action", r.Action, "users")
		want(t, "kind", r.Kind, identity.StepUpNeeded)

		who := b.Confirmed(c.Admin, "users")
		c.Exec("UPDATE session SET fresh_at = auth_time") // the token alone
		n := clinic{c.Node(), t}
		who.Visit = b.VisitOn(n.Clinic)
		who.Live, err = n.Sessions.Check(ctx, who.Visit, session.Peek)
		ok(t, err)
		taken, unknown := nurse(), nurse()
		taken.Email, unknown.Role = c.Admin.Email, "porter"
		_, err = n.Directory.AddUser(ctx, who, c.Workspace.ID, taken)
		refused(t, err, "email_taken")
		_, err = n.Directory.AddUser(ctx, who, c.Workspace.ID, unknown)
		field(t, err, "role")
		_, err = n.Directory.UpdateUser(ctx, who, c.Workspace.ID, c.Admin.ID, directory.Change{Disabled: ptr(true)})
		refused(t, err, "last_administrator")
		_, err = n.Directory.AddUser(ctx, who, c.Workspace.ID, nurse())
		ok(t, err)
		other := nurse()
		other.Email = "other@hope.example"
		_, err = n.Directory.AddUser(ctx, who, c.Workspace.ID, other)
		refused(t, err, needsStep)
	})
}

func TestUpdateUser(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx, who := context.Background(), c.admin()
		p := c.Add(identity.Nurse)
		u, err := c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, directory.Change{Name: ptr(" New  Name"), Phone: ptr("+44 20 7946 0103"), Email: ptr("New@hope.example")})
		ok(t, err)
		want(t, "name", u.Name, "New Name")
		want(t, "number", u.Phone, "+442079460103")
		want(t, "address", u.Email, "new@hope.example")
		for _, word := range []string{"name", "phone", "email"} {
			want(t, word, c.Count("user.update", success, `"changed":"`+word+`"`, `"user_id":"`+p.ID), 1)
		}
		refused(t, c.signIn(p), "invalid_credentials")
		p.Email = "new@hope.example"
		ok(t, c.signIn(p))
		u, err = c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, directory.Change{Phone: ptr("")})
		ok(t, err)
		want(t, "number taken away", u.Phone, "")
		again, err := c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, directory.Change{Name: ptr("New Name")})
		ok(t, err)
		want(t, "unchanged", again, u)

		for name, change := range map[string]directory.Change{"name": {Name: ptr("")}, "phone": {Phone: ptr("1")}, "email": {Email: ptr("x")}, "role": {Role: ptr(identity.Role("porter"))}} {
			_, err := c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, change)
			field(t, err, name)
		}
		_, err = c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, directory.Change{Email: ptr(c.Admin.Email)})
		refused(t, err, "email_taken")
		_, err = c.Directory.UpdateUser(ctx, who, c.Workspace.ID, "usr_nobody", directory.Change{Name: ptr("x")})
		want(t, "kind", refused(t, err, "unknown_user").Kind, identity.Unknown)
	})
}

func TestANewRoleCountsInOpenSessions(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		p := c.Add(identity.Nurse)
		b, elsewhere := c.NewDevice(), c.NewDevice()
		b.SignIn(p)
		node := c.Node()
		elsewhere.SignIn(p)
		v := elsewhere.VisitOn(node)
		if _, err := node.Sessions.Check(context.Background(), v, session.Peek); err != nil {
			t.Fatal(err)
		}
		_, err := c.Directory.UpdateUser(context.Background(), c.admin(), c.Workspace.ID, p.ID, directory.Change{Role: ptr(identity.PrivacyReviewer)})
		ok(t, err)
		live := b.Who().Live
		want(t, "role", live.Role, identity.PrivacyReviewer)
		want(t, "class", live.Class, identity.Review)
		c.Advance(3 * time.Second) // the other node polls before it answers
		other, err := node.Sessions.Check(context.Background(), elsewhere.VisitOn(node), session.Peek)
		ok(t, err)
		want(t, "role on the other node", other.Role, identity.PrivacyReviewer)
		want(t, "events", c.Count("user.role", success, `"role":"privacy_reviewer"`, `"was":"nurse"`, `"actor":"`+c.Admin.ID, `"user_id":"`+p.ID), 1)
		ok(t, c.DB.Read(context.Background(), c.Workspace.ID, func(tx *store.Tx) error {
			u, err := tx.User(p.ID)
			want(t, "changed by", u.RoleChangedBy, c.Admin.ID)
			return err
		}))
	})
}

func TestDisablingEndsEverything(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx, who := context.Background(), c.admin()
		p, bystander := c.Add(identity.Nurse), c.Add(identity.Nurse)
		open, locked, other := c.NewDevice(), c.NewDevice(), c.NewDevice()
		open.SignIn(p)
		locked.SignIn(p)
		other.SignIn(bystander)
		lv := locked.Who()
		if _, err := c.Sessions.Lock(ctx, lv.Visit, lv.Live, session.ReasonUser); err != nil {
			t.Fatal(err)
		}
		locked.Keep(lv.Visit)
		claim := c.onScreen(p.ID)
		u, err := c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, directory.Change{Disabled: ptr(true)})
		ok(t, err)
		if u.DisabledAt.IsZero() {
			t.Error("the person is enabled")
		}
		want(t, "an open session", c.state(open), session.Ended)
		want(t, "a locked session", c.state(locked), session.Ended)
		want(t, "somebody else's", c.state(other), session.Active)
		want(t, "ends", c.Count("session.end", `"reason":"user_disabled"`), 2)
		want(t, "events", c.Count("user.disable", success, `"user_id":"`+p.ID), 1)
		refused(t, c.signIn(p), "invalid_credentials")
		_, err = c.take(claim, claim.Code, p.PIN)
		want(t, "kind", refused(t, err, "claim_over").Kind, identity.Gone)
		_, err = c.Directory.NewClaim(ctx, who, c.Workspace.ID, p.ID, directory.NewClaim{Channel: "screen"})
		refused(t, err, "user_disabled")

		u, err = c.Directory.UpdateUser(ctx, who, c.Workspace.ID, p.ID, directory.Change{Disabled: ptr(false)})
		ok(t, err)
		want(t, "disabled", u.DisabledAt.IsZero(), true)
		want(t, "events", c.Count("user.enable", success), 1)
		ok(t, c.signIn(p))
		want(t, "what was ended stays so", c.state(open), session.Ended)
	})
}

func TestDisablingEndsAHalfDoneSignIn(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		p := c.Add(identity.Nurse)
		c.Advance(98 * day) // the PIN is overdue
		pend := func() *mitraltest.Device {
			t.Helper()
			b := c.NewDevice()
			v := b.Visit()
			out, err := c.Signin.KeyPIN(ctx, v, signin.KeyPIN{Identifier: p.Email, Key: p.Key, PIN: p.PIN})
			ok(t, err)
			want(t, "state", out.State, "enrollment_required")
			b.Keep(v)
			return b
		}
		b := pend()
		for _, disabled := range []bool{true, false} {
			_, err := c.update(p.ID, directory.Change{Disabled: &disabled})
			ok(t, err)
		}
		_, err := c.Signin.ChangePIN(ctx, signin.Who{Visit: b.Visit()}, p.PIN, "7306")
		refused(t, err, "signed_out")
		b = pend()
		_, err = c.Signin.ChangePIN(ctx, signin.Who{Visit: b.Visit()}, p.PIN, "7306")
		ok(t, err)
	})
}

func TestTheLastAdministratorStays(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		who := c.admin()
		lose := func(id string, change directory.Change) error {
			_, err := c.Directory.UpdateUser(context.Background(), who, c.Workspace.ID, id, change)
			return err
		}
		disable, demote := directory.Change{Disabled: ptr(true)}, directory.Change{Role: ptr(identity.Nurse)}
		for _, change := range []directory.Change{disable, demote} {
			want(t, "kind", refused(t, lose(c.Admin.ID, change), "last_administrator").Kind, identity.Conflict)
		}
		// Somebody who has never taken their key could not administer.
		waiting, err := c.add(directory.NewUser{Email: "second@hope.example", Name: "Second", Role: identity.Admin})
		ok(t, err)
		refused(t, lose(c.Admin.ID, demote), "last_administrator")
		ok(t, lose(waiting.ID, demote)) // who does not count may go
		second := c.Add(identity.Admin)
		ok(t, lose(second.ID, disable))
		refused(t, lose(c.Admin.ID, demote), "last_administrator")
		ok(t, lose(second.ID, directory.Change{Disabled: ptr(false)}))
		ok(t, lose(c.Admin.ID, demote))
		want(t, "refusals in the record", c.Count("authz.refused", denied, `"reason":"last_administrator"`), 4)
	})
}

func TestF14TwoAdministratorsDemoteEachOther(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		people := [2]mitraltest.Person{c.Admin, c.Add(identity.Admin)}
		nodes := [2]clinic{c, {c.Node(), t}}
		var browsers [2]*mitraltest.Device
		for round := range 5 {
			for i, p := range people {
				browsers[i] = c.NewDevice()
				browsers[i].SignIn(p)
			}
			var whos [2]signin.Who
			for i, b := range browsers {
				v := b.VisitOn(nodes[i].Clinic)
				live, err := nodes[i].Sessions.Check(ctx, v, session.Peek)
				ok(t, err)
				whos[i] = signin.Who{Live: live, Visit: v}
			}
			errs := atOnce(2, func(i int) error {
				change := directory.Change{Role: ptr(identity.Nurse)}
				if round%2 == 1 {
					change = directory.Change{Disabled: ptr(true)}
				}
				_, err := nodes[i].Directory.UpdateUser(ctx, whos[i], c.Workspace.ID, people[1-i].ID, change)
				return err
			})
			got := codes(t, errs)
			want(t, "went through", got[""], 1)
			want(t, "refused", got["last_administrator"], 1)
			users, err := c.Directory.Users(ctx, signin.CLI(), c.Workspace.ID)
			ok(t, err)
			left := slices.IndexFunc(users, func(u directory.User) bool { return u.Role == identity.Admin && u.DisabledAt.IsZero() })
			if left < 0 {
				t.Fatal("nobody can administer any more")
			}
			for _, p := range people {
				_, err := c.update(p.ID, directory.Change{Role: ptr(identity.Admin), Disabled: ptr(false)})
				ok(t, err)
			}
		}
	})
}

func TestF14TheSameAddressAtOnce(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		nodes := [2]clinic{c, {c.Node(), t}}
		for round := range 8 {
			in := nurse()
			in.Email = fmt.Sprintf("nurse%d@hope.example", round)
			got := codes(t, atOnce(8, func(i int) error {
				_, err := nodes[i%2].add(in)
				return err
			}))
			want(t, "added", got[""], 1)
			want(t, "refused", got["email_taken"], 7)
		}
	})
}

func TestEndSessions(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		p, bystander := c.Add(identity.Nurse), c.Add(identity.Nurse)
		b, other := c.NewDevice(), c.NewDevice()
		b.SignIn(p)
		other.SignIn(bystander)
		ok(t, c.Directory.EndSessions(context.Background(), c.admin(), p.ID))
		want(t, "theirs", c.state(b), session.Ended)
		want(t, "somebody else's", c.state(other), session.Active)
		want(t, "events", c.Count("user.end_sessions", success, `"user_id":"`+p.ID, `"count":1`), 1)
		ok(t, c.signIn(p))
		refused(t, c.Directory.EndSessions(context.Background(), c.admin(), "usr_nobody"), "unknown_user")
	})
}

func TestNewRecoveryCodes(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		b := c.NewDevice()
		b.SignIn(c.Admin)
		before, err := c.Directory.Credentials(ctx, c.Workspace.ID, c.Admin.ID)
		ok(t, err)
		want(t, "codes", before.CodesLeft, 10)
		if before.KeyMade.IsZero() || before.PINSet.IsZero() || !before.OldKeyStops.IsZero() || !before.ClaimUntil.IsZero() {
			t.Errorf("what the administrator has: %+v", before)
		}
		codes, err := c.Directory.NewRecoveryCodes(ctx, b.Who())
		ok(t, err)
		want(t, "codes", len(codes), 10)
		for _, code := range codes {
			if slices.Contains(c.Setup.RecoveryCodes, code) {
				t.Error("an old code is given again")
			}
		}
		after, err := c.Directory.Credentials(ctx, c.Workspace.ID, c.Admin.ID)
		ok(t, err)
		want(t, "codes", after.CodesTotal, 10)
		told(t, c.Told("recovery_codes"), c.Admin.Email, "+442079460101")
		want(t, "events", c.Count("factor.recovery_codes", success), 2)
		claim := c.onScreen(c.Admin.ID)
		after, err = c.Directory.Credentials(ctx, c.Workspace.ID, c.Admin.ID)
		ok(t, err)
		want(t, "claim", after.ClaimUntil, claim.ExpiresAt)

		c.Advance(5 * time.Minute)
		_, err = c.Directory.NewRecoveryCodes(ctx, b.Who())
		refused(t, err, needsStep)
		_, err = c.Directory.NewRecoveryCodes(ctx, b.Confirmed(c.Admin, "factors"))
		ok(t, err)
	})
}
