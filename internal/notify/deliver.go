package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/store"
)

// statusSender is an SMSSender that can be asked what became of a message.
type statusSender interface {
	StatusSMS(ctx context.Context, receipt string) (SMSState, error)
}

// errOvertaken rolls back what an attempt would settle after a later attempt
// has taken the message over.
var errOvertaken = errors.New("a later attempt has the message")

// Run delivers until ctx ends, and gives what is under way a few seconds more.
// Channels do not wait for each other, nor messages of one channel beyond a
// small number at once, and no attempt takes longer than half a minute.
func (o *Outbox) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(parting, stop) })()
	var loops sync.WaitGroup
	for channel := range o.wakes {
		loops.Go(func() { o.deliver(ctx, work, channel) })
	}
	if provider, ok := o.sms.(statusSender); ok {
		loops.Go(func() { o.follow(ctx, provider) })
	}
	loops.Wait()
	return nil
}

// deliver is the loop of one channel.
func (o *Outbox) deliver(ctx, work context.Context, channel string) {
	ticker := time.NewTicker(o.beat)
	defer ticker.Stop()
	slots := make(chan struct{}, atOnce)
	var attempts sync.WaitGroup
	defer attempts.Wait()
	for {
		due, err := o.due(ctx, channel, atOnce-len(slots))
		o.complain(ctx, err)
		for _, m := range due {
			m, err := o.claim(ctx, m)
			if errors.Is(err, store.ErrNoRows) {
				continue // another node was first
			}
			if err != nil {
				o.complain(ctx, err)
				break
			}
			slots <- struct{}{}
			attempts.Go(func() {
				o.attempt(work, m)
				<-slots
				o.wake(channel)
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-o.wakes[channel]:
		case <-ticker.C:
		}
	}
}

func (o *Outbox) due(ctx context.Context, channel string, count int) (due []store.Message, err error) {
	if count == 0 {
		return nil, nil
	}
	err = o.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
		due, err = tx.DueMessages(channel, int32(count))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't look for messages: %w", err)
	}
	return due, nil
}

// claim takes a due message for one attempt, on this node only.
func (o *Outbox) claim(ctx context.Context, m store.Message) (claimed store.Message, err error) {
	err = o.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		claimed, err = tx.ClaimMessage(m.ID, tx.Now().Add(attemptLease).UnixMicro(), m.Attempts)
		return err
	})
	if err != nil {
		return store.Message{}, fmt.Errorf("couldn't claim a message: %w", err)
	}
	return claimed, nil
}

// attempt sends a claimed message and settles what came of it.
func (o *Outbox) attempt(ctx context.Context, m store.Message) {
	cut, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	text, err := o.text(cut, &m)
	if errors.Is(err, errOvertaken) {
		return
	}
	if errors.Is(err, ErrNotYet) {
		o.settle(ctx, func(ctx context.Context) error { return o.postpone(ctx, m) })
		return
	}
	var receipt string
	if err == nil {
		receipt, err = o.send(cut, m, text)
	}
	if err == nil {
		o.settle(ctx, func(ctx context.Context) error { return o.sent(ctx, m, receipt) })
		return
	}
	var failure *DeliveryError
	if !errors.As(err, &failure) {
		o.log.ErrorContext(ctx, "a message could not be made", "message", m.ID, "template", m.Template, "error", err)
		failure = temporary("its text could not be made")
	}
	o.settle(ctx, func(ctx context.Context) error { return o.failed(ctx, m, failure) })
}

