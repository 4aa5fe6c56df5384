// Package view owns what Mitral's own pages look like: one templ function per
// page, each taking one plain struct, and the words and small pictures they
// share. Pages are whole without JavaScript; modules in internal/web/static
// add to them. It reads no clock, asks no other package, decides nothing: what
// a person may see or do is in the struct it is handed.
//
// Every form posts form-encoded to the constant path named in its struct's
// comment, always under /api/v1/pages/, so that the refresh cookie comes along.
// Field names are those of the JSON API where it has one for the same thing.
package view
