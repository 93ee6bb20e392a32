// Package conversation is the domain around one MLS group, and around one
// client: for each a pair of pure functions. "§" is a section of RFC 9420.
//
// Step decides: from a state and an input to the next state, the events that
// must be stored first, and what may then be said and sent. Fold evolves: from
// a state and a stored record to the next state. One law holds them together,
// on the public and on the private part:
//
//	Fold(s, record(Step(s, in, env).Events)) == Step(s, in, env).Next
//
// The shell stores the events of a step, calls Next.At with the record's
// version, and only then lets Reply and Outbox out. Steps on one state after
// the other may share a record if they were given the same Env.NowMs.
//
// There is no clock, no randomness, no I/O, no goroutine and no lock in here.
// What a peer did wrong is an Outcome and a MessageRejected event; what a
// caller may not do is Reply.Err and no event; an error is a bug, or a log that
// is not ours.
//
// Which input does what in which state ("-": refused with a typed error, "."
// nothing happens):
//
//	                      Absent  Active   staged  pending  RolledBack  Unreachable  SecretsLost  Evicted  Wiped  Closed
//	Create                yes     -        -       -        -           -            -            yes      yes    -
//	Join                  yes     -        -       -        yes         yes          yes          yes      yes    yes
//	JoinExternally        yes     yes      -       yes      yes         yes          yes          yes      yes    yes
//	Add/Remove/Update...  -       stages   -       stages   -           -            -            -        -      -
//	*HistorySharing       -       stages   -       stages   -           -            -            -        -      -
//	CommitPending         -       no-op    -       stages   -           -            -            -        -      -
//	Propose*              -       yes      -       yes      -           -            -            -        -      -
//	ClearProposal         -       yes      -       yes      -           -            -            -        -      -
//	Encrypt               -       yes      -       -        -           -            -            -        -      -
//	ExportSecret          -       yes      yes     yes      -           -            -            -        -      -
//	MarkAsChild           -       yes      yes     yes      -           -            -            -        -      -
//	Received, Entries     -       yes      yes     yes      yes         -            -            -        -      -
//	TransportAnswered     .       .        settles .        .           .            .            .        .      .
//	Acknowledge, Expire   .       yes      yes     yes      yes         yes          yes          yes      .      yes
//	Checkpoint, Tick      .       due      due     due      due         .            .            .        .      .
//	MarkRolledBack        owed    yes      yes     yes      owed        owed         owed         owed     owed   owed
//	MarkSecretsLost       yes     yes      yes     yes      yes         yes          .            .        .      .
//	MarkBehind            .       yes      yes     yes      yes         .            .            .        .      .
//	Wipe                  -       yes      yes     yes      yes         yes          yes          yes      -      yes
//
// "staged" is Active with an own commit at the transport, or with one that lost
// its epoch and is to be made anew; "pending" Active with proposals. An own
// commit whose transport failed forbids what "staged" forbids, but for a new
// commit, which discards it. "owed" is where the log takes nothing else before
// it says so. RolledBack becomes Active with the first epoch of the group that
// the lost records cannot have reached: its ratchets are fresh. A step that merges a commit ends the proposals of the
// epoch, a rival's commit ends our staged one; what was ours among the
// proposals, and what our command wants, goes on in the new epoch. A pending
// JoinExternally is beside all of this: it ends with the transport's answer,
// AbandonJoin, or the commit coming back; till then Received keeps what may be
// of the epoch that it leads to.
//
// Where to look: step.go command.go (dispatch, command ids), lifecycle.go
// (create, join, wipe, what the shell found out), extjoin.go, commit.go selection.go
// propose.go encrypt.go, transport.go retry.go renew.go epoch.go (settling a
// commit, what a lost race leaves, entering an epoch), receive.go refusal.go buffer.go
// batch.go (messages, those that came too early, the group's order), due.go
// (what time makes due), evolve.go
// private.go fold.go (what events mean), encode.go (canonical encodings),
// history.go sharing.go (readers of history and their secrets), spool.go
// letters.go membership.go (hand-off to the owner), client*.go (the client). A client under
// the name of a reader of history (HistoryClient) joins, reads and wipes; all
// else is refused to it in every state.
package conversation
