package web

import (
	"net/http"

	"github.com/mitral-health/mitral/internal/session"
	"github.com/mitral-health/mitral/internal/web/view"
)

// need says what a route asks of the browser's session.
type need int

const (
	// anyone: no session is looked for.
	anyone need = iota
	// perhaps: a session is handed on where there is one, locked or not.
	perhaps
	// active: without a session the browser is led through resume, and a locked
	// one shows the lock screen; afterwards it comes back.
	active
)

// route is one page, or one thing that a page's form does.
type route struct {
	pattern string
	need    need
	use     session.Use // how the session is looked for; Renew by default
	handle  func(*call) error
}

// routes are all pages, and below each the forms on it.
func (s *Web) routes() []route {
	get, post := http.MethodGet+" ", http.MethodPost+" "
	routes := []route{
		{pattern: get + view.PageSignIn, handle: s.signInPage},
		{pattern: post + view.PostSignIn, handle: s.signIn},
		{pattern: post + view.PostOverduePIN, handle: s.overduePIN},

		{pattern: get + resumePath, need: perhaps, handle: s.resume},
		{pattern: post + view.PostUnlock, need: perhaps, handle: s.unlock},
		{pattern: post + view.PostLock, need: perhaps, use: session.Name, handle: s.lock},
		{pattern: post + view.PostSignOut, handle: s.signOut},

		{pattern: get + view.PageSetup, handle: s.setupPage},
		{pattern: post + view.PostSetupClinic, handle: s.setupClinic},
		{pattern: post + view.PostSetupYou, handle: s.setupYou},
		{pattern: post + view.PostSetupSheet, handle: s.setupSheet},
		{pattern: post + view.PostSetupPeople, handle: s.setupPeople},

		{pattern: get + "/claim/{token}", handle: s.claimPage},
		{pattern: post + "/api/v1/pages/claim/{token}", handle: s.claim},
		{pattern: post + "/api/v1/pages/claim/{token}/saved", handle: s.claimSaved},

		{pattern: get + view.PageEmergency, need: perhaps, use: session.Peek, handle: s.emergencyPage},
		{pattern: post + view.PostEmergency, need: perhaps, handle: s.emergency},
		{pattern: post + view.PostPickup, need: perhaps, handle: s.pickup},
		{pattern: get + view.PageEmergency + "/{id}", need: active, handle: s.ownGrantPage},
		{pattern: post + view.PostEmergency + "/{id}/end", need: active, handle: s.endGrant},
		{pattern: post + view.PostEmergency + "/{id}/patients", need: active, handle: s.addPatient},
		{pattern: post + view.PostEmergency + "/{id}/note", need: active, handle: s.finishNote},

		{pattern: get + view.PageAccount, need: active, handle: s.accountPage},
		{pattern: post + view.PostPIN, need: active, handle: s.changePIN},
		{pattern: post + view.PostKey, need: active, handle: s.replaceKey},
		{pattern: post + view.PostKeySaved, need: active, handle: s.keySaved},
		{pattern: post + view.PostRecovery, need: active, handle: s.newRecoveryCodes},
		{pattern: post + "/api/v1/pages/account/sessions/{id}/end", need: active, handle: s.endSession},
		{pattern: post + view.PostEndOthers, need: active, handle: s.endOthers},
		{pattern: post + view.PostEverywhere, need: active, handle: s.endEverywhere},

		{pattern: get + view.PageAdmin, need: active, handle: s.overviewPage},

		{pattern: get + view.PagePeople, need: active, handle: s.peoplePage},
		{pattern: get + view.PageNewPerson, need: active, handle: s.newPersonPage},
		{pattern: post + view.PostPeople, need: active, handle: s.addPerson},
		{pattern: get + view.PagePeople + "/{id}", need: active, handle: s.personPage},
		{pattern: post + view.PostPeople + "/{id}", need: active, handle: s.savePerson},
		{pattern: post + view.PostPeople + "/{id}/claims", need: active, handle: s.newClaim},
		{pattern: post + view.PostPeople + "/{id}/disable", need: active, handle: s.disablePerson},
		{pattern: post + view.PostPeople + "/{id}/enable", need: active, handle: s.enablePerson},
		{pattern: post + view.PostPeople + "/{id}/sign-out", need: active, handle: s.signPersonOut},

		{pattern: get + view.PageBreakGlass, need: active, handle: s.breakGlassPage},
		{pattern: get + view.PageBreakGlass + "/{id}", need: active, handle: s.storyPage},
		{pattern: post + postReviews + "/{id}/acknowledge", need: active, handle: s.acknowledge},
		{pattern: post + postReviews + "/{id}/stop", need: active, handle: s.stopGrant},
		{pattern: post + postReviews + "/{id}/note", need: active, handle: s.addNote},
		{pattern: post + postReviews + "/{id}/review", need: active, handle: s.review},

		{pattern: get + view.PageCodes, need: active, handle: s.codesPage},
		{pattern: post + view.PostCodes, need: active, handle: s.mintCodes},

		{pattern: get + view.PageRecord, need: active, handle: s.recordPage},
		{pattern: post + postRecord, need: active, handle: s.recordPage},
		{pattern: get + view.PageCheckpoint, need: active, handle: s.checkpointPage},

		{pattern: get + view.PagePolicy, need: active, handle: s.policyPage},
		{pattern: post + view.PostPolicy, need: active, handle: s.changePolicy},

		{pattern: get + view.PageHealth, need: active, handle: s.healthPage},

		{pattern: get + postPages + "{form...}", handle: s.formAgain},
		{pattern: get + "/{$}", handle: s.frontPage},
		{pattern: "/", handle: s.nothingHere},
	}
	if s.Demo != nil {
		routes = append(routes,
			route{pattern: get + view.PageDemo, handle: s.demoPage},
			route{pattern: get + view.PageOutbox, handle: s.outboxPage},
			route{pattern: get + view.PageGallery, handle: s.galleryPage})
	}
	return routes
}

// What the views have no constant for.
const (
	resumePath  = "/api/v1/session/resume"
	postPages   = "/api/v1/pages/"
	postReviews = "/api/v1/pages/admin/break-glass"
	postRecord  = "/api/v1/pages/admin/record"
)
