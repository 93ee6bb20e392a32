// Package actors is the shell around the pure domain: clients, conversations, transactions and group sequencers as
// local actors, each with one mailbox and one writer.
//
// The path of one input through a conversation actor:
//
//	Node.ask            admission: counts what is waiting, answers ErrBusy instead of growing
//	directory           finds the actor of an identity or activates it, where Placement says it lives
//	recovering          snapshot, records after it, unseal, anchor; see recover.go
//	active              commands waiting together step one after the other on a working copy: one record
//	events.Journal      the only place that waits and can lose a race
//	swap, answer, send  memory moves after the store said yes; then replies; then the outbox
//	stopped             whatever is still in the mailbox is bounced to its caller, who activates a successor
//
// What goes wrong, and what then happens:
//
//	a lost race         the actor stops; its successor replays the log; waiting callers never notice
//	an unknown outcome  callers in that record get ErrUnknownOutcome; the actor settles the record in the log, then replays
//	a corrupt log       that conversation alone answers *CorruptError until it is passivated
//	a panic             its callers get ErrPanicked, it is counted, the actor stops
//
// Nothing here retries an append. Commands carry ids, and the log remembers their first outcome.
package actors
