package events

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	v1 "parley/events/v1"
	"parley/internal/ids"
)

// Bounds of a record. What is larger is refused before anything is allocated
// for it.
const (
	recordFormat    = 0
	trailerBytes    = len(ids.Digest{}) + macBytes
	recordBytesMax  = 8 << 20 // one stored message; the store's own limit is lower
	eventsMax       = 4096
	sealedMax       = 8192
	chunksMax       = 64
	chunkMessages   = 900 // of one record: with it they fit an atomic batch
	participantsMax = 512
)

// Field numbers of v1.Record and v1.SealedPart that are read off the wire.
const (
	fieldClient       = 3
	fieldConversation = 4
	fieldEvents       = 9
	fieldSealed       = 10
	fieldChunks       = 12
	fieldKind         = 13
	fieldPartPublic   = 4 // fields of a part up to this one are public
	fieldCiphertext   = 5
	fieldPartStored   = 6
)

// storedRecord is a stored message taken apart: its digest is right, and
// nothing else is known of it.
type storedRecord struct {
	encoding []byte
	digest   ids.Digest
	mac      []byte
}

var errTorn = errors.New("its digest is not that of its bytes")

// splitStored checks the digest of a stored record.
func splitStored(data []byte) (storedRecord, error) {
	if len(data) < trailerBytes || len(data) > recordBytesMax {
		return storedRecord{}, fmt.Errorf("a record of %d bytes", len(data))
	}
	cut := len(data) - trailerBytes
	s := storedRecord{encoding: data[:cut], mac: data[cut+len(ids.Digest{}):]}
	copy(s.digest[:], data[cut:])
	if !ids.DigestOf(s.encoding).Equal(s.digest) {
		return storedRecord{}, errTorn
	}
	return s, nil
}

// joinStored is the stored form of an encoding, which it takes over.
func joinStored(encoding []byte, mac ringSecret) (data []byte, digest ids.Digest) {
	digest = ids.DigestOf(encoding)
	data = append(encoding, digest[:]...)
	return append(data, macOf(mac, macRecord, digest[:])...), digest
}

// PeekLog reads which log a stored message belongs to, without verifying
// anything. ok is false for what is no record, a chunk for example.
func PeekLog(data []byte) (id LogID, ok bool) {
	if len(data) < trailerBytes || len(data) > recordBytesMax {
		return LogID{}, false
	}
	err := walkFields(data[:len(data)-trailerBytes], func(number protowire.Number, raw, value []byte) error {
		switch number {
		case fieldClient:
			id.Client = ids.ClientID(value)
		case fieldConversation:
			id.Conversation = ids.ConversationID(value)
		case fieldKind:
			kind, _ := protowire.ConsumeVarint(value)
			id.Kind = Kind(kind)
		}
		return nil
	})
	return id, err == nil && id.Validate() == nil
}

var errWire = errors.New("it is no protobuf message")

// walkFields gives every top-level field: its whole bytes and its value (the
// content of a length-delimited field, the varint's bytes otherwise).
func walkFields(b []byte, fn func(number protowire.Number, raw, value []byte) error) error {
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return errWire
		}
		size := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if size < 0 {
			return errWire
		}
		value := b[tag : tag+size]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		if err := fn(number, b[:tag+size], value); err != nil {
			return err
		}
		b = b[tag+size:]
	}
	return nil
}

// publicDigest is the digest of a record's public bytes: its encoding without
// what is sealed, ciphertexts and where they were moved. It works on the
// stored bytes, never on a re-encoding, and bounds what parsing will allocate.
func publicDigest(encoding []byte) (ids.Digest, error) {
	public := sha256.New()
	events, sealed, chunks := 0, 0, 0
	err := walkFields(encoding, func(number protowire.Number, raw, value []byte) error {
		switch number {
		case fieldEvents:
			events++
		case fieldChunks:
			chunks++
		case fieldSealed:
			sealed++
			part, err := publicPart(value)
			if err != nil {
				return err
			}
			raw = appendBytesField(make([]byte, 0, len(part)+4), fieldSealed, part)
		}
		public.Write(raw)
		return nil
	})
	if err != nil {
		return ids.Digest{}, err
	}
	if events > eventsMax || sealed > sealedMax || chunks > chunksMax {
		return ids.Digest{}, fmt.Errorf("it holds %d events, %d sealed parts and %d chunks", events, sealed, chunks)
	}
	return ids.Digest(public.Sum(nil)), nil
}

