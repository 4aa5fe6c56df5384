// Package server owns how Mitral is put together and run: the configuration,
// the one function that builds everything in order, the listeners and loops of
// mitral serve, the demo clinic, and the operator's commands. It decides nothing
// about people.
package server
