package conversation

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// secretsOf are the history secrets that a member's log holds for its owner.
func (w *world) secretsOf(m *member) []*HistorySecret {
	w.t.Helper()
	var all []*HistorySecret
	for _, r := range m.log {
		messages, err := Messages(r)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, message := range messages {
			if message.History == "" {
				continue
			}
			s, err := ParseHistorySecret(message.Plaintext.Expose())
			if err != nil || s.Client != message.History {
				w.t.Fatalf("%s: secret of %s: %v", m.name, message.History, err)
			}
			all = append(all, s)
		}
	}
	return all
}

// reader makes the client of a history secret, and lets it in by the Welcome of
// the order's entry that added it.
func (w *world) reader(s *HistorySecret) *member {
	w.t.Helper()
	identity, err := s.Identity()
	if err != nil {
		w.t.Fatal(err)
	}
	m := &member{name: string(s.Client), suite: w.config.CipherSuite, entropy: newSeeded(99), identity: identity, state: NewState(s.Client, w.group)}
	for _, b := range w.bundles {
		if slices.Contains(b.AddedClients, s.Client) {
			join := Join{Config: w.config, Welcome: b.Welcome, KeyPackage: s.KeyPackage, Secrets: s.Secrets(), Position: w.commits[b.Digest]}
			if r := w.step(m, join); r.Err != nil {
				w.t.Fatalf("%s does not get in: %v", m.name, r.Err)
			}
			return m
		}
	}
	w.t.Fatalf("nobody has let %s in", s.Client)
	return nil
}

// post says something in the group's order.
func (w *world) post(m *member, text string) {
	w.t.Helper()
	w.append(Entry{Kind: EntryApplication, Message: w.say(m, text), Sender: ids.ClientID(m.name)})
	w.everybody()
}

func readersIn(m *member) []ids.ClientID {
	return slices.DeleteFunc(m.state.ClientIDs(), func(c ids.ClientID) bool { return !HistoryClient(c) })
}

func historySuites() []mlsengine.CipherSuite {
	return []mlsengine.CipherSuite{
		suite.X25519_AES128GCM_SHA256_Ed25519, suite.P256_AES128GCM_SHA256_P256, suite.X25519_CHACHA20POLY1305_SHA256_Ed25519,
		suite.P521_AES256GCM_SHA512_P521, suite.P384_AES256GCM_SHA384_P384,
	}
}

// TestEnableDisableHistorySharing is enable_disable_history_sharing: three
// members with the reader and two without; the bundle brings the secret, the
// peer opens it, and everybody observes it once.
func TestEnableDisableHistorySharing(t *testing.T) {
	for _, id := range historySuites() {
		for _, policy := range []WirePolicy{WirePlaintext, WireCiphertext} {
			config := DefaultConfig()
			config.CipherSuite, config.WirePolicy = id, policy
			w, ada, bob := pair(t, config)
			if ada.state.HistorySharing() {
				t.Fatal("it is on from the beginning")
			}
			w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
			epoch := ada.state.Epoch()
			for _, m := range []*member{ada, bob} {
				w.restart(m)
				held := w.secretsOf(m)
				if len(m.state.ClientIDs()) != 3 || len(held) != 1 || !m.state.HistorySharing() || len(m.received) != 0 {
					t.Fatalf("suite %d: %s: members %v, %d secrets, messages %q", id, m.name, m.state.ClientIDs(), len(held), m.received)
				}
				if held[0].Client != readersIn(m)[0] || held[0].Epoch != epoch || !strings.HasPrefix(string(held[0].Client), HistoryPrefix+":") {
					t.Errorf("suite %d: %s holds the secret of %s for epoch %d", id, m.name, held[0].Client, held[0].Epoch)
				}
			}
			// The generation that the secret took is not taken again.
			w.post(ada, "behind the secret")
			if r := w.step(ada, EnableHistorySharing{CommandMeta: w.meta(ada)}); r.Err != nil || r.InFlight || len(r.Completed) != 1 {
				t.Errorf("enabled twice: %+v", r)
			}
			w.commit(bob, DisableHistorySharing{CommandMeta: w.meta(bob)})
			if len(ada.state.ClientIDs()) != 2 || ada.state.HistorySharing() || len(w.secretsOf(ada)) != 1 {
				t.Errorf("suite %d: disabled: %v", id, ada.state.ClientIDs())
			}
			if r := w.step(ada, DisableHistorySharing{CommandMeta: w.meta(ada)}); r.Err != nil || r.InFlight || len(r.Completed) != 1 {
				t.Errorf("disabled twice: %+v", r)
			}
		}
	}
}

