package httpapi

import (
	"context"
	"net/http"

	"github.com/mitral-health/mitral/internal/breakglass"
	"github.com/mitral-health/mitral/internal/identity"
	"github.com/mitral-health/mitral/internal/signin"
)

func (a *API) breakGlassRoutes() {
	const tag = "Break-glass"
	const root = "/api/v1/break-glass"
	add(a, route{method: "POST", path: root, id: "start-break-glass", tag: tag, need: perhaps, status: http.StatusCreated,
		summary: "Open emergency access: for oneself or somebody named (step-up: break_glass), or by a sealed code; or practise it"}, a.startBreakGlass)
	add(a, route{method: "GET", path: root, id: "list-break-glass", tag: tag, need: active,
		summary: "List emergency accesses (administrators, reviewers; others their own)"}, a.grants)
	add(a, route{method: "GET", path: root + "/{id}", id: "get-break-glass", tag: tag, need: active,
		summary: "One emergency access, with its timeline"}, a.grant)
	add(a, route{method: "POST", path: root + "/{id}/end", id: "end-break-glass", tag: tag, need: active,
		summary: "End emergency access; another administrator or a reviewer revokes it (step-up: break_glass)"}, a.endGrant)
	add(a, route{method: "POST", path: root + "/{id}/acknowledge", id: "acknowledge-break-glass", tag: tag, need: active,
		summary: "Say that one has seen it"}, a.acknowledgeGrant)
	add(a, route{method: "POST", path: root + "/{id}/note", id: "note-break-glass", tag: tag, need: active,
		summary: "Add a note"}, a.noteGrant)
	add(a, route{method: "POST", path: root + "/{id}/patients", id: "add-break-glass-patient", tag: tag, need: active,
		summary: "Add a patient's reference"}, a.addPatient)
	add(a, route{method: "POST", path: root + "/{id}/review", id: "review-break-glass", tag: tag, need: active,
		summary: "Give the verdict, or ask back (step-up: review)"}, a.reviewGrant)
	add(a, route{method: "POST", path: root + "/pickup", id: "pick-up-break-glass", tag: tag, need: perhaps,
		summary: "Take up emergency access that an administrator opened, in a browser that is not signed in"}, a.pickUp)
	add(a, route{method: "POST", path: root + "/codes", id: "mint-sealed-codes", tag: tag, need: active, status: http.StatusCreated,
		summary: "Make sealed codes; they are shown once (step-up: sealed_codes)"}, a.mintCodes)
	add(a, route{method: "GET", path: root + "/codes", id: "list-sealed-codes", tag: tag, need: active,
		summary: "The inventory of sealed codes, without the codes"}, a.sealedCodes)
}

type visiting struct {
	Name  string `json:"name" maxLength:"120"`
	RegNo string `json:"reg_no" maxLength:"64" doc:"The registration number."`
}

type startInput struct {
	Key  string `header:"Idempotency-Key" doc:"A repeat with the same key answers alike for 24 hours, to the same browser only."`
	Body struct {
		Kind         string          `json:"kind" enum:"self,named,sealed"`
		Subject      string          `json:"subject,omitempty" maxLength:"254" doc:"A user's id; with a sealed code an address too."`
		Workspace    string          `json:"workspace,omitempty" maxLength:"64" doc:"The slug, for a sealed code."`
		SealedCode   identity.Secret `json:"sealed_code,omitempty" maxLength:"64"`
		PIN          identity.Secret `json:"pin,omitempty" maxLength:"16"`
		Visiting     *visiting       `json:"visiting,omitempty" doc:"Somebody without an account; instead of subject."`
		Category     string          `json:"category" enum:"patient_emergency,cannot_sign_in,system_outage,role_too_small,cover_or_visiting,other"`
		Reason       string          `json:"reason" maxLength:"4000"`
		PatientRef   string          `json:"patient_ref,omitempty" maxLength:"256" doc:"An opaque number, no name."`
		Unidentified bool            `json:"unidentified,omitempty" doc:"The patient is not identified yet."`
		Drill        bool            `json:"drill,omitempty" doc:"Practise: nothing is opened."`
	}
}

type started struct {
	breakglass.Grant
	PickupCode string           `json:"pickup_code,omitempty" doc:"For the subject of a named start; shown once."`
	Audit      breakglass.Audit `json:"audit"`
	Session    sessionObject    `json:"session,omitempty" doc:"The emergency session, where this browser has one now."`
}

type startAnswer struct {
	Status int
	Body   started
}

// startBreakGlass answers 201, or 200 where a right sealed code met an open
// grant and was left unspent.
func (a *API) startBreakGlass(ctx context.Context, who signin.Who, in *startInput) (*startAnswer, error) {
	b := in.Body
	want := breakglass.StartInput{Kind: b.Kind, Subject: b.Subject, Workspace: b.Workspace, SealedCode: b.SealedCode, PIN: b.PIN, Category: b.Category,
		Reason: b.Reason, PatientRef: b.PatientRef, Unidentified: b.Unidentified, Drill: b.Drill, IdempotencyKey: in.Key}
	if b.Visiting != nil {
		want.Visiting = &breakglass.Visiting{Name: b.Visiting.Name, RegNo: b.Visiting.RegNo}
	}
	s, err := a.BreakGlass.Start(ctx, who, want)
	if err != nil {
		return nil, err
	}
	out := &startAnswer{http.StatusCreated, started{Grant: s.Grant, Audit: s.Audit}}
	if s.Attached {
		out.Status = http.StatusOK
	}
	if s.PickupCode != "" {
		out.Body.PickupCode = identity.FormatCode(s.PickupCode)
	}
	if s.Session != nil {
		out.Body.Session = a.Sessions.Object(s.Session)
	}
	return out, nil
}

