package conversation

import (
	"slices"
	"testing"

	"parley/internal/ids"
	"parley/mlsengine"
)

func TestCommitDelays(t *testing.T) {
	want := []uint64{15, 30, 60, 87, 109, 127, 143, 157, 170, 0}
	for i, seconds := range want {
		if got := CommitDelay(1, 10, uint64(i)); got != seconds {
			t.Errorf("index %d: %d s, want %d", i, got, seconds)
		}
	}
	if got := CommitDelay(7, 0, 0); got != 0 {
		t.Errorf("nobody: %d s", got)
	}
	if got := CommitDelay(0, 1_000_000, 999_999); got < 1000 || got > 2000 {
		t.Errorf("last of a million: %d s", got)
	}
}

// TestDelayWhereTheFounderIsRemoved: who is removed does not commit, and those
// behind move up.
func TestDelayWhereTheFounderIsRemoved(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	next := w.committed(cara, UpdateKeyMaterial{CommandMeta: w.meta(cara)})
	w.hear(ada, next)
	w.hear(bob, next)
	proposal := w.step(bob, ProposeRemove{CommandMeta: w.meta(bob), Client: "ada"}).Proposal.Message
	if o := w.hear(cara, proposal); o.Delay == nil || *o.Delay != 15 {
		t.Errorf("cara: %+v", o)
	}
	if seconds, ok := bob.state.CommitDelay(); !ok || seconds != 0 {
		t.Errorf("bob: %d, %v", seconds, ok)
	}
	if o := w.hear(ada, proposal); o.Kind != OutcomeProposal || o.Delay != nil || ada.state.NextDue(true) != ada.state.NextDue(false) {
		t.Errorf("ada: %+v", o)
	}
}

func TestPendingProposalsAreCommittedWhenDue(t *testing.T) {
	w, ada, bob, _ := trio(t, DefaultConfig())
	o := w.hear(ada, w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal.Message)
	if o.Delay == nil || *o.Delay != 15 {
		t.Fatalf("outcome %+v", o)
	}
	due := w.nowMs + 15_000
	if at := ada.state.NextDue(true); at != due {
		t.Fatalf("due at %d, want %d", at, due)
	}
	w.restart(ada)
	if r := w.step(ada, Tick{MayCommit: true}); r.InFlight {
		t.Error("committed too early")
	}
	w.nowMs = due
	if r := w.step(ada, Tick{}); r.InFlight {
		t.Error("committed though nothing may be sent")
	}
	r := w.step(ada, Tick{MayCommit: true})
	if !r.InFlight || len(ada.state.Staged.Refs) != 1 {
		t.Fatalf("reply %+v", r)
	}
	if at := ada.state.NextDue(true); at != ada.state.NextDue(false) {
		t.Errorf("due at %d while a commit is in flight", at)
	}
	w.accept(ada)
	if ada.state.Epoch() != 2 || ada.state.CommitDueMs != 0 {
		t.Errorf("epoch %d, due at %d", ada.state.Epoch(), ada.state.CommitDueMs)
	}
}

func TestWhoProposesByHandGetsTimeToCommitByHand(t *testing.T) {
	w, _, bob, _ := trio(t, DefaultConfig())
	p := w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal
	seconds, _ := bob.state.CommitDelay()
	if want := w.nowMs + ownGraceMs + 1000*seconds; bob.state.CommitDueMs != want {
		t.Errorf("due at %d, want %d", bob.state.CommitDueMs, want)
	}
	w.step(bob, ClearProposal{Ref: p.Ref})
	if bob.state.CommitDueMs != 0 {
		t.Error("nothing is pending, and something due")
	}
}

func TestTimedCommitThatFailsIsPutOff(t *testing.T) {
	w, _, bob, cara := trio(t, DefaultConfig())
	w.hear(cara, w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal.Message)
	w.nowMs = cara.state.CommitDueMs
	env := w.env(cara)
	env.Identity = nil
	tr, err := Step(cara.state, Tick{MayCommit: true}, env)
	if err != nil || tr.Reply.Err != nil {
		t.Fatal(err, tr.Reply.Err)
	}
	w.store(cara, Tick{}, tr)
	if at := cara.state.NextDue(true); at != w.nowMs+holdMs {
		t.Errorf("due at %d, now %d", at, w.nowMs)
	}
	w.nowMs += holdMs
	w.step(cara, Tick{MayCommit: true})
	w.step(cara, TransportAnswered{Bundle: cara.state.Staged.Digest, Outcome: TransportAbort, Reason: "no"})
	if at := cara.state.NextDue(true); at != w.nowMs+holdMs {
		t.Errorf("after an abort: due at %d, now %d", at, w.nowMs)
	}
}

