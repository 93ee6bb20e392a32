package actors

import "time"

// Clock is where the shell takes time from. The pure core is given the time; it never asks.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once in its own goroutine after d. Stop reports whether it came in time.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a pending call of Clock.AfterFunc.
type Timer interface{ Stop() bool }

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now returns the machine's time.
func (SystemClock) Now() time.Time { return time.Now() }

// AfterFunc runs f after d.
func (SystemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// milliseconds is the resolution of a record's time.
func milliseconds(t time.Time) uint64 {
	if ms := t.UnixMilli(); ms > 0 {
		return uint64(ms)
	}
	return 0
}
