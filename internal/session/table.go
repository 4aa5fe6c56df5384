package session

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/store"
)

// held is a session that this node has loaded. Its lock is never held while the
// database is asked.
type held struct {
	id, workspace, user string
	person              *person
	space               *space
	seen                atomic.Int64 // when it was last asked for

	mu       sync.Mutex
	row      store.Session
	skey     identity.Secret // the row's, once it was needed
	grant    *Grant
	activity int64 // newest known, in microseconds
	written  int64 // newest in the database
	token    store.RefreshToken
	strange  string // hash of a refresh token that was asked about in vain
	tabs     map[string]tab
	rules    policy.RoleRules
	rulesOf  rulesKey
	shown    State
	ears     map[chan Change]struct{}
}

// rulesKey is what a session's rules follow from.
type rulesKey struct {
	rules *rules
	role  string
	grant string
}

// person is a user as this node knows them, shared by their sessions.
type person struct{ row atomic.Pointer[store.User] }

func (p *person) learn(row store.User) {
	for {
		was := p.row.Load()
		if was != nil && was.Rev >= row.Rev {
			return
		}
		if p.row.CompareAndSwap(was, &row) {
			return
		}
	}
}

// space is a workspace as this node knows it.
type space struct{ now atomic.Pointer[rules] }

type rules struct {
	rev       int64
	slug      string
	document  policy.Document
	policyRev int64
}

func (s *space) learn(r *rules) {
	for {
		was := s.now.Load()
		if was != nil && was.rev >= r.rev {
			return
		}
		if s.now.CompareAndSwap(was, r) {
			return
		}
	}
}

// table is the loaded sessions, in shards so that requests do not meet.
type table struct {
	seed   maphash.Seed
	shards [64]shard
}

type shard struct {
	mu   sync.RWMutex
	held map[string]*held
}

func (t *table) init() {
	t.seed = maphash.MakeSeed()
	for i := range t.shards {
		t.shards[i].held = map[string]*held{}
	}
}

func (t *table) shard(id string) *shard {
	return &t.shards[maphash.String(t.seed, id)%uint64(len(t.shards))]
}

func (t *table) get(id string) *held {
	s := t.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.held[id]
}

