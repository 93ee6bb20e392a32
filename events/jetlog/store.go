package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
)

// batchesInFlight bounds the atomic batches that one store has open on the server at once: it allows 50 to a stream, several nodes
// share them, and more at once are not faster.
const batchesInFlight = 12

const (
	// openPatience is how many times the usual patience a store waits for a cluster that is still finding its leaders.
	openPatience = 6
	// attemptTimeout bounds one question to such a cluster: what nobody leads is not answered at all.
	attemptTimeout = time.Second
	attemptPause   = 50 * time.Millisecond
)

// Store is one deployment's streams on a JetStream server. It is the events.Log, and gives Rings and Snapshots. It is safe for
// concurrent use. The connection stays its owner's.
type Store struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	config  Config
	names   Names
	batches chan struct{} // one token for each open batch
	eraser  eraser
	gone    map[string]bool // streams that are lost: reading from them gives nothing; see OpenRemains
	remains bool            // what cannot be listed is passed over
}

// Open returns the store of a deployment, and makes its streams where there is no deployment yet. A stream that exists with another
// configuration is a *DriftError, and so is a deployment with another number of partitions. A stream that is missing while others
// hold data is ErrDamaged: an empty one in its place would look like a shorter history.
func Open(ctx context.Context, nc *nats.Conn, config Config) (*Store, error) {
	s, ctx, cancel, err := begin(ctx, nc, config)
	if err != nil {
		return nil, err
	}
	defer cancel()
	missing, err := s.survey(ctx, func(want, _ jetstream.StreamConfig) jetstream.StreamConfig { return want }, s.config.MaxBytes == 0)
	if err != nil {
		return nil, err
	}
	for _, want := range missing {
		// A crash here leaves some streams, all empty: the next Open makes the rest.
		info, err := s.makeStream(ctx, want)
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", want.Name, err)
		}
		if err := drift(want, info.Config, s.config.MaxBytes == 0); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// OpenReadOnly returns the store of a deployment that exists, and changes nothing on the server; ErrNoDeployment where it does not.
// The limits and replicas of its streams may be any.
func OpenReadOnly(ctx context.Context, nc *nats.Conn, config Config) (*Store, error) {
	s, ctx, cancel, err := begin(ctx, nc, config)
	if err != nil {
		return nil, err
	}
	defer cancel()
	missing, err := s.survey(ctx, anyReplicas, true)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoDeployment, missing[0].Name)
	}
	return s, nil
}

// OpenRemains is OpenReadOnly for a deployment that may be damaged: streams that are gone read as empty ones, logs whose names are lost
// are not listed, and Damage tells. ErrNoDeployment where no stream is left.
func OpenRemains(ctx context.Context, nc *nats.Conn, config Config) (*Store, error) {
	s, ctx, cancel, err := begin(ctx, nc, config)
	if err != nil {
		return nil, err
	}
	defer cancel()
	missing, _, err := s.compare(ctx, anyReplicas, true)
	if err != nil {
		return nil, err
	}
	if len(missing) == streamCount*s.config.Partitions {
		return nil, fmt.Errorf("%w: %s", ErrNoDeployment, missing[0].Name)
	}
	s.remains, s.gone = true, map[string]bool{}
	for _, m := range missing {
		s.gone[m.Name] = true
	}
	return s, nil
}

// anyReplicas lets a reader take a stream as it is copied.
func anyReplicas(want, have jetstream.StreamConfig) jetstream.StreamConfig {
	want.Replicas = have.Replicas
	return want
}

// begin makes a store and waits for the server.
func begin(ctx context.Context, nc *nats.Conn, config Config) (*Store, context.Context, context.CancelFunc, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("jetlog: %w", err)
	}
	s := &Store{
		nc: nc, js: js, config: config, names: config.names(),
		batches: make(chan struct{}, batchesInFlight),
	}
	ctx, cancel := context.WithTimeout(ctx, openPatience*config.Patience)
	err = s.awaitLeader(ctx)
	if err == nil {
		err = s.otherPartitions(ctx)
	}
	if err != nil {
		cancel()
		return nil, nil, nil, err
	}
	return s, ctx, cancel, nil
}

// adaptation is what may differ of a stream's wanted configuration.
type adaptation func(want, have jetstream.StreamConfig) jetstream.StreamConfig

// survey compares all streams and returns those that are missing. It looks twice before it calls that damage: another node may have
// been making them, and begun to work, while it looked.
func (s *Store) survey(ctx context.Context, adapt adaptation, anyMaxBytes bool) (missing []jetstream.StreamConfig, err error) {
	var held string
	for range 2 {
		missing, held, err = s.compare(ctx, adapt, anyMaxBytes)
		if err != nil || len(missing) == 0 || held == "" {
			return missing, err
		}
	}
	return nil, fmt.Errorf("%w: stream %s is gone, and stream %s holds data", events.ErrDamaged, missing[0].Name, held)
}

// compare looks at every stream that the deployment has: which are missing, whether any that is there has ever held a message, and
// whether all are as they should be.
func (s *Store) compare(ctx context.Context, adapt adaptation, anyMaxBytes bool) (missing []jetstream.StreamConfig, held string, err error) {
	for partition := range s.config.Partitions {
		for stream := range Stream(streamCount) {
			want := s.config.stream(stream, partition)
			var info streamInfo
			err := s.insist(ctx, func(ctx context.Context) (err error) {
				info, err = s.info(ctx, want.Name)
				if hasCode(err, codeStreamNotFound) {
					missing, err = append(missing, want), nil
				}
				return err
			})
			if err != nil {
				return nil, "", fmt.Errorf("stream %s: %w", want.Name, err)
			}
			if len(missing) > 0 && missing[len(missing)-1].Name == want.Name {
				continue
			}
			if info.State.LastSeq > 0 {
				held = want.Name
			}
			var have jetstream.StreamConfig
			if err := json.Unmarshal(info.Config, &have); err != nil {
				return nil, "", fmt.Errorf("stream %s: %w", want.Name, err)
			}
			if err := drift(adapt(want, have), info.Config, anyMaxBytes); err != nil {
				return nil, "", err
			}
		}
	}
	return missing, held, nil
}

