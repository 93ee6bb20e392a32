package parley_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"parley"
	"parley/conversation"
	"parley/delivery"
	"parley/internal/ids"
)

// losses are ada at home, and bob, who has said something in two epochs and whose node is gone.
type losses struct {
	deployment
	home    *parley.Node
	ada     *bot
	his     []uint32
	earlier uint64 // version of bob's log in the first of the two epochs
	later   uint64 // and in the second, before he said something
}

func (l *losses) options(name string, shares []uint32) parley.Options {
	return parley.Options{
		Name: name, Shares: shares, ShareCount: awayShares,
		Limits: parley.Limits{RejoinSpread: 20 * time.Millisecond, SnapshotEvery: 1},
	}
}

func (l *losses) goHome(t *testing.T) {
	t.Helper()
	l.home = l.node(t, l.options("home", slices.DeleteFunc(parley.Shares(awayShares), func(s uint32) bool { return s == l.his[0] })))
	l.ada = takeBot(t, l.home, "ada")
}

func (l *losses) leaveHome(t *testing.T) {
	t.Helper()
	l.ada.stop()
	closeNode(t, l.home)
}

func (l *losses) tea() *parley.Conversation { return l.ada.Conversation("tea") }

func aboutToLose(t *testing.T, last func(bob *parley.Client)) *losses {
	t.Helper()
	ctx := t.Context()
	l := &losses{deployment: deploy(t), his: []uint32{parley.ShareOf("client/bob", awayShares)}}
	l.goHome(t)
	t.Cleanup(func() { closeNode(t, l.home) })
	node := l.node(t, l.options("his", l.his))
	bob := takeBot(t, node, "bob")
	config, err := l.home.WithServiceSender(ctx, parley.DefaultConfig())
	ok(t, err)
	_, err = l.ada.Create(ctx, "tea", config)
	ok(t, err)
	ok(t, l.home.Insist(parley.WithCommandID(ctx, "add bob"), func(ctx context.Context) error { return l.tea().Add(ctx, "bob") }))
	bob.await(t, "the welcome", inEpoch(1))
	his := bob.Conversation("tea")
	speak := func(texts ...string) {
		for _, words := range texts {
			_, err := his.Send(ctx, []byte(words))
			ok(t, err)
			l.ada.await(t, words, text(words))
		}
	}
	version := func() uint64 {
		status, err := his.Status(ctx)
		ok(t, err)
		return status.Version
	}
	speak("one")
	l.earlier = version()
	ok(t, l.home.Insist(ctx, l.tea().UpdateKeys))
	awaitEpoch(t, his, 2)
	l.later = version()
	speak("two", "three")
	last(bob.Client)
	bob.stop()
	closeNode(t, node)
	return l
}

// cutLog brings the streams back as they were when bob's log had so many records.
func (l *losses) cutLog(t *testing.T, keep uint64) {
	t.Helper()
	ctx := t.Context()
	l.leaveHome(t)
	store := streams(t, l.url)
	stream, err := store.Stream(ctx, "parley_LOG")
	ok(t, err)
	var kept []*nats.Msg
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		m, err := stream.GetMsg(ctx, sequence)
		ok(t, err)
		if m.Subject == "parley.log."+ids.Token("bob")+"."+ids.Token("tea") {
			if keep == 0 {
				continue
			}
			keep--
		}
		kept = append(kept, &nats.Msg{Subject: m.Subject, Data: m.Data})
	}
	ok(t, store.DeleteStream(ctx, "parley_LOG"))
	_, err = store.CreateStream(ctx, stream.CachedInfo().Config)
	ok(t, err)
	for _, m := range kept {
		_, err := store.PublishMsg(ctx, m)
		ok(t, err)
	}
	l.goHome(t)
}

// loseRing takes the keys of a log of bob's away.
func (l *losses) loseRing(t *testing.T, log string) {
	t.Helper()
	stream, err := streams(t, l.url).Stream(t.Context(), "parley_KEYS")
	ok(t, err)
	ring, err := stream.GetLastMsgForSubject(t.Context(), "parley.keys."+ids.Token("bob")+"."+log)
	ok(t, err)
	ok(t, stream.DeleteMsg(t.Context(), ring.Sequence))
}

// commitBeyond has the group commit what bob cannot follow: a pre-shared key that he has not got.
func (l *losses) commitBeyond(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	ok(t, l.ada.AddPSK(ctx, []byte("key"), []byte("nobody has told bob")))
	_, err := l.home.Propose(ctx, "tea", parley.Want{PSK: []byte("key")}, "to lose bob")
	ok(t, err)
	awaitProposals(t, l.tea(), 1)
	ok(t, l.home.Insist(ctx, l.tea().CommitPending))
	awaitEpoch(t, l.tea(), 3)
}

