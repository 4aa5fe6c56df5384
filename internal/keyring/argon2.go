package keyring

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/mitral-health/mitral/internal/identity"
)

// Errors about hashing.
var (
	// ErrCost says that a cost is outside what this package will spend.
	ErrCost = errors.New("an Argon2id cost is out of bounds: at most 1 GiB of memory, 20 passes and 16 threads, at least 8 KiB a thread and one pass")
	// ErrPHC says that a stored hash cannot be read.
	ErrPHC = errors.New("a stored hash is not an Argon2id PHC string")
)

const (
	maxMemoryKiB = 1 << 20
	maxTime      = 20
	maxThreads   = 16

	saltSize   = 16
	digestSize = 32

	minSalt, maxSalt     = 8, 64
	minDigest, maxDigest = 16, 64

	phcStart = "$argon2id$v=19$"
)

// Cost is what one Argon2id hash spends (RFC 9106 §3.1).
type Cost struct {
	MemoryKiB, Time uint32
	Threads         uint8
}

// The least costs of a server.
var (
	// KeyPINCost is for keys and PINs: 19 MiB, two passes.
	KeyPINCost = Cost{MemoryKiB: 19456, Time: 2, Threads: 1}
	// CodeCost is for sealed, claim, pick-up and recovery codes: 64 MiB, three
	// passes.
	CodeCost = Cost{MemoryKiB: 65536, Time: 3, Threads: 1}
)

// Costs are the costs of an installation.
type Costs struct {
	KeyPIN, Code Cost
}

func (c Costs) orDefaults() Costs {
	if c.KeyPIN == (Cost{}) {
		c.KeyPIN = KeyPINCost
	}
	if c.Code == (Cost{}) {
		c.Code = CodeCost
	}
	return c
}

func (c Costs) check() error { return errors.Join(c.KeyPIN.check(), c.Code.check()) }

// AtLeast says whether c spends no less memory and no fewer passes than least.
func (c Cost) AtLeast(least Cost) bool {
	return c.MemoryKiB >= least.MemoryKiB && c.Time >= least.Time
}

func (c Cost) check() error {
	if c.Threads < 1 || c.Threads > maxThreads || c.Time < 1 || c.Time > maxTime ||
		c.MemoryKiB < 8*uint32(c.Threads) || c.MemoryKiB > maxMemoryKiB {
		return ErrCost
	}
	return nil
}

func (c Cost) digest(secret, salt []byte, size int) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if len(salt) < minSalt || len(salt) > maxSalt {
		return nil, ErrPHC
	}
	return argon2.IDKey(secret, salt, c.Time, c.MemoryKiB, c.Threads, uint32(size)), nil
}

// Hash returns the Argon2id hash of the secret as a PHC string. The salt has 8
// to 64 bytes.
func Hash(cost Cost, secret identity.Secret, salt []byte) (string, error) {
	return hashPHC(cost, []byte(secret.Reveal()), salt)
}

// CheckHash says whether a PHC string is the hash of the secret, at whatever
// cost within bounds it names, and which cost that was.
func CheckHash(phc string, secret identity.Secret) (bool, Cost, error) {
	return checkPHC(phc, []byte(secret.Reveal()))
}

// Dummy spends what a hash spends, for an identifier that matched nobody.
func Dummy(cost Cost, secret identity.Secret) {
	_, _ = cost.digest([]byte(secret.Reveal()), make([]byte, saltSize), digestSize)
}

func newSalt() []byte {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt)
	return salt
}

func hashPHC(cost Cost, secret, salt []byte) (string, error) {
	digest, err := cost.digest(secret, salt, digestSize)
	if err != nil {
		return "", err
	}
	return formatPHC(cost, salt) + "$" + base64.RawStdEncoding.EncodeToString(digest), nil
}

func checkPHC(phc string, secret []byte) (bool, Cost, error) {
	cost, salt, want, err := parsePHC(phc)
	if err != nil {
		return false, Cost{}, err
	}
	if len(want) < minDigest || len(want) > maxDigest {
		return false, Cost{}, ErrPHC
	}
	got, err := cost.digest(secret, salt, len(want))
	if err != nil {
		return false, Cost{}, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, cost, nil
}

// formatPHC returns a PHC string up to its salt.
func formatPHC(cost Cost, salt []byte) string {
	return fmt.Sprintf("%sm=%d,t=%d,p=%d$%s", phcStart, cost.MemoryKiB, cost.Time, cost.Threads,
		base64.RawStdEncoding.EncodeToString(salt))
}

// parsePHC reads "$argon2id$v=19$m=…,t=…,p=…$salt" and a "$digest" after it if
// there is one. It takes only what formatPHC writes, within bounds, so that a
// stored string can neither exhaust the machine nor weaken a check.
func parsePHC(phc string) (cost Cost, salt, digest []byte, err error) {
	rest, ok := strings.CutPrefix(phc, phcStart)
	fields := strings.Split(rest, "$")
	if !ok || len(fields) < 2 || len(fields) > 3 {
		return Cost{}, nil, nil, ErrPHC
	}
	params := strings.Split(fields[0], ",")
	if len(params) != 3 {
		return Cost{}, nil, nil, ErrPHC
	}
	var values [3]uint64
	for i, name := range [...]string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(params[i], name)
		values[i], err = strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || digits != strconv.FormatUint(values[i], 10) {
			return Cost{}, nil, nil, ErrPHC
		}
	}
	if values[2] > maxThreads {
		return Cost{}, nil, nil, ErrCost
	}
	cost = Cost{MemoryKiB: uint32(values[0]), Time: uint32(values[1]), Threads: uint8(values[2])}
	if err := cost.check(); err != nil {
		return Cost{}, nil, nil, err
	}
	salt, ok = decode(base64.RawStdEncoding, fields[1])
	if !ok || len(salt) < minSalt || len(salt) > maxSalt {
		return Cost{}, nil, nil, ErrPHC
	}
	if len(fields) == 3 {
		if digest, ok = decode(base64.RawStdEncoding, fields[2]); !ok {
			return Cost{}, nil, nil, ErrPHC
		}
	}
	return cost, salt, digest, nil
}
