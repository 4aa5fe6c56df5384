// Package mitraltest owns the test kit: real peers that a test starts for
// itself (PostgreSQL, a browser, a mail server, an SMS gateway) and the ways to
// drive them. It is never linked into the mitral binary.
package mitraltest
