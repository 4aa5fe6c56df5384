// Package gomiddleware owns an example of a Go application's side of Mitral: a
// middleware that lets only people with an open session through, and one that
// asks whether they may do an action now, with re-authentication (RFC 9470). It
// speaks HTTP with Mitral and imports nothing of it. It does not sign anybody in,
// and keeps nothing: each request asks.
//
//	m := &gomiddleware.Mitral{URL: "http://127.0.0.1:8080", PublicURL: "https://chart.clinic.example"}
//	mux.Handle("GET /patients/{id}", m.Session(m.Action("chart_read", nil)(showPatient)))
//	mux.Handle("POST /export", m.Session(m.Action("export", aboutExport)(sendFile)))
//
// The application is on one origin with Mitral: its proxy passes /signin,
// /emergency, /sdk/ and /api/v1/ on (examples/nginx without auth_request). Mitral
// has that origin in MITRAL_APPS. Pages carry <mitral-lock>, and send what may need
// a confirmation with fetchWithStepUp of /sdk/mitral-lock.js.
package gomiddleware
