package conversation

import (
	"errors"
	"slices"
	"testing"

	"parley/internal/ids"
	"parley/mlsengine"
)

// knocks stages a commit that joins from the newest GroupInfo; the test says
// what becomes of it.
func (w *world) knocks(m *member) *Joining {
	w.t.Helper()
	r := w.step(m, JoinExternally{CommandMeta: w.meta(m), Config: w.config, GroupInfo: w.info})
	if r.Err != nil || !r.InFlight || m.state.Joining == nil {
		w.t.Fatalf("%s: %v", m.name, r.Err)
	}
	w.restart(m)
	return m.state.Joining
}

// letIn lets the transport accept the commit that joins.
func (w *world) letIn(m *member) Reply {
	w.t.Helper()
	w.info = m.state.Joining.NewGroupInfo
	return w.step(m, TransportAnswered{Bundle: m.state.Joining.Digest, Outcome: TransportSuccess, Position: 7})
}

func TestJoinByExternalCommit(t *testing.T) {
	for _, live := range []bool{true, false} {
		w, ada, bob, cara := trio(t, DefaultConfig())
		dan, eve := w.newMember("dan"), w.newMember("eve")
		j := w.knocks(dan)
		w.refused(dan, Encrypt{Plaintext: []byte("x")}, ConversationNotFound)
		w.refused(dan, Create{Config: w.config}, ConversationAlreadyExists)
		w.refused(dan, Join{Config: w.config}, ConversationAlreadyExists)
		w.refused(dan, JoinExternally{CommandMeta: w.meta(dan), Config: w.config, GroupInfo: w.info}, PendingCommit)
		if dan.state.Exists() || dan.state.Epoch() != 0 || len(dan.state.Unsent()) != 1 {
			t.Fatal("a member before the commit was accepted")
		}
		for _, m := range []*member{ada, bob, cara} {
			if o := w.hear(m, j.Commit); o.Kind != OutcomeCommit || o.Sender != "dan" || o.Identity == nil || o.Identity.Client != "dan" {
				t.Fatalf("%s: %+v", m.name, o)
			}
		}
		if live {
			w.info = j.NewGroupInfo
			w.step(dan, Checkpoint{Force: true})
		}
		r := w.letIn(dan)
		if len(r.Completed) != 1 || r.Completed[0].Err != nil || dan.state.Epoch() != 2 || dan.state.Position != 7 || dan.state.Joining != nil {
			t.Fatalf("joined: %+v in epoch %d", r.Completed, dan.state.Epoch())
		}
		w.restart(dan)
		w.hear(ada, w.say(dan, "hello"))
		w.hear(dan, w.say(bob, "welcome"))
		if o := w.hear(dan, j.Commit); o.Code != DuplicateMessage {
			t.Errorf("echo: %+v", o)
		}
		// The GroupInfo of the new epoch lets the next one in.
		j = w.knocks(eve)
		w.letIn(eve)
		for _, m := range []*member{ada, bob, dan} {
			w.hear(m, j.Commit)
		}
		if got := ada.state.ClientIDs(); !slices.Equal(got, []ids.ClientID{"ada", "bob", "cara", "dan", "eve"}) {
			t.Errorf("members %v", got)
		}
		w.hear(dan, w.say(eve, "hello"))
	}
}

