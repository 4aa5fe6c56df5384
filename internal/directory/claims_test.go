package directory_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/directory"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/signin"
	"github.com/mitral-health/mitral/internal/store"
)

// newcomer adds somebody who has not claimed anything yet.
func (c clinic) newcomer() directory.User {
	c.t.Helper()
	u, err := c.add(nurse())
	ok(c.t, err)
	return u
}

func wrongCode(code identity.Secret) identity.Secret {
	if code == "000000" {
		return "000001"
	}
	return "000000"
}

func TestFirstClaim(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		u := c.newcomer()
		claim, err := c.Directory.NewClaim(ctx, c.admin(), c.Workspace.ID, u.ID, directory.NewClaim{Channel: "letter"})
		ok(t, err)
		want(t, "address", strings.HasPrefix(claim.URL, mitraltest.PublicURL+"/claim/"), true)
		want(t, "code", len(claim.Code), 6)
		want(t, "good for", claim.ExpiresAt.Sub(c.DB.Clock().Now()).Round(time.Minute), 72*time.Hour)
		want(t, "events", c.Count("claim.create", success, `"channel":"letter"`, `"kind":"first"`, `"actor":"`+c.Admin.ID, `"user_id":"`+u.ID), 1)
		token := mitraltest.ClaimToken(claim.URL)
		want(t, "secrets in the record", c.Count("claim.create", token.Reveal())+c.Count("claim.create", claim.Code.Reveal()), 0)

		b := c.NewDevice()
		v := b.Visit()
		got, err := c.Directory.CompleteClaim(ctx, v, token, "  "+claim.Code[:3]+"-"+claim.Code[3:], "8264")
		ok(t, err)
		want(t, "recovery codes", len(got.RecoveryCodes), 10)
		want(t, "address", got.Email, u.Email)
		want(t, "cookies: a claim signs nobody in", len(v.Cookies()), 0)
		p := mitraltest.Person{ID: u.ID, Email: u.Email, Role: u.Role, Key: got.Key, PIN: "8264"}
		ok(t, c.signIn(p))
		want(t, "events", c.Count("claim.complete", success, `"kind":"first"`, `"actor":"`+u.ID), 1)
		want(t, "PIN", c.Count("factor.pin_set", success, u.ID), 1)
		want(t, "key", c.Count("factor.key_issue", success, u.ID), 1)
		is, err := c.Directory.User(ctx, signin.CLI(), c.Workspace.ID, u.ID)
		ok(t, err)
		want(t, "claimed", is.ClaimedAt.IsZero(), false)

		_, err = c.Directory.CompleteClaim(ctx, b.Visit(), token, claim.Code, "8264")
		want(t, "kind", refused(t, err, "claim_over").Kind, identity.Gone)
		_, err = c.Directory.CompleteClaim(ctx, b.Visit(), identity.NewToken(), claim.Code, "8264")
		want(t, "kind", refused(t, err, "unknown_claim").Kind, identity.Unknown)
		_, err = c.Directory.Claim(ctx, token)
		refused(t, err, "claim_over")
		_, err = c.Directory.Claim(ctx, identity.NewToken())
		refused(t, err, "unknown_claim")
	})
}

func TestF47AClaimsAddressShowsWorkspaceAndInitialsAndSpendsNothing(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		u := c.newcomer()
		_, err := c.update(u.ID, directory.Change{Name: ptr("Ánna Maria de la Cruz")})
		ok(t, err)
		claim := c.onScreen(u.ID)
		before := len(c.Events())
		for range 20 { // scanners of mail follow links
			view, err := c.Directory.Claim(ctx, mitraltest.ClaimToken(claim.URL))
			ok(t, err)
			want(t, "seen", view, directory.ClaimView{Workspace: "Hope Clinic", Initials: "ÁMd", ExpiresAt: claim.ExpiresAt, SetsPIN: true, PINLength: 4})
		}
		want(t, "events", len(c.Events()), before)
		_, err = c.take(claim, claim.Code, "8264")
		ok(t, err)
		again := c.onScreen(u.ID)
		view, err := c.Directory.Claim(ctx, mitraltest.ClaimToken(again.URL))
		ok(t, err)
		want(t, "asks the PIN", view.Reissue && !view.SetsPIN, true)
	})
}

