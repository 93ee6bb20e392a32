package events_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"parley/events"
	"parley/events/memlog"
	v1 "parley/events/v1"
)

type ctx = context.Context

// oneLog is a source that knows one log only, like an exported file.
type oneLog struct {
	source events.Source
	only   events.LogID
}

func (o oneLog) Read(ctx ctx, id events.LogID, from uint64, fn func(events.Message) error) error {
	if id != o.only {
		return nil
	}
	return o.source.Read(ctx, id, from, fn)
}

// slowLog is a log whose acknowledgements get lost: the append may have been
// stored, may never be, or may be stored later.
type slowLog struct {
	*memlog.Store
	fault func(as []events.Append) ([]uint64, error) // nil: none
}

func (s *slowLog) Append(ctx ctx, a events.Append) (uint64, error) {
	if s.fault == nil {
		return s.Store.Append(ctx, a)
	}
	sequences, err := s.AppendBatch(ctx, []events.Append{a})
	if err != nil {
		return 0, err
	}
	return sequences[0], nil
}

func (s *slowLog) AppendBatch(ctx ctx, as []events.Append) ([]uint64, error) {
	if fault := s.fault; fault != nil {
		s.fault = nil // once
		return fault(as)
	}
	return s.Store.AppendBatch(ctx, as)
}

// slowly gives the world a log with faults.
func (w *world) slowly() *slowLog {
	log := &slowLog{Store: w.store}
	w.stores.Log = log
	return log
}

func TestUnknownOutcomeThatWasStored(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	log.fault = func(as []events.Append) ([]uint64, error) {
		if _, err := w.store.AppendBatch(t.Context(), as); err != nil {
			return nil, err
		}
		return nil, context.DeadlineExceeded // not even named: it still counts as unknown
	}
	_, err := j.Append(t.Context(), events.Draft{Events: []events.Event{consumed("c")}})
	if !errors.Is(err, events.ErrUnknownOutcome) || j.Pending() == nil {
		t.Fatalf("append: %v, pending %v", err, j.Pending())
	}
	if outcome, err := j.Settle(t.Context(), j.Pending()); outcome != events.Stored || err != nil {
		t.Fatalf("settle: %v, %v", outcome, err)
	}
	if _, records := w.replay(conversation); len(records) != 2 {
		t.Errorf("%d records", len(records))
	}
}

func TestUnknownOutcomeThatNeverArrivesIsFencedOff(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p0"))
	var late []events.Append
	log.fault = func(as []events.Append) ([]uint64, error) {
		late = as
		return nil, events.ErrUnknownOutcome
	}
	if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{consumed("c")}}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	if outcome, err := j.Settle(t.Context(), j.Pending()); outcome != events.Lost || err != nil {
		t.Fatalf("settle: %v, %v", outcome, err)
	}
	// Minutes later the record arrives after all.
	if _, err := w.store.AppendBatch(t.Context(), late); !errors.Is(err, events.ErrFenced) {
		t.Errorf("the late record: %v", err)
	}
	_, records := w.replay(conversation)
	if got := kindsOf(records); !slices.Equal(got, []string{"EpochAdvanced", "Claimed"}) {
		t.Errorf("replay gives %v", got)
	}
}

func TestUnknownOutcomeThatArrivesDuringTheSearch(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	var late []events.Append
	log.fault = func(as []events.Append) ([]uint64, error) {
		late = as
		return nil, events.ErrUnknownOutcome
	}
	if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{advanced(0, "p")}}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	log.fault = func(noop []events.Append) ([]uint64, error) {
		if _, err := w.store.AppendBatch(t.Context(), late); err != nil {
			t.Error(err)
		}
		return w.store.AppendBatch(t.Context(), noop)
	}
	if outcome, err := j.Settle(t.Context(), j.Pending()); outcome != events.Stored || err != nil {
		t.Fatalf("settle: %v, %v", outcome, err)
	}
	if _, records := w.replay(conversation); !slices.Equal(kindsOf(records), []string{"EpochAdvanced"}) {
		t.Errorf("replay gives %v", kindsOf(records))
	}
}

func TestUnknownOutcomeThatLostToARival(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	rival, _ := w.replay(conversation)
	log.fault = func([]events.Append) ([]uint64, error) { return nil, events.ErrUnknownOutcome }
	if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{advanced(0, "p")}}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	w.append(rival, advanced(0, "rival"))
	if outcome, err := j.Settle(t.Context(), j.Pending()); outcome != events.Lost || err != nil {
		t.Errorf("settle: %v, %v", outcome, err)
	}
	if messages := w.store.Messages(conversation); len(messages) != 1 {
		t.Errorf("%d messages: the search wrote without need", len(messages))
	}
}

