// Package edge owns what is true of every request before any door has looked at
// it, and of every answer after: who is asking, from where and under which
// name, how much may be sent, what a browser may do with the answer, and how a
// refusal or a fault is written on the wire. It also answers the forward check,
// by which reverse proxies ask whether a request may pass (forward.go).
//
// [Edge.Wrap] is the whole chain in one list. It decides nothing about people
// or rights: sessions are package session's, and each door asks for what it
// needs. Behind the chain a handler finds the visit ([VisitOf]), the nonce of
// its scripts ([Nonce]) and the origin it was asked under ([OriginOf]); it
// answers errors with [WriteProblem], the one place where a refusal becomes a
// status.
package edge