// TestExternalJoinIsTriedAgain: the service refused, or did not answer. Either
// way the next attempt needs no clearing.
func TestExternalJoinIsTriedAgain(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	dan := w.newMember("dan")
	old := w.info
	j := w.knocks(dan)
	w.win(ada, bob)
	if end := w.verdict(dan, j.Digest, TransportRetry); end == nil || !errors.Is(end.Err, CannotRetryJoin) || end.Err.Advice != Retry || dan.state.Joining != nil {
		t.Fatalf("ended %+v", end)
	}
	if o := w.hear(bob, j.Commit); o.Code != StaleCommit {
		t.Errorf("outcome %+v", o)
	}
	j = w.knocks(dan)
	if end := w.verdict(dan, j.Digest, TransportFailed); end == nil || !errors.Is(end.Err, TransportError) || !dan.state.Joining.Failed {
		t.Fatalf("ended %+v", end)
	}
	first := dan.state.Joining
	j = w.knocks(dan)
	if end := w.verdict(dan, first.Digest, TransportSuccess); end != nil || dan.state.Exists() {
		t.Errorf("a replaced commit joined: %+v", end)
	}
	if end := w.verdict(dan, j.Digest, TransportAbort); end == nil || !errors.Is(end.Err, TransportAborted) || dan.state.Joining != nil {
		t.Errorf("ended %+v", end)
	}
	w.knocks(dan)
	w.letIn(dan)
	if dan.state.Epoch() != 3 {
		t.Errorf("epoch %d", dan.state.Epoch())
	}
	w.refused(dan, JoinExternally{Config: w.config, GroupInfo: old}, InvalidGroupInfo)
}

// TestUnansweredJoinTurnsUp: the answer was lost, the commit comes back.
func TestUnansweredJoinTurnsUp(t *testing.T) {
	w, _, bob, _ := trio(t, DefaultConfig())
	dan := w.newMember("dan")
	j := w.knocks(dan)
	w.verdict(dan, j.Digest, TransportFailed)
	w.hear(bob, j.Commit)
	r := w.step(dan, Received{CommandMeta: w.meta(dan), Message: j.Commit})
	if r.Outcomes[0].Kind != OutcomeCommit || !r.Outcomes[0].Active || dan.state.Epoch() != 2 {
		t.Fatalf("outcome %+v", r.Outcomes)
	}
	if len(r.Completed) != 1 || r.Completed[0].Command.Name != (Received{}).Name() {
		t.Errorf("completed %+v", r.Completed)
	}
	w.restart(dan)
}

// TestMessagesWaitForThePendingJoin: four messages of the new epoch arrive
// before the news that we are in it.
func TestMessagesWaitForThePendingJoin(t *testing.T) {
	for _, echo := range []bool{true, false} {
		w, ada, bob, cara := trio(t, DefaultConfig())
		dan := w.newMember("dan")
		before := w.say(ada, "before")
		j := w.knocks(dan)
		for _, m := range []*member{ada, bob, cara} {
			w.hear(m, j.Commit)
		}
		proposal := w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal.Message
		w.hear(ada, proposal)
		second := w.step(cara, ProposeRemove{CommandMeta: w.meta(cara), Client: "bob"}).Proposal.Message
		w.hear(ada, second)
		aside := w.sayAside(bob)
		commit := w.committed(ada, CommitPending{CommandMeta: w.meta(ada)})
		for _, message := range [][]byte{commit, second, proposal, aside} {
			w.waits(dan, message, BufferedForPendingConversation)
		}
		if o := w.hear(dan, before); o.Code != MessageEpochTooOld {
			t.Errorf("of the epoch before: %+v", o)
		}
		var r Reply
		want := []OutcomeKind{OutcomeApplication, OutcomeProposal, OutcomeProposal, OutcomeCommit}
		if echo {
			r = w.step(dan, Received{Message: j.Commit})
			want = append([]OutcomeKind{OutcomeCommit}, want...)
		} else {
			r = w.letIn(dan)
		}
		if got := kindsTaken(r); !slices.Equal(got, want) || dan.state.Epoch() != 3 || len(dan.state.Buffer.Messages) != 0 {
			t.Errorf("echo %v: taken %v in epoch %d", echo, got, dan.state.Epoch())
		}
		w.restart(dan)
	}
}

// sayAside says something in an epoch in which the member may not speak any
// more: what was said before the proposal and is on its way.
func (w *world) sayAside(m *member) []byte {
	w.t.Helper()
	aside := *m
	aside.state.Pending = nil
	r, err := Step(aside.state, Encrypt{Plaintext: []byte("aside")}, w.env(&aside))
	if err != nil || r.Reply.Err != nil {
		w.t.Fatal(err, r.Reply.Err)
	}
	return r.Reply.Ciphertext
}

