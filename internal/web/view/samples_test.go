package view_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/mitral-health/mitral/internal/identity"
	. "github.com/mitral-health/mitral/internal/web/view"
)

var (
	nairobi = time.FixedZone("EAT", 3*60*60)
	now     = time.Date(2026, time.November, 24, 14, 2, 30, 0, nairobi)
	grace   = &Person{Name: "Grace Okafor", Role: identity.Admin, Class: identity.Administration}
	nadia   = &Person{Name: "Nadia Rahman", Role: identity.Nurse, Class: identity.Clinical}
)

func frame(p *Person) Frame {
	return Frame{Nonce: "bm9uY2U", Now: now, Workspace: "Hope Clinic", Device: "Shared PC · Exam Room 2", Person: p}
}

func minutesAgo(n int) time.Time { return now.Add(-time.Duration(n) * time.Minute) }

const (
	sampleKey     = "DXBD-YXZ5-FXW0-DB"
	sampleAddress = "https://auth.hope.example/signin"
	sampleNote    = "auth.hope.example/log/1\n48112\nq3Bm0W1Jc1yH0mJt0b0Qw8v7Zb1rZs7m0Yw3q1yH0mI=\n\n— auth.hope.example/log/1 q3Bm0W1Jc1yH0mJt0b0Qw8v7Zb1rZs7m0Yw3q1yH0mJt0b0Qw8v7Zb1rZs7m0Yw3q1yH0mJt0b0Qw8v7Zb1rZs7m0Yw3q1yH0mI=\n"
	sampleLogKey  = "auth.hope.example/log/1+ab12cd34+AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh"
)

func codes(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("7K2Q-9M4X-TZ0%d-%02dHB", i%10, i)
	}
	return list
}

func sealed() []SealedCode {
	return []SealedCode{{"BG-A-01", "7K2Q9-M4XTZ", "Pharmacy safe"}, {"BG-A-02", "31VW8-0PDGH", "Front desk, locked drawer"}}
}

func phones() []Contact {
	return []Contact{{"Grace Okafor", "Administrator", "+254 711 555 0101"}, {"Omar Haddad", "Administrator", "+254 711 555 0102"}}
}

func roles() []Option {
	return []Option{{"nurse", "Nurse", ""}, {"doctor", "Doctor", ""}, {"staff", "Staff", ""}, {"admin", "Administrator", ""}, {"privacy_reviewer", "Privacy reviewer", ""}}
}

func events(n int) []Event {
	said := []Event{
		{Who: "Omar Haddad", Did: "ended emergency access", Link: Link{"BG-0042", GrantURL("grt_1")}, Detail: "After 29 minutes"},
		{Who: "Omar Haddad", Did: "opened emergency access", Link: Link{"BG-0042", GrantURL("grt_1")}, Detail: "Cannot sign in · Exam Room 2"},
		{Who: "Someone", Did: "gave a wrong PIN for Omar Haddad", Refused: true, Detail: "Exam Room 2 · 10.0.4.17"},
		{Who: "Nadia Rahman", Did: "unlocked with her PIN"},
		{Who: "Grace Okafor", Did: "added Omar Haddad as doctor", Link: Link{"Omar", PersonURL("usr_2")}},
		{Who: "Nadia Rahman", Did: "signed in with key and PIN", Detail: "Chrome, Windows"},
	}
	list := make([]Event, n)
	for i := range list {
		list[i] = said[i%len(said)]
		list[i].Index = int64(48112 - i)
		list[i].At = minutesAgo(i * 47)
	}
	return list
}

func sessions() []Session {
	return []Session{
		{ID: "ses_1", Place: "Exam Room 2, Chrome", State: "active", LastActive: now, Here: true},
		{ID: "ses_2", Place: "Ward PC 1, Firefox", State: "locked", LastActive: minutesAgo(40)},
		{ID: "ses_3", Place: "Front desk", State: "parked", LastActive: minutesAgo(300), Emergency: true},
	}
}

