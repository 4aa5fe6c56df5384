package mitraltest

import (
	"context"
	"io"
	"os/exec"
	"sync"
	"syscall"
)

// leashes are the pipes whose far ends the reapers read. They are held here so
// that nothing closes them before the process ends.
var leashes struct {
	sync.Mutex
	held []io.Closer
}

// afterExit runs a shell script, with args as $1, $2 and so on, once this
// process has ended in whatever way: by return, panic, test timeout or kill -9.
// A shell waits on a pipe that only this process holds, so that what a test
// started never outlives it. as may be nil.
func afterExit(as *syscall.Credential, script string, args ...string) error {
	argv := append([]string{"-c", "read -r _ || :; " + script, "reaper"}, args...)
	cmd := exec.CommandContext(context.Background(), "/bin/sh", argv...)
	cmd.Dir = "/"
	// A group of its own, so that Ctrl-C at the terminal doesn't end the reaper
	// before its work.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as}
	leash, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	leashes.Lock()
	defer leashes.Unlock()
	leashes.held = append(leashes.held, leash)
	return nil
}
