package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"parley/events"
	"parley/mlsengine"
)

// errKilled is a crash at a durable step.
var errKilled = errors.New("killed")

// killer fails one durable step, once.
type killer struct {
	step  events.Step
	after bool
	armed atomic.Bool
	hit   atomic.Bool
}

func (k *killer) hooks() events.Hooks {
	at := func(after bool) func(context.Context, events.Step, events.LogID) error {
		return func(_ context.Context, step events.Step, _ events.LogID) error {
			if step == k.step && after == k.after && k.armed.CompareAndSwap(true, false) {
				k.hit.Store(true)
				return errKilled
			}
			return nil
		}
	}
	return events.Hooks{Before: at(false), After: at(true)}
}

// marshal is the state of a sequencer opened from the log.
func marshal(t *testing.T, s *Service, g GroupID) []byte {
	t.Helper()
	q := must(s.OpenSequencer(context.Background(), g, MustExist))(t)
	return must(q.State().Marshal())(t)
}

func TestCrashAtEveryDurableStep(t *testing.T) {
	steps := []events.Step{
		events.StepRingCreate, events.StepAppend, events.StepAnchor, events.StepSnapshot, StepNotice, // those that an order passes
	}
	for _, step := range steps {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%v", step, after), func(t *testing.T) { crashAt(t, step, after) })
		}
	}
}

// crashAt lets a node die at a step while it commits, adds and checkpoints; another one takes the group over. Whatever the first one said
// stands, and the same submissions come to one and the same end.
func crashAt(t *testing.T, step events.Step, after bool) {
	w, ctx := newWorld(t), context.Background()
	k := &killer{step: step, after: after}
	dying := w.node("dying", func(c *Config) { c.Hooks = k.hooks() })
	alice, bob := newBot(t, "alice"), newBot(t, "bob")
	registration := alice.create(testGroup)
	add, out := alice.add(bob)
	alice.group = out.Staged.Next
	text := alice.message("hello")
	subs := []Submission{&registration, &add, &text}

	k.armed.Store(true)
	told := make([]Outcome, len(subs))
	q, err := dying.OpenSequencer(ctx, testGroup, MayCreate)
	for i := 0; err == nil && i < len(subs); i++ {
		var got []Outcome
		got, err = q.Handle(ctx, subs[i:i+1])
		if len(got) == 1 {
			told[i] = got[0]
		}
	}
	if err == nil {
		_ = q.Checkpoint(ctx) // it may be killed here
	}

	if !k.hit.Load() {
		t.Fatal("the step was not passed")
	}
	heir := w.serving("heir", nil)
	for i, sub := range subs {
		var got Outcome
		if err := insist(ctx, func() (err error) { got, err = heir.submitOne(ctx, sub); return err }); err != nil {
			t.Fatalf("submission %d again: %v", i, err)
		}
		if told[i].Err == nil && told[i] != (Outcome{}) && got != told[i] {
			t.Errorf("submission %d: %+v, first told %+v", i, got, told[i])
		}
	}
	entries := must(heir.Follow(ctx, testGroup, 1, 100))(t)
	if len(entries) != 3 || !bytes.Equal(entries[2].Message, text.Bytes) {
		t.Fatalf("%d entries", len(entries))
	}
	until(t, "bob is told", func() bool {
		notices := must(heir.Notices(ctx, "bob", 0, 10))(t)
		return slices.ContainsFunc(notices, func(n Notice) bool { return n.Group == testGroup && n.Number == 2 })
	})
	bob.join(entries[1])
}

