package web_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/web/view"
)

var grantID = regexp.MustCompile(`/api/v1/pages/emergency/([^/"]+)/end`)

// J7 a, from a locked workstation: the administrator's own PIN, once.
func TestEmergencyForOneself(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	b.submit(b.get("/account"), view.PostLock)
	p := b.get("/emergency?callbackUrl=%2Faccount").is(200).says("I am an administrator", "60 minutes")
	p = b.submit(p, view.PostEmergency, "authority", "own", "category", "patient_emergency", "reason", "Chest pain", "pin", "0000").is(401).says("That is not your PIN").hides("0000")
	p = b.submit(p, view.PostEmergency, "authority", "own", "category", "patient_emergency", "reason", "asdf", "pin", d.Admin.PIN.Reveal()).is(422).
		says("Say in a few words what happened", "Name the patient by the record's number")
	form := p.form(view.PostEmergency)
	if form.Get("reason") != "asdf" || form.Get("category") != "patient_emergency" || form.Get("pin") != "" {
		t.Errorf("after a refusal the form holds %v", form)
	}
	p = b.submit(p, view.PostEmergency, "authority", "own", "reason", "Chest pain, phone broken", "patient_ref", "P-1042").is(401).says("Type your PIN: it confirms that it is you")
	p = b.submit(p, view.PostEmergency, "authority", "own", "pin", d.Admin.PIN.Reveal()).is(200).at("/emergency")
	p.says("Emergency access is open", "BG-0001", "EMERGENCY ACCESS", "59:", "Chest pain, phone broken", "P-1042", "An Administrator", "+442079460101", "Go on working")
	if strings.Count(p.text, "Go on working") != 1 || !strings.Contains(p.text, `href="/account">Go on working`) {
		t.Error("the way back to work is not the one that was asked for")
	}
	id := grantID.FindStringSubmatch(p.text)[1]

	b.get("/account").says("EMERGENCY ACCESS", "BG-0001") // on every page
	b.get("/admin/people").is(403).says("Not in emergency access")
	b.post(view.PostCodes, url.Values{"count": {"2"}, "location": {"here"}}).is(403)
	p = b.get("/emergency")
	p = b.submit(p, view.PostGrant(id, "patients"), "patient_ref", strings.Repeat("x", 65)).is(422).says("at most 64 characters")
	p = b.submit(p, view.PostGrant(id, "patients"), "patient_ref", "P-0977").at("/emergency").says("Patient added", "P-0977")

	b.submit(p, view.PostGrant(id, "end")).is(200).says("Emergency access has ended", "Sign in, and finish your note").hides("EMERGENCY ACCESS")
	b.get("/account").at("/signin")
	b.signIn(d.Admin)
	b.get("/account").says("Finish your note on BG-0001")
	p = b.get("/emergency/" + id).is(200).says("Finish your emergency note")
	p = b.submit(p, view.PostGrant(id, "note"), "text", "").is(422)
	b.submit(p, view.PostGrant(id, "note"), "text", "His phone was broken; ECG and ward.").at("/account").says("Your note is saved").hides("Finish your note on")
	b.post(view.PostGrant(id, "end"), nil).is(409)
}

