package httpapi

import (
	"context"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

func (a *API) sessionRoutes() {
	const tag = "Session"
	add(a, route{method: "POST", path: "/api/v1/session/heartbeat", id: "beat", tag: tag, need: active, quiet: true,
		summary: "Report that the person is there; the answer says how long until the lock"}, a.heartbeat)
	add(a, route{method: "POST", path: "/api/v1/session/lock", id: "lock-session", tag: tag, need: active, use: session.Name,
		summary: "Lock the session; nothing is lost"}, a.lock)
	add(a, route{method: "POST", path: "/api/v1/session/unlock", id: "unlock-session", tag: tag, need: lockedToo,
		summary: "Unlock the session by PIN, or by the sealed code that opened it"}, a.unlock)
	add(a, route{method: "POST", path: "/api/v1/session/refresh", id: "refresh-session", tag: tag, need: lockedToo, use: session.Refresh,
		summary: "Renew the cookies from the refresh cookie"}, a.refresh)
	add(a, route{method: "POST", path: "/api/v1/session/step-up", id: "step-up", tag: tag, need: lockedToo,
		summary: "Prove oneself again for one action; locked: for break_glass only"}, a.stepUp)
	add(a, route{method: "POST", path: "/api/v1/session/token", id: "make-access-token", tag: tag, need: active, quiet: true,
		summary: "Get an access token for an application"}, a.token)
	add(a, route{method: "GET", path: "/api/v1/sessions", id: "list-sessions", tag: tag, need: active,
		summary: "List one's own sessions"}, a.sessionsOf)
	add(a, route{method: "DELETE", path: "/api/v1/sessions/{id}", id: "end-session", tag: tag, need: active,
		summary: "End one of one's own sessions"}, a.endSession)
	add(a, route{method: "DELETE", path: "/api/v1/sessions", id: "end-other-sessions", tag: tag, need: active,
		summary: "End all one's other sessions"}, a.endOthers)
}

// sessionDoc is how OpenAPI describes the object that package session makes.
type sessionDoc struct {
	User struct {
		ID    string  `json:"id"`
		Name  string  `json:"name"`
		Email string  `json:"email"`
		Image *string `json:"image"`
	} `json:"user"`
	Expires string `json:"expires" doc:"The earlier of idle and absolute end, with milliseconds."`
	Mitral  struct {
		SessionID   string    `json:"session_id"`
		WorkspaceID string    `json:"workspace_id"`
		Roles       []string  `json:"roles" doc:"Exactly one."`
		ACR         string    `json:"acr"`
		AMR         []string  `json:"amr"`
		AuthTime    time.Time `json:"auth_time"`
		State       string    `json:"state" enum:"active,locked"`
		IdleEnd     time.Time `json:"idle_expires_at"`
		AbsoluteEnd time.Time `json:"absolute_expires_at"`
		LockEnd     time.Time `json:"lock_expires_at,omitzero" doc:"While locked: until when it can be unlocked."`
		BreakGlass  *struct {
			ID        string    `json:"id"`
			Ref       string    `json:"ref"`
			Category  string    `json:"category"`
			Reason    string    `json:"reason"`
			Identity  string    `json:"identity"`
			StartedAt time.Time `json:"started_at"`
			ExpiresAt time.Time `json:"expires_at"`
			Remaining int64     `json:"remaining_s"`
		} `json:"break_glass,omitempty" doc:"The open grant that the session is inside of."`
	} `json:"mitral"`
}

type sessionAnswer struct{ Body sessionObject }

func (a *API) object(live *session.Live) *sessionAnswer {
	return &sessionAnswer{a.Sessions.Object(live)}
}

type beatInput struct {
	Body struct {
		Tab      string `json:"tab" minLength:"1" maxLength:"64" doc:"Names this browser tab."`
		Seq      int64  `json:"seq" minimum:"0" doc:"Counts up with each beat of the tab."`
		Visible  bool   `json:"visible"`
		InputAge int64  `json:"input_age_ms" doc:"How long ago the person last did something, in milliseconds."`
	}
}

type beatAnswer struct{ Body session.BeatAnswer }

func (a *API) heartbeat(ctx context.Context, who signin.Who, in *beatInput) (*beatAnswer, error) {
	b := in.Body
	const longest = int64(24 * time.Hour / time.Millisecond) // older is no different
	age := time.Duration(max(-1, min(b.InputAge, longest))) * time.Millisecond
	answer, err := a.Sessions.Beat(ctx, who.Visit, who.Live, session.Beat{Tab: b.Tab, Seq: b.Seq, Visible: b.Visible, InputAge: age})
	return &beatAnswer{answer}, err
}

func (a *API) lock(ctx context.Context, who signin.Who, _ *emptyInput) (*sessionAnswer, error) {
	live, err := a.Sessions.Lock(ctx, who.Visit, who.Live, session.ReasonUser)
	if err != nil {
		return nil, err
	}
	return a.object(live), nil
}

type unlockInput struct {
	Body struct {
		Method     string          `json:"method" enum:"pin,webauthn,sealed_code"`
		PIN        identity.Secret `json:"pin,omitempty" maxLength:"16"`
		Code       identity.Secret `json:"code,omitempty" maxLength:"64" doc:"The sealed code that opened the session."`
		Credential credential      `json:"credential,omitempty"`
	}
}

func (a *API) unlock(ctx context.Context, who signin.Who, in *unlockInput) (*sessionAnswer, error) {
	b := in.Body
	live, err := a.Signin.Unlock(ctx, who.Visit, who.Live, signin.UnlockInput{Method: b.Method, PIN: b.PIN, Code: b.Code})
	if err != nil {
		return nil, err
	}
	return a.object(live), nil
}

func (a *API) refresh(_ context.Context, who signin.Who, _ *emptyInput) (*sessionAnswer, error) {
	return a.object(who.Live), nil
}

type stepUpInput struct {
	Body struct {
		Action     string          `json:"action" maxLength:"64"`
		Summary    string          `json:"summary,omitempty" maxLength:"200" doc:"What the person is asked to confirm, for the screen."`
		TxHash     string          `json:"tx_hash,omitempty" doc:"Binds the token to one transaction: at most 128 printable characters."`
		Method     string          `json:"method" enum:"totp,webauthn,pin"`
		PIN        identity.Secret `json:"pin,omitempty" maxLength:"16"`
		Code       identity.Secret `json:"code,omitempty" maxLength:"64"`
		Credential credential      `json:"credential,omitempty"`
	}
}

type stepUpAnswer struct {
	Body struct {
		Token     string    `json:"step_up_token" doc:"Good once, for this session, action and transaction."`
		ExpiresAt time.Time `json:"expires_at"`
	}
}

func (a *API) stepUp(ctx context.Context, who signin.Who, in *stepUpInput) (*stepUpAnswer, error) {
	b := in.Body
	token, expires, err := a.Signin.StepUp(ctx, who, signin.StepUpInput{Action: b.Action, Summary: b.Summary, TxHash: b.TxHash, Method: b.Method, PIN: b.PIN})
	if err != nil {
		return nil, err
	}
	a.Sessions.Touch(who.Live)
	out := &stepUpAnswer{}
	out.Body.Token, out.Body.ExpiresAt = token.Reveal(), expires.UTC()
	return out, nil
}

type tokenInput struct {
	Body *struct {
		Audience string `json:"audience,omitempty" maxLength:"2048" doc:"An application's; the public URL by default."`
	} `required:"false" nameHint:"TokenRequest"`
}

type tokenAnswer struct {
	Body struct {
		Token     string `json:"access_token" doc:"A JWT (RFC 9068), ES256."`
		Type      string `json:"token_type" enum:"Bearer"`
		ExpiresIn int64  `json:"expires_in" doc:"Seconds."`
	}
}

func (a *API) token(ctx context.Context, who signin.Who, in *tokenInput) (*tokenAnswer, error) {
	audience := ""
	if in.Body != nil {
		audience = in.Body.Audience
	}
	token, life, err := a.Sessions.AccessToken(ctx, who.Live, audience, 0)
	if err != nil {
		return nil, err
	}
	out := &tokenAnswer{}
	out.Body.Token, out.Body.Type, out.Body.ExpiresIn = token, "Bearer", int64(life/time.Second)
	return out, nil
}

type listedSession struct {
	ID           string    `json:"id" doc:"The session_id."`
	SessionID    string    `json:"session_id"`
	State        string    `json:"state" enum:"active,locked"`
	This         bool      `json:"this" doc:"The one that asks."`
	Parked       bool      `json:"parked" doc:"Locked because of another session."`
	Method       string    `json:"method"`
	ACR          string    `json:"acr"`
	UserAgent    string    `json:"user_agent"`
	IP           string    `json:"ip"`
	DeviceID     string    `json:"device_id"`
	BreakGlassID string    `json:"break_glass_id,omitempty"`
	CreatedAt    time.Time `json:"created_at"`
	LastActivity time.Time `json:"last_activity_at"`
	ExpiresAt    time.Time `json:"expires_at"`
}

type sessionsAnswer struct {
	Body struct {
		Sessions []listedSession `json:"sessions"`
	}
}

func (a *API) sessionsOf(ctx context.Context, who signin.Who, _ *none) (*sessionsAnswer, error) {
	sessions, err := a.Sessions.Sessions(ctx, who.Live)
	if err != nil {
		return nil, err
	}
	out := &sessionsAnswer{}
	out.Body.Sessions = []listedSession{}
	for _, s := range sessions {
		out.Body.Sessions = append(out.Body.Sessions, listedSession{s.ID, s.ID, string(s.State), s.This, s.Parked, s.Method, string(s.ACR),
			s.UserAgent, s.IP, s.DeviceID, s.GrantID, s.CreatedAt.UTC(), s.LastActivity.UTC(), s.ExpiresAt.UTC()})
	}
	return out, nil
}

type sessionInput struct {
	ID string `path:"id" maxLength:"64"`
}

type endedAnswer struct {
	Body struct {
		Ended int `json:"ended" doc:"How many sessions."`
	}
}

func (a *API) endSession(ctx context.Context, who signin.Who, in *sessionInput) (*endedAnswer, error) {
	out := &endedAnswer{}
	out.Body.Ended = 1
	return out, a.Sessions.EndOwn(ctx, who.Visit, who.Live, in.ID)
}

func (a *API) endOthers(ctx context.Context, who signin.Who, _ *none) (*endedAnswer, error) {
	out := &endedAnswer{}
	n, err := a.Sessions.EndOthers(ctx, who.Visit, who.Live)
	out.Body.Ended = n
	return out, err
}
