package actors

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"parley/conversation"
	"parley/delivery"
	"parley/events"
	"parley/internal/ids"
)

// members is an index over the logs: which clients of this deployment have a conversation in which group. It is rebuilt from the
// log at start, and only says whom to wake.
type members struct {
	mu      sync.Mutex
	byGroup map[ids.ConversationID][]ids.ClientID
	clients map[ids.ClientID]bool
}

func newMembers() *members {
	return &members{byGroup: map[ids.ConversationID][]ids.ClientID{}, clients: map[ids.ClientID]bool{}}
}

func (m *members) addClient(client ids.ClientID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clients[client] = true
}

// Clients lists the clients with a log of their own that live here, as far as this node has come across them.
func (n *Node) Clients() (here []ids.ClientID) {
	n.members.mu.Lock()
	all := slices.Collect(maps.Keys(n.members.clients))
	n.members.mu.Unlock()
	for _, client := range all {
		if n.owns(ClientIdentity(client)) {
			here = append(here, client)
		}
	}
	return here
}

// Serves reports whether a client lives on this node.
func (n *Node) Serves(client ids.ClientID) bool { return n.owns(ClientIdentity(client)) }

func (m *members) add(client ids.ClientID, group ids.ConversationID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.byGroup[group], client) {
		m.byGroup[group] = append(m.byGroup[group], client)
	}
}

func (m *members) of(group ids.ConversationID) []ids.ClientID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.byGroup[group])
}

func (m *members) all() (out []Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for group, clients := range m.byGroup {
		for _, client := range clients {
			out = append(out, ConversationIdentity(client, group))
		}
	}
	return out
}

// watchOrders wakes conversations whose group's order has grown, and clients whose inbox has. One consumer for each partition
// serves the whole node; the delivery service begins a watch that broke again.
func (n *Node) watchOrders(ctx context.Context) {
	err := n.delivery.Watch(ctx, func(w delivery.Wake) {
		if w.Group != "" {
			n.wakeGroup(w.Group)
		} else {
			n.wakeInbox(w.Client)
		}
	})
	if ctx.Err() == nil {
		n.logger.Error("watch of the orders ended", "err", err)
	}
}

// wakeGroup wakes the group's members that live here. One that is passive is activated: recovering it follows the order.
func (n *Node) wakeGroup(group ids.ConversationID) {
	for _, client := range n.members.of(group) {
		id := ConversationIdentity(client, group)
		if n.owns(id) && !n.directory.tell(id, &wake{}) {
			n.activate(id)
		}
	}
}

// activate asks for an activation without waiting for it. Where the node is full nothing happens: whoever asks later finds the same
// log.
func (n *Node) activate(id Identity) {
	n.runtime.system.Root.Send(n.directory.director, newAsk[activation, *entry](activation{id}, time.Time{}))
}

// wakeInbox accepts the Welcomes that wait for a client of this node.
func (n *Node) wakeInbox(client ids.ClientID) {
	if conversation.HistoryClient(client) || !n.owns(ClientIdentity(client)) {
		return // whoever has a reader's secret looks for its Welcome himself
	}
	n.inboxes.mu.Lock()
	defer n.inboxes.mu.Unlock()
	if _, running := n.inboxes.running[client]; running {
		n.inboxes.running[client] = true
		return
	}
	n.inboxes.running[client] = false
	n.work.Go(func() { n.emptyInbox(client) })
}

// inboxes are the clients whose Welcomes are being accepted; true: look once more.
type inboxes struct {
	mu      sync.Mutex
	running map[ids.ClientID]bool
}

// emptyInbox accepts Welcomes until none waits. What failed is tried again while the node runs: nobody else would wake the inbox.
func (n *Node) emptyInbox(client ids.ClientID) {
	for failures := 0; ; {
		ctx, cancel := context.WithTimeout(context.Background(), n.limits.Recover)
		err := n.acceptWelcomes(ctx, client)
		cancel()
		if err != nil && !errors.Is(err, ErrDraining) && !errors.Is(err, ErrNotHere) {
			n.logger.Warn("inbox not emptied", "client", client.String(), "err", err)
			if _, corrupt := errors.AsType[*CorruptError](err); !corrupt && n.rest(delivery.PauseAfter(failures)) {
				failures++
				continue
			}
		}
		failures = 0
		n.inboxes.mu.Lock()
		again := n.inboxes.running[client]
		if !again {
			delete(n.inboxes.running, client)
			n.inboxes.mu.Unlock()
			return
		}
		n.inboxes.running[client] = false
		n.inboxes.mu.Unlock()
	}
}

