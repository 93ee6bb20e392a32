package projections_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/projections"
)

// story is what one log of ann says: she founds a group, adds bob and cem, bob renews his keys, bob removes cem.
func story() []*events.Record {
	record := func(version uint64, cause events.Cause, bodies ...events.Body) *events.Record {
		r := &events.Record{Head: events.Head{Version: version}, TimeMS: 1_700_000_000_000 + version*1000, Cause: cause}
		for _, b := range bodies {
			r.Events = append(r.Events, events.Event{Body: b})
		}
		return r
	}
	asked := func(command string) events.Cause {
		return events.Cause{Command: command, Principal: "operator", CommandID: ids.CommandID("c-" + command)}
	}
	member := func(leaf uint32, client string) *eventsv1.MemberChange {
		return &eventsv1.MemberChange{Leaf: leaf, Client: []byte(client), SignatureKey: []byte("key of " + client)}
	}
	return []*events.Record{
		record(1, asked("create"), &eventsv1.ConversationCreated{Config: &eventsv1.Configuration{CipherSuite: 1}, Facts: &eventsv1.EpochFacts{}}),
		record(2, asked("add_members"), &eventsv1.CommitStaged{Intent: "add_members", Clients: [][]byte{[]byte("bob"), []byte("cem")}, BundleDigest: []byte{0xab, 0xcd}, Attempt: 1}),
		record(3, events.Cause{}, &eventsv1.CommitAccepted{BundleDigest: []byte{0xab, 0xcd}, Position: 2},
			&eventsv1.EpochAdvanced{
				Facts: &eventsv1.EpochFacts{Epoch: 1}, Cause: eventsv1.EpochCause_EPOCH_CAUSE_OWN, Committer: []byte("ann"), Path: true, Position: 2,
				Added: []*eventsv1.MemberChange{member(1, "bob"), member(2, "cem")},
			}),
		record(4, events.Cause{}, &eventsv1.ProposalReceived{Facts: &eventsv1.ProposalFacts{Type: 3, Client: []byte("cem"), SenderType: 1, SenderIndex: 1, Ref: []byte{1, 2, 3}}, Position: 3}),
		record(5, events.Cause{}, &eventsv1.EpochAdvanced{
			Facts: &eventsv1.EpochFacts{Epoch: 2}, Cause: eventsv1.EpochCause_EPOCH_CAUSE_PEER, Committer: []byte("bob"), CommitterLeaf: 1, Path: true, Position: 4,
			Removed: []*eventsv1.MemberChange{member(2, "cem")}, Updated: []*eventsv1.MemberChange{member(1, "bob")},
		}),
		record(6, events.Cause{}, &eventsv1.SecretsCheckpoint{Reason: "256 messages"}),
	}
}

func TestSentencesTellWhoChangedWhatWhenAndWhy(t *testing.T) {
	want := []string{
		`At 2023-11-14T22:13:21.000Z ann created the conversation with cipher suite 1 and is its only member, because operator asked for create (command id c-create).`,
		`At 2023-11-14T22:13:22.000Z ann staged commit abcd in epoch 0 to add bob and cem, because operator asked for add_members (command id c-add_members).`,
		`At 2023-11-14T22:13:23.000Z the delivery service accepted the commit abcd of ann at position 2; ann moved to epoch 1 by its own commit at position 2, which added bob and cem, following the group's order to position 2.`,
		`At 2023-11-14T22:13:24.000Z ann received the proposal of bob to remove cem (010203) at position 3, following the group's order to position 3.`,
		`At 2023-11-14T22:13:25.000Z ann moved to epoch 2 by bob's commit at position 4, which removed cem and renewed the keys of bob, following the group's order to position 4.`,
		`At 2023-11-14T22:13:26.000Z ann resealed its secrets under a new key (256 messages), as upkeep.`,
	}
	n := projections.NewNarrator(events.ConversationLog("ann", "team"))
	for i, r := range story() {
		if got := n.Sentence(r); got != want[i] {
			t.Errorf("record %d\n got %s\nwant %s", r.Version, got, want[i])
		}
	}
}

