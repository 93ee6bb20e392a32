package delivery

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// Sequencer is the only writer of one group's order. It belongs to one owner, the group's actor; two of them for one group, on two nodes that both
// believe to hold its share, are told apart by the fence of the log: the loser of an append closes and reads the log again.
type Sequencer struct {
	service *Service
	group   GroupID
	journal *events.Journal
	state   *SequencerState
	limiter *limiter
	broken  error // the order is behind its anchor: it can only be closed

	checkpointBytes   int // of records since the newest checkpoint
	checkpointEntries int
	checkpointSince   uint64 // time of the first of them, in Unix milliseconds
}

// OpenSequencer recovers a group's sequencer from its log. A group that nobody registered is UnknownGroup, unless create is set.
func (s *Service) OpenSequencer(ctx context.Context, g GroupID, create Creation) (*Sequencer, error) {
	id := events.OrderLog(g)
	if create == MustExist {
		if _, err := s.stores.Log.Last(ctx, id); errors.Is(err, events.ErrNotFound) {
			return nil, refuse(UnknownGroup, "%s", g)
		} else if err != nil {
			return nil, coded(err)
		}
	}
	journal, err := events.OpenJournal(ctx, s.stores, s.config.Vault, id, events.JournalOptions{Hooks: s.config.Hooks})
	if err != nil {
		return nil, coded(err)
	}
	q := &Sequencer{
		service: s, group: g, journal: journal, state: NewSequencerState(g, s.config.Limits), limiter: newLimiter(&s.config.Limits),
	}
	if err := q.recover(ctx); err != nil {
		return nil, coded(err)
	}
	return q, nil
}

// Creation says whether opening a sequencer may begin a new order.
type Creation bool

// The two ways to open a sequencer.
const (
	MustExist Creation = false
	MayCreate Creation = true
)

// recover folds the newest snapshot's state and the records after it, or all records from the newest checkpoint the log begins with.
func (q *Sequencer) recover(ctx context.Context) error {
	from := events.Head{}
	snapshot, err := q.journal.Snapshot(ctx)
	if err == nil && snapshot != nil {
		if err := q.state.Restore(snapshot.State); err == nil {
			from = snapshot.Head
			q.state.sequence = from.Sequence
		} else {
			q.state = NewSequencerState(q.group, q.service.config.Limits) // never trusted, always rebuildable
		}
	}
	err = q.journal.Replay(ctx, from, func(r *events.Record) error {
		q.count(r)
		return q.state.foldRecord(r)
	})
	if err == nil {
		err = q.state.materialize()
	}
	if err != nil {
		return err
	}
	err = q.journal.CheckAnchor(ctx)
	if errors.Is(err, events.ErrRolledBack) {
		// It has lost commits that members acted on: nothing may enter it any more but the operator's word where the group goes on.
		q.broken, err = err, nil
	}
	return err
}

// taken notes a record whose events are in the state already.
func (q *Sequencer) taken(r *events.Record) {
	q.state.passed(r)
	q.count(r)
}

// count notes what has gathered since the newest checkpoint.
func (q *Sequencer) count(r *events.Record) {
	q.checkpointBytes += r.Size
	for _, ev := range r.Events {
		if _, ok := ev.Body.(*eventsv1.OrderCheckpoint); ok {
			q.checkpointBytes, q.checkpointEntries = 0, 0
			continue
		}
		if q.checkpointEntries == 0 {
			q.checkpointSince = r.TimeMS
		}
		q.checkpointEntries++
	}
}

// State is the order as far as it is durable.
func (q *Sequencer) State() *SequencerState { return q.state }

// Handle judges a batch and makes what it accepts durable before it returns: many submissions, one record where they fit. The outcomes
// stand in the order of the batch. An error closes the sequencer: it lost its place or cannot know, and its successor reads the log; the
// outcomes then tell what is known of each submission. An empty batch is upkeep: it lets go what has become too old.
func (q *Sequencer) Handle(ctx context.Context, batch []Submission) ([]Outcome, error) {
	outcomes := make([]Outcome, 0, len(batch))
	for len(outcomes) < len(batch) {
		some, err := q.handleSome(ctx, batch[len(outcomes):])
		outcomes = append(outcomes, some...)
		if err != nil {
			for len(outcomes) < len(batch) {
				outcomes = append(outcomes, Outcome{Err: refuse(Unavailable, "the sequencer closed before it came to this")})
			}
			return outcomes, err
		}
	}
	if err := q.checkpointIfDue(ctx); err != nil {
		return outcomes, err
	}
	if len(batch) == 0 {
		q.retain(ctx)
	}
	return outcomes, nil
}

