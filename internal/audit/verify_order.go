package audit

import (
	"bytes"
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	deliveryv1 "parley/delivery/v1"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// orderCheck verifies the order of a group: numbers without a gap, every proposal and commit signed and valid, every group info the one
// of its epoch. It starts with the registration of the group, or with a checkpoint where what lay before was purged.
type orderCheck struct {
	id        events.LogID
	tally     *Tally
	seen      *orderSeen
	number    uint64
	closed    bool // an operator named a successor: nothing may follow
	group     *mlsengine.PublicGroup
	proposals map[string]*mlsengine.Content
}

func newOrderCheck(id events.LogID, b *book, t *Tally) *orderCheck {
	seen := &orderSeen{commits: map[uint64]ids.Digest{}}
	b.orders[id.Conversation] = seen
	return &orderCheck{id: id, tally: t, seen: seen, proposals: map[string]*mlsengine.Content{}}
}

func (o *orderCheck) record(r *events.Record) error {
	for _, e := range r.Events {
		var err error
		switch b := e.Body.(type) {
		case *eventsv1.OrderEntry:
			err = o.entry(b)
		case *eventsv1.OrderCheckpoint:
			err = o.checkpoint(b)
		case *eventsv1.GroupRestarted:
			err = o.next(b.GetNumber())
			o.closed = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (o *orderCheck) entry(b *eventsv1.OrderEntry) error {
	if err := o.next(b.GetNumber()); err != nil {
		return err
	}
	if b.GetKind() == eventsv1.EntryKind_ENTRY_KIND_GROUP {
		return o.registered(b)
	}
	if o.group == nil {
		return flawed(CheckOrder, "entry %d stands before the group is registered", b.GetNumber())
	}
	late := b.GetKind() == eventsv1.EntryKind_ENTRY_KIND_APPLICATION && b.GetEpoch() < uint64(o.group.Epoch())
	if b.GetEpoch() != uint64(o.group.Epoch()) && !late {
		return flawed(CheckOrder, "entry %d is of epoch %d in epoch %d", b.GetNumber(), b.GetEpoch(), o.group.Epoch())
	}
	switch b.GetKind() {
	case eventsv1.EntryKind_ENTRY_KIND_PROPOSAL:
		return o.proposal(b.GetMessage())
	case eventsv1.EntryKind_ENTRY_KIND_COMMIT:
		return o.commit(b)
	}
	return nil
}

// next takes the number of an entry: they have no gaps, and end where the group was restarted.
func (o *orderCheck) next(number uint64) error {
	if o.closed {
		return flawed(CheckOrder, "entry %d follows the end of the group", number)
	}
	if number != o.number+1 {
		return flawed(CheckOrder, "entry %d follows entry %d", number, o.number)
	}
	if o.seen.first == 0 {
		o.seen.first = number
	}
	o.number, o.seen.last = number, number
	return nil
}

// registered takes the group's first state from the GroupInfo that its founder gave.
func (o *orderCheck) registered(b *eventsv1.OrderEntry) error {
	if o.group != nil {
		return flawed(CheckOrder, "entry %d registers the group again", b.GetNumber())
	}
	group, err := o.groupOf(b.GetGroupInfo())
	if err != nil {
		return err
	}
	o.enter(group)
	return nil
}

// groupOf verifies a GroupInfo together with the tree it carries (§12.4.3.1).
func (o *orderCheck) groupOf(message []byte) (*mlsengine.PublicGroup, error) {
	info, err := groupInfo(message)
	if err != nil {
		return nil, err
	}
	group, err := mlsengine.NewPublicGroup(info, nil)
	if err != nil {
		return nil, flawed(CheckSignature, "group info: %v", err)
	}
	if string(group.GroupID()) != string(o.id.Conversation) {
		return nil, flawed(CheckOrder, "the group info is of group %s", ids.ConversationID(group.GroupID()))
	}
	o.tally.Signatures.Done += 1 + len(group.Members())
	o.tally.Trees++
	return group, nil
}

func groupInfo(message []byte) (*mlsengine.GroupInfo, error) {
	m, err := mlsengine.ParseMessage(message)
	if err != nil {
		return nil, flawed(CheckSignature, "group info: %v", err)
	}
	info := m.GroupInfo()
	if info == nil {
		return nil, flawed(CheckSignature, "what is recorded as a group info is none")
	}
	return info, nil
}

func (o *orderCheck) enter(group *mlsengine.PublicGroup) {
	o.group = group
	clear(o.proposals)
	o.tally.Epochs++
}

// proposal verifies one that travelled in the open; of an encrypted one nothing can be said without its group's secrets.
func (o *orderCheck) proposal(raw []byte) error {
	m, err := mlsengine.ParseMessage(raw)
	if err != nil {
		return flawed(CheckSignature, "proposal: %v", err)
	}
	if m.WireFormat() == mlsengine.WireFormatPrivateMessage {
		o.tally.Signatures.Skipped++
		return nil
	}
	content, err := o.group.VerifyMessage(m)
	if err != nil {
		return flawed(CheckSignature, "proposal: %v", err)
	}
	o.tally.Signatures.Done++
	o.proposals[string(content.ProposalRef())] = content
	return nil
}

func (o *orderCheck) commit(b *eventsv1.OrderEntry) error {
	for _, own := range b.GetProposalMessages() {
		if err := o.proposal(own); err != nil {
			return err
		}
	}
	m, err := mlsengine.ParseMessage(b.GetMessage())
	if err != nil {
		return flawed(CheckSignature, "commit: %v", err)
	}
	o.seen.commits[b.GetNumber()] = sha256.Sum256(b.GetMessage())
	if m.WireFormat() == mlsengine.WireFormatPrivateMessage {
		return o.encrypted(b)
	}
	content, err := o.group.VerifyMessage(m)
	if err != nil {
		return flawed(CheckSignature, "commit: %v", err)
	}
	o.tally.Signatures.Done++
	staged, err := stage(o.group, content, o.proposals)
	if err != nil {
		return err
	}
	o.tally.Trees++
	o.tally.Transcripts.Done++
	if len(b.GetDelta()) > 0 && !bytes.Equal(staged.Delta, b.GetDelta()) {
		return flawed(CheckCommit, "the commit leads to another state than recorded")
	}
	info, err := groupInfo(b.GetGroupInfo())
	if err != nil {
		return err
	}
	if err := staged.Next.GroupInfoMatches(info); err != nil {
		return flawed(CheckCommit, "group info: %v", err)
	}
	o.tally.Signatures.Done++
	o.enter(staged.Next)
	return nil
}

// encrypted takes the next epoch from the GroupInfo of an encrypted commit: its tree is verified, the commit's own signature and what it
// adds to the transcript are not.
func (o *orderCheck) encrypted(b *eventsv1.OrderEntry) error {
	next, err := o.groupOf(b.GetGroupInfo())
	if err != nil {
		return err
	}
	if next.Epoch() != o.group.Epoch()+1 {
		return flawed(CheckCommit, "the group info of a commit in epoch %d is of epoch %d", o.group.Epoch(), next.Epoch())
	}
	o.tally.Signatures.Skipped++
	o.tally.Transcripts.Skipped++
	o.enter(next)
	return nil
}

// checkpoint holds a sequencer's summary against what was read, or begins with it.
func (o *orderCheck) checkpoint(b *eventsv1.OrderCheckpoint) error {
	var state deliveryv1.OrderState
	if err := proto.Unmarshal(b.GetState(), &state); err != nil {
		return flawed(CheckOrder, "checkpoint: %v", err)
	}
	group, err := mlsengine.ParsePublicGroup(state.GetPublicGroup())
	if err != nil {
		return flawed(CheckTreeHash, "checkpoint: %v", err)
	}
	if o.group == nil {
		return o.resume(b, &state, group)
	}
	if b.GetNumber() != o.number {
		return flawed(CheckOrder, "a checkpoint at entry %d follows entry %d", b.GetNumber(), o.number)
	}
	if !bytes.Equal(group.Marshal(), o.group.Marshal()) {
		return flawed(CheckOrder, "the checkpoint at entry %d holds another state than its order", o.number)
	}
	return nil
}

func (o *orderCheck) resume(b *eventsv1.OrderCheckpoint, state *deliveryv1.OrderState, group *mlsengine.PublicGroup) error {
	if err := group.Verify(); err != nil {
		return flawed(CheckTreeHash, "checkpoint: %v", err)
	}
	o.tally.Trees++
	o.tally.Signatures.Done += len(group.Members())
	o.number, o.seen.first, o.seen.last = b.GetNumber(), b.GetNumber()+1, b.GetNumber()
	o.enter(group)
	for _, p := range state.GetPending() {
		if len(p.GetContent()) == 0 {
			o.tally.Signatures.Skipped++
			continue
		}
		content, err := mlsengine.ParseContent(p.GetContent())
		if err != nil {
			return flawed(CheckSignature, "pending proposal: %v", err)
		}
		if err := group.VerifyContent(content); err != nil {
			return flawed(CheckSignature, "pending proposal: %v", err)
		}
		o.tally.Signatures.Done++
		o.proposals[string(content.ProposalRef())] = content
	}
	return nil
}

// end has nothing left to check.
func (o *orderCheck) end() error { return nil }
