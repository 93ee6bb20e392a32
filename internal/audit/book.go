package audit

import (
	"bytes"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// book is what several logs must agree on. Logs are verified one after another; each is held against what the ones before it said.
type book struct {
	epochs  map[groupEpoch]epochSeen
	orders  map[ids.ConversationID]*orderSeen
	batches map[batchKey]*batchSeen
	read    map[events.LogID]bool // logs that were read to their end
}

type groupEpoch struct {
	group ids.ConversationID
	epoch uint64
}

type epochSeen struct {
	by    events.LogID
	facts *eventsv1.EpochFacts
}

// orderSeen is what a group's order says at the positions that made epochs. Entries before first were purged.
type orderSeen struct {
	first, last uint64
	commits     map[uint64]ids.Digest
}

type batchKey struct {
	transaction ids.TransactionID
	segment     uint32
	first       events.Participant // tells transactions apart whose ids were chosen alike
}

type batchSeen struct {
	info *events.BatchInfo
	seen map[events.LogID]bool
	by   events.LogID // the first log that told of it, and where
	at   uint64
}

func newBook() *book {
	return &book{
		epochs: map[groupEpoch]epochSeen{}, orders: map[ids.ConversationID]*orderSeen{},
		batches: map[batchKey]*batchSeen{}, read: map[events.LogID]bool{},
	}
}

// epoch holds the facts of an epoch against what other members recorded of it.
func (b *book) epoch(by events.LogID, facts *eventsv1.EpochFacts) error {
	key := groupEpoch{by.Conversation, facts.GetEpoch()}
	before, ok := b.epochs[key]
	if !ok || len(before.facts.GetAuthenticatorFingerprint()) == 0 {
		b.epochs[key] = epochSeen{by, facts}
		return nil
	}
	other := before.facts
	switch {
	case !bytes.Equal(facts.GetTreeHash(), other.GetTreeHash()):
		return flawed(CheckTreeHash, "epoch %d has another tree hash than in log %s", facts.GetEpoch(), before.by)
	case !bytes.Equal(facts.GetConfirmedTranscriptHash(), other.GetConfirmedTranscriptHash()):
		return flawed(CheckTranscript, "epoch %d has another confirmed transcript hash than in log %s", facts.GetEpoch(), before.by)
	case !sameFingerprint(facts, other):
		return flawed(CheckAuthenticator, "epoch %d has another authenticator fingerprint than in log %s", facts.GetEpoch(), before.by)
	}
	return nil
}

// sameFingerprint compares where both have one: a member that an epoch no longer has cannot compute its authenticator.
func sameFingerprint(a, b *eventsv1.EpochFacts) bool {
	return len(a.GetAuthenticatorFingerprint()) == 0 || bytes.Equal(a.GetAuthenticatorFingerprint(), b.GetAuthenticatorFingerprint())
}

// commit holds the commit that a member followed against the group's order, where that was read and still has the place.
func (b *book) commit(group ids.ConversationID, position uint64, digest []byte) error {
	order := b.orders[group]
	if order == nil || position < order.first || len(digest) == 0 {
		return nil
	}
	if position > order.last {
		return flawed(CheckOrder, "it follows the order to position %d, which ends at %d", position, order.last)
	}
	want, ok := order.commits[position]
	if !ok {
		return flawed(CheckOrder, "the order has no commit at position %d", position)
	}
	if !bytes.Equal(want[:], digest) {
		return flawed(CheckOrder, "the order has another commit at position %d", position)
	}
	return nil
}

// batch notes a record that is one part of a transaction.
func (b *book) batch(r *events.Record) error {
	info := r.Batch
	if info == nil {
		return nil
	}
	own := -1
	for i, p := range info.Participants {
		if p.Log == r.Log {
			own = i
		}
	}
	if own < 0 || info.Participants[own].Version != r.Version {
		return flawed(CheckBatch, "it names a transaction that it is not part of")
	}
	key := batchKey{info.Transaction, info.Segment, info.Participants[0]}
	seen := b.batches[key]
	if seen == nil {
		seen = &batchSeen{info: info, seen: map[events.LogID]bool{}, by: r.Log, at: r.Version}
		b.batches[key] = seen
	}
	seen.seen[r.Log] = true
	if len(seen.seen) == len(info.Participants) {
		delete(b.batches, key) // whole
	}
	return nil
}

// tornBatches are the transactions of which a participant's log was read to its end without its record.
func (b *book) tornBatches() []*Finding {
	var torn []*Finding
	for _, batch := range b.batches {
		for _, p := range batch.info.Participants {
			if !batch.seen[p.Log] && b.read[p.Log] {
				torn = append(torn, &Finding{p.Log, p.Version, CheckBatch, "it is missing from a transaction that log " + batch.by.String() + " has part of"})
			}
		}
	}
	return torn
}
