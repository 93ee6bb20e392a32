package jetlog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"parley/events"
)

// LeaseTime is after how long the server forgets a lease that is not renewed.
const LeaseTime = 30 * time.Second

const (
	nodesBytesMax = 1 << 20
	nodesLock     = "_rotation" // no instance has this name
)

// NodeLease is a node that lives.
type NodeLease struct {
	Node    string `json:"node"`    // its name, for people
	Version string `json:"version"` // of the shred key: it writes rings under no older one, and nothing older of its own may still arrive
	Proof   []byte `json:"proof"`   // something wrapped under that key: whoever has the same keys can open it
}

// Nodes are the leases of a deployment's nodes: one message each on the stream NS_NODES, which the server forgets unless it is renewed.
// A node that is gone leaves nothing behind.
type Nodes struct {
	s      *Store
	stream string
	prefix string // of the subjects
}

// Nodes gives the leases, and makes their stream where there is none.
func (s *Store) Nodes(ctx context.Context) (*Nodes, error) {
	n := &Nodes{s: s, stream: s.names.Namespace + "_NODES", prefix: s.names.Namespace + ".nodes."}
	want := jetstream.StreamConfig{
		Name: n.stream, Subjects: []string{n.prefix + "*"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage, Replicas: s.config.Replicas,
		MaxConsumers: -1, MaxMsgs: -1, MaxMsgsPerSubject: 1, MaxMsgSize: -1, MaxBytes: nodesBytesMax, MaxAge: LeaseTime, Duplicates: LeaseTime,
		Metadata: map[string]string{metaNamespace: s.config.Namespace},
	}
	ctx, cancel := context.WithTimeout(ctx, openPatience*s.config.Patience)
	defer cancel()
	info, err := s.makeStream(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", n.stream, err)
	}
	var have jetstream.StreamConfig
	if err := json.Unmarshal(info.Config, &have); err != nil {
		return nil, fmt.Errorf("stream %s: %w", n.stream, err)
	}
	if have.MaxAge != LeaseTime || have.MaxMsgsPerSubject != 1 {
		return nil, &DriftError{Stream: n.stream, Field: "max_age and max_msgs_per_subject", Want: fmt.Sprint(LeaseTime, " and 1"),
			Have: fmt.Sprint(have.MaxAge, " and ", have.MaxMsgsPerSubject)}
	}
	return n, nil
}

// Renew makes or renews the lease of an instance: of one life of a node, whose name no other one has.
func (n *Nodes) Renew(ctx context.Context, instance string, lease NodeLease) error {
	_, err := n.put(ctx, instance, lease, nil)
	return err
}

// Remove ends a lease.
func (n *Nodes) Remove(ctx context.Context, instance string) error {
	err := n.s.call(ctx, "STREAM.PURGE."+n.stream, map[string]string{"filter": n.prefix + instance}, &struct{}{})
	if err != nil {
		return fmt.Errorf("end the lease of %s: %w", instance, err)
	}
	return nil
}

// Clear ends every lease and the right to rotate: for a server that nobody else can reach, and that has leases of its earlier life.
func (n *Nodes) Clear(ctx context.Context) error {
	if err := n.s.call(ctx, "STREAM.PURGE."+n.stream, nil, &struct{}{}); err != nil {
		return fmt.Errorf("clear the leases: %w", err)
	}
	return nil
}

// List gives every lease that stands, read from the leader.
func (n *Nodes) List(ctx context.Context) (leases []NodeLease, err error) {
	var subjects []string
	err = n.s.subjects(ctx, n.stream, n.prefix+"*", func(subject string, _ uint64) {
		if strings.TrimPrefix(subject, n.prefix) != nodesLock {
			subjects = append(subjects, subject)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	for _, subject := range subjects {
		m, _, err := n.s.get(ctx, n.stream, getRequest{LastFor: subject})
		if errors.Is(err, events.ErrNotFound) {
			continue // it ended meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read the lease %s: %w", subject, err)
		}
		var lease NodeLease
		if err := json.Unmarshal(m.Data, &lease); err != nil {
			return nil, fmt.Errorf("read the lease %s: %w", subject, err)
		}
		leases = append(leases, lease)
	}
	return leases, nil
}

// Rotation is the right to rotate the shred key. One instance at a time has it; it ends by itself unless it is renewed.
type Rotation struct {
	nodes    *Nodes
	instance string
	sequence uint64
}

// Rotate takes the right to rotate; events.ErrConflict while another instance has it.
func (n *Nodes) Rotate(ctx context.Context, instance string) (*Rotation, error) {
	r := &Rotation{nodes: n, instance: instance}
	if err := r.Renew(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Renew keeps the right; events.ErrConflict where it has ended.
func (r *Rotation) Renew(ctx context.Context) error {
	sequence, err := r.nodes.put(ctx, nodesLock, NodeLease{Node: r.instance}, &r.sequence)
	if errors.Is(err, events.ErrFenced) {
		return fmt.Errorf("%w: another node rotates the shred key", events.ErrConflict)
	}
	if err != nil {
		return err
	}
	r.sequence = sequence
	return nil
}

// End gives the right back.
func (r *Rotation) End(ctx context.Context) error {
	return r.nodes.s.Rings().remove(ctx, r.nodes.stream, deletion{Sequence: r.sequence, NoErase: true})
}

func (n *Nodes) put(ctx context.Context, name string, lease NodeLease, expect *uint64) (uint64, error) {
	data, err := json.Marshal(lease)
	if err != nil {
		return 0, fmt.Errorf("write the lease of %s: %w", lease.Node, err)
	}
	msg := &nats.Msg{Subject: n.prefix + name, Header: nats.Header{}, Data: data}
	if expect != nil {
		msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(*expect, 10))
	}
	ctx, cancel := n.s.bound(ctx)
	defer cancel()
	if err := n.s.awaitConnection(ctx); err != nil {
		return 0, err
	}
	sequence, err := n.s.publish(ctx, msg, n.stream)
	if err != nil {
		return 0, fmt.Errorf("write the lease of %s: %w", lease.Node, err)
	}
	return sequence, nil
}
