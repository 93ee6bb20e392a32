package delivery

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"parley/conversation"
	deliveryv1 "parley/delivery/v1"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// SequencerState is a group's order folded up to one entry: what Decide needs to judge the next submission. It belongs to one owner and
// is changed only by Fold and Restore, which read nothing but records: same records, same state.
type SequencerState struct {
	group      GroupID
	limits     Limits
	number     uint64                 // newest entry; 0: the group is not registered
	timeMs     uint64                 // of the newest entry
	public     *mlsengine.PublicGroup // of the current epoch; nil while info alone tells it
	info       []byte                 // newest GroupInfo
	infoNumber uint64                 // and the entry that carries it
	registered ids.Digest             // of the GroupInfo the group was registered with
	successor  GroupID                // not empty: the group is closed
	pending    []pendingProposal      // proposals of the current epoch, in order
	winners    []winner               // the newest epochs' commits, oldest first, at most limits.Winners
	senders    map[ids.ClientID]LastEntry
	memory     memory
	wishes     []standingWish        // of the service, oldest first
	sequence   uint64                // in the stream, of the newest record
	places     []checkpointPlace     // where checkpoints begin, oldest first
	roster     map[ids.ClientID]bool // of public, made when first asked for
}

// pendingProposal is a proposal in the order that no commit has ended yet.
type pendingProposal struct {
	content *mlsengine.Content // nil: it travelled encrypted, and only members can read it
	number  uint64
	sender  ids.ClientID
}

type winner struct {
	epoch  uint64
	digest ids.Digest
	number uint64
}

// checkpointPlace says where a checkpoint begins: right behind this stream sequence.
type checkpointPlace struct {
	after  uint64
	timeMs uint64 // of the newest entry before it
}

// NewSequencerState is the state of an order without entries.
func NewSequencerState(g GroupID, l Limits) *SequencerState {
	return &SequencerState{group: g, limits: l.withDefaults(), senders: map[ids.ClientID]LastEntry{}, memory: newMemory()}
}

// Number is the newest entry's; 0 when the group is not registered.
func (s *SequencerState) Number() uint64 { return s.number }

// Epoch is the group's current epoch.
func (s *SequencerState) Epoch() uint64 {
	if s.public == nil {
		return 0
	}
	return uint64(s.public.Epoch())
}

// Public is the group's public state in the current epoch, nil when it is not registered.
func (s *SequencerState) Public() *mlsengine.PublicGroup { return s.public }

// Fold takes a record of the order into the state. An error means that the record does not fit and the order cannot be trusted; the state
// is then of no further use.
func (s *SequencerState) Fold(r *events.Record) error {
	if err := s.foldRecord(r); err != nil {
		return err
	}
	return s.materialize()
}

// foldRecord folds without computing an epoch that the next record may leave again; materialize makes up for it.
func (s *SequencerState) foldRecord(r *events.Record) error {
	for _, ev := range r.Events {
		if err := s.foldBody(ev.Body, nil); err != nil {
			return err
		}
	}
	s.passed(r)
	return nil
}

// materialize computes the current epoch where only its GroupInfo was kept so far.
func (s *SequencerState) materialize() error {
	if s.public != nil || s.number == 0 {
		return nil
	}
	public, err := publicFromInfo(s.info)
	if err != nil {
		return failed(Damaged, "enter the epoch of an accepted commit", err)
	}
	s.public = public
	return nil
}

// placesMax bounds the remembered checkpoints; beyond it every second one is forgotten, and retention gets coarser.
const placesMax = 128

// passed notes where a record stands that is part of the state.
func (s *SequencerState) passed(r *events.Record) {
	for _, ev := range r.Events {
		if _, ok := ev.Body.(*eventsv1.OrderCheckpoint); ok && s.sequence > 0 {
			s.places = append(s.places, checkpointPlace{after: s.sequence, timeMs: s.timeMs})
		}
	}
	s.sequence = r.Sequence
	if len(s.places) > placesMax {
		kept := s.places[:0]
		for i := 0; i < len(s.places); i += 2 {
			kept = append(kept, s.places[i])
		}
		s.places = kept
	}
}

