package projections

import (
	"slices"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// Member is one stay of a client in a group, from the epoch that admitted it to the epoch that no longer has it.
type Member struct {
	Leaf           uint32
	Client         ids.ClientID
	SignatureKey   []byte
	CredentialType uint32
	SinceEpoch     uint64
	SinceVersion   uint64 // the record that tells of the arrival
	AddedBy        ids.ClientID
	UpdatedEpoch   uint64 // newest epoch that renewed the member's leaf; SinceEpoch where none did
	Gone           bool
	GoneEpoch      uint64 // first epoch without the member, when Gone
	GoneVersion    uint64
	RemovedBy      ids.ClientID
}

// Members is the roster of one conversation with its past, as its owner's log tells it. The zero value is a group nobody is in.
type Members struct {
	owner   ids.ClientID
	epoch   uint64
	present []Member // by leaf
	past    []Member // in order of leaving
}

// NewMembers starts an empty roster for the log of a client.
func NewMembers(owner ids.ClientID) *Members { return &Members{owner: owner} }

// Present is the roster by leaf.
func (m *Members) Present() []Member { return slices.Clone(m.present) }

// Past are the stays that ended, in the order of their ending.
func (m *Members) Past() []Member { return slices.Clone(m.past) }

// Apply takes the next record.
func (m *Members) Apply(r *events.Record) {
	for _, e := range r.Events {
		switch b := e.Body.(type) {
		case *eventsv1.ConversationCreated:
			m.begin(b.GetFacts().GetEpoch(), r.Version, m.founder(b))
		case *eventsv1.ConversationJoined:
			m.begin(b.GetFacts().GetEpoch(), r.Version, b.GetRoster())
		case *eventsv1.EpochAdvanced:
			m.advance(b, r.Version)
		case *eventsv1.MemberEvicted:
			m.leave(func(o Member) bool { return o.Client == m.owner }, b.GetEpoch()+1, r.Version, ids.ClientID(b.GetCommitter()))
		}
	}
}

// founder is the roster of a new group: its creator alone, on leaf 0 (§11).
func (m *Members) founder(b *eventsv1.ConversationCreated) []*eventsv1.MemberChange {
	if roster := b.GetRoster(); len(roster) > 0 {
		return roster
	}
	return []*eventsv1.MemberChange{{Leaf: 0, Client: []byte(m.owner)}}
}

func (m *Members) begin(epoch, version uint64, roster []*eventsv1.MemberChange) {
	m.epoch = epoch
	m.leave(func(Member) bool { return true }, epoch, version, "") // a rejoin starts from its own roster
	for _, c := range roster {
		m.enter(c, version, "")
	}
}

// advance applies the changes in the RFC's order: updates, removes, adds (§12.3); a freed leaf may be taken again in the same commit.
func (m *Members) advance(b *eventsv1.EpochAdvanced, version uint64) {
	m.epoch = b.GetFacts().GetEpoch()
	committer := ids.ClientID(b.GetCommitter())
	for _, c := range b.GetRemoved() {
		m.leave(func(o Member) bool { return o.Leaf == c.GetLeaf() }, m.epoch, version, committer)
	}
	for _, c := range b.GetAdded() {
		m.enter(c, version, committer)
	}
	for _, c := range b.GetUpdated() {
		m.update(c)
	}
}

func (m *Members) enter(c *eventsv1.MemberChange, version uint64, by ids.ClientID) {
	at, taken := slices.BinarySearchFunc(m.present, c.GetLeaf(), func(o Member, leaf uint32) int { return int(int64(o.Leaf) - int64(leaf)) })
	entry := Member{
		Leaf: c.GetLeaf(), Client: ids.ClientID(c.GetClient()), SignatureKey: c.GetSignatureKey(), CredentialType: c.GetCredentialType(),
		SinceEpoch: m.epoch, UpdatedEpoch: m.epoch, SinceVersion: version, AddedBy: by,
	}
	if taken {
		m.present[at] = entry
		return
	}
	m.present = slices.Insert(m.present, at, entry)
}

func (m *Members) update(c *eventsv1.MemberChange) {
	for i := range m.present {
		if m.present[i].Leaf != c.GetLeaf() {
			continue
		}
		m.present[i].UpdatedEpoch = m.epoch
		m.present[i].Client = ids.ClientID(c.GetClient())
		m.present[i].SignatureKey = c.GetSignatureKey()
		m.present[i].CredentialType = c.GetCredentialType()
	}
}

func (m *Members) leave(who func(Member) bool, epoch, version uint64, by ids.ClientID) {
	stay := m.present[:0]
	for _, o := range m.present {
		if !who(o) {
			stay = append(stay, o)
			continue
		}
		o.Gone, o.GoneEpoch, o.GoneVersion, o.RemovedBy = true, epoch, version, by
		m.past = append(m.past, o)
	}
	m.present = stay
}
