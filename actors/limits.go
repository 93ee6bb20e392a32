package actors

import "time"

// Limits bound the node. A zero field takes its default.
type Limits struct {
	Actors           int           // active actors, groups apart: 50,000
	Groups           int           // active sequencers: 16,384
	WaitingPerActor  int           // requests admitted and not answered: 256
	WaitingPerGroup  int           // submissions' senders that wait for one sequencer: 8,192
	WaitingPerNode   int           // of either kind: 65,536
	Recoveries       int           // activations that replay at the same time: 32
	CommandsPerBatch int           // commands in one record: 128
	CommandsPerGroup int           // submissions that a sequencer judges at a time: 512
	EntriesPerRecord int           // entries of a group's order in one record: 256
	Store            time.Duration // patience with the store for one append: 10 s
	Recover          time.Duration // for one activation: 30 s
	Transport        time.Duration // for one call of a delivery service: 15 s
	TransactionMax   time.Duration // the longest deadline of a transaction: 60 s
	TransactionGrace time.Duration // after the deadline participants settle by themselves: 2 s
	TransactionHeld  int           // requests that wait for a transaction at one participant: 128
	CatchUp          time.Duration // that a conversation of a foreign service waits, when it is activated, before it commits by itself: 30 s
	Idle             time.Duration // after which an actor is passivated: 5 min
	Sweep            time.Duration // how often the sweeper looks: 10 s
	AnchorDelay      time.Duration // an append whose anchor may wait is anchored after: 1 s
	SnapshotEvery    uint64        // records between public snapshots: 64
	SnapshotBytes    int           // or bytes of records: 1 MiB
	KeyPackages      time.Duration // the longest lifetime of a key package that is added to a group: 366 days; negative: no bound, for members such as ts-mls 1 that publish theirs for ever
	RejoinSpread     time.Duration // within how long a member that is lost tries to come back for the first time: 30 s; later attempts are apart twice as long, and longer
	UndeliveredBytes int           // decrypted messages a conversation keeps in memory for its owner: 1 MiB; the rest is read from the log
}

func (l Limits) withDefaults() Limits {
	set(&l.Actors, 50_000)
	set(&l.Groups, 16_384)
	set(&l.WaitingPerActor, 256)
	set(&l.WaitingPerGroup, 8_192)
	set(&l.WaitingPerNode, 65_536)
	set(&l.Recoveries, 32)
	set(&l.CommandsPerBatch, 128)
	set(&l.CommandsPerGroup, 512)
	set(&l.EntriesPerRecord, 256)
	set(&l.Store, 10*time.Second)
	set(&l.Recover, 30*time.Second)
	set(&l.Transport, 15*time.Second)
	set(&l.TransactionMax, time.Minute)
	set(&l.TransactionGrace, 2*time.Second)
	set(&l.TransactionHeld, 128)
	set(&l.CatchUp, 30*time.Second)
	set(&l.Idle, 5*time.Minute)
	set(&l.Sweep, 10*time.Second)
	set(&l.AnchorDelay, time.Second)
	set(&l.SnapshotEvery, 64)
	set(&l.SnapshotBytes, 1<<20)
	set(&l.KeyPackages, 366*24*time.Hour)
	set(&l.RejoinSpread, rejoinSpread)
	set(&l.UndeliveredBytes, 1<<20)
	return l
}

func set[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