type grantsAnswer struct {
	Body struct {
		Grants []breakglass.Grant `json:"break_glass"`
	}
}

func (a *API) grants(ctx context.Context, who signin.Who, _ *none) (*grantsAnswer, error) {
	grants, err := a.BreakGlass.List(ctx, who)
	out := &grantsAnswer{}
	out.Body.Grants = append([]breakglass.Grant{}, grants...)
	return out, err
}

type grantInput struct {
	ID string `path:"id" maxLength:"64"`
}

type grantAnswer struct{ Body breakglass.Grant }

func (a *API) grant(ctx context.Context, who signin.Who, in *grantInput) (*grantAnswer, error) {
	g, err := a.BreakGlass.Get(ctx, who, in.ID)
	return &grantAnswer{g}, err
}

type grantActInput struct {
	ID   string       `path:"id" maxLength:"64"`
	Body *emptyObject `required:"false"`
}

func (a *API) endGrant(ctx context.Context, who signin.Who, in *grantActInput) (*grantAnswer, error) {
	g, err := a.BreakGlass.End(ctx, who, in.ID)
	return &grantAnswer{g}, err
}

func (a *API) acknowledgeGrant(ctx context.Context, who signin.Who, in *grantActInput) (*grantAnswer, error) {
	g, err := a.BreakGlass.Acknowledge(ctx, who, in.ID)
	return &grantAnswer{g}, err
}

type noteInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Text string `json:"text" maxLength:"8000"`
	}
}

func (a *API) noteGrant(ctx context.Context, who signin.Who, in *noteInput) (*grantAnswer, error) {
	g, err := a.BreakGlass.Note(ctx, who, in.ID, in.Body.Text)
	return &grantAnswer{g}, err
}

type patientInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		PatientRef string `json:"patient_ref" maxLength:"256" doc:"An opaque number, no name."`
	}
}

func (a *API) addPatient(ctx context.Context, who signin.Who, in *patientInput) (*grantAnswer, error) {
	g, err := a.BreakGlass.AddPatient(ctx, who, in.ID, in.Body.PatientRef)
	return &grantAnswer{g}, err
}

type reviewInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body struct {
		Verdict string `json:"verdict" enum:"appropriate,appropriate_process_gap,inappropriate,drill,needs_info"`
		Comment string `json:"comment" maxLength:"8000"`
		Fix     string `json:"fix,omitempty" maxLength:"400" doc:"What would remove the cause."`
	}
}

func (a *API) reviewGrant(ctx context.Context, who signin.Who, in *reviewInput) (*grantAnswer, error) {
	b := in.Body
	g, err := a.BreakGlass.Review(ctx, who, in.ID, breakglass.ReviewInput{Verdict: b.Verdict, Comment: b.Comment, Fix: b.Fix})
	return &grantAnswer{g}, err
}

type pickupInput struct {
	Body struct {
		Identifier string          `json:"identifier" maxLength:"254"`
		Code       identity.Secret `json:"code" maxLength:"64"`
		PIN        identity.Secret `json:"pin,omitempty" maxLength:"16"`
		Workspace  string          `json:"workspace,omitempty" maxLength:"64"`
	}
}

func (a *API) pickUp(ctx context.Context, who signin.Who, in *pickupInput) (*sessionAnswer, error) {
	b := in.Body
	live, err := a.BreakGlass.Pickup(ctx, who, breakglass.PickupInput{Identifier: b.Identifier, Code: b.Code, PIN: b.PIN, Workspace: b.Workspace})
	if err != nil {
		return nil, err
	}
	return a.object(live), nil
}

type mintInput struct {
	Body struct {
		Count    int    `json:"count" minimum:"1" maximum:"10"`
		Location string `json:"location" maxLength:"80" doc:"Where the letters will lie."`
	}
}

type mintedCode struct {
	Label    string `json:"label"`
	Code     string `json:"code" doc:"Shown once."`
	Location string `json:"location"`
}

type mintAnswer struct {
	Body struct {
		Codes []mintedCode `json:"codes"`
	}
}

func (a *API) mintCodes(ctx context.Context, who signin.Who, in *mintInput) (*mintAnswer, error) {
	codes, err := a.BreakGlass.MintCodes(ctx, who, in.Body.Count, in.Body.Location)
	if err != nil {
		return nil, err
	}
	out := &mintAnswer{}
	for _, c := range codes {
		out.Body.Codes = append(out.Body.Codes, mintedCode{c.Label, c.Code.Reveal(), c.Location})
	}
	return out, nil
}

type codesListAnswer struct {
	Body struct {
		Codes []breakglass.Code `json:"codes"`
	}
}

func (a *API) sealedCodes(ctx context.Context, who signin.Who, _ *none) (*codesListAnswer, error) {
	codes, err := a.BreakGlass.Codes(ctx, who)
	out := &codesListAnswer{}
	out.Body.Codes = append([]breakglass.Code{}, codes...)
	return out, err
}
