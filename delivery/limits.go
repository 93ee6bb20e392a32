package delivery

import "time"

// Limits bounds everything the delivery service holds or takes.
type Limits struct {
	BundleBytes       int           // a whole bundle, largest taken
	MessageBytes      int           // one proposal or application message
	BatchMessages     int           // submissions that become one record
	BatchBytes        int           // and their size together
	Readers           int           // groups whose orders this node keeps open for following
	CachedEntries     int           // recent entries kept per open order
	CachedBytes       int           // and their size together
	FollowEntries     int           // entries one Follow returns at most
	Pending           int           // proposals of the current epoch in one order
	PendingOfOne      int           // of them by one submitter
	Remembered        int           // command ids remembered per group
	Senders           int           // clients whose last entry number is remembered per group
	Winners           int           // newest epochs whose winning commit is remembered in the state
	KeyPackages       int           // unclaimed key packages per client
	StockLow          int           // a claim that leaves no more of a client's key packages is told to its owner's node
	Claims            int           // remembered claims per client
	SignatureKeys     int           // registered signature keys per client
	RemoteParts       int           // unfinished multi-part envelopes held by a share's server
	PastEpochs        uint64        // application messages of so many past epochs still enter the order
	CommandWindow     time.Duration // how long command ids are remembered
	ClockSkew         time.Duration // how far in the future a command may have been issued
	RateMessages      int           // messages per member and second, sustained
	RateBurst         int           // and at once
	RateProposals     int           // proposals per member and minute, sustained
	ProposalBurst     int           // and at once
	RateCommits       int           // commits per member and minute
	RemoteTimeout     time.Duration // one attempt at another node
	CheckpointBytes   int           // an OrderCheckpoint is due after so many bytes of entries
	CheckpointEntries int           // or so many entries
	DirectoryRecords  int           // records of a directory between two checkpoints
	Directories       int           // directories this node keeps open
	RetainEntries     time.Duration // entries older than this, before the newest checkpoint, are purged
}

// withDefaults fills what was left zero.
func (l Limits) withDefaults() Limits {
	ints := []struct {
		field *int
		value int
	}{
		{&l.BundleBytes, 24 << 20}, {&l.MessageBytes, 320 << 10}, {&l.BatchMessages, 512}, {&l.BatchBytes, 384 << 10},
		{&l.Readers, 16384}, {&l.CachedEntries, 1024}, {&l.CachedBytes, 2 << 20},
		{&l.FollowEntries, 1024}, {&l.Pending, 1024}, {&l.PendingOfOne, 256}, {&l.Remembered, 1 << 17}, {&l.Senders, 1 << 16}, {&l.Winners, 64},
		{&l.KeyPackages, 1024}, {&l.StockLow, 4}, {&l.Claims, 1024}, {&l.SignatureKeys, 64}, {&l.RemoteParts, 64},
		{&l.RateMessages, 2000}, {&l.RateBurst, 8000}, {&l.RateProposals, 120}, {&l.ProposalBurst, 512}, {&l.RateCommits, 600},
		{&l.CheckpointBytes, 8 << 20}, {&l.CheckpointEntries, 1 << 16}, {&l.DirectoryRecords, 256}, {&l.Directories, 4096},
	}
	for _, f := range ints {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	spans := []struct {
		field *time.Duration
		value time.Duration
	}{
		{&l.CommandWindow, 10 * time.Minute}, {&l.ClockSkew, time.Minute},
		{&l.RemoteTimeout, 5 * time.Second}, {&l.RetainEntries, 30 * 24 * time.Hour},
	}
	for _, f := range spans {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if l.PastEpochs == 0 {
		l.PastEpochs = 3
	}
	return l
}
