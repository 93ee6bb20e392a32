package conversation

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/syntax"
	"parley/mlsengine"
)

func TestOwnMessagesInTheOrderAreCounted(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	for range 3 {
		w.speak(ada)
	}
	w.speak(bob)
	tr, err := Step(ada.state, Entries{Entries: w.order[ada.state.Position:]}, w.env(ada))
	if err != nil {
		t.Fatal(err)
	}
	if got := kindsOf(tr.Events); !slices.Equal(got, []string{"MessagesConsumed"}) {
		t.Errorf("events %v", got)
	}
	body := tr.Events[0].Body.(*v1.MessagesConsumed)
	if body.GetOwnMessages() != 3 || body.GetOwnGeneration() != 3 || body.GetCount() != 1 {
		t.Errorf("consumed %v", body)
	}
	w.store(ada, nil, tr)
	if ada.state.OwnOrdered != 3 {
		t.Errorf("own messages below %d are in the order", ada.state.OwnOrdered)
	}
	last := w.order[len(w.order)-2]
	if leaf, generation, ok := ada.state.PeekSender(last.Message); !ok || leaf != 0 || generation != 2 {
		t.Errorf("newest own message: leaf %d, generation %d, %v", leaf, generation, ok)
	}
}

func TestTooFarAheadOfTheOrderNeedsAnUpdate(t *testing.T) {
	config := DefaultConfig()
	config.MaximumForwardDistance = 8
	w, ada, bob := pair(t, config)
	var sent [][]byte
	for i := range 9 {
		if i == 6 && !ada.state.UpdateDue() {
			t.Error("no update is due")
		}
		sent = append(sent, w.say(ada, fmt.Sprint(i)))
	}
	w.refused(ada, Encrypt{Plaintext: []byte("too far")}, UpdateRequired)
	w.append(Entry{Kind: EntryApplication, Message: sent[8]}) // the last one that others can still read
	w.everybody()
	if !slices.Equal(bob.received, []string{"8"}) {
		t.Errorf("bob got %q", bob.received)
	}
	w.say(ada, "go on")
	if ada.state.UpdateDue() {
		t.Error("an update is due right after")
	}
}

func TestOrderGapsAndKnownEntries(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	for range 6 {
		w.speak(ada)
	}
	from := bob.state.Position
	w.refused(bob, Entries{Entries: w.order[from+1:]}, OrderGap)
	r := w.step(bob, Entries{Entries: append(slices.Clone(w.order[from:from+2]), w.order[from+4:]...)})
	if r.Taken != 2 || bob.state.Position != from+2 {
		t.Errorf("taken %d up to %d", r.Taken, bob.state.Position)
	}
	r = w.step(bob, Entries{Entries: w.order})
	if r.Taken != len(w.order) || len(bob.received) != 6 {
		t.Errorf("taken %d of %d, %d messages", r.Taken, len(w.order), len(bob.received))
	}
	if got := len(bob.log[len(bob.log)-1].Events); got != 1 {
		t.Errorf("a batch made %d events", got)
	}
	if r = w.step(bob, Entries{Entries: w.order}); r.Taken != len(w.order) || len(bob.received) != 6 {
		t.Error("known entries were taken again")
	}
}

func TestBatchIsBounded(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	for range 5 {
		r := w.step(ada, Encrypt{Plaintext: make([]byte, PlaintextMax/2)})
		w.append(Entry{Kind: EntryApplication, Message: r.Ciphertext})
	}
	before := len(bob.log)
	w.followAll(bob)
	if len(bob.received) != 5 || len(bob.log)-before != 5 {
		t.Errorf("%d messages in %d records", len(bob.received), len(bob.log)-before)
	}
}

