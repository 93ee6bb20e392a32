package conversation

import (
	"testing"

	"parley/mlsengine"
)

func TestKeyPackageThatLivesTooLongIsNotAdded(t *testing.T) {
	w, ada, _ := pair(t, DefaultConfig())
	add := AddMembers{CommandMeta: w.meta(ada), KeyPackages: [][]byte{w.invite(w.newMember("cara"))}}
	env := w.env(ada)
	env.KeyPackageLifetimeMax = lifetimeSeconds
	tr, err := Step(ada.state, add, env)
	if err != nil || tr.Reply.Err == nil || tr.Reply.Err.Rule != mlsengine.LeafLifetimeTotal.Code() {
		t.Fatalf("%v, %+v", err, tr.Reply.Err)
	}
	env.KeyPackageLifetimeMax += lifetimeMargin
	if tr, err = Step(ada.state, add, env); err != nil || tr.Reply.Err != nil {
		t.Fatalf("%v, %+v", err, tr.Reply.Err)
	}
}
