package delivery

import (
	"context"
	"errors"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// WhoWon returns the commit that ended an epoch; false when none has. The sequencer is asked first: what it answers is durable and comes
// after every submission that reached it before. When nobody serves the group's share the order itself is read, from the leader.
func (s *Service) WhoWon(ctx context.Context, g GroupID, epoch uint64) (Entry, bool, error) {
	standing, err := s.lookup(ctx, &Lookup{Group: g, Origin: Origin{Client: ids.ClientID(s.config.Node)}, Epoch: epoch})
	switch {
	case err == nil && epoch >= standing.Epoch:
		return Entry{}, false, nil
	case err == nil && standing.Winner > 0:
		entry, err := s.Entry(ctx, g, standing.Winner)
		return entry, err == nil, err
	case err != nil && !passing(err):
		return Entry{}, false, err
	}
	r := s.readers.of(g)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.whoWon(ctx, epoch)
}

// whoWon looks through the order. Application messages may lag a few epochs behind, so a record says only that the group's epoch is between
// its entries' and so many more.
func (r *orderReader) whoWon(ctx context.Context, epoch uint64) (Entry, bool, error) {
	lag := r.service.config.Limits.PastEpochs
	start, err := r.locate(ctx, func(rec *events.Record) side {
		newest, known := uint64(0), false
		for _, e := range EntriesOf(r.group, rec) {
			newest, known = max(newest, e.Epoch), true
		}
		if known && newest+lag < epoch {
			return before
		}
		return beyond
	})
	if err != nil {
		return Entry{}, false, err
	}
	var found *Entry
	passed := false
	_, err = r.walk(ctx, leader{r.service.stores.Log}, start.head, func(rec *events.Record) error {
		for _, e := range EntriesOf(r.group, rec) {
			switch {
			case e.Kind == KindCommit && e.Epoch == epoch:
				found = &e
				return errEnough
			case e.Epoch > epoch:
				passed = true
				return errEnough
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return Entry{}, false, err
	case found != nil:
		return *found, true, nil
	case passed:
		return Entry{}, false, &Error{Code: Behind, Detail: "the commit was purged"}
	}
	return Entry{}, false, nil
}

// groupInfo returns the GroupInfo of an entry, out of the checkpoint the log begins with where the entry itself was purged.
func (rs *readers) groupInfo(ctx context.Context, g GroupID, number uint64) ([]byte, error) {
	entry, err := rs.service.Entry(ctx, g, number)
	if err == nil {
		return entry.GroupInfo, nil
	}
	if !errors.Is(err, Behind) {
		return nil, err
	}
	r := rs.of(g)
	r.mu.Lock()
	defer r.mu.Unlock()
	var info []byte
	_, err = r.walk(ctx, rs.service.stores.Log, events.Head{}, func(rec *events.Record) error {
		if state, ok := checkpointOf(rec); ok {
			s := NewSequencerState(g, rs.service.config.Limits)
			if err := s.Restore(state); err != nil {
				return err
			}
			if s.infoNumber == number {
				info = s.info
			}
		}
		return errEnough
	})
	if err == nil && info == nil {
		err = refuse(NotFound, "the group info of entry %d", number)
	}
	return info, err
}

func checkpointOf(rec *events.Record) ([]byte, bool) {
	for _, ev := range rec.Events {
		if c, ok := ev.Body.(*eventsv1.OrderCheckpoint); ok {
			return c.State, true
		}
	}
	return nil, false
}

// EntriesOf lists the entries of a record.
func EntriesOf(g GroupID, rec *events.Record) []Entry {
	out := make([]Entry, 0, len(rec.Events))
	for _, ev := range rec.Events {
		switch b := ev.Body.(type) {
		case *eventsv1.OrderEntry:
			out = append(out, entryFrom(g, b))
		case *eventsv1.GroupRestarted:
			out = append(out, Entry{
				Number: b.Number, Kind: KindRestarted, Group: g, Sender: ids.ClientID(b.Sender), Successor: GroupID(b.Successor), TimeMs: b.TimeMs,
			})
		}
	}
	return out
}

func entryFrom(g GroupID, b *eventsv1.OrderEntry) Entry {
	return Entry{
		Number: b.Number, Kind: EntryKind(b.Kind), Group: g, Epoch: b.Epoch, Message: b.Message, Welcome: b.Welcome, GroupInfo: b.GroupInfo,
		EncryptedMessage: b.EncryptedMessage, Proposals: b.ProposalMessages, Sender: ids.ClientID(b.Sender), CommandID: ids.CommandID(b.CommandId),
		Digest: digestOf(b.Digest), Added: membersOf(b.Added), Removed: membersOf(b.Removed),
		Encrypted: b.Kind == eventsv1.EntryKind_ENTRY_KIND_COMMIT && len(b.Delta) == 0, Generation: b.Generation, TimeMs: b.TimeMs,
	}
}

func membersOf(cs []*eventsv1.MemberChange) []Member {
	var out []Member
	for _, c := range cs {
		out = append(out, Member{Leaf: c.Leaf, Client: ids.ClientID(c.Client), SignatureKey: c.SignatureKey})
	}
	return out
}

// firstNumber is the number of the first entry that a reader of the log from this record on can have.
func firstNumber(rec *events.Record) uint64 {
	for _, ev := range rec.Events {
		switch b := ev.Body.(type) {
		case *eventsv1.OrderEntry:
			return b.Number
		case *eventsv1.GroupRestarted:
			return b.Number
		case *eventsv1.OrderCheckpoint:
			return b.Number + 1
		}
	}
	return 0
}

// lastNumber is the number of the newest entry when the record stood at the end of the log; 0 when it does not say.
func lastNumber(rec *events.Record) uint64 {
	var n uint64
	for _, ev := range rec.Events {
		switch b := ev.Body.(type) {
		case *eventsv1.OrderEntry:
			n = max(n, b.Number)
		case *eventsv1.GroupRestarted:
			n = max(n, b.Number)
		case *eventsv1.OrderCheckpoint:
			n = max(n, b.Number)
		}
	}
	return n
}

func (e *Entry) size() int {
	n := 256 + len(e.Message) + len(e.Welcome) + len(e.GroupInfo) + len(e.EncryptedMessage)
	for _, p := range e.Proposals {
		n += len(p)
	}
	return n
}
