// Package session owns sessions: their rows, the cookies that name them, what
// counts as activity, lock and unlock, renewal and refresh tokens, access
// tokens, and the news of all this to browsers and to other nodes. It does not
// prove who anybody is (package signin does, and asks for a session here), it
// decides nothing about rights, and it opens and closes no grants.
//
// The row is the authority; the cookies are contract §2.2's. A check of a
// session that this node has loaded runs in memory: the cookie is opened, the
// session looked up, its clocks compared. The database is asked when a session
// is met first, when a cookie carries a key this node does not know, before a
// session is called idle, and when a refresh token comes along that has to do
// something. Memory follows the database and never leads it, with one
// exception: activity, which is written every 5 s and can only be lost.
//
// Read session.go for the types, check.go for what happens to a request,
// renew.go for the refresh tokens and follow.go for how nodes keep up.
package session
