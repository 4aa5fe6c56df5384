package record

import (
	"fmt"
	"strings"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
)

// telling is how a type of event is told: done when it succeeded, refused when
// it did not. {who} acted, {whom} it is about (whoever acted, where nobody else
// is named), {why} is the reason of a refusal, {method} how it was proven,
// {from} the browser; other words in braces are members of the leaf.
type telling struct{ done, refused string }

var tellings = map[string]telling{
	"sign_in":           {"{who} signed in with {method}{from}", "A sign-in{as} with {method} was refused{why}{from}"},
	"sign_in.pause":     {"Key and PIN of {whom} pause for unknown browsers until {until}: too many wrong PINs", ""},
	"sign_in.throttled": {"", "A sign-in was put off{from}: too many failures from that network"},
	"sign_in.flood":     {"", "{count} more refused sign-ins from {ip_range} were counted together"},
	"sign_out":          {"{who} signed out{from}", ""},

	"session.lock":   {"The screen of {whom} was locked{because}", ""},
	"session.unlock": {"{who} unlocked the screen with {method}{from}", "Unlocking the screen of {whom} with {method} was refused{why}{from}"},
	"session.end":    {"The session of {whom} ended{because}", "Ending a session of {whom} was refused{why}"},
	"session.reuse":  {"", "A spent renewal token of {whom} came back{from}: the session was ended"},
	"session.park":   {"The session of {whom} was put aside{because}", ""},
	"session.rekey":  {"The session of {whom} got new secrets", ""},

	"step_up.confirm": {"{who} confirmed by {method} that it is them, for {action}", "A confirmation by {who} for {action} was refused{why}"},
	"step_up.spend":   {"", "{who} used a confirmation for something it was not made for: {action}"},

	"authz.check":   {"An application asked whether {who} may do {action}: {decision}", "An application asked whether {who} may do {action}: {decision}"},
	"authz.refused": {"", "{who} asked for {operation} and was refused{why}"},

	"claim.create":   {"{who} made a claim for {whom}, handed over by {channel}", "Making a claim for {whom} was refused{why}"},
	"claim.complete": {"{whom} took over the account{from}", "A claim for {whom} was refused{why}{from}"},
	"claim.void":     {"A claim for {whom} became void{because}", ""},

	"factor.pin_set":        {"A new PIN was set for {whom}", "Setting a new PIN for {whom} was refused{why}"},
	"factor.pin_stop":       {"The PIN of {whom} no longer counts: too many wrong ones", ""},
	"factor.key_issue":      {"{whom} got a new key", ""},
	"factor.key_rotate":     {"{whom} replaced the key", "Replacing the key of {whom} was refused{why}"},
	"factor.recovery_codes": {"{count} recovery codes were made for {whom}", ""},

	"user.create":       {"{who} added {whom} as {role}", "Adding somebody by {who} was refused{why}"},
	"user.update":       {"{who} changed the {changed} of {whom}", "Changing {whom} by {who} was refused{why}"},
	"user.disable":      {"{who} disabled {whom}", "Disabling {whom} by {who} was refused{why}"},
	"user.enable":       {"{who} enabled {whom} again", "Enabling {whom} by {who} was refused{why}"},
	"user.end_sessions": {"{who} signed {whom} out everywhere", ""},
	"user.role":         {"{who} made {whom} {role}, before that {was}", "Changing the role of {whom} by {who} was refused{why}"},

	"policy.change":    {"{who} changed the policy: version {rev}{loosens}", "Changing the policy by {who} was refused{why}"},
	"workspace.create": {"{who} made the workspace", ""},
	"device.register":  {"{who} made a browser a registered workstation", ""},
	"device.revoke":    {"{who} took a workstation off the list", ""},

	"break_glass.start":       {"{who} opened {drill}emergency access {ref}{for}: {category}", "Emergency access was refused{for}{why}"},
	"break_glass.end":         {"{who} ended emergency access {ref}", "Ending emergency access by {who} was refused{why}"},
	"break_glass.expire":      {"Emergency access {ref} of {whom} ran out", ""},
	"break_glass.pickup":      {"{whom} picked up emergency access {ref}{from}", "Picking up emergency access was refused{for}{why}"},
	"break_glass.attach":      {"{who} took up emergency access {ref}{for}", ""},
	"break_glass.take_up":     {"{whom} took up emergency access {ref}", ""},
	"break_glass.repeat":      {"{who} asked again and got the same answer", ""},
	"break_glass.acknowledge": {"{who} has seen emergency access {ref}", "Acknowledging emergency access by {who} was refused{why}"},
	"break_glass.note":        {"{who} added a note to emergency access {ref}", "A note by {who} was refused{why}"},
	"break_glass.review":      {"{who} reviewed emergency access {ref}: {verdict}", "A review by {who} was refused{why}"},
	"break_glass.patient":     {"{who} named a patient in emergency access {ref}", "Naming a patient by {who} was refused{why}"},
	"break_glass.codes_mint":  {"{who} made {count} sealed codes", "Making sealed codes by {who} was refused{why}"},
	"break_glass.pause":       {"Sealed codes pause for unknown browsers of one network: too many wrong ones", ""},
	"break_glass.undelivered": {"", "Nobody could be told of emergency access {ref}"},

	"audit.read":     {"{who} read the record", "{who} asked to read the record and was refused{why}"},
	"audit.export":   {"{who} exported the record as {format}", "{who} asked to export the record and was refused{why}"},
	"audit.key":      {"The record goes on under a new key", ""},
	"audit.restored": {"The database was restored, and a new record begun", ""},
	"audit.fork":     {"", "Somebody saw a record that this one does not contain"},
	"keys.rotate":    {"{who} replaced the {what} keys", ""},
	"backup.write":   {"{who} wrote a backup", ""},
	"message.failed": {"", "A message to {whom} by {channel} could not be delivered"},
	"clock.jump":     {"The server's clock was moved by {moved}", ""},
}

