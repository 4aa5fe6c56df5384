package httpapi

import (
	"context"
	"errors"
	"strings"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

func (a *API) authzRoutes() {
	const tag = "Applications"
	add(a, route{method: "POST", path: "/api/v1/authz/check", id: "check", tag: tag, need: anybody,
		summary: "Ask whether the person may do an action now; by session cookie or access token"}, a.check)
	a.raw("GET /.well-known/jwks.json", a.jwks)
}

type checkInput struct {
	Body struct {
		Action string          `json:"action" maxLength:"64"`
		Token  identity.Secret `json:"step_up_token,omitempty" maxLength:"256"`
		TxHash string          `json:"tx_hash,omitempty"`
	}
}

type checkAnswer struct {
	Body struct {
		Decision string `json:"decision" enum:"permit,deny,break_glass_possible"`
		Code     string `json:"code,omitempty" enum:"role,unknown_action,bg_forbidden_action"`
	}
}

func (a *API) check(ctx context.Context, who signin.Who, in *checkInput) (*checkAnswer, error) {
	var err error
	if who.Live, err = a.bearerOrCookie(ctx, who); err != nil {
		return nil, err
	}
	token := in.Body.Token
	if token == "" {
		token = who.StepUp
	}
	d, err := a.Signin.Check(ctx, who, signin.CheckInput{Action: in.Body.Action, Token: token, TxHash: in.Body.TxHash})
	if err != nil {
		return nil, err
	}
	out := &checkAnswer{}
	out.Body.Decision, out.Body.Code = string(d.Verdict), d.Code
	return out, nil
}

// bearerOrCookie finds the session behind an access token, where one came, else
// behind the cookies.
func (a *API) bearerOrCookie(ctx context.Context, who signin.Who) (*session.Live, error) {
	scheme, token, _ := strings.Cut(header(ctx, "Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return a.Sessions.Check(ctx, who.Visit, session.Renew)
	}
	live, err := a.Sessions.Bearer(ctx, strings.TrimSpace(token))
	if errors.Is(err, session.ErrSignedOut) {
		return nil, identity.Refuse(identity.Unauthenticated, "invalid_token", "The access token is not valid, or its session is over.")
	}
	if errors.Is(err, session.ErrLocked) {
		return nil, edge.SessionLocked()
	}
	return live, err
}
