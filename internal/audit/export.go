package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"parley/events"
	"parley/internal/ids"
)

// An export file is one line of text and then frames:
//
//	parley export 0\n
//	frame = kind (1 byte) | length of the payload (4 bytes, big endian) | payload
//
//	'H'  first: {"namespace"} as JSON
//	'L'  a log begins: {"kind", "client", "conversation"} as JSON, ids as text or 0x hexadecimal
//	'M'  a stored message of that log, chunks included: sequence (8) | server time in Unix nanoseconds (8) | the bytes as stored
//	'E'  last: number of messages (8) | SHA-256 of everything before this frame
//
// It holds what the log holds and nothing else: rings, and with them all keys, stay where they are. The final digest finds a file cut
// short or damaged on its way; whether the history is right is for Verify to say, from the records themselves.
const exportMagic = "parley export 0\n"

const (
	frameHeader  byte = 'H'
	frameLog     byte = 'L'
	frameMessage byte = 'M'
	frameEnd     byte = 'E'

	frameHeadBytes   = 5
	messageHeadBytes = 16
	endBytes         = 8 + sha256.Size

	metadataBytesMax = 64 << 10 // a header or log frame
	messageBytesMax  = 8 << 20  // far above what a node stores in one message
)

// ErrBadExport is a file that is no export, or not a whole one.
var ErrBadExport = errors.New("not a whole export file")

func badExport(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadExport, fmt.Sprintf(format, args...))
}

type exportHeader struct {
	Namespace string `json:"namespace"`
}

type exportLog struct {
	Kind         events.Kind `json:"kind"`
	Client       string      `json:"client,omitempty"`
	Conversation string      `json:"conversation,omitempty"`
}

func exportLogOf(id events.LogID) exportLog {
	return exportLog{Kind: id.Kind, Client: id.Client.String(), Conversation: id.Conversation.String()}
}

// id is the log that is named.
func (l exportLog) id() (events.LogID, error) {
	id := events.LogID{Kind: l.Kind}
	var err error
	if l.Client != "" {
		if id.Client, err = ids.ParseClientID(l.Client); err != nil {
			return id, err
		}
	}
	if l.Conversation != "" {
		if id.Conversation, err = ids.ParseConversationID(l.Conversation); err != nil {
			return id, err
		}
	}
	return id, id.Validate()
}

// Writer writes an export file.
type Writer struct {
	w        *bufio.Writer
	sum      hash.Hash
	messages uint64
}

// NewWriter begins an export file.
func NewWriter(w io.Writer, namespace string) (*Writer, error) {
	x := &Writer{w: bufio.NewWriter(w), sum: sha256.New()}
	if err := x.write([]byte(exportMagic)); err != nil {
		return nil, err
	}
	return x, x.frameJSON(frameHeader, exportHeader{Namespace: namespace})
}

// Log begins a log; its messages follow.
func (x *Writer) Log(id events.LogID) error {
	return x.frameJSON(frameLog, exportLogOf(id))
}

// Message adds a stored message of the log begun last.
func (x *Writer) Message(m events.Message) error {
	if len(m.Data) > messageBytesMax {
		return fmt.Errorf("export: a message of %d bytes is larger than %d", len(m.Data), messageBytesMax)
	}
	x.messages++
	payload := make([]byte, messageHeadBytes, messageHeadBytes+len(m.Data))
	binary.BigEndian.PutUint64(payload, m.Sequence)
	binary.BigEndian.PutUint64(payload[8:], uint64(m.Time.UnixNano()))
	return x.frame(frameMessage, append(payload, m.Data...))
}