// purgeable is the stream sequence before which everything is older than a moment and lies before a checkpoint; 0 when nothing is.
func (s *SequencerState) purgeable(beforeMs uint64) uint64 {
	var at uint64
	for _, p := range s.places {
		if p.timeMs < beforeMs {
			at = p.after + 1
		}
	}
	return at
}

// foldBody takes one event. next is the epoch a commit or registration leads to where the caller has computed it already.
func (s *SequencerState) foldBody(body events.Body, next *mlsengine.PublicGroup) error {
	switch b := body.(type) {
	case *eventsv1.OrderEntry:
		return s.foldEntry(b, next)
	case *eventsv1.OrderCheckpoint:
		if s.number == 0 {
			return s.Restore(b.State)
		}
		if b.Number != s.number {
			return refuse(Damaged, "a checkpoint of entry %d after entry %d", b.Number, s.number)
		}
		return nil
	case *eventsv1.TransactionTorn, *eventsv1.Claimed, *eventsv1.LogRolledBack:
		return nil // something that never happened, somebody's place in the log, the end of an incarnation: no entry
	case *eventsv1.WishMade, *eventsv1.WishEnded:
		return s.foldWish(body)
	case *eventsv1.GroupRestarted:
		if b.Number != s.number+1 {
			return refuse(Damaged, "entry %d after entry %d", b.Number, s.number)
		}
		s.number, s.timeMs, s.successor = b.Number, b.TimeMs, GroupID(b.Successor)
		return nil
	}
	return refuse(Damaged, "an order with an event it cannot hold")
}

func (s *SequencerState) foldEntry(e *eventsv1.OrderEntry, next *mlsengine.PublicGroup) error {
	if e.Number != s.number+1 {
		return refuse(Damaged, "entry %d after entry %d", e.Number, s.number)
	}
	switch e.Kind {
	case eventsv1.EntryKind_ENTRY_KIND_GROUP, eventsv1.EntryKind_ENTRY_KIND_COMMIT:
		if err := s.foldEpoch(e, next); err != nil {
			return err
		}
	case eventsv1.EntryKind_ENTRY_KIND_PROPOSAL:
		if err := s.foldProposal(e); err != nil {
			return err
		}
	case eventsv1.EntryKind_ENTRY_KIND_APPLICATION:
	default:
		return refuse(Damaged, "entry %d is of unknown kind %d", e.Number, e.Kind)
	}
	s.number, s.timeMs = e.Number, e.TimeMs
	if err := s.foldWish(e); err != nil {
		return err
	}
	s.memory.expire(e.TimeMs, &s.limits)
	if err := s.noteSender(e); err != nil {
		return err
	}
	if len(e.CommandId) > 0 && isMessage(e.Kind) {
		request := digestOf(e.Request)
		if request.IsZero() {
			request = ids.DigestOf(e.Message)
		}
		s.memory.add(remembered{
			key: keyOfCommand(ids.ClientID(e.Sender), ids.CommandID(e.CommandId)), request: [16]byte(request[:16]), number: e.Number, timeMs: e.TimeMs,
		})
	}
	return nil
}

func isMessage(k eventsv1.EntryKind) bool {
	return k == eventsv1.EntryKind_ENTRY_KIND_PROPOSAL || k == eventsv1.EntryKind_ENTRY_KIND_APPLICATION
}

