package conversation

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	v1 "parley/events/v1"
	"parley/internal/ids"
)

// spooledMessages reads every message that a member's log has had for its owner, by number.
func (m *member) spooledMessages(t testing.TB) map[uint64]ReceivedMessage {
	t.Helper()
	found := map[uint64]ReceivedMessage{}
	for _, r := range m.log {
		messages, err := Messages(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range messages {
			if one.History == "" {
				found[one.Number] = one
			}
		}
	}
	return found
}

// failure is the failure of a message whose newest handing over is the one that the state knows.
func (m *member) failure(t testing.TB, number uint64) Fail {
	t.Helper()
	in := Fail{Message: m.spooledMessages(t)[number], Version: number, Index: 3, Reason: "the kettle is cold"}
	if l, ok := m.state.Spool.Letter(number); ok {
		in.Turn = l.Turn
	}
	return in
}

// mishandles does something that an owner does who cannot handle what it is given.
func (w *world) mishandles(m *member) {
	w.t.Helper()
	if m.state.Spool.Next < 2 {
		return
	}
	number := 1 + uint64(w.rng.IntN(int(m.state.Spool.Next-1)))
	switch w.rng.IntN(8) {
	case 0:
		w.try(m, RequeueLetters{CommandMeta: w.meta(m), All: true})
		w.try(m, DropLetters{CommandMeta: w.meta(m), Numbers: []uint64{number}})
	case 1:
		w.try(m, RequeueLetters{CommandMeta: w.meta(m), Numbers: []uint64{number}})
		w.step(m, LoseLetters{Numbers: []uint64{number, number + 1}})
	case 2:
		w.step(m, Acknowledge{Letter: number})
	case 3:
		w.together(m, m.failure(w.t, number), m.failure(w.t, number), Acknowledge{Through: number, Letter: number}, DropLetters{CommandMeta: w.meta(m), All: true})
	default:
		w.try(m, m.failure(w.t, number))
		w.try(m, m.failure(w.t, number))
	}
}

// hearing is a member that has heard so many messages and acknowledged none.
func hearing(t *testing.T, config Config, messages int) (*world, *member) {
	t.Helper()
	w := newWorld(t, 7, config)
	ada, bob := w.newMember("ada"), w.newMember("bob")
	w.step(ada, Create{CommandMeta: w.meta(ada), Config: config})
	w.catchUp(ada)
	w.step(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(bob)}})
	w.answer(ada)
	w.catchUp(ada)
	w.catchUp(bob)
	for range messages {
		w.speak(ada)
	}
	w.catchUp(bob)
	if got := bob.state.Spool.Next - 1; got != uint64(messages) {
		t.Fatalf("bob has %d messages", got)
	}
	return w, bob
}

// TestAFailingMessageComesAgainUntilItIsPutAside follows one message through its failures: later each time, never counted twice, put aside at
// the bound, handed over anew on request, and acknowledged.
func TestAFailingMessageComesAgainUntilItIsPutAside(t *testing.T) {
	config := DefaultConfig()
	config.MaxDeliveries = 3
	w, bob := hearing(t, config, 2)
	for i, pause := range []uint64{1000, 2000} {
		in := bob.failure(t, 1)
		w.step(bob, in)
		w.step(bob, in) // told twice
		l, ok := bob.state.Spool.Letter(1)
		if !ok || l.Failures != uint32(i+1) || l.DueMs != w.nowMs+pause || l.Dead() {
			t.Fatalf("after failure %d: %+v", i+1, l)
		}
		if len(bob.state.Spool.Due(w.nowMs)) != 0 || bob.state.Spool.NextRedelivery(w.nowMs) != l.DueMs {
			t.Errorf("it is due at once")
		}
		w.nowMs = l.DueMs
		if due := bob.state.Spool.Due(w.nowMs); len(due) != 1 || due[0].Version != 1 || due[0].Index != 3 {
			t.Errorf("due: %+v", due)
		}
	}
	w.step(bob, bob.failure(t, 1))
	if kinds := kindsOf(bob.log[len(bob.log)-1].Events); !slices.Equal(kinds, []string{"DeliveryFailed", "MessageDeadLettered"}) {
		t.Errorf("events %q", kinds)
	}
	l, _ := bob.state.Spool.Letter(1)
	if n, _ := bob.state.Spool.DeadLetters(); n != 1 || !l.Dead() || bob.state.Spool.NextRedelivery(w.nowMs) != 0 {
		t.Fatalf("it is not put aside: %+v", l)
	}
	if bob.state.Spool.Acknowledged != 1 {
		t.Errorf("acknowledged %d: what has failed stands in the way of the others", bob.state.Spool.Acknowledged)
	}
	found, err := FailedMessages(bob.log[l.Held-1])
	if err != nil || found[1].Reason != "the kettle is cold" || string(found[1].Message.Plaintext.Expose()) != "ada says 3" {
		t.Errorf("found %+v, %v", found, err)
	}
	if r := w.step(bob, RequeueLetters{CommandMeta: w.meta(bob), All: true}); r.Letters != 1 || len(bob.state.Spool.Due(w.nowMs)) != 1 {
		t.Errorf("handed over anew: %d", r.Letters)
	}
	w.step(bob, Acknowledge{Letter: 1})
	if len(bob.state.Spool.Letters) != 0 {
		t.Errorf("still there: %+v", bob.state.Spool.Letters)
	}
	w.restart(bob)
}

