package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/keyring"
	"github.com/mitral-health/mitral/internal/store"
)

// Channels.
const (
	ChannelMail = "mail"
	ChannelSMS  = "sms"
)

// States of a message.
const (
	Queued    = "queued"
	Sent      = "sent"      // the next server or the provider has it
	Delivered = "delivered" // the provider says that it arrived
	Failed    = "failed"    // given up
	NoAddress = "no_address"
)

const (
	// beat is how often due messages are looked for unasked: retries, and what
	// another node enqueued and did not live to send.
	beat = 500 * time.Millisecond
	// attemptTimeout cuts one attempt, with a second provider in it.
	attemptTimeout = 25 * time.Second
	// attemptLease keeps other nodes away from a message under way. A crash in
	// the middle delays it by as much.
	attemptLease = 40 * time.Second
	// atOnce bounds the attempts under way on one channel.
	atOnce = 8
	// giveUp is how old a message may become before it is a dead letter.
	giveUp = 24 * time.Hour
	// notYet is how long a text that cannot be made yet is left alone.
	notYet = 250 * time.Millisecond
	// parting is what attempts under way get when the process ends.
	parting = 5 * time.Second
)

// backoff is the wait after each failed attempt; the last one repeats.
var backoff = []time.Duration{10 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute,
	30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour}

// asking is the wait before each question to the provider what became of a
// message; after the last it stays "sent".
var asking = []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute,
	15 * time.Minute, time.Hour, 6 * time.Hour}

// ErrNotYet is what a renderer answers while its text cannot be made: the
// message is tried again soon, without having spent an attempt.
var ErrNotYet = errors.New("the text cannot be made yet")

// Message is one mail or SMS to be sent.
type Message struct {
	Channel  string // ChannelMail or ChannelSMS
	To       string // a mail address or a number in E.164; "" is kept as no_address
	UserID   string // whom it is for
	Template string // names the registered renderer
	Data     map[string]string
	GrantID  string        // the grant it is about, or ""
	Delay    time.Duration // before the first attempt
}

// Rendering is what a renderer is told.
type Rendering struct {
	WorkspaceID, UserID, GrantID, MessageID string

	Channel   string
	Data      map[string]string
	CreatedAt time.Time
}

// Rendered is the text of a message. An SMS has no subject.
type Rendered struct{ Subject, Text string }

// Renderer makes the text of a message when it is first sent.
type Renderer func(ctx context.Context, m Rendering) (Rendered, error)

// Config is what an Outbox needs.
type Config struct {
	DB    *store.DB
	Keys  *keyring.Ring
	Mail  MailSender   // nil: no mail settings
	SMS   SMSSender    // nil: no SMS settings
	Clock *store.Clock // nil: the database's
	Log   *slog.Logger // nil: slog.Default()
}

// Outbox keeps messages and delivers them. It is safe for concurrent use.
type Outbox struct {
	db    *store.DB
	keys  *keyring.Ring
	mail  MailSender
	sms   SMSSender
	clock *store.Clock
	log   *slog.Logger
	wakes map[string]chan struct{} // by channel

	beat, patience time.Duration // beat and attemptTimeout

	mu        sync.RWMutex
	templates map[string]Renderer
}

// New makes an Outbox. It touches nothing yet.
func New(c Config) *Outbox {
	o := &Outbox{db: c.DB, keys: c.Keys, mail: c.Mail, sms: c.SMS, clock: c.Clock, log: c.Log,
		beat: beat, patience: attemptTimeout, templates: map[string]Renderer{},
		wakes: map[string]chan struct{}{ChannelMail: make(chan struct{}, 1), ChannelSMS: make(chan struct{}, 1)}}
	if o.clock == nil {
		o.clock = c.DB.Clock()
	}
	if o.log == nil {
		o.log = slog.Default()
	}
	return o
}