// removals are the ways in which a member is removed.
func removals(w *world, ada, bob *member) map[string]func() {
	eve := []ids.ClientID{"eve"}
	return map[string]func(){
		"remove_members": func() { w.commit(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: eve}) },
		"another member's commit": func() {
			w.commit(bob, RemoveMembers{CommandMeta: w.meta(bob), Clients: eve})
		},
		"a proposal that is committed": func() {
			w.step(bob, ProposeRemove{CommandMeta: w.meta(bob), Client: "eve"})
			w.everybody()
			w.commit(ada, CommitPending{CommandMeta: w.meta(ada)})
		},
		"the leaver's own proposal, with an update": func() {
			eve := w.members[len(w.members)-1]
			w.step(eve, ProposeRemove{CommandMeta: w.meta(eve), Client: "eve"})
			w.everybody()
			w.commit(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
		},
	}
}

// TestShouldUpdateHistoryClientOnMemberRemove is
// should_update_history_client_on_member_remove: the reader that the removed
// member may be goes in the same commit, another comes, and whoever was removed
// reads nothing later.
func TestShouldUpdateHistoryClientOnMemberRemove(t *testing.T) {
	names := []string{"remove_members", "another member's commit", "a proposal that is committed", "the leaver's own proposal, with an update"}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			w, ada, bob := pair(t, DefaultConfig())
			eve := w.newMember("eve")
			w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(eve)}})
			w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
			old := w.reader(w.secretsOf(eve)[0])
			before := ada.state.Epoch()
			removals(w, ada, bob)[name]()
			if ada.state.Epoch() != before+1 {
				t.Fatalf("it took %d epochs", ada.state.Epoch()-before)
			}
			if now := readersIn(ada); len(now) != 1 || now[0] == old.state.Client {
				t.Fatalf("readers %v, before %s", now, old.state.Client)
			}
			w.post(ada, "without eve")
			for _, gone := range []*member{eve, old} {
				w.followAll(gone)
				if gone.state.Exists() || slices.Contains(gone.received, "without eve") || gone.state.Lifecycle != Evicted {
					t.Errorf("%s is %s and has read %q", gone.name, gone.state.Lifecycle, gone.received)
				}
			}
			for _, m := range []*member{ada, bob} {
				held := w.secretsOf(m)
				if len(held) != 2 || held[1].Client != readersIn(m)[0] {
					t.Fatalf("%s holds %d secrets", m.name, len(held))
				}
			}
			next := w.reader(w.secretsOf(bob)[1])
			w.followAll(next)
			if !slices.Equal(next.received, []string{"without eve"}) {
				t.Errorf("the new reader has read %q", next.received)
			}
		})
	}
}

// TestCanCreateEphemeralClient is can_create_ephemeral_client: it reads from
// its epoch on, and can do nothing else.
func TestCanCreateEphemeralClient(t *testing.T) {
	for _, id := range historySuites() {
		config := DefaultConfig()
		config.CipherSuite = id
		w, ada, bob := pair(t, config)
		w.post(ada, "before")
		w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
		w.post(ada, "one")
		w.commit(bob, UpdateKeyMaterial{CommandMeta: w.meta(bob)})
		w.post(bob, "two")
		reader := w.reader(w.secretsOf(bob)[0])
		w.followAll(reader)
		if !slices.Equal(reader.received, []string{"one", "two"}) {
			t.Fatalf("suite %d: read %q", id, reader.received)
		}
		for _, in := range []Command{
			Encrypt{Plaintext: []byte("me too")}, UpdateKeyMaterial{}, CommitPending{}, AddMembers{}, RemoveMembers{Clients: []ids.ClientID{"bob"}},
			ProposeUpdate{}, ProposeRemove{Client: "bob"}, ProposeAdd{}, ClearProposal{}, ExportSecret{Length: 32}, EnableHistorySharing{},
			DisableHistorySharing{}, JoinExternally{}, Create{Config: config}, MarkAsChild{}, AbandonJoin{},
		} {
			w.refused(reader, in, HistoryClientCannotWrite)
		}
		if r := w.step(reader, Wipe{}); r.Err != nil || !r.Removed {
			t.Errorf("wipe: %+v", r)
		}
	}
}