// J7 b: an administrator opens it for a clinician, who picks it up elsewhere.
func TestEmergencyForSomebodyElse(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(d.Admin)
	p := b.get("/emergency").says("A nurse")
	p = b.submit(p, view.PostEmergency, "authority", "own", "for", nurse.ID, "category", "cannot_sign_in", "reason", "Lost her key on the ward", "pin", d.Admin.PIN.Reveal()).is(200)
	p.says("Tell A this code", "5 minutes", "for A nurse, opened by An Administrator").hides("EMERGENCY ACCESS</b>")
	code := tags.ReplaceAllString(p.find(`(?s)<code class="key" id="pickup"[^>]*>(.*?)</code>`), "")
	b.get("/admin").is(200) // the administrator gets nothing
	b.submit(p, view.PostEmergency+"/"+grantID.FindStringSubmatch(p.text)[1]+"/end")

	b = d.signedIn(d.Admin)
	p = b.submit(b.get("/emergency"), view.PostEmergency, "authority", "own", "for", nurse.ID, "category", "cannot_sign_in", "reason", "Lost her key once more", "pin", d.Admin.PIN.Reveal()).is(200)
	old := code
	code = tags.ReplaceAllString(p.find(`(?s)<code class="key" id="pickup"[^>]*>(.*?)</code>`), "")
	id := grantID.FindStringSubmatch(p.text)[1]

	ward := d.browser()
	q := ward.get("/emergency").says("I have a pick-up code").hides("I am an administrator")
	q = ward.submit(q, view.PostPickup, "identifier", nurse.Email, "code", old, "pin", nurse.PIN.Reveal()).is(401).says("That code does not open anything here")
	if got := q.form(view.PostPickup).Get("identifier"); got != nurse.Email {
		t.Errorf("after a refusal the form holds %q", got)
	}
	q = ward.submit(q, view.PostPickup, "code", code, "pin", "").is(401).says("Type your PIN as well")
	ward.submit(q, view.PostPickup, "code", code, "pin", nurse.PIN.Reveal()).is(200).at("/emergency").says("Emergency access is open", "EMERGENCY ACCESS")
	ward.get("/account").says("EMERGENCY ACCESS")
	b.submit(b.get(view.GrantURL(id)), view.PostReview(id, "stop")).at(view.GrantURL(id)).says("Stopped")
	ward.get("/account").at("/signin")
}

// J7 c: the envelope, for somebody with a PIN, and for a visitor.
func TestEmergencyBySealedCode(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.browser()
	p := b.get("/emergency").is(200)
	wrong := identity.FormatCode(identity.NewCode(10))
	fields := []string{"who", "person", "subject", nurse.Email, "category", "cannot_sign_in", "reason", "Key lost, patient waits", "pin", nurse.PIN.Reveal()}
	p = b.submit(p, view.PostEmergency, append(fields, "sealed_code", wrong)...).is(401).says("That code does not open anything here").hides(wrong)
	d.Advance(2 * time.Second)
	p = b.submit(p, view.PostEmergency, append(fields, "sealed_code", d.Setup.SealedCodes[0].Code.Reveal(), "pin", "0000")...).is(401).says("That is not your PIN. 2 tries left")
	d.Advance(2 * time.Second)
	p = b.submit(p, view.PostEmergency, append(fields, "sealed_code", d.Setup.SealedCodes[0].Code.Reveal())...).is(200).at("/emergency")
	p.says("Emergency access is open", "opened by Sealed code BG-A-01", "Who was told")

	d.Advance(2 * time.Second)
	v := d.browser()
	q := v.get("/emergency")
	q = v.submit(q, view.PostEmergency, "who", "visiting", "sealed_code", d.Setup.SealedCodes[1].Code.Reveal(), "category", "cover_or_visiting", "reason", "Locum for tonight only").is(422).
		says("Write your full name", "Write your registration number")
	d.Advance(2 * time.Second)
	q = v.submit(q, view.PostEmergency, "visiting_name", "Sam Locum", "visiting_reg_no", "GMC 7654321", "sealed_code", d.Setup.SealedCodes[1].Code.Reveal()).is(200).at("/emergency").
		says("for Sam Locum", "EMERGENCY ACCESS")
	locked := v.submit(q, view.PostLock).says("enter your sealed code")
	locked = v.submit(locked, view.PostUnlock, "sealed_code", wrong).is(401).says("4 tries left").hides(wrong)
	v.submit(locked, view.PostUnlock, "sealed_code", d.Setup.SealedCodes[1].Code.Reveal()).is(200).says("EMERGENCY ACCESS")
	d.Advance(2 * time.Second)
	used := d.browser()
	used.submit(used.get("/emergency"), view.PostEmergency, append(fields, "sealed_code", d.Setup.SealedCodes[0].Code.Reveal())...).is(401)
	b.get("/emergency").is(200).says("BG-0001")
}

