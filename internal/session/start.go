package session

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/store"
)

// Opening is what a session starts with: who was proven, and how.
type Opening struct {
	UserID, Method string
	ACR            identity.ACR
	AMR            []string
	FactorUsed     bool
	// GrantID puts the session inside a grant, EndsBy ends it no later than
	// then (zero: the role's own limit).
	GrantID string
	EndsBy  time.Time
}

// Start makes the session of somebody who has been proven, in the transaction
// that lets them in and in which the caller records the sign-in. The browser
// becomes a device if it was none. What was open on it is replaced, when it is
// the same person's, or parked; a person's oldest session is parked when they
// have too many. Once the transaction has committed v has the cookies. The
// error is ErrDisabled for a disabled person.
func (m *Manager) Start(tx *store.Tx, v *Visit, o Opening) (*Live, error) {
	// The person's row first: sign-ins of one person count each other's sessions.
	if _, err := tx.TouchUser(o.UserID); err != nil {
		return nil, fmt.Errorf("couldn't take up the person: %w", err)
	}
	user, err := tx.User(o.UserID)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the person: %w", err)
	}
	if user.DisabledAt > 0 {
		return nil, ErrDisabled
	}
	r, err := m.spaceIn(tx)
	if err != nil {
		return nil, err
	}
	device := cmp.Or(v.Client.Device, identity.NewID(identity.DeviceID))
	if err := m.clearBrowser(tx, v, r, o.UserID); err != nil {
		return nil, err
	}
	row, token, err := m.insert(tx, v, o, device, tx.Now().Add(rulesFor(r, user.Role, o.GrantID != "").Absolute))
	if err != nil {
		return nil, err
	}
	l := loaded{row: row, user: user, space: r, token: token.row}
	if l.grant, err = readGrant(tx, o.GrantID); err != nil {
		return nil, err
	}
	live, where := preview(l).look(tx.Now())
	if where != isOpen {
		return nil, errors.New("couldn't start a session: it would be over already")
	}
	if err := m.limit(tx, r, o.UserID, row.ID); err != nil {
		return nil, err
	}
	elsewhere := m.otherWorkspaces(v, tx.WorkspaceID(), device)
	tx.After(func() {
		h := m.hold(l)
		v.Client.Device = device
		m.setDevice(v, device)
		m.setRefresh(v, h.id, token.secret)
		if err := m.setSession(v, h, live, tx.Now()); err != nil {
			m.log.Error("couldn't make a session cookie", "session", h.id, "error", err)
		}
		for _, h := range elsewhere {
			m.parkElsewhere(tx, h)
		}
	})
	return live, nil
}

type newToken struct {
	secret identity.Secret
	row    store.RefreshToken
}

// insert writes the session's row and its first refresh token.
func (m *Manager) insert(tx *store.Tx, v *Visit, o Opening, device string, absolute time.Time) (store.Session, newToken, error) {
	id, token := identity.NewID(identity.SessionID), newToken{secret: identity.NewToken()}
	_, hash, sealed, err := m.newSkey(id)
	if err != nil {
		return store.Session{}, token, err
	}
	if !o.EndsBy.IsZero() && o.EndsBy.Before(absolute) {
		absolute = o.EndsBy
	}
	p := store.InsertSessionParams{ID: id, UserID: o.UserID, DeviceID: device, GrantID: o.GrantID, Acr: string(o.ACR),
		Amr: strings.Join(o.AMR, " "), Method: o.Method, IP: v.Client.Address(), IPRange: v.Client.Range(), UserAgent: v.Client.UserAgent,
		AbsoluteAt: absolute.UnixMicro(), SkeyHash: hash, SkeySealed: sealed}
	if o.FactorUsed {
		p.FactorUsed = 1
	}
	if err := tx.InsertSession(p); err != nil {
		return store.Session{}, token, fmt.Errorf("couldn't insert a session: %w", err)
	}
	t := hashOf(token.secret.Reveal())
	if err := tx.InsertRefreshToken(store.InsertRefreshTokenParams{Hash: t, SessionID: id, DeviceID: device, IPRange: v.Client.Range()}); err != nil {
		return store.Session{}, token, fmt.Errorf("couldn't insert a refresh token: %w", err)
	}
	if token.row, err = tx.RefreshToken(t); err != nil {
		return store.Session{}, token, fmt.Errorf("couldn't read a refresh token: %w", err)
	}
	row, err := tx.Session(id)
	if err != nil {
		return store.Session{}, token, fmt.Errorf("couldn't read a session: %w", err)
	}
	return row, token, nil
}