func TestAClaimRunsOutAndIsReplaced(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		u := c.newcomer()
		first := c.onScreen(u.ID)
		second := c.onScreen(u.ID)
		_, err := c.take(first, first.Code, "8264")
		want(t, "kind", refused(t, err, "claim_over").Kind, identity.Gone)
		if first.Code != second.Code { // once in a million
			_, err = c.take(second, first.Code, "8264") // a code opens its own link only
			refused(t, err, "wrong_code")
		}
		c.Advance(72*time.Hour - time.Second)
		_, err = c.Directory.Claim(context.Background(), mitraltest.ClaimToken(second.URL))
		ok(t, err)
		c.Advance(2 * time.Second)
		_, err = c.take(second, second.Code, "8264")
		refused(t, err, "claim_over")
		third := c.onScreen(u.ID)
		_, err = c.take(third, third.Code, "8264")
		ok(t, err)
	})
}

func TestClaimInput(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		u := c.newcomer()
		for _, in := range []directory.NewClaim{{Channel: "pigeon"}, {}} {
			_, err := c.claim(u.ID, in)
			field(t, err, "channel")
		}
		_, err := c.claim(u.ID, directory.NewClaim{Channel: "screen", Reset: []string{"role"}})
		field(t, err, "reset")
		claim := c.onScreen(u.ID)
		for range 5 { // none of these is a try
			for _, code := range []identity.Secret{"", "12345", "1234567", "12a456", "１２３４５６"} {
				_, err := c.take(claim, code, "8264")
				field(t, err, "claim_code")
			}
			for pin, code := range map[identity.Secret]string{"": "pin_format", "826": "pin_format", "82643": "pin_format", "826426": "pin_format", "1234": "pin_too_easy", "0102": "pin_too_easy"} {
				_, err := c.take(claim, claim.Code, pin)
				field(t, err, "pin")
				refused(t, err, code)
			}
		}
		_, err = c.take(claim, claim.Code, "8264")
		ok(t, err)
	})
}

func TestF23FiveWrongCodesVoidAClaim(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		u := c.newcomer()
		claim, err := c.Directory.NewClaim(ctx, c.admin(), c.Workspace.ID, u.ID, directory.NewClaim{Channel: "screen"})
		ok(t, err)
		for left := int64(4); left >= 0; left-- {
			_, err := c.take(claim, wrongCode(claim.Code), "8264")
			r := refused(t, err, "wrong_code")
			want(t, "kind", r.Kind, identity.Unauthenticated)
			want[any](t, "tries left", r.Extra["tries_left"], left)
		}
		_, err = c.take(claim, claim.Code, "8264")
		want(t, "kind", refused(t, err, "claim_over").Kind, identity.Gone)
		told(t, c.Told("claim_voided"), c.Admin.Email)
		want(t, "events", c.Count("claim.complete", denied, `"reason":"wrong_code"`, `"user_id":"`+u.ID), 5)

		// Four and the right one.
		claim = c.onScreen(u.ID)
		for range 4 {
			_, err := c.take(claim, wrongCode(claim.Code), "8264")
			refused(t, err, "wrong_code")
		}
		_, err = c.take(claim, claim.Code, "8264")
		ok(t, err)
		told(t, c.Told("claim_voided"), c.Admin.Email)

		// One that the operator made is the administrators' to hear of.
		claim = c.onScreen(u.ID)
		for range 5 {
			_, err := c.take(claim, wrongCode(claim.Code), "8264")
			refused(t, err, "wrong_code")
		}
		told(t, c.Told("claim_voided"), c.Admin.Email, c.Admin.Email)
	})
}

func TestF23LinkAndCodeGoByDifferentWays(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		u := c.newcomer()
		claim, err := c.Directory.NewClaim(context.Background(), c.admin(), c.Workspace.ID, u.ID, directory.NewClaim{Channel: "mail"})
		ok(t, err)
		want(t, "the address in the answer", claim.URL, "")
		c.Deliver()
		mails := c.Sent.Mails()
		want(t, "mails", len(mails), 1)
		want(t, "to", mails[0].To, u.Email)
		if strings.Contains(mails[0].Text+mails[0].Subject, claim.Code.Reveal()) {
			t.Error("the code is in the mail")
		}
		_, after, found := strings.Cut(mails[0].Text, mitraltest.PublicURL+"/claim/")
		want(t, "the address in the mail", found, true)
		token, _, _ := strings.Cut(after, "\n")
		got, err := c.Directory.CompleteClaim(context.Background(), c.NewDevice().Visit(), identity.Secret(token), claim.Code, "8264")
		ok(t, err)
		ok(t, c.signIn(mitraltest.Person{Email: u.Email, Key: got.Key, PIN: "8264"}))

		for _, channel := range []string{"letter", "screen"} {
			claim, err := c.claim(u.ID, directory.NewClaim{Channel: channel})
			ok(t, err)
			if claim.URL == "" || claim.Code == "" {
				t.Errorf("%s: %+v", channel, claim)
			}
		}
		want(t, "mails", len(c.Told("claim_link")), 1)
	})
}

