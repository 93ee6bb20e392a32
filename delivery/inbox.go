package delivery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	deliveryv1 "parley/delivery/v1"
	"parley/events"
	"parley/events/jetlog"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// StepNotice is the durable step of this package: one notice in one inbox. The order's own steps are those of its journal.
const StepNotice events.Step = "delivery.notice"

// StepPurge is the removal of a prefix of an order or directory.
const StepPurge events.Step = "delivery.purge"

// Steps lists the durable steps of this package.
func Steps() []events.Step { return []events.Step{StepNotice, StepPurge} }

// Notice tells a client that a commit has added it: the Welcome stands in that entry. Notices may come twice; (Group, Number) tells.
type Notice struct {
	Sequence uint64 // place in the inbox
	Group    GroupID
	Epoch    uint64 // the epoch the Welcome leads into
	Number   uint64 // of the entry; following starts after it
}

// noticer derives inboxes from orders. The sequencer's node does it right after the append; the shared durable consumer of the orders does
// it again for whatever that node did not get to, on any node. Its place in the stream is what remembers what is owed.
type noticer struct {
	service *Service

	mu   sync.Mutex
	done map[noticedRecord]struct{} // records whose notices this node has written lately
}

type noticedRecord struct {
	group    GroupID
	sequence uint64 // in the stream
}

// noticedMax bounds done; what is forgotten is looked up in the order once more.
const noticedMax = 1 << 15

func newNoticer(s *Service) *noticer { return &noticer{service: s, done: map[noticedRecord]struct{}{}} }

func (n *noticer) known(g GroupID, sequence uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.done[noticedRecord{g, sequence}]
	return ok
}

func (n *noticer) note(g GroupID, sequence uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.done) >= noticedMax {
		clear(n.done)
	}
	n.done[noticedRecord{g, sequence}] = struct{}{}
}

// record writes the notices that one record of an order owes. Repeating it repeats notices and nothing else.
func (n *noticer) record(ctx context.Context, g GroupID, r *events.Record) error {
	for _, ev := range r.Events {
		entry, ok := ev.Body.(*eventsv1.OrderEntry)
		if !ok || len(entry.Welcome) == 0 {
			continue
		}
		for _, added := range entry.Added {
			if err := n.notify(ctx, g, entry, ids.ClientID(added.Client)); err != nil {
				return err
			}
		}
	}
	n.note(g, r.Sequence)
	return nil
}

func (n *noticer) notify(ctx context.Context, g GroupID, entry *eventsv1.OrderEntry, c ids.ClientID) error {
	notice := &deliveryv1.Notice{Group: []byte(g), Epoch: entry.Epoch + 1, Number: entry.Number}
	data, err := proto.Marshal(notice)
	if err != nil {
		return fmt.Errorf("encode a notice: %w", err)
	}
	hooks, inbox := n.service.config.Hooks, events.ClientLog(c)
	if hooks.Before != nil {
		if err := hooks.Before(ctx, StepNotice, inbox); err != nil {
			return err
		}
	}
	id := ids.DigestOf([]byte(c), []byte{0}, data).String()
	if _, err := n.service.config.Store.Notify(ctx, c, id, data); err != nil {
		return fmt.Errorf("notify %s: %w", c, err)
	}
	// A crash here repeats the notice at most: its reader knows it by group and number.
	if hooks.After != nil {
		return hooks.After(ctx, StepNotice, inbox)
	}
	return nil
}

// watchDoublings keeps a watch that broke from being away for more than some two seconds longer than the server.
const watchDoublings = 7

// run watches the orders until ctx ends.
func (n *noticer) run(ctx context.Context) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		began := n.service.config.Clock()
		_ = n.service.config.Store.Watch(ctx, jetlog.StreamOrder, "notices", func(w jetlog.Wake) error {
			return insist(ctx, func() error { return n.wake(ctx, GroupID(w.Log.Conversation), w.Sequence) })
		})
		if n.service.config.Clock().Sub(began) > time.Minute {
			attempt = 0
		}
		Backoff(ctx, min(attempt, watchDoublings))
	}
}

// wake looks after one message of an order.
func (n *noticer) wake(ctx context.Context, g GroupID, sequence uint64) error {
	if n.known(g, sequence) {
		return nil
	}
	r, err := n.service.readers.recordAt(ctx, g, sequence)
	if err != nil {
		if CodeOf(err) == Damaged {
			return nil // nobody can be told anything by a record that does not verify; its readers report it
		}
		return coded(err)
	}
	if r == nil {
		return nil // a chunk, or purged
	}
	if err := n.record(ctx, g, r); err != nil {
		return coded(err)
	}
	return nil
}

// orderGrew is called by a sequencer for each record it has made durable.
func (s *Service) orderGrew(ctx context.Context, g GroupID, r *events.Record) {
	s.readers.grew(g, r)
	// Failing here delays the notices until the consumer comes to the record.
	_ = s.noticer.record(ctx, g, r)
}

// Notices returns up to limit notices of a client's inbox from a sequence on. The newest one stays after it was acknowledged.
func (s *Service) Notices(ctx context.Context, c ids.ClientID, from uint64, limit int) ([]Notice, error) {
	messages, err := s.config.Store.Notices(ctx, c, from, min(limit, s.config.Limits.FollowEntries))
	if err != nil {
		return nil, coded(err)
	}
	var notices []Notice
	for _, m := range messages {
		in := &deliveryv1.Notice{}
		if proto.Unmarshal(m.Data, in) != nil || len(in.Group) == 0 || in.Number == 0 {
			continue // a stranger's: the entry is what counts, and this names none
		}
		notices = append(notices, Notice{Sequence: m.Sequence, Group: GroupID(in.Group), Epoch: in.Epoch, Number: in.Number})
	}
	return notices, nil
}

// Acknowledge lets every notice up to a sequence go.
func (s *Service) Acknowledge(ctx context.Context, c ids.ClientID, through uint64) error {
	if err := s.config.Store.PurgeNotices(ctx, c, through+1); err != nil {
		return coded(err)
	}
	return nil
}

// Wake says that a group's order or a client's inbox has something new.
type Wake struct {
	Group  GroupID      // empty: an inbox
	Client ids.ClientID // set for an inbox
}

// Watch blocks until the context ends and calls fn for every order and inbox that grew, at least once each; one durable consumer per
// partition serves the whole node. fn must not block.
func (s *Service) Watch(ctx context.Context, fn func(Wake)) error {
	durable := "node-" + ids.Token(s.config.Watcher) // a name of a consumer may hold few characters
	var work sync.WaitGroup
	defer work.Wait()
	watch := func(stream jetlog.Stream, wake func(jetlog.Wake) Wake) {
		for attempt := 0; ctx.Err() == nil; attempt++ {
			var heard atomic.Bool // by any partition's goroutine
			_ = s.config.Store.Watch(ctx, stream, durable, func(w jetlog.Wake) error {
				heard.Store(true)
				fn(wake(w))
				return nil
			})
			if heard.Load() {
				attempt = 0
			}
			Backoff(ctx, min(attempt, watchDoublings))
		}
	}
	work.Add(1)
	go func() {
		defer work.Done()
		watch(jetlog.StreamInbox, func(w jetlog.Wake) Wake { return Wake{Client: w.Log.Client} })
	}()
	watch(jetlog.StreamOrder, func(w jetlog.Wake) Wake {
		g := GroupID(w.Log.Conversation)
		s.readers.heard(g, w.Sequence)
		return Wake{Group: g}
	})
	return ctx.Err()
}
