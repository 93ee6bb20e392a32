package events

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"

	v1 "parley/events/v1"
	"parley/internal/ids"
)

// Prepared is a record that is ready to be appended to its log.
type Prepared struct {
	journal *Journal
	base    Head // the head it was prepared on
	record  *Record
	parts   []usedPart // which keys it uses, in the order of its secrets
	anchor  *Anchor
	swift   bool
	request Append
	settled bool
}

// NewBatch names the next records of several journals as one atomic batch, in
// this order.
func NewBatch(transaction ids.TransactionID, segment uint32, journals ...*Journal) *BatchInfo {
	batch := &BatchInfo{Transaction: transaction, Segment: segment}
	for _, j := range journals {
		batch.Participants = append(batch.Participants, Participant{Log: j.id, Version: j.head.Version + 1})
	}
	return batch
}

// Request is the append that makes the record durable.
func (p *Prepared) Request() Append { return p.request }

// Record is the record as it will be. Its stream sequence is not known yet.
func (p *Prepared) Record() *Record { return p.record }

// Journal is whose record it is.
func (p *Prepared) Journal() *Journal { return p.journal }

// Prepare makes a record of a draft, for the place after the head. Batch is
// nil unless the record is one of several. It writes the ring where the draft
// needs more keys than were made ahead; the journal itself does not change.
func (j *Journal) Prepare(ctx context.Context, d Draft, batch *BatchInfo) (*Prepared, error) {
	if err := j.usable(); err != nil {
		return nil, err
	}
	if err := j.checkDraft(d, batch); err != nil {
		return nil, fmt.Errorf("log %s: %w", j.id, err)
	}
	if (!j.reached || j.lost()) && !restarts(d.Events) {
		if err := j.CheckAnchor(ctx); err != nil {
			return nil, err
		}
	}
	return j.prepare(ctx, d, batch)
}

// prepare is Prepare without the question whether the log is all there, for
// the records that settle what was torn.
func (j *Journal) prepare(ctx context.Context, d Draft, batch *BatchInfo) (*Prepared, error) {
	if j.mustSync { // the new incarnation must stand in the ring before anything is built on it
		if err := j.writeRing(ctx, StepAnchor, spareKeys); err != nil {
			return nil, err
		}
	}
	plan, err := j.plan(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", j.id, err)
	}
	p, err := j.build(d, batch, plan)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", j.id, err)
	}
	return p, nil
}

// restarts tells whether a record begins a new incarnation of its log.
func restarts(events []Event) bool {
	if len(events) == 0 {
		return false
	}
	switch events[0].Body.(type) {
	case *v1.LogRolledBack, *v1.SecretsLost:
		return true
	}
	return false
}

func (j *Journal) checkDraft(d Draft, batch *BatchInfo) error {
	if len(d.Events) == 0 || len(d.Events) > eventsMax {
		return badDraft("%d events", len(d.Events))
	}
	secrets := 0
	for _, e := range d.Events {
		if e.Body == nil {
			return badDraft("an event without a body")
		}
		secrets += len(e.Secrets)
	}
	if secrets > sealedMax {
		return badDraft("%d secrets", secrets)
	}
	if batch == nil {
		return nil
	}
	if len(batch.Participants) > participantsMax {
		return badDraft("a batch of %d logs", len(batch.Participants))
	}
	for _, p := range batch.Participants {
		if p.Log == j.id && p.Version == j.head.Version+1 {
			return nil
		}
	}
	return badDraft("a batch without version %d of this log", j.head.Version+1)
}

func (j *Journal) plan(ctx context.Context, d Draft) (*planner, error) {
	for attempt := 0; ; attempt++ {
		ring := j.ring
		if touchesKeys(d.Events) {
			ring = ring.clone()
		}
		p := &planner{ring: ring, random: j.options.Random, version: j.head.Version + 1, timeMS: max(d.TimeMS, j.timeMS)}
		if err := p.plan(d.Events); err != nil {
			return nil, err
		}
		if p.missing == 0 {
			return p, nil
		}
		if attempt > 0 {
			return nil, fmt.Errorf("%w: keys that were made are gone again", ErrRingFull)
		}
		if err := j.makeKeys(ctx, p.missing); err != nil {
			return nil, err
		}
	}
}

func touchesKeys(events []Event) bool {
	for _, e := range events {
		if len(e.Secrets)+len(e.Forget) > 0 {
			return true
		}
	}
	return false
}

// build encodes, seals and signs the record.
func (j *Journal) build(d Draft, batch *BatchInfo, plan *planner) (*Prepared, error) {
	life, err := j.incarnation(d)
	if err != nil {
		return nil, err
	}
	record := &Record{
		Head: Head{Version: plan.version, Incarnation: life}, Log: j.id, Previous: j.head.Digest, TimeMS: plan.timeMS, Cause: d.Cause,
		Events: d.Events, Batch: batch, MACChecked: true,
	}
	message := recordMessage(record)
	encoding, chunks, err := j.seal(message, plan.parts)
	if err != nil {
		return nil, err
	}
	record.Raw, record.Digest = joinStored(encoding, j.ring.mac())
	if room := j.options.MessageMax - messageHeaders; len(record.Raw) > room {
		return nil, fmt.Errorf("%w: %d bytes stay after chunking, %d fit", ErrTooLarge, len(record.Raw), room)
	}
	messages := append(chunks, record.Raw)
	for _, m := range messages {
		record.Size += len(m)
	}
	p := &Prepared{
		journal: j, base: j.head, record: record, anchor: d.Anchor, swift: d.Swift,
		request: Append{Log: j.id, Expect: j.expect, Messages: messages},
	}
	for _, part := range plan.parts {
		p.parts = append(p.parts, usedPart{part.id, part.class, part.label})
	}
	j.open = p
	return p, nil
}