func TestF23WrongCodesCountForTheirAddressRange(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		u := c.newcomer()
		b := c.NewDevice()
		b.IP = netip.MustParseAddr("192.0.2.7")
		take := func(claim directory.Claim, code identity.Secret) error {
			_, err := c.Directory.CompleteClaim(context.Background(), b.Visit(), mitraltest.ClaimToken(claim.URL), code, "8264")
			return err
		}
		for range 4 {
			claim := c.onScreen(u.ID)
			for range 5 {
				refused(t, take(claim, wrongCode(claim.Code)), "wrong_code")
			}
		}
		claim := c.onScreen(u.ID)
		r := refused(t, take(claim, claim.Code), "throttled")
		want(t, "Retry-After", r.RetryAfter, time.Second)
		_, err := c.take(claim, claim.Code, "8264") // from elsewhere
		ok(t, err)
		claim = c.onScreen(u.ID)
		c.Advance(time.Minute)
		ok(t, take(claim, claim.Code))
	})
}

func TestReissue(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		u := c.newcomer()
		claim := c.onScreen(u.ID)
		first, err := c.take(claim, claim.Code, "8264")
		ok(t, err)
		p := mitraltest.Person{ID: u.ID, Email: u.Email, Role: u.Role, Key: first.Key, PIN: "8264"}
		_, err = c.update(u.ID, directory.Change{Phone: ptr("+442079460103"), Email: ptr("new@hope.example")})
		ok(t, err)
		p.Email = "new@hope.example"
		b := c.NewDevice()
		b.SignIn(p)

		claim = c.onScreen(u.ID)
		want(t, "kind", c.Count("claim.create", `"kind":"reissue"`), 1)
		_, err = c.take(claim, claim.Code, wrongPIN)
		r := refused(t, err, "wrong_pin")
		want[any](t, "tries left", r.Extra["tries_left"], int64(4))
		want(t, "the old key meanwhile", c.signIn(p) == nil, true)
		got, err := c.take(claim, claim.Code, p.PIN)
		ok(t, err)
		want(t, "recovery codes: only what is named is set anew", len(got.RecoveryCodes), 0)
		refused(t, c.signIn(p), "invalid_credentials") // dead at once
		p.Key = got.Key
		ok(t, c.signIn(p))

		// Open work is locked, not lost.
		want(t, "session", c.state(b), session.Locked)
		who := b.Who()
		_, err = c.Signin.Unlock(ctx, who.Visit, who.Live, signin.UnlockInput{Method: "pin", PIN: p.PIN})
		ok(t, err)
		b.Keep(who.Visit)
		want(t, "session", c.state(b), session.Active)
		want(t, "events", c.Count("session.park", `"reason":"key_reissued"`), 2) // with the sign-in by the old key

		// F20: every contact point hears of it, the replaced ones too.
		told(t, c.Told("claim_reissued"), "new@hope.example", "nurse@hope.example", "+442079460103", "+442079460102")
		ok(t, c.DB.Read(ctx, c.Workspace.ID, func(tx *store.Tx) error {
			codes, err := tx.RecoveryCodes(u.ID)
			want(t, "recovery codes kept", len(codes), 10)
			return err
		}))
	})
}

func TestReissueWithANewPIN(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		p := c.Add(identity.Nurse)
		claim := c.onScreen(p.ID, "pin")
		_, err := c.take(claim, claim.Code, p.PIN)
		refused(t, err, "pin_used") // a new one is a new one
		got, err := c.take(claim, claim.Code, "7306")
		ok(t, err)
		p.Key = got.Key
		refused(t, c.signIn(p), "invalid_credentials")
		p.PIN = "7306"
		ok(t, c.signIn(p))
	})
}

