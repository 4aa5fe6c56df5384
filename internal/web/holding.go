package web

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/web/view"
)

const (
	// setupLife is how long a setup may take.
	setupLife = 30 * time.Minute
	// shownLife is how long what it made is shown again to the browser that did
	// it, unless it says before that it has kept it.
	shownLife = 10 * time.Minute
	// maxHolding bounds how many setups are held at once.
	maxHolding = 64
)

// setup is how far a setup has come, and what it must show.
type setup struct {
	Name, TimeZone, Reach, Preset string // of the clinic: what the first step asked

	// What the second step made.
	Done                    bool
	WorkspaceID, UserID     string
	AdminName, Email, Phone string
	// What is shown once: "" again when it was kept.
	Key           string
	RecoveryCodes []string
	Sealed        []view.SealedCode
	// Confirmed ends the third step; Kept says that a copy was put away.
	Confirmed, Kept bool
	// Decided ends the fourth step; Another is who was added there.
	Decided bool
	Another *added
}

// added is the second person, and the claim that is theirs.
type added struct {
	ID, Name, Email, URL, Code string
	Role                       identity.Role
	Until                      time.Time
}

// holding keeps setups while they are done, in memory, each for the browser that
// does it: found by the hash of its cookie, and sealed so that it opens for that
// cookie only. The zero value is ready.
type holding struct {
	mu   sync.Mutex
	kept map[[sha256.Size]byte]sealedSetup
}

type sealedSetup struct {
	sealed []byte
	until  time.Time
}

func (c *call) setupCookie(value string, age time.Duration) *http.Cookie {
	name := "mitral-setup"
	if c.secure {
		name = "__Host-" + name
	}
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: int(age / time.Second), HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteStrictMode}
}

// keepSetup keeps how far the setup of this browser has come. The cookie stays
// the same meanwhile, so that an answer that got lost can be loaded again.
func (c *call) keepSetup(v setup, life time.Duration) error {
	plain, err := json.Marshal(v)
	if err != nil {
		return err
	}
	cookie := c.visit.Cookie(c.setupCookie("", 0).Name)
	if _, held := c.heldSetup(); !held {
		cookie = identity.NewToken().Reveal()
	}
	sealed, err := c.Keys.Seal("page", "setup", cookie, plain)
	if err != nil {
		return err
	}
	c.held.put(cookie, sealedSetup{sealed, c.Now().Add(life)}, c.Now())
	c.visit.SetCookie(c.setupCookie(cookie, life))
	return nil
}

// heldSetup returns how far the setup of this browser has come.
func (c *call) heldSetup() (setup, bool) {
	var v setup
	cookie := c.visit.Cookie(c.setupCookie("", 0).Name)
	kept, ok := c.held.get(cookie, c.Now())
	if !ok {
		return v, false
	}
	plain, err := c.Keys.Open("page", "setup", cookie, kept.sealed)
	if err != nil || json.Unmarshal(plain, &v) != nil {
		return setup{}, false
	}
	return v, true
}

// put keeps a setup. What is over goes; where there are too many, the one that
// would end first does.
func (h *holding) put(cookie string, s sealedSetup, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.kept == nil {
		h.kept = map[[sha256.Size]byte]sealedSetup{}
	}
	own := sha256.Sum256([]byte(cookie))
	var first [sha256.Size]byte
	for other, k := range h.kept {
		if !now.Before(k.until) {
			delete(h.kept, other)
		} else if f, ok := h.kept[first]; !ok || k.until.Before(f.until) {
			first = other
		}
	}
	if _, replaces := h.kept[own]; !replaces && len(h.kept) >= maxHolding {
		delete(h.kept, first)
	}
	h.kept[own] = s
}

func (h *holding) get(cookie string, now time.Time) (sealedSetup, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	own := sha256.Sum256([]byte(cookie))
	s, ok := h.kept[own]
	if ok && !now.Before(s.until) {
		delete(h.kept, own)
		ok = false
	}
	return s, ok
}
