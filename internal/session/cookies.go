package session

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// cookieLife is how long a session cookie is good for, for applications that
	// decode it themselves too: what they miss of a lock or an end is no more.
	cookieLife = 2 * time.Minute
	// renewBelow is how much a cookie may have left and still be renewed.
	renewBelow = 90 * time.Second
	// lockedAgo is how long a lock's cookie has been past for applications: more
	// than any tolerance.
	lockedAgo = time.Minute
)

// carried is what a good session cookie says. The other claims are for
// applications; the row decides.
type carried struct {
	session, skey string
	left          time.Duration // until exp or hard_exp, whichever is first
	lock          bool          // it is the one that a lock left
}

// Why a session cookie names nothing.
var (
	errNoCookie  = errors.New("no session cookie, or one past its end")
	errBadCookie = errors.New("a session cookie that is not in order")
)

// carried opens the session cookie. It returns errNoCookie, which is as good as
// none, or errBadCookie, then with the session it pretends to name.
func (m *Manager) carried(v *Visit, now time.Time) (carried, error) {
	if v.value == "" {
		return carried{}, errNoCookie
	}
	claims, err := m.codec.Decode(m.keys.AuthSecrets(), v.value, now)
	if err != nil && !errors.Is(err, ErrCookieExpired) {
		return carried{}, errBadCookie
	}
	var c carried
	c.session, _ = claims["sid"].(string)
	c.skey, _ = claims["skey"].(string)
	seal, _ := claims["seal"].(string)
	hard, ok := claims["hard_exp"].(float64)
	exp, _ := claims["exp"].(float64)
	if !ok || hard != float64(int64(hard)) || c.session == "" || c.skey == "" {
		return carried{session: c.session}, errBadCookie
	}
	end := strconv.FormatInt(int64(hard), 10)
	past := err != nil || hard <= float64(now.Unix())-CookieTolerance.Seconds()
	switch {
	case past && m.keys.Verify(lockPurpose, seal, c.session, c.skey, end):
		c.lock = true
		return c, nil
	case past:
		return carried{}, errNoCookie
	case !m.keys.Verify(sealPurpose, seal, c.session, c.skey, end):
		return carried{session: c.session}, errBadCookie
	}
	c.left = time.Unix(int64(min(hard, exp)), 0).Sub(now)
	return c, nil
}

// errNoSkey says that no cookie can be made before the skey has been replaced.
var errNoSkey = errors.New("the session's key cannot be opened")

// setSession gives the browser a session cookie for the next two minutes, never
// past the session's end. It is the only place that makes one.
func (m *Manager) setSession(v *Visit, h *held, l *Live, now time.Time) error {
	end := now.Add(cookieLife).Unix()
	end = min(end, l.AbsoluteExpiresAt.Unix())
	return m.write(v, h, l, sealPurpose, now, end, time.Duration(end-now.Unix())*time.Second)
}

// setLock gives the browser the cookie of a locked session: past for every
// application, and still its name here until nobody can come back to it.
func (m *Manager) setLock(v *Visit, h *held, l *Live, now time.Time) error {
	return m.write(v, h, l, lockPurpose, now, now.Add(-lockedAgo).Unix(), l.LockExpiresAt.Sub(now))
}

func (m *Manager) write(v *Visit, h *held, l *Live, purpose string, now time.Time, end int64, maxAge time.Duration) error {
	skey := m.key(h).Reveal()
	if skey == "" {
		return errNoSkey
	}
	value, err := m.codec.Encode(m.keys.AuthSecrets(), map[string]any{
		"name": l.Name, "email": l.Email, "picture": nil, "sub": l.UserID, "sid": l.ID, "wid": l.WorkspaceID, "skey": skey,
		"hard_exp": end, "seal": m.keys.Tag(purpose, l.ID, skey, strconv.FormatInt(end, 10)),
	}, now, time.Unix(end, 0))
	if err != nil {
		return fmt.Errorf("couldn't make a session cookie: %w", err)
	}
	m.putSession(v, m.codec.Cookies(value, maxAge, v.brought))
	v.session, v.renewed = l.ID, true
	return nil
}

// putSession replaces what the answer would have said about the session cookie.
func (m *Manager) putSession(v *Visit, cookies []*http.Cookie) {
	v.set = slices.DeleteFunc(v.set, func(c *http.Cookie) bool { return strings.HasPrefix(c.Name, m.codec.Name()) })
	v.set = append(v.set, cookies...)
}

// clear takes what is no good any more from the browser. A refresh cookie of
// another session stays: the next request comes back by it.
func (m *Manager) clear(v *Visit) {
	m.putSession(v, m.codec.Clear(v.brought))
	if !v.foreign && v.Cookie(m.refreshName()) != "" {
		v.SetCookie(m.refreshCookie("", -1))
	}
	v.session = ""
}

// relock sets a lock's cookie again, as every answer about a locked session
// does. Where the key cannot be opened the browser keeps what it has.
func (m *Manager) relock(ctx context.Context, v *Visit, h *held, l *Live, now time.Time) {
	if err := m.setLock(v, h, l, now); err != nil {
		m.log.WarnContext(ctx, "couldn't set a lock's cookie", "session", h.id, "error", err)
	}
}