// foldEpoch enters the epoch that a registration or commit leads to: by its delta, or by its GroupInfo where only that tells the tree.
func (s *SequencerState) foldEpoch(e *eventsv1.OrderEntry, next *mlsengine.PublicGroup) error {
	if next == nil && len(e.Delta) > 0 {
		if err := s.materialize(); err != nil {
			return err
		}
		if s.public == nil {
			return refuse(Damaged, "commit %d in a group that is not registered", e.Number)
		}
		var err error
		if next, err = s.public.ApplyDelta(e.Delta); err != nil {
			return failed(Damaged, "enter the epoch of an accepted commit", err)
		}
	}
	if e.Kind == eventsv1.EntryKind_ENTRY_KIND_GROUP {
		s.registered = ids.DigestOf(e.GroupInfo)
	} else {
		s.winners = append(s.winners, winner{epoch: e.Epoch, digest: digestOf(e.Digest), number: e.Number})
		if extra := len(s.winners) - s.limits.Winners; extra > 0 {
			s.winners = slices.Delete(s.winners, 0, extra)
		}
	}
	s.public, s.pending, s.roster = next, nil, nil
	s.info, s.infoNumber = e.GroupInfo, e.Number
	return nil
}

func (s *SequencerState) foldProposal(e *eventsv1.OrderEntry) error {
	p := pendingProposal{number: e.Number, sender: ids.ClientID(e.Sender)}
	if len(e.Proposals) == 1 {
		content, err := mlsengine.ParseContent(e.Proposals[0].Content)
		if err != nil {
			return failed(Damaged, "read an accepted proposal", err)
		}
		p.content = content
	}
	s.pending = append(s.pending, p)
	return nil
}

// noteSender keeps each client's newest entry. Beyond the bound those go first who are no longer members, oldest first.
func (s *SequencerState) noteSender(e *eventsv1.OrderEntry) error {
	c := ids.ClientID(e.Sender)
	s.senders[c] = LastEntry{Number: e.Number, Epoch: e.Epoch, Kind: EntryKind(e.Kind), Generation: e.Generation}
	if len(s.senders) <= s.limits.Senders {
		return nil
	}
	if err := s.materialize(); err != nil {
		return err
	}
	oldest, oldestNumber, oldestIn := ids.ClientID(""), uint64(0), true
	for c, last := range s.senders {
		in := s.isMember(c)
		if oldestNumber == 0 || (!in && oldestIn) || (in == oldestIn && last.Number < oldestNumber) {
			oldest, oldestNumber, oldestIn = c, last.Number, in
		}
	}
	delete(s.senders, oldest)
	return nil
}

// winnerOf finds the commit that ended an epoch, while it is remembered.
func (s *SequencerState) winnerOf(epoch uint64) (winner, bool) {
	i, ok := slices.BinarySearchFunc(s.winners, epoch, func(w winner, e uint64) int { return cmp.Compare(w.epoch, e) })
	if !ok {
		return winner{}, false
	}
	return s.winners[i], true
}

// isMember tells whether a client owns a leaf in the current epoch.
func (s *SequencerState) isMember(c ids.ClientID) bool {
	if s.roster == nil {
		s.roster = map[ids.ClientID]bool{}
		for _, m := range s.public.Members() {
			s.roster[conversation.ClientOf(m.Credential)] = true
		}
	}
	return s.roster[c]
}

