package breakglass

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// Grant is a grant as those see it who may.
type Grant struct {
	ID     string `json:"id"`
	Ref    string `json:"ref"` // "BG-0042"
	Kind   string `json:"kind"`
	Drill  bool   `json:"drill,omitempty"`
	State  string `json:"state"`
	Review string `json:"review"`
	// Subject is the user it is for, Invoker who opened it: a user id or
	// "code:<label>". Reviewer gave the verdict or asked back.
	Subject  string `json:"subject"`
	Invoker  string `json:"invoker"`
	Reviewer string `json:"reviewer,omitempty"`
	Identity string `json:"identity,omitempty"`

	Category     string   `json:"category"`
	Reason       string   `json:"reason"`
	Patients     []string `json:"patients"`
	Unidentified bool     `json:"unidentified,omitempty"`

	StartedAt  time.Time  `json:"started_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	RemainingS int64      `json:"remaining_s"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
	EndedBy    string     `json:"ended_by,omitempty"` // a user id or "system"

	AcknowledgedAt *time.Time `json:"acknowledged_at,omitempty"`
	AcknowledgedBy string     `json:"acknowledged_by,omitempty"`

	Flags    []string `json:"flags"`
	Notified []Notice `json:"notified"`
	// Device is the browser it was opened in.
	Device string `json:"device_id,omitempty"`

	// The rest is told of one grant, not in lists.
	Entries  []Entry  `json:"entries,omitempty"`
	Timeline []Moment `json:"timeline,omitempty"`
	// Earlier counts the person's other grants of the last twelve months.
	Earlier int `json:"earlier,omitempty"`
	// Phones is whom to phone while nobody else has been reached.
	Phones []Phone `json:"phones,omitempty"`
}

// Notice is one message about a start.
type Notice struct {
	Channel string    `json:"channel"` // mail or sms
	To      string    `json:"to"`      // the address or number
	State   string    `json:"state"`   // queued, sent, delivered, failed or no_address
	UserID  string    `json:"user"`
	SentAt  time.Time `json:"sent_at,omitzero"`
}

// Entry is what somebody added to a grant: a note, a patient, a verdict, a
// visitor's registration number.
type Entry struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"` // note, patient, review or registration
	Actor   string    `json:"actor"`
	At      time.Time `json:"at"`
	Text    string    `json:"text"`
	Verdict string    `json:"verdict,omitempty"`
	Fix     string    `json:"fix,omitempty"`
}

// Moment is one event of a grant.
type Moment struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Type    string    `json:"type"`
	Outcome string    `json:"outcome"`
	Actor   string    `json:"actor,omitempty"`
	// Event is the whole of it, for a sentence.
	Event record.Entry `json:"-"`
}

// Phone is somebody to be phoned.
type Phone struct {
	Name  string `json:"name"`
	Phone string `json:"phone"`
}

// yearBack is how far back a person's other grants are counted.
const yearBack = 365 * 24 * time.Hour

// List returns the grants that who asks may see, newest first: administrators
// and reviewers all of the workspace's, everybody else their own, and inside a
// grant only that one.
func (b *BreakGlass) List(ctx context.Context, who signin.Who) ([]Grant, error) {
	live := who.Live
	if live == nil {
		return nil, errSignedOut
	}
	doc, _, err := b.sessions.Policy(ctx, live.WorkspaceID)
	if err != nil {
		return nil, err
	}
	all := overseer(live, doc)
	out := []Grant{}
	err = b.db.Read(ctx, live.WorkspaceID, func(tx *store.Tx) error {
		rows, err := tx.Grants()
		if err != nil {
			return err
		}
		sent, err := tx.GrantMessages(templateStart)
		if err != nil {
			return err
		}
		told := map[string][]Notice{}
		for _, m := range slices.Backward(sent) {
			told[m.GrantID] = append(told[m.GrantID], noticeOf(m))
		}
		for _, row := range rows {
			if all || sees(live, row) {
				g := b.plain(row)
				g.Notified = append(g.Notified, told[row.ID]...)
				out = append(out, g)
			}
		}
		return nil
	})
	return out, err
}

// sees reports whether a session may see a grant because it is its own.
func sees(live *session.Live, g store.Grant) bool {
	if live.Grant != nil {
		return live.Grant.ID == g.ID
	}
	return live.UserID == g.SubjectID || live.UserID == g.Invoker
}

// Get returns one grant with everything that belongs to it.
func (b *BreakGlass) Get(ctx context.Context, who signin.Who, id string) (Grant, error) {
	live := who.Live
	if live == nil {
		return Grant{}, errSignedOut
	}
	doc, _, err := b.sessions.Policy(ctx, live.WorkspaceID)
	if err != nil {
		return Grant{}, err
	}
	var g Grant
	err = b.db.Read(ctx, live.WorkspaceID, func(tx *store.Tx) error {
		row, err := tx.Grant(id)
		switch {
		case errors.Is(err, store.ErrNoRows):
			return errNoGrant
		case err != nil:
			return err
		case !overseer(live, doc) && !sees(live, row):
			return errNotYours
		}
		g, err = b.show(tx, row)
		return err
	})
	return g, err
}

