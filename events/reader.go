package events

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
)

// reader walks the messages of a log and verifies each record before anybody
// acts on it: digest, MAC, its place in the chain, its chunks, its seals.
type reader struct {
	log  LogID
	ring *ring      // nil: nothing can be opened
	mac  ringSecret // zero: MACs stay unchecked
	// passed gets the place of every record of the log, fn every record that counts, void every one that a torn batch left and the one that says so.
	// resumed gets the place of the record that the walk resumes from, once it was found there.
	passed  func(Head)
	resumed func(Head)
	fn      func(verified) error
	void    func(torn, by *Record)

	head     Head
	timeMS   uint64
	sequence uint64 // of the newest message
	chunks   [][]byte
	size     int // bytes in chunks
	start    startKind
	held     []verified // a batch's record that waits for its verdict, and no-ops after it
}

// verified is a record whose place and content are right.
type verified struct {
	record *Record
	parts  []usedPart
	cut    bool // the walk began between its chunks: it is passed over
}

// startKind says what the first record of a walk has to be.
type startKind int

const (
	startEmpty  startKind = iota // version 1, or the checkpoint that begins what retention left of an order
	startAt                      // the record of the head that the walk resumes from; it is not given again
	startOrigin                  // the same, of a log whose ring was lost: its MAC is nobody's
	startMiddle                  // whatever stands there
	startDone
)

// walk reads from a head on: the zero head is the beginning, and one with a
// stream sequence alone is the middle of a log.
func (r *reader) walk(ctx context.Context, source Source, from Head) error {
	switch {
	case from.Version > 0:
		r.start = startAt
	case from.Sequence > 0:
		r.start = startMiddle
	case r.ring != nil && r.ring.origin.Version > 0:
		from, r.start = r.ring.origin, startOrigin
	}
	r.head = from
	return source.Read(ctx, r.log, from.Sequence, r.message)
}

func (r *reader) corrupt(sequence uint64, format string, args ...any) error {
	return &ErrCorrupt{Log: r.log, Version: r.head.Version + 1, Sequence: sequence, Reason: fmt.Sprintf(format, args...)}
}

func (r *reader) message(m Message) error {
	if m.Sequence <= r.sequence {
		return r.corrupt(m.Sequence, "it comes after stream sequence %d", r.sequence)
	}
	if isChunk(m.Data) {
		r.sequence = m.Sequence
		r.chunks, r.size = append(r.chunks, m.Data), r.size+len(m.Data)
		if len(r.chunks) > 2*chunkMessages || r.size > 2*chunkTotalMax {
			return r.corrupt(m.Sequence, "%d chunks without a record", len(r.chunks))
		}
		return nil
	}
	v, err := r.open(m)
	if err != nil {
		return err
	}
	first := r.start
	r.advance(v.record)
	// What lies before the record that a walk resumes from was followed before; what lay before the checkpoint that an order begins
	// with was purged.
	if first == startAt || first == startOrigin || first == startEmpty && r.head.Version > 1 {
		if r.resumed != nil {
			r.resumed(r.head)
		}
	}
	if first == startAt || first == startOrigin || v.cut {
		return nil
	}
	if r.passed != nil {
		r.passed(r.head)
	}
	return r.place(v)
}

// advance moves the walk to a record.
func (r *reader) advance(to *Record) {
	r.head, r.timeMS, r.sequence, r.start = to.Head, to.TimeMS, to.Sequence, startDone
	r.chunks, r.size = nil, 0
}

// place gives a record on, or holds it: a record of a batch counts only once
// it is known that the batch is whole, which whatever was appended after it
// proves, unless that says the opposite.
func (r *reader) place(v verified) error {
	if len(r.held) > 0 {
		torn := r.held[0].record
		switch {
		case isNoop(v.record):
			r.held = append(r.held, v)
			return nil
		case supersedes(v.record, torn):
			r.held = r.held[1:]
			if r.void != nil {
				r.void(torn, v.record)
			}
		}
		if err := r.release(); err != nil {
			return err
		}
	}
	if b := v.record.Batch; b != nil && b.Participants[len(b.Participants)-1].Log != r.log {
		r.held = []verified{v}
		return nil
	}
	return r.fn(v)
}

