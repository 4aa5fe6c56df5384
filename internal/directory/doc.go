// Package directory owns the people of a workspace and what is decided about
// them: setup, users and roles, claims by which people get their first key or
// a new one, and the policy document with its history. Signing in is package
// signin's; sessions that a change must end or re-right are package session's.
//
// Every act checks its input first, then the actor's rights, then conflicts,
// and spends a step-up token last, so that only a decision costs one.
package directory
