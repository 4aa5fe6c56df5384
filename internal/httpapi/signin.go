package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mitral-health/mitral/internal/edge"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
)

func (a *API) signInRoutes() {
	const tag = "Sign-in"
	add(a, route{method: "POST", path: "/api/v1/auth/key-pin", id: "sign-in-key-pin", tag: tag, need: anybody,
		summary: "Sign in with key and PIN"}, a.keyPIN)
	add(a, route{method: "PUT", path: "/api/v1/auth/pin", id: "change-pin", tag: tag, need: perhaps,
		summary: "Change one's PIN; completes a sign-in that waits for that"}, a.changePIN)
	add(a, route{method: "POST", path: "/api/v1/auth/key/rotate", id: "rotate-key", tag: tag, need: active,
		summary: "Get a new key; the old one stays good for the policy's overlap (step-up: credentials)"}, a.rotateKey)

	add(a, route{method: "POST", path: "/api/v1/auth/magic-link", id: "send-magic-link", tag: tag, need: anybody, status: http.StatusAccepted,
		summary: "Have a sign-in link mailed"}, a.magicLink)
	add(a, route{method: "POST", path: "/api/v1/auth/passkey/begin", id: "begin-passkey", tag: tag, need: anybody,
		summary: "Start signing in with a passkey"}, a.passkeyBegin)
	add(a, route{method: "POST", path: "/api/v1/auth/passkey/finish", id: "finish-passkey", tag: tag, need: anybody,
		summary: "Sign in with a passkey"}, a.passkeyFinish)

	add(a, route{method: "POST", path: "/api/v1/auth/mfa/challenge", id: "challenge-factor", tag: tag, need: perhaps,
		summary: "Get a challenge for a factor: in a sign-in, for a step-up or an unlock"}, a.challenge)
	add(a, route{method: "POST", path: "/api/v1/auth/mfa/verify", id: "verify-factor", tag: tag, need: anybody,
		summary: "Complete a sign-in with a second factor"}, a.verifyFactor)
	add(a, route{method: "POST", path: "/api/v1/auth/mfa/enroll", id: "enroll-factor", tag: tag, need: perhaps,
		summary: "Start adding a factor (step-up: factors)"}, a.enroll)
	add(a, route{method: "POST", path: "/api/v1/auth/mfa/enroll/confirm", id: "confirm-factor", tag: tag, need: perhaps,
		summary: "Complete adding a factor"}, a.confirmEnroll)
	add(a, route{method: "GET", path: "/api/v1/auth/factors", id: "list-factors", tag: tag, need: active,
		summary: "List one's factors"}, a.factors)
	add(a, route{method: "DELETE", path: "/api/v1/auth/factors/{id}", id: "remove-factor", tag: tag, need: active,
		summary: "Remove one of one's factors (step-up: factors)"}, a.removeFactor)
	add(a, route{method: "POST", path: "/api/v1/auth/recovery-codes", id: "new-recovery-codes", tag: tag, need: active,
		summary: "Get ten new recovery codes in place of the old ones (step-up: factors)"}, a.recoveryCodes)
}

// outcome is where a sign-in stands.
type outcome struct {
	State   string        `json:"state" enum:"signed_in,mfa_required,enrollment_required"`
	Methods []string      `json:"methods,omitempty" doc:"What is asked next, unless signed in."`
	Session sessionObject `json:"session,omitempty" doc:"The session, when signed in."`
}

type outcomeAnswer struct{ Body outcome }

func (a *API) outcome(out signin.Outcome) *outcomeAnswer {
	o := outcome{State: out.State, Methods: out.Methods}
	if out.Session != nil {
		o.Session = a.Sessions.Object(out.Session)
	}
	return &outcomeAnswer{o}
}

type keyPINInput struct {
	Body struct {
		Identifier string          `json:"identifier" maxLength:"254" doc:"The person's mail address."`
		Key        identity.Secret `json:"key" maxLength:"128" doc:"Any case; spaces and hyphens are ignored."`
		PIN        identity.Secret `json:"pin" maxLength:"16"`
		Workspace  string          `json:"workspace,omitempty" maxLength:"64" doc:"The workspace's slug, where an address has several."`
	}
}

