// Package policy owns a workspace's rules: the document, its defaults and
// bounds, and every decision that follows from it alone. It does not know who
// is signed in, what time it is, or where documents are kept.
//
// A new field is at home in three places: the document's types (document.go),
// where it is read with its default and bounds (parse.go), and where it is said
// in words how it changed (diff.go). ARCHITECTURE.md has the whole recipe.
package policy
