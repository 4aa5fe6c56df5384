// Package httpapi owns the JSON API: its routes, what they take and answer, and
// the OpenAPI 3.1 document that is made from them. It decides nothing: each
// route says in one line who may call it at all, and calls one act.
//
// Read api.go for the adapter that every route goes through, then the file of
// the subject:
//
//	signin.go      /api/v1/auth/…              key + PIN, PIN change, key rotation, factors
//	session.go     /api/v1/session/…, /sessions  heartbeat, lock, unlock, step-up, tokens
//	events.go      /api/v1/session/events      news of a session, as they happen
//	authz.go       /api/v1/authz/check         what an application asks
//	breakglass.go  /api/v1/break-glass/…
//	people.go      /api/v1/users, /claims
//	workspace.go   /api/v1/workspaces, /policy, /devices, /plans
//	audit.go       /api/v1/audit/…
//	openapi.go     /api/v1/openapi.json, and the routes of other doors in it
//
// A route that needs a session finds it before its handler runs: signed out is
// 401, locked 423. What an act refuses is translated by package edge. Request
// bodies are strict JSON (edge.ReadJSON) and then checked against the schema;
// nothing that was sent is ever repeated.
package httpapi