func TestKeysRotate(t *testing.T) {
	config := DefaultConfig()
	config.KeyRotationSpanMs = 7 * dayMs
	w, ada, bob := pair(t, config)
	due := bob.state.NextDue(true)
	if due < w.nowMs+6*dayMs || due > w.nowMs+7*dayMs {
		t.Fatalf("due at %d, now %d", due, w.nowMs)
	}
	if other := ada.state.rotationDue(); other == due {
		t.Error("both rotate at once")
	}
	w.restart(bob)
	leaf, _ := bob.state.Group.Member(bob.state.OwnLeaf)
	w.nowMs = due
	w.step(bob, Tick{MayCommit: true})
	w.everybody()
	after, _ := bob.state.Group.Member(bob.state.OwnLeaf)
	if bob.state.Epoch() != 2 || ada.state.Epoch() != 2 || !leaf.Credential.Equal(after.Credential) {
		t.Fatalf("epochs %d and %d", ada.state.Epoch(), bob.state.Epoch())
	}
	if got := bob.state.RotatedMs; got != w.nowMs {
		t.Errorf("rotated at %d, now %d", got, w.nowMs)
	}
	w.step(ada, ProposeUpdate{CommandMeta: w.meta(ada)})
	w.everybody()
	w.nowMs += 1000
	w.commit(bob, CommitPending{CommandMeta: w.meta(bob)})
	if ada.state.RotatedMs != w.nowMs {
		t.Error("an own Update that others committed is no rotation")
	}
	w.refused(w.newMember("eve"), Create{Config: Config{KeyRotationSpanMs: 1}}, InvalidConfiguration)
}

func TestExternalSendersAreGivenRawOrAsJWK(t *testing.T) {
	config := DefaultConfig()
	w := newWorld(t, 1, config)
	raw := w.newMember("service").identity.Public
	jwk := []byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)
	config, err := config.WithRawExternalSenders(jwk, raw)
	if err != nil || len(config.ExternalSenders) != 2 || len(config.ExternalSenders[0].SignatureKey) != 32 {
		t.Fatalf("%v %v", config.ExternalSenders, err)
	}
	ada := w.newMember("ada")
	if _, err := ada.state.ExternalSender(); err == nil {
		t.Error("an absent conversation has an external sender")
	}
	w.step(ada, Create{Config: config})
	key, err := ada.state.ExternalSender()
	if err != nil || key[0] != 0xd7 || !slices.Equal(config.ExternalSenders[1].SignatureKey, raw) {
		t.Errorf("key %x, %v", key, err)
	}
	plain, _, _ := pair(t, DefaultConfig())
	if _, err := plain.members[0].state.ExternalSender(); err == nil {
		t.Error("a group without external senders has one")
	}
	for _, bad := range []string{"", "{}", `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, "short"} {
		if _, err := DefaultConfig().WithRawExternalSenders([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	p256 := DefaultConfig()
	p256.CipherSuite = 2
	point := []byte(`{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}`)
	if _, err := p256.WithRawExternalSenders(point); err != nil {
		t.Error(err)
	}
	if _, err := p256.WithRawExternalSenders(jwk); err == nil {
		t.Error("a key of another curve was taken")
	}
}

func TestMarkAsChild(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	w.refused(ada, MarkAsChild{Parent: "unknown"}, ParentGroupNotFound)
	w.refused(ada, MarkAsChild{Parent: w.group, Exists: true}, ParentGroupNotFound)
	w.step(ada, MarkAsChild{CommandMeta: w.meta(ada), Parent: "parent", Exists: true})
	records := len(ada.log)
	w.step(ada, MarkAsChild{Parent: "parent", Exists: true})
	if ada.state.Parent != "parent" || len(ada.log) != records {
		t.Errorf("parent %q, %d records", ada.state.Parent, len(ada.log)-records)
	}
	w.restart(ada)
	w.refused(w.newMember("eve"), MarkAsChild{Parent: "parent", Exists: true}, ConversationNotFound)
}

func TestReadersOfHistoryAreMembers(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	w.commit(ada, EnableHistorySharing{CommandMeta: w.meta(ada)})
	got := ada.state.ClientIDs()
	if len(got) != 3 || !slices.Equal(got[:2], []ids.ClientID{"ada", "bob"}) || !HistoryClient(got[2]) || HistoryClient(got[0]) {
		t.Errorf("clients %v", got)
	}
}

func TestExportLimits(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	const most = 255 * 32 // of SHA-256
	if r := w.step(ada, ExportSecret{Length: most}); r.Err != nil || r.Secret.Len() != most {
		t.Errorf("%d bytes: %v", most, r.Err)
	}
	w.refused(ada, ExportSecret{Length: most + 1}, KeyLengthTooLong)
	w.refused(ada, ExportSecret{Length: 1 << 16}, KeyLengthTooLong)
	w.refused(ada, ExportSecret{Length: -1}, KeyLengthTooLong)
}

// TestNoEpochIsJoinedTwice: the Welcome of a key package that is kept leads into
// the same epoch again, with ratchets at their beginning.
func TestNoEpochIsJoinedTwice(t *testing.T) {
	w, ada, bob := pair(t, DefaultConfig())
	eve := w.newMember("eve")
	kp, secrets := w.keyPackage(eve)
	w.invitations = append(w.invitations, invitation{kp.Bytes(), secrets})
	w.step(ada, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{kp.Bytes()}})
	join := Join{Config: w.config, Welcome: ada.state.Staged.Welcome, KeyPackage: kp.Bytes(), Secrets: secrets, Position: 3}
	w.everybody()
	if eve.state.Epoch() != 2 {
		t.Fatalf("eve is in epoch %d", eve.state.Epoch())
	}
	w.commit(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"eve"}})
	w.refused(eve, join, InvalidWelcome)
	w.step(eve, Wipe{})
	w.restart(eve)
	w.refused(eve, join, InvalidWelcome)
	w.commit(bob, AddMembers{CommandMeta: w.meta(bob), KeyPackages: [][]byte{w.invite(eve)}})
	if eve.state.Lifecycle != Active || eve.state.Epoch() != mlsengine.Epoch(4) {
		t.Errorf("eve is %s in epoch %d", eve.state.Lifecycle, eve.state.Epoch())
	}
}