// Register names the renderer of a template, before Run.
func (o *Outbox) Register(template string, render Renderer) {
	o.mu.Lock()
	o.templates[template] = render
	o.mu.Unlock()
}

// Enqueue adds messages in the caller's transaction; their first attempt begins
// once it has committed. A message without an address, or on a channel without
// settings, is kept in the state that says so. It never fails for a reason that
// lies in a message.
func (o *Outbox) Enqueue(tx *store.Tx, msgs ...Message) error {
	for _, m := range msgs {
		id := identity.NewID(identity.MessageID)
		data, err := o.seal(id, content{Data: m.Data})
		if err != nil {
			return err
		}
		state, failure := o.firstState(m)
		err = tx.InsertMessage(store.InsertMessageParams{ID: id, UserID: m.UserID, Channel: m.Channel, Recipient: m.To,
			Template: m.Template, Data: data, GrantID: m.GrantID, State: state, Failure: failure,
			NextAt: tx.Now().Add(m.Delay).UnixMicro()})
		if err != nil {
			return fmt.Errorf("couldn't enqueue a message: %w", err)
		}
		if state == Queued {
			tx.After(func() { o.wake(m.Channel) })
		}
	}
	return nil
}

func (o *Outbox) firstState(m Message) (state, failure string) {
	switch {
	case m.To == "":
		return NoAddress, ""
	case m.Channel == ChannelMail && o.mail == nil:
		return Failed, "no mail settings"
	case m.Channel == ChannelSMS && o.sms == nil:
		return Failed, "no SMS settings"
	case m.Channel != ChannelMail && m.Channel != ChannelSMS:
		return Failed, "no such channel"
	}
	return Queued, ""
}

func (o *Outbox) wake(channel string) {
	select {
	case o.wakes[channel] <- struct{}{}:
	default: // awake already
	}
}

// Health is how delivery is doing.
type Health struct {
	Mail, SMS bool  // there are settings
	Retrying  int64 // waiting after a failed attempt
	Failed    int64 // given up in the last 24 hours
}

// Health asks the database.
func (o *Outbox) Health(ctx context.Context) (Health, error) {
	h := Health{Mail: o.mail != nil, SMS: o.sms != nil}
	err := o.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		var err error
		if h.Retrying, err = tx.QueuedCount(); err != nil {
			return err
		}
		h.Failed, err = tx.UndeliveredCount(tx.Now().Add(-giveUp).UnixMicro())
		return err
	})
	if err != nil {
		return Health{}, fmt.Errorf("couldn't count messages: %w", err)
	}
	return h, nil
}

// content is what a row's data holds once it is opened: what the renderer
// needs, and after the first attempt's rendering the text.
type content struct {
	Data     map[string]string `json:"data,omitempty"`
	Rendered *Rendered         `json:"rendered,omitempty"`
}

func (o *Outbox) seal(id string, c content) ([]byte, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("couldn't write a message's data: %w", err)
	}
	sealed, err := o.keys.Seal("message", "data", id, plain)
	if err != nil {
		return nil, fmt.Errorf("couldn't seal a message's data: %w", err)
	}
	return sealed, nil
}

func (o *Outbox) open(m store.Message) (content, error) {
	plain, err := o.keys.Open("message", "data", m.ID, m.Data)
	if err != nil {
		return content{}, fmt.Errorf("couldn't open a message's data: %w", err)
	}
	var c content
	if err := json.Unmarshal(plain, &c); err != nil {
		return content{}, fmt.Errorf("couldn't read a message's data: %w", err)
	}
	return c, nil
}

// failedEvent is recorded with every dead letter.
func failedEvent(m store.Message, purpose string) audit.Event {
	return audit.Event{Type: "message.failed", Outcome: audit.Failure, User: m.UserID, Grant: m.GrantID, Purpose: purpose,
		Detail: audit.Detail{"message_id": m.ID, "channel": m.Channel, "template": m.Template, "attempts": m.Attempts}}
}
