package events_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
)

func idOf(i int) ids.ConversationID { return ids.ConversationID(fmt.Sprint("conversation-", i)) }

// story makes random drafts, and remembers what must still open.
type story struct {
	rng      *rand.Rand
	epoch    uint64
	message  uint64
	acked    uint64
	timeMS   uint64
	psks     []string
	letters  map[string]string // what failed last, by label
	failures int
}

func (s *story) draft() events.Draft {
	s.timeMS += s.rng.Uint64N(5 * minute)
	d := events.Draft{TimeMS: s.timeMS, Cause: events.Cause{CommandID: ids.CommandID(fmt.Sprint(s.rng.Uint64()))}}
	for range 1 + s.rng.IntN(4) {
		d.Events = append(d.Events, s.event())
	}
	if s.rng.IntN(4) == 0 {
		d.Anchor = &events.Anchor{Epoch: s.epoch, ApplicationReserved: uint32(s.rng.IntN(100))}
	}
	return d
}

func (s *story) event() events.Event {
	switch n := s.rng.IntN(10); {
	case s.epoch == 0 || n < 3:
		s.epoch++
		e := advanced(s.epoch, fmt.Sprint("private ", s.epoch))
		e.Secrets = append(e.Secrets, events.Secret{Class: events.ClassVerification, Label: events.Item("epoch", s.epoch), Plain: plain(fmt.Sprint("v", s.epoch))})
		if s.epoch > 3 {
			e.Forget = []string{events.ForgetThrough(events.ClassVerification, "epoch", s.epoch-3)}
		}
		return e
	case n < 6:
		s.message++
		return events.Event{Body: &v1.MessagesConsumed{Count: 1, FirstMessage: s.message}, Secrets: []events.Secret{
			{Class: events.ClassConsumption, Plain: plain(fmt.Sprint("consumed in ", s.epoch))},
			{Class: events.ClassSpool, Label: events.Item("message", s.message), Plain: plain(fmt.Sprint("message ", s.message))},
		}}
	case n < 7:
		s.acked = s.message
		return events.Event{Body: &v1.MessagesDelivered{Through: s.acked}, Forget: []string{events.ForgetThrough(events.ClassSpool, "message", s.acked)}}
	case n < 8:
		s.psks = append(s.psks, fmt.Sprint("psk-", len(s.psks)))
		label := s.psks[len(s.psks)-1]
		return events.Event{Body: &v1.PreSharedKeyAdded{Id: []byte(label)}, Secrets: []events.Secret{{Class: events.ClassPSK, Label: label, Plain: plain("value of " + label)}}}
	case n < 9 && s.message > 0 && s.rng.IntN(2) == 0:
		// A message failed, for the first time or once more; or it is done with.
		number := uint64(s.rng.IntN(int(s.message)))
		label := events.Item("", number)
		if _, there := s.letters[label]; there && s.rng.IntN(2) == 0 {
			delete(s.letters, label)
			return events.Event{Body: &v1.LettersDropped{Numbers: []uint64{number}}, Forget: []string{events.Forget(events.ClassLetter, label)}}
		}
		s.failures++
		s.letters[label] = fmt.Sprint("failure ", s.failures)
		return events.Event{Body: &v1.DeliveryFailed{Number: number}, Secrets: []events.Secret{{Class: events.ClassLetter, Label: label, Plain: plain(s.letters[label])}}}
	case n < 9 && len(s.psks) > 0:
		label := s.psks[s.rng.IntN(len(s.psks))]
		s.psks = slices.DeleteFunc(s.psks, func(l string) bool { return l == label })
		return events.Event{Body: &v1.PreSharedKeyRemoved{Id: []byte(label)}, Forget: []string{events.Forget(events.ClassPSK, label)}}
	}
	return events.Event{Body: &v1.ProposalReceived{}, Secrets: []events.Secret{{Class: events.ClassAudit, Plain: plain("signed bytes")}}}
}

// needed is what a log must still open after the story so far.
func (s *story) needed(records []*events.Record) error {
	open := map[string]bool{}
	for _, r := range records {
		for _, e := range r.Events {
			for _, secret := range e.Secrets {
				if !secret.Plain.IsZero() {
					open[string(secret.Plain.Expose())] = true
				}
			}
		}
	}
	want := []string{fmt.Sprint("private ", s.epoch), fmt.Sprint("v", s.epoch)}
	newest := map[string]bool{}
	for _, text := range s.letters {
		want, newest[text] = append(want, text), true
	}
	for i := range s.failures {
		if text := fmt.Sprint("failure ", i+1); open[text] && !newest[text] {
			return fmt.Errorf("%q opens", text)
		}
	}
	for m := s.acked + 1; m <= s.message; m++ {
		want = append(want, fmt.Sprint("message ", m))
	}
	for _, label := range s.psks {
		want = append(want, "value of "+label)
	}
	for _, text := range want {
		if s.epoch > 0 && !open[text] {
			return fmt.Errorf("%q does not open", text)
		}
	}
	for epoch := range s.epoch {
		if open[fmt.Sprint("private ", epoch)] {
			return fmt.Errorf("private state %d of %d opens", epoch, s.epoch)
		}
	}
	return nil
}