func TestEmergencyStrangersTakeTurns(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	fields := []string{"who", "visiting", "visiting_name", "Sam Locum", "visiting_reg_no", "1", "category", "cover_or_visiting", "reason", "Locum for tonight only",
		"sealed_code", identity.FormatCode(identity.NewCode(10))}
	one, two := d.browser(), d.browser()
	one.submit(one.get("/emergency"), view.PostEmergency, fields...).is(401)
	two.submit(two.get("/emergency"), view.PostEmergency, fields...).is(429).says("Somebody else is trying a code", "You can try again in 1 second")
}

func TestEmergencyDrillOpensNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	p := b.get("/emergency?drill=1").says("Drill: no patient access")
	d.Advance(24 * time.Second)
	b.submit(p, view.PostEmergency, "authority", "own", "category", "other", "reason", "We practise this every three months", "pin", d.Admin.PIN.Reveal()).is(200).
		says("you would now be in", "It took 24 seconds").hides("EMERGENCY ACCESS</b>")
	b.get("/admin").is(200).says("Practised within three months")
	b.get("/emergency").says("How do you open it?")

	v := d.browser()
	v.submit(v.get("/emergency?drill=1"), view.PostEmergency, "who", "visiting", "visiting_name", "Sam Locum", "visiting_reg_no", "1", "category", "cover_or_visiting",
		"reason", "Locum for tonight only", "sealed_code", d.Setup.SealedCodes[0].Code.Reveal()).is(200).says("you would now be in")
	v.get("/account").at("/signin")
	if n := d.events("break_glass.start", audit.Success); n != 2 {
		t.Errorf("%d drills are in the record, want 2", n)
	}
}

func TestEmergencyIsOneGrantHoweverOftenItIsPosted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(d.Admin)
	p := b.get("/emergency")
	form := p.form(view.PostEmergency)
	for name, value := range map[string]string{"authority": "own", "for": nurse.ID, "category": "cannot_sign_in", "reason": "Lost her key on the ward", "pin": d.Admin.PIN.Reveal()} {
		form.Set(name, value)
	}
	first := b.post(view.PostEmergency, form).is(200)
	again := b.post(view.PostEmergency, form).is(200)
	if grantID.FindStringSubmatch(first.text)[1] != grantID.FindStringSubmatch(again.text)[1] {
		t.Error("a repeated post opened another")
	}
	form.Set("idempotency_key", "another-key")
	b.post(view.PostEmergency, form).is(409).says("is open for this person already")
}

func TestEmergencyAuthorityIsAnAdministrators(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	nurse := d.Add(identity.Nurse)
	b := d.signedIn(nurse)
	p := b.get("/emergency").hides("I am an administrator", "A nurse</option>")
	b.submit(p, view.PostEmergency, "authority", "own", "category", "role_too_small", "reason", "I need the restricted record", "pin", nurse.PIN.Reveal()).is(403)
	out := d.browser()
	out.submit(out.get("/emergency"), view.PostEmergency, "authority", "own", "category", "other", "reason", "I want to look around in here", "pin", "8264").at("/signin")
	gone := d.Add(identity.Doctor)
	off := true
	_, err := d.Directory.UpdateUser(t.Context(), signin.CLI(), d.Workspace.ID, gone.ID, directory.Change{Disabled: &off})
	need(t, err)
	a := d.signedIn(d.Admin)
	q := a.get("/emergency").hides("A doctor")
	a.submit(q, view.PostEmergency, "authority", "own", "for", gone.ID, "category", "cannot_sign_in", "reason", "Lost the key on the ward", "pin", d.Admin.PIN.Reveal()).is(403).
		says("This person's account is switched off")
}

