package jetlog

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"parley/events"
	"parley/internal/ids"
)

// Stream is one of the streams a partition has.
type Stream int

// The streams of a partition.
const (
	StreamLog       Stream = iota // NS_LOG: member logs
	StreamOrder                   // NS_DS: orders of groups
	StreamDirectory               // NS_KP: key package directories
	StreamInbox                   // NS_IN: inboxes
	StreamKeys                    // NS_KEYS: rings
	StreamSnapshots               // NS_SNAP: snapshots
	StreamAnchors                 // NS_ANCHORS: anchors beside the rings

	streamCount = int(StreamAnchors) + 1
)

// suffix and word are how a stream and its subjects are named.
func (s Stream) suffix() string {
	return [streamCount]string{"LOG", "DS", "KP", "IN", "KEYS", "SNAP", "ANCHORS"}[s]
}

func (s Stream) word() string {
	return [streamCount]string{"log", "ds", "kp", "in", "keys", "snap", "anchors"}[s]
}

// tokens is how many tokens follow the word in a subject of the stream.
func (s Stream) tokens() int {
	return [streamCount]int{2, 1, 1, 1, 2, 2, 2}[s]
}

const (
	// none stands where an id would: a client's own log, the client of an order, or all there is of the authorities. No id has this token.
	none = "_"
	// directory stands in the place of a conversation for what belongs to a client's directory. No id has this token.
	directory = "~kp"
	// idHeader tells the ids of a subject whose tokens are hashes.
	idHeader = "Parley-Id"

	namespaceBytesMax = 32
	partitionsMax     = 1024
)

// ErrBadNamespace is a namespace that cannot stand in subjects and stream names.
var ErrBadNamespace = errors.New("a namespace is 1 to 32 letters, digits, - or _")

// Names are the subjects and streams of one deployment. They are frozen: stored histories are found by them.
type Names struct {
	Namespace  string
	Partitions int // at least 1
}

