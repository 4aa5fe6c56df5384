package audit_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/mitral-health/mitral/internal/audit"
	"github.com/mitral-health/mitral/internal/identity"
)

func from(ip string) audit.Event {
	return audit.Event{Type: "sign_in.key_pin", Workspace: "wks_a", Client: identity.Client{IP: netip.MustParseAddr(ip)}}
}

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func total(sums []audit.Sum) (n int64) {
	for _, s := range sums {
		n += s.Count
	}
	return n
}

// F02: of one address range 20 refusals a minute are events, the others counted.
func TestF02RangeIsBounded(t *testing.T) {
	var f audit.Fold
	admitted := 0
	for i := range 300 {
		if f.Admit(from(fmt.Sprintf("192.0.2.%d", i%250)), noon.Add(time.Duration(i)*100*time.Millisecond)) {
			admitted++
		}
	}
	if admitted != 20 {
		t.Errorf("%d admitted", admitted)
	}
	if !f.Admit(from("198.51.100.1"), noon.Add(30*time.Second)) {
		t.Error("another range is held back")
	}
	if !f.Admit(from("192.0.2.1"), noon.Add(time.Minute)) {
		t.Error("the next minute is held back")
	}
	sums := f.Drain()
	if len(sums) != 1 || sums[0] != (audit.Sum{Workspace: "wks_a", Type: "sign_in.key_pin", Range: "192.0.2.0/24", Count: 280}) {
		t.Errorf("%+v", sums)
	}
	if again := f.Drain(); len(again) != 0 {
		t.Errorf("told twice: %+v", again)
	}
}

// F02: of all together 50 a second are events; nothing is lost, and what is
// remembered stays small, whatever the number of ranges.
func TestF02EverythingIsBounded(t *testing.T) {
	var f audit.Fold
	const tries = 20000
	admitted := int64(0)
	for i := range tries {
		if f.Admit(from(fmt.Sprintf("10.%d.%d.1", i/256%256, i%256)), noon) {
			admitted++
		}
	}
	if admitted != 50 {
		t.Errorf("%d admitted in a second", admitted)
	}
	if !f.Admit(from("203.0.113.1"), noon.Add(time.Minute)) {
		t.Error("the next minute is held back")
	}
	sums := f.Drain()
	if total(sums) != tries-admitted || len(sums) > 1025 {
		t.Errorf("%d of %d in %d sums", total(sums), tries-admitted, len(sums))
	}
}

// F02: while the disk runs low everything anonymous is counted only.
func TestF02LowDisk(t *testing.T) {
	var f audit.Fold
	f.LowDisk(true)
	if f.Admit(from("192.0.2.1"), noon) {
		t.Error("admitted")
	}
	f.LowDisk(false)
	if !f.Admit(from("192.0.2.1"), noon) {
		t.Error("not admitted after that")
	}
	if n := total(f.Drain()); n != 1 {
		t.Errorf("%d counted", n)
	}
}

func TestFoldCountsUnderRace(t *testing.T) {
	var f audit.Fold
	var admitted, counted int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 100 {
				if f.Admit(from("192.0.2.1"), noon) {
					mu.Lock()
					admitted++
					mu.Unlock()
				}
			}
			n := total(f.Drain())
			mu.Lock()
			counted += n
			mu.Unlock()
		})
	}
	all.Wait()
	if counted += total(f.Drain()); admitted != 20 || counted != 5000-20 {
		t.Errorf("%d admitted, %d counted", admitted, counted)
	}
}