// Close ends the file. It does not close what it was written to.
func (x *Writer) Close() error {
	payload := binary.BigEndian.AppendUint64(nil, x.messages)
	if err := x.frame(frameEnd, x.sum.Sum(payload)); err != nil {
		return err
	}
	if err := x.w.Flush(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func (x *Writer) frameJSON(kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return x.frame(kind, payload)
}

func (x *Writer) frame(kind byte, payload []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	if err := x.write(head); err != nil {
		return err
	}
	return x.write(payload)
}

func (x *Writer) write(b []byte) error {
	x.sum.Write(b)
	if _, err := x.w.Write(b); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// exportFile is an export opened for reading: checked as a whole, and read log by log.
type exportFile struct {
	file      *os.File
	size      int64
	namespace string
	logs      []events.LogID
	starts    map[events.LogID]int64 // offset of the first frame of a log
}

// openExport checks the frames and the final digest, and finds the logs.
func openExport(path string) (*exportFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open export: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open export: %w", err)
	}
	x := &exportFile{file: f, size: info.Size(), starts: map[events.LogID]int64{}}
	if err := x.index(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}

// index walks the file once. Memory grows with the number of logs, not with the size of the file.
func (x *exportFile) index() error {
	r := newFrameReader(x.file, 0, x.size)
	if err := r.magic(); err != nil {
		return err
	}
	var messages uint64
	for first := true; ; first = false {
		sum := r.sum.Sum(nil) // of everything before this frame
		kind, payload, err := r.next()
		if err != nil {
			return err
		}
		switch {
		case first != (kind == frameHeader):
			return badExport("the header is missing or repeated")
		case kind == frameHeader:
			err = x.header(payload)
		case kind == frameLog:
			err = x.log(payload, r.offset)
		case kind == frameMessage && len(x.logs) == 0:
			err = badExport("a message stands before any log")
		case kind == frameMessage:
			messages++
		case kind == frameEnd:
			return r.end(payload, messages, sum)
		}
		if err != nil {
			return err
		}
	}
}

func (x *exportFile) header(payload []byte) error {
	var h exportHeader
	if err := strictJSON(payload, &h); err != nil {
		return badExport("%v", err)
	}
	x.namespace = h.Namespace
	return nil
}

func (x *exportFile) log(payload []byte, start int64) error {
	var l exportLog
	if err := strictJSON(payload, &l); err != nil {
		return badExport("%v", err)
	}
	id, err := l.id()
	if err != nil {
		return badExport("%v", err)
	}
	if _, twice := x.starts[id]; twice {
		return badExport("the log %s stands in it twice", id)
	}
	x.starts[id] = start
	x.logs = append(x.logs, id)
	return nil
}

// Read gives the messages of one log (events.Source).
func (x *exportFile) Read(ctx context.Context, id events.LogID, from uint64, fn func(events.Message) error) error {
	start, ok := x.starts[id]
	if !ok {
		return nil
	}
	r := newFrameReader(x.file, start, x.size)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind, payload, err := r.next()
		if err != nil {
			return err
		}
		if kind != frameMessage {
			return nil
		}
		m := events.Message{
			Sequence: binary.BigEndian.Uint64(payload),
			Time:     time.Unix(0, int64(binary.BigEndian.Uint64(payload[8:]))).UTC(),
			Data:     payload[messageHeadBytes:],
		}
		if m.Sequence < from {
			continue
		}
		if err := fn(m); err != nil {
			return err
		}
	}
}

func (x *exportFile) close() error { return x.file.Close() }

func strictJSON(payload []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// frameReader reads frames from an offset on and never past the size the file had when it was opened.
type frameReader struct {
	r      *bufio.Reader
	sum    hash.Hash
	offset int64
	size   int64
}

func newFrameReader(f io.ReaderAt, offset, size int64) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(io.NewSectionReader(f, offset, size-offset), 64<<10), sum: sha256.New(), offset: offset, size: size}
}

func (r *frameReader) magic() error {
	head, err := r.take(int64(len(exportMagic)))
	if err != nil || string(head) != exportMagic {
		return badExport("it does not begin with %q", exportMagic)
	}
	return nil
}

// next reads one frame. Its length is held against its kind and the rest of the file before anything is allocated.
func (r *frameReader) next() (kind byte, payload []byte, err error) {
	head, err := r.take(frameHeadBytes)
	if err != nil {
		return 0, nil, err
	}
	kind = head[0]
	length := int64(binary.BigEndian.Uint32(head[1:]))
	low, high := int64(0), int64(metadataBytesMax)
	switch kind {
	case frameHeader, frameLog:
	case frameMessage:
		low, high = messageHeadBytes, messageHeadBytes+messageBytesMax
	case frameEnd:
		low, high = endBytes, endBytes
	default:
		return 0, nil, badExport("an unknown frame %q at offset %d", kind, r.offset-frameHeadBytes)
	}
	if length < low || length > high {
		return 0, nil, badExport("a frame of %d bytes at offset %d", length, r.offset-frameHeadBytes)
	}
	payload, err = r.take(length)
	return kind, payload, err
}

func (r *frameReader) take(n int64) ([]byte, error) {
	if n > r.size-r.offset {
		return nil, badExport("it ends at offset %d, inside a frame", r.size)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, fmt.Errorf("read export: %w", err)
	}
	r.offset += n
	r.sum.Write(b)
	return b, nil
}

func (r *frameReader) end(payload []byte, messages uint64, sum []byte) error {
	switch {
	case binary.BigEndian.Uint64(payload) != messages:
		return badExport("it counts %d messages and holds %d", binary.BigEndian.Uint64(payload), messages)
	case !bytes.Equal(payload[8:], sum):
		return badExport("its digest does not match its content")
	case r.offset != r.size:
		return badExport("%d bytes follow its end", r.size-r.offset)
	}
	return nil
}