func TestSentenceNamesTheOthersOfATransaction(t *testing.T) {
	here, there := events.ConversationLog("ann", "team"), events.ClientLog("ann")
	r := story()[0]
	r.Batch = &events.BatchInfo{Participants: []events.Participant{{Log: there, Version: 9}, {Log: here, Version: 1}}}
	if got := projections.NewNarrator(here).Sentence(r); !strings.HasSuffix(got, ", in one transaction with log ann.") {
		t.Error(got)
	}
}

// Every kind of event has words of its own: the fallback is for events of a later format.
func TestEveryEventHasAClause(t *testing.T) {
	for _, body := range eventsv1.Bodies() {
		if done, ok := body.(*eventsv1.CommandCompleted); ok {
			done.Code = 1 // one that is done goes without saying
		}
		if passed, ok := body.(*eventsv1.OrderFollowed); ok {
			passed.OwnMessages = 1
		}
		r := &events.Record{Head: events.Head{Version: 1}, Events: []events.Event{{Body: body}}}
		rows := projections.NewNarrator(events.ConversationLog("ann", "team")).AuditRows(r)
		if len(rows) != 1 || rows[0].Text == "" || strings.Contains(rows[0].Text, "recorded "+body.EventKind()) {
			t.Errorf("%s has no clause: %+v", body.EventKind(), rows)
		}
	}
}

