package events_test

import (
	"testing"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/secret"
)

// received is what a node records for one received message.
func received(n uint64) events.Event {
	return events.Event{
		Body: &v1.MessagesConsumed{Count: 1, Position: n, FirstMessage: n, Spooled: 1, Bytes: 1024},
		Secrets: []events.Secret{
			{Class: events.ClassConsumption, Plain: secret.New(make([]byte, 16))},
			{Class: events.ClassSpool, Label: events.Item("message", n), Plain: secret.New(make([]byte, 1024))},
		},
	}
}

// BenchmarkAppend is what the journal itself costs, on a store that costs
// nothing.
func BenchmarkAppend(b *testing.B) {
	w := newWorld(b)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		w.append(j, received(n))
	}
}

// BenchmarkReplay is the cost of one record at activation, secrets opened.
func BenchmarkReplay(b *testing.B) {
	w := newWorld(b)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	const records = 1000
	for n := range uint64(records) {
		w.append(j, received(n))
	}
	b.ReportAllocs()
	for b.Loop() {
		w.replay(conversation)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}

// BenchmarkOpenJournal is the ring of a conversation: read, unwrapped,
// verified.
func BenchmarkOpenJournal(b *testing.B) {
	w := newWorld(b)
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	b.ReportAllocs()
	for b.Loop() {
		w.open(conversation, events.JournalOptions{})
	}
}

// BenchmarkEpoch is an append that kills a key and writes the ring.
func BenchmarkEpoch(b *testing.B) {
	w := newWorld(b)
	j, _ := w.replay(conversation)
	private := string(make([]byte, 4096))
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		w.append(j, advanced(n, private))
	}
}
