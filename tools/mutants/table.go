package main

import "slices"

// table lists the mutants. Another set is another function here.
func table() []mutant {
	return slices.Concat(engine(messages()), engine(groups()), engine(joining()))
}

// engineTests are the quick tests of the engine: a case for each rule, simulated groups, vectors where no rule says it.
const engineTests = "-run=Rule|Simulated|Vectors|Generation|Export|Hostile|LowOrder"

// engine makes mutants those of mlsengine: each rule is one that a peer could break to its advantage.
func engine(ms []mutant) []mutant {
	for i := range ms {
		ms[i].Set, ms[i].Tests = "engine", []string{engineTests, "./mlsengine", "./mlsengine/suite"}
	}
	return ms
}

// messages are mutants of what protects messages.
func messages() []mutant {
	return []mutant{
		{
			Name: "content-signature", Breaks: "a message is signed by its sender", File: "mlsengine/protect.go",
			Old: `return broken(InvalidSignature, "%v", err)`, New: `return nil`,
		},
		{
			Name: "membership-tag", Breaks: "a public message is a member's", File: "mlsengine/protect.go",
			Old: `return broken(InvalidMembershipTag, "%d bytes", len(p.membershipTag))`, New: `return nil`,
		},
		{
			Name: "confirmation-tag", Breaks: "the committer came to our epoch", File: "mlsengine/commit_process.go",
			Old: `if !hmac.Equal(entered.tag, in.Commit.ConfirmationTag()) {`, New: `if !hmac.Equal(entered.tag, in.Commit.ConfirmationTag()) && st == nil {`,
		},
		{
			Name: "generation-reuse", Breaks: "a message key opens one message", File: "mlsengine/secrettree.go",
			Old: "	next.stepFrom(s, r.next)\n	return keys, next, nil", New: "	return keys, next, nil",
		},
		{
			Name: "skipped-keys", Breaks: "keys behind the tolerance are forgotten", File: "mlsengine/secrettree.go",
			Old: `if next.next >= oldest {`, New: `if next.next+1000 >= oldest {`,
		},
		{
			Name: "safe-export", Breaks: "an exported secret is gone", File: "mlsengine/safe_export.go",
			Old: `return secret.Clone(n.secret.Expose()), nil, nil`, New: `return secret.Clone(n.secret.Expose()), n, nil`,
		},
		{
			Name: "psk-nonce", Breaks: "each use of a pre-shared key has a nonce", File: "mlsengine/psk.go",
			Old: `if len(p.Nonce) != s.HashSize() {`, New: `if len(p.Nonce) > s.HashSize() {`,
		},
	}
}

// groups are mutants of what keeps a group sound.
func groups() []mutant {
	return []mutant{
		{
			Name: "parent-hash", Breaks: "a parent's key was set by somebody below it", File: "mlsengine/treevalidate.go",
			Old: `return t.vouched(h, x, left, right) != t.vouched(h, x, right, left)`, New: `return t.vouched(h, x, left, right) || t.vouched(h, x, right, left) || x > 0`,
		},
		{
			Name: "path-secret", Breaks: "a path secret derives the key that the path shows", File: "mlsengine/updatepath.go",
			Old: `if !bytes.Equal(derived[i], public[i]) {`, New: `if len(derived[i]) != len(public[i]) {`,
		},
		{
			Name: "path-required", Breaks: "a commit that removes changes the keys", File: "mlsengine/proposallist.go",
			Old: `if !l.hasPath && l.pathRequired() {`, New: `if !l.hasPath && len(l.all) == 0 {`,
		},
		{
			Name: "signature-key-twice", Breaks: "two members have two signature keys", File: "mlsengine/treevalidate.go",
			Old: `return broken(LeafDuplicateSignatureKey, "leaf %d", x/2)`, New: `continue`,
		},
		{
			Name: "remove-committer", Breaks: "nobody commits his own removal", File: "mlsengine/proposallist.go",
			Old: `removes && l.committer == MemberSender(leaf) {`, New: `removes && l.committer == MemberSender(leaf+1<<20) {`,
		},
		{
			Name: "self-remove-by-value", Breaks: "only the sender removes himself", File: "mlsengine/self_remove.go",
			Old: `case c.ref == nil && c.sender == l.committer:`, New: `case c.ref != nil && c.sender == l.committer:`,
		},
		{
			Name: "low-order-key", Breaks: "a public key of low order is none", File: "mlsengine/suite/kem.go",
			Old: `if len(pub) != x25519Size || lowOrder25519(pub) {`, New: `if len(pub) != x25519Size {`,
		},
	}
}

// joining are mutants of what lets members in.
func joining() []mutant {
	return []mutant{
		{
			Name: "key-package-signature", Breaks: "a key package is its owner's", File: "mlsengine/keypackage.go",
			Old: `return broken(KeyPackageSignature, "%v", err)`, New: `return nil`,
		},
		{
			Name: "leaf-lifetime", Breaks: "nobody is added by an expired key package", File: "mlsengine/leafnode.go",
			Old: `if !l.Lifetime.Contains(env.Now) {`, New: `if !l.Lifetime.Contains(l.Lifetime.NotBefore) {`,
		},
		{
			Name: "external-identity", Breaks: "a joiner removes nobody but itself", File: "mlsengine/external_commit.go",
			Old: `return broken(ExternalCommitIdentity, "leaf %d is another client", p.Removed)`, New: `return nil`,
		},
		{
			Name: "welcome-tree-hash", Breaks: "a joiner's tree is the group's", File: "mlsengine/groupinfo.go",
			Old: `return nil, broken(TreeHashMismatch, "epoch %d", gi.GroupContext.Epoch)`, New: `gi.GroupContext.TreeHash = tree.hash()`,
		},
		{
			Name: "welcome-confirmation", Breaks: "a joiner comes to the group's epoch", File: "mlsengine/welcome.go",
			Old: `if err := derived.confirmation.verify(s, public.context.ConfirmedTranscriptHash, public.confirmationTag); err != nil {`,
			New: `if err := derived.confirmation.verify(s, public.context.ConfirmedTranscriptHash, public.confirmationTag); err != nil && s == nil {`,
		},
		{
			Name: "group-info-signature", Breaks: "a member vouches for a GroupInfo", File: "mlsengine/groupinfo.go",
			Old: `return broken(GroupInfoSignature, "leaf %d", g.Signer)`, New: `return nil`,
		},
	}
}
