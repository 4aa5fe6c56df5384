package breakglass_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/mitraltest"
	"github.com/mitral-health/mitral/internal/policy"
	"github.com/mitral-health/mitral/internal/signin"
)

func fine() breakglass.ReviewInput {
	return breakglass.ReviewInput{Verdict: breakglass.VerdictAppropriate, Comment: "Everything in order."}
}

// as is a person in a browser of their own, with a step-up for an action.
func (d *desk) as(p mitraltest.Person, action string) signin.Who {
	d.t.Helper()
	b := d.NewDevice()
	b.SignIn(p)
	if action == "" {
		return b.Who()
	}
	return b.Confirmed(p, action)
}

// over is a grant that has ended, opened by the administrator for a nurse.
func (d *desk) over(p mitraltest.Person) breakglass.Started {
	d.t.Helper()
	b := d.NewDevice()
	b.SignIn(d.Admin)
	s := d.open(b, b.Confirmed(d.Admin, stepUp), named(p))
	_, err := d.bg.End(context.Background(), b.Who(), s.ID)
	must(d.t, err)
	return s
}

// TestF20: nobody judges what they opened, used or made the code for; a verdict
// by somebody whom they made or changed counts as dependent; and nobody judges
// twice.
func TestF20VerdictsAreIndependent(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		nurse, reviewer, second := d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer), d.Add(identity.Admin)
		s := d.over(nurse)
		_, err := d.bg.Review(ctx, d.as(d.Admin, policy.ActReview), s.ID, fine()) // the invoker
		refused(t, err, identity.Conflict, "not_independent")
		_, err = d.bg.Review(ctx, d.as(nurse, ""), s.ID, fine()) // the subject
		refused(t, err, identity.Conflict, "not_independent")
		_, err = d.bg.Review(ctx, d.as(d.Add(identity.Nurse), ""), s.ID, fine())
		refused(t, err, identity.Forbidden, "forbidden")
		g, err := d.bg.Review(ctx, d.as(reviewer, policy.ActReview), s.ID, fine())
		must(t, err)
		if g.Review != breakglass.ReviewDone || g.Reviewer != reviewer.ID || slices.Contains(g.Flags, breakglass.FlagNoIndependent) {
			t.Errorf("the verdict: %+v", g)
		}
		e := d.last("break_glass.review")
		if e["actor"] != reviewer.ID || e["grant_id"] != s.ID || e["verdict"] != "appropriate" || strings.Contains(e["digest"].(string), "order") {
			t.Errorf("the event: %v", e)
		}
		_, err = d.bg.Review(ctx, d.as(second, policy.ActReview), s.ID, fine())
		refused(t, err, identity.Conflict, "already_reviewed")

		// Whoever minted the code is part of it, and so is an administrator as subject.
		codes, err := d.bg.MintCodes(ctx, d.as(second, policy.ActSealedCodes), 1, "pharmacy safe")
		must(t, err)
		ward := d.NewDevice()
		sealed := d.open(ward, stranger(ward), d.sealed(d.Admin, codes[0].Code))
		_, err = d.bg.Review(ctx, d.as(reviewer, policy.ActReview), sealed.ID, fine())
		refused(t, err, identity.Conflict, "still_open")
		_, err = d.bg.End(ctx, ward.Who(), sealed.ID)
		must(t, err)
		for _, p := range []mitraltest.Person{second, d.Admin} {
			_, err := d.bg.Review(ctx, d.as(p, policy.ActReview), sealed.ID, fine())
			refused(t, err, identity.Conflict, "not_independent")
		}
		_, err = d.bg.Review(ctx, d.as(reviewer, policy.ActReview), sealed.ID, fine())
		must(t, err)

		// A reviewer whom the invoker made within the month depends on them.
		for _, column := range []string{"created", "role_changed"} {
			d.exec("UPDATE users SET "+column+"_by = $1, "+column+"_at = $2 WHERE id = $3", d.Admin.ID, d.DB.Clock().Now().Add(-29*24*time.Hour).UnixMicro(), reviewer.ID)
			d.Advance(time.Minute)
			s := d.over(nurse)
			g, err := d.bg.Review(ctx, d.as(reviewer, policy.ActReview), s.ID, fine())
			must(t, err)
			if !slices.Contains(g.Flags, breakglass.FlagNoIndependent) {
				t.Errorf("%s by the invoker: %v", column, g.Flags)
			}
			d.exec("UPDATE users SET "+column+"_by = $1, "+column+"_at = $2 WHERE id = $3", d.Admin.ID, d.DB.Clock().Now().Add(-31*24*time.Hour).UnixMicro(), reviewer.ID)
			d.Advance(time.Minute)
			s = d.over(nurse)
			g, err = d.bg.Review(ctx, d.as(reviewer, policy.ActReview), s.ID, fine())
			must(t, err)
			if slices.Contains(g.Flags, breakglass.FlagNoIndependent) {
				t.Errorf("%s a month ago: %v", column, g.Flags)
			}
		}
		d.sane()
	})
}

