// Package recovery owns the form of recovery codes. It does not hash, store or
// spend them.
package recovery
