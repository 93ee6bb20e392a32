package audit

import (
	"bytes"
	"fmt"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// book is what several logs must agree on. Logs are verified one after another; each is held against what the ones before it said.
type book struct {
	epochs  map[groupEpoch]epochSeen
	orders  map[ids.ConversationID]*orderSeen
	follows []follow
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
	by   events.LogID // the first log that told of it
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

// follow is a commit as a member met it in the group's order.
type follow struct {
	by       events.LogID
	version  uint64
	position uint64
	digest   []byte
}

// followed notes the commit that a member followed, to be compared with the order when that was read.
func (b *book) followed(f follow) {
	if f.position > 0 && len(f.digest) > 0 {
		b.follows = append(b.follows, f)
	}
}

// strayed are the members that followed another commit than the one that stands in the order, each with the first one.
func (b *book) strayed() []*Finding {
	var found []*Finding
	known := map[events.LogID]bool{}
	for _, f := range b.follows {
		order := b.orders[f.by.Conversation]
		if known[f.by] || order == nil || f.position < order.first || !b.read[events.OrderLog(f.by.Conversation)] {
			continue
		}
		var detail string
		digest, ok := order.commits[f.position]
		switch {
		case f.position > order.last:
			detail = fmt.Sprintf("it follows the order to position %d, which ends at %d", f.position, order.last)
		case !ok:
			detail = fmt.Sprintf("the order has no commit at position %d", f.position)
		case !bytes.Equal(digest[:], f.digest):
			detail = fmt.Sprintf("the order has another commit at position %d", f.position)
		default:
			continue
		}
		known[f.by] = true
		found = append(found, &Finding{f.by, f.version, CheckOrder, detail})
	}
	return found
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
		seen = &batchSeen{info: info, seen: map[events.LogID]bool{}, by: r.Log}
		b.batches[key] = seen
	}
	seen.seen[r.Log] = true
	if len(seen.seen) == len(info.Participants) {
		delete(b.batches, key) // whole
	}
	return nil
}

// missing are the parts of transactions that were not met in logs that were read to their end.
func (b *book) missing() []*Finding {
	var missing []*Finding
	for _, batch := range b.batches {
		for _, p := range batch.info.Participants {
			if !batch.seen[p.Log] && b.read[p.Log] {
				missing = append(missing, &Finding{p.Log, p.Version, CheckBatch, "it is missing from a transaction that log " + batch.by.String() + " has part of"})
			}
		}
	}
	return missing
}
