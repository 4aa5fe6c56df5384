package audit

import (
	"sync"
	"time"
)

// The bounds on anonymous refusals that are events of their own.
const (
	foldPerRange = 20 // a minute, from one address range
	foldOverall  = 50 // a second, from everywhere
)

// Fold decides which anonymous refusals become events of their own and counts
// the others, so that nobody can fill a record from which nothing is deleted.
// It is safe for concurrent use; the zero value is ready.
type Fold struct {
	mu      sync.Mutex
	minute  int64
	ranges  map[string]int
	second  int64
	inAll   int
	sums    map[foldKey]int64
	lowDisk bool
}

type foldKey struct{ workspace, typ, ipRange string }

// Sum is a number of refusals of one kind that were not recorded one by one.
type Sum struct {
	Workspace, Type, Range string
	Count                  int64
}

// LowDisk makes every anonymous refusal a count until it is called with false.
func (f *Fold) LowDisk(low bool) {
	f.mu.Lock()
	f.lowDisk = low
	f.mu.Unlock()
}

// Admit reports whether the refusal may be an event of its own; otherwise it
// has been counted.
func (f *Fold) Admit(e Event, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := now.Unix() / 60; m != f.minute || f.ranges == nil {
		f.minute, f.ranges = m, map[string]int{}
	}
	if s := now.Unix(); s != f.second {
		f.second, f.inAll = s, 0
	}
	r := e.Client.Range()
	// A flood from many ranges must not grow the map without bound either.
	if len(f.ranges) < 4096 || f.ranges[r] > 0 {
		f.ranges[r]++
		if f.ranges[r] <= foldPerRange && f.inAll < foldOverall && !f.lowDisk {
			f.inAll++
			return true
		}
	}
	if f.sums == nil {
		f.sums = map[foldKey]int64{}
	}
	k := foldKey{e.Workspace, e.Type, r}
	if _, ok := f.sums[k]; !ok && len(f.sums) >= 1024 {
		k.ipRange = ""
	}
	f.sums[k]++
	return false
}

// Drain returns what was counted since it was last called.
func (f *Fold) Drain() []Sum {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Sum
	for k, n := range f.sums {
		out = append(out, Sum{k.workspace, k.typ, k.ipRange, n})
	}
	f.sums = nil
	return out
}