// Stores are the store as package events wants it.
func (s *Store) Stores() events.Stores {
	return events.Stores{Log: s, Rings: s.Rings(), Snapshots: s.Snapshots()}
}

// Names are the subjects and streams of this deployment.
func (s *Store) Names() Names { return s.names }

// Conn is the connection the store was opened with.
func (s *Store) Conn() *nats.Conn { return s.nc }

// otherPartitions refuses to open a deployment under another number of partitions: everything would seem to be gone.
func (s *Store) otherPartitions(ctx context.Context) error {
	var other string
	if s.config.Partitions == 1 {
		other = Names{Namespace: s.config.Namespace, Partitions: 2}.Stream(StreamLog, 0)
	} else {
		other = Names{Namespace: s.config.Namespace, Partitions: 1}.Stream(StreamLog, 0)
	}
	info, err := s.info(ctx, other)
	if hasCode(err, codeStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", other, err)
	}
	var config struct {
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal(info.Config, &config); err != nil {
		return fmt.Errorf("stream %s: %w", other, err)
	}
	if config.Metadata[metaNamespace] != s.config.Namespace {
		return nil // another deployment, whose namespace looks like one of our partitions
	}
	return &DriftError{Stream: other, Field: "metadata " + metaPartitions, Want: fmt.Sprint(s.config.Partitions), Have: config.Metadata[metaPartitions]}
}

// awaitLeader returns when the server, or the leader of the cluster, answers.
func (s *Store) awaitLeader(ctx context.Context) error {
	return s.insist(ctx, func(ctx context.Context) error { return s.call(ctx, "INFO", nil, &struct{}{}) })
}

// makeStream creates a stream. Creation is idempotent for one configuration: it may be asked for again, and two nodes that start at
// once both succeed.
func (s *Store) makeStream(ctx context.Context, config jetstream.StreamConfig) (info streamInfo, err error) {
	err = s.insist(ctx, func(ctx context.Context) error { return s.call(ctx, "STREAM.CREATE."+config.Name, config, &info) })
	switch {
	case hasCode(err, codeStorage):
		return info, fmt.Errorf("the server's storage limit does not cover the %d bytes of this stream and what it has promised already: %w", config.MaxBytes, err)
	case hasCode(err, codeNameInUse): // made meanwhile, perhaps otherwise: compare it
		return s.info(ctx, config.Name)
	}
	return info, err
}

// insist asks again while the store is unavailable, until ctx ends.
func (s *Store) insist(ctx context.Context, ask func(context.Context) error) error {
	pause := time.NewTicker(attemptPause)
	defer pause.Stop()
	for {
		attempt, done := context.WithTimeout(ctx, attemptTimeout)
		err := ask(attempt)
		done()
		if !errors.Is(err, events.ErrUnavailable) {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return err
		}
	}
}

// deletedMax is how many deleted messages a stream may have and still be asked what it has lost: the server lists both or neither.
const deletedMax = 100_000

// Damage returns ErrDamaged where a server says that it has lost messages, or where a log stream lacks some: from a log nothing is
// ever deleted, so a gap in it is damage whatever the server says. It names every stream that is.
func (s *Store) Damage(ctx context.Context) error {
	var damaged []string
	for partition := range s.config.Partitions {
		for stream := range Stream(streamCount) {
			name := s.names.Stream(stream, partition)
			what, err := s.streamDamage(ctx, stream, name)
			if err != nil {
				return fmt.Errorf("stream %s: %w", name, err)
			}
			if what != "" {
				damaged = append(damaged, "stream "+name+" "+what)
			}
		}
	}
	if len(damaged) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", events.ErrDamaged, strings.Join(damaged, "; "))
}

// streamDamage says what a stream has lost; empty where it has lost nothing.
func (s *Store) streamDamage(ctx context.Context, stream Stream, name string) (string, error) {
	if s.gone[name] {
		return "is gone", nil
	}
	info, err := s.info(ctx, name)
	if err == nil && info.State.Deleted <= deletedMax {
		err = s.call(ctx, "STREAM.INFO."+name, infoRequest{DeletedDetails: true}, &info)
	}
	if err != nil {
		return "", err
	}
	state := info.State
	switch lost := state.Lost; {
	case lost != nil && (len(lost.Msgs) > 0 || lost.Bytes > 0):
		return fmt.Sprintf("has lost %d messages, %d bytes, sequences from %v", len(lost.Msgs), lost.Bytes, lost.Msgs[:min(len(lost.Msgs), 5)]), nil
	case stream == StreamLog && state.Messages == 0 && state.LastSeq > 0:
		return fmt.Sprintf("has lost all of %d messages", state.LastSeq), nil
	case stream == StreamLog && state.Messages > 0 && (state.FirstSeq != 1 || state.Deleted > 0):
		return fmt.Sprintf("begins at %d and lacks %d messages", state.FirstSeq, state.Deleted), nil
	}
	return "", nil
}
