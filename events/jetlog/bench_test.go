package jetlog_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/ids"
	"parley/internal/natsd"
)

// benchStore is a store on an embedded server with sync always.
func benchStore(b *testing.B) *jetlog.Store {
	b.Helper()
	server, err := natsd.Embedded(natsd.Options{Dir: b.TempDir(), MaxStoreBytes: 64 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(server.Shutdown)
	nc, err := jetlog.Connect("", jetlog.ConnectOptions{InProcess: server})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	s, err := jetlog.Open(context.Background(), nc, jetlog.Config{MaxBytes: 32 << 30})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkPublish is F: one fsynced publish of 1 KiB to the embedded server, the unit in which storage is measured.
func BenchmarkPublish(b *testing.B) {
	s := benchStore(b)
	js, err := jetstream.New(s.Conn())
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 1024)
	for b.Loop() {
		if _, err := js.Publish(context.Background(), "parley.in.YQ", data); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend is one fenced append of 1 KiB.
func BenchmarkAppend(b *testing.B) {
	s := benchStore(b)
	id := events.ConversationLog("a", "room")
	data := [][]byte{make([]byte, 1024)}
	var head uint64
	for b.Loop() {
		var err error
		if head, err = s.Append(context.Background(), events.Append{Log: id, Expect: head, Messages: data}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendBatch is one atomic batch of as many logs with 1 KiB each.
func BenchmarkAppendBatch(b *testing.B) {
	for _, n := range []int{2, 64, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := benchStore(b)
			batch := make([]events.Append, n)
			for i := range batch {
				batch[i] = events.Append{Log: events.ConversationLog("a", ids.ConversationID(fmt.Sprint(i))), Messages: [][]byte{make([]byte, 1024)}}
			}
			for b.Loop() {
				heads, err := s.AppendBatch(context.Background(), batch)
				if err != nil {
					b.Fatal(err)
				}
				for i := range batch {
					batch[i].Expect = heads[i]
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkRead is a log of 1,000 records of 1 KiB read whole; BenchmarkLast its newest record.
func BenchmarkRead(b *testing.B) {
	s, id := filled(b)
	for b.Loop() {
		n := 0
		if err := s.Read(context.Background(), id, 0, func(events.Message) error { n++; return nil }); err != nil || n != 1000 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkLast(b *testing.B) {
	s, id := filled(b)
	for b.Loop() {
		if _, err := s.Last(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
}

func filled(b *testing.B) (*jetlog.Store, events.LogID) {
	b.Helper()
	s := benchStore(b)
	id := events.ConversationLog("a", "room")
	messages := make([][]byte, 1000)
	for i := range messages {
		messages[i] = make([]byte, 1024)
	}
	if _, err := s.Append(context.Background(), events.Append{Log: id, Messages: messages}); err != nil {
		b.Fatal(err)
	}
	return s, id
}

// BenchmarkRing is one replacement of a ring of 4 KiB, the erasure of the old one included.
func BenchmarkRing(b *testing.B) {
	rings := benchStore(b).Rings()
	data := make([]byte, 4096)
	var revision uint64
	for b.Loop() {
		var err error
		if revision, err = rings.Store(context.Background(), events.ClientLog("a"), data, revision); err != nil {
			b.Fatal(err)
		}
	}
}