// rest waits, and reports false when the node ends meanwhile.
func (n *Node) rest(d time.Duration) bool {
	due := make(chan struct{})
	timer := n.clock.AfterFunc(d, func() { close(due) })
	select {
	case <-due:
		return true
	case <-n.ended:
		timer.Stop()
		return false
	}
}

const noticesAtOnce = 64

// acceptWelcomes joins what the client was added to. A notice goes once its join is durable, or can never be.
func (n *Node) acceptWelcomes(ctx context.Context, client ids.ClientID) error {
	state, err := request[look, conversation.ClientState](ctx, n, ClientIdentity(client), look{})
	if err != nil || len(state.Credentials) == 0 {
		return err // nobody has made this client here
	}
	for from := uint64(0); ; {
		notices, err := n.delivery.Notices(ctx, client, from, noticesAtOnce)
		if err != nil || len(notices) == 0 {
			return err
		}
		for _, notice := range notices {
			from = notice.Sequence + 1
			if err := n.acceptWelcome(ctx, client, notice); err != nil {
				return err
			}
			if err := n.delivery.Acknowledge(ctx, client, notice.Sequence); err != nil {
				return err
			}
		}
	}
}

func (n *Node) acceptWelcome(ctx context.Context, client ids.ClientID, notice delivery.Notice) error {
	entry, err := n.delivery.Entry(ctx, notice.Group, notice.Number)
	if errors.Is(err, delivery.Behind) || errors.Is(err, delivery.NotFound) {
		return nil // purged: whoever wants us adds us again
	}
	if err != nil {
		return err
	}
	_, reply, err := n.Join(ctx, JoinRequest{
		Client: client, Conversation: notice.Group, Welcome: entry.Welcome, Position: notice.Number, Encrypted: entry.EncryptedMessage,
		Config: n.joinConfig, Meta: n.ownMeta(),
	})
	if refused, ok := errors.AsType[*conversation.CommandError](err); ok && refused.Advice != conversation.Retry {
		n.logger.Warn("welcome not accepted", "client", client.String(), "group", notice.Group.String(), "err", err)
		return nil
	}
	if err == nil && !reply.Repeated && n.joined != nil {
		n.joined(client)
	}
	return err
}

// patrolsAtOnce is how many conversations are visited at the same time. The permits to replay bound it too.
const patrolsAtOnce = 16

// patrol visits every conversation that this node has come to own, some at a time: what time or a crash made due is found by
// activating it. It ends when all were visited.
func (n *Node) patrol(ctx context.Context) {
	logs, err := n.stores.Log.List(ctx, "")
	if err != nil {
		n.logger.Warn("index of conversations not read; traffic and callers wake them", "err", err)
		return
	}
	for _, id := range logs {
		switch {
		case id.Kind != events.KindMember:
		case id.Conversation == "":
			n.members.addClient(id.Client)
		default:
			n.members.add(id.Client, id.Conversation)
		}
	}
	if n.delivery != nil {
		for _, client := range n.Clients() {
			n.wakeInbox(client)
		}
	}
	var visits sync.WaitGroup
	permits := make(chan struct{}, patrolsAtOnce)
	for _, id := range n.members.all() {
		if ctx.Err() != nil {
			break
		}
		if n.owns(id) {
			permits <- struct{}{}
			visits.Go(func() {
				n.visit(ctx, id)
				<-permits
			})
		}
	}
	visits.Wait()
}

func (n *Node) visit(ctx context.Context, id Identity) {
	visit, cancel := context.WithTimeout(ctx, n.limits.Recover)
	defer cancel()
	_, err := request[look, conversation.State](visit, n, id, look{})
	if err != nil && ctx.Err() == nil && !errors.Is(err, ErrDraining) {
		n.logger.Warn("conversation not visited", "identity", id.String(), "err", err)
	}
}