// release gives on what was held.
func (r *reader) release() error {
	held := r.held
	r.held = nil
	for _, v := range held {
		if err := r.fn(v); err != nil {
			return err
		}
	}
	return nil
}

// isNoop: the record only takes a place.
func isNoop(r *Record) bool {
	if len(r.Events) != 1 {
		return false
	}
	_, ok := r.Events[0].Body.(*v1.Claimed)
	return ok
}

// supersedes tells whether a record declares another one void.
func supersedes(r, torn *Record) bool {
	if len(r.Events) == 0 {
		return false
	}
	body, ok := r.Events[0].Body.(*v1.TransactionTorn)
	return ok && body.Version == torn.Version && string(body.Digest) == string(torn.Digest[:])
}

// open verifies a record from the outside in: nothing is parsed before its
// digest and MAC are right.
func (r *reader) open(m Message) (verified, error) {
	stored, err := splitStored(m.Data)
	if err != nil {
		return verified{}, r.corrupt(m.Sequence, "%v", err)
	}
	checked := !r.mac.IsZero() && r.start != startOrigin
	if checked && !checkMAC(r.mac, macRecord, stored.digest[:], stored.mac) {
		return verified{}, r.corrupt(m.Sequence, "its MAC is not the log's")
	}
	message, public, err := parseRecord(stored.encoding)
	if err != nil {
		return verified{}, r.corrupt(m.Sequence, "%v", err)
	}
	if err := r.link(message, stored.digest); err != nil {
		return verified{}, r.corrupt(m.Sequence, "%v", err)
	}
	record := recordOf(message)
	record.Log, record.Digest, record.Sequence, record.MACChecked, record.Raw = r.log, stored.digest, m.Sequence, checked, m.Data
	v := verified{record: record}
	if r.start == startAt || r.start == startOrigin { // what is not given need not be opened, and its chunks were not read
		return v, nil
	}
	if v.cut, record.Size, err = r.chunked(message, len(m.Data)); err != nil {
		return verified{}, r.corrupt(m.Sequence, "%v", err)
	}
	if v.cut {
		return v, nil
	}
	if v.parts, err = r.unseal(record, message, public); err != nil {
		return verified{}, r.corrupt(m.Sequence, "%v", err)
	}
	return v, nil
}

// link checks that the record is the one that belongs here.
func (r *reader) link(m *v1.Record, digest ids.Digest) error {
	if id := (LogID{Kind(m.Kind), ids.ClientID(m.Client), ids.ConversationID(m.Conversation)}); id != r.log {
		return fmt.Errorf("it belongs to log %s", id)
	}
	if m.Batch != nil && !inBatch(batchOf(m.Batch), Participant{r.log, m.Version}) {
		return errors.New("it is not among the records of its own batch")
	}
	switch r.start {
	case startAt, startOrigin:
		if m.Version != r.head.Version || digest != r.head.Digest {
			return fmt.Errorf("it is record %d with digest %s, not %s", m.Version, digest, r.head)
		}
		return nil
	case startMiddle:
		return nil
	case startEmpty:
		if r.log.Kind != KindMember && m.Version > 1 && len(m.Events) > 0 {
			if _, ok := m.Events[0].BodyValue().(*v1.OrderCheckpoint); ok {
				return nil
			}
		}
	}
	switch {
	case m.Version > r.head.Version+1:
		return fmt.Errorf("records %d to %d are missing before it", r.head.Version+1, m.Version-1)
	case m.Version <= r.head.Version:
		return fmt.Errorf("it is record %d again", m.Version)
	case m.Version > 1 && string(m.Previous) != string(r.head.Digest[:]):
		return errors.New("it does not follow the record before it")
	case m.TimeMs < r.timeMS:
		return errors.New("it is older than the record before it")
	case r.head.Version > 0 && string(m.Incarnation) != string(r.head.Incarnation[:]) && r.start == startDone && !restartsMessage(m):
		return errors.New("it belongs to another incarnation of the log")
	}
	return nil
}

