package web

import (
	"net/http"

	"github.com/mitral-health/mitral/internal/web/view"
)

// notices are what a page says once about the form that led to it.
var notices = map[string]view.Notice{
	"pin_changed":     {Tone: view.Good, Title: "Your PIN is changed."},
	"key_kept":        {Tone: view.Good, Title: "Your new key is yours.", Text: "The old one stops by itself."},
	"claimed":         {Tone: view.Good, Title: "You have your key.", Text: "Sign in with it now: name, key, then your PIN."},
	"session_ended":   {Tone: view.Good, Title: "That session is ended."},
	"others_ended":    {Tone: view.Good, Title: "All your other sessions are ended."},
	"person_saved":    {Tone: view.Good, Title: "Saved."},
	"person_disabled": {Tone: view.Good, Title: "Disabled.", Text: "Every session of theirs ends within two seconds."},
	"person_enabled":  {Tone: view.Good, Title: "They can sign in again.", Text: "With the key and PIN they had, or make a new key below."},
	"person_out":      {Tone: view.Good, Title: "Signed out everywhere."},
	"grant_ended":     {Tone: view.Good, Title: "Emergency access is ended."},
	"patient_added":   {Tone: view.Good, Title: "Patient added."},
	"note_added":      {Tone: view.Good, Title: "Your note is saved."},
	"acknowledged":    {Tone: view.Good, Title: "Thank you.", Text: "It is recorded that you looked."},
	"grant_stopped":   {Tone: view.Good, Title: "Stopped.", Text: "Every session inside it ends within two seconds."},
	"reviewed":        {Tone: view.Good, Title: "The verdict is recorded."},
	"asked":           {Tone: view.Good, Title: "Your question is recorded.", Text: "They see it with the emergency."},
	"policy_changed":  {Tone: view.Good, Title: "The policy is changed.", Text: "It holds from now on, in open sessions too."},
	"codes_ready":     {Tone: view.Good, Title: "The sealed codes are ready.", Text: "Seal the letters and put them away."},
}

func (c *call) noticeCookie(word string, age int) *http.Cookie {
	name := "mitral-notice"
	if c.secure {
		name = "__Host-" + name
	}
	return &http.Cookie{Name: name, Value: word, Path: "/", MaxAge: age, HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode}
}

// leaveNotice has the next page say one of the notices.
func (c *call) leaveNotice(word string) { c.visit.SetCookie(c.noticeCookie(word, 60)) }

// takeNotice returns the notice that was left for this page, once.
func (c *call) takeNotice() view.Notice {
	word := c.visit.Cookie(c.noticeCookie("", 0).Name)
	if word != "" {
		c.visit.SetCookie(c.noticeCookie("", -1))
	}
	return notices[word]
}