func publicPart(part []byte) ([]byte, error) {
	public := make([]byte, 0, 96)
	err := walkFields(part, func(number protowire.Number, raw, _ []byte) error {
		if number <= fieldPartPublic {
			public = append(public, raw...)
		}
		return nil
	})
	return public, err
}

func appendBytesField(dst []byte, number protowire.Number, value []byte) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return protowire.AppendBytes(dst, value)
}

// cutMAC takes the MAC off, the last field of a message that carries its own.
func cutMAC(data []byte, number protowire.Number) (body, mac []byte, ok bool) {
	head := protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.BytesType), macBytes)
	cut := len(data) - macBytes - len(head)
	if cut < 0 || !bytes.Equal(data[cut:cut+len(head)], head) {
		return nil, nil, false
	}
	return data[:cut:cut], data[cut+len(head):], true
}

// appendSealed writes a sealed part by hand, public fields first, so that its
// public bytes are a prefix of it. It is sealed where it stands, for it may be
// long.
func appendSealed(dst []byte, public publicPartOf, aad []byte, part sealing) ([]byte, error) {
	size := len(part.plain) + tagBytes
	dst = protowire.AppendTag(dst, fieldSealed, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(len(public.body)+protowire.SizeTag(fieldCiphertext)+protowire.SizeBytes(size)))
	dst = protowire.AppendTag(append(dst, public.body...), fieldCiphertext, protowire.BytesType)
	return appendBox(protowire.AppendVarint(dst, uint64(size)), part.key, public.salt, aad, part.plain)
}

// appendMoved is appendSealed for a part whose ciphertext stands in chunks.
func (c *chunker) appendMoved(dst []byte, public publicPartOf, aad []byte, part sealing) ([]byte, error) {
	ciphertext, err := sealBox(part.key, public.salt, aad, part.plain)
	if err != nil {
		return nil, err
	}
	stored, err := marshal(c.store(ciphertext))
	if err != nil {
		return nil, err
	}
	return appendBytesField(dst, fieldSealed, appendBytesField(public.body, fieldPartStored, stored)), nil
}

func marshal(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrBadDraft, err)
	}
	return b, nil
}

// parseRecord reads an encoding whose digest was checked. The public digest
// comes with it, since both need the same walk over the bytes.
func parseRecord(encoding []byte) (*v1.Record, ids.Digest, error) {
	public, err := publicDigest(encoding)
	if err != nil {
		return nil, ids.Digest{}, err
	}
	record := &v1.Record{}
	if err := proto.Unmarshal(encoding, record); err != nil {
		return nil, ids.Digest{}, errWire
	}
	return record, public, checkShape(record)
}

func checkShape(r *v1.Record) error {
	switch {
	case r.Format != recordFormat:
		return fmt.Errorf("format %d is not known", r.Format)
	case len(r.Incarnation) != len(Incarnation{}):
		return fmt.Errorf("an incarnation of %d bytes", len(r.Incarnation))
	case r.Version == 0:
		return errors.New("version 0")
	case (r.Version == 1) != (len(r.Previous) == 0), r.Version > 1 && len(r.Previous) != len(ids.Digest{}):
		return fmt.Errorf("a previous digest of %d bytes at version %d", len(r.Previous), r.Version)
	case len(r.Batch.GetParticipants()) > participantsMax, r.Batch != nil && len(r.Batch.Participants) == 0:
		return fmt.Errorf("a batch of %d participants", len(r.Batch.GetParticipants()))
	}
	if d := r.Cause.GetRequestDigest(); len(d) != 0 && len(d) != len(ids.Digest{}) {
		return fmt.Errorf("a request digest of %d bytes", len(d))
	}
	for _, p := range r.Sealed {
		if len(p.KeyId) != len(keyID{}) || len(p.Salt) != saltBytes {
			return errors.New("a sealed part without key id or salt")
		}
		if p.Stored != nil && len(p.Ciphertext) > 0 {
			return errors.New("a sealed part in two places")
		}
	}
	return checkSealedIndices(r)
}

// checkSealedIndices: every part belongs to exactly one event, in order.
func checkSealedIndices(r *v1.Record) error {
	next := uint32(0)
	for _, e := range r.Events {
		for _, index := range e.Sealed {
			if index != next || int(index) >= len(r.Sealed) {
				return errors.New("sealed parts and events do not match")
			}
			next++
		}
	}
	if int(next) != len(r.Sealed) {
		return errors.New("sealed parts and events do not match")
	}
	return nil
}
