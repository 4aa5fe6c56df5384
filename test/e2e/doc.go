// Package e2e owns the tests of the whole: the real binary, started as a process
// on SQLite and on PostgreSQL, driven from outside as clinics do it — in a real
// browser, over HTTP and on the command line, with a real mail server and SMS
// gateway at its other end. It looks at nothing inside; what a single package
// promises is that package's own to test.
//
// kit_test.go starts things, http_test.go speaks HTTP, people_test.go knows the
// clinic's people, and each other file holds one part of what they do.
package e2e
