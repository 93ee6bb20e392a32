package conversation

// Holdings count what a conversation keeps beside its epoch. All of it ends: with the epoch, with an answer, or by age.
type Holdings struct {
	Proposals  int // of the epoch, pending
	Cleared    int // dropped, and still known in case that somebody commits them
	Updates    int // private keys of own Updates that are pending or dropped
	Commits    int // own commits that may still count, a join included
	Buffered   int // messages that wait for what has to come before them
	PastEpochs int // that messages can still be read of
	Secrets    int // history secrets that the owner has not acknowledged
	Failing    int // messages that the owner could not handle, and that are handed over again
	Dead       int // and those put aside
}

// Holdings counts what the conversation keeps.
func (s State) Holdings() Holdings {
	h := Holdings{
		Proposals: len(s.Pending), Cleared: len(s.Cleared), Commits: len(s.Shelved), Buffered: len(s.Buffer.Messages), PastEpochs: len(s.Past),
		Secrets: len(s.Spool.Held), Failing: s.Spool.Failing(),
	}
	h.Dead, _ = s.Spool.DeadLetters()
	for _, one := range []bool{s.Staged != nil, s.Joining != nil, s.Superseded != nil} {
		if one {
			h.Commits++
		}
	}
	if s.Private != nil {
		h.Updates, h.PastEpochs = len(s.Private.updates), len(s.Private.Past)
	}
	return h
}
