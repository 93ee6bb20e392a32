package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"parley/events"
	"parley/internal/ids"
)

// Open gives another session of the one store under test. It may be called often, and registers its own cleanup.
type Open func(t *testing.T) events.Stores

// patience bounds one test of the contract; a store that needs longer is broken.
const patience = 30 * time.Second

// Run checks the contract of events.Stores. Each test works in logs of its own, so the store need not be empty.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		test func(*testing.T, context.Context, Open)
	}{
		{"an empty log has nothing to read", emptyLog},
		{"what is appended is read back in order", appendAndRead},
		{"a wrong expectation stores nothing", wrongExpectation},
		{"several messages are one append", severalMessages},
		{"a batch over several logs is all or nothing", batchOverLogs},
		{"of racing writers one wins each version", racingWriters},
		{"of racing batches one wins each version", racingBatches},
		{"long logs are read whole", longLogs},
		{"logs are listed by client and kind", listing},
		{"an error of the reader ends the read", readerError},
		{"misuse is refused", misuse},
		{"an ended context stores nothing", endedContext},
		{"a ring changes by compare and set", ringCompareAndSet},
		{"anchors change by compare and set, all or none", anchorsCompareAndSet},
		{"a snapshot replaces the one before", snapshots},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c.test(t, ctx, open)
		})
	}
}

// Client is a client id that no other test uses.
func Client(t *testing.T, name string) ids.ClientID {
	return ids.ClientID(fmt.Sprintf("%s of %s", name, t.Name()))
}

// Collect reads a log with Read or Scan.
func Collect(ctx context.Context, read func(context.Context, events.LogID, uint64, func(events.Message) error) error, id events.LogID, from uint64) ([]events.Message, error) {
	var all []events.Message
	err := read(ctx, id, from, func(m events.Message) error {
		m.Data = bytes.Clone(m.Data)
		all = append(all, m)
		return nil
	})
	return all, err
}

// texts are the contents of messages.
func texts(messages []events.Message) []string {
	out := make([]string, len(messages))
	for i, m := range messages {
		out[i] = string(m.Data)
	}
	return out
}

func payload(parts ...string) [][]byte {
	out := make([][]byte, len(parts))
	for i, p := range parts {
		out[i] = []byte(p)
	}
	return out
}

// fill appends each text as a message of its own and returns the sequences.
func fill(t *testing.T, ctx context.Context, log events.Log, id events.LogID, expect uint64, parts ...string) []uint64 {
	t.Helper()
	seqs := make([]uint64, len(parts))
	for i, p := range parts {
		seq, err := log.Append(ctx, events.Append{Log: id, Expect: expect, Messages: payload(p)})
		if err != nil {
			t.Fatalf("append %q: %v", p, err)
		}
		if seq <= expect {
			t.Fatalf("append %q: sequence %d after %d", p, seq, expect)
		}
		seqs[i], expect = seq, seq
	}
	return seqs
}

// reads are the two ways to read a log. Read may lag behind, so it is asked again while it shows only a part of what is there.
func reads(log events.Log, complete int) map[string]func(context.Context, events.LogID, uint64, func(events.Message) error) error {
	return map[string]func(context.Context, events.LogID, uint64, func(events.Message) error) error{
		"Scan": log.Scan,
		"Read": func(ctx context.Context, id events.LogID, from uint64, fn func(events.Message) error) error {
			for {
				var seen []events.Message
				err := log.Read(ctx, id, from, func(m events.Message) error {
					m.Data = bytes.Clone(m.Data)
					seen = append(seen, m)
					return nil
				})
				if err == nil && len(seen) < complete && ctx.Err() == nil {
					continue
				}
				for _, m := range seen {
					if err := fn(m); err != nil {
						return err
					}
				}
				return err
			}
		},
	}
}

