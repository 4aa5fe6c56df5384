//go:build testfault

package store

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// MITRAL_TEST_FAULT is "before N" or "after N": the process kills itself with
// SIGKILL before or after its N-th commit.
var commits atomic.Int64

func faultAt(when string) bool {
	f := strings.Fields(os.Getenv("MITRAL_TEST_FAULT"))
	if len(f) != 2 || f[0] != when {
		return false
	}
	n, err := strconv.ParseInt(f[1], 10, 64)
	return err == nil && commits.Load() == n
}

func beforeCommit() {
	commits.Add(1)
	if faultAt("before") {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func afterCommit() {
	if faultAt("after") {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