func TestLiveStateEqualsFold(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.node("a", nil)
	alice := newBot(t, "alice")
	registration := alice.create(testGroup)
	q := must(s.OpenSequencer(ctx, testGroup, MayCreate))(t)
	handle := func(subs ...Submission) []Outcome {
		t.Helper()
		return must(q.Handle(ctx, subs))(t)
	}
	handle(&registration)
	bots := []*bot{alice}
	for i := range 12 {
		who := bots[i%len(bots)]
		var out *mlsengine.CommitOut
		var bundle Bundle
		if i%3 == 0 {
			joiner := newBot(t, fmt.Sprintf("bot-%d", i))
			bots = append(bots, joiner)
			bundle, out = who.add(joiner)
		} else {
			bundle, out = who.update()
		}
		text := who.message("before the commit")
		proposal := must(who.group.Propose(&mlsengine.GroupContextExtensions{}, mlsengine.Framing{}, who.env()))(t)
		got := handle(&text, &Proposal{Group: testGroup, Origin: who.origin(), Message: proposal.Message}, &bundle, &bundle)
		won, ok := got[2].Answer.(Success)
		if !ok || got[3].Answer != got[2].Answer {
			t.Fatalf("step %d: %+v", i, got)
		}
		e := must(s.Entry(ctx, testGroup, won.Position))(t)
		for _, b := range bots {
			switch {
			case b == who:
				b.group = out.Staged.Next
			case b.group == nil:
				b.join(e)
			default:
				b.process(e, nil)
			}
		}
		if i == 7 {
			if err := q.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if live, folded := must(q.State().Marshal())(t), marshal(t, s, testGroup); !bytes.Equal(live, folded) {
			t.Fatalf("step %d: live state and fold differ", i)
		}
	}
}

func TestStaleSequencerIsFencedOff(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.node("a", nil)
	alice := newBot(t, "alice")
	registration := alice.create(testGroup)
	old := must(s.OpenSequencer(ctx, testGroup, MayCreate))(t)
	must(old.Handle(ctx, []Submission{&registration}))(t)
	young := must(s.OpenSequencer(ctx, testGroup, MustExist))(t)
	mine, _ := alice.update()
	other, _ := alice.update()
	if got := must(young.Handle(ctx, []Submission{&mine}))(t); got[0].Answer == nil {
		t.Fatalf("outcome %+v", got[0])
	}
	text := alice.message("x")
	got, err := old.Handle(ctx, []Submission{&other, &text})
	if !errors.Is(err, events.ErrFenced) || len(got) != 2 {
		t.Fatalf("outcomes %+v, %v", got, err)
	}
	for _, o := range got {
		wants(t, o.Err, Unavailable)
	}
	again := must(s.OpenSequencer(ctx, testGroup, MustExist))(t)
	if got := must(again.Handle(ctx, []Submission{&other}))(t); got[0].Answer != (Answer)(Retry{Epoch: 1}) {
		t.Fatalf("the loser, again: %+v", got[0])
	}
}

func TestRetentionPurgesAPrefixAndReadersAreBehind(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	limits := func(c *Config) {
		c.Limits.CheckpointEntries, c.Limits.RetainEntries, c.Limits.BatchMessages = 20, time.Hour, 5
	}
	s := w.serving("a", limits)
	bots := crowd(t, s, testGroup, 2)
	for _, b := range bots {
		b.now = w.clock.now
	}
	send := func(n int) {
		t.Helper()
		for i := range n {
			if r := must(s.SubmitMessages(ctx, []Message{bots[i%2].message("x")}))(t)[0]; r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	send(70)
	w.clock.advance(2 * time.Hour)
	send(30)
	_, err := s.Follow(ctx, testGroup, 1, 10)
	if err == nil { // the reader's window may still hold what the log no longer does
		other := w.node("b", limits)
		_, err = other.Follow(ctx, testGroup, 1, 10)
	}
	wants(t, err, Behind)
	var behind *Error
	if !errors.As(err, &behind) || behind.First < 2 || behind.First > 90 {
		t.Fatalf("behind: %+v", behind)
	}
	fresh := w.node("c", limits)
	entries := must(fresh.Follow(ctx, testGroup, behind.First, 1000))(t)
	if len(entries) == 0 || entries[0].Number != behind.First || entries[len(entries)-1].Number != 102 {
		t.Fatalf("%d entries from %d", len(entries), behind.First)
	}
	// The sequencer starts from the checkpoint, with or without its snapshot, and still knows the newest GroupInfo.
	if info, number, err := fresh.GroupInfo(ctx, testGroup, bots[0].id); err != nil || number != 2 || len(info) == 0 {
		t.Fatalf("group info of entry %d: %v", number, err)
	}
	if _, ok, err := fresh.WhoWon(ctx, testGroup, 1); ok || err != nil {
		t.Fatalf("epoch 1: %v %v", ok, err)
	}
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	heir := w.serving("heir", limits)
	bundle, out := bots[1].update()
	bots[1].win(heir, bundle, out)
}

func TestReadersFindAnyPlace(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	small := func(c *Config) { c.Limits.CachedEntries, c.Limits.BatchMessages = 8, 4 }
	s := w.serving("a", small)
	bots := crowd(t, s, testGroup, 2)
	other := registered(t, s, "another group", "zoe") // its records stand between
	for i := range 60 {
		var ms []Message
		for range 3 {
			ms = append(ms, bots[i%2].message("x"))
		}
		must(s.SubmitMessages(ctx, ms))(t)
		if i%10 == 0 {
			bundle, out := bots[i/10%2].update()
			e := bots[i/10%2].win(s, bundle, out)
			bots[1-i/10%2].process(e, nil)
			bundle, out = other.update()
			other.win(s, bundle, out)
		}
	}
	newest := must(s.Newest(ctx, testGroup))(t)
	for _, from := range []uint64{1, 2, 3, 50, 100, 51, newest - 1, newest, newest + 1, 7} {
		reader := w.node(fmt.Sprintf("reader-%d", from), small)
		for _, r := range []*Service{s, reader} {
			entries := must(r.Follow(ctx, testGroup, from, 10))(t)
			want := min(10, int(newest+1)-min(int(from), int(newest+1)))
			if len(entries) < min(want, 1) {
				t.Fatalf("from %d: %d entries", from, len(entries))
			}
			for i, e := range entries {
				if e.Number != from+uint64(i) {
					t.Fatalf("from %d: entry %d is number %d", from, i, e.Number)
				}
			}
		}
	}
	_, err := s.Follow(ctx, testGroup, newest+5, 10) // a follower that has seen what the order does not have
	wants(t, err, Damaged)
	idle := w.node("idle", small) // nobody serves it: it reads the order itself
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for epoch := range uint64(7) {
		bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
		e, ok, err := idle.WhoWon(bounded, testGroup, epoch)
		cancel()
		if err != nil || !ok || e.Epoch != epoch || e.Kind != KindCommit {
			t.Fatalf("epoch %d: %+v %v %v", epoch, e, ok, err)
		}
	}
	if _, ok, err := idle.WhoWon(ctx, testGroup, 7); ok || err != nil {
		t.Fatalf("the current epoch: %v %v", ok, err)
	}
}

func TestChunkedBundlesAreReadAndNoticed(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	alice, bob := registered(t, s, testGroup, "alice"), newBot(t, "bob")
	bundle, out := alice.add(bob)
	bundle.EncryptedMessage = bytes.Repeat([]byte("large"), 400_000)
	e := alice.win(s, bundle, out)
	if !bytes.Equal(e.EncryptedMessage, bundle.EncryptedMessage) {
		t.Fatal("the message came back different")
	}
	reader := w.node("b", nil)
	got := must(reader.Entry(ctx, testGroup, 2))(t)
	if !bytes.Equal(got.EncryptedMessage, bundle.EncryptedMessage) {
		t.Fatal("the message came back different on another node")
	}
	last := must(w.store.Last(ctx, events.OrderLog(testGroup)))(t)
	rec := must(reader.readers.recordAt(ctx, testGroup, last.Sequence))(t)
	if rec == nil || lastNumber(rec) != 2 {
		t.Fatalf("record %+v", rec)
	}
	chunk := must(reader.readers.recordAt(ctx, testGroup, last.Sequence-1))(t)
	if chunk != nil {
		t.Fatal("a chunk was taken for a record")
	}
}
