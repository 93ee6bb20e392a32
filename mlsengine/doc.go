// Package mlsengine is RFC 9420 (Messaging Layer Security) as pure functions
// on immutable values. "§" in its comments is a section of that RFC.
//
// A Group is one epoch as one member knows it; a PublicGroup is what anybody
// can know of it. Every operation leaves its receiver as it was and returns a
// successor, so an error never leaves anything half changed, and the caller
// decides when memory moves: after its store said yes.
//
// The examples are where to start: Group shows two members from key package to
// removal, ExternalCommit how somebody joins who was not asked in, and
// Group.FoundSuccessor how one group takes the place of another. Three duties
// are the caller's: to send its messages in one order that all members follow,
// to ask its authentication service about every credential that Effects names,
// and to use each key package once.
//
// The package draws no randomness and reads no clock. What must be fresh comes
// from Env.Entropy by label, what must be timely from Env.Now, so that the same
// inputs make the same bytes.
//
// A peer's mistake is a *RuleError with a stable code (rules.go is the whole
// table); bytes that do not parse are a RuleError too, with the rule
// MalformedMessage. A panic is a bug of this program, not reachable from input.
//
// Where to look:
//
//	§4, appendix C  treemath
//	§5.1, §5.2      suite
//	§5.3            credential.go
//	§6              framing.go content.go protect.go
//	§7              leafnode.go ratchettree.go treehash.go updatepath.go treevalidate.go
//	§8              keyschedule.go psk.go transcript.go
//	§9              secrettree.go
//	§10             keypackage.go
//	§11             group.go founding.go reinit.go branch.go
//	§12             proposal.go proposallist.go sending.go staging.go commit_create.go commit_process.go
//	§12.1.8         external_proposal.go
//	§12.4.3         groupinfo.go welcome.go external_commit.go
//	§13             extension.go capabilities.go custom_proposal.go grease.go
//	§15             aead_limits.go protect.go
//
// Of draft-ietf-mls-extensions: component.go app_proposals.go self_remove.go
// safe_export.go app_framing.go.
//
// Secrets have types of their own which do not print. Memory that holds one is
// overwritten where its time is over and nobody else can hold it: successors
// share structure, so what an older Group still needs is left to the collector.
package mlsengine
