package notify

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/store"
)

// maxShown bounds what a Demo keeps.
const maxShown = 500

// Shown is a message that was shown instead of sent.
type Shown struct {
	ID      string // unique within the process
	Channel string
	To      string
	Subject string
	Text    string
	At      time.Time
}

// Demo takes mail and SMS and keeps the last 500 in memory, for the demo's
// outbox page. Nothing leaves the machine. It is safe for concurrent use.
type Demo struct {
	clock *store.Clock

	mu    sync.Mutex
	count int
	shown []Shown // oldest first
}

// NewDemo makes an empty one.
func NewDemo(clock *store.Clock) *Demo { return &Demo{clock: clock} }

// SendMail keeps a mail.
func (d *Demo) SendMail(_ context.Context, m Mail) error {
	d.keep(Shown{Channel: ChannelMail, To: m.To, Subject: m.Subject, Text: m.Text})
	return nil
}

// SendSMS keeps a text message.
func (d *Demo) SendSMS(_ context.Context, s SMS) (receipt string, err error) {
	return d.keep(Shown{Channel: ChannelSMS, To: s.To, Text: s.Text}), nil
}

// StatusSMS says that every message has arrived.
func (*Demo) StatusSMS(context.Context, string) (SMSState, error) { return SMSDelivered, nil }

// Messages returns what is kept, newest first.
func (d *Demo) Messages() []Shown {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Shown, 0, len(d.shown))
	for i := len(d.shown) - 1; i >= 0; i-- {
		out = append(out, d.shown[i])
	}
	return out
}

func (d *Demo) keep(s Shown) (id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	s.ID, s.At = "demo-"+strconv.Itoa(d.count), d.clock.Now()
	d.shown = append(d.shown, s)
	if len(d.shown) > maxShown {
		d.shown = append(d.shown[:0], d.shown[len(d.shown)-maxShown:]...)
	}
	return s.ID
}
