package parley_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"parley"
	"parley/delivery"
	"parley/mlsengine"
)

// TestTheServiceRemovesAMember: an operator wants eve out of a group that lists the deployment's service. The members do it when their time has
// come. Somebody who joins by himself in between makes the proposal void, and it is made again for his epoch.
func TestTheServiceRemovesAMember(t *testing.T) {
	t.Parallel()
	ctx, clock := t.Context(), &warpedClock{Clock: parley.SystemClock()}
	d := deploy(t)
	node := d.node(t, parley.Options{
		Clock: clock, Limits: parley.Limits{Idle: 100 * time.Millisecond, Sweep: 50 * time.Millisecond},
		Access: func(parley.ConversationID, parley.ClientID) parley.Access { return parley.JoinsByInfo },
	})
	defer closeNode(t, node)
	clients := map[parley.ClientID]*parley.Client{}
	for _, id := range []parley.ClientID{"ada", "bob", "eve", "guest"} {
		client, err := node.Client(ctx, id)
		ok(t, err)
		clients[id] = client
	}
	config, err := node.WithServiceSender(ctx, parley.DefaultConfig())
	ok(t, err)
	tea, err := clients["ada"].Create(ctx, "tea", config)
	ok(t, err)
	plain, err := clients["ada"].Create(ctx, "plain")
	ok(t, err)
	for _, c := range []*parley.Conversation{tea, plain} {
		ok(t, c.Add(ctx, "bob", "eve"))
	}
	bob := clients["bob"].Conversation("tea")
	awaitEpoch(t, bob, 1)
	if _, err := node.ProposeRemoval(ctx, "plain", "eve", ""); !errors.Is(err, delivery.Forbidden) || parley.AdviceOf(err) != parley.GiveUp {
		t.Errorf("a group that does not list the service: %v", err)
	}
	if _, err := node.ProposeRemoval(ctx, "tea", "nobody", ""); !errors.Is(err, delivery.NotMember) {
		t.Errorf("who is no member: %v", err)
	}
	first, err := node.ProposeRemoval(ctx, "tea", "eve", "her account is closed")
	ok(t, err)
	if again, err := node.ProposeRemoval(ctx, "tea", "eve", "once more"); err != nil || again != first {
		t.Errorf("asked again: entry %d, first %d, %v", again, first, err)
	}
	awaitPosition(t, bob, first)
	status, err := bob.Status(ctx)
	ok(t, err)
	if status.Epoch == 1 && status.Pending != 1 { // it is bob's turn, and he has no delay: he may have been faster, here and below
		t.Errorf("%d proposals are pending", status.Pending)
	}
	guest, err := clients["guest"].JoinExternally(ctx, "tea", parley.ExternalJoin{})
	ok(t, err)
	awaitPosition(t, bob, first+2) // the guest's commit, and the proposal of his epoch
	if status, err = bob.Status(ctx); err != nil || status.Epoch == 2 && status.Pending != 1 {
		t.Errorf("epoch %d, %d pending, %v", status.Epoch, status.Pending, err)
	}
	clock.ahead.Add(int64(5 * time.Minute)) // whoever's time it is commits
	for _, c := range []*parley.Conversation{tea, bob, guest} {
		awaitEpoch(t, c, 3)
	}
	members, err := tea.ClientIDs(ctx)
	ok(t, err)
	if len(members) != 3 {
		t.Errorf("members %v", members)
	}
	ok(t, node.Insist(ctx, tea.UpdateKeys))
	awaitEpoch(t, bob, 4)
	if status, err = bob.Status(ctx); err != nil || status.Pending != 0 {
		t.Errorf("done, and %d are pending: %v", status.Pending, err)
	}
	agree(t, tea, bob, guest)
}

func awaitPosition(t *testing.T, c *parley.Conversation, position uint64) {
	t.Helper()
	deadline := time.After(patience)
	for {
		status, err := c.Status(t.Context())
		ok(t, err)
		if status.Position >= position {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%s is at entry %d, want %d", c.Client().ID(), status.Position, position)
		}
	}
}

