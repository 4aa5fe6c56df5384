package view

// Gallery is /demo/gallery: every component in every state, with made-up words.
type Gallery struct {
	Frame Frame
}
