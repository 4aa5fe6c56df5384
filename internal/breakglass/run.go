package breakglass

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/store"
)

const (
	// tick is how often open grants are looked at.
	tick = 2 * time.Second
	// storeEvery is how often a window's remainder is stored, and so the most
	// that a restart takes from it.
	storeEvery = 15 * time.Second
	// clockSlack is how much further off an end may seem than this node's own
	// monotonic time says, before the clock is held to have gone back.
	clockSlack = 2 * time.Second
	// reachBy is when somebody else should have been reached.
	reachBy = 5 * time.Minute
	// reachSpan is how long after a start that is still asked, after a restart.
	reachSpan = 24 * time.Hour
)

// bySystem is who acts when nobody does.
var bySystem = audit.By{Actor: audit.ActorSystem}

// windows is what one run remembers of open grants: how much was left when it
// last looked, by its own monotonic time.
type windows struct {
	left    map[string]remainder
	reached map[string]bool // grants whose delivery has been judged
}

type remainder struct {
	left time.Duration
	seen time.Time
}

// Run closes windows that are over, stores the remainder of the others, puts
// sessions of people who have proven themselves inside grants that were opened
// for them, and flags grants that nobody was told of. It first does what Resume
// does. It ends with ctx.
func (b *BreakGlass) Run(ctx context.Context) error {
	w := windows{left: map[string]remainder{}, reached: map[string]bool{}}
	for {
		if err := b.round(ctx, &w); err != nil && ctx.Err() == nil {
			b.log.WarnContext(ctx, "couldn't look after open emergency access", "error", err)
		}
		if err := b.db.Clock().Sleep(ctx, tick); err != nil {
			return err
		}
	}
}

// Resume takes up the windows that were open when the process ended: each has
// the smaller of its stored remainder, less what may have passed since it was
// stored, and what the clock says. It does so once; whoever serves requests
// calls it first.
func (b *BreakGlass) Resume(ctx context.Context) error {
	b.resuming.Lock()
	defer b.resuming.Unlock()
	if b.resumed {
		return nil
	}
	grants, err := b.active(ctx)
	if err != nil {
		return err
	}
	now := b.db.Clock().Now()
	for _, g := range grants {
		left := min(time.Duration(g.Remaining)*time.Microsecond-storeEvery, timeOf(g.ExpiresAt).Sub(now))
		if err := b.shorten(ctx, g, max(left, 0)); err != nil {
			return err
		}
	}
	b.resumed = true
	return nil
}

func (b *BreakGlass) active(ctx context.Context) ([]store.Grant, error) {
	var grants []store.Grant
	err := b.db.ReadSystem(ctx, func(sys *store.SystemTx) (err error) {
		grants, err = sys.ActiveGrants()
		return err
	})
	return grants, err
}

// shorten lets a window end after what is left of it, never later than it did.
func (b *BreakGlass) shorten(ctx context.Context, g store.Grant, left time.Duration) error {
	return b.db.Upkeep(ctx, func(up *store.UpkeepTx) error {
		ends := min(up.Now().Add(left).UnixMicro(), g.ExpiresAt)
		if err := up.ShortenGrant(g.ID, ends); err != nil {
			return err
		}
		if err := up.StoreRemaining(g.ID, left.Microseconds()); err != nil {
			return err
		}
		return b.sessions.ShortenGrant(up.Workspace(g.WorkspaceID), g.ID, timeOf(ends))
	})
}

func (b *BreakGlass) round(ctx context.Context, w *windows) error {
	if err := b.Resume(ctx); err != nil {
		return err
	}
	grants, err := b.active(ctx)
	if err != nil {
		return err
	}
	var failed []error
	now, mono := b.db.Clock().Now(), time.Now()
	next := map[string]remainder{}
	for _, g := range grants {
		left := timeOf(g.ExpiresAt).Sub(now)
		own := left
		if was, ok := w.left[g.ID]; ok {
			own = was.left - mono.Sub(was.seen)
		}
		if left > own+clockSlack { // the clock went back: the window does not grow
			left = max(own, 0)
			failed = append(failed, b.shorten(ctx, g, left))
		}
		next[g.ID] = remainder{min(left, own), mono}
		switch {
		case left <= 0:
			failed = append(failed, b.expire(ctx, g))
		default:
			failed = append(failed, b.remain(ctx, g, left), b.takeUp(ctx, g))
		}
	}
	w.left = next
	failed = append(failed, b.judgeDelivery(ctx, w))
	return errors.Join(failed...)
}

// remain stores how much of a window is left.
func (b *BreakGlass) remain(ctx context.Context, g store.Grant, left time.Duration) error {
	if age := b.db.Clock().Now().Sub(timeOf(g.RemainingAt)); age >= 0 && age < storeEvery-tick {
		return nil
	}
	return b.db.Upkeep(ctx, func(up *store.UpkeepTx) error { return up.StoreRemaining(g.ID, left.Microseconds()) })
}

// expire closes a window whose time is over. Another node may have been first.
func (b *BreakGlass) expire(ctx context.Context, g store.Grant) error {
	err := b.db.Workspace(ctx, bySystem, g.WorkspaceID, func(tx *store.Tx) error {
		return b.close(tx, g, closing{state: StateExpired, at: min(g.ExpiresAt, tx.Micros()), by: audit.ActorSystem, event: "break_glass.expire"})
	})
	if errors.Is(err, errLost) {
		return nil
	}
	if err == nil {
		b.recorder.Wake()
	}
	return err
}

