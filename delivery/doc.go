// Package delivery carries a group's traffic: the transport contract towards any delivery service, and the built-in one on JetStream.
//
// The built-in service keeps one totally ordered log per group, the order. Its only writer is the group's Sequencer, an event-sourced
// owner that holds the public state of the group (the engine without secrets) and lets exactly one publicly valid commit per epoch in,
// together with its Welcome and GroupInfo, or none of the three. Acceptance is final.
//
//	transport.go              the contract: Transport, Bundle, Message, Answer
//	state.go decide.go        the sequencer as a pure machine: SequencerState, Decide, Fold
//	commit.go encrypted.go    what makes a commit publicly valid, in the open and encrypted
//	sequencer.go host.go      one owner per group, and the owners of a node
//	follow.go whowon.go       readers of the order: entries from a number on, who won an epoch, newest GroupInfo
//	inbox.go directory.go     welcome notices and what wakes a node; key packages
//	auth.go verdicts.go       who is who: AuthenticationService, the built-in registry, verdicts for a step
//	rpc.go wire.go            submissions to another node
//	service.go retry.go       what a node calls; the built-in transport
//
// "§" means RFC 9420.
package delivery
