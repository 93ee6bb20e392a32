package events_test

import (
	"errors"
	"slices"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
)

var (
	clientLog = events.ClientLog("alice")
	second    = events.ConversationLog("alice", "second")
)

// transaction appends one record to each journal, atomically.
func (w *world) transaction(name ids.TransactionID, journals ...*events.Journal) ([]*events.Prepared, error) {
	w.t.Helper()
	batch := events.NewBatch(name, 0, journals...)
	var prepared []*events.Prepared
	for i, j := range journals {
		p, err := j.Prepare(w.t.Context(), events.Draft{Cause: events.Cause{Transaction: name}, Events: []events.Event{advanced(uint64(i), string(name))}}, batch)
		if err != nil {
			w.t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	return prepared, events.AppendAll(w.t.Context(), w.store, prepared)
}

func TestTransactionOverSeveralLogs(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	if _, err := w.transaction("tx1", a, b); err != nil {
		t.Fatal(err)
	}
	w.append(a, consumed("more"))
	if _, err := w.transaction("tx2", b, a); err != nil {
		t.Fatal(err)
	}
	for _, j := range []*events.Journal{a, b} {
		again, records := w.replay(j.ID())
		if again.Head() != j.Head() {
			t.Errorf("%s: head %v, want %v", j.ID(), again.Head(), j.Head())
		}
		last := records[len(records)-1]
		if last.Batch == nil || last.Batch.Transaction != "tx2" || len(last.Batch.Participants) != 2 || last.Events[0].Secrets[0].Plain.IsZero() {
			t.Errorf("%s: last record %+v", j.ID(), last)
		}
	}
}

func TestLostRaceOfOneStopsTheWholeBatch(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	rival, _ := w.replay(second)
	w.append(rival, advanced(0, "rival"))
	if _, err := w.transaction("tx1", a, b); !errors.Is(err, events.ErrFenced) {
		t.Fatalf("batch with a stale participant: %v", err)
	}
	if len(w.store.Messages(conversation)) != 0 {
		t.Error("half a batch was stored")
	}
	if err := a.CheckHead(t.Context()); err != nil {
		t.Errorf("the journal that did not lose: %v", err)
	}
	if err := b.CheckHead(t.Context()); !errors.Is(err, events.ErrFenced) {
		t.Errorf("the journal that lost: %v", err)
	}
	w.append(a, advanced(0, "goes on"))
}

func TestRecordsMayTravelTogetherWithoutBeingOne(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	var prepared []*events.Prepared
	for _, j := range []*events.Journal{a, b} {
		p, err := j.Prepare(t.Context(), events.Draft{Events: []events.Event{advanced(0, "p")}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	if err := events.AppendAll(t.Context(), w.store, prepared); err != nil {
		t.Fatal(err)
	}
	// The tail is lost: what remains needs no other log to be whole.
	w.store.Replace(second, nil)
	if _, records := w.replay(conversation); len(records) != 1 {
		t.Errorf("%d records", len(records))
	}
	if err := events.AppendAll(t.Context(), w.store, prepared); !errors.Is(err, events.ErrBadDraft) {
		t.Errorf("the same records again: %v", err)
	}
}

// halved is a transaction of which the store keeps all but the last record,
// and acknowledges nothing.
func (w *world) halved(name ids.TransactionID, journals ...*events.Journal) {
	w.t.Helper()
	batch := events.NewBatch(name, 0, journals...)
	var prepared []*events.Prepared
	for _, j := range journals {
		p, err := j.Prepare(w.t.Context(), events.Draft{Events: []events.Event{advanced(1, string(name))}}, batch)
		if err != nil {
			w.t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	if err := events.AppendAll(w.t.Context(), &slowLog{Store: w.store, fault: w.half}, prepared); !errors.Is(err, events.ErrUnknownOutcome) {
		w.t.Fatal(err)
	}
}

// tear removes what a store lost after an atomic batch: the newest messages of
// a log.
func (w *world) tear(id events.LogID, keep int) {
	w.store.Replace(id, w.store.Messages(id)[:keep])
}

func TestTornBatchIsVoidAndSaysSo(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	w.append(a, advanced(0, "before"))
	w.halved("tx1", a, b)

	var void []*events.Record
	j := w.open(conversation, events.JournalOptions{Void: func(r *events.Record) { void = append(void, r) }})
	var records []*events.Record
	if err := j.Replay(t.Context(), events.Head{}, collect(&records)); err != nil {
		t.Fatal(err)
	}
	kinds := kindsOf(records)
	if !slices.Equal(kinds, []string{"EpochAdvanced", "Claimed", "TransactionTorn"}) {
		t.Fatalf("replay gives %v", kinds)
	}
	if len(void) != 1 || void[0].Version != 2 || void[0].Batch.Transaction != "tx1" {
		t.Fatalf("void: %+v", void)
	}
	body := records[2].Events[0].Body.(*v1.TransactionTorn)
	if body.Version != 2 || string(body.TransactionId) != "tx1" || string(body.Digest) != string(void[0].Digest[:]) {
		t.Errorf("TransactionTorn %v", body)
	}
	w.append(j, advanced(1, "after"))

	// Whoever reads later comes to the same history, without writing anything, and the state before the torn record was kept.
	again, records := w.replay(conversation)
	if got := kindsOf(records); !slices.Equal(got, []string{"EpochAdvanced", "Claimed", "TransactionTorn", "EpochAdvanced"}) || again.Head() != j.Head() {
		t.Errorf("second replay gives %v at %v", got, again.Head())
	}
}

// The batch was whole and acknowledged, and its end was lost afterwards: the
// rest is void all the same, and the log is one that has lost something.
func TestBatchThatLostItsEndAfterwardsIsARollback(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	w.append(a, advanced(0, "before"))
	if _, err := w.transaction("tx1", a, b); err != nil {
		t.Fatal(err)
	}
	w.tear(second, 0)
	for range 2 { // whoever comes first settles it; the next comes to the same conclusion
		j, records := w.replay(conversation)
		if got := kindsOf(records); !slices.Equal(got, []string{"EpochAdvanced", "Claimed", "TransactionTorn"}) {
			t.Fatalf("replay gives %v", got)
		}
		if err := j.CheckAnchor(t.Context()); !errors.Is(err, events.ErrRolledBack) {
			t.Fatalf("check: %v", err)
		}
	}
	j, _ := w.replay(conversation)
	w.append(j, events.Event{Body: &v1.LogRolledBack{}})
	w.append(j, advanced(5, "rejoined"))
	again, _ := w.replay(conversation)
	if err := again.CheckAnchor(t.Context()); err != nil {
		t.Errorf("after the rejoin: %v", err)
	}
}

func TestVoidRecordKillsNoKey(t *testing.T) {
	w := newWorld(t)
	crash := errors.New("crash")
	dead := false
	a := w.open(conversation, events.JournalOptions{Hooks: events.Hooks{Before: func(_ ctx, step events.Step, _ events.LogID) error {
		if dead && step == events.StepKeyDeath {
			return crash
		}
		return nil
	}}})
	if err := a.Replay(t.Context(), events.Head{}, ignore); err != nil {
		t.Fatal(err)
	}
	b, _ := w.replay(second)
	w.append(a, advanced(0, "before"))
	dead = true
	if _, err := w.transaction("tx1", a, b); !errors.Is(err, events.ErrRingBehind) {
		t.Fatalf("append before the crash: %v", err)
	}
	w.tear(second, 0)
	j, records := w.replay(conversation)
	if got := string(records[0].Events[0].Secrets[0].Plain.Expose()); got != "before" {
		t.Errorf("private state before the torn batch is %q", got)
	}
	w.append(j, consumed("on the state before"))
	_, records = w.replay(conversation)
	if got := string(records[3].Events[0].Secrets[0].Plain.Expose()); got != "on the state before" {
		t.Errorf("consumption after the torn batch is %q", got)
	}
}

func kindsOf(records []*events.Record) []string {
	var kinds []string
	for _, r := range records {
		for _, e := range r.Events {
			kinds = append(kinds, e.Kind())
		}
	}
	return kinds
}

// A batch becomes visible message by message: what looks torn may be whole a
// moment later.
func TestBatchThatIsStillArrivingIsNotTorn(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	if _, err := w.transaction("tx1", a, b); err != nil {
		t.Fatal(err)
	}
	rest := w.store.Messages(second)
	w.tear(second, 0)
	j := w.open(conversation, events.JournalOptions{Hooks: events.Hooks{Before: func(_ ctx, step events.Step, _ events.LogID) error {
		if step == events.StepTorn {
			w.store.Replace(second, rest)
		}
		return nil
	}}})
	var records []*events.Record
	if err := j.Replay(t.Context(), events.Head{}, collect(&records)); err != nil {
		t.Fatal(err)
	}
	if got := kindsOf(records); !slices.Equal(got, []string{"EpochAdvanced", "Claimed"}) {
		t.Errorf("replay gives %v", got)
	}
	if _, records = w.replay(second); len(records) != 1 {
		t.Errorf("the other log has %d records", len(records))
	}
}

func TestForgedEndDoesNotMakeABatchWhole(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	prepared, err := w.transaction("tx1", a, b)
	if err != nil {
		t.Fatal(err)
	}
	w.tear(second, 0)
	forged := slices.Clone(prepared[1].Record().Raw)
	forged[len(forged)-1] ^= 1 // the MAC
	w.store.Put(second, forged)
	_, records := w.replay(conversation)
	if got := kindsOf(records); !slices.Equal(got, []string{"Claimed", "TransactionTorn"}) {
		t.Errorf("replay gives %v", got)
	}
}

// A record whose MAC nobody can check any more proves a batch all the same: the
// ring of its log was made anew since.
func TestBatchOfALogThatLostItsRingIsWhole(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	if _, err := w.transaction("tx1", a, b); err != nil {
		t.Fatal(err)
	}
	if err := w.stores.Rings.Delete(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	again := w.open(second, events.JournalOptions{AcceptLoss: true})
	if err := again.Replay(t.Context(), events.Head{}, ignore); err != nil {
		t.Fatal(err)
	}
	w.append(again, events.Event{Body: &v1.SecretsLost{}})
	if _, records := w.replay(conversation); !slices.Equal(kindsOf(records), []string{"EpochAdvanced"}) {
		t.Errorf("replay gives %v", kindsOf(records))
	}
}

func TestChunksWithoutTheirRecordAreSuperseded(t *testing.T) {
	w := newWorld(t)
	log := w.slowly()
	j, _ := w.replay(conversation)
	w.append(j, advanced(0, "p"))
	log.fault = func(as []events.Append) ([]uint64, error) { // the store fills up after two chunks
		for _, m := range as[0].Messages[:2] {
			w.store.Put(conversation, m)
		}
		return nil, events.ErrUnknownOutcome
	}
	if _, err := j.Append(t.Context(), events.Draft{Events: []events.Event{large(1 << 20)}}); !errors.Is(err, events.ErrUnknownOutcome) {
		t.Fatal(err)
	}
	again, records := w.replay(conversation)
	if got := kindsOf(records); !slices.Equal(got, []string{"EpochAdvanced", "TransactionTorn"}) {
		t.Fatalf("replay gives %v", got)
	}
	if outcome, err := j.Settle(t.Context(), j.Pending()); outcome != events.Lost || err != nil {
		t.Errorf("settle: %v, %v", outcome, err)
	}
	w.append(again, consumed("c"))
	if _, records = w.replay(conversation); len(records) != 3 {
		t.Errorf("%d records", len(records))
	}
}

func TestAuditHoldsWhatMayBeTorn(t *testing.T) {
	w := newWorld(t)
	a, _ := w.replay(conversation)
	b, _ := w.replay(second)
	if _, err := w.transaction("tx1", a, b); err != nil {
		t.Fatal(err)
	}
	audit := events.OpenAudit(w.store, conversation, events.Keys{}, events.AuditOptions{})
	var records []*events.Record
	if err := audit.Replay(t.Context(), events.Head{}, collect(&records)); err != nil || len(records) != 1 || audit.Torn() {
		t.Fatalf("whole batch: %d records, torn %v, %v", len(records), audit.Torn(), err)
	}
	// A file that holds one log proves nothing against a batch.
	records = nil
	file := events.OpenAudit(oneLog{w.store, conversation}, conversation, events.Keys{}, events.AuditOptions{})
	if err := file.Replay(t.Context(), events.Head{}, collect(&records)); err != nil || len(records) != 1 {
		t.Errorf("one log alone: %d records, %v", len(records), err)
	}
	w.tear(second, 0)
	records = nil
	before := len(w.store.Messages(conversation))
	if err := audit.Replay(t.Context(), events.Head{}, collect(&records)); err != nil || len(records) != 0 || !audit.Torn() || audit.Head().Version != 0 {
		t.Errorf("torn batch: %d records, torn %v, head %v, %v", len(records), audit.Torn(), audit.Head(), err)
	}
	if len(w.store.Messages(conversation)) != before {
		t.Error("an audit has written")
	}
}

// Whoever dies while it settles a torn batch leaves it to the next.
func TestCrashWhileATornBatchIsSettled(t *testing.T) {
	crash := errors.New("crash")
	for fatal := 1; fatal <= 4; fatal++ { // before and after each of the two records
		w := newWorld(t)
		a, _ := w.replay(conversation)
		b, _ := w.replay(second)
		w.append(a, advanced(0, "before"))
		w.halved("tx1", a, b)
		count := 0
		kill := func(_ ctx, step events.Step, _ events.LogID) error {
			if step != events.StepTorn {
				return nil
			}
			if count++; count == fatal {
				return crash
			}
			return nil
		}
		j := w.open(conversation, events.JournalOptions{Hooks: events.Hooks{Before: kill, After: kill}})
		if err := j.Replay(t.Context(), events.Head{}, ignore); !errors.Is(err, crash) {
			t.Fatalf("crash %d: %v", fatal, err)
		}
		again, records := w.replay(conversation)
		if got := kindsOf(records); !slices.Equal(got, []string{"EpochAdvanced", "Claimed", "TransactionTorn"}) {
			t.Errorf("crash %d: replay gives %v", fatal, got)
		}
		w.append(again, consumed("on the state before"))
	}
}