func (a *API) keyPIN(ctx context.Context, who signin.Who, in *keyPINInput) (*outcomeAnswer, error) {
	b := in.Body
	out, err := a.Signin.KeyPIN(ctx, who.Visit, signin.KeyPIN{Identifier: b.Identifier, Key: b.Key, PIN: b.PIN, Workspace: b.Workspace})
	if err != nil {
		return nil, err
	}
	return a.outcome(out), nil
}

type changePINInput struct {
	Body struct {
		Current identity.Secret `json:"current_pin" maxLength:"16"`
		New     identity.Secret `json:"new_pin" maxLength:"16"`
	}
}

// changePIN is for the person behind an active session, or for a sign-in that
// waits for a new PIN; such a one may go on where a locked session lies below.
func (a *API) changePIN(ctx context.Context, who signin.Who, in *changePINInput) (*outcomeAnswer, error) {
	if who.Live != nil && who.Live.State == session.Locked {
		if _, err := a.Signin.Pending(ctx, who.Visit); err != nil {
			return nil, a.Signin.RecordRefusal(ctx, who, who.Live.WorkspaceID, "change-pin", edge.SessionLocked())
		}
		who.Live = nil
	}
	out, err := a.Signin.ChangePIN(ctx, who, in.Body.Current, in.Body.New)
	if err != nil {
		return nil, err
	}
	return a.outcome(out), nil
}

type keyAnswer struct {
	Body struct {
		Key  string    `json:"key" doc:"Shown once."`
		Ends time.Time `json:"old_key_expires_at"`
	}
}

func (a *API) rotateKey(ctx context.Context, who signin.Who, _ *emptyInput) (*keyAnswer, error) {
	key, ends, err := a.Signin.RotateKey(ctx, who)
	if err != nil {
		return nil, err
	}
	out := &keyAnswer{}
	out.Body.Key, out.Body.Ends = identity.FormatKey(key), ends.UTC()
	return out, nil
}

type magicLinkInput struct {
	Body struct {
		Email       string `json:"email" maxLength:"254"`
		Workspace   string `json:"workspace,omitempty" maxLength:"64"`
		CallbackURL string `json:"callback_url,omitempty" maxLength:"2048"`
	}
}

type acceptedAnswer struct {
	Body struct {
		State string `json:"state" enum:"sent"`
	}
}

// notOffered is the answer to ways of proving that this server has not been set
// up for. It says nothing about anybody.
func notOffered() error {
	return identity.Refuse(identity.Forbidden, "method_not_available", "This way to sign in is not set up here. Use your key and PIN.")
}

func (a *API) magicLink(context.Context, signin.Who, *magicLinkInput) (*acceptedAnswer, error) {
	if !a.Mail {
		r := identity.Refuse(identity.Unavailable, "no_mail_settings", "This server cannot send mail yet. Use your key and PIN, or tell whoever looks after it.")
		r.RetryAfter = time.Hour
		return nil, r
	}
	return nil, notOffered()
}

// emptyInput is that of acts that take nothing: {} or no body at all.
type emptyInput struct {
	Body *emptyObject `required:"false"`
}

type emptyObject struct{}

type credentialInput struct {
	Body struct {
		Credential credential `json:"credential" doc:"The PublicKeyCredential's JSON form (WebAuthn Level 3)."`
	}
}

// credential is what a browser made; the factor that asked for it reads it.
type credential map[string]any

// Schema is an object of the browser's own members.
func (credential) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

type challengeAnswer struct {
	Body struct {
		PublicKey credential `json:"publicKey" doc:"Options for navigator.credentials (WebAuthn Level 3)."`
	}
}

func (a *API) passkeyBegin(context.Context, signin.Who, *emptyInput) (*challengeAnswer, error) {
	return nil, notOffered()
}

func (a *API) passkeyFinish(context.Context, signin.Who, *credentialInput) (*outcomeAnswer, error) {
	return nil, notOffered()
}

// provenBy returns nil for somebody who is behind a session or has a sign-in
// pending in this browser, and may so speak of factors at all.
func (a *API) provenBy(ctx context.Context, who signin.Who) error {
	if who.Live != nil {
		return nil
	}
	_, err := a.Signin.Pending(ctx, who.Visit)
	return err
}

type challengeInput struct {
	Body struct {
		Method string `json:"method" enum:"webauthn"`
	}
}

func (a *API) challenge(ctx context.Context, who signin.Who, _ *challengeInput) (*challengeAnswer, error) {
	if err := a.provenBy(ctx, who); err != nil {
		return nil, err
	}
	return nil, notOffered()
}