// A record that gathers commands names each of them as a cause, and a commit that ends a command of an earlier record says so.
func TestCommandsAreNamedWhereverTheyEnd(t *testing.T) {
	n := projections.NewNarrator(events.ConversationLog("ann", "team"))
	done := func(id, principal, command string) events.Event {
		return events.Event{Body: &eventsv1.CommandCompleted{Command: &eventsv1.CommandRef{Id: []byte(id), Principal: principal, Command: command}}}
	}
	got := n.Sentence(&events.Record{Cause: events.Cause{Command: "batch"}, Events: []events.Event{
		{Body: &eventsv1.GenerationsReserved{ContentType: 1, Count: 32}}, done("c1", "maria", "encrypt_message"), done("\x01", "tom", "encrypt_message"),
	}})
	want := "At 1970-01-01T00:00:00.000Z ann reserved 32 generations from 0 of epoch 0 for application messages, " +
		"because maria asked for encrypt_message (command id c1) and tom asked for encrypt_message."
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	got = n.Sentence(&events.Record{Cause: events.Cause{Command: "follow"}, Events: []events.Event{
		{Body: &eventsv1.CommitAccepted{BundleDigest: []byte{1}, Position: 4}}, done("c2", "maria", "add_members"),
	}})
	want = "At 1970-01-01T00:00:00.000Z the delivery service accepted the commit 01 of ann at position 4; with that the command add_members of maria is done, " +
		"following the group's order to position 4."
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestHistorySharingIsTold(t *testing.T) {
	n := projections.NewNarrator(events.ConversationLog("ann", "team"))
	reader := func(name string) []*eventsv1.MemberChange {
		return []*eventsv1.MemberChange{{Leaf: 5, Client: []byte(ids.HistoryPrefix + ":" + name)}}
	}
	for _, c := range []struct {
		body events.Body
		want string
	}{
		{&eventsv1.CommitStaged{Intent: "enable_history_sharing"}, "ann staged commit  in epoch 0 to share history,"},
		{&eventsv1.EpochAdvanced{Added: reader("a")}, "which added history-client:a and shares history from here on,"},
		{&eventsv1.EpochAdvanced{Added: reader("b"), Removed: reader("a")}, "and shares history with another reader from here on,"},
		{&eventsv1.EpochAdvanced{Removed: reader("b")}, "which removed history-client:b and shares no history from here on,"},
		{&eventsv1.HistorySecretHeld{HistoryClient: reader("a")[0].Client, Own: true, Number: 3}, "ann kept the secret of the reader history-client:a for its owner, as number 3,"},
	} {
		if got := n.Sentence(&events.Record{Events: []events.Event{{Body: c.body}}}); !strings.Contains(got, c.want) {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
}

func TestAPlaceWhereNothingHappenedIsSaidSo(t *testing.T) {
	n := projections.NewNarrator(events.ConversationLog("ann", "team"))
	got := n.Sentence(&events.Record{Cause: events.Cause{Command: "follow"}, Events: []events.Event{{Body: &eventsv1.OrderFollowed{Position: 7}}}})
	if got != "At 1970-01-01T00:00:00.000Z nothing changed for ann, following the group's order to position 7." {
		t.Error(got)
	}
}

func TestUnknownEventsAreToldAsSuch(t *testing.T) {
	r := &events.Record{Head: events.Head{Version: 1}, Events: []events.Event{{}}}
	if got := projections.NewNarrator(events.ClientLog("ann")).Sentence(r); !strings.Contains(got, "does not know") {
		t.Error(got)
	}
}

func TestTextFromElsewhereCannotBreakTheLine(t *testing.T) {
	r := &events.Record{Events: []events.Event{{Body: &eventsv1.MessageRejected{Rule: "a\nb", Detail: "\x1b[2J"}}}, Cause: events.Cause{Command: "x\r\ny"}}
	if got := projections.NewNarrator(events.ConversationLog("ann\n", "team")).Sentence(r); strings.ContainsAny(got, "\n\r\x1b") {
		t.Errorf("control characters in %q", got)
	}
}

func TestMembersFollowTheEpochs(t *testing.T) {
	m := projections.NewMembers("ann")
	var rosters []string
	for _, r := range story() {
		m.Apply(r)
		var names []string
		for _, p := range m.Present() {
			names = append(names, fmt.Sprintf("%s@%d", p.Client, p.Leaf))
		}
		rosters = append(rosters, strings.Join(names, " "))
	}
	want := []string{"ann@0", "ann@0", "ann@0 bob@1 cem@2", "ann@0 bob@1 cem@2", "ann@0 bob@1", "ann@0 bob@1"}
	if !slices.Equal(rosters, want) {
		t.Errorf("rosters %q, want %q", rosters, want)
	}
	past := m.Past()
	if len(past) != 1 || past[0].Client != "cem" || past[0].GoneEpoch != 2 || past[0].RemovedBy != "bob" || past[0].AddedBy != "ann" || past[0].SinceEpoch != 1 {
		t.Errorf("past %+v", past)
	}
	if bob := m.Present()[1]; bob.UpdatedEpoch != 2 || bob.SinceEpoch != 1 {
		t.Errorf("bob %+v", bob)
	}
}

func TestALeafFreedAndTakenInOneCommitHasBothStays(t *testing.T) {
	m := projections.NewMembers("ann")
	for _, r := range story()[:3] {
		m.Apply(r)
	}
	m.Apply(&events.Record{Head: events.Head{Version: 4}, Events: []events.Event{{Body: &eventsv1.EpochAdvanced{
		Facts: &eventsv1.EpochFacts{Epoch: 2}, Committer: []byte("ann"),
		Removed: []*eventsv1.MemberChange{{Leaf: 1, Client: []byte("bob")}}, Added: []*eventsv1.MemberChange{{Leaf: 1, Client: []byte("dee")}},
	}}}})
	if got := m.Present(); len(got) != 3 || got[1].Client != "dee" || got[1].SinceEpoch != 2 {
		t.Errorf("present %+v", got)
	}
	if got := m.Past(); len(got) != 1 || got[0].Client != "bob" {
		t.Errorf("past %+v", got)
	}
}

func TestEpochsNameTheirCommitters(t *testing.T) {
	var m projections.Epochs
	for _, r := range story() {
		m.Apply(r)
	}
	var got []string
	for _, row := range m.Rows() {
		got = append(got, fmt.Sprintf("%d %s %s +%d -%d v%d", row.Number, row.How, row.Committer, len(row.Added), len(row.Removed), row.Version))
	}
	want := []string{"0 created  +0 -0 v1", "1 own ann +2 -0 v3", "2 peer bob +0 -1 v5"}
	if !slices.Equal(got, want) {
		t.Errorf("epochs %q, want %q", got, want)
	}
}
