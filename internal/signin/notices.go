package signin

import (
	"slices"
	"time"

	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/store"
)

// replacedFor is how long an address that was replaced is still written to: who
// takes an account over by changing it first is not alone in knowing.
const replacedFor = 7 * 24 * time.Hour

// Contacts are all of a person's contact points: today's, and those replaced
// within a week.
func Contacts(tx *store.Tx, u store.User) (mails, phones []string, err error) {
	old, err := tx.RecentContacts(u.ID, tx.Now().Add(-replacedFor).UnixMicro())
	if err != nil {
		return nil, nil, err
	}
	add := func(list []string, to string) []string {
		if to == "" || slices.Contains(list, to) {
			return list
		}
		return append(list, to)
	}
	mails, phones = add(nil, u.Email), add(nil, u.Phone)
	for _, c := range old {
		if c.Channel == notify.ChannelMail {
			mails = add(mails, c.Value)
		} else {
			phones = add(phones, c.Value)
		}
	}
	return mails, phones, nil
}

// Tell sends a notice about a person to every contact point of those who are
// told, once to each. The template's data is the person's name.
func (m *Machine) Tell(tx *store.Tx, about store.User, template string, told ...store.User) error {
	var all []notify.Message
	add := func(to store.User, channel string, addresses []string) {
		for _, address := range addresses {
			if slices.ContainsFunc(all, func(o notify.Message) bool { return o.To == address }) {
				continue
			}
			all = append(all, notify.Message{Channel: channel, To: address, UserID: to.ID, Template: template,
				Data: map[string]string{"name": about.Name}})
		}
	}
	for _, to := range told {
		mails, phones, err := Contacts(tx, to)
		if err != nil {
			return err
		}
		add(to, notify.ChannelMail, mails)
		add(to, notify.ChannelSMS, phones)
	}
	return m.outbox.Enqueue(tx, all...)
}

// tell sends a notice about a person's credentials to the person and, when
// somebody else seems to be at work, to the administrators.
func (m *Machine) tell(tx *store.Tx, userID, template string) error {
	user, err := tx.User(userID)
	if err != nil {
		return err
	}
	told := []store.User{user}
	if template == "key_exposed" || template == codePINStopped {
		admins, err := m.administrators(tx)
		if err != nil {
			return err
		}
		told = append(told, admins...)
	}
	return m.Tell(tx, user, template, told...)
}

func (m *Machine) administrators(tx *store.Tx) ([]store.User, error) {
	d, err := m.policyIn(tx)
	if err != nil {
		return nil, err
	}
	users, err := tx.Users()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(users, func(u store.User) bool {
		rules, ok := d.Role(identity.Role(u.Role))
		return !ok || rules.Class != identity.Administration || u.DisabledAt > 0
	}), nil
}