// Where nobody but the people concerned could review, that is said, and taken
// back when somebody independent has.
func TestAClinicWithoutAnIndependentReviewer(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		s := d.over(nurse)
		if g := d.get(s.ID); !slices.Contains(g.Flags, breakglass.FlagNoIndependent) {
			t.Errorf("alone: %v", g.Flags)
		}
		reviewer := d.Add(identity.PrivacyReviewer)
		g, err := d.bg.Review(context.Background(), d.as(reviewer, policy.ActReview), s.ID, fine())
		must(t, err)
		if slices.Contains(g.Flags, breakglass.FlagNoIndependent) {
			t.Errorf("reviewed from outside: %v", g.Flags)
		}
		d.Advance(time.Minute)
		if g := d.get(d.over(nurse).ID); slices.Contains(g.Flags, breakglass.FlagNoIndependent) {
			t.Errorf("with a reviewer: %v", g.Flags)
		}
	})
}

func TestReviewRules(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		nurse, reviewer := d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer)
		s := d.over(nurse)
		b := d.NewDevice()
		b.SignIn(reviewer)
		who := b.Confirmed(reviewer, policy.ActReview)
		for _, tt := range []struct {
			in   breakglass.ReviewInput
			code string
		}{
			{breakglass.ReviewInput{Verdict: "good", Comment: "Everything in order."}, "verdict unknown"},
			{breakglass.ReviewInput{Verdict: breakglass.VerdictAppropriate, Comment: "Fine.    "}, "comment too_short"},
			{breakglass.ReviewInput{Verdict: breakglass.VerdictAppropriate, Comment: strings.Repeat("word ", 900)}, "comment too_long"},
			{breakglass.ReviewInput{Verdict: breakglass.VerdictProcessGap, Comment: "Everything in order.", Fix: "<b>"}, "fix invalid"},
		} {
			_, err := d.bg.Review(ctx, who, s.ID, tt.in)
			refused(t, err, identity.Invalid, tt.code)
		}
		_, err := d.bg.Review(ctx, who, "grt_none", fine())
		refused(t, err, identity.Unknown, "unknown_grant")

		// A question goes to subject and invoker, and their note answers it.
		asked := breakglass.ReviewInput{Verdict: breakglass.VerdictNeedsInfo, Comment: "Which patient was it?"}
		g, err := d.bg.Review(ctx, who, s.ID, asked)
		must(t, err)
		if g.Review != breakglass.ReviewAsked {
			t.Errorf("asked: %+v", g)
		}
		told := []string{}
		for _, m := range d.messages() {
			if m.Template == "break_glass_asked" {
				told = append(told, m.Channel+" "+m.UserID)
			}
		}
		slices.Sort(told)
		want := []string{"mail " + nurse.ID, "mail " + d.Admin.ID}
		slices.Sort(want)
		if !slices.Equal(told, want) {
			t.Errorf("asked: %v, want %v", told, want)
		}
		g, err = d.bg.Note(ctx, d.as(nurse, ""), s.ID, "P-1042, unconscious.")
		must(t, err)
		if g.Review != breakglass.ReviewAwaiting {
			t.Errorf("answered: %+v", g)
		}
		d.Advance(10 * time.Minute) // a review may be 300 s after the step-up, not later
		_, err = d.bg.Review(ctx, b.Who(), s.ID, asked)
		refused(t, err, identity.StepUpNeeded, "insufficient_user_authentication")
		_, err = d.bg.Review(ctx, b.Confirmed(reviewer, policy.ActReview), s.ID, asked)
		must(t, err)
		gap := breakglass.ReviewInput{Verdict: breakglass.VerdictProcessGap, Comment: "Only one factor on one phone.", Fix: "add a second factor"}
		g, err = d.bg.Review(ctx, b.Confirmed(reviewer, policy.ActReview), s.ID, gap)
		must(t, err)
		last := g.Entries[len(g.Entries)-1]
		if g.Review != breakglass.ReviewDone || last.Verdict != gap.Verdict || last.Fix != gap.Fix || last.Text != gap.Comment || last.Actor != reviewer.ID {
			t.Errorf("the verdict: %+v", g)
		}
		// Notes are added afterwards too; a verdict stays.
		g, err = d.bg.Note(ctx, d.as(nurse, ""), s.ID, "Second phone ordered.")
		must(t, err)
		if g.Review != breakglass.ReviewDone {
			t.Errorf("a later note: %+v", g)
		}
		d.sane()
	})
}