// clearBrowser makes room on the browser: the same person's session there is
// replaced, another's is parked.
func (m *Manager) clearBrowser(tx *store.Tx, v *Visit, r *rules, userID string) error {
	if v.Client.Device == "" {
		return nil
	}
	rows, err := tx.OpenSessionsOfDevice(v.Client.Device)
	if err != nil {
		return fmt.Errorf("couldn't read the browser's sessions: %w", err)
	}
	for _, row := range rows {
		switch {
		case row.UserID == userID:
			_, err = m.End(tx, row.ID, ReasonReplaced)
		case row.State != string(parked):
			err = m.park(tx, r, row, ReasonOtherPerson)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// otherWorkspaces returns the sessions of other workspaces that the visit's
// cookies name, on the same device.
func (m *Manager) otherWorkspaces(v *Visit, workspaceID, device string) []*held {
	var out []*held
	add := func(id string) {
		h := m.table.get(id)
		if h == nil || h.workspace == workspaceID || slices.Contains(out, h) {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.row.DeviceID == device {
			out = append(out, h)
		}
	}
	if c, err := m.carried(v, m.clock.Now()); err == nil {
		add(c.session)
	}
	if v.refresh.session != "" && m.ours(v.refresh) {
		add(v.refresh.session)
	}
	return out
}

// parkElsewhere parks a session of another workspace, after the sign-in that
// took its browser.
func (m *Manager) parkElsewhere(after *store.Tx, h *held) {
	err := m.db.Workspace(after.Context(), bySystem, h.workspace, func(tx *store.Tx) error {
		row, err := tx.Session(h.id)
		if err != nil {
			return err
		}
		if row.State != string(Active) && row.State != string(Locked) {
			return errUnchanged
		}
		r, err := m.spaceIn(tx)
		if err != nil {
			return err
		}
		return m.park(tx, r, row, ReasonOtherPerson)
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		m.log.Warn("couldn't park a session of another workspace", "session", h.id, "error", err)
	}
}

// limit parks a person's oldest sessions beyond the number their role may have
// open, the new one not counted out.
func (m *Manager) limit(tx *store.Tx, r *rules, userID, newest string) error {
	user, err := tx.User(userID)
	if err != nil {
		return fmt.Errorf("couldn't read the person: %w", err)
	}
	rows, err := tx.OpenSessions(userID)
	if err != nil {
		return fmt.Errorf("couldn't read a person's sessions: %w", err)
	}
	rows = slices.DeleteFunc(rows, func(s store.Session) bool { return s.State == string(parked) || s.ID == newest })
	slices.SortFunc(rows, func(a, b store.Session) int {
		return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	most := max(rulesFor(r, user.Role, false).SessionLimit, 1)
	for _, row := range rows[:max(0, len(rows)+1-most)] {
		if err := m.park(tx, r, row, ReasonLimit); err != nil {
			return err
		}
	}
	return nil
}

// Freshen makes a session fresh after a step-up and counts as activity.
// factorUsed says that a factor proved it.
func (m *Manager) Freshen(tx *store.Tx, live *Live, factorUsed bool) error {
	var used int64
	if factorUsed {
		used = 1
	}
	if err := tx.FreshenSession(live.ID, used); err != nil {
		return fmt.Errorf("couldn't freshen a session: %w", err)
	}
	if live.State == Active {
		tx.After(func() { m.Touch(live) })
	}
	return m.follows(tx, live.ID)
}

// AttachGrant puts a session inside a grant that ends at endsBy, in the
// transaction that opens it or in which the person has proven themself: from
// the commit on it has the emergency role, ends with the grant, and has a new
// skey, which v is given. It returns how the session of v stands then. With v
// nil the browser takes it up with its next renewal, and nothing is returned.
func (m *Manager) AttachGrant(tx *store.Tx, v *Visit, sessionID, grantID string, endsBy time.Time) (*Live, error) {
	n, err := tx.SetSessionGrant(sessionID, grantID, endsBy.UnixMicro())
	if err != nil {
		return nil, fmt.Errorf("couldn't put a session inside a grant: %w", err)
	}
	if n == 0 {
		return nil, identity.Refuse(identity.Unauthenticated, "session_ended", "This session is over. Sign in again.")
	}
	row, err := m.replaceSkey(tx, sessionID)
	if err != nil {
		return nil, err
	}
	m.Apply(tx, row)
	if v == nil || row.State != string(Active) {
		return nil, nil
	}
	return m.reopen(tx, v, row)
}

// ShortenGrant ends the sessions inside a grant earlier than they were told.
// Never later.
func (m *Manager) ShortenGrant(tx *store.Tx, grantID string, endsBy time.Time) error {
	rows, err := tx.OpenSessionsOfGrant(grantID)
	if err != nil {
		return fmt.Errorf("couldn't read a grant's sessions: %w", err)
	}
	for _, row := range rows {
		if _, err := tx.SetSessionGrant(row.ID, grantID, endsBy.UnixMicro()); err != nil {
			return fmt.Errorf("couldn't shorten a session: %w", err)
		}
		if err := m.follows(tx, row.ID); err != nil {
			return err
		}
	}
	return nil
}

// ChangeRights gives the open sessions of a person whose role has been changed
// before in this transaction a new skey each. Once committed the new role
// counts.
func (m *Manager) ChangeRights(tx *store.Tx, userID string) error {
	user, err := tx.User(userID)
	if err != nil {
		return fmt.Errorf("couldn't read the person: %w", err)
	}
	tx.After(func() {
		if p, ok := m.people.Load(userID); ok {
			p.(*person).learn(user)
		}
	})
	_, err = each(tx, userID, "", func(row store.Session) (bool, error) {
		row, err := m.replaceSkey(tx, row.ID)
		if err == nil {
			m.Apply(tx, row)
		}
		return true, err
	})
	return err
}

func (m *Manager) replaceSkey(tx *store.Tx, sessionID string) (store.Session, error) {
	_, hash, sealed, err := m.newSkey(sessionID)
	if err != nil {
		return store.Session{}, err
	}
	if _, err := tx.ReplaceSkey(sessionID, hash, sealed); err != nil {
		return store.Session{}, fmt.Errorf("couldn't replace a session's key: %w", err)
	}
	row, err := tx.Session(sessionID)
	if err != nil {
		return store.Session{}, fmt.Errorf("couldn't read a session: %w", err)
	}
	return row, nil
}
