// Package authjs owns the protocol that Auth.js and NextAuth clients speak
// (shared/authjs.md): csrf, providers, sign-in by credentials, sign-out and the
// session, in both dialects. It proves nothing and decides nothing: a sign-in
// is package signin's, the session and its cookies are package session's.
//
//	GET  {P}/csrf, /providers         the client's preparations
//	POST {P}/callback/key-pin         sign-in by key and PIN
//	POST {P}/signin/{provider}        the start of other ways
//	POST {P}/signout
//	GET, POST {P}/session
//	GET  {P}/signin, /error, /verify-request, /signout   to Mitral's own pages
//	POST {P}/_log, /api/auth/_log; GET /api/auth/signin  fixed paths of v4 clients
//
// where {P} is /api/v1/auth. Where it differs from the original is §9 of that
// text: csrf tokens are sealed with Mitral's own keyring, cookies are renewed
// by contract §2.2, and nothing a client sends is a fault.
package authjs