func told() []Told {
	return []Told{
		{"Grace Okafor", "sms", "+254 711 555 0101", "delivered", now},
		{"Grace Okafor", "mail", "grace@hope.example", "sent", now},
		{"Omar Haddad", "mail", "omar@hope.example", "queued", time.Time{}},
		{"Omar Haddad", "sms", "", "no_address", time.Time{}},
		{"Review board", "mail", "board@hope.example", "failed", now},
	}
}

func readiness() Readiness {
	return Readiness{[]Light{
		{"Two administrators", Good, "Grace Okafor and Omar Haddad.", Link{}},
		{"Sealed codes", Good, "Two, in two places.", Link{}},
		{"Someone to review", Warn, "Nobody yet. It may be someone outside the clinic.", Link{"Add one", PageNewPerson}},
		{"Messages", Bad, "Mail is not set up: nobody is told of an emergency by mail.", Link{"How to", PageHealth}},
		{"Drill", Warn, "None in 90 days. It takes a minute.", Link{"Start", PageEmergency + "?drill=1"}},
	}}
}

func grants() []GrantRow {
	return []GrantRow{
		{ID: "grt_1", Ref: "BG-0042", Subject: "Omar Haddad", Category: "cannot_sign_in", StartedAt: minutesAgo(19), State: "active", Review: "none", Left: 41*time.Minute + 7*time.Second, Unacknowledged: true},
		{ID: "grt_2", Ref: "BG-0041", Subject: "Nadia Rahman", Category: "patient_emergency", StartedAt: minutesAgo(3000), State: "ended", Review: "awaiting_review", DueAt: minutesAgo(-1200)},
		{ID: "grt_3", Ref: "BG-0040", Subject: "Omar Haddad", Category: "system_outage", StartedAt: minutesAgo(90000), State: "expired", Review: "reviewed"},
		{ID: "grt_4", Ref: "BG-0039", Subject: "Nadia Rahman", Category: "other", StartedAt: minutesAgo(120000), State: "ended", Review: "reviewed", Drill: true},
	}
}

func delivery(channel string) Delivery {
	d := Delivery{Frame: frame(grace), ID: "usr_2", Name: "Omar Haddad", Email: "omar@hope.example", Channel: channel, ClaimCode: "402913", ExpiresAt: now.Add(72 * time.Hour)}
	if channel != "mail" {
		d.ClaimURL = "https://auth.hope.example/claim/kq3nbm0w1jc1yh0mjt0b0qw8v7zb1rzs7m0yw3q1yh0mjt0b0qw8"
	}
	return d
}

func person() PersonView {
	return PersonView{
		Frame: frame(grace), Person: PersonRow{"usr_2", "Omar Haddad", "omar@hope.example", identity.Doctor, "active", now},
		Phone: "+254 711 555 0102", Roles: roles(), KeyMade: minutesAgo(100000), PINChanged: minutesAgo(90000),
		ClaimUntil: now.Add(20 * time.Hour), Sessions: sessions(), Activity: events(6), Mail: true,
	}
}

func story() Story {
	g := grants()[0]
	g.State, g.Review = "ended", "awaiting_review"
	return Story{
		Frame: frame(grace), Row: g, Invoker: "Omar Haddad", Place: "Exam Room 2", Address: "10.0.4.17",
		Reason: "Chest pain, phone with authenticator broken", EndedAt: minutesAgo(-10), Kind: "self",
		NormalPath: []Light{{Name: "Key + PIN", Tone: Good, Text: "Working"}, {Name: "Mail", Tone: Bad, Text: "Down since 13:40"}},
		Patients:   []string{"P-1042", "P-0977"}, Told: told(),
		Timeline: []Moment{{minutesAgo(19), "Omar Haddad opened emergency access.", true}, {minutesAgo(19), "Grace Okafor was told by text message.", false}, {minutesAgo(16), "Grace Okafor opened this page.", false}, {minutesAgo(2), "Omar Haddad ended it.", true}},
		Notes:    []StoryNote{{"Omar Haddad", minutesAgo(1), "Patient stable, handed to the ward. My phone broke this morning."}},
		Earlier:  1, MayAcknowledge: true, MayStop: true, MayNote: true, MayReview: true,
		Fixes: []Option{{"factor", "Add a second factor for Omar Haddad", ""}, {"reset_pin", "Reset a PIN", ""}},
		Index: 48090, Checkpoint: sampleNote,
	}
}