// TestALostMemberComesBackByItself: whatever bob has lost, he says so, and says nothing more; where the policy lets him he comes back by an
// external commit, one, without anybody adding him. Everybody agrees and hears each other, and nothing of his is used twice.
func TestALostMemberComesBackByItself(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		lose  func(*losses, *testing.T)
		kind  conversation.MembershipKind
		cause parley.LossCause
		code  parley.Code
	}{
		{"his last words", func(l *losses, t *testing.T) { l.cutLog(t, l.later) },
			conversation.MembershipRolledBack, parley.LossRolledBack, conversation.ConversationRolledBack},
		{"his last epoch", func(l *losses, t *testing.T) { l.cutLog(t, l.earlier) },
			conversation.MembershipRolledBack, parley.LossRolledBack, conversation.ConversationRolledBack},
		{"everything", func(l *losses, t *testing.T) { l.cutLog(t, 0) },
			conversation.MembershipRolledBack, parley.LossRolledBack, conversation.ConversationUnreachable},
		{"his keys", func(l *losses, t *testing.T) { l.loseRing(t, ids.Token("tea")) },
			conversation.MembershipSecretsLost, parley.LossSecrets, conversation.SecretsMissing},
		{"his group", (*losses).commitBeyond, conversation.MembershipUnreachable, parley.LossUnreachable, conversation.ConversationUnreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := aboutToLose(t, func(bob *parley.Client) {
				_, err := bob.GenerateKeyPackages(t.Context(), 1) // the newest record of his own log is of nothing but himself
				ok(t, err)
			})
			c.lose(l, t)
			o := l.options("his again", l.his)
			node := l.node(t, o) // without a policy
			bob := takeBot(t, node, "bob")
			bob.await(t, "word of the loss", of(c.kind))
			lost, err := bob.Conversation("tea").Status(t.Context())
			ok(t, err)
			if lost.Lost == nil || lost.Lost.Cause != c.cause || !lost.Lost.Due.IsZero() {
				t.Errorf("his loss: %+v", lost.Lost)
			}
			_, err = bob.Conversation("tea").Send(t.Context(), []byte("never"))
			if !errors.Is(err, c.code) || parley.AdviceOf(err) != parley.Rejoin {
				t.Errorf("he speaks: %v", err)
			}
			bob.stop()
			closeNode(t, node)
			o.Rejoin = func(lost parley.Lost) bool {
				return lost.Client == "bob" && lost.Conversation == "tea" && lost.Cause == c.cause
			}
			node = l.node(t, o)
			defer closeNode(t, node)
			l.comesBack(t, node, lost)
		})
	}
}

// TestALostClientSaysSoEachTime: a client that has lost its keys, or what its newest record was a part of, says so whenever it is taken up: what
// its log says of that can be read again.
func TestALostClientSaysSoEachTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		lose func(*losses, *testing.T)
		code parley.Code
	}{
		{"keys", func(l *losses, t *testing.T) { l.loseRing(t, "_") }, conversation.ClientSecretsLost},
		{"half of a batch", func(l *losses, t *testing.T) { l.cutLog(t, 0) }, conversation.ClientRolledBack}, // bob has done nothing since he joined
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := aboutToLose(t, func(*parley.Client) {})
			c.lose(l, t)
			for range 3 {
				node := l.node(t, l.options("his again", l.his))
				if status, err := node.Bare("bob").Status(t.Context()); err != nil || status.Lost != c.code {
					t.Errorf("%+v, %v", status, err)
				}
				closeNode(t, node)
			}
		})
	}
}

// comesBack sees bob return on a node that lets him.
func (l *losses) comesBack(t *testing.T, node *parley.Node, lost parley.Status) {
	t.Helper()
	ctx := t.Context()
	bob := takeBot(t, node, "bob")
	bob.await(t, "word that he comes back", of(conversation.MembershipRejoining))
	joined := bob.await(t, "the way back", of(conversation.MembershipJoined)).Membership
	if m := joined.Missed; m == nil || uint64(m.AfterEpoch) != lost.Lost.Epoch || m.AfterPosition != lost.Lost.Position {
		t.Errorf("what he missed: %+v, lost was %+v", m, lost.Lost)
	}
	his := bob.Conversation("tea")
	awaitEpoch(t, l.tea(), uint64(joined.Epoch))
	agree(t, l.tea(), his)
	if status, err := his.Status(ctx); err != nil || status.Lost != nil || len(status.Members) != 2 {
		t.Errorf("after it: %+v, %v", status, err)
	}
	_, err := l.tea().Send(ctx, []byte("welcome back"))
	ok(t, err)
	bob.await(t, "a greeting", text("welcome back"))
	_, err = his.Send(ctx, []byte("thank you"))
	ok(t, err)
	l.ada.await(t, "thanks", text("thank you"))
	l.nothingTwice(t)
}

// nothingTwice reads the group's order: bob has come back by one commit, under new keys, and nothing of his stands under a key and nonce that
// something else of his stands under.
func (l *losses) nothingTwice(t *testing.T) {
	t.Helper()
	order, err := parley.OrderOf(t.Context(), l.home, "tea")
	ok(t, err)
	said, keys, commits := map[string]bool{}, map[string]uint64{}, 0
	for _, e := range order {
		if e.Kind == delivery.KindApplication && e.Sender == "bob" {
			nonce := fmt.Sprint(e.Epoch, "/", e.Generation)
			if said[nonce] {
				t.Errorf("epoch and generation %s twice", nonce)
			}
			said[nonce] = true
		}
		if e.Kind != delivery.KindCommit {
			continue
		}
		for key := range leafKeys(t, e.GroupInfo, "bob") {
			if e.Sender == "bob" && keys[key] > 0 {
				t.Errorf("the key of epoch %d again in epoch %d", keys[key], e.Epoch+1)
			}
			keys[key] = e.Epoch + 1
		}
		if e.Sender == "bob" {
			commits++
		}
	}
	if commits != 1 || len(said) != 4 {
		t.Errorf("%d commits and %d messages of bob's", commits, len(said))
	}
}

// leafKeys are the encryption keys of a client's leaves in the group of a GroupInfo.
func leafKeys(t *testing.T, groupInfo []byte, client parley.ClientID) map[string]bool {
	t.Helper()
	group, refused := conversation.GroupOf(groupInfo)
	if refused != nil {
		t.Fatal(refused)
	}
	keys := map[string]bool{}
	for _, m := range group.Members() {
		if conversation.ClientOf(m.Credential) == client {
			keys[string(m.Leaf.EncryptionKey)] = true
		}
	}
	return keys
}