// TestWhatFailedIsNotAcknowledgedWithItsNeighbours fails messages in every order between acknowledgements.
func TestWhatFailedIsNotAcknowledgedWithItsNeighbours(t *testing.T) {
	w, bob := hearing(t, DefaultConfig(), 6)
	w.step(bob, bob.failure(t, 3))
	w.step(bob, bob.failure(t, 5))
	messages := bob.spooledMessages(t)
	open := func() (numbers []uint64) {
		for n := uint64(1); n <= 6; n++ {
			if m := messages[n]; bob.state.Spool.Open(&m) {
				numbers = append(numbers, n)
			}
		}
		return numbers
	}
	if got := open(); !slices.Equal(got, []uint64{1, 2, 4, 6}) {
		t.Errorf("open: %v", got)
	}
	w.step(bob, Acknowledge{Letter: 3}) // it stays out of the others although it is done
	if got := open(); !slices.Equal(got, []uint64{1, 2, 4, 6}) {
		t.Errorf("open: %v", got)
	}
	w.step(bob, Acknowledge{Through: 2})
	if bob.state.Spool.Acknowledged != 3 {
		t.Errorf("acknowledged %d, although 3 was before", bob.state.Spool.Acknowledged)
	}
	w.step(bob, Acknowledge{Through: 6})
	if l, ok := bob.state.Spool.Letter(5); !ok || l.Dead() || len(bob.state.Spool.Aside) != 0 {
		t.Errorf("5 went with 6: %+v", bob.state.Spool)
	}
	for _, in := range []Input{bob.failure(t, 2), bob.failure(t, 6), Fail{Message: messages[5], Turn: 99}, Fail{Message: ReceivedMessage{Number: 7}}} {
		before := len(bob.log)
		if r := w.step(bob, in); r.Err != nil && !errors.Is(r.Err, DeliveryNotOpen) || len(bob.log) != before {
			t.Errorf("%+v: %v", in, r.Err)
		}
	}
	w.step(bob, Acknowledge{Through: 6, Letter: 5})
	if len(bob.state.Spool.Letters) != 0 {
		t.Errorf("acknowledged and there")
	}
}

// TestLettersAreBounded fills what waits for another try, and what is put aside, by count, bytes and age.
func TestLettersAreBounded(t *testing.T) {
	config := DefaultConfig()
	config.MaxDeliveries = 2
	w, bob := hearing(t, config, DeadLettersMax+FailingMax+2)
	fail := func(number uint64, size int) Reply {
		in := bob.failure(t, number)
		in.Reason = fmt.Sprintf("%300d", number)
		in.Message.AAD = make([]byte, size)
		return w.step(bob, in)
	}
	for n := uint64(1); n <= FailingMax; n++ {
		fail(n, 0)
	}
	if r := fail(FailingMax+1, 0); !errors.Is(r.Err, Busy) || r.Err.Advice != Retry {
		t.Errorf("one more: %v", r.Err)
	}
	fail(1, 0)
	if r := fail(FailingMax+1, 0); r.Err != nil {
		t.Errorf("with room for it: %v", r.Err)
	}
	next := uint64(FailingMax + 2)
	for n := uint64(2); n < next; n++ {
		fail(n, 0)
	}
	for ; next <= DeadLettersMax; next++ {
		fail(next, 0)
		fail(next, 0)
	}
	if n, _ := bob.state.Spool.DeadLetters(); n != DeadLettersMax {
		t.Fatalf("%d are put aside", n)
	}
	dropped := func() *v1.LettersDropped {
		body, _ := bob.log[len(bob.log)-1].Events[0].Body.(*v1.LettersDropped)
		return body
	}
	fail(next, 0)
	fail(next, 0)
	if d := dropped(); d.GetReason() != LetterCount || !slices.Equal(d.GetNumbers(), []uint64{1}) {
		t.Errorf("dropped %+v", d)
	}
	fail(next+1, DeadLetterBytes-10_000)
	fail(next+1, DeadLetterBytes-10_000)
	n, size := bob.state.Spool.DeadLetters()
	if d := dropped(); d.GetReason() != LetterBytes || size > DeadLetterBytes || n != DeadLettersMax+1-len(d.GetNumbers()) {
		t.Errorf("dropped %+v, %d left, %d bytes", d, n, size)
	}
	fail(next+2, 0)
	if due := bob.state.NextDue(false); due != w.nowMs+bob.state.Config.SpoolAgeMs && due > w.nowMs+hourMs {
		t.Errorf("next due at %d", due)
	}
	w.nowMs += config.DeadLetterAgeMs
	w.step(bob, Tick{})
	if len(bob.state.Spool.Letters) != 0 {
		t.Errorf("too old and there: %d", len(bob.state.Spool.Letters))
	}
	w.restart(bob)
}