// Marshal is the canonical encoding of the state: what an OrderCheckpoint holds.
func (s *SequencerState) Marshal() ([]byte, error) {
	out := &deliveryv1.OrderState{
		Group: []byte(s.group), Number: s.number, GroupInfo: s.info, GroupInfoNumber: s.infoNumber, Successor: []byte(s.successor), TimeMs: s.timeMs,
	}
	if s.public != nil {
		out.PublicGroup = s.public.Marshal()
		out.Registered = s.registered[:]
	}
	for _, p := range s.pending {
		row := &deliveryv1.Pending{Number: p.number, Sender: []byte(p.sender)}
		if p.content != nil {
			row.Content = p.content.Marshal()
		}
		out.Pending = append(out.Pending, row)
	}
	for _, w := range s.winners {
		out.Winners = append(out.Winners, &deliveryv1.Winner{Epoch: w.epoch, Digest: w.digest[:], Number: w.number})
	}
	for c, l := range s.senders {
		out.Senders = append(out.Senders, &deliveryv1.Sender{
			Client: []byte(c), Number: l.Number, Epoch: l.Epoch, Kind: uint32(l.Kind), Generation: l.Generation,
		})
	}
	slices.SortFunc(out.Senders, func(a, b *deliveryv1.Sender) int { return cmp.Compare(a.Number, b.Number) })
	for _, p := range s.places {
		out.Checkpoints = append(out.Checkpoints, &deliveryv1.Checkpoint{Sequence: p.after, TimeMs: p.timeMs})
	}
	for _, r := range s.memory.queue[s.memory.first:] {
		out.Remembered = append(out.Remembered, &deliveryv1.Remembered{Key: r.key[:], Request: r.request[:], Number: r.number, TimeMs: r.timeMs})
	}
	for i := range s.wishes {
		out.Wishes = append(out.Wishes, wishTo(&s.wishes[i]))
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(out)
}

// Restore makes the state that Marshal wrote; limits stay.
func (s *SequencerState) Restore(b []byte) error {
	in := &deliveryv1.OrderState{}
	if err := proto.Unmarshal(b, in); err != nil {
		return failed(Damaged, "read a checkpoint", err)
	}
	if GroupID(in.Group) != s.group {
		return refuse(Damaged, "a checkpoint of another group")
	}
	next := NewSequencerState(s.group, s.limits)
	next.number, next.timeMs, next.info, next.infoNumber = in.Number, in.TimeMs, in.GroupInfo, in.GroupInfoNumber
	next.successor, next.registered = GroupID(in.Successor), digestOf(in.Registered)
	var err error
	if next.public, err = mlsengine.ParsePublicGroup(in.PublicGroup); err != nil {
		return failed(Damaged, "read a checkpoint's group", err)
	}
	for _, p := range in.Pending {
		row := pendingProposal{number: p.Number, sender: ids.ClientID(p.Sender)}
		if len(p.Content) > 0 {
			if row.content, err = mlsengine.ParseContent(p.Content); err != nil {
				return failed(Damaged, "read a checkpoint's proposal", err)
			}
		}
		next.pending = append(next.pending, row)
	}
	for _, w := range in.Winners {
		next.winners = append(next.winners, winner{epoch: w.Epoch, digest: digestOf(w.Digest), number: w.Number})
	}
	for _, l := range in.Senders {
		next.senders[ids.ClientID(l.Client)] = LastEntry{Number: l.Number, Epoch: l.Epoch, Kind: EntryKind(l.Kind), Generation: l.Generation}
	}
	for _, r := range in.Remembered {
		if len(r.Key) != len(commandKey{}) || len(r.Request) != 16 {
			return refuse(Damaged, "a checkpoint's remembered command")
		}
		next.memory.add(remembered{key: commandKey(r.Key), request: [16]byte(r.Request), number: r.Number, timeMs: r.TimeMs})
	}
	for _, w := range in.Wishes {
		wish, err := wishFrom(w)
		if err != nil {
			return err
		}
		next.wishes = append(next.wishes, wish)
	}
	for _, c := range in.Checkpoints {
		next.places = append(next.places, checkpointPlace{after: c.Sequence, timeMs: c.TimeMs})
	}
	*s = *next
	return nil
}

// digestOf reads a stored digest; anything that is none is the zero digest, which equals no digest of anything.
func digestOf(b []byte) ids.Digest {
	if len(b) != len(ids.Digest{}) {
		return ids.Digest{}
	}
	return ids.Digest(b)
}

// publicFromInfo makes public state out of a GroupInfo that carries its tree, with every check of §12.4.3.1 that needs no secret.
func publicFromInfo(info []byte) (*mlsengine.PublicGroup, error) {
	gi, err := parseGroupInfo(info)
	if err != nil {
		return nil, err
	}
	return mlsengine.NewPublicGroup(gi, nil)
}

func parseGroupInfo(info []byte) (*mlsengine.GroupInfo, error) {
	m, err := mlsengine.ParseMessage(info)
	if err != nil {
		return nil, refuse(Malformed, "group info: %v", err)
	}
	gi := m.GroupInfo()
	if gi == nil {
		return nil, refuse(Malformed, "the group info is another kind of message")
	}
	return gi, nil
}
