package delivery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/events"
	"parley/internal/ids"
)

// BenchmarkSendToOrder is 32 callers for each of 64 groups, each with one 1 KiB message at a time, until the order has it.
func BenchmarkSendToOrder(b *testing.B) {
	const groups, callers = 64, 32
	w, ctx := newWorld(b), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.RateMessages, c.Limits.RateBurst = 1<<20, 1<<20 })
	var sealed []Message
	for g := range groups {
		alice := registered(b, s, GroupID(fmt.Sprintf("group-%d", g)), fmt.Sprintf("alice-%d", g))
		sealed = append(sealed, alice.message(string(make([]byte, 1000))))
	}
	var next atomic.Int64
	var work sync.WaitGroup
	b.SetBytes(int64(len(sealed[0].Bytes)))
	b.ResetTimer()
	for g := range groups {
		for range callers {
			work.Add(1)
			go func() {
				defer work.Done()
				for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
					m := sealed[g] // the sequencer does not open it: the same ciphertext under another command is another message
					m.Origin.CommandID = ids.CommandID(fmt.Sprint(n))
					receipts, err := s.SubmitMessages(ctx, []Message{m})
					if err != nil || receipts[0].Err != nil {
						b.Error(err, receipts)
						return
					}
				}
			}()
		}
	}
	work.Wait()
	b.StopTimer()
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "messages/s")
	b.ReportMetric(100*rate/batchRate(b, w), "%-of-batches")
}

// batchRate is how many records of 1 KiB a second the same store takes in atomic batches of 1,000.
func batchRate(b *testing.B, w *world) float64 {
	const batches, size = 10, 1000
	began := time.Now()
	for i := range batches {
		var as []events.Append
		for j := range size {
			id := events.OrderLog(GroupID(fmt.Sprintf("batch-%d-%d", i, j)))
			as = append(as, events.Append{Log: id, Messages: [][]byte{make([]byte, 1024)}})
		}
		if _, err := w.store.AppendBatch(context.Background(), as); err != nil {
			b.Fatal(err)
		}
	}
	return batches * size / time.Since(began).Seconds()
}