// read returns a grant after an act on it.
func (b *BreakGlass) read(ctx context.Context, workspaceID, id string) (Grant, error) {
	var g Grant
	err := b.db.Read(ctx, workspaceID, func(tx *store.Tx) error {
		row, err := tx.Grant(id)
		if err == nil {
			g, err = b.show(tx, row)
		}
		return err
	})
	return g, err
}

// plain is what a grant's own row tells.
func (b *BreakGlass) plain(row store.Grant) Grant {
	g := Grant{ID: row.ID, Ref: row.Ref, Kind: row.Kind, Drill: row.Drill > 0, State: row.State, Review: row.Review,
		Subject: row.SubjectID, Invoker: row.Invoker, Reviewer: row.ReviewerID, Identity: row.Identity,
		Category: row.Category, Reason: row.Reason, Patients: []string{}, Unidentified: row.Unidentified > 0,
		StartedAt: timeOf(row.StartedAt), ExpiresAt: timeOf(row.ExpiresAt), EndedBy: row.EndedBy,
		AcknowledgedBy: row.AcknowledgedBy, Flags: []string{}, Notified: []Notice{}, Device: row.DeviceID}
	if row.PatientRef != "" {
		g.Patients = append(g.Patients, row.PatientRef)
	}
	if row.State == StateActive {
		g.RemainingS = int64(max(g.ExpiresAt.Sub(b.db.Clock().Now()), 0) / time.Second)
	}
	if row.EndedAt > 0 {
		ended := timeOf(row.EndedAt)
		g.EndedAt = &ended
	}
	if row.AcknowledgedAt > 0 {
		at := timeOf(row.AcknowledgedAt)
		g.AcknowledgedAt = &at
	}
	if g.Drill {
		g.Flags = append(g.Flags, FlagDrill)
	}
	if row.Identity == IdentityClaimed {
		g.Flags = append(g.Flags, FlagClaimed)
	}
	g.Flags = append(g.Flags, strings.Fields(row.Flags)...)
	return g
}

// show is plain with what other rows tell.
func (b *BreakGlass) show(tx *store.Tx, row store.Grant) (Grant, error) {
	g := b.plain(row)
	sent, err := tx.MessagesOfGrant(row.ID)
	if err != nil {
		return g, err
	}
	for _, m := range sent {
		if isStart(m.Template) {
			g.Notified = append(g.Notified, noticeOf(m))
		}
	}
	entries, err := tx.GrantEntries(row.ID)
	if err != nil {
		return g, err
	}
	for _, e := range entries {
		if e.Kind == entryPatient {
			g.Patients = append(g.Patients, e.Text)
		}
		g.Entries = append(g.Entries, Entry{e.ID, e.Kind, e.Actor, timeOf(e.CreatedAt), e.Text, e.Verdict, e.Fix})
	}
	if g.Timeline, err = timeline(tx, row.ID); err != nil {
		return g, err
	}
	if g.Earlier, err = earlier(tx, row); err != nil || row.State != StateActive {
		return g, err
	}
	g.Phones, err = phones(tx, row)
	return g, err
}

func noticeOf(m store.Message) Notice {
	return Notice{m.Channel, m.Recipient, m.State, m.UserID, timeOf(m.SentAt)}
}

func timeline(tx *store.Tx, grantID string) ([]Moment, error) {
	events, err := tx.EventsOfGrant(grantID)
	if err != nil {
		return nil, err
	}
	var out []Moment
	for _, e := range events {
		m := Moment{ID: e.ID, At: timeOf(e.At), Type: e.Type, Outcome: e.Outcome, Actor: e.Actor, Event: record.Entry{Leaf: e.Leaf}}
		if m.Event.Event, err = record.ParseLeaf(e.Leaf); err != nil {
			return nil, fmt.Errorf("couldn't read event %s: %w", e.ID, err)
		}
		out = append(out, m)
	}
	// What one act recorded has one time; the act itself comes before what
	// followed from it.
	slices.SortStableFunc(out, func(a, b Moment) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(follows(a), follows(b))) })
	return out, nil
}

func follows(m Moment) int {
	if strings.HasPrefix(m.Type, "break_glass.") {
		return 0
	}
	return 1
}

func earlier(tx *store.Tx, g store.Grant) (int, error) {
	all, err := tx.GrantsOfPerson(g.SubjectID)
	n := 0
	for _, o := range all {
		if o.ID != g.ID && o.Drill == 0 && o.SubjectID == g.SubjectID && o.StartedAt > g.StartedAt-yearBack.Microseconds() && o.StartedAt < g.StartedAt {
			n++
		}
	}
	return n, err
}

// phones returns whom to phone, while nobody else has been reached.
func phones(tx *store.Tx, g store.Grant) ([]Phone, error) {
	if reached, err := somebodyReached(tx, g); err != nil || reached {
		return nil, err
	}
	to, err := directory.Recipients(tx, g.SubjectID)
	if err != nil {
		return nil, err
	}
	var out []Phone
	for _, r := range to {
		if r.Kind == directory.Subject || r.UserID == g.SubjectID || len(r.Phone) == 0 {
			continue
		}
		out = append(out, Phone{r.Name, r.Phone[0]})
	}
	return out, nil
}