// handleSome judges as many submissions as fit one record and appends it.
func (q *Sequencer) handleSome(ctx context.Context, batch []Submission) ([]Outcome, error) {
	limits, now := &q.service.config.Limits, q.service.nowMs()
	var outcomes []Outcome
	var bodies []events.Event
	size := 0
	for _, sub := range batch {
		if len(bodies) > 0 && (size+sub.size() > limits.BatchBytes || len(bodies) >= limits.BatchMessages) {
			break
		}
		d := q.decide(ctx, sub, now)
		if err := q.state.Apply(d); err != nil {
			return nil, err
		}
		if q.broken != nil && d.Event != nil {
			bodies = append(bodies, events.Event{Body: q.rolledBack()})
		}
		if d.Event != nil {
			bodies = append(bodies, events.Event{Body: d.Event})
			size += proto.Size(d.Event)
			own, err := q.fulfilWishes(ctx, now)
			if err != nil {
				return nil, err
			}
			bodies = append(bodies, own...)
		}
		outcomes = append(outcomes, q.granted(sub, d.Outcome))
	}
	if len(bodies) == 0 {
		return q.vouch(ctx, outcomes)
	}
	record, err := q.journal.Append(ctx, events.Draft{TimeMS: now, Cause: causeOf(batch[0]), Events: bodies})
	if err != nil && !errors.Is(err, events.ErrRingBehind) {
		// The state is ahead of the log now, and so may be any of these outcomes: none is told.
		for i := range outcomes {
			outcomes[i] = Outcome{Err: coded(err)}
		}
		q.service.readers.doubt(q.group)
		return outcomes, err
	}
	// A crash here loses nothing: the entries are final, retries are answered from them, and the notices they owe are derived from the
	// log by whoever watches it.
	q.broken = nil
	q.taken(record)
	q.service.orderGrew(ctx, q.group, record)
	return outcomes, nil
}

// granted adds to the outcome of a wish where its proposal stands.
func (q *Sequencer) granted(sub Submission, o Outcome) Outcome {
	if w, ok := sub.(*Wish); ok && o.Err == nil && w.Withdraw == "" {
		if at := q.state.wishIndex(w.Want.ID()); at >= 0 {
			o.Position = q.state.wishes[at].number
		}
	}
	return o
}

// vouch sees to it that answers which append nothing, and which no fence has judged therefore, rest on the newest state: another node
// that believes to hold the share may have gone on with the order. What a retry is told of its first outcome is final anyway, and
// whoever submits too often is told so at no cost.
func (q *Sequencer) vouch(ctx context.Context, outcomes []Outcome) ([]Outcome, error) {
	final := true
	for _, o := range outcomes {
		_, accepted := o.Answer.(Success)
		final = final && (accepted || o.Position > 0 || errors.Is(o.Err, Busy))
	}
	if final {
		return outcomes, nil
	}
	err := q.journal.CheckHead(ctx)
	if err != nil {
		for i := range outcomes {
			outcomes[i] = Outcome{Err: coded(err)}
		}
	}
	return outcomes, err
}

// decide judges one submission, with what it needs of the world: the clock, the member's allowance, a verdict on an external joiner.
func (q *Sequencer) decide(ctx context.Context, sub Submission, nowMs uint64) Decision {
	if _, restart := sub.(*Restart); q.broken != nil && !restart {
		return Decision{Outcome: Outcome{Err: coded(q.broken)}}
	}
	if !q.limiter.take(sub, nowMs) {
		return answered(sub, refuse(Busy, "%s submits too often", sub.origin().Client))
	}
	env := Env{NowMs: nowMs, Successor: func(id Identity) error { return q.service.auth.Authenticate(ctx, id) }}
	if w, ok := sub.(*Wish); ok && w.Withdraw == "" && q.state.number > 0 {
		var err error
		if env.Service, err = q.service.serviceKeys.signerOf(ctx, q.state.public); err != nil {
			return answered(sub, coded(err))
		}
	}
	if joiner, needs := q.state.JoinerOf(sub); needs != NoAccess {
		verdict := q.service.mayJoin(ctx, q.state, joiner, needs)
		env.Joiner = func(Identity) error { return verdict }
	}
	return Decide(q.state, sub, env)
}