func TestTwoVerdictsAtOnceOneStands(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		nurse := d.Add(identity.Nurse)
		reviewers := []mitraltest.Person{d.Add(identity.PrivacyReviewer), d.Add(identity.PrivacyReviewer), d.Add(identity.PrivacyReviewer)}
		s := d.over(nurse)
		var whos []signin.Who
		for i := range 9 {
			whos = append(whos, d.as(reviewers[i%3], policy.ActReview))
		}
		var mu sync.Mutex
		stand, late := 0, 0
		race(len(whos), func(i int) {
			_, err := d.bg.Review(context.Background(), whos[i], s.ID, fine())
			mu.Lock()
			defer mu.Unlock()
			if r := refusalOf(err); err == nil {
				stand++
			} else if r != nil && r.Code == "already_reviewed" {
				late++
			} else {
				t.Errorf("verdict %d: %v", i, err)
			}
		})
		if g := d.get(s.ID); stand != 1 || late != 8 || len(g.Entries) != 1 {
			t.Errorf("%d stand, %d late: %+v", stand, late, g.Entries)
		}
	})
}

func TestAcknowledge(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		nurse, bystander, reviewer := d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		s := d.open(b, b.Confirmed(d.Admin, stepUp), named(nurse))
		_, err := d.bg.Acknowledge(ctx, d.as(bystander, ""), s.ID)
		refused(t, err, identity.Forbidden, "forbidden")
		for range 2 { // twice changes nothing
			g, err := d.bg.Acknowledge(ctx, b.Who(), s.ID)
			must(t, err)
			if g.AcknowledgedBy != d.Admin.ID || g.AcknowledgedAt == nil {
				t.Errorf("by the invoker: %+v", g)
			}
		}
		g, err := d.bg.Acknowledge(ctx, d.as(reviewer, ""), s.ID) // somebody else has seen it now
		must(t, err)
		if g.AcknowledgedBy != reviewer.ID {
			t.Errorf("by a reviewer: %+v", g)
		}
		g, err = d.bg.Acknowledge(ctx, b.Who(), s.ID)
		must(t, err)
		if g.AcknowledgedBy != reviewer.ID || len(d.events("break_glass.acknowledge")) != 3 { // one refused, two done
			t.Errorf("%+v, events %v", g, d.events("break_glass.acknowledge"))
		}
	})
}

func TestNotesAndPatients(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		nurse, bystander := d.Add(identity.Nurse), d.Add(identity.Nurse)
		ward := d.NewDevice()
		in := d.sealed(nurse, d.code(0))
		in.PatientRef = "P-1042"
		s := d.open(ward, stranger(ward), in)
		g, err := d.bg.AddPatient(ctx, ward.Who(), s.ID, " P-0977 ")
		must(t, err)
		if !slices.Equal(g.Patients, []string{"P-1042", "P-0977"}) {
			t.Errorf("patients: %v", g.Patients)
		}
		e := d.last("break_glass.patient")
		if e["grant_id"] != s.ID || e["actor"] != nurse.ID || strings.Contains(e["digest"].(string), "0977") {
			t.Errorf("the event: %v", e)
		}
		for ref, code := range map[string]string{"": "patient_ref missing", strings.Repeat("7", 65): "patient_ref too_long", "a\nb": "patient_ref invalid"} {
			_, err := d.bg.AddPatient(ctx, ward.Who(), s.ID, ref)
			refused(t, err, identity.Invalid, code)
		}
		_, err = d.bg.AddPatient(ctx, d.as(bystander, ""), s.ID, "P-1")
		refused(t, err, identity.Forbidden, "forbidden")
		_, err = d.bg.Note(ctx, d.as(bystander, ""), s.ID, "I saw it.")
		refused(t, err, identity.Forbidden, "forbidden")
		_, err = d.bg.Note(ctx, ward.Who(), s.ID, "  ")
		refused(t, err, identity.Invalid, "text too_short")
		_, err = d.bg.Note(ctx, ward.Who(), s.ID, "Patient stable now.")
		must(t, err)
		for _, e := range d.Events() {
			if strings.Contains(e.Leaf, "stable") || strings.Contains(e.Leaf, "P-1042") {
				t.Errorf("the record holds a text: %s", e.Leaf)
			}
		}
		_, err = d.bg.End(ctx, ward.Who(), s.ID)
		must(t, err)
		_, err = d.bg.AddPatient(ctx, d.as(nurse, ""), s.ID, "P-2")
		refused(t, err, identity.Conflict, "break_glass_over")
		g, err = d.bg.Note(ctx, d.as(nurse, ""), s.ID, "The key card was torn.")
		must(t, err)
		if n := len(g.Entries); n != 3 {
			t.Errorf("%d entries: %+v", n, g.Entries)
		}
	})
}

