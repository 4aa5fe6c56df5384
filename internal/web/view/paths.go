package view

import (
	"net/url"
	"strings"
)

// StaticPath is where the files of internal/web/static are served. It lies
// under /sdk/ because a proxy in front of an application passes /signin,
// /emergency, /sdk/ and /api/v1/ to Mitral and nothing else (contract §2.2).
const StaticPath = "/sdk/static/"

// LockModule is the browser side of the session: heartbeat, warning, curtain.
const LockModule = "/sdk/mitral-lock.js"

// Pages that links lead to.
const (
	PageSignIn     = "/signin"
	PageEmergency  = "/emergency"
	PageSetup      = "/setup"
	PageAccount    = "/account"
	PageAdmin      = "/admin"
	PagePeople     = "/admin/people"
	PageNewPerson  = "/admin/people/new"
	PageBreakGlass = "/admin/break-glass"
	PageCodes      = "/admin/sealed-codes"
	PageRecord     = "/admin/record"
	PageCheckpoint = "/admin/record/checkpoint"
	PagePolicy     = "/admin/policy"
	PageHealth     = "/admin/health"
	PageDemo       = "/demo"
	PageChart      = "/demo/chart"
	PageOutbox     = "/demo/outbox"
	PageGallery    = "/demo/gallery"
)

// Paths that the pages' forms post to.
const (
	PostSignIn      = "/api/v1/pages/signin"
	PostMail        = "/api/v1/pages/signin/mail"
	PostFactor      = "/api/v1/pages/signin/factor"
	PostOverduePIN  = "/api/v1/pages/signin/pin"
	PostUnlock      = "/api/v1/pages/unlock"
	PostLock        = "/api/v1/pages/lock"
	PostSignOut     = "/api/v1/pages/signout"
	PostSetupClinic = "/api/v1/pages/setup/clinic"
	PostSetupYou    = "/api/v1/pages/setup/you"
	PostSetupSheet  = "/api/v1/pages/setup/sheet"
	PostSetupPeople = "/api/v1/pages/setup/people"
	PostEmergency   = "/api/v1/pages/emergency"
	PostPickup      = "/api/v1/pages/emergency/pickup"
	PostPIN         = "/api/v1/pages/account/pin"
	PostKey         = "/api/v1/pages/account/key"
	PostKeySaved    = "/api/v1/pages/account/key/saved"
	PostRecovery    = "/api/v1/pages/account/recovery-codes"
	PostEndOthers   = "/api/v1/pages/account/sessions/end-others"
	PostEverywhere  = "/api/v1/pages/account/sessions/end-all"
	PostPeople      = "/api/v1/pages/admin/people"
	PostCodes       = "/api/v1/pages/admin/sealed-codes"
	PostPolicy      = "/api/v1/pages/admin/policy"
)

// PostClaim is where the claim page of a token posts.
func PostClaim(token string) string { return "/api/v1/pages/claim/" + url.PathEscape(token) }

// PostClaimSaved is where "I saved my key" of a claim posts.
func PostClaimSaved(token string) string { return PostClaim(token) + "/saved" }

// PostSession is where a session's act ("end") posts.
func PostSession(id, act string) string {
	return "/api/v1/pages/account/sessions/" + url.PathEscape(id) + "/" + act
}

// PostPerson is where an act on a person posts: "" saves the details; else
// "claims", "disable", "enable", "sign-out".
func PostPerson(id, act string) string { return join(PostPeople+"/"+url.PathEscape(id), act) }

// PostGrant is where the holder's acts on a grant post: "end", "patients",
// "note".
func PostGrant(id, act string) string { return join(PostEmergency+"/"+url.PathEscape(id), act) }

// PostReview is where an administrator's or reviewer's acts on a grant post:
// "acknowledge", "stop", "note", "review".
func PostReview(id, act string) string {
	return join("/api/v1/pages/admin/break-glass/"+url.PathEscape(id), act)
}

// PersonURL is the console's page of a person.
func PersonURL(id string) string { return PagePeople + "/" + url.PathEscape(id) }

// GrantURL is the console's page of a grant.
func GrantURL(id string) string { return PageBreakGlass + "/" + url.PathEscape(id) }

func join(path, act string) string {
	if act == "" {
		return path
	}
	return path + "/" + act
}

// signInAgain is the sign-in form itself, whatever session is parked or locked
// here, leading on to callback.
func signInAgain(callback string) string {
	return withCallback(PageSignIn+"?resume=0", callback)
}

// withCallback adds where to go afterwards to a page's address.
func withCallback(page, callback string) string {
	if callback == "" {
		return page
	}
	mark := "?"
	if strings.Contains(page, "?") {
		mark = "&"
	}
	return page + mark + url.Values{"callbackUrl": {callback}}.Encode()
}
