package parley_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"parley"
	"parley/delivery"
	"parley/mlsengine"
)

// TestGuestProposesItself: a client that is no member asks to be added, by our own delivery service, as soon as the group's policy lets it.
// Nobody does anything: the proposal is committed when its time has come, and the guest comes in with the keys that it has kept. Members are
// not asked twice, however often the command is repeated.
func TestGuestProposesItself(t *testing.T) {
	ctx, clock := t.Context(), &warpedClock{Clock: parley.SystemClock()}
	open := map[parley.ClientID]parley.Access{"guest": parley.AsksToJoin, "reader": parley.ReadsInfo}
	node := openNode(t, parley.Options{
		Clock: clock, Limits: parley.Limits{Idle: 200 * time.Millisecond, Sweep: 50 * time.Millisecond},
		Access: func(_ parley.ConversationID, c parley.ClientID) parley.Access { return open[c] },
	})
	defer closeNode(t, node)
	tea, bob := teaForTwo(t, node)
	awaitEpoch(t, bob.Conversation("tea"), 1)
	for _, id := range []parley.ClientID{"eve", "reader"} {
		stranger, err := node.Client(ctx, id)
		ok(t, err)
		asking := parley.Asking{Epoch: 1, CipherSuite: parley.DefaultConfig().CipherSuite}
		if _, err := stranger.AskToJoin(ctx, "tea", asking); delivery.CodeOf(err) != delivery.Forbidden || parley.AdviceOf(err) != parley.GiveUp {
			t.Errorf("%s asks: %v", id, err)
		}
	}
	guest := takeBot(t, node, "guest")
	stale := parley.Asking{CipherSuite: parley.DefaultConfig().CipherSuite}
	if _, err := guest.AskToJoin(ctx, "tea", stale); delivery.CodeOf(err) != delivery.WrongEpoch || parley.AdviceOf(err) != parley.Retry {
		t.Errorf("of an epoch that is over: %v", err)
	}
	once := parley.WithCommandID(ctx, "ask")
	asked, err := guest.AskToJoin(once, "tea", parley.Asking{})
	ok(t, err)
	again, err := guest.AskToJoin(once, "tea", parley.Asking{})
	ok(t, err)
	if string(asked.Ref) != string(again.Ref) || string(asked.Message) != string(again.Message) || len(asked.Message) == 0 {
		t.Error("asked again it is another proposal")
	}
	status := awaitProposals(t, tea, 1)
	p := status.Proposals[0]
	if p.Sender != "guest" || p.Client != "guest" || p.SenderType != mlsengine.SenderTypeNewMemberProposal || string(p.Ref) != string(asked.Ref) {
		t.Errorf("pending: %+v", p)
	}
	history, err := tea.History(ctx)
	ok(t, err)
	clock.ahead.Add(int64(5 * time.Minute))
	awaitVersion(t, tea, history.Version)
	guest.await(t, "the welcome", inEpoch(2))
	in := guest.Conversation("tea")
	awaitEpoch(t, tea, 2)
	agree(t, tea, bob.Conversation("tea"), in)
	_, err = in.Send(ctx, []byte("thank you"))
	ok(t, err)
	refusedAs(t, ask(ctx, guest.Client), parley.ConversationAlreadyExists, parley.GiveUp)
}

func ask(ctx context.Context, c *parley.Client) error {
	_, err := c.AskToJoin(ctx, "tea", parley.Asking{})
	return err
}

// TestGuestProposesItselfToForeignGroup: with a foreign delivery service the proposal is handed to it, or to whoever calls; a member commits
// it, and the guest joins by the Welcome.
func TestGuestProposesItselfToForeignGroup(t *testing.T) {
	ctx := t.Context()
	node, ada, bob, service := racers(t)
	guest, err := node.Client(ctx, "guest")
	ok(t, err)
	status, err := ada.Status(ctx)
	ok(t, err)
	made, err := guest.AskToJoin(ctx, "tea", parley.Asking{Epoch: status.Epoch, CipherSuite: status.CipherSuite})
	ok(t, err)
	for _, c := range []*parley.Conversation{ada, bob} {
		got, err := c.Decrypt(ctx, made.Message)
		if err != nil || got.Identity == nil || got.Identity.Client != "guest" || got.Delay == nil || got.EpochChanged() {
			t.Fatalf("%s: %+v, %v", c.Client().ID(), got, err)
		}
		if got, err = c.Decrypt(ctx, made.Message); err != nil || got.Code != parley.DuplicateMessage {
			t.Errorf("%s, twice: %+v, %v", c.Client().ID(), got, err)
		}
	}
	ok(t, bob.CommitPending(ctx))
	bundle := service.last()
	got, err := ada.Decrypt(ctx, bundle.Commit)
	if err != nil || !got.EpochChanged() {
		t.Fatalf("ada: %+v, %v", got, err)
	}
	hers, err := guest.Join(ctx, parley.Invitation{Welcome: bundle.Welcome})
	ok(t, err)
	agree(t, ada, bob, hers)
	held, err := guest.Status(ctx)
	ok(t, err)
	if held.KeyPackages != 0 {
		t.Errorf("%d key packages are left", held.KeyPackages)
	}
}

