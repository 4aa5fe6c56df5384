//go:build testclock

package server

import (
	"os"

	"github.com/mitral-health/mitral/internal/keyring"
)

// testCosts lowers the cost of hashing where MITRAL_TEST_CHEAP_HASHES is set, in
// builds that are never released.
func testCosts() keyring.Costs {
	if os.Getenv("MITRAL_TEST_CHEAP_HASHES") == "" {
		return keyring.Costs{}
	}
	return keyring.Costs{KeyPIN: keyring.Cost{MemoryKiB: 64, Time: 1, Threads: 1}, Code: keyring.Cost{MemoryKiB: 64, Time: 1, Threads: 1}}
}
