package conversation

import (
	"parley/events"
	"parley/internal/ids"
	"parley/mlsengine"
)

// Exists reports whether we are a member of the group.
func (p Public) Exists() bool { return p.Lifecycle == Active || p.Lifecycle == RolledBack }

// Epoch is the epoch's number, 0 while there is no group.
func (p Public) Epoch() mlsengine.Epoch {
	if p.Group == nil {
		return 0
	}
	return p.Group.Epoch()
}

// Roster lists the members in leaf order.
func (p Public) Roster() []Member {
	if p.Group == nil {
		return nil
	}
	return rosterOf(p.Group)
}

// ClientIDs lists the members' client ids in leaf order.
func (p Public) ClientIDs() []ids.ClientID {
	var clients []ids.ClientID
	for _, m := range p.Roster() {
		clients = append(clients, m.Client)
	}
	return clients
}

// PendingProposals lists the proposals of the epoch that are not committed.
func (p Public) PendingProposals() []PendingProposal { return p.Pending }

// CheckpointDue reports whether the private state should be sealed anew: much
// was consumed, or something a while ago, or a past epoch is too old.
func (p Public) CheckpointDue(nowMs uint64) bool {
	if !p.Exists() {
		return false
	}
	if p.Consumed >= CheckpointEvery || p.Consumed > 0 && nowMs >= later(p.SealedMs, CheckpointAfterMs) {
		return true
	}
	return len(p.agedEpochs(nowMs)) > 0
}

// CheckpointAt is when a checkpoint becomes due if nothing else happens; 0:
// none will.
func (p Public) CheckpointAt() uint64 {
	if !p.Exists() {
		return 0
	}
	var at uint64
	if p.Consumed > 0 {
		at = p.SealedMs + CheckpointAfterMs
	}
	if n := len(p.Past); n > 0 && p.Config.PastEpochAgeMs > 0 {
		at = Earlier(at, later(p.Past[n-1].EndedMs, p.Config.PastEpochAgeMs))
	}
	return at
}

// agedEpochs lists the past epochs above their age.
func (p Public) agedEpochs(nowMs uint64) []mlsengine.Epoch {
	var aged []mlsengine.Epoch
	for _, past := range p.Past {
		if p.Config.PastEpochAgeMs > 0 && nowMs >= later(past.EndedMs, p.Config.PastEpochAgeMs) {
			aged = append(aged, past.Group.Epoch())
		}
	}
	return aged
}

// UpdateDue reports whether so many own generations are not in the group's
// order yet that the own keys should be updated: others could soon be unable
// to read us.
func (p Public) UpdateDue() bool {
	if p.Lifecycle != Active || p.Config.Transport != TransportBuiltIn {
		return false
	}
	ahead, limit := p.Reserved.Application-min(p.Reserved.Application, p.OwnOrdered), p.Config.MaximumForwardDistance
	return ahead > limit || ahead > max(limit/2, p.Config.blockSize())
}

// Unregistered reports whether we created the group and the delivery service
// is not known to know of it: Register makes the effect again.
func (p Public) Unregistered() bool {
	return p.Lifecycle == Active && p.Config.Transport == TransportBuiltIn && p.Epoch() == 0 && p.Position == 0
}

// SpoolExpiry is when the oldest messages that were not acknowledged expire;
// 0: never, or there are none.
func (p Public) SpoolExpiry() uint64 {
	if p.Config.SpoolAgeMs == 0 || len(p.Spool.Marks) == 0 && len(p.Spool.Held) == 0 {
		return 0
	}
	oldest := ^uint64(0)
	if len(p.Spool.Marks) > 0 {
		oldest = p.Spool.Marks[0].LastMs
	}
	if len(p.Spool.Held) > 0 {
		oldest = min(oldest, p.Spool.Held[0].TimeMs)
	}
	return later(oldest, p.Config.SpoolAgeMs)
}

// SpoolVersion is the version of the oldest record that may hold a message
// which was not acknowledged; 0: there is none. From there on the shell reads
// the log with Messages.
func (p Public) SpoolVersion() uint64 {
	if len(p.Spool.Marks) == 0 {
		return 0
	}
	return p.Spool.Marks[0].Version
}

// Anchor is what the ring has to know of the state. While we are muted it keeps
// saying so: should the log lose its end once more, then the reason with it.
func (p Public) Anchor() events.Anchor {
	if p.Lifecycle == RolledBack {
		return events.Anchor{Epoch: uint64(p.Muted), ApplicationReserved: everyGeneration, HandshakeReserved: everyGeneration}
	}
	return events.Anchor{
		Epoch: uint64(p.Epoch()), ApplicationReserved: p.Reserved.Application, HandshakeReserved: p.Reserved.Handshake,
	}
}

// everyGeneration stands for not knowing which ones are left.
const everyGeneration = ^uint32(0)

// EpochAuthenticator is the epoch authenticator (§8.7), nil without secrets.
func (s State) EpochAuthenticator() []byte {
	if s.Private == nil {
		return nil
	}
	return s.Private.Group.EpochAuthenticator()
}

// Unsent lists what was stored and is not known to have been sent: own
// proposals that are not in the group's order, then the staged commit. After a
// restart the shell first asks the delivery service who won the commit's epoch.
// Towards a foreign transport only the commit is listed: its proposals are the
// owner's to send. A commit that nobody waits for is not sent again.
func (s State) Unsent() []Effect {
	var effects []Effect
	if s.Joining != nil && !s.Joining.Failed {
		effects = append(effects, s.joinBundle())
	}
	if s.Lifecycle != Active {
		return effects
	}
	for _, q := range s.Pending {
		if q.Own && q.Position == 0 && s.Config.Transport == TransportBuiltIn {
			effects = append(effects, SendProposal{Message: q.Message, Ref: q.Ref, Epoch: s.Epoch()})
		}
	}
	if s.Staged != nil && !s.Staged.Failed {
		effects = append(effects, s.bundle())
	}
	return effects
}

// PeekSender reads the sender and generation of an encrypted message of the
// current epoch, ourselves included. After a restart the shell compares our
// newest message in the group's order with what is reserved.
func (s State) PeekSender(message []byte) (leaf mlsengine.LeafIndex, generation uint32, ok bool) {
	if s.Private == nil {
		return 0, 0, false
	}
	m, err := mlsengine.ParseMessage(message)
	if err != nil {
		return 0, 0, false
	}
	l, g, err := s.Private.Group.SenderOf(m)
	return l, uint32(g), err == nil
}
