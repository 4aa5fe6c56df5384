package breakglass

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/record"
	"github.com/mitral-health/mitral/internal/store"
)

// The messages about emergency access.
const (
	templateStart       = "break_glass_start"
	templateEnd         = "break_glass_end"
	templateAsked       = "break_glass_asked"
	templateUndelivered = "break_glass_undelivered"
	templateCodes       = "break_glass_codes"
	templatePaused      = "break_glass_paused"
	templateRefused     = "break_glass_refused"
)

const (
	// awaitMail is how long a mail waits for the checkpoint that covers its event.
	awaitMail = 5 * time.Second
	// monthBack is how old the older checkpoint is that mails repeat: whoever kept
	// that mail can compare.
	monthBack = 30 * 24 * time.Hour
)

func isStart(template string) bool { return template == templateStart }

// tellStart tells everybody of a start: administrators by mail and SMS,
// reviewers and the subject by mail.
func (b *BreakGlass) tellStart(tx *store.Tx, g store.Grant) error {
	return b.tell(tx, g, templateStart, g.EventID)
}

// tellEnd tells the same people of the end, with the way to the review.
func (b *BreakGlass) tellEnd(tx *store.Tx, g store.Grant, eventID string) error {
	return b.tell(tx, g, templateEnd, eventID)
}

func (b *BreakGlass) tell(tx *store.Tx, g store.Grant, template, eventID string) error {
	to, err := directory.Recipients(tx, g.SubjectID)
	if err != nil {
		return err
	}
	for _, r := range to {
		msgs := messagesTo(r, template, g.ID, map[string]string{"event": eventID}, r.Kind == directory.Administrator)
		if err := b.outbox.Enqueue(tx, msgs...); err != nil {
			return err
		}
	}
	return nil
}

// tellAsked passes a reviewer's question on to subject and invoker.
func (b *BreakGlass) tellAsked(tx *store.Tx, g store.Grant) error {
	to, err := directory.Recipients(tx, g.SubjectID)
	if err != nil {
		return err
	}
	for _, r := range to {
		if r.UserID != g.SubjectID && r.UserID != g.Invoker {
			continue
		}
		if err := b.outbox.Enqueue(tx, messagesTo(r, templateAsked, g.ID, nil, false)...); err != nil {
			return err
		}
	}
	return nil
}