// TestAskingIsTakenUpAfterACrash lets the sending of the proposal fail before and after it: asked again under its id it stands in the order
// once.
func TestAskingIsTakenUpAfterACrash(t *testing.T) {
	for _, step := range []parley.Step{"events.append", "actors.send-proposal"} {
		for _, before := range []bool{true, false} {
			t.Run(string(step), func(t *testing.T) {
				ctx := t.Context()
				death := &crasher{step: step, before: before}
				node := openNode(t, parley.Options{
					Hooks: death.hooks(), Access: func(parley.ConversationID, parley.ClientID) parley.Access { return parley.AsksToJoin },
				})
				defer closeNode(t, node)
				tea, bob := teaForTwo(t, node)
				awaitEpoch(t, bob.Conversation("tea"), 1)
				guest, err := node.Client(ctx, "guest")
				ok(t, err)
				death.armed.Store(true)
				ok(t, node.Insist(parley.WithCommandID(ctx, "ask"), func(ctx context.Context) error { return ask(ctx, guest) }))
				if !death.hit.Load() {
					t.Error("nothing crashed")
				}
				awaitProposals(t, tea, 1)
				ok(t, tea.CommitPending(ctx))
				awaitExists(ctx, t, guest.Conversation("tea"))
				agree(t, tea, guest.Conversation("tea"))
			})
		}
	}
}

// TestAskingIsSentByTheNodeThatTakesOver: a node dies when the proposal is in the client's log, before and after it was sent. Nobody asks again,
// and the node that takes over sends it: it stands in the order once, and the guest comes in by it. Where the group has gone on meanwhile another
// one does.
func TestAskingIsSentByTheNodeThatTakesOver(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		step   parley.Step
		before bool
		gone   bool // the group has left the epoch that was asked in
	}{{"events.append", false, false}, {"actors.send-proposal", true, false}, {"actors.send-proposal", false, false}, {"actors.send-proposal", true, true}} {
		t.Run(fmt.Sprintf("%s before=%v gone on=%v", c.step, c.before, c.gone), func(t *testing.T) {
			t.Parallel()
			d, clock := deploy(t), &warpedClock{Clock: parley.SystemClock()}
			o := parley.Options{
				Name: "doomed", Clock: clock, Access: func(parley.ConversationID, parley.ClientID) parley.Access { return parley.AsksToJoin },
			}
			fate := &dying{at: c.step, before: c.before, died: make(chan struct{})}
			o.Hooks = fate.hooks()
			doomed := d.node(t, o)
			defer closeQuietly(t, doomed)
			tea, bob := teaForTwo(t, doomed)
			awaitEpoch(t, bob.Conversation("tea"), 1)
			guest, err := doomed.Client(t.Context(), "guest")
			ok(t, err)
			fate.armed.Store(true)
			if err := ask(t.Context(), guest); parley.AdviceOf(err) != parley.Retry {
				t.Errorf("a dead node answered %v", err)
			}
			o.Name, o.Hooks = "heir", parley.Hooks{}
			heir := d.node(t, o)
			defer closeNode(t, heir)
			tea = heir.Bare("ada").Conversation(tea.ID())
			if c.gone {
				ok(t, heir.Insist(t.Context(), tea.UpdateKeys))
			}
			awaitThat(t, "the node looks after the guest", func() bool {
				clock.ahead.Add(int64(10 * time.Second))
				status, err := tea.Status(t.Context())
				ok(t, err)
				return status.Pending == 1 || len(status.Members) == 3
			})
			ok(t, heir.Insist(t.Context(), tea.CommitPending))
			in := heir.Bare("guest").Conversation("tea")
			awaitExists(t.Context(), t, in)
			agree(t, tea, in)
			members, err := tea.ClientIDs(t.Context())
			ok(t, err)
			if len(members) != 3 {
				t.Errorf("members %v", members)
			}
		})
	}
}
