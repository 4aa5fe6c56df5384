// Package chart owns a small patient-chart application with made-up patients that
// relies on Mitral as any application would: over HTTP, with nothing of Mitral
// imported. It asks who is there (GET /api/v1/auth/session), asks before each act
// (POST /api/v1/authz/check), has export and delete confirmed by the browser side
// of the SDK (/sdk/mitral-lock.js), and leaves lock, curtain and heartbeat to it.
// It keeps its patients in memory and forgets every change when it stops; it does
// not sign anybody in and decides no rights itself.
//
// # What the policy must say
//
// The actions it asks about, and what [Allow] gives to whom:
//
//	chart_read       open the list and a record
//	chart_write      save a note
//	export           the list as a CSV file; re-authentication, bound to its contents
//	delete           remove a note; re-authentication, bound to that note
//	read_restricted  open a sealed record: in no role's list, only in that of
//	                 break_glass.role, so that a grant alone opens it
//
// With the default allow of ["*"] every role could read every chart, so a clinic
// that tries this application sets roles.<role>.allow (and the allow list of
// break_glass.role) to the lists of Allow. Administrators have an empty list: they
// come in only inside a grant.
package chart
