package mlsengine

import (
	"parley/internal/secret"
	"parley/internal/syntax"
)

// Entropy gives fresh random bytes: other ones on every call. The label says
// what for and is part of the contract, so that a seeded source in a test can
// draw per label and one more draw leaves old scenarios intact.
type Entropy interface {
	Draw(label string, n int) []byte
}

// Env is all that an operation may know of the world outside its arguments.
type Env struct {
	// Now is the time in Unix seconds; leaf lifetimes are judged by it (§7.2).
	Now uint64
	// LifetimeMax is the longest lifetime, in seconds, of a key package that may
	// be added (§7.2); zero bounds nothing. Like the present it is judged by
	// whoever adds or proposes, never by those who follow.
	LifetimeMax uint64
	// Entropy is drawn from by operations that make keys, nonces or guards.
	Entropy Entropy
	// Identity signs what the operation makes. Operations that make nothing
	// signed do not need it.
	Identity *SigningIdentity
	// CustomProposals are the types beyond the engine's own that are understood.
	CustomProposals CustomProposals
	// Components are the application's, for AppDataUpdate and AppEphemeral.
	Components Components
	// Identify tells which credentials are one client's to the application: an
	// external commit removes nobody else (§12.2), and a successor has the same
	// clients (§11.2). All members of a group must come to the same answers.
	Identify Identifier
	// GroupInfo are further extensions of every GroupInfo that is made, in
	// Welcomes too, for those who join (§12.4.3). external_pub and ratchet_tree
	// are not among them: TreeInclusion asks for the latter.
	GroupInfo Extensions
	// GREASE asks for values without a meaning in what is made; off by default.
	GREASE GREASE
}

// draw takes fresh bytes and checks that the source gave as many as asked for.
func (e Env) draw(label string, n int) []byte {
	b := e.Entropy.Draw(label, n)
	if len(b) != n {
		panic("mlsengine: the entropy source broke its contract")
	}
	return b
}

// codeSecret codes opaque<V> into a holder of its own, not one that shares the
// message's memory.
func codeSecret(c *syntax.Coder, s *secret.Bytes) {
	b := s.Expose()
	syntax.Opaque(c, &b)
	if c.Reading() {
		*s = secret.Bytes{}
		if len(b) > 0 {
			*s = secret.Clone(b)
		}
	}
}