// J8 and the review: a story, "looks right", and a verdict by somebody who had
// no part in it.
func TestReview(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	reviewer, nurse := d.Add(identity.PrivacyReviewer), d.Add(identity.Nurse)
	b := d.signedIn(d.Admin)
	p := b.submit(b.get("/emergency"), view.PostEmergency, "authority", "own", "category", "role_too_small", "reason", "I need the restricted record", "pin", d.Admin.PIN.Reveal()).at("/emergency")
	id := grantID.FindStringSubmatch(p.text)[1]

	r := d.signedIn(reviewer)
	r.get("/admin/break-glass").says("Open now", "BG-0001", "Not seen yet")
	story := view.GrantURL(id)
	q := r.get(story).says("An Administrator opened it for themselves", "I need the restricted record", "Chrome, Linux", "opened emergency access BG-0001", "In the record, entry",
		"key and PIN would have worked", "The verdict comes after the end").light()
	q = r.submit(q, view.PostReview(id, "acknowledge")).at(story).says("It is recorded that you looked")
	if q.hasForm(view.PostReview(id, "acknowledge")) {
		t.Error("what was seen is asked for once more")
	}
	q = r.submit(q, view.PostReview(id, "note"), "text", "").is(422)
	q = r.submit(q, view.PostReview(id, "note"), "text", "I phoned the ward.").at(story).says("I phoned the ward.", "A privacy_reviewer")
	q = r.submit(q, view.PostReview(id, "stop")).is(200).says("To stop this emergency access, enter your PIN")
	q = r.submit(q, view.PostReview(id, "stop"), "pin", reviewer.PIN.Reveal()).at(story).says("Stopped", "revoked")
	b.get("/admin").at("/signin")

	q = r.submit(q, view.PostReview(id, "review"), "verdict", "appropriate_process_gap", "comment", "short", "fix", "").is(422).says("Say what would have made it unnecessary")
	q = r.submit(q, view.PostReview(id, "review"), "fix", "another role for them").is(422).says("Write at least a few words")
	if got := q.form(view.PostReview(id, "review")); got.Get("verdict") != "appropriate_process_gap" || got.Get("fix") != "another role for them" {
		t.Errorf("after a refusal the form holds %v", got)
	}
	q = r.submit(q, view.PostReview(id, "review"), "verdict", "needs_info", "comment", "Why not the usual way?").at(story).says("Your question is recorded", "Why not the usual way?")
	d.Advance(6 * time.Minute)
	q = r.submit(q, view.PostReview(id, "review"), "verdict", "appropriate_process_gap", "comment", "The role is too small.", "fix", "another role for them").is(200).says("To record your verdict, enter your PIN")
	r.submit(q, view.PostReview(id, "review"), "pin", reviewer.PIN.Reveal()).at(story).says("The verdict is recorded", "Appropriate, fix the cause", "The role is too small.", "another role for them")

	b.signIn(d.Admin)
	b.get(story).says("Appropriate, fix the cause").hides("Record the verdict")
	b.post(view.PostReview(id, "review"), url.Values{"verdict": {"appropriate"}, "comment": {"It was all right."}}).is(409)
	n := d.signedIn(nurse)
	n.get(story).is(403)
	n.get("/emergency/" + id).is(403)
	n.post(view.PostReview(id, "acknowledge"), nil).is(403)
}

func TestSealedCodesAreMadeAndShownOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	b := d.signedIn(d.Admin)
	p := b.get("/admin/sealed-codes").says("BG-A-01", "BG-A-02", "Ready").hides(d.Setup.SealedCodes[0].Code.Reveal())
	p = b.submit(p, view.PostCodes, "count", "11", "location", "").is(422).says("Make 1 to 10 codes at once", "Say where the letters will lie")
	p = b.submit(p, view.PostCodes, "count", "2", "location", "Pharmacy safe").is(200).says("To make 2 sealed codes, enter your PIN")
	p = b.submit(p, view.PostCodes, "pin", d.Admin.PIN.Reveal()).is(200).says("2 new sealed codes", "BG-A-03", "BG-A-04", "Pharmacy safe", "+442079460101")
	code := tags.ReplaceAllString(p.find(`(?s)<code class="key"[^>]*>(.*?)</code>`), "")
	b.get("/admin/sealed-codes").says("BG-A-03", "Pharmacy safe", "An Administrator").hides(code)
	v := d.browser()
	v.submit(v.get("/emergency"), view.PostEmergency, "who", "visiting", "visiting_name", "Sam Locum", "visiting_reg_no", "1", "category", "cover_or_visiting",
		"reason", "Locum for tonight only", "sealed_code", code).is(200).says("opened by Sealed code BG-A-03")
	b.get("/admin/sealed-codes").says("Used", "What for")
}