func TestFiveWrongPINsVoidAReissue(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		p := c.Add(identity.Nurse)
		for range 2 {
			claim := c.onScreen(p.ID)
			for range 5 {
				_, err := c.take(claim, claim.Code, wrongPIN)
				refused(t, err, "wrong_pin")
			}
			_, err := c.take(claim, claim.Code, p.PIN)
			refused(t, err, "claim_over")
		}
		// They are in the person's ledger (F11): ten in a day, and on this way the
		// PIN counts for nothing any more. The claim is not spent by that.
		claim := c.onScreen(p.ID)
		_, err := c.take(claim, claim.Code, p.PIN)
		want(t, "kind", refused(t, err, "pin_stopped").Kind, identity.Forbidden)
		want(t, "in the record", c.Count("claim.complete", denied, `"reason":"pin_stopped"`), 1)
		ok(t, c.signIn(p))
		c.Advance(day + time.Second)
		_, err = c.take(claim, claim.Code, p.PIN)
		ok(t, err)
	})
}

func TestNoKeyWhereNobodyHasUseForOne(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		u := c.newcomer()
		set := func(fallback string) {
			// Such a workspace is only possible once other methods are.
			doc, rev, err := c.Directory.Policy(context.Background(), signin.CLI(), c.Workspace.ID)
			ok(t, err)
			doc.Methods, doc.Fallback.KeyPINWhenIDPDown = []string{policy.Passkey}, fallback
			ok(t, c.DB.Workspace(context.Background(), signin.CLI().By(), c.Workspace.ID, func(tx *store.Tx) error {
				if _, err := tx.TouchWorkspace(); err != nil {
					return err
				}
				if err := tx.InsertPolicy(store.InsertPolicyParams{Rev: rev + 1, Document: string(doc.JSON())}); err != nil {
					return err
				}
				_, err := tx.Record(audit.Event{Type: "policy.change", Outcome: audit.Success})
				return err
			}))
		}
		claim := c.onScreen(u.ID)
		set("off")
		n := clinic{c.Node(), t}
		got, err := n.Directory.CompleteClaim(context.Background(), c.NewDevice().VisitOn(n.Clinic), mitraltest.ClaimToken(claim.URL), claim.Code, "8264")
		ok(t, err)
		want(t, "key", got.Key, "")
		want(t, "recovery codes", len(got.RecoveryCodes), 10)
		claim = c.onScreen(u.ID)
		set("auto") // for an outage
		n = clinic{c.Node(), t}
		got, err = n.Directory.CompleteClaim(context.Background(), c.NewDevice().VisitOn(n.Clinic), mitraltest.ClaimToken(claim.URL), claim.Code, "8264")
		ok(t, err)
		if got.Key == "" {
			t.Error("no key for the fallback")
		}
	})
}

func TestRaceOfAClaim(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		u := c.newcomer()
		claim := c.onScreen(u.ID)
		nodes := [2]clinic{c, {c.Node(), t}}
		keys := make([]identity.Secret, many)
		race := func(claim directory.Claim, code identity.Secret) map[string]int {
			t.Helper()
			var visits [many]*session.Visit
			var weighed [many]directory.Weighed
			for i := range visits {
				var err error
				visits[i] = c.NewDevice().VisitOn(nodes[i%2].Clinic)
				weighed[i], err = nodes[i%2].Directory.Weigh(context.Background(), visits[i], mitraltest.ClaimToken(claim.URL), code, "8264")
				ok(t, err)
			}
			return codes(t, atOnce(many, func(i int) error {
				got, err := nodes[i%2].Directory.Decide(context.Background(), visits[i], weighed[i])
				keys[i] = got.Key
				return err
			}))
		}
		got := race(claim, claim.Code)
		want(t, "taken", got[""], 1)
		want(t, "over", got["claim_over"], many-1)
		given := 0
		for _, key := range keys {
			if key != "" {
				given++
				ok(t, c.signIn(mitraltest.Person{Email: u.Email, Key: key, PIN: "8264"}))
			}
		}
		want(t, "keys", given, 1)
		reached := c.Count("claim.complete", success) + c.Count("claim.complete", denied, `"reason":"claim_over"`)
		want(t, "reached the decision", reached, many)

		claim = c.onScreen(u.ID)
		got = race(claim, wrongCode(claim.Code))
		want(t, "wrong", got["wrong_code"], 5)
		want(t, "over", got["claim_over"], many-5)
		want(t, "counted", c.Count("claim.complete", denied, `"reason":"wrong_code"`), 5)
		want(t, "told", len(c.Told("claim_voided")), 1)
		_, err := c.take(claim, claim.Code, "8264")
		refused(t, err, "claim_over")

		// By the whole way, some are turned away before they are weighed.
		claim = c.onScreen(u.ID)
		got = codes(t, atOnce(many, func(int) error {
			_, err := c.take(claim, claim.Code, "8264")
			return err
		}))
		want(t, "taken", got[""], 1)
		want(t, "over", got["claim_over"], many-1)
	})
}