// Validate refuses what cannot name anything.
func (n Names) Validate() error {
	ok := len(n.Namespace) > 0 && len(n.Namespace) <= namespaceBytesMax
	for _, r := range n.Namespace {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	if !ok {
		return fmt.Errorf("%w: %q", ErrBadNamespace, n.Namespace)
	}
	if n.Partitions < 1 || n.Partitions > partitionsMax {
		return fmt.Errorf("jetlog: %d partitions are not between 1 and %d", n.Partitions, partitionsMax)
	}
	return nil
}

// token is the first token of every subject of a partition.
func (n Names) token(partition int) string {
	if n.Partitions == 1 {
		return n.Namespace
	}
	return fmt.Sprintf("%s-%d", n.Namespace, partition)
}

// Stream names a stream of a partition.
func (n Names) Stream(s Stream, partition int) string { return n.token(partition) + "_" + s.suffix() }

// Subjects is the filter that a stream takes.
func (n Names) Subjects(s Stream, partition int) string {
	return n.token(partition) + "." + s.word() + strings.Repeat(".*", s.tokens())
}

// Partition is where an id lives: a client with all it has, or a group's order.
func (n Names) Partition(id string) int {
	sum := sha256.Sum256([]byte(id))
	return int(binary.BigEndian.Uint64(sum[:8]) % uint64(n.Partitions))
}

// partitionOf is the partition of a log, its ring and its snapshot.
func (n Names) partitionOf(id events.LogID) int {
	if id.Kind == events.KindOrder {
		return n.Partition(string(id.Conversation))
	}
	return n.Partition(string(id.Client))
}

// place is where something is kept.
type place struct {
	stream  string
	subject string
	id      string // value of idHeader; empty where the subject itself tells
}

// Log is the stream and subject of a log.
func (n Names) log(id events.LogID) (place, error) {
	if err := id.Validate(); err != nil {
		return place{}, err
	}
	switch id.Kind {
	case events.KindOrder:
		return n.place(StreamOrder, id, ids.Token(string(id.Conversation))), nil
	case events.KindDirectory:
		return n.place(StreamDirectory, id, ids.Token(string(id.Client))), nil
	case events.KindAuthorities:
		return n.place(StreamDirectory, id, none), nil
	case events.KindMember:
		return n.place(StreamLog, id, pair(id)), nil
	}
	return place{}, fmt.Errorf("%w: %s", events.ErrBadLog, id.Kind)
}

// beside is where a log's ring, anchor or snapshot is kept.
func (n Names) beside(s Stream, id events.LogID) (place, error) {
	if err := id.Validate(); err != nil {
		return place{}, err
	}
	return n.place(s, id, pair(id)), nil
}

// inbox is where notices to a client are kept.
func (n Names) inbox(client ids.ClientID) (place, error) {
	if client == "" {
		return place{}, fmt.Errorf("%w: an inbox without a client", events.ErrBadLog)
	}
	return n.place(StreamInbox, events.ClientLog(client), ids.Token(string(client))), nil
}

func (n Names) place(s Stream, id events.LogID, tokens string) place {
	partition := n.partitionOf(id)
	p := place{stream: n.Stream(s, partition), subject: n.token(partition) + "." + s.word() + "." + tokens}
	if strings.Contains(tokens, "~") {
		p.id = base64.RawURLEncoding.EncodeToString([]byte(id.Client)) + "." + base64.RawURLEncoding.EncodeToString([]byte(id.Conversation))
	}
	return p
}

// pair is the two tokens by which logs of all kinds share the streams of rings, anchors and snapshots.
func pair(id events.LogID) string {
	client, conversation := none, none
	if id.Client != "" {
		client = ids.Token(string(id.Client))
	}
	if id.Conversation != "" {
		conversation = ids.Token(string(id.Conversation))
	}
	if id.Kind == events.KindDirectory {
		conversation = directory
	}
	return client + "." + conversation
}

// header is a new message's header: the ids where the subject hides them.
func (p place) header() nats.Header {
	h := nats.Header{}
	if p.id != "" {
		h.Set(idHeader, p.id)
	}
	return h
}

// needsHeader reports whether the ids behind a subject are in the headers of its messages alone.
func needsHeader(subject string) bool {
	for _, token := range strings.Split(subject, ".")[2:] {
		if strings.HasPrefix(token, "~") && token != directory {
			return true
		}
	}
	return false
}

// parse gives back the id behind a subject of a stream. The header is that of any message of the subject; it may be nil where
// needsHeader says no.
func parse(s Stream, subject string, header nats.Header) (events.LogID, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 2+s.tokens() {
		return events.LogID{}, fmt.Errorf("%w: subject %q", events.ErrBadLog, subject)
	}
	tokens = tokens[2:]
	var id events.LogID
	switch {
	case s == StreamOrder:
		id.Kind, tokens = events.KindOrder, []string{none, tokens[0]}
	case s == StreamDirectory && tokens[0] == none:
		id.Kind, tokens = events.KindAuthorities, []string{none, none}
	case s == StreamDirectory:
		id.Kind, tokens = events.KindDirectory, []string{tokens[0], none}
	case s == StreamInbox:
		tokens = []string{tokens[0], none}
	case s != StreamLog && tokens[0] == none && tokens[1] == none:
		id.Kind = events.KindAuthorities
	case tokens[0] == none:
		id.Kind = events.KindOrder
	case tokens[1] == directory:
		id.Kind, tokens = events.KindDirectory, []string{tokens[0], none}
	}
	hidden := [2]string{}
	if client, conversation, ok := strings.Cut(header.Get(idHeader), "."); ok {
		hidden = [2]string{client, conversation}
	}
	var raw [2]string
	for i, token := range tokens {
		text, err := untoken(token, hidden[i])
		if err != nil {
			return events.LogID{}, fmt.Errorf("%w: subject %q", err, subject)
		}
		raw[i] = text
	}
	id.Client, id.Conversation = ids.ClientID(raw[0]), ids.ConversationID(raw[1])
	return id, id.Validate()
}

// untoken is the id behind a token; hidden is its base64url where the token is a hash.
func untoken(token, hidden string) (string, error) {
	if token == none {
		return "", nil
	}
	if id, ok := ids.FromToken(token); ok {
		return id, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(hidden)
	if err != nil || ids.Token(string(raw)) != token {
		return "", events.ErrBadLog
	}
	return string(raw), nil
}
