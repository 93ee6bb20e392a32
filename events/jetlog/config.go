package jetlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DefaultMaxBytes is what all streams together may grow to unless Config says otherwise.
const DefaultMaxBytes = 4 << 30

// DefaultNamespace is the namespace of a deployment that names none.
const DefaultNamespace = "parley"

// Config says which deployment a store is of.
type Config struct {
	Namespace  string // "" means "parley"
	Replicas   int    // of every stream: 0 or 1 for one server, 3 or 5 for a cluster
	Partitions int    // 0 means 1; fixed for the life of a deployment
	// MaxBytes is what all streams of all partitions may grow to together. 0: DefaultMaxBytes where they are made, and whatever
	// limit stands where they exist. The server's own storage limit must be higher.
	MaxBytes int64
	// Patience is how long a call waits for the store where its context sets no deadline. 0: DefaultPatience.
	Patience time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.Namespace == "" {
		c.Namespace = DefaultNamespace
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Partitions == 0 {
		c.Partitions = 1
	}
	if c.Patience == 0 {
		c.Patience = DefaultPatience
	}
	if c.Replicas < 1 || c.Replicas > 5 || c.Replicas%2 == 0 {
		return c, fmt.Errorf("jetlog: %d replicas are not 1, 3 or 5", c.Replicas)
	}
	if c.MaxBytes < 0 || c.MaxBytes > 0 && c.MaxBytes/int64(c.Partitions) < streamBytesMin*int64(streamCount) {
		return c, fmt.Errorf("jetlog: %d bytes are too few for %d partitions", c.MaxBytes, c.Partitions)
	}
	return c, c.names().Validate()
}

func (c Config) names() Names { return Names{Namespace: c.Namespace, Partitions: c.Partitions} }

// streamBytesMin is the least a stream can do anything with.
const streamBytesMin = 64 << 10

// share is a stream's part of the bytes, in percent: what grows with every message gets most.
func (s Stream) share() int64 {
	return [streamCount]int64{StreamLog: 40, StreamOrder: 25, StreamDirectory: 5, StreamInbox: 10, StreamKeys: 8, StreamSnapshots: 10, StreamAnchors: 2}[s]
}

// maxBytes is the limit of one stream.
func (c Config) maxBytes(s Stream) int64 {
	total := c.MaxBytes
	if total == 0 {
		total = DefaultMaxBytes
	}
	return max(streamBytesMin, total/int64(c.Partitions)/100*s.share())
}

// Metadata of every stream: who it belongs to.
const (
	metaNamespace  = "parley.namespace"
	metaPartition  = "parley.partition"
	metaPartitions = "parley.partitions"
)

// stream is the configuration that a stream of this deployment has. Every field that decides what is kept, and for how long, is set:
// nothing is left to a server's default.
func (c Config) stream(s Stream, partition int) jetstream.StreamConfig {
	config := jetstream.StreamConfig{
		Name:         c.names().Stream(s, partition),
		Subjects:     []string{c.names().Subjects(s, partition)},
		Retention:    jetstream.LimitsPolicy,
		Discard:      jetstream.DiscardNew,
		Storage:      jetstream.FileStorage,
		PersistMode:  jetstream.DefaultPersistMode,
		Compression:  jetstream.NoCompression,
		Replicas:     c.Replicas,
		MaxConsumers: -1, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1,
		MaxBytes:   c.maxBytes(s),
		Duplicates: 2 * time.Minute,
		Metadata: map[string]string{
			metaNamespace:  c.Namespace,
			metaPartition:  strconv.Itoa(partition),
			metaPartitions: strconv.Itoa(c.Partitions),
		},
	}
	switch s {
	case StreamLog:
		config.DenyDelete, config.DenyPurge = true, true
		config.AllowDirect, config.AllowAtomicPublish = true, true
	case StreamOrder, StreamDirectory, StreamInbox:
		// A prefix may be purged; no message in the middle can be taken out.
		config.DenyDelete = true
		config.AllowDirect, config.AllowAtomicPublish = true, true
	case StreamKeys:
		// A plain stream: with a limit per subject a displaced ring could no longer be erased, and with deletion denied none
		// could be at all. No direct gets: a ring is read from the leader only.
		config.DenyPurge = true
	case StreamSnapshots:
		config.AllowAtomicPublish = true
	case StreamAnchors:
		// The newest one of each log is all that is needed, and it holds no key. No direct gets: it is read from the leader only.
		config.MaxMsgsPerSubject = 1
		config.DenyPurge, config.AllowAtomicPublish = true, true
	}
	return config
}

// DriftError is a stream that is not configured as this deployment needs it. Nothing is served from it.
type DriftError struct {
	Stream string
	Field  string // as in the server's stream configuration
	Want   string
	Have   string
}

// Error implements error.
func (e *DriftError) Error() string {
	return fmt.Sprintf("stream %s: %s is %s, not %s; restore it, or open the deployment it belongs to", e.Stream, e.Field, e.Have, e.Want)
}

// ErrNoDeployment is a server without the streams of the namespace.
var ErrNoDeployment = errors.New("no streams of this namespace on the server")

// The fields of a stream's configuration that may differ: they decide neither what is kept nor who may write it.
func ignoredField(name string) bool {
	return slices.Contains([]string{"description", "placement", "metadata"}, name)
}

// drift compares a stream's configuration as the server tells it with the wanted one, field by field, fields that this build does not
// know included. It is nil where both agree.
func drift(want jetstream.StreamConfig, have json.RawMessage, anyMaxBytes bool) error {
	text, err := json.Marshal(want)
	if err != nil {
		return fmt.Errorf("jetlog: %w", err)
	}
	wanted, err := fields(text)
	if err != nil {
		return err
	}
	found, err := fields(have)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	for name := range wanted {
		if _, both := found[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		w, h := canonical(wanted[name]), canonical(found[name])
		limited := name == "max_bytes" && anyMaxBytes && h != "null" && !strings.HasPrefix(h, "-")
		if w != h && !limited && !ignoredField(name) {
			return &DriftError{Stream: want.Name, Field: name, Want: w, Have: h}
		}
	}
	return metadataDrift(want, found["metadata"])
}

func metadataDrift(want jetstream.StreamConfig, have json.RawMessage) error {
	var found map[string]string
	if len(have) > 0 {
		if err := json.Unmarshal(have, &found); err != nil {
			return fmt.Errorf("jetlog: metadata of stream %s: %w", want.Name, err)
		}
	}
	for _, key := range []string{metaNamespace, metaPartitions, metaPartition} {
		if found[key] != want.Metadata[key] {
			return &DriftError{Stream: want.Name, Field: "metadata " + key, Want: strconv.Quote(want.Metadata[key]), Have: strconv.Quote(found[key])}
		}
	}
	return nil
}

func fields(text json.RawMessage) (map[string]json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("jetlog: stream configuration: %w", err)
	}
	return m, nil
}

// canonical is a JSON value as it compares: what an absent field means is absent.
func canonical(v json.RawMessage) string {
	switch text := string(v); text {
	case "", "false", "0", `""`, "{}", "[]":
		return "null"
	default:
		return text
	}
}