// words for members whose values are words of the API.
var words = map[string]string{
	"key-pin": "key and PIN", "pin": "PIN", "webauthn": "passkey", "passkey": "passkey", "totp": "authenticator code",
	"recovery_code": "recovery code", "sealed_code": "sealed code", "email": "mailed link", "google": "Google",
	"microsoft-entra-id": "Microsoft", "telegram": "Telegram", "saml": "single sign-on", "mail": "mail", "sms": "SMS",
	"letter": "letter", "screen": "screen", "permit": "yes", "deny": "no", "break_glass_possible": "only by emergency access",
	"patient_emergency": "patient emergency", "cannot_sign_in": "somebody could not sign in", "system_outage": "system outage",
	"role_too_small": "the role does not suffice", "cover_or_visiting": "cover or visiting", "other": "other reason",
	"wrong_pin": "wrong PIN", "wrong_key": "wrong key", "wrong_code": "wrong code",
	"user": "by hand", "idle": "nobody was there", "clock": "the server's clock had been set back", "restart": "the server had been restarted",
	"limit": "too many sessions were open", "other_person": "somebody else signed in there", "replaced": "they signed in there again",
	"absolute": "it had lasted as long as it may", "lock_expired": "nobody came back in time", "bg_end": "the emergency access was over",
	"sign_out": "they signed out", "user_disabled": "the account was disabled", "reuse": "a spent renewal token came back",
	"pin_exhausted": "five wrong PINs", "step_up": "they had to confirm first", "insufficient_user_authentication": "they had to confirm first",
	"forbidden": "it is not part of their role", "bg_forbidden_action": "not during emergency access",
	"user.create": "a new person", "user.update": "a change of a person", "user.list": "the list of people", "user.end_sessions": "a person to be signed out",
	"claim.create": "a claim", "policy.change": "a change of the policy", "pin.change": "a new PIN", "rotate_key": "a new key", "recovery_codes": "new recovery codes",
	"break_glass.codes": "new sealed codes", "break_glass.list": "the list of emergencies", "break_glass.review": "a verdict",
	"audit.read": "the record", "audit.export": "a copy of the record", "audit.checkpoint": "a checkpoint of the record",
}

func inWords(value string) string {
	if w, ok := words[value]; ok {
		return w
	}
	return strings.ReplaceAll(value, "_", " ")
}