// tellReviewersToo sends an SMS to those who had only been mailed, when nobody
// has been reached.
func (b *BreakGlass) tellReviewersToo(tx *store.Tx, g store.Grant) error {
	to, err := directory.Recipients(tx, g.SubjectID)
	if err != nil {
		return err
	}
	for _, r := range to {
		if r.Kind != directory.Reviewer {
			continue
		}
		for _, number := range r.Phone {
			err := b.outbox.Enqueue(tx, notify.Message{Channel: notify.ChannelSMS, To: number, UserID: r.UserID, Template: templateUndelivered, GrantID: g.ID})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// messagesTo makes one message per address of a recipient and, with sms, one
// per number. A channel without any is kept as such.
func messagesTo(r directory.Recipient, template, grantID string, data map[string]string, sms bool) []notify.Message {
	var out []notify.Message
	add := func(channel string, to []string) {
		if len(to) == 0 {
			to = []string{""}
		}
		for _, address := range to {
			out = append(out, notify.Message{Channel: channel, To: address, UserID: r.UserID, Template: template, Data: data, GrantID: grantID})
		}
	}
	add(notify.ChannelMail, r.Mail)
	if sms {
		add(notify.ChannelSMS, r.Phone)
	}
	return out
}

func (b *BreakGlass) registerMessages() {
	b.outbox.Register(templateStart, b.renderStart)
	b.outbox.Register(templateEnd, b.renderEnd)
	b.outbox.Register(templateAsked, b.renderAsked)
	b.outbox.Register(templateUndelivered, b.renderUndelivered)
	b.outbox.Register(templateCodes, b.notice("New sealed codes were made",
		"%name% made sealed codes for emergency access: %first% to %last%, for “%location%”.\n\nNot expected? Sign in and ask:\n%url%/admin/sealed-codes\n",
		"Mitral: %s made new sealed codes. Not expected? Ask now."))
	b.outbox.Register(templatePaused, b.notice("Wrong sealed codes were typed",
		"Five wrong sealed codes were typed within an hour at one workstation or address. There, sealed codes are paused for an hour; elsewhere they work.\n\n"+
			"If nobody in the clinic did this, look at the record:\n%url%/admin/record\n",
		"Mitral: five wrong sealed codes were typed. Sealed codes are paused at that workstation or address for an hour."))
	b.outbox.Register(templateRefused, b.notice("Emergency access was refused",
		"Somebody used the sealed code %code% for %name%, whose account is switched off. It was refused and the code is not used up.\n\n"+
			"Find out who has that letter now. The record:\n%url%/admin/record\n",
		"Mitral: a sealed code was used for %s, whose account is switched off. Refused. Find out who has that letter."))
}

// notice renders a short message from the data it was given. An SMS has room
// for one name.
func (b *BreakGlass) notice(subject, text, short string) notify.Renderer {
	return func(_ context.Context, m notify.Rendering) (notify.Rendered, error) {
		if m.Channel == notify.ChannelSMS {
			return notify.Rendered{Text: notify.FitSMS(short, m.Data["name"])}, nil
		}
		words := []string{"%url%", b.publicURL}
		for k, v := range m.Data {
			words = append(words, "%"+k+"%", v)
		}
		return notify.Rendered{Subject: subject, Text: strings.NewReplacer(words...).Replace(text)}, nil
	}
}

// story is what the texts about one grant tell.
type story struct {
	clinic           string
	zone             *time.Location
	g                store.Grant
	subject, invoker string
	place            string // the workstation's label
	from             audit.Event
	leaf             string // of the event that the message is about
}

// story reads what a message about a grant is made of.
func (b *BreakGlass) story(ctx context.Context, m notify.Rendering) (story, error) {
	var s story
	err := b.db.Read(ctx, m.WorkspaceID, func(tx *store.Tx) error {
		w, err := tx.WorkspaceRow()
		if err != nil {
			return err
		}
		s.clinic = w.Name
		if s.zone, err = time.LoadLocation(w.TimeZone); err != nil {
			s.zone = time.UTC
		}
		if s.g, err = tx.Grant(m.GrantID); err != nil {
			return err
		}
		users, err := tx.Users()
		if err != nil {
			return err
		}
		names := map[string]string{"": "somebody who is visiting"}
		for _, u := range users {
			names[u.ID] = u.Name
		}
		s.subject, s.invoker = names[s.g.SubjectID], names[s.g.Invoker]
		if label, ok := strings.CutPrefix(s.g.Invoker, audit.CodeActor("")); ok {
			s.invoker = "sealed code " + label
		}
		devices, err := tx.Devices()
		if err != nil {
			return err
		}
		for _, d := range devices {
			if d.ID == s.g.DeviceID {
				s.place = d.Label
			}
		}
		if id := m.Data["event"]; id != "" {
			if s.leaf, err = leafOf(tx, s.g.ID, id); err != nil {
				return err
			}
			s.from, err = record.ParseLeaf(s.leaf)
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("couldn't read what a message tells: %w", err)
	}
	return s, nil
}

func (s story) clock(micros int64) string { return timeOf(micros).In(s.zone).Format("15:04") }

func (s story) drill() string {
	if s.g.Drill > 0 {
		return "[DRILL] "
	}
	return ""
}

// proven says how sure it is that the subject is at the keyboard, where that is
// less than usual.
func (s story) proven() string {
	switch s.g.Identity {
	case IdentityClaimed:
		return " (not proven)"
	case IdentityVisiting:
		return " (visiting)"
	}
	return ""
}

var categoryWords = map[string]string{
	PatientEmergency: "patient emergency", CannotSignIn: "cannot sign in", SystemOutage: "system outage",
	RoleTooSmall: "role too small", CoverOrVisiting: "cover or visiting", Other: "other",
}

func (b *BreakGlass) renderStart(ctx context.Context, m notify.Rendering) (notify.Rendered, error) {
	s, err := b.story(ctx, m)
	if err != nil {
		return notify.Rendered{}, err
	}
	if m.Channel == notify.ChannelSMS {
		return notify.Rendered{Text: b.startSMS(s)}, nil
	}
	proof, err := b.proof(ctx, m, s)
	if err != nil {
		return notify.Rendered{}, err
	}
	var t strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&t, "%-11s%s\n", name+":", value)
		}
	}
	if s.g.Drill > 0 {
		t.WriteString("This is a drill. Nothing was opened.\n\n")
	}
	fmt.Fprintf(&t, "Emergency access at %s.\n\n", s.clinic)
	line("Ref", s.g.Ref)
	line("For", s.subject+s.proven())
	if s.invoker != s.subject {
		line("Opened by", s.invoker)
	}
	line("Why", categoryWords[s.g.Category])
	line("Reason", strings.Join(strings.Fields(s.g.Reason), " "))
	line("From", timeOf(s.g.StartedAt).In(s.zone).Format("2 Jan 2006 15:04")+" to "+s.clock(s.g.ExpiresAt)+" ("+s.zone.String()+")")
	line("Where", join(s.place, s.from.Client.UserAgent, s.from.Client.Address()))
	line("Sign-in", normalPathWords(s.g))
	line("Notice", noticeWords(s.g))
	fmt.Fprintf(&t, "\nExpected? Sign in and choose “Looks right”. Not expected? Sign in and stop it now:\n%s/admin/break-glass/%s\n", b.publicURL, s.g.ID)
	t.WriteString(proof)
	return notify.Rendered{Subject: s.drill() + "EMERGENCY ACCESS " + s.g.Ref + " at " + s.clinic, Text: t.String()}, nil
}

// startSMS holds no reason and no patient.
func (b *BreakGlass) startSMS(s story) string {
	format, names := s.drill()+"EMERGENCY ACCESS at %s: %s"+s.proven(), []string{s.clinic, s.subject}
	if s.place != "" {
		format, names = format+", %s", append(names, s.place)
	}
	format += ", " + s.clock(s.g.StartedAt) + "-" + s.clock(s.g.ExpiresAt) + ". Ref " + s.g.Ref
	if s.g.Drill > 0 {
		return notify.FitSMS(format+". Nothing was opened.", names...)
	}
	return notify.FitSMS(format+". Not expected? Sign in: "+b.publicURL+"/admin", names...)
}

func (b *BreakGlass) renderEnd(ctx context.Context, m notify.Rendering) (notify.Rendered, error) {
	s, err := b.story(ctx, m)
	if err != nil {
		return notify.Rendered{}, err
	}
	span := s.clock(s.g.StartedAt) + "-" + s.clock(s.g.EndedAt)
	if m.Channel == notify.ChannelSMS {
		return notify.Rendered{Text: notify.FitSMS("EMERGENCY ACCESS at %s is over: %s"+s.proven()+", "+span+". Ref "+s.g.Ref+". Review it: "+b.publicURL+"/admin",
			s.clinic, s.subject)}, nil
	}
	proof, err := b.proof(ctx, m, s)
	if err != nil {
		return notify.Rendered{}, err
	}
	how := map[string]string{StateEnded: "It was ended.", StateExpired: "Its time ran out.", StateRevoked: "It was stopped by somebody else."}[s.g.State]
	text := fmt.Sprintf("Emergency access %s at %s is over. %s\n\nFor: %s\nFrom: %s (%s)\n\n"+
		"If it was you: finish your note. What happened, which patients, why did the usual way fail?\nIf you review: the verdict is due within three days.\n%s/admin/break-glass/%s\n",
		s.g.Ref, s.clinic, how, s.subject+s.proven(), timeOf(s.g.StartedAt).In(s.zone).Format("2 Jan 2006 ")+span, s.zone, b.publicURL, s.g.ID)
	return notify.Rendered{Subject: "Emergency access " + s.g.Ref + " at " + s.clinic + " is over", Text: text + proof}, nil
}

func (b *BreakGlass) renderAsked(ctx context.Context, m notify.Rendering) (notify.Rendered, error) {
	s, err := b.story(ctx, m)
	if err != nil {
		return notify.Rendered{}, err
	}
	return notify.Rendered{Subject: "A question about emergency access " + s.g.Ref,
		Text: fmt.Sprintf("The reviewer asks back about emergency access %s. Sign in, read the question and answer it with a note:\n%s/admin/break-glass/%s\n",
			s.g.Ref, b.publicURL, s.g.ID)}, nil
}

func (b *BreakGlass) renderUndelivered(ctx context.Context, m notify.Rendering) (notify.Rendered, error) {
	s, err := b.story(ctx, m)
	if err != nil {
		return notify.Rendered{}, err
	}
	return notify.Rendered{Text: notify.FitSMS("EMERGENCY ACCESS at %s: no administrator has been reached. %s"+s.proven()+", since "+s.clock(s.g.StartedAt)+
		". Ref "+s.g.Ref+". Sign in: "+b.publicURL+"/admin", s.clinic, s.subject)}, nil
}

func join(parts ...string) string {
	var out []string
	for _, p := range parts {
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, ", ")
}

func normalPathWords(g store.Grant) string {
	switch {
	case g.Drill > 0:
		return ""
	case flagged(g, FlagNormalPath):
		return "key and PIN would have worked"
	}
	return "key and PIN would not have worked"
}

func noticeWords(g store.Grant) string {
	switch {
	case flagged(g, FlagAskAck):
		return "not the first in twelve hours. Please acknowledge it while it is open"
	case flagged(g, FlagChained):
		return "the second in twelve hours"
	case flagged(g, FlagManyOpen):
		return "more than three are open at once"
	}
	return ""
}

// proof is the part of a mail that holds the record to its word: the signed
// checkpoint that covers the event, or, where it is late, the newest one and the
// leaf's hash; and the one of a month ago.
func (b *BreakGlass) proof(ctx context.Context, m notify.Rendering, s story) (string, error) {
	left := awaitMail - b.db.Clock().Now().Sub(m.CreatedAt)
	index, checkpoint, ok := b.recorder.Await(ctx, s.from.ID, min(max(left, 0), time.Second))
	var t strings.Builder
	switch {
	case ok:
		fmt.Fprintf(&t, "\nKeep this mail. It proves that this is entry %d of the record; nobody can take it out later without being found out:\n\n%s", index, checkpoint)
	case left > 0:
		return "", notify.ErrNotYet
	default:
		fmt.Fprintf(&t, "\nKeep this mail. The record was not signed in time; this is the entry's hash:\n%s\n", audit.LeafHash([]byte(s.leaf)))
		if latest, err := b.recorder.Latest(ctx); err == nil {
			checkpoint = latest
			t.WriteString("\nAnd the record as it was signed last:\n\n" + latest)
		}
	}
	old, err := b.monthOld(ctx)
	if err != nil {
		return "", err
	}
	if old != "" && old != checkpoint {
		t.WriteString("\nThe record as it was signed a month ago, to compare with mails of then:\n\n" + old)
	}
	return t.String(), nil
}

// monthOld returns the checkpoint of thirty days ago, or "".
func (b *BreakGlass) monthOld(ctx context.Context) (string, error) {
	var text string
	err := b.db.ReadSystem(ctx, func(sys *store.SystemTx) error {
		l, err := sys.CurrentLog()
		if err != nil {
			return err
		}
		c, err := sys.CheckpointBefore(l.Log, sys.Now().Add(-monthBack).UnixMicro())
		text = c.Note
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNoRows) {
		return "", fmt.Errorf("couldn't read the checkpoint of a month ago: %w", err)
	}
	return text, nil
}