// takeUp puts sessions that the subject has unlocked or opened since inside a
// named grant.
func (b *BreakGlass) takeUp(ctx context.Context, g store.Grant) error {
	if g.Kind != KindNamed {
		return nil
	}
	due := false
	err := b.db.Read(ctx, g.WorkspaceID, func(tx *store.Tx) error {
		rows, err := tx.OpenSessions(g.SubjectID)
		for _, row := range rows {
			due = due || row.State == string(session.Active) && row.GrantID == ""
		}
		return err
	})
	if err != nil || !due {
		return err
	}
	err = b.db.Workspace(ctx, bySystem, g.WorkspaceID, func(tx *store.Tx) error {
		is, err := tx.Grant(g.ID)
		if err != nil {
			return err
		}
		if is.State != StateActive {
			return errLost
		}
		doc, err := document(tx)
		if err != nil {
			return err
		}
		taken, err := b.attachActive(tx, g, doc)
		if err != nil {
			return err
		}
		if len(taken) == 0 {
			return errLost
		}
		for _, id := range taken {
			_, err := tx.Record(about(g, audit.Event{Type: "break_glass.take_up", Outcome: audit.Success, User: g.SubjectID, Session: id,
				Detail: audit.Detail{"ref": g.Ref}}))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

// judgeDelivery looks, five minutes after each start, whether somebody else has
// been reached.
func (b *BreakGlass) judgeDelivery(ctx context.Context, w *windows) error {
	now := b.db.Clock().Now()
	var grants []store.Grant
	err := b.db.ReadSystem(ctx, func(sys *store.SystemTx) (err error) {
		grants, err = sys.GrantsSince(now.Add(-reachSpan).UnixMicro())
		return err
	})
	if err != nil {
		return err
	}
	judged := map[string]bool{}
	var failed []error
	for _, g := range grants {
		switch {
		case w.reached[g.ID]:
			judged[g.ID] = true
		case now.Sub(timeOf(g.StartedAt)) >= reachBy:
			err := b.judge(ctx, g)
			failed = append(failed, err)
			judged[g.ID] = err == nil
		}
	}
	w.reached = judged
	return errors.Join(failed...)
}

// judge flags a grant of which nobody else has been told, and tries those who
// had only been mailed.
func (b *BreakGlass) judge(ctx context.Context, g store.Grant) error {
	reached := false
	err := b.db.Read(ctx, g.WorkspaceID, func(tx *store.Tx) (err error) {
		reached, err = somebodyReached(tx, g)
		return err
	})
	if err != nil || reached || flagged(g, FlagUndelivered) {
		return err
	}
	err = b.db.Workspace(ctx, bySystem, g.WorkspaceID, func(tx *store.Tx) error {
		is, err := tx.Grant(g.ID)
		if err != nil {
			return err
		}
		if flagged(is, FlagUndelivered) {
			return errLost
		}
		_, err = tx.Record(about(g, audit.Event{Type: "break_glass.undelivered", Outcome: audit.Failure, User: g.SubjectID, Detail: audit.Detail{"ref": g.Ref}}))
		if err != nil {
			return err
		}
		if err := flag(tx, g.ID, FlagUndelivered); err != nil {
			return err
		}
		return b.tellReviewersToo(tx, g)
	})
	if errors.Is(err, errLost) {
		return nil
	}
	return err
}

// somebodyReached reports whether a start's message was taken over for an
// administrator or reviewer other than subject and invoker; where there is no
// other, for anybody.
func somebodyReached(tx *store.Tx, g store.Grant) (bool, error) {
	to, err := directory.Recipients(tx, g.SubjectID)
	if err != nil {
		return false, err
	}
	var others []string
	for _, r := range to {
		if r.Kind != directory.Subject && r.UserID != g.SubjectID && r.UserID != g.Invoker {
			others = append(others, r.UserID)
		}
	}
	sent, err := tx.MessagesOfGrant(g.ID)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(sent, func(m store.Message) bool {
		taken := m.State == notify.Sent || m.State == notify.Delivered
		return taken && isStart(m.Template) && (len(others) == 0 || slices.Contains(others, m.UserID))
	}), nil
}

// flagged reports whether a grant carries a flag.
func flagged(g store.Grant, name string) bool { return slices.Contains(strings.Fields(g.Flags), name) }

// flag adds a flag to a grant.
func flag(tx *store.Tx, id, name string) error { return setFlag(tx, id, name, true) }

// setFlag puts a flag on or off, over whatever flags the grant has by now.
func setFlag(tx *store.Tx, id, name string, on bool) error {
	for {
		g, err := tx.Grant(id)
		if err != nil || flagged(g, name) == on {
			return err
		}
		flags := slices.DeleteFunc(strings.Fields(g.Flags), func(f string) bool { return f == name })
		if on {
			flags = append(flags, name)
		}
		n, err := tx.SetGrantFlags(id, strings.Join(flags, " "), g.Flags)
		if err != nil || n > 0 {
			return err
		}
	}
}