func TestF14OneOpenClaimAPerson(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		u := c.newcomer()
		nodes := [2]clinic{c, {c.Node(), t}}
		claims := make([]directory.Claim, 6)
		got := codes(t, atOnce(6, func(i int) (err error) {
			claims[i], err = nodes[i%2].claim(u.ID, directory.NewClaim{Channel: "screen"})
			return err
		}))
		want(t, "made", got[""], 6)
		good := 0
		for _, claim := range claims {
			if _, err := c.Directory.Claim(context.Background(), mitraltest.ClaimToken(claim.URL)); err == nil {
				good++
			}
		}
		want(t, "good ones", good, 1)
	})
}

func TestF21RecoverAdminIsAClaimThatEverybodyHearsOf(t *testing.T) {
	forEach(t, func(t *testing.T, c clinic) {
		ctx := context.Background()
		reviewer, second, p := c.Add(identity.PrivacyReviewer), c.Add(identity.Admin), c.Add(identity.Nurse)
		_, err := c.update(c.Admin.ID, directory.Change{Phone: ptr("+442079460109")})
		ok(t, err)
		b := c.NewDevice()
		b.SignIn(c.Admin)
		for address, code := range map[string]string{p.Email: "not_an_administrator", reviewer.Email: "not_an_administrator", "nobody@hope.example": "unknown_user"} {
			_, err := c.Directory.RecoverAdmin(ctx, c.Workspace.Slug, address)
			refused(t, err, code)
		}
		_, err = c.Directory.RecoverAdmin(ctx, "no-such", c.Admin.Email)
		refused(t, err, "unknown_workspace")
		told(t, c.Told("recover_admin"))

		claim, err := c.Directory.RecoverAdmin(ctx, c.Workspace.Slug, " ADMIN@hope.example")
		ok(t, err)
		told(t, c.Told("recover_admin"), c.Admin.Email, "+442079460101", "+442079460109", reviewer.Email, second.Email)
		want(t, "good for", claim.ExpiresAt.Sub(c.DB.Clock().Now()).Round(time.Minute), time.Hour)
		want(t, "events", c.Count("claim.create", success, `"actor":"cli"`, `"user_id":"`+c.Admin.ID, `"kind":"reissue"`), 1)
		want(t, "meanwhile", c.state(b), session.Active)
		c.Advance(time.Hour + time.Second)
		_, err = c.take(claim, claim.Code, "7306")
		refused(t, err, "claim_over")

		claim, err = c.Directory.RecoverAdmin(ctx, c.Workspace.Slug, c.Admin.Email)
		ok(t, err)
		v := c.NewDevice().Visit()
		got, err := c.Directory.CompleteClaim(ctx, v, mitraltest.ClaimToken(claim.URL), claim.Code, "7306")
		ok(t, err)
		want(t, "cookies: it is no session", len(v.Cookies()), 0)
		ok(t, c.signIn(mitraltest.Person{Email: c.Admin.Email, Key: got.Key, PIN: "7306"}))

		_, err = c.update(second.ID, directory.Change{Disabled: ptr(true)})
		ok(t, err)
		_, err = c.Directory.RecoverAdmin(ctx, c.Workspace.Slug, second.Email)
		refused(t, err, "not_an_administrator")
		// Sealed codes are no way round: none of them makes an administrator's claim.
		_, err = c.Directory.Claim(ctx, c.Setup.SealedCodes[0].Code)
		refused(t, err, "unknown_claim")
	})
}