// TestHistorySharingAfterALostRace: what enabling wants, and a rotation, are
// made for the epoch that the winner led to; what others have done is not done
// again.
func TestHistorySharingAfterALostRace(t *testing.T) {
	enable := func(w *world, ada *member) Command { return EnableHistorySharing{CommandMeta: w.meta(ada)} }
	w, ada, bob, cara, lost := raced(t, DefaultConfig(), enable)
	if end := w.verdict(ada, lost, TransportRetry); end != nil || ada.state.Staged == nil {
		t.Fatalf("ended %+v", end)
	}
	bundle := *ada.state.Staged
	if end := w.verdict(ada, bundle.Digest, TransportSuccess); end == nil || end.Err != nil {
		t.Fatalf("in the end: %+v", end)
	}
	held := w.secretsOf(ada)
	if len(held) != 1 || held[0].Epoch != ada.state.Epoch() {
		t.Fatalf("%d secrets", len(held))
	}
	// A foreign service brings the secret as a message, here before its commit.
	if o := w.hear(bob, bundle.EncryptedMessage); o.Kind != OutcomeBuffered {
		t.Fatalf("early: %+v", o)
	}
	w.hear(bob, bundle.Commit)
	w.hear(cara, bundle.Commit)
	if o := w.hear(cara, bundle.EncryptedMessage); o.Kind != OutcomeHistory || o.Sender != "ada" {
		t.Fatalf("cara: %+v", o)
	}
	for _, m := range []*member{bob, cara} {
		if got := w.secretsOf(m); len(got) != 1 || got[0].Client != held[0].Client || !m.state.HistorySharing() {
			t.Errorf("%s holds %d secrets", m.name, len(got))
		}
	}

	// Others have enabled it meanwhile: nothing is left to do.
	w, ada, bob, cara = trio(t, DefaultConfig())
	w.staged(ada, enable(w, ada))
	lost = ada.state.Staged.Digest
	commit := w.committed(bob, EnableHistorySharing{CommandMeta: w.meta(bob)})
	w.hear(ada, commit)
	if end := w.verdict(ada, lost, TransportRetry); end == nil || end.Err != nil || ada.state.Staged != nil || len(readersIn(ada)) != 1 {
		t.Errorf("enabled by both: %+v", end)
	}

	// The winner has let in another reader: disabling is not done.
	w.hear(cara, commit)
	w.staged(ada, DisableHistorySharing{CommandMeta: w.meta(ada)})
	lost = ada.state.Staged.Digest
	w.hear(ada, w.committed(bob, RemoveMembers{CommandMeta: w.meta(bob), Clients: []ids.ClientID{"cara"}}))
	if end := w.verdict(ada, lost, TransportRetry); end != nil {
		t.Fatalf("disabled by nobody: %+v", end)
	}
	if w.accept(ada); ada.state.HistorySharing() {
		t.Errorf("readers %v", readersIn(ada))
	}
}

