//go:build !testclock

package server

import "github.com/mitral-health/mitral/internal/keyring"

// testCosts are the costs of hashing: the defaults, in every release.
func testCosts() keyring.Costs { return keyring.Costs{} }