// TestAnAttemptThatComesLate: whoever is back by another attempt is not taken through the door once more.
func TestAnAttemptThatComesLate(t *testing.T) {
	w, _, bob := pair(t, DefaultConfig())
	in := JoinExternally{CommandMeta: w.meta(bob), Config: w.config, GroupInfo: w.info, Returning: true}
	w.refused(bob, in, ConversationAlreadyExists)
	w.step(bob, MarkBehind{First: bob.state.Position + 2})
	in.CommandMeta = w.meta(bob)
	if r := w.step(bob, in); r.Err != nil || !r.InFlight {
		t.Errorf("a lost member: %+v", r)
	}
}

func TestAbandonedJoin(t *testing.T) {
	w, ada, _, _ := trio(t, DefaultConfig())
	dan := w.newMember("dan")
	w.refused(dan, AbandonJoin{}, PendingJoinNotFound)
	j := w.knocks(dan)
	w.hear(ada, j.Commit)
	w.waits(dan, w.say(ada, "early"), BufferedForPendingConversation)
	r := w.step(dan, AbandonJoin{CommandMeta: w.meta(dan)})
	if len(r.Completed) != 2 || !errors.Is(r.Completed[0].Err, JoinAbandoned) || dan.state.Joining != nil || len(dan.state.Buffer.Messages) != 0 {
		t.Errorf("completed %+v", r.Completed)
	}
	w.restart(dan)
	w.refused(dan, Received{Message: j.Commit}, ConversationNotFound)
	w.knocks(dan)
	w.step(dan, Wipe{})
	if dan.state.Joining != nil || dan.state.Lifecycle != Wiped {
		t.Errorf("dan is %s", dan.state.Lifecycle)
	}
	w.knocks(dan)
	w.step(dan, MarkSecretsLost{Reason: "no ring"})
	if dan.state.Joining != nil {
		t.Error("a join without its secrets is pending")
	}
}

// TestMembersComeBack: by an external commit that replaces the old leaf, from
// whatever the old membership has come to. What waited there is read where it
// is of the new epoch.
func TestMembersComeBack(t *testing.T) {
	ways := map[string]func(w *world, cara *member){
		"a member":    func(*world, *member) {},
		"rolled back": func(w *world, cara *member) { w.step(cara, MarkRolledBack{Reason: "lost"}) },
		"unreachable": func(w *world, cara *member) { w.step(cara, MarkBehind{First: cara.state.Position + 2}) },
		"no secrets":  func(w *world, cara *member) { w.step(cara, MarkSecretsLost{Reason: "lost"}) },
		"wiped":       func(w *world, cara *member) { w.step(cara, Wipe{}) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			w, ada, bob, cara := trio(t, DefaultConfig())
			way(w, cara)
			j := w.knocks(cara)
			if len(j.Removed) != 1 || j.Removed[0].Client != "cara" {
				t.Fatalf("replaces %+v", j.Removed)
			}
			w.hear(ada, j.Commit)
			w.hear(bob, j.Commit)
			early := w.say(ada, "early")
			if cara.state.Exists() {
				w.waits(cara, early, BufferedFutureMessage)
			} else {
				w.waits(cara, early, BufferedForPendingConversation)
			}
			w.letIn(cara)
			if cara.state.Lifecycle != Active || cara.state.Epoch() != 2 || len(cara.state.Buffer.Messages) != 0 {
				t.Fatalf("cara is %s in epoch %d", cara.state.Lifecycle, cara.state.Epoch())
			}
			w.restart(cara)
			if !slices.Equal(cara.received, []string{"early"}) {
				t.Errorf("heard %q", cara.received)
			}
			if got := ada.state.ClientIDs(); len(got) != 3 {
				t.Errorf("members %v", got)
			}
			w.hear(bob, w.say(cara, "back"))
		})
	}
}

