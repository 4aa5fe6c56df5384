package directory

import (
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// The kinds of recipient.
const (
	Administrator = "administrator"
	Reviewer      = "reviewer"
	Subject       = "subject"
)

// Recipient is somebody who is told of an emergency, at today's addresses and
// those replaced within a week.
type Recipient struct {
	UserID, Name string
	Kind         string
	Mail, Phone  []string
}

// Recipients are all who are told of an emergency that is about a person: the
// administrators and reviewers, those of the last week included, and the
// person. Nobody is listed twice.
func Recipients(tx *store.Tx, subjectID string) ([]Recipient, error) {
	doc, _, err := document(tx)
	if err != nil {
		return nil, err
	}
	users, err := tx.Users()
	if err != nil {
		return nil, err
	}
	var out []Recipient
	for _, u := range users {
		rules, _ := doc.Role(identity.Role(u.Role))
		kind := ""
		switch {
		case u.DisabledAt == 0 && rules.Class == identity.Administration, u.AdminUntil > tx.Micros():
			kind = Administrator
		case u.DisabledAt == 0 && rules.Class == identity.Review, u.ReviewerUntil > tx.Micros():
			kind = Reviewer
		case u.ID == subjectID:
			kind = Subject
		default:
			continue
		}
		r := Recipient{UserID: u.ID, Name: u.Name, Kind: kind}
		if r.Mail, r.Phone, err = signin.Contacts(tx, u); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
