package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
)

func (a *API) peopleRoutes() {
	const tag = "People"
	add(a, route{method: "GET", path: "/api/v1/users", id: "list-users", tag: tag, need: active,
		summary: "List the workspace's people (administrators)"}, a.users)
	add(a, route{method: "POST", path: "/api/v1/users", id: "add-user", tag: tag, need: active, status: http.StatusCreated,
		summary: "Add a person (step-up: users)"}, a.addUser)
	add(a, route{method: "GET", path: "/api/v1/users/{id}", id: "get-user", tag: tag, need: active,
		summary: "One person (administrators)"}, a.user)
	add(a, route{method: "PATCH", path: "/api/v1/users/{id}", id: "change-user", tag: tag, need: active,
		summary: "Change a person: name, phone, role, disabled (step-up: users)"}, a.changeUser)
	add(a, route{method: "POST", path: "/api/v1/users/{id}/claims", id: "make-claim", tag: tag, need: active, status: http.StatusCreated,
		summary: "Make the link by which a person gets a key (step-up: users)"}, a.makeClaim)
	add(a, route{method: "POST", path: "/api/v1/users/{id}/enrollment-code", id: "make-enrollment-code", tag: tag, need: active,
		summary: "Make a code with which a person may add a first factor (step-up: users)"}, a.enrollmentCode)
	add(a, route{method: "GET", path: "/api/v1/claims/{token}", id: "get-claim", tag: tag, need: anybody,
		summary: "What a claim is for; spends nothing"}, a.claim)
	add(a, route{method: "POST", path: "/api/v1/claims/{token}", id: "complete-claim", tag: tag, need: anybody,
		summary: "Take the key that a claim gives"}, a.completeClaim)
}

type user struct {
	ID          string    `json:"id"`
	Email       string    `json:"email"`
	Name        string    `json:"name"`
	Phone       string    `json:"phone,omitempty" doc:"E.164."`
	Role        string    `json:"role"`
	Disabled    bool      `json:"disabled"`
	Claimed     bool      `json:"claimed" doc:"Has taken a key."`
	Visiting    bool      `json:"visiting" doc:"Made by a sealed code for somebody without an account."`
	CreatedAt   time.Time `json:"created_at"`
	ClaimedAt   time.Time `json:"claimed_at,omitzero"`
	SignedInAt  time.Time `json:"signed_in_at,omitzero" doc:"The last sign-in."`
	DisabledAt  time.Time `json:"disabled_at,omitzero"`
	PausedUntil time.Time `json:"paused_until,omitzero" doc:"Until then key and PIN work on known devices only."`
}

func userOf(u directory.User) user {
	return user{u.ID, u.Email, u.Name, u.Phone, string(u.Role), !u.DisabledAt.IsZero(), !u.ClaimedAt.IsZero(), u.Visiting,
		u.CreatedAt, u.ClaimedAt, u.SignedInAt, u.DisabledAt, u.PausedUntil}
}

type usersAnswer struct {
	Body struct {
		Users []user `json:"users"`
	}
}

func (a *API) users(ctx context.Context, who signin.Who, _ *none) (*usersAnswer, error) {
	users, err := a.Directory.Users(ctx, who, who.Live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	out := &usersAnswer{}
	out.Body.Users = []user{}
	for _, u := range users {
		out.Body.Users = append(out.Body.Users, userOf(u))
	}
	return out, nil
}

type userAnswer struct{ Body user }

type addUserInput struct {
	Body struct {
		Email string `json:"email" maxLength:"254"`
		Name  string `json:"name" maxLength:"200"`
		Role  string `json:"role" maxLength:"64"`
		Phone string `json:"phone,omitempty" maxLength:"40" doc:"With the country: +44 20 7946 0000."`
	}
}

func (a *API) addUser(ctx context.Context, who signin.Who, in *addUserInput) (*userAnswer, error) {
	b := in.Body
	u, err := a.Directory.AddUser(ctx, who, who.Live.WorkspaceID, directory.NewUser{Email: b.Email, Name: b.Name, Phone: b.Phone, Role: identity.Role(b.Role)})
	return &userAnswer{userOf(u)}, err
}

type userInput struct {
	ID string `path:"id" maxLength:"64"`
}

func (a *API) user(ctx context.Context, who signin.Who, in *userInput) (*userAnswer, error) {
	u, err := a.Directory.User(ctx, who, who.Live.WorkspaceID, in.ID)
	return &userAnswer{userOf(u)}, err
}

type changeUserInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Name     *string `json:"name,omitempty" maxLength:"200"`
		Email    *string `json:"email,omitempty" maxLength:"254"`
		Phone    *string `json:"phone,omitempty" maxLength:"40"`
		Role     *string `json:"role,omitempty" maxLength:"64"`
		Disabled *bool   `json:"disabled,omitempty"`
	}
}