// text returns what the message says: what its first attempt rendered, which
// takes the place of the data.
func (o *Outbox) text(ctx context.Context, m *store.Message) (Rendered, error) {
	c, err := o.open(*m)
	if err != nil {
		return Rendered{}, err
	}
	if c.Rendered != nil {
		return *c.Rendered, nil
	}
	o.mu.RLock()
	render := o.templates[m.Template]
	o.mu.RUnlock()
	if render == nil {
		return Rendered{}, errors.New("nothing renders this template")
	}
	text, err := guarded(ctx, render, Rendering{WorkspaceID: m.WorkspaceID, UserID: m.UserID, GrantID: m.GrantID, MessageID: m.ID,
		Channel: m.Channel, Data: c.Data, CreatedAt: time.UnixMicro(m.CreatedAt).UTC()})
	if err != nil {
		return Rendered{}, err
	}
	sealed, err := o.seal(m.ID, content{Rendered: &text})
	if err != nil {
		return Rendered{}, err
	}
	err = o.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		return overtaken(tx.KeepMessageText(m.ID, sealed, m.Attempts))
	})
	if err != nil {
		return Rendered{}, err
	}
	m.Data = sealed
	return text, nil
}

// guarded keeps a renderer's panic from taking the process down.
func guarded(ctx context.Context, render Renderer, m Rendering) (text Rendered, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the renderer panicked: %v", p)
		}
	}()
	return render(ctx, m)
}

// send hands the message to its transport, and no longer waits for one that
// does not come back.
func (o *Outbox) send(ctx context.Context, m store.Message, text Rendered) (receipt string, err error) {
	type answer struct {
		receipt string
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		switch {
		case m.Channel == ChannelMail && o.mail != nil:
			a.err = o.mail.SendMail(ctx, Mail{ID: m.ID, To: m.Recipient, Subject: text.Subject, Text: text.Text, At: time.UnixMicro(m.CreatedAt).UTC()})
		case m.Channel == ChannelSMS && o.sms != nil:
			a.receipt, a.err = o.sms.SendSMS(ctx, SMS{To: m.Recipient, Text: text.Text})
		default: // it was enqueued by a node that has settings
			a.err = temporary("no " + m.Channel + " settings on this server")
		}
		done <- a
	}()
	select {
	case a := <-done:
		var known *DeliveryError
		if a.err != nil && !errors.As(a.err, &known) {
			return "", temporary("the transport failed")
		}
		return a.receipt, a.err
	case <-ctx.Done():
		return "", temporary("the transport did not answer in time")
	}
}

// settle writes what came of an attempt. While the database is away it tries
// for as long as the attempt's claim holds; after that the message is sent once
// more.
func (o *Outbox) settle(ctx context.Context, write func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptLease-attemptTimeout)
	defer cancel()
	for {
		err := write(ctx)
		if err == nil || errors.Is(err, errOvertaken) {
			return
		}
		o.complain(ctx, err)
		if o.clock.Sleep(ctx, time.Second) != nil {
			return
		}
	}
}

func (o *Outbox) postpone(ctx context.Context, m store.Message) error {
	err := o.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		return overtaken(tx.PostponeMessage(m.ID, tx.Now().Add(notYet).UnixMicro(), m.Attempts))
	})
	if err == nil {
		time.AfterFunc(notYet, func() { o.wake(m.Channel) })
	}
	return err
}

func (o *Outbox) sent(ctx context.Context, m store.Message, receipt string) error {
	_, asks := o.sms.(statusSender)
	return o.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		var next int64
		if receipt != "" && asks {
			next = tx.Now().Add(asking[0]).UnixMicro()
		}
		return overtaken(tx.SettleMessage(store.SettleMessageParams{ID: m.ID, Attempts: m.Attempts, State: Sent, SentAt: tx.Micros(),
			ProviderRef: receipt, NextAt: next, Data: []byte{}}))
	})
}

// failed plans the next attempt, or gives the message up and records that.
func (o *Outbox) failed(ctx context.Context, m store.Message, failure *DeliveryError) error {
	wait := max(backoff[min(int(m.Attempts), len(backoff))-1], failure.RetryAfter)
	next := o.clock.Now().Add(wait)
	settled := store.SettleMessageParams{ID: m.ID, Attempts: m.Attempts, State: Queued, Failure: failure.Reason, Data: m.Data}
	if !failure.Permanent && next.Before(time.UnixMicro(m.CreatedAt).Add(giveUp)) {
		return o.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
			settled.NextAt = next.UnixMicro()
			return overtaken(tx.SettleMessage(settled))
		})
	}
	settled.State, settled.Data = Failed, []byte{}
	return o.giveUp(ctx, m, func(tx *store.SystemTx) error {
		settled.NextAt = tx.Micros() // when it was given up
		return overtaken(tx.SettleMessage(settled))
	})
}