// TestLettersOfTheOwner names messages that are there and that are not, twice under one command id, and wipes.
func TestLettersOfTheOwner(t *testing.T) {
	config := DefaultConfig()
	config.MaxDeliveries = 1
	w, bob := hearing(t, config, 5)
	for n := uint64(1); n <= 4; n++ {
		w.step(bob, bob.failure(t, n))
	}
	if r := w.step(bob, DropLetters{CommandMeta: w.meta(bob), Numbers: []uint64{1, 5}}); !errors.Is(r.Err, DeadLetterNotFound) {
		t.Errorf("one that has not failed: %v", r.Err)
	}
	meta := w.meta(bob)
	for range 2 {
		if r := w.step(bob, DropLetters{CommandMeta: meta, Numbers: []uint64{1, 3}}); r.Err != nil || r.Letters != 2 {
			t.Errorf("dropped %d, %v", r.Letters, r.Err)
		}
	}
	if r := w.step(bob, RequeueLetters{CommandMeta: w.meta(bob), Numbers: []uint64{2}}); r.Letters != 1 {
		t.Errorf("handed over anew: %d, %v", r.Letters, r.Err)
	}
	if n, _ := bob.state.Spool.DeadLetters(); n != 1 || bob.state.Spool.Failing() != 1 {
		t.Errorf("%d put aside, %d failing", n, bob.state.Spool.Failing())
	}
	if r := w.step(bob, RequeueLetters{CommandMeta: w.meta(bob), All: true}); r.Letters != 2 || bob.state.Spool.Failing() != 2 {
		t.Errorf("all of them handed over anew: %d, %v", r.Letters, r.Err)
	}
	w.step(bob, Wipe{CommandMeta: w.meta(bob)})
	if len(bob.state.Spool.Letters) != 0 {
		t.Error("they outlive the conversation")
	}
	if r := w.step(bob, RequeueLetters{CommandMeta: w.meta(bob), All: true}); !errors.Is(r.Err, ConversationNotFound) {
		t.Errorf("after the end: %v", r.Err)
	}
	w.restart(bob)
}

// TestLettersDieWithTheKeys loses the ring.
func TestLettersDieWithTheKeys(t *testing.T) {
	w, bob := hearing(t, DefaultConfig(), 2)
	w.step(bob, bob.failure(t, 2))
	w.step(bob, MarkSecretsLost{})
	if len(bob.state.Spool.Letters) != 0 || bob.state.Spool.Acknowledged != 2 {
		t.Errorf("%+v", bob.state.Spool)
	}
	w.restart(bob)
}

// TestLettersOutliveTheMembership puts one aside, lets another wait, and removes the member: both are still its owner's.
func TestLettersOutliveTheMembership(t *testing.T) {
	config := DefaultConfig()
	config.MaxDeliveries = 2
	w, bob := hearing(t, config, 2)
	ada := w.members[0]
	w.step(bob, bob.failure(t, 1))
	w.step(bob, bob.failure(t, 1))
	w.step(bob, bob.failure(t, 2))
	w.step(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"bob"}})
	w.answer(ada)
	w.catchUp(ada)
	w.catchUp(bob)
	if n, _ := bob.state.Spool.DeadLetters(); bob.state.Lifecycle != Evicted || n != 1 || bob.state.Spool.Failing() != 1 {
		t.Fatalf("%s with %+v", bob.state.Lifecycle, bob.state.Spool)
	}
	if r := w.step(bob, RequeueLetters{CommandMeta: w.meta(bob), Numbers: []uint64{1}}); r.Err != nil || bob.state.Spool.Failing() != 2 {
		t.Errorf("handed over anew: %v", r.Err)
	}
	w.step(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(bob)}})
	w.answer(ada)
	w.catchUp(ada)
	w.catchUp(bob)
	w.step(bob, Acknowledge{Letter: 2})
	if bob.state.Lifecycle != Active || bob.state.Spool.Failing() != 1 {
		t.Errorf("%s with %+v", bob.state.Lifecycle, bob.state.Spool)
	}
	w.restart(bob)
}

// TestLostLettersAreSaid names messages whose keys are gone, and one that is nobody's.
func TestLostLettersAreSaid(t *testing.T) {
	w, bob := hearing(t, DefaultConfig(), 2)
	w.step(bob, bob.failure(t, 1))
	w.step(bob, bob.failure(t, 2))
	w.step(bob, LoseLetters{Numbers: []uint64{2, 9}})
	body, ok := bob.log[len(bob.log)-1].Events[0].Body.(*v1.LettersDropped)
	if !ok || body.GetReason() != LetterUnreadable || !slices.Equal(body.GetNumbers(), []uint64{2}) || bob.state.Spool.Failing() != 1 {
		t.Errorf("said %+v, left %+v", body, bob.state.Spool.Letters)
	}
}