func (a *API) changeUser(ctx context.Context, who signin.Who, in *changeUserInput) (*userAnswer, error) {
	b := in.Body
	u, err := a.Directory.UpdateUser(ctx, who, who.Live.WorkspaceID, in.ID,
		directory.Change{Name: b.Name, Phone: b.Phone, Email: b.Email, Role: (*identity.Role)(b.Role), Disabled: b.Disabled})
	return &userAnswer{userOf(u)}, err
}

type makeClaimInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Channel string   `json:"channel" enum:"mail,letter,screen"`
		Reset   []string `json:"reset,omitempty" enum:"pin,factors" maxItems:"2" doc:"What is set anew besides the key, for somebody who has claimed before."`
	}
}

type claimMadeAnswer struct {
	Body struct {
		ID        string    `json:"id"`
		URL       string    `json:"claim_url,omitempty" doc:"Absent where it went by mail."`
		Code      string    `json:"claim_code" doc:"Goes to the person by another channel than the link."`
		ExpiresAt time.Time `json:"expires_at"`
	}
}

func (a *API) makeClaim(ctx context.Context, who signin.Who, in *makeClaimInput) (*claimMadeAnswer, error) {
	c, err := a.Directory.NewClaim(ctx, who, who.Live.WorkspaceID, in.ID, directory.NewClaim{Channel: in.Body.Channel, Reset: in.Body.Reset})
	if err != nil {
		return nil, err
	}
	out := &claimMadeAnswer{}
	out.Body.ID, out.Body.URL, out.Body.Code, out.Body.ExpiresAt = c.ID, c.URL, c.Code.Reveal(), c.ExpiresAt.UTC()
	return out, nil
}

type enrollmentCodeAnswer struct {
	Body struct {
		Code      string    `json:"code"`
		ExpiresAt time.Time `json:"expires_at"`
	}
}

type enrollmentCodeInput struct {
	ID   string       `path:"id" maxLength:"64"`
	Body *emptyObject `required:"false"`
}

func (a *API) enrollmentCode(ctx context.Context, who signin.Who, in *enrollmentCodeInput) (*enrollmentCodeAnswer, error) {
	if err := a.Signin.Allowed(ctx, who, policy.ActUsers); err != nil {
		return nil, a.Signin.RecordRefusal(ctx, who, who.Live.WorkspaceID, "make-enrollment-code", err)
	}
	if _, err := a.Directory.User(ctx, who, who.Live.WorkspaceID, in.ID); err != nil {
		return nil, err
	}
	return nil, a.Signin.RecordRefusal(ctx, who, who.Live.WorkspaceID, "make-enrollment-code", notOffered())
}

type claimInput struct {
	Token identity.Secret `path:"token" maxLength:"128"`
}

type claimAnswer struct {
	Body struct {
		Workspace string `json:"workspace" doc:"The clinic's name."`
		Initials  string `json:"initials" doc:"The person's."`
	}
}

// claim shows no more than somebody who found the link may know.
func (a *API) claim(ctx context.Context, _ signin.Who, in *claimInput) (*claimAnswer, error) {
	c, err := a.Directory.Claim(ctx, in.Token)
	if err != nil {
		return nil, err
	}
	out := &claimAnswer{}
	out.Body.Workspace, out.Body.Initials = c.Workspace, c.Initials
	return out, nil
}

type completeClaimInput struct {
	Token identity.Secret `path:"token" maxLength:"128"`
	Body  struct {
		Code identity.Secret `json:"claim_code" maxLength:"16"`
		PIN  identity.Secret `json:"pin" maxLength:"16" doc:"The one chosen; for a re-issued key the present one."`
	}
}

type claimedAnswer struct {
	Body struct {
		Identifier    string   `json:"identifier" doc:"What to sign in with, besides the key."`
		Key           string   `json:"key,omitempty" doc:"Shown once."`
		RecoveryCodes []string `json:"recovery_codes,omitempty" doc:"Ten, shown once."`
	}
}

func (a *API) completeClaim(ctx context.Context, who signin.Who, in *completeClaimInput) (*claimedAnswer, error) {
	c, err := a.Directory.CompleteClaim(ctx, who.Visit, in.Token, in.Body.Code, in.Body.PIN)
	if err != nil {
		return nil, err
	}
	out := &claimedAnswer{}
	out.Body.Identifier = c.Email
	if c.Key != "" {
		out.Body.Key = identity.FormatKey(c.Key)
	}
	out.Body.RecoveryCodes = reveal(c.RecoveryCodes)
	return out, nil
}

// reveal is for the one answer that shows codes.
func reveal(secrets []identity.Secret) []string {
	var out []string
	for _, s := range secrets {
		out = append(out, s.Reveal())
	}
	return out
}