func TestWhoReadsWhat(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		nurse, bystander, reviewer, second := d.Add(identity.Nurse), d.Add(identity.Nurse), d.Add(identity.PrivacyReviewer), d.Add(identity.Admin)
		ward, office := d.NewDevice(), d.NewDevice()
		one := d.open(ward, stranger(ward), d.sealed(nurse, d.code(0)))
		office.SignIn(second)
		two := d.open(office, office.Confirmed(second, stepUp), emergency())
		for _, tt := range []struct {
			name string
			who  signin.Who
			want []string
		}{
			{"administrator", d.admin(), []string{two.ID, one.ID}},
			{"reviewer", d.as(reviewer, ""), []string{two.ID, one.ID}},
			{"holder", ward.Who(), []string{one.ID}},
			{"subject, signed in", d.as(nurse, ""), []string{one.ID}},
			{"administrator inside", office.Who(), []string{two.ID}},
			{"bystander", d.as(bystander, ""), nil},
		} {
			list, err := d.bg.List(ctx, tt.who)
			must(t, err)
			var got []string
			for _, g := range list {
				got = append(got, g.ID)
				if len(g.Notified) == 0 || g.RemainingS == 0 {
					t.Errorf("%s: %+v", tt.name, g)
				}
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s reads %v, want %v", tt.name, got, tt.want)
			}
			for _, id := range []string{one.ID, two.ID} {
				g, err := d.bg.Get(ctx, tt.who, id)
				if may := slices.Contains(tt.want, id); may != (err == nil) {
					t.Errorf("%s reading %s: %v", tt.name, id, err)
				} else if may && (g.ID != id || len(g.Timeline) == 0 || g.Timeline[0].Type != "break_glass.start" || g.Timeline[0].Event.ID == "") {
					t.Errorf("%s: %s, %d events", tt.name, g.ID, len(g.Timeline))
				}
			}
		}
		_, err := d.bg.Get(ctx, d.admin(), "grt_none")
		refused(t, err, identity.Unknown, "unknown_grant")
		_, err = d.bg.List(ctx, stranger(d.NewDevice()))
		refused(t, err, identity.Unauthenticated, "signed_out")
	})
}

func TestSealedCodesAreMintedAndInventoried(t *testing.T) {
	onEach(t, func(t *testing.T, d *desk) {
		ctx := context.Background()
		nurse, second := d.Add(identity.Nurse), d.Add(identity.Admin)
		b := d.NewDevice()
		b.SignIn(d.Admin)
		_, err := d.bg.MintCodes(ctx, b.Who(), 2, "pharmacy safe")
		refused(t, err, identity.StepUpNeeded, "insufficient_user_authentication")
		_, err = d.bg.MintCodes(ctx, d.as(nurse, ""), 2, "pharmacy safe")
		refused(t, err, identity.Forbidden, "forbidden")
		who := b.Confirmed(d.Admin, policy.ActSealedCodes)
		for _, tt := range []struct {
			n        int
			location string
			code     string
		}{{0, "safe", "count out_of_bounds"}, {11, "safe", "count out_of_bounds"}, {1, "", "location invalid"}, {1, strings.Repeat("x", 81), "location invalid"}} {
			_, err := d.bg.MintCodes(ctx, who, tt.n, tt.location)
			refused(t, err, identity.Invalid, tt.code)
		}
		codes, err := d.bg.MintCodes(ctx, who, 3, "pharmacy safe") // the token is unspent
		must(t, err)
		if len(codes) != 3 || codes[0].Label != "BG-A-03" || codes[2].Label != "BG-A-05" || codes[0].Location != "pharmacy safe" {
			t.Errorf("the codes: %+v", codes)
		}
		var told []string
		for _, m := range d.messages() {
			if m.Template == "break_glass_codes" && m.Channel == "mail" {
				told = append(told, m.UserID)
			}
		}
		if !slices.Equal(told, []string{second.ID}) {
			t.Errorf("told: %v", told)
		}
		if e := d.last("break_glass.codes_mint"); e["actor"] != d.Admin.ID || e["count"] != float64(3) {
			t.Errorf("the event: %v", e)
		}
		ward := d.NewDevice()
		s := d.open(ward, stranger(ward), d.sealed(nurse, codes[1].Code))
		list, err := d.bg.Codes(ctx, b.Who())
		must(t, err)
		if len(list) != 5 {
			t.Fatalf("%d codes", len(list))
		}
		for _, c := range list {
			used := c.Label == codes[1].Label
			if used != (c.State == breakglass.CodeUsed) || used && (c.Grant != s.ID || c.UsedAt == nil) || c.ReplaceBy.Before(c.CreatedAt.Add(179*24*time.Hour)) {
				t.Errorf("%+v", c)
			}
		}
		_, err = d.bg.Codes(ctx, d.as(nurse, ""))
		refused(t, err, identity.Forbidden, "forbidden")
		d.sane()
	})
}
