package interop

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/mlsengine"
)

const (
	// epochsKept is how many epochs of a member stay readable.
	epochsKept = 64
	// epochsWhole is in how many of them, the newest included, a member can do everything.
	epochsWhole = 3
	// proposalsMax bounds what a member remembers of one epoch.
	proposalsMax = 10_000
)

// limits say how late and how far ahead of each other messages of one sender may come.
func limits() mlsengine.Limits {
	return mlsengine.Limits{OutOfOrderTolerance: 1000, MaximumForwardDistance: 1000}
}

// member is one client's stay in a group: a line of epochs, in which every state knows the one before. Its mutex guards them all; calls
// about one member wait for each other, those about others do not.
type member struct {
	server   *Server
	client   *client
	identity mlsengine.SigningIdentity
	encrypt  bool

	mu   sync.Mutex
	line []*state // oldest first
}

// state is one epoch of a member.
type state struct {
	of        *member
	id        uint32
	group     *mlsengine.Group
	proposals map[string]*mlsengine.Content // that the member sent or read, by the bytes of their messages
	updates   mlsengine.OwnUpdates
	pending   *mlsengine.CommitOut
}

func (*state) kind() string     { return "a state" }
func (s *state) owner() *client { return s.of.client }

// env is what the engine may know when this member acts.
func (m *member) env() mlsengine.Env { return m.server.env(&m.identity) }

func (m *member) psks() pskStore { return pskStore{m.client, m.server.table} }

// enter adds the member's next epoch, as a state with an id of its own. Earlier ones keep what opens late messages.
func (m *member) enter(g *mlsengine.Group) (*state, error) {
	s := &state{of: m, group: g, proposals: make(map[string]*mlsengine.Content), updates: mlsengine.OwnUpdates{}}
	id, err := m.server.table.add(s)
	if err != nil {
		return nil, err
	}
	s.id = id
	m.client.remember(g)
	m.line = append(m.line, s)
	if n := len(m.line) - epochsWhole - 1; n >= 0 {
		old := m.line[n]
		old.group = old.group.Retire()
		old.proposals, old.updates, old.pending = make(map[string]*mlsengine.Content), mlsengine.OwnUpdates{}, nil
	}
	if len(m.line) > epochsKept {
		m.server.table.drop(m.line[0].id)
		m.line = slices.Delete(m.line, 0, 1)
	}
	return s, nil
}

// begin enters the first epoch of a member that nobody else knows yet.
func (m *member) begin(g *mlsengine.Group) (*state, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.enter(g)
}

// onState runs f on a state while nothing else happens to its member.
func onState[T any](s *Server, id uint32, f func(*state) (T, error)) (T, error) {
	st, err := find[*state](s.table, id)
	if err != nil {
		var none T
		return none, err
	}
	st.of.mu.Lock()
	defer st.of.mu.Unlock()
	return f(st)
}

// forget drops a state. With its newest one the whole member goes.
func (s *Server) forget(st *state) {
	m := st.of
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.line) == 0 || m.line[len(m.line)-1] != st {
		s.table.drop(st.id)
		return
	}
	for _, each := range m.line {
		s.table.drop(each.id)
	}
	m.line = nil
}

// framing says how a handshake message of the member travels; for an encrypted one it takes a generation.
func (st *state) framing() (mlsengine.Framing, error) {
	if !st.of.encrypt {
		return mlsengine.Framing{}, nil
	}
	block, err := st.reserve(mlsengine.ContentTypeProposal)
	return mlsengine.Framing{Encrypt: true, Block: block}, err
}

// reserve takes one generation to encrypt with.
func (st *state) reserve(ct mlsengine.ContentType) (*mlsengine.SendBlock, error) {
	_, next, block, err := st.group.Reserve(ct, 1)
	if err != nil {
		return nil, err
	}
	st.group = next
	return block, nil
}

// propose sends a proposal and remembers it: commits of this member and of others will refer to it.
func (st *state) propose(p mlsengine.Proposal) ([]byte, error) {
	how, err := st.framing()
	if err != nil {
		return nil, err
	}
	proposed, err := st.group.Propose(p, how, st.of.env())
	if err != nil {
		return nil, err
	}
	if err := st.know(proposed.Message, proposed.Content); err != nil {
		return nil, err
	}
	if !proposed.Secrets.IsZero() {
		st.updates[string(proposed.Ref)] = proposed.Secrets
	}
	return proposed.Message, nil
}

func (st *state) know(message []byte, c *mlsengine.Content) error {
	if len(st.proposals) >= proposalsMax {
		return status.Errorf(codes.ResourceExhausted, "the state has %d proposals", len(st.proposals))
	}
	st.proposals[string(message)] = c
	return nil
}

// read opens proposals of this epoch, in their order. Those that were sent or read before are known; their keys are gone.
func (st *state) read(messages [][]byte) ([]*mlsengine.Content, error) {
	contents := make([]*mlsengine.Content, 0, len(messages))
	for i, m := range messages {
		c, known := st.proposals[string(m)]
		if !known {
			var err error
			if c, err = st.open(m); err != nil {
				return nil, prefixed(err, "proposal %d", i)
			}
			if err := st.know(m, c); err != nil {
				return nil, err
			}
		}
		contents = append(contents, c)
	}
	return contents, nil
}

// open authenticates a proposal of this epoch.
func (st *state) open(message []byte) (*mlsengine.Content, error) {
	m, err := parseContent(message, mlsengine.ContentTypeProposal)
	if err != nil {
		return nil, err
	}
	c, next, err := st.group.Open(m, limits())
	if err != nil {
		return nil, err
	}
	st.group = next
	return c, nil
}

// parseContent reads a message of the group that claims to hold a certain content. What holds another one is not opened: that would use
// up its key.
func parseContent(message []byte, want mlsengine.ContentType) (*mlsengine.Message, error) {
	m, err := mlsengine.ParseMessage(message)
	if err != nil {
		return nil, err
	}
	if got := m.ContentType(); got != want {
		return nil, status.Errorf(codes.InvalidArgument, "the message has content type %d, want %d", got, want)
	}
	return m, nil
}

// at finds the member's state in an epoch.
func (m *member) at(group mlsengine.GroupID, epoch mlsengine.Epoch) (*state, bool) {
	for _, st := range slices.Backward(m.line) {
		if st.group.Epoch() == epoch && bytes.Equal(st.group.GroupID(), group) {
			return st, true
		}
	}
	return nil, false
}

var errNoSuchMember = errors.New("nobody in the group has this identity")

// leafOf finds the member that presents an identity.
func leafOf(g *mlsengine.PublicGroup, identity []byte) (mlsengine.LeafIndex, error) {
	for _, m := range g.Members() {
		if bytes.Equal(m.Credential.Identity(), identity) {
			return m.Index, nil
		}
	}
	return 0, errNoSuchMember
}