func inBatch(b *BatchInfo, p Participant) bool { return slices.Contains(b.Participants, p) }

func restartsMessage(m *v1.Record) bool {
	return len(m.Events) > 0 && restarts([]Event{{Body: m.Events[0].BodyValue()}})
}

// chunked puts the record's chunks back. Chunks that no record names are what
// a torn batch left, and only the record that says so may follow them.
func (r *reader) chunked(m *v1.Record, size int) (cut bool, total int, err error) {
	count, err := chunkCount(m)
	if err != nil {
		return false, 0, err
	}
	if count > len(r.chunks) {
		if r.start == startMiddle {
			return true, 0, nil
		}
		return false, 0, fmt.Errorf("%d of its %d chunks are missing", count-len(r.chunks), count)
	}
	strange := len(r.chunks) - count
	if strange > 0 && r.start != startMiddle {
		torn := false
		if len(m.Events) > 0 {
			_, torn = m.Events[0].BodyValue().(*v1.TransactionTorn)
		}
		if !torn {
			return false, 0, fmt.Errorf("%d chunks before it are nobody's", strange)
		}
	}
	for _, chunk := range r.chunks[strange:] {
		size += len(chunk)
	}
	return false, size, restoreChunks(m, r.chunks[strange:])
}

// unseal opens what there is a key for. A part that has its key and does not
// open was not sealed for this place.
func (r *reader) unseal(record *Record, m *v1.Record, public ids.Digest) ([]usedPart, error) {
	parts := make([]usedPart, 0, len(m.Sealed))
	for i, e := range m.Events {
		for _, index := range e.Sealed {
			p := m.Sealed[index]
			part := usedPart{keyID(p.KeyId), Class(p.Class), p.Label}
			parts = append(parts, part)
			s := Secret{Class: part.class, Label: part.label}
			if r.ring != nil {
				if k := r.ring.find(part.id); k != nil && k.class != classMAC {
					plain, err := openBox(k.key, p.Salt, partAAD(public, part.class, part.label, part.id), p.Ciphertext)
					if err != nil {
						return nil, fmt.Errorf("its %s part does not open", part.class)
					}
					s.Plain = secret.New(plain)
				}
			}
			record.Events[i].Secrets = append(record.Events[i].Secrets, s)
		}
	}
	return parts, nil
}

// recordOf is the public part of a parsed record.
func recordOf(m *v1.Record) *Record {
	r := &Record{Head: Head{Version: m.Version}, TimeMS: m.TimeMs}
	copy(r.Incarnation[:], m.Incarnation)
	copy(r.Previous[:], m.Previous)
	if c := m.Cause; c != nil {
		r.Cause = Cause{
			Transaction: ids.TransactionID(c.TransactionId), Command: c.Command, CommandID: ids.CommandID(c.CommandId), Principal: c.Principal,
			Trace: c.TraceId, IssuedMS: c.IssuedMs,
		}
		copy(r.Cause.RequestDigest[:], c.RequestDigest)
	}
	for _, e := range m.Events {
		r.Events = append(r.Events, Event{Body: e.BodyValue(), Forget: e.Forget})
	}
	r.Batch = batchOf(m.Batch)
	return r
}

func batchOf(b *v1.Batch) *BatchInfo {
	if b == nil {
		return nil
	}
	info := &BatchInfo{Transaction: ids.TransactionID(b.TransactionId), Segment: b.Segment}
	for _, p := range b.Participants {
		log := LogID{Kind(p.Kind), ids.ClientID(p.Client), ids.ConversationID(p.Conversation)}
		info.Participants = append(info.Participants, Participant{Log: log, Version: p.Version})
	}
	return info
}