// TestStoredIsWhatComesBack is the law of this package on random histories: a
// record that was prepared and stored is replayed with the same bytes and
// events, secrets that live come back as they were, the others not at all,
// across restarts, snapshots and rotations of the shred key.
func TestStoredIsWhatComesBack(t *testing.T) {
	for seed := range uint64(12) {
		w := newWorld(t)
		s := &story{rng: rand.New(rand.NewPCG(seed, 1)), timeMS: 1, letters: map[string]string{}}
		j, _ := w.replay(conversation)
		var stored []*events.Record
		for step := range 60 {
			d := s.draft()
			r, err := j.Append(t.Context(), d)
			if err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			stored = append(stored, r)
			switch s.rng.IntN(12) {
			case 0:
				j = w.reopen(t, stored, s)
			case 1:
				if err := j.SaveSnapshot(t.Context(), []byte("state")); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			case 2:
				if _, err := (events.Shred{Rings: w.stores.Rings, Vault: w.vault}).Run(t.Context()); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			case 3:
				if err := j.Sweep(t.Context(), s.timeMS+s.rng.Uint64N(20*minute)); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, step, err)
				}
			case 4:
				j = w.resume(t, j.Head())
			}
		}
		w.reopen(t, stored, s)
	}
}

// reopen replays everything and compares it with what was stored.
func (w *world) reopen(t *testing.T, stored []*events.Record, s *story) *events.Journal {
	t.Helper()
	j, records := w.replay(conversation)
	if err := j.CheckAnchor(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(records) != len(stored) {
		t.Fatalf("%d records came back of %d", len(records), len(stored))
	}
	for i, r := range records {
		want := stored[i]
		if r.Head != want.Head || !bytes.Equal(r.Raw, want.Raw) || r.TimeMS != want.TimeMS || r.Cause != want.Cause || !slices.Equal(kindsOf(records[i:i+1]), kindsOf(stored[i:i+1])) {
			t.Fatalf("record %d came back as %+v", i+1, r)
		}
		for k, e := range r.Events {
			for n, secret := range e.Secrets {
				if !secret.Plain.IsZero() && !secret.Plain.Equal(want.Events[k].Secrets[n].Plain) {
					t.Errorf("record %d: a secret came back as %q", i+1, secret.Plain.Expose())
				}
			}
		}
	}
	if err := s.needed(records); err != nil {
		t.Fatalf("after %d records: %v", len(records), err)
	}
	return j
}

// resume opens the log from its snapshot, as a node does.
func (w *world) resume(t *testing.T, want events.Head) *events.Journal {
	t.Helper()
	j := w.open(conversation, events.JournalOptions{})
	from := events.Head{}
	snapshot, err := j.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if snapshot != nil {
		from = snapshot.Head
	}
	if err := errors.Join(j.Replay(t.Context(), from, ignore), j.CheckAnchor(t.Context())); err != nil || j.Head() != want {
		t.Fatalf("resume at %v: %v", j.Head(), err)
	}
	return j
}

// TestCrashAtEveryStepLosesNothing kills the journal before and after each of
// its durable steps, opens the log again and goes on.
func TestCrashAtEveryStepLosesNothing(t *testing.T) {
	crash := errors.New("crash")
	for _, step := range events.Steps() {
		for _, when := range []string{"before", "after"} {
			w := newWorld(t)
			s := &story{rng: rand.New(rand.NewPCG(7, 7)), timeMS: 1, letters: map[string]string{}}
			armed := 0
			kill := func(_ ctx, at events.Step, _ events.LogID) error {
				if at != step {
					return nil
				}
				if armed++; armed%3 == 0 {
					return crash
				}
				return nil
			}
			options := events.JournalOptions{Hooks: events.Hooks{Before: kill}}
			if when == "after" {
				options = events.JournalOptions{Hooks: events.Hooks{After: kill}}
			}
			if err := w.surviving(t, s, options, crash); err != nil {
				t.Errorf("%s %s: %v", when, step, err)
			}
		}
	}
}

// surviving writes a story and reopens the log after each crash. A draft whose
// record is not there after a crash never happened, and is written again.
func (w *world) surviving(t *testing.T, s *story, options events.JournalOptions, crash error) error {
	t.Helper()
	var j *events.Journal
	version := uint64(0)
	for step := 0; step < 40; {
		if j == nil {
			var err error
			if j, err = events.OpenJournal(t.Context(), w.stores, w.vault, conversation, options); err == nil {
				err = j.Replay(t.Context(), events.Head{}, ignore)
			}
			if errors.Is(err, crash) {
				j = nil
				continue
			}
			if err != nil {
				return err
			}
			if err := j.CheckAnchor(t.Context()); err != nil {
				return err
			}
			if j.Head().Version < version {
				return fmt.Errorf("acknowledged record %d is gone", version)
			}
		}
		before := *s
		before.psks = slices.Clone(s.psks)
		r, err := j.Append(t.Context(), s.draft())
		if r == nil && j.Err() == nil && err != nil && errors.Is(err, crash) { // before it was stored
			*s = before
			j = nil
			continue
		}
		step++
		if r != nil {
			version = r.Version
		}
		if err != nil {
			if !errors.Is(err, crash) && !errors.Is(err, events.ErrRingBehind) {
				return err
			}
			j = nil
		} else if step%5 == 0 {
			if err := j.SaveSnapshot(t.Context(), []byte("state")); errors.Is(err, crash) {
				j = nil
			} else if err != nil {
				return err
			}
		}
	}
	// What the last crash left undone the next who opens the log makes up for.
	last, _ := w.replay(conversation)
	if err := last.Sweep(t.Context(), s.timeMS); err != nil {
		return err
	}
	_, records := w.replay(conversation)
	return s.needed(records)
}