// put keeps h unless the session is there already, and returns what is.
func (t *table) put(h *held) *held {
	s := t.shard(h.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if is := s.held[h.id]; is != nil {
		return is
	}
	s.held[h.id] = h
	return h
}

func (t *table) drop(h *held) {
	s := t.shard(h.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[h.id] == h {
		delete(s.held, h.id)
	}
}

// all returns the loaded sessions in no order.
func (t *table) all() []*held {
	var out []*held
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		for _, h := range s.held {
			out = append(out, h)
		}
		s.mu.RUnlock()
	}
	return out
}

// loaded is everything about a session that is read together.
type loaded struct {
	row   store.Session
	user  store.User
	grant *Grant
	token store.RefreshToken
	space *rules
}

// load returns a session, from memory or the database: ErrSignedOut when there
// is none or it has ended, the refusal when that cannot be known.
func (m *Manager) load(ctx context.Context, id string) (*held, error) {
	if h := m.table.get(id); h != nil {
		h.seen.Store(m.clock.Now().UnixMicro())
		return h, nil
	}
	if m.cutOff(m.clock.Now()) {
		return nil, unavailable()
	}
	var l loaded
	err := m.db.ReadSystem(ctx, func(tx *store.SystemTx) (err error) {
		if l.row, err = tx.AnySession(id); err != nil || l.row.State == string(Ended) {
			return err
		}
		return l.rest(tx.Workspace(l.row.WorkspaceID))
	})
	switch {
	case errors.Is(err, store.ErrNoRows):
		return nil, ErrSignedOut
	case err != nil:
		return nil, known(err)
	case l.row.State == string(Ended):
		return nil, ErrSignedOut
	}
	return m.hold(l), nil
}

// rest reads what belongs to the session's row.
func (l *loaded) rest(tx *store.Tx) (err error) {
	if l.user, err = tx.User(l.row.UserID); err != nil {
		return fmt.Errorf("couldn't read a session's user: %w", err)
	}
	if l.grant, err = readGrant(tx, l.row.GrantID); err != nil {
		return err
	}
	if l.token, err = tx.LiveRefreshToken(l.row.ID); err != nil && !errors.Is(err, store.ErrNoRows) {
		return fmt.Errorf("couldn't read a session's refresh token: %w", err)
	}
	l.space, err = readRules(tx)
	return err
}

func readGrant(tx *store.Tx, id string) (*Grant, error) {
	if id == "" {
		return nil, nil
	}
	g, err := tx.Grant(id)
	if err != nil {
		return nil, fmt.Errorf("couldn't read a session's grant: %w", err)
	}
	return &Grant{ID: g.ID, Ref: g.Ref, Category: g.Category, Reason: g.Reason, Identity: g.Identity, InvokerID: g.Invoker,
		StartedAt: at(g.StartedAt), ExpiresAt: at(g.ExpiresAt)}, nil
}

// readRules reads the workspace before its policy: a policy that changes in
// between comes with a newer rev at the next poll.
func readRules(tx *store.Tx) (*rules, error) {
	w, err := tx.WorkspaceRow()
	if err != nil {
		return nil, fmt.Errorf("couldn't read the workspace: %w", err)
	}
	p, err := tx.CurrentPolicy()
	if err != nil {
		return nil, fmt.Errorf("couldn't read the policy: %w", err)
	}
	document, wrong := policy.Parse([]byte(p.Document))
	if wrong != nil {
		return nil, fmt.Errorf("couldn't read the policy of workspace %s: revision %d is not valid in this version of Mitral", w.Slug, p.Rev)
	}
	return &rules{rev: w.Rev, slug: w.Slug, document: document, policyRev: p.Rev}, nil
}

// hold puts a session into the table.
func (m *Manager) hold(l loaded) *held {
	h := &held{
		id: l.row.ID, workspace: l.row.WorkspaceID, user: l.row.UserID,
		person: m.person(l.user), space: m.spaceOf(l.row.WorkspaceID, l.space),
		row: l.row, grant: l.grant, token: l.token, activity: l.row.LastActivity, written: l.row.LastActivity,
		shown: shown(l.row.State),
	}
	is := m.table.put(h)
	is.seen.Store(m.clock.Now().UnixMicro())
	if is != h {
		is.learn(l.row, l.grant, false)
	}
	return is
}

func (m *Manager) person(row store.User) *person {
	p, _ := m.people.LoadOrStore(row.ID, &person{})
	p.(*person).learn(row)
	return p.(*person)
}

func (m *Manager) spaceOf(workspaceID string, r *rules) *space {
	s, _ := m.spaces.LoadOrStore(workspaceID, &space{})
	if r != nil {
		s.(*space).learn(r)
	}
	return s.(*space)
}

// space returns a workspace, from memory or the database.
func (m *Manager) space(ctx context.Context, workspaceID string) (*space, error) {
	if s, ok := m.spaces.Load(workspaceID); ok && s.(*space).now.Load() != nil {
		return s.(*space), nil
	}
	var r *rules
	err := m.db.Read(ctx, workspaceID, func(tx *store.Tx) (err error) {
		r, err = readRules(tx)
		return err
	})
	if err != nil {
		return nil, known(err)
	}
	return m.spaceOf(workspaceID, r), nil
}

// spaceIn is space within a transaction, on whose connection it reads.
func (m *Manager) spaceIn(tx *store.Tx) (*rules, error) {
	if s, ok := m.spaces.Load(tx.WorkspaceID()); ok {
		if r := s.(*space).now.Load(); r != nil {
			return r, nil
		}
	}
	return readRules(tx)
}

// learn takes what is newer of a row that was read from the database, and tells
// the browsers that listen. The skey moves without a rev, so it has its own
// measure; surely says that the row was read because of it.
func (h *held) learn(row store.Session, grant *Grant, surely bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if row.Rev >= h.row.Rev && (surely || row.Rev > h.row.Rev || row.SkeyRotatedAt > h.row.SkeyRotatedAt) {
		h.row.SkeyHash, h.row.SkeyPrevHash = row.SkeyHash, row.SkeyPrevHash
		h.row.SkeySealed, h.row.SkeyRotatedAt = row.SkeySealed, row.SkeyRotatedAt
		h.skey = ""
	}
	h.written = max(h.written, row.LastActivity)
	regranted := false
	if row.Rev > h.row.Rev {
		if shown(h.row.State) == Locked && shown(row.State) == Active {
			h.activity = 0 // whatever a clock said before does not count
		}
		regranted = (grant == nil) != (h.grant == nil)
		h.row, h.grant = row, grant
	}
	h.activity = max(h.activity, row.LastActivity)
	if s := shown(h.row.State); s != h.shown {
		h.shown = s
		h.tell(Change{State: s, Reason: h.row.EndReason})
	} else if regranted && s == Active {
		h.tell(Change{State: s, Reason: ReasonGrant})
	}
}

func shown(state string) State {
	if State(state) == parked {
		return Locked
	}
	return State(state)
}

// standing is what look finds.
type standing int

const (
	isOver standing = iota
	isOpen
	isLocked
	isIdle // active in the row, and nobody was there for too long
)

// look returns the session at a moment, and where it stands. An idle one is
// shown locked.
func (h *held) look(now time.Time) (*Live, standing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	user, micros := h.person.row.Load(), now.UnixMicro()
	rules := h.currentRules(user)
	absolute := h.absolute(rules)
	if h.row.State == string(Ended) || absolute <= micros || user.DisabledAt > 0 {
		return nil, isOver
	}
	idleAt := h.activity + rules.Idle.Microseconds()
	live := &Live{
		ID: h.id, WorkspaceID: h.workspace, UserID: h.user, DeviceID: h.row.DeviceID,
		Slug: h.rulesOf.rules.slug, Name: user.Name, Email: user.Email, Method: h.row.Method,
		Role: identity.Role(user.Role), OwnRole: identity.Role(user.Role), Class: rules.Class, State: Active,
		ACR: identity.ACR(h.row.Acr), AMR: strings.Fields(h.row.Amr), FactorUsed: h.row.FactorUsed > 0,
		AuthTime: at(h.row.AuthTime), FreshAt: at(h.row.FreshAt), CreatedAt: at(h.row.CreatedAt), LastActivity: at(h.activity),
		IdleExpiresAt: at(idleAt), AbsoluteExpiresAt: at(absolute),
		Grant: h.grant, Rules: rules, PolicyRev: h.rulesOf.rules.policyRev, PINLength: h.rulesOf.rules.document.PIN.Length,
	}
	if h.grant != nil {
		live.Role = h.rulesOf.rules.document.BreakGlass.Role
	}
	lockEnds := h.row.LockExpiresAt
	switch state := State(h.row.State); {
	case state == Locked || state == parked:
		live.State, live.Parked = Locked, state == parked
	case idleAt <= micros:
		live.State, lockEnds = Locked, idleAt+rules.LockTTL.Microseconds()
	default:
		return live, isOpen
	}
	live.LockExpiresAt = at(min(lockEnds, absolute))
	switch {
	case live.LockExpiresAt.UnixMicro() <= micros:
		return nil, isOver
	case State(h.row.State) == Active:
		return live, isIdle
	}
	return live, isLocked
}

// absolute is when the session ends whatever happens: what its row says, or
// sooner where the grant or a stricter policy does.
func (h *held) absolute(rules policy.RoleRules) int64 {
	if h.grant != nil {
		return min(h.row.AbsoluteAt, h.grant.ExpiresAt.UnixMicro())
	}
	return min(h.row.AbsoluteAt, h.row.CreatedAt+rules.Absolute.Microseconds())
}

// currentRules returns the rules for the role that counts now.
func (h *held) currentRules(user *store.User) policy.RoleRules {
	key := rulesKey{h.space.now.Load(), user.Role, h.row.GrantID}
	if key != h.rulesOf {
		h.rulesOf, h.rules = key, rulesFor(key.rules, user.Role, key.grant != "")
	}
	return h.rules
}

// rulesFor returns the rules of a role, inside a grant the emergency role's. A
// role that the policy no longer knows may do nothing, and locks soon.
func rulesFor(r *rules, role string, inGrant bool) policy.RoleRules {
	if inGrant {
		return r.document.Grant()
	}
	found, ok := r.document.Role(identity.Role(role))
	if !ok {
		return policy.RoleRules{Class: identity.Office, Idle: 15 * time.Minute, Warning: 2 * time.Minute, Absolute: 12 * time.Hour,
			LockTTL: 8 * time.Hour, SessionLimit: 5}
	}
	return found
}

// prevSkeyLife is how long the skey before the present one is good.
const prevSkeyLife = time.Minute

// opens reports whether a cookie's skey is the session's, or the one before
// within its minute.
func (h *held) opens(skey string, now time.Time) bool {
	sum := hashOf(skey)
	h.mu.Lock()
	defer h.mu.Unlock()
	if subtle.ConstantTimeCompare([]byte(sum), []byte(h.row.SkeyHash)) == 1 {
		h.skey = identity.Secret(skey)
		return true
	}
	return subtle.ConstantTimeCompare([]byte(sum), []byte(h.row.SkeyPrevHash)) == 1 &&
		now.UnixMicro() < h.row.SkeyRotatedAt+prevSkeyLife.Microseconds()
}

// newSkey returns 128 random bits with what the row keeps of them: their hash
// to check a cookie by, and they themselves, sealed, to make the next one.
func (m *Manager) newSkey(sessionID string) (skey identity.Secret, hash, sealed string, err error) {
	skey = identity.NewToken()[:26] // 26 letters of 5 bits
	b, err := m.keys.Seal("session", "skey_sealed", sessionID, []byte(skey.Reveal()))
	if err != nil {
		return "", "", "", err
	}
	return skey, hashOf(skey.Reveal()), base64.RawStdEncoding.EncodeToString(b), nil
}

// key returns the session's present skey, or "" where what seals it is gone: it
// must be rotated then.
func (m *Manager) key(h *held) identity.Secret {
	h.mu.Lock()
	skey, sealed, hash := h.skey, h.row.SkeySealed, h.row.SkeyHash
	h.mu.Unlock()
	if skey != "" {
		return skey
	}
	b, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return ""
	}
	plain, err := m.keys.Open("session", "skey_sealed", h.id, b)
	if err != nil || hashOf(string(plain)) != hash {
		return ""
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.row.SkeyHash == hash {
		h.skey = identity.Secret(plain)
	}
	return identity.Secret(plain)
}

// hashOf is how random secrets of 128 bits and more are kept. Nothing that a
// person chooses or types goes through here.
func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