type verifyFactorInput struct {
	Body struct {
		Method     string          `json:"method" enum:"totp,recovery_code,webauthn"`
		Code       identity.Secret `json:"code,omitempty" maxLength:"64"`
		Credential credential      `json:"credential,omitempty"`
	}
}

// verifyFactor completes a pending sign-in. No kind of factor can be enrolled in
// this version, so no attempt waits for one.
func (a *API) verifyFactor(ctx context.Context, who signin.Who, _ *verifyFactorInput) (*outcomeAnswer, error) {
	if _, err := a.Signin.Pending(ctx, who.Visit); err != nil {
		return nil, err
	}
	return nil, identity.Refuse(identity.Forbidden, "not_next_step", "This is not what the sign-in is waiting for.")
}

type enrollInput struct {
	Body struct {
		Method         string          `json:"method" enum:"totp,webauthn"`
		Label          string          `json:"label,omitempty" maxLength:"64"`
		EnrollmentCode identity.Secret `json:"enrollment_code,omitempty" maxLength:"64"`
	}
}

type enrollAnswer struct {
	Body struct {
		ID         string     `json:"enrollment_id"`
		Secret     string     `json:"secret,omitempty"`
		OTPAuthURI string     `json:"otpauth_uri,omitempty"`
		PublicKey  credential `json:"publicKey,omitempty"`
	}
}

func (a *API) enroll(ctx context.Context, who signin.Who, _ *enrollInput) (*enrollAnswer, error) {
	return nil, a.factorsOf(ctx, who, "enroll-factor", notOffered())
}

type confirmInput struct {
	Body struct {
		ID         string          `json:"enrollment_id" maxLength:"64"`
		Code       identity.Secret `json:"code,omitempty" maxLength:"64"`
		Credential credential      `json:"credential,omitempty"`
	}
}

type confirmAnswer struct {
	Body struct {
		Factor        factor   `json:"factor"`
		RecoveryCodes []string `json:"recovery_codes,omitempty"`
	}
}

type factor struct {
	ID     string `json:"id"`
	Method string `json:"method"`
}

func (a *API) confirmEnroll(ctx context.Context, who signin.Who, _ *confirmInput) (*confirmAnswer, error) {
	return nil, a.factorsOf(ctx, who, "confirm-factor",
		identity.Refuse(identity.Unknown, "unknown_enrollment", "There is no such enrolment. Start adding the factor again."))
}

type factorsAnswer struct {
	Body struct {
		Factors []factor `json:"factors"`
	}
}

func (a *API) factors(context.Context, signin.Who, *none) (*factorsAnswer, error) {
	out := &factorsAnswer{}
	out.Body.Factors = []factor{}
	return out, nil
}

type factorInput struct {
	ID string `path:"id" maxLength:"64"`
}

type doneAnswer struct {
	Body struct {
		State string `json:"state"`
	}
}

func (a *API) removeFactor(ctx context.Context, who signin.Who, _ *factorInput) (*doneAnswer, error) {
	return nil, a.factorsOf(ctx, who, "remove-factor", identity.Refuse(identity.Unknown, "unknown_factor", "There is no such factor."))
}

type codesAnswer struct {
	Body struct {
		RecoveryCodes []string `json:"recovery_codes"`
	}
}

func (a *API) recoveryCodes(ctx context.Context, who signin.Who, _ *emptyInput) (*codesAnswer, error) {
	codes, err := a.Directory.NewRecoveryCodes(ctx, who)
	if err != nil {
		return nil, err
	}
	out := &codesAnswer{}
	out.Body.RecoveryCodes = reveal(codes)
	return out, nil
}

// factorsOf refuses an act on a person's factors: to nobody as signed out, to
// somebody whose session is locked as that, and else with the refusal given,
// which is recorded.
func (a *API) factorsOf(ctx context.Context, who signin.Who, operation string, refusal error) error {
	if err := a.provenBy(ctx, who); err != nil || who.Live == nil {
		if err == nil {
			err = refusal
		}
		return err
	}
	if who.Live.State == session.Locked {
		refusal = edge.SessionLocked()
	}
	return a.Signin.RecordRefusal(ctx, who, who.Live.WorkspaceID, operation, refusal)
}

// sessionObject is the body of GET session.
type sessionObject map[string]any

// Schema is that of sessionDoc: the object itself is made by package session.
func (sessionObject) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[sessionDoc](), true, "Session")
}
