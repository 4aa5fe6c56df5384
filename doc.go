// Package mitral owns nothing but the tests of the module's own shape: who
// imports what, and which versions are too old. The code begins in cmd/mitral.
package mitral
