// Package policy owns a workspace's rules: the document, its defaults and
// bounds, and every decision that follows from it alone. It does not know who
// is signed in, what time it is, or where documents are kept.
//
// A new field takes three lines: one in the document's types (document.go), one
// where it is read with its default and bounds (parse.go), one that says in
// words how it changed (diff.go).
package policy
