//go:build testclock

package store

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// TestClock says whether the clock can be moved by a file; never in a release.
const TestClock = true

type readOffsets struct {
	at time.Time
	offsets
}

var lastOffsets atomic.Pointer[readOffsets]

// fileOffsets reads the file named by MITRAL_TEST_CLOCK: lines "wall 2h" and
// "cluster 90s" (a space, "=" or ":" between), or a JSON object of both;
// durations as Go writes them or whole seconds.
func fileOffsets() offsets {
	if l := lastOffsets.Load(); l != nil && time.Since(l.at) < 20*time.Millisecond {
		return l.offsets
	}
	l := &readOffsets{at: time.Now()}
	if b, err := os.ReadFile(os.Getenv("MITRAL_TEST_CLOCK")); err == nil {
		l.offsets = parseOffsets(string(b))
	}
	lastOffsets.Store(l)
	return l.offsets
}

func parseOffsets(text string) offsets {
	var o offsets
	set := func(name, value string) {
		d, err := time.ParseDuration(value)
		if err != nil {
			s, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return
			}
			d = time.Duration(s * float64(time.Second))
		}
		switch name {
		case "wall":
			o.wall = d
		case "cluster":
			o.cluster = d
		}
	}
	var m map[string]any
	if json.Unmarshal([]byte(text), &m) == nil {
		for k, v := range m {
			switch v := v.(type) {
			case string:
				set(k, v)
			case float64:
				set(k, strconv.FormatFloat(v, 'f', -1, 64))
			}
		}
		return o
	}
	for line := range strings.Lines(text) {
		f := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" =:\t\r\n", r) })
		if len(f) == 2 {
			set(f[0], f[1])
		}
	}
	return o
}
