package notify

import (
	"context"
	"errors"
	"net"
	"time"
)

// Mail is one mail as it leaves, to one address.
type Mail struct {
	// ID is the message's own id. It becomes the Message-ID, so that a mail
	// which was sent twice because an answer was lost can be recognised.
	ID      string
	To      string // one bare address
	Subject string
	Text    string // UTF-8; lines are never wrapped or re-encoded where that can be helped
	At      time.Time
}

// SMS is one text message as it leaves, to one number.
type SMS struct {
	To   string // E.164
	Text string // see GSM7 and FitSMS
}

// MailSender hands a mail to the next server. A nil error means that server
// has taken it over; any other is a *DeliveryError.
type MailSender interface {
	SendMail(ctx context.Context, m Mail) error
}

// SMSSender hands a text message to a provider and returns the provider's
// receipt, with which the provider can be asked what became of it. Any error is
// a *DeliveryError.
type SMSSender interface {
	SendSMS(ctx context.Context, s SMS) (receipt string, err error)
}

// DeliveryError says why a message was not taken over. Its text is safe to
// store and to show: it is made of our own words and the peer's codes. What the
// peer wrote is left out, because servers repeat what they refuse, and that can
// be an address, a number or a sign-in link.
type DeliveryError struct {
	Reason string
	// Permanent means that trying again is pointless: the peer refused this
	// message or this recipient. A peer that cannot be reached, or that refuses
	// us, is not permanent: an operator can mend that.
	Permanent bool
	// RetryAfter is how long the peer asks us to wait; 0 if it does not say.
	RetryAfter time.Duration
}

func (e *DeliveryError) Error() string { return e.Reason }

func temporary(reason string) *DeliveryError { return &DeliveryError{Reason: reason} }

func permanent(reason string) *DeliveryError { return &DeliveryError{Reason: reason, Permanent: true} }

// outOfTime returns the error of a peer that was too slow, or of a caller who
// stopped waiting; nil when err is something else.
func outOfTime(ctx context.Context, err error, peer string) *DeliveryError {
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return temporary("we stopped before " + peer + " had answered")
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return temporary(peer + " did not answer in time")
	}
	return nil
}
