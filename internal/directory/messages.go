package directory

import (
	"context"
	"strings"

	"github.com/mitral-health/mitral/internal/notify"
)

// notices are the messages about people's credentials. %s is the person's name;
// an SMS is the subject and the short text.
var notices = map[string]struct{ subject, text, short string }{
	"claim_link": {"Your sign-in for the clinic",
		"Hello %s,\n\nyour sign-in is ready. Open this address and type the six-digit code that you are given by another way:\n\n%url%\n\n" +
			"The address works once, for three days. If you did not expect this, tell your administrator.\n", ""},
	"claim_voided": {"A sign-in link was voided",
		"Somebody typed five wrong codes or PINs at the link you made for %s. It is void. Make a new one, and give the code by another way than the link.\n", ""},
	"claim_reissued": {"Your key was replaced",
		"Hello %s,\n\na new key was just made for you. The old one no longer works, and your open sessions are locked.\n\n" +
			"If this was not you, tell an administrator now: somebody else may have your sign-in.\n",
		"Mitral: a new key was made for %s. Not you? Tell an administrator now."},
	"recover_admin": {"Administrator recovery was started",
		"On the server itself, somebody started recovery for the administrator %s. They get a link that is good for one hour.\n\n" +
			"If nobody told you of this, find out now who has access to the server.\n",
		"Mitral: administrator recovery was started for %s on the server. Not expected? Find out who has access to it."},
	"restored": {"Mitral was restored from an older copy",
		"The server of %s was restored from an older copy. Everybody was signed out, and sealed codes, recovery codes and open links are spent.\n\n" +
			"Check who was disabled since that copy was made, and print new sealed codes. If nobody told you of this, find out who has access to the server.\n", ""},
	"recovery_codes": {"You have new recovery codes",
		"Hello %s,\n\nten new recovery codes were just made for you. The old ones no longer work. If this was not you, tell an administrator now.\n",
		"Mitral: %s has new recovery codes. Not you? Tell an administrator now."},
	"pin_changed": {"Your PIN was changed",
		"Hello %s,\n\nyour PIN was just changed. If this was not you, tell an administrator now.\n",
		"Mitral: the PIN of %s was changed. Not you? Tell an administrator now."},
	"key_rotated": {"You have a new key",
		"Hello %s,\n\nyou made yourself a new key. The old one stops soon. If this was not you, tell an administrator now.\n",
		"Mitral: %s has a new key. Not you? Tell an administrator now."},
	"key_exposed": {"Somebody has the key of %s",
		"Five wrong PINs were typed with the right key of %s, from a browser we do not know.\n\n" +
			"Somebody may have that key. Sign-in with it pauses there; known browsers and emergency access go on. Make a new key now.\n",
		"Mitral: wrong PINs with the right key of %s. Somebody may have it: make a new key."},
	"pin_stopped": {"Too many wrong PINs for %s",
		"Too many wrong PINs were typed for %s. On that workstation the PIN no longer unlocks or confirms.\n\n" +
			"A full sign-in there is needed, or a new PIN from an administrator.\n",
		"Mitral: too many wrong PINs for %s. Ask an administrator if this was not you."},
}

func (d *Directory) registerMessages() {
	for name, n := range notices {
		d.outbox.Register(name, func(_ context.Context, m notify.Rendering) (notify.Rendered, error) {
			if m.Channel == "sms" {
				return notify.Rendered{Text: notify.FitSMS(n.short, m.Data["name"])}, nil
			}
			return notify.Rendered{Subject: fill(n.subject, m.Data), Text: fill(n.text, m.Data)}, nil
		})
	}
}

func fill(text string, data map[string]string) string {
	return strings.NewReplacer("%s", data["name"], "%url%", data["url"]).Replace(text)
}