// TestHistorySecretDiesWithItsCommit: a commit that is refused leaves nothing,
// and one that turns up after a new one took its place counts with its secret.
func TestHistorySecretDiesWithItsCommit(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	w.staged(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	first := *ada.state.Staged
	if end := w.verdict(ada, first.Digest, TransportAbort); end == nil || !errors.Is(end.Err, TransportAborted) || ada.state.HistorySharing() {
		t.Fatalf("refused: %+v", end)
	}
	if len(w.secretsOf(ada)) != 0 || ada.state.Private.staged.Len() != 0 {
		t.Error("something is left of a refused commit")
	}
	w.staged(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	second := *ada.state.Staged
	w.verdict(ada, second.Digest, TransportFailed)
	w.staged(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.restart(ada)
	if o := w.hear(ada, second.Commit); o.Kind != OutcomeCommit || !ada.state.HistorySharing() || len(w.secretsOf(ada)) != 1 {
		t.Fatalf("turned up: %+v, %d secrets", o, len(w.secretsOf(ada)))
	}
	w.hear(bob, second.Commit)
	if o := w.hear(bob, second.EncryptedMessage); o.Kind != OutcomeHistory {
		t.Errorf("bob: %+v", o)
	}
}

// TestBogusHistorySecrets: what is no secret of a reader of its epoch is a
// message like any other.
func TestBogusHistorySecrets(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	good := w.secretsOf(ada)[0]
	w.commit(ada, DisableHistorySharing{CommandMeta: w.meta(ada)})
	w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	now := w.secretsOf(ada)[1]
	other := func(change func(*HistorySecret)) []byte {
		s := *now
		change(&s)
		return s.Encode().Expose()
	}
	bogus := map[string][]byte{
		"of a reader that is gone":   good.Encode().Expose(),
		"cut short":                  now.Encode().Expose()[:40],
		"the mark alone":             historyMagic,
		"with more behind":           append(bytes.Clone(now.Encode().Expose()), 0),
		"huge":                       append(bytes.Clone(historyMagic), make([]byte, 200<<10)...),
		"of another group":           other(func(s *HistorySecret) { s.Conversation = "elsewhere" }),
		"of a later epoch":           other(func(s *HistorySecret) { s.Epoch++; s.Epoch++ }),
		"under a member's name":      other(func(s *HistorySecret) { s.Client = "bob" }),
		"under another reader's":     other(func(s *HistorySecret) { s.Client = HistoryPrefix + ":other" }),
		"with other keys":            other(func(s *HistorySecret) { s.secrets.LeafKey = good.secrets.LeafKey }),
		"with a key package of none": other(func(s *HistorySecret) { s.KeyPackage = nil }),
		"without keys":               other(func(s *HistorySecret) { s.secrets.InitKey = secret.Bytes{} }),
	}
	for name, b := range bogus {
		if name != "of another group" && name != "of a later epoch" && name != "of a reader that is gone" {
			if _, err := ParseHistorySecret(b); !errors.Is(err, InvalidHistorySecret) {
				t.Errorf("%s: %v", name, err)
			}
		}
		before, secrets := len(ada.received), len(w.secretsOf(ada))
		w.post(bob, string(b))
		if len(ada.received) != before+1 || ada.received[before] != string(b) || len(w.secretsOf(ada)) != secrets {
			t.Errorf("%s: %d messages, %d secrets", name, len(ada.received)-before, len(w.secretsOf(ada))-secrets)
		}
	}
	// Any member may share the true one again: it is what it is.
	w.post(bob, string(now.Encode().Expose()))
	if held := w.secretsOf(ada); len(held) != 3 || held[2].Client != now.Client {
		t.Errorf("shared again: %d secrets", len(held))
	}
}

// TestNamesOfReadersAreTaken: nobody becomes an ordinary client under the name
// of a reader.
func TestNamesOfReadersAreTaken(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	liar := w.newMember(HistoryPrefix + "-not")
	kp, _ := w.keyPackage(liar)
	w.refused(ada, AddMembers{KeyPackages: [][]byte{kp.Bytes()}}, HistoryClientCannotWrite)
	w.refused(ada, ProposeAdd{KeyPackage: kp.Bytes()}, HistoryClientCannotWrite)
	tr, err := StepClient(NewClientState(ids.ClientID(liar.name)), AddCredential{CipherSuite: w.config.CipherSuite}, w.env(liar))
	if err != nil || !errors.Is(tr.Reply.Err, HistoryClientCannotWrite) {
		t.Errorf("credential: %v %v", err, tr.Reply.Err)
	}
}

// TestLiarAmongReaders: a member that lets in a client of its own under a
// reader's name, with a signature key. It is heard by nobody, and leaves with
// the first member who does.
func TestLiarAmongReaders(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve := w.newMember("eve")
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(eve)}})
	liar := w.newMember(HistoryPrefix + ":eve")
	add, err := mlsengine.ParseKeyPackage(w.invite(liar))
	if err != nil {
		t.Fatal(err)
	}
	w.forge(eve, &mlsengine.Add{KeyPackage: *add})
	w.everybody()
	if got := readersIn(bob); len(got) != 1 || !liar.state.Exists() {
		t.Fatalf("readers %v, liar %s", got, liar.state.Lifecycle)
	}
	liar.state.Client = "liar" // as a program of its own would be
	r := w.step(liar, Encrypt{Plaintext: []byte("trust me")})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	w.append(Entry{Kind: EntryApplication, Message: r.Ciphertext, Sender: eve.state.Client})
	before := len(bob.received)
	w.everybody()
	if len(bob.received) != before {
		t.Errorf("bob has read %q", bob.received)
	}
	w.commit(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"eve"}})
	w.followAll(liar)
	if got := readersIn(bob); len(got) != 1 || got[0] == HistoryPrefix+":eve" || liar.state.Exists() {
		t.Errorf("readers %v, liar %s", got, liar.state.Lifecycle)
	}
}

