// Package identity owns the words everything else is written in: ids, roles
// and their classes, assurance levels, secrets, and the place a request comes
// from. It does no I/O and knows no clock.
package identity
