// Package web owns Mitral's own pages: the handlers that fill the views of
// internal/web/view and carry out their forms, and the static files those pages
// need. It decides nothing about people or rights, and does not touch the store:
// every form calls an act, and the act decides.
//
// Read routes.go for the table of all pages and forms, call.go for what happens
// around each of them, errors.go for how a refusal becomes words on a page; then
// the file of the subject:
//
//	signin.go            /signin
//	lock.go              resume, the lock screen, sign-out
//	setup.go, holding.go /setup, and what it shows once
//	claim.go             /claim/{token}
//	emergency.go         /emergency
//	account.go           /account
//	admin_*.go           /admin
//	demo.go              /demo, only with --demo
//	static.go, sdk.go    the files
//
// Pages are whole without JavaScript. Forms post to /api/v1/pages/…, so that the
// refresh cookie comes along, from our own origin only; what was done is said on
// the page that follows (303), what was refused beside its field, with
// everything typed still there but for keys, codes and PINs. Where an act asks
// for a fresh proof, a page asks for the PIN and carries the form's fields on.
package web