// Sentence tells an event in plain English, without its time and without a full
// stop: "Nadia Rahman signed in with key and PIN from Chrome, Windows". names
// gives the name for a user id, or "" if it knows none.
func Sentence(e Entry, names func(id string) string) string {
	t, known := tellings[e.Type]
	if !known {
		subject, _, _ := strings.Cut(e.Type, ".")
		t, known = tellings[subject]
	}
	form := t.done
	if e.Outcome != audit.Success {
		form = t.refused
	}
	if strings.HasSuffix(e.Type, ".flood") && tellings[e.Type] == (telling{}) {
		form, known = "{count} more refusals from {ip_range} were counted together", true
	}
	if _, pending := e.Detail["pending"]; pending {
		form = "{who} gave {method} and was asked for more{from}"
	}
	if !known || form == "" {
		form = "{who}: " + strings.NewReplacer(".", ", ", "_", " ").Replace(e.Type)
		if e.Outcome != audit.Success {
			form += ", " + string(e.Outcome) + "{why}"
		}
	}
	sentence := strings.NewReplacer(replacements(e, names)...).Replace(form)
	for _, word := range []string{"somebody", "whoever"} {
		if strings.HasPrefix(sentence, word) {
			sentence = strings.ToUpper(word[:1]) + sentence[1:]
		}
	}
	if e.Grant != "" && !strings.HasPrefix(e.Type, "break_glass.") && e.Type != "message.failed" {
		sentence += " (emergency access)"
	}
	return sentence
}

// replacements are the words for what stands in braces. Values are put in once
// and never read as a form again.
func replacements(e Entry, names func(id string) string) []string {
	who := actorName(e.Actor, names)
	whom, as, forWhom := who, "", ""
	if e.User != "" {
		whom = personName(e.User, names)
		as = " as " + whom
		if e.User != e.Actor {
			forWhom = " for " + whom
		}
	}
	method := inWords(e.Method)
	if method == "" {
		method = "a proof"
	}
	pairs := []string{"{who}", who, "{whom}", whom, "{as}", as, "{for}", forWhom, "{method}", method}
	put := func(name, before, text string) {
		if text != "" {
			text = before + text
		}
		pairs = append(pairs, "{"+name+"}", text)
	}
	put("from", " from ", e.Client.UserAgent)
	reason := ""
	if e.Outcome != audit.Success || !strings.HasPrefix(e.Type, "break_glass.") { // there it is a person's own words
		reason, _ = e.Detail["reason"].(string)
	}
	put("why", ": ", inWords(reason))
	put("because", ": ", inWords(reason))
	pairs = append(pairs, "{drill}", ifTrue(e.Detail["drill"], "a drill of "), "{loosens}", ifTrue(e.Detail["loosens"], ", looser than before"))
	for name := range e.Detail {
		if text := inWords(detailText(e.Event, name, func(s string) string { return s })); text != "" {
			pairs = append(pairs, "{"+name+"}", text)
		}
	}
	if ms, ok := e.Detail["moved_ms"].(int64); ok {
		pairs = append(pairs, "{moved}", (time.Duration(ms) * time.Millisecond).String())
	}
	// What the leaf does not say.
	for _, name := range []string{"ref", "category", "verdict", "count", "format", "what", "action", "decision", "operation", "channel", "role",
		"was", "rev", "changed", "until", "moved", "ip_range"} {
		pairs = append(pairs, "{"+name+"}", missing[name])
	}
	return pairs
}

var missing = map[string]string{"ip_range": "many networks", "count": "some", "moved": "some time", "changed": "details", "category": "no category"}

func ifTrue(v any, text string) string {
	if yes, _ := v.(bool); yes {
		return text
	}
	return ""
}

func actorName(actor string, names func(id string) string) string {
	label, isCode := strings.CutPrefix(actor, audit.CodeActor(""))
	switch {
	case isCode:
		return fmt.Sprintf("whoever holds the sealed code %s", label)
	case actor == "":
		return "somebody unknown"
	case actor == audit.ActorCLI:
		return "somebody at the server"
	case actor == audit.ActorSystem:
		return "Mitral"
	}
	return personName(actor, names)
}

func personName(id string, names func(id string) string) string {
	if name := names(id); name != "" {
		return name
	}
	if strings.HasPrefix(id, identity.UserID+"_") {
		return "somebody no longer known"
	}
	return id
}