// TestTheServicesKeyOutlivesItsNodes: what one node has listed in a group, another one signs for, also after a newer key was made.
func TestTheServicesKeyOutlivesItsNodes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	d := deploy(t)
	node := d.node(t, parley.Options{})
	config, err := node.WithServiceSender(ctx, parley.DefaultConfig())
	ok(t, err)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob, err := node.Client(ctx, "bob")
	ok(t, err)
	tea, err := ada.Create(ctx, "tea", config)
	ok(t, err)
	ok(t, tea.Add(ctx, "bob"))
	again, err := node.WithServiceSender(ctx, parley.DefaultConfig())
	ok(t, err)
	fresh, err := node.RotateServiceSender(ctx, parley.DefaultConfig())
	ok(t, err)
	key := func(c parley.Config) string { return string(c.ExternalSenders[0].SignatureKey) }
	if key(again) != key(config) || key(fresh) == key(config) {
		t.Error("keys are not what was asked for")
	}
	closeNode(t, node)
	heir := d.node(t, parley.Options{Name: "heir"})
	defer closeNode(t, heir)
	newest, err := heir.WithServiceSender(ctx, parley.DefaultConfig())
	ok(t, err)
	if key(newest) != key(fresh) {
		t.Error("the heir has another key")
	}
	cara, err := heir.Client(ctx, "cara")
	ok(t, err)
	packages, err := cara.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	_, err = heir.ProposeAddition(ctx, "tea", packages[0], "she was invited")
	ok(t, err)
	position, err := heir.ProposeRemoval(ctx, "tea", bob.ID(), "he moved out")
	ok(t, err)
	his := heir.Bare("ada").Conversation("tea")
	awaitPosition(t, his, position)
	ok(t, heir.Insist(ctx, his.CommitPending))
	awaitEpoch(t, cara.Conversation("tea"), 2)
	members, err := his.ClientIDs(ctx)
	ok(t, err)
	if len(members) != 2 || members[1] != "cara" {
		t.Errorf("members %v", members)
	}
}

// TestTheServiceProposesWhateverItMay: members take a key that they have been given, another context, and the end of their group.
func TestTheServiceProposesWhateverItMay(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	node := deploy(t).node(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	bob, err := node.Client(ctx, "bob")
	ok(t, err)
	for _, c := range []*parley.Client{ada, bob} {
		ok(t, c.AddPSK(ctx, []byte("shared"), bytes.Repeat([]byte{7}, 32)))
	}
	config, err := node.WithServiceSender(ctx, parley.DefaultConfig())
	ok(t, err)
	tea, err := ada.Create(ctx, "tea", config)
	ok(t, err)
	ok(t, tea.Add(ctx, "bob"))
	his := bob.Conversation("tea")
	awaitEpoch(t, his, 1)
	basic := mlsengine.RequiredCapabilities{CredentialTypes: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic}}
	for i, want := range []parley.Want{
		{PSK: []byte("shared")},
		{Extensions: mlsengine.Extensions{}.WithRequiredCapabilities(basic)},
		{Reinit: &mlsengine.ReInit{GroupID: []byte("coffee"), Version: mlsengine.VersionMLS10, CipherSuite: config.CipherSuite}},
	} {
		position, err := node.Propose(ctx, "tea", want, "a test")
		ok(t, err)
		awaitPosition(t, tea, position)
		if err := node.Insist(ctx, tea.CommitPending); !errors.Is(err, parley.GroupEnded) { // somebody's timer may have been faster
			ok(t, err)
		}
		for _, c := range []*parley.Conversation{tea, his} {
			awaitEpoch(t, c, uint64(i)+2)
		}
		agree(t, tea, his)
		standing, err := node.StandingWishes(ctx, "tea")
		ok(t, err)
		if len(standing) != 0 {
			t.Errorf("done, and stands: %+v", standing)
		}
	}
	if err := his.UpdateKeys(ctx); !errors.Is(err, parley.GroupEnded) {
		t.Errorf("the group has ended: %v", err)
	}
	if _, err := node.ProposeRemoval(ctx, "tea", "bob", ""); !errors.Is(err, delivery.Closed) {
		t.Errorf("a wish for a group that has ended: %v", err)
	}
}
