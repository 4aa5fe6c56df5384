// Package keypin owns the rules for a PIN: its form, what is too easy to guess,
// and when it is due for a change. It does not hash, store or count tries.
package keypin