// TestRejoinWhoseAnswerWasLost: the old membership sees our own commit, which
// removes its leaf, and knows it.
func TestRejoinWhoseAnswerWasLost(t *testing.T) {
	w, _, bob, cara := trio(t, DefaultConfig())
	j := w.knocks(cara)
	w.verdict(cara, j.Digest, TransportFailed)
	w.hear(bob, j.Commit)
	if o := w.hear(cara, j.Commit); o.Kind != OutcomeCommit || !o.Active || cara.state.Lifecycle != Active || cara.state.Epoch() != 2 {
		t.Fatalf("outcome %+v, cara is %s", o, cara.state.Lifecycle)
	}
	w.hear(bob, w.say(cara, "back"))
}

// TestRemovedWhileComingBack: the old membership ends first; the join goes on.
func TestRemovedWhileComingBack(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	j := w.knocks(cara)
	removal := w.committed(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"cara"}})
	w.hear(bob, removal)
	r := w.step(cara, Received{Message: removal})
	if len(r.Outcomes) != 1 || r.Outcomes[0].Active || cara.state.Lifecycle != Evicted || cara.state.Joining == nil {
		t.Fatalf("outcomes %+v, cara is %s", r.Outcomes, cara.state.Lifecycle)
	}
	if len(r.Completed) != 1 || r.Completed[0].Command.Name != (Received{}).Name() {
		t.Errorf("the join has ended: %+v", r.Completed)
	}
	w.restart(cara)
	if end := w.verdict(cara, j.Digest, TransportRetry); end == nil || !errors.Is(end.Err, CannotRetryJoin) {
		t.Errorf("ended %+v", end)
	}
	w.knocks(cara)
	w.letIn(cara)
	if cara.state.Epoch() != mlsengine.Epoch(3) {
		t.Errorf("epoch %d", cara.state.Epoch())
	}
}

func TestGroupInfoThatIsNone(t *testing.T) {
	w, ada, _, _ := trio(t, DefaultConfig())
	dan := w.newMember("dan")
	info, err := ada.state.Private.Group.GroupInfo(mlsengine.WithoutTree, w.env(ada).engine())
	if err != nil {
		t.Fatal(err)
	}
	w.refused(dan, JoinExternally{Config: w.config, GroupInfo: info.Message()}, InvalidGroupInfo)
	w.refused(dan, JoinExternally{Config: w.config, GroupInfo: []byte("no GroupInfo")}, InvalidGroupInfo)
	w.refused(dan, JoinExternally{Config: w.config}, InvalidGroupInfo)
	elsewhere := NewState("dan", "another group")
	tr, err := Step(elsewhere, JoinExternally{Config: w.config, GroupInfo: w.info}, w.env(dan))
	if err != nil || !errors.Is(tr.Reply.Err, WrongGroup) {
		t.Errorf("%v %v", tr.Reply.Err, err)
	}
	if r := w.step(dan, JoinExternally{CommandMeta: w.meta(dan), Config: w.config, GroupInfo: w.info[4:]}); r.Err != nil {
		t.Errorf("bare: %v", r.Err)
	}
}

// TestWhatWaitedInTheOldMembershipIsNotRead where it is of an epoch that the
// new one does not know.
func TestWhatWaitedInTheOldMembershipIsNotRead(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	w.win(ada, bob)
	w.waits(cara, w.say(ada, "missed"), BufferedFutureMessage)
	w.win(ada, bob)
	j := w.knocks(cara)
	w.hear(ada, j.Commit)
	r := w.letIn(cara)
	if cara.state.Epoch() != 4 || len(cara.received) != 0 || len(cara.state.Buffer.Messages) != 0 || len(r.Outcomes) != 1 || r.Outcomes[0].Code != MessageEpochTooOld {
		t.Errorf("epoch %d, heard %q: %+v", cara.state.Epoch(), cara.received, r.Outcomes)
	}
	w.hear(ada, w.say(cara, "back"))
}
