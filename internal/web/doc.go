// Package web owns Mitral's own pages: the handlers that fill the views of
// internal/web/view and carry out their forms, and the static files those pages
// need. It does not touch the store.
package web