// giveUp settles a message as failed together with its event.
func (o *Outbox) giveUp(ctx context.Context, m store.Message, settle func(tx *store.SystemTx) error) error {
	return o.db.System(ctx, audit.By{Actor: audit.ActorSystem}, func(tx *store.SystemTx) error {
		if err := settle(tx); err != nil {
			return err
		}
		in := tx.Workspace(m.WorkspaceID)
		purpose, err := purposeOf(in, m.GrantID)
		if err != nil {
			return err
		}
		_, err = in.Record(failedEvent(m, purpose))
		return err
	})
}

// purposeOf is the purpose that events of a grant carry.
func purposeOf(tx *store.Tx, grantID string) (string, error) {
	if grantID == "" {
		return "", nil
	}
	g, err := tx.Grant(grantID)
	switch {
	case errors.Is(err, store.ErrNoRows) || err == nil && g.Drill != 0:
		return "", nil
	case err != nil:
		return "", fmt.Errorf("couldn't read a message's grant: %w", err)
	case g.Category == "patient_emergency":
		return "ETREAT", nil
	}
	return "BTG", nil
}

// follow asks the provider what became of the messages it took.
func (o *Outbox) follow(ctx context.Context, provider statusSender) {
	ticker := time.NewTicker(o.beat)
	defer ticker.Stop()
	for {
		var sent []store.Message
		err := o.db.ReadSystem(ctx, func(tx *store.SystemTx) error {
			var err error
			sent, err = tx.SentMessages(atOnce)
			return err
		})
		o.complain(ctx, err)
		var asked sync.WaitGroup
		for _, m := range sent {
			asked.Go(func() { o.complain(ctx, o.ask(ctx, provider, m)) })
		}
		asked.Wait()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// ask puts the question about one message, on one node only.
func (o *Outbox) ask(ctx context.Context, provider statusSender, m store.Message) error {
	err := o.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
		return overtaken(tx.ClaimSentMessage(m.ID, nextQuestion(m.SentAt, tx.Now()), m.NextAt))
	})
	if errors.Is(err, errOvertaken) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't claim a sent message: %w", err)
	}
	cut, cancel := context.WithTimeout(ctx, o.patience)
	defer cancel()
	state, err := provider.StatusSMS(cut, m.ProviderRef)
	switch {
	case err == nil && state == SMSDelivered:
		err = o.db.Upkeep(ctx, func(tx *store.UpkeepTx) error {
			return overtaken(tx.SettleSentMessage(m.ID, Delivered, ""))
		})
	case err == nil && state == SMSFailed:
		err = o.giveUp(ctx, m, func(tx *store.SystemTx) error {
			return overtaken(tx.SettleSentMessage(m.ID, Failed, "the SMS provider could not deliver it"))
		})
	default: // not known yet: it is asked again
		return nil
	}
	if err != nil && !errors.Is(err, errOvertaken) {
		return fmt.Errorf("couldn't settle a sent message: %w", err)
	}
	return nil
}

// nextQuestion is when a message sent then is asked about after now; 0: never.
func nextQuestion(sentAt int64, now time.Time) int64 {
	at := time.UnixMicro(sentAt)
	for _, wait := range asking {
		if at = at.Add(wait); at.After(now) {
			return at.UnixMicro()
		}
	}
	return 0
}

// overtaken turns a statement that met no row into errOvertaken.
func overtaken(rows int64, err error) error {
	if err == nil && rows == 0 {
		return errOvertaken
	}
	return err
}

func (o *Outbox) complain(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		o.log.ErrorContext(ctx, "messages are not delivered", "error", err)
	}
}