// holds checks that a log has exactly these messages, by every way of reading.
func holds(t *testing.T, ctx context.Context, log events.Log, id events.LogID, want ...string) {
	t.Helper()
	for name, read := range reads(log, len(want)) {
		got, err := Collect(ctx, read, id, 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(texts(got), want) {
			t.Errorf("%s: the log holds %q, want %q", name, texts(got), want)
		}
	}
	last, err := log.Last(ctx, id)
	if len(want) == 0 {
		if !errors.Is(err, events.ErrNotFound) {
			t.Errorf("Last of an empty log: %v, want ErrNotFound", err)
		}
		return
	}
	if err != nil || string(last.Data) != want[len(want)-1] {
		t.Errorf("Last is %q, %v; want %q", last.Data, err, want[len(want)-1])
	}
}

func emptyLog(t *testing.T, ctx context.Context, open Open) {
	holds(t, ctx, open(t).Log, events.ClientLog(Client(t, "nobody")))
}

func appendAndRead(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	id := events.ConversationLog(Client(t, "a"), "room")
	other := events.ConversationLog(Client(t, "a"), "other room")
	first := fill(t, ctx, log, id, 0, "one")
	fill(t, ctx, log, other, 0, "elsewhere")
	rest := fill(t, ctx, log, id, first[0], "two", "", "four")
	holds(t, ctx, open(t).Log, id, "one", "two", "", "four")
	for name, read := range reads(log, 2) {
		got, err := Collect(ctx, read, id, rest[1])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(texts(got), []string{"", "four"}) || got[0].Sequence != rest[1] || got[1].Sequence != rest[2] {
			t.Fatalf("%s from sequence %d: %v", name, rest[1], got)
		}
		if got[1].Time.Before(got[0].Time) {
			t.Errorf("stored at %s, the one before it at %s", got[1].Time, got[0].Time)
		}
		if beyond, err := Collect(ctx, log.Scan, id, rest[2]+1); err != nil || len(beyond) != 0 {
			t.Errorf("beyond the end: %v, %v", beyond, err)
		}
	}
}

func wrongExpectation(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	id := events.ConversationLog(Client(t, "a"), "room")
	refused := func(expect uint64) {
		t.Helper()
		if _, err := log.Append(ctx, events.Append{Log: id, Expect: expect, Messages: payload("stale")}); !errors.Is(err, events.ErrFenced) {
			t.Errorf("expecting %d: %v, want ErrFenced", expect, err)
		}
		if _, err := log.Append(ctx, events.Append{Log: id, Expect: expect, Messages: payload("stale", "batch")}); !errors.Is(err, events.ErrFenced) {
			t.Errorf("batch expecting %d: %v, want ErrFenced", expect, err)
		}
	}
	refused(7)
	seqs := fill(t, ctx, log, id, 0, "one", "two")
	refused(0)
	refused(seqs[0])
	refused(seqs[1] + 1)
	holds(t, ctx, log, id, "one", "two")
	fill(t, ctx, log, id, seqs[1], "three")
}

func severalMessages(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	id := events.ConversationLog(Client(t, "a"), "room")
	seq, err := log.Append(ctx, events.Append{Log: id, Messages: payload("chunk 1", "chunk 2", "record")})
	if err != nil {
		t.Fatal(err)
	}
	last, err := log.Last(ctx, id)
	if err != nil || last.Sequence != seq {
		t.Errorf("the append ended at %d, the newest message is %d, %v", seq, last.Sequence, err)
	}
	fill(t, ctx, log, id, seq, "next")
	holds(t, ctx, log, id, "chunk 1", "chunk 2", "record", "next")
}

func batchOverLogs(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	a := events.ConversationLog(Client(t, "a"), "room")
	b := events.ConversationLog(Client(t, "a"), "hall")
	c := events.ClientLog(Client(t, "a"))
	start := fill(t, ctx, log, b, 0, "b1")
	seqs, err := log.AppendBatch(ctx, []events.Append{
		{Log: a, Messages: payload("a1 chunk", "a1")}, {Log: b, Expect: start[0], Messages: payload("b2")}, {Log: c, Messages: payload("c1")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []events.LogID{a, b, c} {
		if last, err := log.Last(ctx, id); err != nil || last.Sequence != seqs[i] {
			t.Errorf("%v ended at %d, its newest message is %d, %v", id, seqs[i], last.Sequence, err)
		}
	}
	for _, stale := range [][]events.Append{
		{{Log: a, Expect: seqs[0], Messages: payload("a2")}, {Log: b, Expect: start[0], Messages: payload("b3")}},
		{{Log: a, Expect: 0, Messages: payload("a2")}, {Log: b, Expect: seqs[1], Messages: payload("b3")}},
	} {
		if _, err := log.AppendBatch(ctx, stale); !errors.Is(err, events.ErrFenced) {
			t.Errorf("a batch with one stale member: %v, want ErrFenced", err)
		}
	}
	holds(t, ctx, log, a, "a1 chunk", "a1")
	holds(t, ctx, log, b, "b1", "b2")
	holds(t, ctx, log, c, "c1")
}

func longLogs(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	id := events.ConversationLog(Client(t, "a"), "room")
	var want []string
	var expect uint64
	for _, n := range []int{900, 900} {
		part := make([]string, n)
		for i := range part {
			part[i] = fmt.Sprint(len(want) + i)
		}
		seq, err := log.Append(ctx, events.Append{Log: id, Expect: expect, Messages: payload(part...)})
		if err != nil {
			t.Fatal(err)
		}
		want, expect = append(want, part...), seq
	}
	big := string(bytes.Repeat([]byte("b"), 512<<10))
	for range 20 { // more than one answer may hold
		want, expect = append(want, big), fill(t, ctx, log, id, expect, big)[0]
	}
	got, err := Collect(ctx, reads(log, len(want))["Read"], id, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(texts(got), want) {
		t.Errorf("%d messages read, %d stored, or not the same", len(got), len(want))
	}
}

func listing(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	a, b := Client(t, "a"), Client(t, "b")
	long := ids.ConversationID(bytes.Repeat([]byte("r"), 200))
	own := []events.LogID{events.ClientLog(a), events.ConversationLog(a, "room"), events.ConversationLog(a, long)}
	others := []events.LogID{events.ClientLog(b), events.OrderLog(ids.ConversationID(t.Name())), events.DirectoryLog(a)}
	for _, id := range append(slices.Clone(own), others...) {
		fill(t, ctx, log, id, 0, "first of "+id.String())
	}
	got, err := log.List(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(own) {
		t.Errorf("%d logs of %s, want %d", len(got), a, len(own))
	}
	for _, id := range own {
		if !slices.Contains(got, id) {
			t.Errorf("%v is missing among its client's", id)
		}
	}
	all, err := log.List(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range append(own, others...) {
		if !slices.Contains(all, id) {
			t.Errorf("%v is missing among all", id)
		}
	}
	if none, err := log.List(ctx, Client(t, "nobody")); err != nil || len(none) != 0 {
		t.Errorf("logs of nobody: %v, %v", none, err)
	}
}

func readerError(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	id := events.ConversationLog(Client(t, "a"), "room")
	fill(t, ctx, log, id, 0, "one", "two", "three")
	stop := errors.New("stop here")
	holds(t, ctx, log, id, "one", "two", "three")
	for _, read := range []func(context.Context, events.LogID, uint64, func(events.Message) error) error{log.Read, log.Scan} {
		seen := 0
		err := read(ctx, id, 0, func(events.Message) error {
			if seen++; seen == 2 {
				return stop
			}
			return nil
		})
		if err != stop || seen != 2 {
			t.Errorf("%v after %d messages", err, seen)
		}
	}
}

func misuse(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	good := events.ConversationLog(Client(t, "a"), "room")
	for _, id := range []events.LogID{{}, {Kind: events.KindOrder}, {Kind: 99, Client: "a"}, {Kind: events.KindDirectory, Client: "a", Conversation: "x"}} {
		if _, err := log.Append(ctx, events.Append{Log: id, Messages: payload("x")}); !errors.Is(err, events.ErrBadLog) {
			t.Errorf("append to %+v: %v, want ErrBadLog", id, err)
		}
		if _, err := log.Last(ctx, id); !errors.Is(err, events.ErrBadLog) {
			t.Errorf("last of %+v: %v, want ErrBadLog", id, err)
		}
	}
	for name, as := range map[string][]events.Append{
		"no appends":         {},
		"no messages":        {{Log: good}},
		"one log twice":      {{Log: good, Messages: payload("x")}, {Log: good, Messages: payload("y")}},
		"too many messages":  {{Log: good, Messages: make([][]byte, 1001)}},
		"too large messages": {{Log: good, Messages: [][]byte{make([]byte, 2<<20)}}},
	} {
		_, err := log.AppendBatch(ctx, as)
		if err == nil || errors.Is(err, events.ErrUnknownOutcome) || errors.Is(err, events.ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	holds(t, ctx, log, good)
}

func endedContext(t *testing.T, ctx context.Context, open Open) {
	log := open(t).Log
	id := events.ConversationLog(Client(t, "a"), "room")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := log.Append(ended, events.Append{Log: id, Messages: payload("x")}); !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("append: %v, want ErrUnavailable", err)
	}
	holds(t, ctx, log, id)
}