func TestSettleIsRepeatedUntilTheStoreAnswers(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	log.fault = func([]events.Append) ([]uint64, error) { return nil, events.ErrUnknownOutcome }
	if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{advanced(0, "p")}}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	log.fault = func(as []events.Append) ([]uint64, error) { // the no-op is stored, and nobody says so
		_, _ = w.store.AppendBatch(t.Context(), as)
		return nil, events.ErrUnknownOutcome
	}
	if outcome, err := j.Settle(t.Context(), j.Pending()); err == nil {
		t.Errorf("settle without an answer: %v", outcome)
	}
	if outcome, err := j.Settle(t.Context(), j.Pending()); outcome != events.Lost || err != nil {
		t.Errorf("settle again: %v, %v", outcome, err)
	}
}

// half stores a batch without its last log, as a store that fills up inside it
// does, and acknowledges nothing.
func (w *world) half(as []events.Append) ([]uint64, error) {
	_, err := w.store.AppendBatch(w.t.Context(), as[:len(as)-1])
	return nil, errors.Join(events.ErrUnknownOutcome, err)
}

func TestUnknownOutcomeOfATornBatchIsLostEverywhere(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	log.fault = w.half
	batch := events.NewBatch("tx", 0, a, b)
	var prepared []*events.Prepared
	for _, j := range []*events.Journal{a, b} {
		p, err := j.Prepare(t.Context(), events.Draft{Events: []events.Event{advanced(0, "p")}}, batch)
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	if err := events.AppendAll(t.Context(), log, prepared); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	for _, p := range prepared {
		if outcome, err := p.Journal().Settle(t.Context(), p); outcome != events.Lost || err != nil {
			t.Errorf("%s: %v, %v", p.Journal().ID(), outcome, err)
		}
	}
	_, records := w.replay(conversation)
	if got := kindsOf(records); !slices.Equal(got, []string{"Claimed", "TransactionTorn"}) {
		t.Errorf("replay gives %v", got)
	}
	if _, records = w.replay(second); !slices.Equal(kindsOf(records), []string{"Claimed"}) {
		t.Errorf("the other log: %v", kindsOf(records))
	}
}

func TestUnknownOutcomeOfAWholeBatchIsStoredEverywhere(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	log.fault = func(as []events.Append) ([]uint64, error) {
		_, err := w.store.AppendBatch(t.Context(), as)
		return nil, errors.Join(events.ErrUnknownOutcome, err)
	}
	batch := events.NewBatch("tx", 0, a, b)
	var prepared []*events.Prepared
	for _, j := range []*events.Journal{a, b} {
		p, err := j.Prepare(t.Context(), events.Draft{Events: []events.Event{advanced(0, "p")}}, batch)
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	if err := events.AppendAll(t.Context(), log, prepared); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	for _, p := range prepared {
		if outcome, err := p.Journal().Settle(t.Context(), p); outcome != events.Stored || err != nil {
			t.Errorf("%s: %v, %v", p.Journal().ID(), outcome, err)
		}
	}
}

func TestRefusedAppendsLeaveTheJournalAlive(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	for _, refusal := range []error{events.ErrFull, events.ErrUnavailable, events.ErrTooLarge} {
		log.fault = func([]events.Append) ([]uint64, error) { return nil, refusal }
		if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{advanced(0, "p")}}); !errors.Is(err, refusal) || j.Err() != nil {
			t.Errorf("append: %v, journal %v", err, j.Err())
		}
	}
	w.append(j, advanced(0, "p"))
	if j.Head().Version != 1 {
		t.Errorf("head %v", j.Head())
	}
}

func TestDraftsThatCannotBeRecordsAreRefused(t *testing.T) {
	w := newWorld(t)
	j, _ := w.replay(conversation)
	spool := func(label string) events.Event {
		return events.Event{Body: &v1.MessagesConsumed{}, Secrets: []events.Secret{{Class: events.ClassSpool, Label: label, Plain: plain("x")}}}
	}
	for what, list := range map[string][]events.Event{
		"no event":                        nil,
		"no body":                         {{}},
		"consumption of nothing":          {consumed("c")},
		"a spool label without number":    {spool("message")},
		"a spool label with a bad number": {spool("message:x")},
		"an order's secret":               {{Body: &v1.Claimed{}, Secrets: []events.Secret{{Class: events.ClassOrder, Plain: plain("x")}}}},
		"an unknown class":                {{Body: &v1.Claimed{}, Secrets: []events.Secret{{Class: 99, Plain: plain("x")}}}},
		"the MAC key's class":             {{Body: &v1.Claimed{}, Secrets: []events.Secret{{Class: 32, Plain: plain("x")}}}},
		"a forget entry of nothing":       {{Body: &v1.Claimed{}, Forget: []string{"nothing"}}},
		"a forget entry of the audit key": {{Body: &v1.Claimed{}, Forget: []string{events.Forget(events.ClassAudit, "")}}},
		"too many events":                 slices.Repeat([]events.Event{{Body: &v1.Claimed{}}}, 5000),
	} {
		if _, err := j.Append(t.Context(), events.Draft{Events: list}); !errors.Is(err, events.ErrBadDraft) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.append(j, advanced(0, "p"))
}