// TestWhoForgetsTheReaderIsMadeUpFor: a committer removes a member and leaves
// the reader that the member may be. Another member lets in a new one when its
// turn comes, and nobody does so twice.
func TestWhoForgetsTheReaderIsMadeUpFor(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve := w.newMember("eve")
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(eve)}})
	w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	old := readersIn(ada)[0]
	leaf := eve.state.OwnLeaf
	w.forge(ada, &mlsengine.Remove{Removed: leaf})
	w.everybody()
	if got := readersIn(bob); !slices.Equal(got, []ids.ClientID{old}) || bob.state.ExposedMs == 0 {
		t.Fatalf("readers %v, exposed since %d", got, bob.state.ExposedMs)
	}
	w.restart(bob)
	due := bob.state.NextDue(true)
	if due == 0 || due > w.nowMs+10*minuteMs {
		t.Fatalf("due at %d", due)
	}
	w.nowMs = due
	if r := w.step(bob, Tick{MayCommit: true}); !r.InFlight {
		t.Fatalf("tick: %+v", r)
	}
	w.everybody()
	for _, m := range []*member{ada, bob} {
		if got := readersIn(m); len(got) != 1 || got[0] == old || m.state.ExposedMs != 0 {
			t.Errorf("%s: readers %v, exposed since %d", m.name, got, m.state.ExposedMs)
		}
		if held := w.secretsOf(m); held[len(held)-1].Client != readersIn(m)[0] {
			t.Errorf("%s does not hold the new secret", m.name)
		}
	}
}

// forge commits what is given and nothing else, as a program may that knows
// nothing of history sharing.
func (w *world) forge(m *member, proposals ...mlsengine.Proposal) {
	w.t.Helper()
	out, err := m.state.Private.Group.Commit(mlsengine.CommitIntent{
		Inline: proposals, ForcePath: true, TreeInWelcome: mlsengine.WithTree, TreeInInfo: mlsengine.WithTree,
	}, w.env(m).engine())
	if err != nil {
		w.t.Fatal(err)
	}
	epoch := m.state.Epoch()
	tr, err := Step(m.state, Tick{}, w.env(m)) // nothing is due
	if err != nil {
		w.t.Fatal(err)
	}
	work := &work{s: tr.Next, env: w.env(m)}
	body := &v1.CommitStaged{Epoch: uint64(epoch)}
	describeCommit(body, intent{name: (UpdateKeyMaterial{}).Name()}, out)
	sealed := stagedSecrets{resume: out.Secrets}.encode()
	work.s.Private = work.s.Private.withStaged(sealed)
	if err := work.emit(event{body: body, secrets: []events.Secret{{Class: events.ClassConsumption, Plain: sealed}}}); err != nil {
		w.t.Fatal(err)
	}
	work.outbox = append(work.outbox, work.s.bundle())
	w.store(m, UpdateKeyMaterial{}, work.transition())
	w.answer(m)
}

// TestJoinersInARotationHoldItsSecret: whoever is added by the commit that
// rotates gets the new reader's secret too.
func TestJoinersInARotationHoldItsSecret(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve := w.newMember("eve")
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(eve)}})
	w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	dan := w.newMember("dan")
	w.step(bob, ProposeRemove{CommandMeta: w.meta(bob), Client: "eve"})
	w.everybody()
	w.commit(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(dan)}})
	held := w.secretsOf(dan)
	if len(held) != 1 || held[0].Client != readersIn(ada)[0] {
		t.Errorf("dan holds %d secrets, readers %v", len(held), readersIn(ada))
	}
}
