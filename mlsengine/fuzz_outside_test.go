package mlsengine

import (
	"errors"
	"testing"

	"parley/internal/syntax"
)

// FuzzMaliciousGroupInfo lets a member sign whatever GroupInfo decodes: who
// wants to join refuses it by a rule, or makes what the group's members can
// judge.
func FuzzMaliciousGroupInfo(f *testing.F) {
	w := newFuzzWorld(f)
	alice := w.alice
	gi := must(alice.group.GroupInfo(WithTree, alice.env))(f)
	f.Add(syntax.Encode(gi))
	dave := newTestClient(f, 1, "dave")
	k := dave.keyPackage(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		gi, err := parse[GroupInfo](b)
		if err != nil {
			return
		}
		gi.Signer = alice.group.own
		check(t, gi.sign(&alice.identity))
		for _, resync := range []Resync{{}, ResyncFound(), ResyncLeaf(gi.Signer)} {
			out, err := ExternalCommit(ExternalCommitParams{GroupInfo: &gi, Resync: resync}, dave.env)
			if err == nil {
				must(ResumeExternalCommit(ExternalResume{GroupInfo: &gi, Message: out.Message, Secrets: out.Secrets}, dave.env))(t)
			}
			wantTyped(t, err)
		}
		_, err = ProposeToJoin(&gi.GroupContext, k, nil, dave.env)
		wantTyped(t, err)
		if public, err := NewPublicGroup(&gi, nil); err == nil {
			_, err = public.ProposeExternally(&Remove{Removed: 1}, nil, dave.env)
			wantTyped(t, err)
		}
	})
}

// wantTyped fails the test for an error that a caller could not tell apart.
func wantTyped(t *testing.T, err error) {
	t.Helper()
	var rule *RuleError
	if err != nil && !errors.As(err, &rule) && !errors.Is(err, ErrNoOldLeaf) {
		t.Errorf("an error without a name: %v", err)
	}
}
