package session

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
)

// Visit is one request of a browser: the cookies it brought and those it will
// be answered with. It belongs to that request's goroutine.
type Visit struct {
	// Client is where the request comes from. Its Device is set when the device
	// cookie was one of ours.
	Client identity.Client

	brought   []*http.Cookie
	value     string // of the session cookie, chunks joined
	duplicate bool   // two session cookies of one name: somebody planted one
	refresh   refreshCookie
	set       []*http.Cookie

	session string // of which session this browser has shown the keys; "" until Check
	renewed bool   // this request has been given its cookies
	foreign bool   // the refresh cookie is another session's than the one that is over
}

// Visit reads a request's cookies, once. client is the address and browser;
// its Device is decided here.
func (m *Manager) Visit(r *http.Request, client identity.Client) *Visit {
	v := &Visit{Client: client, brought: r.Cookies()}
	value, _, err := m.codec.Read(v.brought)
	v.value, v.duplicate = value, err != nil
	v.Client.Device = m.readDevice(v.only(m.deviceName()))
	v.refresh = readRefresh(v.only(m.refreshName()))
	return v
}

// Cookie returns the value of the first cookie of that name that came along,
// percent-decoded, or "".
func (v *Visit) Cookie(name string) string {
	for _, c := range v.brought {
		if c.Name == name {
			return unescapeCookie(c.Value)
		}
	}
	return ""
}

// only returns the value of the one cookie of that name; two of them are none.
func (v *Visit) only(name string) string {
	value, found := "", false
	for _, c := range v.brought {
		if c.Name == name {
			if found {
				return ""
			}
			value, found = unescapeCookie(c.Value), true
		}
	}
	return value
}

// SetCookie adds a cookie to the answer, in place of one of the same name and
// path.
func (v *Visit) SetCookie(c *http.Cookie) {
	v.set = slices.DeleteFunc(v.set, func(o *http.Cookie) bool { return o.Name == c.Name && o.Path == c.Path })
	v.set = append(v.set, c)
}

// Cookies returns what the answer must set, in order.
func (v *Visit) Cookies() []*http.Cookie { return slices.Clone(v.set) }

// SessionID returns the id of the session that this browser has shown the keys
// of, locked or not; "" before Check and when signed out.
func (v *Visit) SessionID() string { return v.session }

// Holds reports whether the visit comes from the browser that the session was
// started on: unlocking asks for that.
func (v *Visit) Holds(l *Live) bool {
	return v.Client.Device != "" && v.Client.Device == l.DeviceID
}

// deviceLife is how long a browser is remembered: the longest that browsers
// keep a cookie.
const deviceLife = 400 * 24 * time.Hour

const (
	sealPurpose    = "seal"
	lockPurpose    = "lock seal"
	devicePurpose  = "device"
	refreshPurpose = "refresh"
)

func (m *Manager) deviceName() string {
	if m.codec.Secure {
		return "__Host-mitral-device"
	}
	return "mitral-device"
}

func (m *Manager) refreshName() string {
	if m.codec.Secure {
		return "__Secure-mitral.refresh"
	}
	return "mitral.refresh"
}

// readDevice returns the device id of a cookie that is one of ours, or "".
func (m *Manager) readDevice(value string) string {
	id, tag, ok := strings.Cut(value, ".")
	if !ok || !strings.HasPrefix(id, identity.DeviceID+"_") || !m.keys.Verify(devicePurpose, tag, id) {
		return ""
	}
	return id
}

func (m *Manager) setDevice(v *Visit, id string) {
	v.SetCookie(&http.Cookie{Name: m.deviceName(), Value: id + "." + m.keys.Tag(devicePurpose, id), Path: "/",
		MaxAge: int(deviceLife / time.Second), HttpOnly: true, Secure: m.codec.Secure, SameSite: http.SameSiteLaxMode})
}

// refreshCookie is a refresh token as it travels: the session it belongs to,
// the token, and our tag on both, so that what we never made costs no query.
type refreshCookie struct {
	session string
	token   identity.Secret
	tag     string
}

func readRefresh(value string) refreshCookie {
	parts := strings.Split(value, ".")
	if len(parts) != 3 || len(value) > 256 {
		return refreshCookie{}
	}
	return refreshCookie{parts[0], identity.Secret(parts[1]), parts[2]}
}

func (c refreshCookie) hash() string { return hashOf(c.token.Reveal()) }

// ours reports whether the tag is right.
func (m *Manager) ours(c refreshCookie) bool {
	return c.session != "" && m.keys.Verify(refreshPurpose, c.tag, c.session, c.token.Reveal())
}

func (m *Manager) setRefresh(v *Visit, sessionID string, token identity.Secret) {
	value := sessionID + "." + token.Reveal() + "." + m.keys.Tag(refreshPurpose, sessionID, token.Reveal())
	v.SetCookie(m.refreshCookie(value, 0))
}

func (m *Manager) refreshCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: m.refreshName(), Value: value, Path: "/api/v1", MaxAge: maxAge,
		HttpOnly: true, Secure: m.codec.Secure, SameSite: http.SameSiteLaxMode}
}
