package events

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	v1 "parley/events/v1"
	"parley/internal/ids"
)

const (
	chunkAbove    = 704 << 10 // a record over this size moves its large parts out; one below it fits a message, also in the base64 of a raw read
	chunkLeast    = 16 << 10  // parts smaller than this stay
	chunkTotalMax = 128 << 20 // of one record
)

// chunkMagic begins a chunk message. A record cannot begin with a zero byte.
var chunkMagic = []byte("\x00chunk 0")

func isChunk(data []byte) bool { return bytes.HasPrefix(data, chunkMagic) }

// chunker moves large parts of a record into messages of their own.
type chunker struct {
	messageMax int // bytes of one message
	messages   [][]byte
}

// store cuts content into messages and says where it went.
func (c *chunker) store(content []byte) *v1.Chunk {
	digest := ids.DigestOf(content)
	chunk := &v1.Chunk{Length: uint64(len(content)), Digest: digest[:]}
	for piece := range slices.Chunk(content, c.messageMax-len(chunkMagic)) {
		c.messages = append(c.messages, append(bytes.Clone(chunkMagic), piece...))
		chunk.Messages++
	}
	return chunk
}

// candidate is a part that could move: a bytes field of an event or, with
// field 0, a sealed part's ciphertext.
type candidate struct {
	index int
	field protoreflect.FieldDescriptor
	size  int
}

// moveOut chooses the largest parts until what stays fits. Bodies that lose a
// field are copied first: they belong to the caller.
func moveOut(r *v1.Record, sizes []int, total int) (public []candidate, sealed []int) {
	var all []candidate
	for i, e := range r.Events {
		body := e.BodyValue()
		if body == nil {
			continue
		}
		message := body.ProtoReflect()
		fields := message.Descriptor().Fields()
		for k := range fields.Len() {
			f := fields.Get(k)
			if f.Kind() != protoreflect.BytesKind || f.IsList() {
				continue
			}
			if n := len(message.Get(f).Bytes()); n >= chunkLeast {
				all = append(all, candidate{index: i, field: f, size: n})
			}
		}
	}
	for i, size := range sizes {
		if size >= chunkLeast {
			all = append(all, candidate{index: i, size: size})
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(b.size, a.size) })
	for _, c := range all {
		if total <= chunkAbove || len(public)+len(sealed) == chunksMax {
			break
		}
		total -= c.size
		if c.field == nil {
			sealed = append(sealed, c.index)
		} else {
			public = append(public, c)
		}
	}
	slices.Sort(sealed)
	return public, sealed
}

// storePublic moves the chosen fields of r's bodies into chunks.
func (c *chunker) storePublic(r *v1.Record, chosen []candidate) {
	copied := map[int]bool{}
	for _, part := range chosen {
		event := r.Events[part.index]
		if !copied[part.index] {
			copied[part.index] = true
			event.SetBodyValue(proto.Clone(event.BodyValue()).(Body))
		}
		body := event.BodyValue().ProtoReflect()
		chunk := c.store(body.Get(part.field).Bytes())
		chunk.Event, chunk.Field = uint32(part.index), uint32(part.field.Number())
		body.Clear(part.field)
		r.Chunks = append(r.Chunks, chunk)
	}
}

// chunkCount is how many messages before it a record needs; an error where
// they are more than any record may have.
func chunkCount(r *v1.Record) (int, error) {
	messages, total := uint64(0), uint64(0)
	add := func(c *v1.Chunk) {
		messages += uint64(c.Messages)
		total += min(c.Length, chunkTotalMax+1)
	}
	for _, c := range r.Chunks {
		add(c)
	}
	for _, p := range r.Sealed {
		if p.Stored != nil {
			add(p.Stored)
		}
	}
	if messages > chunkMessages || total > chunkTotalMax {
		return 0, fmt.Errorf("%d chunks of %d bytes", messages, total)
	}
	return int(messages), nil
}

// restoreChunks puts the content of chunk messages back into the record that
// names them.
func restoreChunks(r *v1.Record, messages [][]byte) error {
	for _, c := range r.Chunks {
		content, rest, err := joinChunk(c, messages)
		if err != nil {
			return err
		}
		messages = rest
		if err := putField(r, c, content); err != nil {
			return err
		}
	}
	for _, p := range r.Sealed {
		if p.Stored == nil {
			continue
		}
		content, rest, err := joinChunk(p.Stored, messages)
		if err != nil {
			return err
		}
		messages, p.Ciphertext = rest, content
	}
	if len(messages) > 0 {
		return errors.New("chunks that it does not name")
	}
	return nil
}

func putField(r *v1.Record, c *v1.Chunk, content []byte) error {
	if int(c.Event) >= len(r.Events) {
		return fmt.Errorf("a chunk of event %d", c.Event)
	}
	body := r.Events[c.Event].BodyValue()
	if body == nil {
		return nil // a kind this build does not know: its content is not needed either
	}
	message := body.ProtoReflect()
	field := message.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(c.Field))
	if field == nil {
		return nil
	}
	if field.Kind() != protoreflect.BytesKind || field.IsList() || message.Has(field) {
		return fmt.Errorf("a chunk of field %d of %s", c.Field, body.EventKind())
	}
	message.Set(field, protoreflect.ValueOfBytes(content))
	return nil
}

func joinChunk(c *v1.Chunk, messages [][]byte) (content []byte, rest [][]byte, err error) {
	if uint64(c.Messages) > uint64(len(messages)) {
		return nil, nil, errors.New("chunks are missing")
	}
	size := 0
	for _, m := range messages[:c.Messages] {
		size += len(m) - len(chunkMagic)
	}
	if uint64(size) != c.Length {
		return nil, nil, fmt.Errorf("chunks of %d bytes instead of %d", size, c.Length)
	}
	content = make([]byte, 0, size)
	for _, m := range messages[:c.Messages] {
		content = append(content, m[len(chunkMagic):]...)
	}
	if digest := ids.DigestOf(content); !bytes.Equal(digest[:], c.Digest) {
		return nil, nil, errors.New("a chunk's digest is not that of its bytes")
	}
	return content, messages[c.Messages:], nil
}
