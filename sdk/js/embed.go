package js

import (
	"bytes"
	_ "embed" // for the module below
)

//go:embed mitral-lock.js
var source []byte

// Lock is mitral-lock.js as it is served, with the content type text/javascript:
// its source without indentation, empty lines and lines that are only a comment.
// The caller owns the copy.
func Lock() []byte {
	var served []byte
	for line := range bytes.Lines(source) {
		line = bytes.TrimLeft(line, "\t")
		if len(line) > 1 && !bytes.HasPrefix(line, []byte("//")) && !bytes.HasPrefix(line, []byte("/**")) {
			served = append(served, line...)
		}
	}
	return served
}