func policy(tab string) Policy {
	return Policy{
		Frame: frame(grace), Tab: tab, MayEdit: true, ETag: `"14"`,
		Document: "{\n  \"methods\": [\"key-pin\", \"passkey\", \"email\"],\n  \"roles\": {\n    \"nurse\": {\"class\": \"clinical\", \"mfa\": \"required\", \"idle\": \"15m\"}\n  }\n}\n",
		Sections: []PolicySection{
			{"roles", "Roles", "How long a screen stays open, and what each role may do.", []PolicyRow{{"Nurse", "Locks after 15 minutes, ends after 12 hours"}, {"Administrator", "Locks after 60 minutes, ends after 12 hours"}}},
			{"sign-in", "Sign-in", "Ways in.", []PolicyRow{{"Ways in", "Key + PIN, passkey, mailed link"}}},
			{"break-glass", "Break-glass", "The way in when nothing else works.", []PolicyRow{{"Window", "60 minutes"}}},
			{"step-up", "Asked again", "Acts that ask who is there.", []PolicyRow{{"Export", "Every time"}}},
		},
	}
}

func emergency(own bool) Emergency {
	v := Emergency{Frame: frame(nil), Workspace: "hope-clinic", Known: []string{"nadia@hope.example", "omar@hope.example"}, IdempotencyKey: "idk", Phones: phones()}
	if own {
		v.Own = &Authority{Name: "Grace Okafor", Locked: true, People: []Option{{"usr_2", "Omar Haddad", ""}, {"usr_3", "Nadia Rahman", ""}}}
	}
	return v
}

func grant() Grant {
	return Grant{
		Frame: frame(nadia), ID: "grt_1", Ref: "BG-0042", Subject: "Omar Haddad", Invoker: "Grace Okafor", Category: "cannot_sign_in",
		Reason: "Chest pain, phone with authenticator broken", StartedAt: now, ExpiresAt: now.Add(time.Hour), Left: time.Hour,
		PickupCode: "7K2Q-9M4X", PickupMinutes: 5, Told: told(), Phones: phones(), Patients: []string{"P-1042"},
		Index: 48090, Checkpoint: sampleNote, Work: Link{"Open the patient chart", PageChart}, MayEnd: true, Holder: true,
	}
}

// sample is one page with made-up content, and a text that shows it was filled.
type sample struct {
	name string
	page templ.Component
	says string
}

