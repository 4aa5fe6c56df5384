//go:build !testfault

package store

func beforeCommit() {}
func afterCommit()  {}
