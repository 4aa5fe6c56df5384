package directory_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/store"
)

func TestF20NobodyIsSilencedBeforehand(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx, who := context.Background(), c.admin()
		second, reviewer, nurse, bystander := c.Add(identity.Admin), c.Add(identity.PrivacyReviewer), c.Add(identity.Nurse), c.Add(identity.Nurse)
		recipients := func() string {
			t.Helper()
			var out []string
			ok(t, c.DB.Read(ctx, c.Workspace.ID, func(tx *store.Tx) error {
				all, err := directory.Recipients(tx, nurse.ID)
				for _, r := range all {
					slices.Sort(r.Mail)
					out = append(out, fmt.Sprint(map[string]string{c.Admin.ID: "first", second.ID: "second", reviewer.ID: "reviewer", nurse.ID: "nurse", bystander.ID: "bystander"}[r.UserID],
						" as ", r.Kind, " ", len(r.Mail), "+", len(r.Phone)))
				}
				return err
			}))
			slices.Sort(out)
			return strings.Join(out, ", ")
		}
		want(t, "at first", recipients(), "first as administrator 1+1, nurse as subject 1+0, reviewer as reviewer 1+0, second as administrator 1+0")

		// An administrator who is about to misuse emergency access: the other one
		// is moved to new addresses, demoted, and the reviewer disabled.
		for _, change := range []struct {
			id     string
			change directory.Change
		}{
			{second.ID, directory.Change{Phone: ptr("+442079460105"), Email: ptr("moved@hope.example")}},
			{second.ID, directory.Change{Phone: ptr("+442079460106")}},
			{second.ID, directory.Change{Role: ptr(identity.Nurse)}},
			{reviewer.ID, directory.Change{Disabled: ptr(true)}},
			{nurse.ID, directory.Change{Email: ptr("moved2@hope.example")}},
		} {
			_, err := c.Directory.UpdateUser(ctx, who, c.Workspace.ID, change.id, change.change)
			ok(t, err)
		}
		want(t, "after it", recipients(), "first as administrator 1+1, nurse as subject 2+0, reviewer as reviewer 1+0, second as administrator 2+2")
		c.Advance(7*day - time.Minute)
		want(t, "for a week", recipients(), "first as administrator 1+1, nurse as subject 2+0, reviewer as reviewer 1+0, second as administrator 2+2")
		c.Advance(2 * time.Minute)
		want(t, "and no longer", recipients(), "first as administrator 1+1, nurse as subject 1+0")
	})
}

func TestF20AReviewerWhoBecomesANurseIsToldForAWeek(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		reviewer := c.Add(identity.PrivacyReviewer)
		kinds := func() (out []string) {
			ok(t, c.DB.Read(context.Background(), c.Workspace.ID, func(tx *store.Tx) error {
				all, err := directory.Recipients(tx, "")
				for _, r := range all {
					out = append(out, r.Kind)
				}
				return err
			}))
			slices.Sort(out)
			return out
		}
		both, one := []string{directory.Administrator, directory.Reviewer}, []string{directory.Administrator}
		for _, role := range []identity.Role{identity.Nurse, identity.Doctor} { // the second change gives no more time
			_, err := c.update(reviewer.ID, directory.Change{Role: &role})
			ok(t, err)
			if got := kinds(); !slices.Equal(got, both) {
				t.Errorf("told: %v", got)
			}
			c.Advance(4 * day)
		}
		if got := kinds(); !slices.Equal(got, one) {
			t.Errorf("told after eight days: %v", got)
		}
	})
}

func TestMessagesSayWhatToDo(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		name := strings.Repeat("Very Long ", 11) + "Name"
		templates := map[string]bool{ // also by SMS
			"claim_link": false, "claim_voided": false, "claim_reissued": true, "recover_admin": true, "restored": false, "pin_changed": true,
			"key_rotated": true, "key_exposed": true, "pin_stopped": true, "recovery_codes": true,
		}
		ok(t, c.DB.Workspace(context.Background(), audit.By{Actor: audit.ActorCLI}, c.Workspace.ID, func(tx *store.Tx) error {
			for template, sms := range templates {
				all := []notify.Message{{Channel: "mail", To: template + "@hope.example", Template: template, Data: map[string]string{"name": name, "url": "http://clinic.example/x"}}}
				if sms {
					all = append(all, notify.Message{Channel: "sms", To: "+442079460101", Template: template, Data: map[string]string{"name": name}})
				}
				if err := c.Outbox.Enqueue(tx, all...); err != nil {
					return err
				}
			}
			_, err := tx.Record(audit.Event{Type: "user.update", Outcome: audit.Success})
			return err
		}))
		c.Deliver()
		want(t, "mails", len(c.Sent.Mails()), len(templates))
		for _, m := range c.Sent.Mails() {
			if m.Subject == "" || strings.Contains(m.Subject+m.Text, "%") || len(m.Text) < 80 || !strings.HasSuffix(m.Text, "\n") {
				t.Errorf("%s: %q %q", m.To, m.Subject, m.Text)
			}
			if (m.To == "claim_link@hope.example") != strings.Contains(m.Text, "http://clinic.example/x") {
				t.Errorf("%s: %q", m.To, m.Text)
			}
			if !strings.Contains(m.Subject+m.Text, name) {
				t.Errorf("%s does not say whose: %q", m.To, m.Text)
			}
		}
		want(t, "SMS", len(c.Sent.SMS()), 7)
		for _, m := range c.Sent.SMS() {
			if m.Text == "" || len(m.Text) > 160 || m.Text != notify.GSM7(m.Text) || strings.Contains(m.Text, "%") || !strings.HasPrefix(m.Text, "Mitral: ") {
				t.Errorf("SMS: %q", m.Text)
			}
		}
	})
}
