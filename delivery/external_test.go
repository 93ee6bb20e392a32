package delivery

import (
	"bytes"
	"context"
	"testing"

	"parley/internal/ids"
	"parley/mlsengine"
)

// enter makes the bundle by which a bot joins by itself.
func (b *bot) enter(s *Service, resync mlsengine.Resync) (Bundle, *mlsengine.CommitOut) {
	b.t.Helper()
	info, _, err := s.GroupInfo(context.Background(), testGroup, b.id)
	if err != nil {
		b.t.Fatal(err)
	}
	gi := must(mlsengine.ParseMessage(info))(b.t).GroupInfo()
	out := must(mlsengine.ExternalCommit(mlsengine.ExternalCommitParams{GroupInfo: gi, Resync: resync, TreeInInfo: mlsengine.WithTree}, b.env()))(b.t)
	return Bundle{Group: testGroup, Origin: b.origin(), Commit: out.Message, GroupInfo: out.GroupInfo}, out
}

func (b *bot) register(s *Service) {
	b.t.Helper()
	id := Identity{Client: b.id, CredentialType: uint16(b.identity.Credential.Type()), Credential: b.identity.Credential, SignatureKey: b.identity.Public}
	if err := s.Registry().Register(context.Background(), id); err != nil {
		b.t.Fatal(err)
	}
}

func wantOneEpoch(t *testing.T, bots ...*bot) {
	t.Helper()
	for _, b := range bots[1:] {
		if !bytes.Equal(b.group.EpochAuthenticator(), bots[0].group.EpochAuthenticator()) {
			t.Fatalf("%s in epoch %d and %s in epoch %d differ", b.id, b.group.Epoch(), bots[0].id, bots[0].group.Epoch())
		}
	}
}

func TestExternalCommitGoesThroughTheOrder(t *testing.T) {
	w := newWorld(t)
	s := w.serving("a", func(c *Config) {
		c.Policy = func(GroupID, ids.ClientID) Access { return JoinsByInfo }
	})
	bots := crowd(t, s, testGroup, 3)
	eve, late := newBot(t, "eve"), newBot(t, "late")
	eve.register(s)
	late.register(s)
	bundle, out := eve.enter(s, mlsengine.Resync{})
	behind, _ := late.enter(s, mlsengine.Resync{})
	e := eve.win(s, bundle, out)
	for _, b := range bots {
		b.process(e, nil)
	}
	wantOneEpoch(t, append(bots, eve)...)
	if _, again := must(s.Transport().SendCommitBundle(context.Background(), behind))(t).(Retry); !again {
		t.Error("two joined in one epoch")
	}
	bundle, out = late.enter(s, mlsengine.Resync{})
	e = late.win(s, bundle, out)
	for _, b := range append(bots, eve) {
		b.process(e, nil)
	}
	wantOneEpoch(t, append(bots, eve, late)...)
}

func TestMemberThatLostItsStateComesBack(t *testing.T) {
	w := newWorld(t)
	s := w.serving("a", nil) // without a policy: members may come back, nobody else joins
	bots := crowd(t, s, testGroup, 3)
	back := newBot(t, string(bots[1].id))
	back.register(s)
	bundle, out := back.enter(s, mlsengine.ResyncFound())
	e := back.win(s, bundle, out)
	for _, b := range []*bot{bots[0], bots[2]} {
		b.process(e, nil)
	}
	wantOneEpoch(t, bots[0], bots[2], back)
	if n := len(back.group.Public().Members()); n != 3 {
		t.Errorf("%d members", n)
	}
	bundle, out = back.update()
	back.win(s, bundle, out)
}
