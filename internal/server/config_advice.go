package server

import "fmt"

// Advice is an error for the person at the terminal. It reads
// "what is wrong: what to do", on one line, and holds no secret.
type Advice struct {
	What string // what is wrong
	Do   string // what to do about it
}

func (a *Advice) Error() string { return a.What + ": " + a.Do }

func advise(do, what string, args ...any) error {
	return &Advice{What: fmt.Sprintf(what, args...), Do: do}
}
