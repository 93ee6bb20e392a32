package conversation

import (
	"parley/internal/ids"
	"parley/mlsengine"
)

// Env is all that a step may know of the world.
type Env struct {
	// NowMs is the time in Unix milliseconds. Steps whose events become one record get the same one, and it is the record's.
	NowMs    uint64
	Entropy  mlsengine.Entropy
	Identity *mlsengine.SigningIdentity // the own credential and signature key
	Auth     Authenticator              // nil: every credential is accepted unchecked
	PSKs     mlsengine.PSKStore         // external and foreign resumption keys; may be nil
	// LeaseValid says that this node still holds the conversation. What stores nothing (reads, encryption inside a block) needs it.
	LeaseValid bool
}

// Authenticator says whether a client may present a signature key. It must be a pure function: a lookup in a table the
// shell has loaded.
type Authenticator interface {
	Authenticate(client ids.ClientID, credential mlsengine.Credential, signatureKey []byte) bool
}

// engine is what the engine may know of the world.
func (e Env) engine() mlsengine.Env {
	return mlsengine.Env{Now: e.NowMs / 1000, Entropy: e.Entropy, Identity: e.Identity}
}

// Step decides what an input means. It changes nothing: s is as it was,
// whatever happens. An error is a bug or a log that is not ours; what a caller
// or a peer did wrong is in the Reply.
func Step(s State, in Input, env Env) (Transition, error) {
	return Transition{Next: s}, brokenf("no such input")
}