// rolledBack begins a new incarnation of an order that has lost its end.
func (q *Sequencer) rolledBack() *eventsv1.LogRolledBack {
	return &eventsv1.LogRolledBack{AnchorVersion: q.journal.Anchor().Version, FoundVersion: q.journal.Head().Version, Reason: q.broken.Error()}
}

func causeOf(s Submission) events.Cause {
	o := s.origin()
	return events.Cause{CommandID: o.CommandID, Command: commandOf(s), Principal: o.Client.Text(), IssuedMS: o.IssuedMs, RequestDigest: o.Request}
}

func commandOf(s Submission) string {
	switch s.(type) {
	case *Registration:
		return "register-group"
	case *Bundle:
		return "submit-bundle"
	case *Proposal:
		return "submit-proposal"
	case *Message:
		return "submit-message"
	case *Restart:
		return "restart-group"
	case *Wish:
		return "wish"
	}
	return ""
}

// checkpointIfDue appends the state to the order once enough has gathered since the last time, or what has gathered is of an age that
// counts for the retention, and lets go what lies before it and is old.
func (q *Sequencer) checkpointIfDue(ctx context.Context) error {
	l := &q.service.config.Limits
	aged := q.checkpointEntries > 0 && q.service.nowMs() > q.checkpointSince+uint64(l.RetainEntries.Milliseconds())/4
	if q.broken != nil || !aged && q.checkpointBytes < l.CheckpointBytes && q.checkpointEntries < l.CheckpointEntries {
		return nil
	}
	return q.Checkpoint(ctx)
}

// Checkpoint appends an OrderCheckpoint now.
func (q *Sequencer) Checkpoint(ctx context.Context) error {
	if q.state.number == 0 {
		return nil
	}
	encoded, err := q.state.Marshal()
	if err != nil {
		return err
	}
	body := &eventsv1.OrderCheckpoint{State: encoded, Number: q.state.number}
	record, err := q.journal.Append(ctx, events.Draft{
		TimeMS: q.service.nowMs(), Cause: events.Cause{Command: "checkpoint", Principal: q.service.config.Node}, Events: []events.Event{{Body: body}},
	})
	if err != nil && !errors.Is(err, events.ErrRingBehind) {
		return err
	}
	// A crash here loses nothing: the checkpoint stands in the order, and the snapshot that points at it is only a short cut.
	q.taken(record)
	if encoded, err = q.state.Marshal(); err != nil {
		return err
	}
	if err := q.journal.SaveSnapshot(ctx, encoded); err != nil {
		return nil // the next checkpoint makes another
	}
	q.retain(ctx)
	return nil
}

// retain purges what is older than the retention and lies before a checkpoint. It is housekeeping: what fails is tried again at the
// next checkpoint.
func (q *Sequencer) retain(ctx context.Context) {
	cutoff := q.service.config.Clock().Add(-q.service.config.Limits.RetainEntries)
	before := q.state.purgeable(uint64(max(cutoff.UnixMilli(), 0)))
	if before == 0 || q.broken != nil || q.journal.Sweep(ctx, q.service.nowMs()) != nil { // the anchor must not stand in what goes
		return
	}
	q.service.purge(ctx, events.OrderLog(q.group), before)
}

// Rest brings the anchor of the order up to its head: within a second of an append, so that what may be lost without being found is so
// much at most.
func (q *Sequencer) Rest(ctx context.Context) error {
	if q.journal.Err() != nil || q.state.number == 0 {
		return nil
	}
	return q.journal.Sweep(ctx, q.service.nowMs())
}

// Close leaves the order anchored.
func (q *Sequencer) Close(ctx context.Context) error {
	q.service.readers.doubt(q.group)
	return q.Rest(ctx)
}

// mayJoin is the verdict on somebody who joins by external commit, or asks to be added: a member that resynchronizes, or somebody whom the
// group's policy lets in; in either case with a key that the authentication service knows.
func (s *Service) mayJoin(ctx context.Context, state *SequencerState, joiner Identity, needs Access) error {
	if !state.isMember(joiner.Client) && s.access(state.group, joiner.Client) < needs {
		return refuse(Forbidden, "%s may not come in by itself", joiner.Client)
	}
	return s.auth.Authenticate(ctx, joiner)
}

func (s *Service) access(g GroupID, c ids.ClientID) Access {
	if s.config.Policy == nil {
		return NoAccess
	}
	return s.config.Policy(g, c)
}

func (s *Service) nowMs() uint64 { return uint64(s.config.Clock().UnixMilli()) }
