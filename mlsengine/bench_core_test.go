package mlsengine

import (
	"crypto/ed25519"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// fixedEntropy costs nothing, so that it is the engine that is measured.
type fixedEntropy struct{}

func (fixedEntropy) Draw(_ string, n int) []byte { return make([]byte, n) }

// verifyOnce is the unit V: one Ed25519 verification by the standard library.
func verifyOnce() func() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	message := make([]byte, 100)
	signature, public := ed25519.Sign(key, message), key.Public().(ed25519.PublicKey)
	return func() { ed25519.Verify(public, message, signature) }
}

const (
	// turn is how long one turn of an operation or of the unit should be:
	// what else the machine does interrupts a longer turn more often.
	turn = 2 * time.Millisecond
	// measuring bounds how long both are timed in turns.
	measuring            = 4 * time.Second
	roundsMin, roundsMax = 5, 201
)

// measure reports an operation in units of V: both are timed in turns, and the
// medians are compared, so that a noisy machine disturbs both alike. It also
// reports allocations.
func measure(b *testing.B, operation func()) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		operation()
	}
	unit := verifyOnce()
	estimate := min(timed(1, operation).wall, timed(1, operation).wall)
	n := max(1, int(turn/(estimate+1)))
	perTurn := min(max(64, int(time.Duration(n)*estimate/(timed(64, unit).wall/64+1))), 4096)
	rounds := min(max(roundsMin, int(measuring/(2*time.Duration(n)*estimate+1))), roundsMax)
	ours, units := make([]cost, rounds), make([]cost, rounds)
	for i := range rounds {
		ours[i], units[i] = timed(n, operation), timed(perTurn, unit)
	}
	report := func(of func(cost) time.Duration, name string) {
		b.ReportMetric(median(ours, of)/float64(n)/(median(units, of)/float64(perTurn)), name)
	}
	report(func(c cost) time.Duration { return c.wall }, "V")
	report(func(c cost) time.Duration { return c.processor }, "cpu-V")
}

// cost is the time that something took: on the clock, and of all processors
// together, which the neighbours disturb less.
type cost struct{ wall, processor time.Duration }

func median(costs []cost, of func(cost) time.Duration) float64 {
	times := make([]time.Duration, len(costs))
	for i, c := range costs {
		times[i] = of(c)
	}
	slices.Sort(times)
	return float64(times[len(times)/2])
}

func timed(n int, f func()) cost {
	start, used := time.Now(), processorTime()
	for range n {
		f()
	}
	return cost{time.Since(start), processorTime() - used}
}

// processorTime is what the process has used so far, the collector included.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkEncryptInV encrypts 1 KiB. Reserving is part of it: one block for 32
// messages, as the conversation does.
func BenchmarkEncryptInV(b *testing.B) {
	eachBenchSize(b, 2, func(b *testing.B, n int) {
		sender := newBigGroup(b, n).committer
		env := sender.env
		env.Entropy = fixedEntropy{}
		text := make([]byte, 1024)
		var block *SendBlock
		measure(b, func() {
			if block == nil || block.Remaining() == 0 {
				var err error
				if _, sender.group, block, err = sender.group.Reserve(ContentTypeApplication, 32); err != nil {
					b.Fatal(err)
				}
			}
			if _, _, err := sender.group.SealApplication(block, Plaintext{Data: text, Padding: 128}, env); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// BenchmarkDecryptInV decrypts 1 KiB, parsing included.
func BenchmarkDecryptInV(b *testing.B) {
	eachBenchSize(b, 2, func(b *testing.B, n int) {
		g := newBigGroup(b, n)
		const messages = 4096
		_, _, block, err := g.committer.group.Reserve(ContentTypeApplication, messages)
		if err != nil {
			b.Fatal(err)
		}
		sealed := make([][]byte, messages)
		for i := range sealed {
			if sealed[i], _, err = g.committer.group.SealApplication(block, Plaintext{Data: make([]byte, 1024), Padding: 128}, g.committer.env); err != nil {
				b.Fatal(err)
			}
		}
		receiver, next := g.follower.group, 0
		limits := Limits{OutOfOrderTolerance: 2, MaximumForwardDistance: 1000}
		runtime.GC()
		measure(b, func() {
			if next == messages {
				receiver, next = g.follower.group, 0
			}
			m, err := ParseMessage(sealed[next])
			if err != nil {
				b.Fatal(err)
			}
			if _, receiver, err = receiver.Open(m, limits); err != nil {
				b.Fatal(err)
			}
			next++
		})
	})
}