func TestHandshakeEntryOfTheWrongKind(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(ada, UpdateKeyMaterial{})
	commit := w.order[len(w.order)-1]
	commit.Kind = EntryApplication // a commit that no sequencer has judged
	r := w.step(bob, Entries{Entries: []Entry{commit}})
	if len(r.Outcomes) != 1 || r.Outcomes[0].Code != InvalidMessage || bob.state.Epoch() != 1 {
		t.Errorf("outcomes %+v", r.Outcomes)
	}
}

func TestCheckpointsAreDue(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	due := func() []string { return kindsOf(bob.log[len(bob.log)-1].Events) }
	for range CheckpointEvery {
		w.speak(ada)
		w.followAll(ada)
	}
	w.step(bob, Entries{Entries: w.order[bob.state.Position:]})
	if got := due(); got[len(got)-1] != "SecretsCheckpoint" || bob.state.Consumed != 0 {
		t.Errorf("after many messages: %v", got)
	}
	w.speak(ada)
	w.followAll(bob)
	if bob.state.CheckpointDue(w.nowMs) || bob.state.CheckpointAt() != w.nowMs+CheckpointAfterMs {
		t.Errorf("due at %d, now %d", bob.state.CheckpointAt(), w.nowMs)
	}
	before := len(bob.log)
	w.step(bob, Checkpoint{Reason: "timer"})
	if len(bob.log) != before {
		t.Error("a checkpoint that was not due")
	}
	w.nowMs += CheckpointAfterMs
	w.step(bob, Checkpoint{Reason: "timer"})
	if got := due(); !slices.Equal(got, []string{"SecretsCheckpoint"}) || !Reseals(bob.log[len(bob.log)-1].Events) {
		t.Errorf("after an hour: %v", got)
	}
}