func samples() []sample {
	inGrant := frame(nadia)
	inGrant.Alarm = &Alarm{ID: "grt_1", Ref: "BG-0042", Who: "Nadia Rahman", Category: "patient_emergency", Left: 41*time.Minute + 7*time.Second, MayEnd: true}
	noticed := frame(grace)
	noticed.Notice = Notice{Tone: Good, Title: "Saved.", Text: "It holds at once."}
	noticed.Standing = []Notice{{Tone: Bad, Title: "Nobody was reached about BG-0042.", Text: "Phone Omar Haddad.", Link: Link{"See it", GrantURL("grt_1")}}}
	demo := frame(nil)
	demo.Demo, demo.Device = true, ""
	bare := Frame{Nonce: "bm9uY2U", Now: now}

	return []sample{
		{"signin", SignInPage(SignIn{Frame: frame(nil), KeyPIN: true, CallbackURL: "/demo/chart"}), `name="identifier"`},
		{"signin-other", SignInPage(SignIn{Frame: demo, KeyPIN: true, NotResumed: true, Mail: true, Outage: "Google is not reachable since 07:52.", Methods: []Method{{"Google", "/api/v1/auth/signin/google", []Hidden{{"csrfToken", "x"}}}, {"Microsoft", "/api/v1/auth/signin/microsoft-entra-id", nil}}}), "Google is not reachable"},
		{"signin-throttled", SignInPage(SignIn{Frame: frame(nil), KeyPIN: true, Identifier: "nadia@hope.example", RetryAfter: 12}), `data-left="12"`},
		{"signin-pin", SignInPage(SignIn{Frame: frame(nil), KeyPIN: true, Identifier: "nadia@hope.example", Held: "sealed"}), `name="held"`},
		{"signin-refused", SignInPage(SignIn{Frame: frame(nil), KeyPIN: true, Identifier: "nadia@hope.example", Held: "sealed", Errors: FieldErrors{"": Refused}}), "That did not match"},
		{"lock", LockPage(LockScreen{Frame: frame(nil), Name: "Nadia Rahman", LockedAt: minutesAgo(11), KeptUntil: minutesAgo(-400), Device: "Shared PC: your work is kept; another person’s PIN closes it.", CallbackURL: "/demo/chart"}), "Nadia, enter your PIN"},
		{"lock-wrong", LockPage(LockScreen{Frame: frame(nil), Name: "Nadia Rahman", LockedAt: minutesAgo(11), KeptUntil: minutesAgo(-400), TriesLeft: 1, Errors: FieldErrors{"pin": "That is not the PIN."}}), "One try left"},
		{"challenge", ChallengePage(Challenge{Frame: frame(nil), Name: "Nadia Rahman", TOTP: true, Recovery: true}), `name="code"`},
		{"nextstep-pin", NextStepPage(NextStep{Frame: frame(nil), Name: "Nadia Rahman", PIN: true}), `name="new_pin"`},
		{"nextstep", NextStepPage(NextStep{Frame: frame(nil), Name: "Nadia Rahman", Methods: []string{"a passkey", "a code from an app"}}), "A passkey"},
		{"checkmail", CheckMailPage(CheckMail{Frame: frame(nil), Address: "nadia@hope.example", Minutes: 10}), "10 minutes"},
		{"stepup", StepUpPage(StepUp{Frame: frame(grace), Act: "reissue the key of Omar Haddad", Action: PostPerson("usr_2", "claims"), Carry: []Hidden{{"channel", "letter"}}, Errors: FieldErrors{"pin": "That is not your PIN. 3 tries left."}}), `value="letter"`},

		{"setup-clinic", SetupClinicPage(SetupClinic{Frame: bare, Token: "t", TimeZones: []string{"Africa/Nairobi", "Europe/London"}, NoPasskeys: true}), "Passkeys are off"},
		{"setup-you", SetupYouPage(SetupYou{Frame: frame(nil), Errors: FieldErrors{"pin": "Too easy to guess: choose another.", "phone": "Start with + and the country code."}}), "Too easy to guess"},
		{"setup-sheet", SetupSheetPage(SetupSheet{Frame: frame(nil), Name: "Grace Okafor", Identifier: "grace@hope.example", Address: sampleAddress, Key: sampleKey, RecoveryCodes: codes(10), Sealed: sealed(), ReplaceBy: now.AddDate(0, 0, 180), VerifierKey: sampleLogKey, Phones: phones()}), `name="kept"`},
		{"setup-people", SetupPeoplePage(SetupPeople{Frame: frame(nil), Roles: roles()}), `name="skip"`},
		{"setup-done", SetupDonePage(SetupDone{Frame: frame(nil), Readiness: readiness(), Next: Link{"Sign in", PageSignIn}}), "2 of 5"},

		{"claim", ClaimPage(Claim{Frame: frame(nil), Token: "tok", Initials: "OH", NewPIN: true}), `action="/api/v1/pages/claim/tok"`},
		{"claim-wrong", ClaimPage(Claim{Frame: frame(nil), Token: "tok", Initials: "OH", TriesLeft: 3, Errors: FieldErrors{"code": "That is not the code."}}), "3 tries left"},
		{"claim-key", KeyOncePage(KeyOnce{Frame: frame(nil), Action: PostClaimSaved("tok"), Name: "Omar Haddad", Identifier: "omar@hope.example", Address: sampleAddress, Key: sampleKey, RecoveryCodes: codes(10)}), `data-key="DB"`},
		{"claim-recovery", RecoverySheetPage(RecoverySheet{Frame: frame(nil), Name: "Omar Haddad", Identifier: "omar@hope.example", Address: sampleAddress, Codes: codes(10), Next: Link{"Go to sign-in", PageSignIn}}), "7K2Q-9M4X-TZ09-09HB"},

		{"emergency-own", EmergencyPage(emergency(true)), `value="own"`},
		{"emergency-sealed", EmergencyPage(emergency(false)), `name="sealed_code"`},
		{"emergency-drill", EmergencyPage(Emergency{Frame: frame(nil), Drill: true, Category: "patient_emergency", Reason: "no", Errors: FieldErrors{"reason": "Say what is happening, in two words or more.", "patient_ref": "Give a reference, or tick that the patient is not identified yet."}}), "Drill: no patient access"},
		{"emergency-open", GrantPage(grant()), "7K2Q"},
		{"emergency-unreached", GrantPage(Grant{Frame: inGrant, ID: "grt_1", Ref: "BG-0042", Subject: "Nadia Rahman", Invoker: "Sealed code BG-A-01", Category: "patient_emergency", Reason: "Collapsed in the waiting room", ExpiresAt: now.Add(time.Hour), Left: 41*time.Minute + 7*time.Second, Claimed: true, Unreached: true, Phones: phones(), Index: -1, Receipt: "receipt", Work: Link{"Go on working", PageChart}, Holder: true, MayEnd: true}), "Nobody has been reached"},
		{"emergency-over", GrantOverPage(GrantOver{Frame: frame(nadia), ID: "grt_1", Ref: "BG-0042", StartedAt: minutesAgo(29), EndedAt: now, State: "ended", MayNote: true, NoteBy: now.Add(24 * time.Hour), Next: Link{"Sign in", PageSignIn}}), "29 minutes"},

		{"account", AccountPage(Account{Frame: inGrant, Identifier: "nadia@hope.example", ConfirmedAt: minutesAgo(3), KeyMade: minutesAgo(200000), PINChanged: minutesAgo(61 * 24 * 60), PINDue: now.AddDate(0, 0, 29), CodesLeft: 8, CodesTotal: 10, Sessions: sessions(), Activity: events(8), Errors: FieldErrors{"current_pin": "That is not your PIN now. 4 tries left."}}), "61 days ago"},

		{"admin", OverviewPage(Overview{Frame: noticed, Readiness: readiness(), Open: grants()[:1], Waiting: grants()[1:2], Latest: events(5)}), "Nobody was reached"},
		{"people", PeoplePage(People{Frame: frame(grace), People: []PersonRow{
			{"usr_1", "Grace Okafor", "grace@hope.example", identity.Admin, "active", now},
			{"usr_2", "Omar Haddad", "omar@hope.example", identity.Doctor, "invited", time.Time{}},
			{"usr_3", "Nadia Rahman", "nadia@hope.example", identity.Nurse, "paused", minutesAgo(1500)},
			{"usr_4", "Former colleague", "former@hope.example", identity.Staff, "disabled", minutesAgo(150000)},
		}, Older: "/admin/people?after=usr_4"}), "Former colleague"},
		{"people-none", PeoplePage(People{Frame: frame(grace), Query: "sam"}), "Nobody found"},
		{"person-new", NewPersonPage(NewPerson{Frame: frame(grace), Roles: roles(), Mail: true, Errors: FieldErrors{"email": "Someone here has this address already."}}), `name="channel"`},
		{"person", PersonPage(person()), "Omar has left"},
		{"delivery-mail", DeliveryPage(delivery("mail")), "is on its way to"},
		{"delivery-letter", DeliveryPage(delivery("letter")), "402913"},
		{"record", RecordPage(Record{Frame: frame(grace), Events: events(40), People: []Option{{"usr_2", "Omar Haddad", ""}}, Types: []Option{{"sign_in", "Sign-ins", ""}}, Older: "/admin/record?before=48062", Verified: Verified{Size: 48113, At: minutesAgo(5)}}), "all 48113 entries"},
		{"record-broken", RecordPage(Record{Frame: frame(grace), Verified: Verified{Size: 48113, At: now, Problem: "Entry 4711 is not what was signed."}}), "Entry 4711"},
		{"checkpoint", CheckpointPage(Checkpoint{Frame: frame(grace), Note: sampleNote, VerifierKeys: []string{sampleLogKey}}), "48112"},
		{"breakglass", BreakGlassPage(BreakGlass{Frame: frame(grace), Open: grants()[:1], Waiting: grants()[1:2], Done: grants()[2:]}), "BG-0039"},
		{"breakglass-none", BreakGlassPage(BreakGlass{Frame: frame(grace)}), "No emergency yet"},
		{"story", StoryPage(story()), "opened it for themselves"},
		{"sealed", SealedCodesPage(SealedCodes{Frame: frame(grace), Codes: []SealedRow{
			{"BG-A-01", "Pharmacy safe", "Grace Okafor", minutesAgo(9000), now.AddDate(0, 0, 170), "ready", Link{}},
			{"BG-A-02", "Front desk, locked drawer", "Grace Okafor", minutesAgo(900000), minutesAgo(60000), "ready", Link{}},
			{"BG-A-03", "Car", "Omar Haddad", minutesAgo(900000), minutesAgo(60000), "used", Link{"BG-0040", GrantURL("grt_3")}},
		}}), "Replace it"},
		{"sealed-none", SealedCodesPage(SealedCodes{Frame: frame(grace)}), "Make two now"},
		{"sealed-minted", SealedMintedPage(SealedMinted{Frame: frame(grace), Codes: sealed(), ReplaceBy: now.AddDate(0, 0, 180), Phones: phones()}), "7K2Q9"},
		{"policy", PolicyPage(policy("")), "Locks after 15 minutes"},
		{"policy-edit", PolicyPage(func() Policy {
			v := policy("document")
			v.Changes = []PolicyChange{{"Nurses lock after 30 minutes instead of 15.", true}, {"Doctors need a passkey.", false}}
			return v
		}()), "Yes, change it"},
		{"policy-wrong", PolicyPage(func() Policy {
			v := policy("document")
			v.Problems = []PolicyProblem{{"roles.nurse.idle", "must be between 1m and 24h"}}
			return v
		}()), "roles.nurse.idle"},
		{"health", HealthPage(Health{Frame: frame(grace), Readiness: readiness(), Checks: []HealthCheck{{"Mail", "Not set up.", "Set MITRAL_MAIL_URL and MITRAL_MAIL_FROM.", Bad}, {"Clock", "Steady.", "", Good}}, Version: "mitral 0.1.0"}), "MITRAL_MAIL_URL"},

		{"problem-404", ProblemPage(Problem{Frame: frame(nil), Status: 404}), "There is no such page"},
		{"problem-403", ProblemPage(Problem{Frame: frame(nadia), Status: 403}), "not for your role"},
		{"problem-410", ProblemPage(Problem{Frame: frame(nil), Status: 410}), "used up"},
		{"problem-421", ProblemPage(Problem{Frame: bare, Status: 421}), "Wrong address"},
		{"problem-429", ProblemPage(Problem{Frame: frame(nil), Status: 429, RetryAfter: 8, Retry: PageSignIn}), "8 seconds"},
		{"problem-503", ProblemPage(Problem{Frame: frame(nil), Status: 503, Paper: true, Phones: phones(), RetryAfter: 5, Retry: PageEmergency, Trace: "4bf92f3577b34da6"}), "Work on paper"},

		{"demo", DemoPage(DemoStart{Frame: demo, People: []DemoPerson{{"Grace Okafor", "Administrator", "grace@hope.example", sampleKey, "2580"}, {"Omar Haddad", "Doctor", "omar@hope.example", sampleKey, "7193"}, {"Nadia Rahman", "Nurse", "nadia@hope.example", sampleKey, "4826"}}}), "4826"},
		{"outbox", OutboxPage(Outbox{Frame: demo, Messages: []Message{{"sms", "+254 711 555 0101", "", "EMERGENCY ACCESS at Hope Clinic: O. Haddad, Exam Room 2, 14:02-15:02. Ref BG-0042.", now, "sent"}, {"mail", "grace@hope.example", "Emergency access BG-0042", strings.Repeat("Omar Haddad opened emergency access.\n", 3), minutesAgo(1), "sent"}}}), "Text message to"},
		{"gallery", GalleryPage(Gallery{Frame: demo}), "Every component"},
	}
}
