package conversation

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	v1 "parley/events/v1"
)

// TestARepeatedStepEndsAsOneThatWasNot repeats steps with the memo of one that missed a verdict.
func TestARepeatedStepEndsAsOneThatWasNot(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	eve, zoe := w.newMember("eve"), w.newMember("zoe")
	believed := doubter{"ada": true, "bob": true, "eve": true}
	add := AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(eve), w.invite(zoe)}}
	step := func(memo *Memo, in Input) Transition {
		env := w.env(ada)
		env.Entropy, env.Auth, env.Memo = newSeeded(7), believed, memo
		tr, err := Step(ada.state, in, env)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	memo := &Memo{}
	if tr := step(memo, add); !errors.Is(tr.Reply.Err, CredentialRefused) {
		t.Fatalf("nobody vouches for zoe: %v", tr.Reply.Err)
	}
	believed["zoe"] = true
	again, fresh := step(memo, add), step(nil, add)
	if again.Reply.Err != nil || again.Next.Digest() != fresh.Next.Digest() {
		t.Errorf("repeated: %v, another state than without a repetition", again.Reply.Err)
	}
	for _, ours := range []*Memo{memo, nil} { // a good one before a bad one
		bad := w.invite(w.newMember("ida"))
		bad[len(bad)-1] ^= 1
		tr := step(ours, AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{add.KeyPackages[0], bad}})
		if tr.Reply.Err == nil || len(tr.Events) > 0 {
			t.Errorf("a broken key package: %v, %d events", tr.Reply.Err, len(tr.Events))
		}
	}
	join := Join{Config: w.config, Welcome: again.Next.Staged.Welcome, KeyPackage: add.KeyPackages[0], Secrets: w.invitations[len(w.invitations)-4].secrets, Position: 9}
	joined := func(memo *Memo, auth Authenticator) *v1.ConversationJoined {
		env := w.envFor(eve, join)
		env.Entropy, env.Auth, env.Memo = newSeeded(8), auth, memo
		tr, err := Step(eve.state, join, env)
		if err != nil || tr.Reply.Err != nil {
			t.Fatalf("eve joins: %v %v", err, tr.Reply.Err)
		}
		return tr.Events[0].Body.(*v1.ConversationJoined)
	}
	memo = &Memo{}
	if doubted := joined(memo, doubter{}); len(doubted.GetWarnings()) == 0 {
		t.Error("nobody is doubted")
	}
	if repeated := joined(memo, believed); !proto.Equal(repeated, joined(nil, believed)) || len(repeated.GetWarnings()) > 0 {
		t.Errorf("a repeated join is another one, or one of doubt: %v", repeated.GetWarnings())
	}
}