func TestPastEpochsDieOfAge(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	late := w.say(ada, "late")
	for range 3 {
		w.nowMs += 1000
		w.commit(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	}
	if len(bob.state.Past) != 3 || len(ada.state.Past) != 3 {
		t.Fatalf("past epochs: %d and %d", len(bob.state.Past), len(ada.state.Past))
	}
	w.nowMs = bob.state.CheckpointAt()
	w.step(bob, Checkpoint{Reason: "timer"})
	if got := kindsOf(bob.log[len(bob.log)-1].Events); !slices.Equal(got, []string{"EpochKeysShredded", "SecretsCheckpoint"}) {
		t.Errorf("events %v", got)
	}
	if o := w.hear(bob, late); o.Code != MessageEpochTooOld {
		t.Errorf("outcome %+v", o)
	}
}

func TestSpool(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	for i := range 4 {
		w.hear(bob, w.say(ada, fmt.Sprint(i)))
	}
	first := bob.state.SpoolVersion()
	if first == 0 || first != bob.log[len(bob.log)-4].Version {
		t.Errorf("the spool begins at version %d", first)
	}
	w.step(bob, Acknowledge{Through: 2, Version: first})
	last := bob.log[len(bob.log)-1]
	if !slices.Equal(last.Events[0].Forget, []string{events.ForgetThrough(events.ClassSpool, "message", 2)}) {
		t.Errorf("forget %v", last.Events[0].Forget)
	}
	before := len(bob.log)
	w.step(bob, Acknowledge{Through: 1})
	if len(bob.log) != before || bob.state.Spool.Acknowledged != 2 || bob.state.Spool.Seen != first {
		t.Errorf("spool %+v", bob.state.Spool)
	}
	w.nowMs = bob.state.SpoolExpiry()
	w.step(bob, ExpireSpool{})
	body, ok := bob.log[len(bob.log)-1].Events[0].Body.(*v1.DeliveryExpired)
	if !ok || body.GetThrough() != 4 || body.GetCount() != 2 || bob.state.SpoolVersion() != 0 {
		t.Errorf("expired %v, spool %+v", body, bob.state.Spool)
	}
	w.step(bob, Acknowledge{Through: 99})
	if bob.state.Spool.Acknowledged != 4 || bob.state.Spool.Next != 5 {
		t.Errorf("spool %+v", bob.state.Spool)
	}
}

func TestSpoolMarksMerge(t *testing.T) {
	s := Spool{Next: 1}
	for i := range uint64(10_000) {
		s = s.add(s.Next, 700, i+1, i*markAgeMaxMs)
		if len(s.Marks) > SpoolMarksMax {
			t.Fatalf("%d marks", len(s.Marks))
		}
	}
	if s.Marks[0].First != 1 || s.Marks[0].Version != 1 || s.Marks[len(s.Marks)-1].Last != s.Next-1 {
		t.Errorf("first %+v last %+v next %d", s.Marks[0], s.Marks[len(s.Marks)-1], s.Next)
	}
	for i := 1; i < len(s.Marks); i++ {
		if s.Marks[i].First != s.Marks[i-1].Last+1 {
			t.Fatalf("mark %d leaves messages out", i)
		}
	}
}

func TestRolledBackLogHearsButDoesNotSpeak(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
	w.order, w.epochOf, w.commits = w.order[:len(w.order)-1], map[mlsengine.Epoch]uint64{0: 2}, map[ids.Digest]uint64{}
	r := w.step(bob, MarkRolledBack{AnchorVersion: 9, FoundVersion: 4, Reason: "the anchor is ahead"})
	if len(r.Completed) != 1 || !errors.Is(r.Completed[0].Err, ConversationRolledBack) {
		t.Errorf("completed %+v", r.Completed)
	}
	bob.answers = nil
	w.refused(bob, Encrypt{Plaintext: []byte("x")}, ConversationRolledBack)
	w.refused(bob, UpdateKeyMaterial{}, ConversationRolledBack)
	w.speak(ada)
	w.everybody()
	if len(bob.received) != 1 {
		t.Error("bob does not hear any more")
	}
	w.restart(bob)
	w.commit(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	if bob.state.Lifecycle != Active || bob.state.Reserved.Application != 0 {
		t.Errorf("in the next epoch bob is %s", bob.state.Lifecycle)
	}
	w.say(bob, "again")
}

func TestSecretsLost(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.speak(ada)
	w.everybody()
	w.step(bob, MarkSecretsLost{Reason: "no ring"})
	if got := kindsOf(bob.log[len(bob.log)-1].Events); !slices.Equal(got, []string{"DeliveryExpired", "SecretsLost"}) {
		t.Errorf("events %v", got)
	}
	if e := w.refused(bob, Encrypt{Plaintext: []byte("x")}, SecretsMissing); e.Advice != Rejoin {
		t.Errorf("advice %s", e.Advice)
	}
	if bob.state.Private != nil || len(bob.state.ClientIDs()) != 2 {
		t.Error("secrets are left, or the roster is not")
	}
	w.restart(bob)
}

// TestWhatIsNotGivenIsPassedOver: behind records that a torn batch left, or that a ring vouched for which is gone, comes the record that says
// so, or a no-op that has taken a place; nothing else does.
func TestWhatIsNotGivenIsPassedOver(t *testing.T) {
	torn := &v1.TransactionTorn{Version: 1}
	for _, c := range []struct {
		version uint64
		body    events.Body
		follows bool
	}{
		{1, &v1.Claimed{}, true}, {2, &v1.Claimed{}, true}, {3, &v1.Claimed{}, false}, {2, torn, true}, {3, torn, false},
		{2, &v1.TransactionTorn{Version: 2}, false}, {9, &v1.SecretsLost{}, true}, {2, &v1.LogRolledBack{}, false}, {0, &v1.SecretsLost{}, true},
	} {
		r := &events.Record{Head: events.Head{Version: c.version}, Events: []events.Event{{Body: c.body}}}
		_, err := Fold(NewState("ada", "tea"), r)
		_, ofClient := FoldClient(NewClientState("ada"), r)
		if (err == nil) != c.follows || (ofClient == nil) != c.follows {
			t.Errorf("record %d with %T: %v, of a client %v", c.version, c.body, err, ofClient)
		}
	}
	w, _, bob := pair(t, DefaultConfig())
	at := bob.state.Version
	for _, body := range []events.Body{&v1.SecretsLost{}, &v1.Claimed{}} {
		if _, err := Fold(bob.state, &events.Record{Head: events.Head{Version: at + 3}, TimeMS: w.nowMs, Events: []events.Event{{Body: body}}}); err == nil {
			t.Errorf("%T follows on what it does not follow", body)
		}
	}
}

// TestNothingIsLeftOfTheLog: a log that lost everything says so, and the member may come back; one that was left on purpose stays left.
func TestNothingIsLeftOfTheLog(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.step(bob, Wipe{CommandMeta: w.meta(bob)})
	w.step(bob, MarkRolledBack{AnchorVersion: 99, FoundVersion: bob.state.Version, Epoch: 1, Owed: true})
	if bob.state.Lifecycle != Wiped || bob.state.Loss != nil {
		t.Errorf("bob is %s, his loss %+v", bob.state.Lifecycle, bob.state.Loss)
	}
	bob.state, bob.log = NewState(bob.state.Client, ada.state.Conversation), nil
	w.step(bob, MarkRolledBack{AnchorVersion: 9, Epoch: 1})
	if bob.state.Lifecycle != Absent {
		t.Errorf("bob is %s, and nobody owes a word", bob.state.Lifecycle)
	}
	w.step(bob, MarkRolledBack{AnchorVersion: 9, Epoch: 1, Owed: true})
	if bob.state.Lifecycle != Unreachable || bob.state.Loss == nil || bob.state.Loss.Cause != LossRolledBack {
		t.Errorf("bob is %s, his loss %+v", bob.state.Lifecycle, bob.state.Loss)
	}
	w.refused(bob, Encrypt{Plaintext: []byte("x")}, ConversationUnreachable)
	w.restart(bob)
}

func TestBehindTheOrder(t *testing.T) {
	w, _, bob := pair(t, DefaultConfig())
	w.step(bob, MarkBehind{First: bob.state.Position + 1})
	if bob.state.Lifecycle != Active {
		t.Fatal("nothing was missing")
	}
	w.step(bob, MarkBehind{First: bob.state.Position + 2})
	if bob.state.Lifecycle != Unreachable {
		t.Errorf("bob is %s", bob.state.Lifecycle)
	}
}

func TestWipeAndCreateAgain(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	w.step(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	r := w.step(ada, Wipe{CommandMeta: w.meta(ada)})
	if !r.Removed || len(r.Completed) != 2 || ada.state.Private != nil || ada.state.Group != nil {
		t.Errorf("wiped: %+v", r)
	}
	if got := ada.log[len(ada.log)-1].Events[0].Forget; !slices.Equal(got, []string{events.ForgetAll()}) {
		t.Errorf("forget %v", got)
	}
	w.refused(ada, Wipe{}, ConversationNotFound)
	w.auth = map[mlsengine.Epoch][]byte{}
	w.step(ada, Create{Config: w.config})
	if ada.state.Lifecycle != Active || ada.state.Epoch() != 0 {
		t.Errorf("ada is %s", ada.state.Lifecycle)
	}
	w.restart(ada)
}

func TestRestartedGroupIsClosed(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	w.append(Entry{Kind: EntryRestarted, Message: []byte("tea round 2")})
	w.everybody()
	if ada.state.Lifecycle != Closed || ada.state.Successor != "tea round 2" {
		t.Errorf("ada is %s, successor %s", ada.state.Lifecycle, ada.state.Successor)
	}
	w.refused(ada, Encrypt{Plaintext: []byte("x")}, GroupEnded)
}

// doubter accepts nobody but the ones it knows.
type doubter map[ids.ClientID]bool

func (d doubter) Authenticate(c ids.ClientID, _ mlsengine.Credential, _ []byte) bool { return d[c] }

// askedAbout accepts nobody, and notes whom it was asked about.
type askedAbout []ids.ClientID

func (a *askedAbout) Authenticate(c ids.ClientID, _ mlsengine.Credential, _ []byte) bool {
	*a = append(*a, c)
	return false
}

func TestAuthenticationBindsWhatWeMakeAndIsReportedOtherwise(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve := w.newMember("eve")
	env := w.env(ada)
	env.Auth = doubter{"ada": true, "bob": true}
	tr, err := Step(ada.state, AddMembers{KeyPackages: [][]byte{w.invite(eve)}}, env)
	if err != nil || !errors.Is(tr.Reply.Err, CredentialRefused) {
		t.Errorf("adding eve: %v %v", tr.Reply.Err, err)
	}
	asked := askedAbout{}
	env.Auth = &asked
	tr, err = Step(ada.state, AddMembers{KeyPackages: [][]byte{w.invite(eve), w.invite(eve)}}, env)
	if err != nil || !errors.Is(tr.Reply.Err, CredentialRefused) || len(asked) != 2 {
		t.Errorf("asked about %d of 2: %v %v", len(asked), tr.Reply.Err, err)
	}
	env.Auth = doubter{"ada": true, "bob": true}
	w.commit(bob, AddMembers{CommandMeta: w.meta(bob), KeyPackages: [][]byte{w.invite(w.newMember("zoe"))}})
	w.step(bob, AddMembers{CommandMeta: w.meta(bob), KeyPackages: [][]byte{w.invite(eve)}})
	if tr, err = Step(ada.state, Entries{Entries: w.order[ada.state.Position:]}, env); err != nil {
		t.Fatal(err)
	}
	w.store(ada, nil, tr)
	list := Memberships(ada.log[len(ada.log)-1])
	if len(list) != 1 || !slices.Equal(list[0].Warnings, []string{"CredentialRefused:3"}) || list[0].Added[0].Client != "eve" {
		t.Errorf("memberships %+v", list)
	}
	if len(ada.state.ClientIDs()) != 4 {
		t.Error("the accepted commit was not followed")
	}
}

func TestMemberships(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.commit(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"bob"}})
	var kinds []MembershipKind
	for _, r := range bob.log {
		for _, m := range Memberships(r) {
			kinds = append(kinds, m.Kind)
		}
	}
	if !slices.Equal(kinds, []MembershipKind{MembershipJoined, MembershipChanged, MembershipEvicted}) {
		t.Errorf("bob saw %v", kinds)
	}
	created := Memberships(ada.log[0])
	if len(created) != 1 || created[0].Kind != MembershipCreated || created[0].Added[0].Client != "ada" {
		t.Errorf("created %+v", created)
	}
}

// TestExternalSenderMayPropose lets a service that is no member ask for a
// removal, in a group whose members' handshakes are encrypted.
func TestExternalSenderMayPropose(t *testing.T) {
	config := foreign(DefaultConfig())
	config.WirePolicy = WireCiphertext
	w := newWorld(t, 3, config)
	service := w.newMember("service")
	w.config.ExternalSenders = []mlsengine.ExternalSender{{SignatureKey: service.identity.Public, Credential: service.identity.Credential}}
	ada, bob := w.newMember("ada"), w.newMember("bob")
	w.step(ada, Create{Config: w.config})
	w.step(ada, AddMembers{KeyPackages: [][]byte{w.invite(bob)}})
	w.answer(ada)
	if got := len(bob.state.Group.ExternalSenders()); got != 1 {
		t.Fatalf("%d external senders", got)
	}
	w.restart(ada)
	if len(ada.state.Config.ExternalSenders) != 1 {
		t.Error("the configuration lost its external sender")
	}
	forged := externalRemove(t, bob, w.group, 1)
	if o := w.hear(ada, forged); o.Code != InvalidMessage || o.Rule != mlsengine.InvalidSignature.Code() {
		t.Errorf("forged: %+v", o)
	}
	message := externalRemove(t, service, w.group, 1)
	if o := w.hear(ada, message); o.Kind != OutcomeProposal || o.Sender != "" {
		t.Fatalf("outcome %+v", o)
	}
	if o := w.hear(ada, message); o.Code != DuplicateMessage {
		t.Errorf("again: %+v", o)
	}
	w.hear(bob, message)
	w.step(ada, CommitPending{})
	commit := ada.state.Staged.Commit
	w.answer(ada)
	if o := w.hear(bob, commit); o.Kind != OutcomeCommit || bob.state.Lifecycle != Evicted {
		t.Errorf("bob is %s after %+v", bob.state.Lifecycle, o)
	}
}

// framedRemove is a FramedContent of an external sender (§6): a Remove.
type framedRemove struct {
	group []byte
	epoch uint64
	leaf  uint32
}

// Code writes the struct.
func (f framedRemove) Code(c *syntax.Coder) {
	var aad []byte
	external, index, proposal, remove := uint8(2), uint32(0), uint8(2), uint16(3)
	syntax.Opaque(c, &f.group)
	syntax.Uint64(c, &f.epoch)
	syntax.Uint8(c, &external)
	syntax.Uint32(c, &index)
	syntax.Opaque(c, &aad)
	syntax.Uint8(c, &proposal)
	syntax.Uint16(c, &remove)
	syntax.Uint32(c, &f.leaf)
}

// externalRemove makes the PublicMessage by which a service asks for a removal
// in epoch 1. What it signs begins like the message: version and wire format.
func externalRemove(t *testing.T, m *member, group ids.ConversationID, leaf uint32) []byte {
	t.Helper()
	message := syntax.Append([]byte{0, 1, 0, 1}, framedRemove{[]byte(group), 1, leaf})
	signature, err := m.identity.Sign("FramedContentTBS", message)
	if err != nil {
		t.Fatal(err)
	}
	return append(syntax.AppendLength(message, len(signature)), signature...)
}

func TestFoldRefusesWhatDoesNotFit(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	last := ada.log[len(ada.log)-1]
	if _, err := Fold(ada.state, last); !errors.Is(err, ErrBroken) {
		t.Errorf("the same record again: %v", err)
	}
	earlier := &events.Record{TimeMS: w.nowMs - 1}
	earlier.Version = ada.state.Version + 1
	if _, err := Fold(ada.state, earlier); !errors.Is(err, ErrBroken) {
		t.Errorf("an earlier time: %v", err)
	}
	strange := &events.Record{TimeMS: w.nowMs, Events: []events.Event{{Body: &v1.OrderEntry{}}}}
	strange.Version = ada.state.Version + 1
	if _, err := Fold(ada.state, strange); !errors.Is(err, ErrBroken) {
		t.Errorf("another log's event: %v", err)
	}
	unknown := &events.Record{TimeMS: w.nowMs, Events: []events.Event{{}}}
	unknown.Version = ada.state.Version + 1
	if _, err := Fold(ada.state, unknown); !errors.Is(err, ErrBroken) {
		t.Errorf("an event of a later build: %v", err)
	}
}

func FuzzDecodePublic(f *testing.F) {
	f.Add(EncodePublic(NewState("a", "b").Public))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := DecodePublic(b); err == nil && !slices.Equal(EncodePublic(p), b) {
			t.Error("two encodings of one state")
		}
	})
}

func FuzzDecodeSealedParts(f *testing.F) {
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := syntax.Decode[storedPrivate](b); err == nil && !slices.Equal(syntax.Encode(&v), b) {
			t.Error("two encodings of one private state")
		}
		if v, err := syntax.Decode[spooled](b); err == nil && !slices.Equal(syntax.Encode(&v), b) {
			t.Error("two encodings of one spool")
		}
		if v, err := syntax.Decode[consumptions](b); err == nil && !slices.Equal(syntax.Encode(&v), b) {
			t.Error("two encodings of one consumption")
		}
	})
}