// messageHeaders is room that the store needs beside a message.
const messageHeaders = 4 << 10

// incarnation is the log's, or a new one where the draft says that the old one
// has ended.
func (j *Journal) incarnation(d Draft) (Incarnation, error) {
	if restarts(d.Events) {
		var life Incarnation
		_, err := io.ReadFull(j.options.Random, life[:])
		return life, err
	}
	if j.head.Version > 0 {
		return j.head.Incarnation, nil
	}
	return j.ring.incarnation, nil
}

// seal encodes a record and seals its parts, moving large ones out. The parts
// are bound to the record's public bytes, and those are complete before the
// first part is sealed.
func (j *Journal) seal(message *v1.Record, parts []sealing) (encoding []byte, chunks [][]byte, err error) {
	sizes, total := make([]int, len(parts)), proto.Size(message)
	for i, part := range parts {
		sizes[i] = len(part.plain) + tagBytes
		total += sizes[i] + len(part.label) + 64
	}
	if total > chunkTotalMax {
		return nil, nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, total)
	}
	chunker := &chunker{messageMax: j.options.MessageMax / 2}
	var moved []int
	if total > chunkAbove {
		var fields []candidate
		fields, moved = moveOut(message, sizes, total)
		chunker.storePublic(message, fields)
	}
	core, err := marshal(message)
	if err != nil {
		return nil, nil, err
	}
	shown, digest, err := j.publicParts(core, parts)
	if err != nil {
		return nil, nil, err
	}
	encoding = core
	if total <= chunkAbove {
		encoding = slices.Grow(core, max(0, total-len(core))+trailerBytes)
	}
	for i, part := range parts {
		aad := partAAD(digest, part.class, part.label, part.id)
		if len(moved) == 0 || moved[0] != i {
			encoding, err = appendSealed(encoding, shown[i], aad, part)
		} else {
			moved = moved[1:]
			encoding, err = chunker.appendMoved(encoding, shown[i], aad, part)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if len(chunker.messages) > chunkMessages {
		return nil, nil, fmt.Errorf("%w: %d chunks", ErrTooLarge, len(chunker.messages))
	}
	return encoding, chunker.messages, nil
}

// publicPartOf is what a sealed part shows of itself, and how that is encoded.
type publicPartOf struct {
	salt []byte
	body []byte
}

// publicParts draws the salts of parts, and gives what they show and the digest
// of all public bytes of the record, of which core is the rest.
func (j *Journal) publicParts(core []byte, parts []sealing) (shown []publicPartOf, digest ids.Digest, err error) {
	public := sha256.New()
	if len(parts) > 0 {
		public.Write(core)
	}
	shown = make([]publicPartOf, len(parts))
	for i, part := range parts {
		salt := make([]byte, saltBytes)
		if _, err := io.ReadFull(j.options.Random, salt); err != nil {
			return nil, digest, fmt.Errorf("draw a salt: %w", err)
		}
		body, err := marshal(&v1.SealedPart{KeyId: part.id[:], Salt: salt, Class: uint32(part.class), Label: part.label})
		if err != nil {
			return nil, digest, err
		}
		shown[i] = publicPartOf{salt, body}
		public.Write(appendBytesField(make([]byte, 0, len(body)+8), fieldSealed, body))
	}
	return shown, ids.Digest(public.Sum(nil)), nil
}

// recordMessage is the record without what is sealed.
func recordMessage(r *Record) *v1.Record {
	m := &v1.Record{
		Format: recordFormat, Incarnation: r.Incarnation[:], Kind: uint32(r.Log.Kind), Client: []byte(r.Log.Client), Conversation: []byte(r.Log.Conversation),
		Version: r.Version, TimeMs: r.TimeMS, Cause: causeMessage(r.Cause), Batch: batchMessage(r.Batch),
	}
	if r.Version > 1 {
		m.Previous = r.Previous[:]
	}
	part := uint32(0)
	for _, e := range r.Events {
		event := &v1.Event{Forget: e.Forget}
		event.SetBodyValue(e.Body)
		for range e.Secrets {
			event.Sealed = append(event.Sealed, part)
			part++
		}
		m.Events = append(m.Events, event)
	}
	return m
}

func causeMessage(c Cause) *v1.Cause {
	if c == (Cause{}) {
		return nil
	}
	m := &v1.Cause{
		TransactionId: []byte(c.Transaction), CommandId: []byte(c.CommandID), Command: c.Command, Principal: c.Principal, TraceId: c.Trace, IssuedMs: c.IssuedMS,
	}
	if !c.RequestDigest.IsZero() {
		m.RequestDigest = c.RequestDigest[:]
	}
	return m
}

func batchMessage(b *BatchInfo) *v1.Batch {
	if b == nil {
		return nil
	}
	m := &v1.Batch{TransactionId: []byte(b.Transaction), Segment: b.Segment}
	for _, p := range b.Participants {
		m.Participants = append(m.Participants, &v1.Participant{
			Kind: uint32(p.Log.Kind), Client: []byte(p.Log.Client), Conversation: []byte(p.Log.Conversation), Version: p.Version,
		})
	}
	return m
}
