package web

import (
	"net/http"
	"strings"

	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/notify"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

// demoPage says who to be and what to try.
func (s *Web) demoPage(c *call) error {
	w, err := c.findWorkspace("")
	if err != nil {
		return err
	}
	c.space = w
	users, err := c.Directory.Users(c.ctx(), signin.CLI(), w.ID)
	if err != nil {
		return err
	}
	v := view.DemoStart{}
	for _, p := range s.Demo.People {
		v.People = append(v.People, view.DemoPerson{Name: nameAt(users, p[1]), Role: view.RoleName(identity.Role(p[0])), Identifier: p[1], Key: p[2], PIN: p[3]})
	}
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.DemoPage(v))
}

func nameAt(users []directory.User, email string) string {
	for _, u := range users {
		if strings.EqualFold(u.Email, email) {
			return u.Name
		}
	}
	return email
}

// maxOutbox keeps the page of messages under 60 kB.
const maxOutbox = 40

// outboxPage shows what would have been sent, newest first.
func (s *Web) outboxPage(c *call) error {
	w, err := c.findWorkspace("")
	if err != nil {
		return err
	}
	c.space = w
	v := view.Outbox{}
	var sent []notify.Shown
	if s.Demo.Sent != nil {
		sent = s.Demo.Sent()
	}
	for _, m := range sent[:min(len(sent), maxOutbox)] {
		v.Messages = append(v.Messages, view.Message{Channel: m.Channel, To: m.To, Subject: m.Subject, Text: m.Text, At: m.At, State: notify.Delivered})
	}
	v.Frame = c.frame()
	return c.show(http.StatusOK, view.OutboxPage(v))
}

// galleryPage shows every component in every state.
func (s *Web) galleryPage(c *call) error {
	return c.show(http.StatusOK, view.GalleryPage(view.Gallery{Frame: c.frame()}))
}
