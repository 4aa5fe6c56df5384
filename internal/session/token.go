package session

import (
	"context"
	"errors"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

const (
	// tokenLife is how long an access token is good for, unless its app is
	// registered for more.
	tokenLife = 2 * time.Minute
	// maxTokenLife bounds what an app can be registered for.
	maxTokenLife = 10 * time.Minute
	// grantTokenLife bounds tokens of sessions inside a grant.
	grantTokenLife = time.Minute
)

// AccessToken returns a signed token (ES256, RFC 9068) that names the session
// and its rights to one application, and how long it is good for: as long as
// the application is registered for, but no longer than ttl (0: no such wish),
// a minute inside a grant, and the session itself. The audience is an
// application's, "" being the public URL. It holds no name and no address.
func (m *Manager) AccessToken(_ context.Context, live *Live, audience string, ttl time.Duration) (string, time.Duration, error) {
	if live.State != Active {
		return "", 0, ErrLocked
	}
	if audience == "" {
		audience = m.public
	}
	life, err := m.lifeFor(live, audience)
	if err != nil {
		return "", 0, err
	}
	if ttl > 0 {
		life = min(life, ttl)
	}
	if live.Grant != nil {
		life = min(life, grantTokenLife)
	}
	now := m.clock.Now()
	ends := min(now.Add(life).Unix(), live.AbsoluteExpiresAt.Unix())
	if ends <= now.Unix() {
		return "", 0, ErrSignedOut
	}
	claims := map[string]any{
		"iss": m.public, "aud": audience, "client_id": audience, "sub": live.UserID, "sid": live.ID, "wid": live.WorkspaceID,
		"roles": []string{string(live.Role)}, "acr": string(live.ACR), "amr": live.AMR, "auth_time": live.AuthTime.Unix(),
		"jti": newUUID(), "iat": now.Unix(), "exp": ends,
	}
	if live.Grant != nil {
		claims["break_glass"], claims["purpose_of_use"] = live.Grant.ID, live.Grant.Purpose()
	}
	token, err := m.keys.SignToken(claims, now)
	return token, time.Duration(ends-now.Unix()) * time.Second, err
}

// lifeFor returns how long tokens for an audience live; it is refused when no
// application has it, or none that is there for the session.
func (m *Manager) lifeFor(live *Live, audience string) (time.Duration, error) {
	var life time.Duration
	found := audience == m.public // Mitral itself serves everybody
	there := found
	for _, a := range m.apps {
		if a.Audience != audience && a.Origin != audience {
			continue
		}
		found = true
		if a.Serves(live) {
			there = true
			life = max(life, min(a.TokenTTL, maxTokenLife))
		}
	}
	switch {
	case !found:
		return 0, identity.RefuseField("audience", "unknown", "No application of that audience is registered.")
	case !there:
		return 0, identity.Refuse(identity.Forbidden, "audience_refused", "That application is not for this workspace or role.")
	case life <= 0:
		life = tokenLife
	}
	return life, nil
}

// Bearer returns the session that an access token names, as it is now: the
// token says who, the row says whether still. ErrLocked comes with a locked one,
// ErrSignedOut for a token that is not good.
func (m *Manager) Bearer(ctx context.Context, token string) (*Live, error) {
	if err := m.keepUp(ctx); err != nil {
		return nil, err
	}
	now := m.clock.Now()
	claims, err := m.keys.VerifyToken(token, now)
	if err != nil {
		return nil, ErrSignedOut
	}
	text := func(name string) string { s, _ := claims[name].(string); return s }
	exp, _ := claims["exp"].(float64)
	if text("iss") != m.public || !m.hasAudience(text("aud")) || float64(now.Unix()) >= exp {
		return nil, ErrSignedOut
	}
	h, err := m.load(ctx, text("sid"))
	if err != nil {
		return nil, err
	}
	if h.user != text("sub") || h.workspace != text("wid") {
		return nil, ErrSignedOut
	}
	live, err := m.standing(ctx, h, now)
	if errors.Is(err, ErrLocked) {
		return live, ErrLocked
	}
	return live, err
}

func (m *Manager) hasAudience(audience string) bool {
	if audience == m.public {
		return true
	}
	for _, a := range m.apps {
		if a.Audience == audience || a.Origin == audience {
			return audience != ""
		}
	}
	return false
}
