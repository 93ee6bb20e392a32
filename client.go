package parley

import (
	"context"
	"crypto/sha256"

	"parley/actors"
	"parley/conversation"
	"parley/delivery"
	"parley/internal/secret"
)

// Client is one identity of a node.
type Client struct {
	node *Node
	id   ClientID
}

// Client takes a client of this node. A new one gets a basic credential under its id, and publishes key packages so that others can
// add it.
func (n *Node) Client(ctx context.Context, id ClientID) (*Client, error) {
	c := &Client{node: n, id: id}
	n.mu.Lock()
	known := n.clients[id]
	n.mu.Unlock()
	if known {
		return c, nil
	}
	// What a client still lacks is looked up first, so that it is safe to ask again; a command id stands for one command alone.
	if err := c.prepare(WithCommandID(ctx, "")); err != nil {
		return nil, wrap("client", err)
	}
	n.mu.Lock()
	n.clients[id] = true
	n.mu.Unlock()
	return c, nil
}

// Bare takes a client as it is: without credentials, unless it has some.
func (n *Node) Bare(id ClientID) *Client { return &Client{node: n, id: id} }

// ID is the client's id.
func (c *Client) ID() ClientID { return c.id }

// ClientStatus is a client as it is committed.
type ClientStatus struct {
	// Lost is empty, ClientRolledBack or ClientSecretsLost: the client's own log came back shorter than it was, or its keys are gone. Nothing
	// can be done with the client any more but what its conversations can do by themselves; a new client has to be added to them.
	Lost          Code
	Credentials   int
	KeyPackages   int // whose private keys are here
	Conversations int
	Version       uint64 // of the log
}

// Status reads the client's committed state.
func (c *Client) Status(ctx context.Context) (ClientStatus, error) {
	s, err := c.node.actors.ClientState(ctx, c.id)
	return ClientStatus{
		Lost: s.Lost, Credentials: len(s.Credentials), KeyPackages: len(s.KeyPackages), Conversations: len(s.Conversations), Version: s.Version,
	}, wrap("status", err)
}

// prepare gives the client what it needs to be added to conversations.
func (c *Client) prepare(ctx context.Context) error {
	state, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil {
		return err
	}
	if loss := state.Loss(); loss != nil {
		return loss
	}
	suite := c.node.options.Config.CipherSuite
	if _, _, ok := state.Identity("", suite); !ok {
		if _, err := c.AddCredential(ctx, suite); err != nil {
			return err
		}
	}
	if c.node.delivery == nil {
		return nil
	}
	if err := c.register(ctx); err != nil {
		return err
	}
	if !c.node.options.ManualKeyPackages {
		if err := c.keepKeyPackages(ctx); err != nil {
			return err
		}
	}
	c.node.actors.Greet(c.id)
	return nil
}

// register makes the client's signature keys known, so that its credentials are accepted.
func (c *Client) register(ctx context.Context) error {
	registry := c.node.delivery.Registry()
	if registry == nil {
		return nil
	}
	state, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil {
		return err
	}
	for _, credential := range state.Credentials {
		id := delivery.Identity{
			Client: c.id, CredentialType: uint16(credential.Credential.Type()), SignatureKey: credential.SignatureKey,
		}
		if err := registry.Register(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// KeyPackageImport is a key package made elsewhere, with its private keys as raw bytes.
type KeyPackageImport struct {
	KeyPackage                     []byte // bare or MLSMessage
	InitKey, LeafKey, SignatureKey []byte
}

// ImportKeyPackage takes a key package made elsewhere, and its credential where that is new. It takes over the byte slices.
func (c *Client) ImportKeyPackage(ctx context.Context, kp KeyPackageImport) error {
	_, err := c.node.actors.Client(ctx, c.id, conversation.ImportKeyPackage{
		CommandMeta: c.meta(ctx, "import_key_package", kp.KeyPackage), KeyPackage: kp.KeyPackage,
		InitKey: secret.New(kp.InitKey), LeafKey: secret.New(kp.LeafKey), SignatureKey: secret.New(kp.SignatureKey),
	})
	if err == nil && c.node.delivery != nil {
		err = c.register(ctx)
	}
	return wrap("import key package", err)
}

// AddPSK makes an external pre-shared key known. It takes over the key.
func (c *Client) AddPSK(ctx context.Context, id, key []byte) error {
	sum := sha256.Sum256(key)
	_, err := c.node.actors.Client(ctx, c.id, conversation.AddPSK{
		CommandMeta: c.meta(ctx, "add_psk", id, sum[:]), ID: id, Key: secret.New(key),
	})
	return wrap("add psk", err)
}

// RemovePSK forgets an external pre-shared key.
func (c *Client) RemovePSK(ctx context.Context, id []byte) error {
	_, err := c.node.actors.Client(ctx, c.id, conversation.RemovePSK{CommandMeta: c.meta(ctx, "remove_psk", id), ID: id})
	return wrap("remove psk", err)
}

// Create makes a conversation whose only member is the client. Without a configuration it gets the node's.
func (c *Client) Create(ctx context.Context, id ConversationID, config ...Config) (*Conversation, error) {
	if _, err := c.node.actors.Create(ctx, c.id, id, c.creation(ctx, id, config)); err != nil {
		return nil, c.Conversation(id).wrap("create", err)
	}
	return c.Conversation(id), nil
}

func (c *Client) creation(ctx context.Context, id ConversationID, config []Config) conversation.Create {
	in := conversation.Create{CommandMeta: c.meta(ctx, "create", []byte(id)), Config: c.node.options.Config}
	if len(config) > 0 {
		in.Config = config[0]
	}
	return in
}

// Invitation is a Welcome that was brought by other means than the node's delivery service.
type Invitation struct {
	Welcome  []byte // MLSMessage
	Tree     []byte // ratchet_tree encoding, where the Welcome does not carry it
	Position uint64 // of the commit in the group's order, where there is one
	Config   *Config
}

// Join enters a group by a Welcome. What was published for others to add us with is used up by it.
func (c *Client) Join(ctx context.Context, in Invitation) (*Conversation, error) {
	id, _, err := c.node.actors.Join(ctx, c.joinRequest(ctx, in))
	if err != nil {
		return nil, c.Conversation(id).wrap("join", err)
	}
	return c.Conversation(id), nil
}

func (c *Client) joinRequest(ctx context.Context, in Invitation) actors.JoinRequest {
	r := actors.JoinRequest{
		Client: c.id, Welcome: in.Welcome, Tree: in.Tree, Position: in.Position, Config: c.node.options.Config, Meta: c.meta(ctx, "join", in.Welcome),
	}
	if in.Config != nil {
		r.Config = *in.Config
	}
	return r
}

// Access is what somebody who is no member of a group may do with it.
type Access = delivery.Access

// The accesses.
const (
	NoAccess    = delivery.NoAccess    // nothing
	ReadsInfo   = delivery.ReadsInfo   // read the newest GroupInfo
	AsksToJoin  = delivery.AsksToJoin  // also propose that it be added: until somebody commits, nobody can speak
	JoinsByInfo = delivery.JoinsByInfo // also join by a commit of its own
)

// ExternalJoin says how to join a group, or to come back to it, without being added.
type ExternalJoin struct {
	GroupInfo []byte // bare or MLSMessage, with the ratchet tree; empty: the newest one that the node's delivery service has
	Config    *Config
}

// JoinExternally joins a group by a commit of the client's own (RFC 9420, 12.4.3.2). A member whose conversation here has fallen behind,
// lost its secrets or was wiped comes back by it, in place of its old leaf.
func (c *Client) JoinExternally(ctx context.Context, id ConversationID, in ExternalJoin) (*Conversation, error) {
	reply, err := c.node.actors.JoinExternally(ctx, c.externalJoin(ctx, id, in))
	if err != nil {
		return nil, c.Conversation(id).wrap("join externally", err)
	}
	c.node.release(ctx, reply)
	return c.Conversation(id), nil
}

func (c *Client) externalJoin(ctx context.Context, id ConversationID, in ExternalJoin) actors.ExternalJoin {
	r := actors.ExternalJoin{
		Client: c.id, Conversation: id, GroupInfo: in.GroupInfo, Config: c.node.options.Config, Meta: c.meta(ctx, "join externally", []byte(id), in.GroupInfo),
	}
	if in.Config != nil {
		r.Config = *in.Config
	}
	return r
}

// Conversation takes one of the client's conversations. Whether it exists shows when it is used.
func (c *Client) Conversation(id ConversationID) *Conversation {
	return &Conversation{client: c, id: id}
}

// Conversations lists the client's conversations, the ended ones included.
func (c *Client) Conversations(ctx context.Context) ([]*Conversation, error) {
	all, err := c.node.actors.Conversations(ctx, c.id)
	if err != nil {
		return nil, wrap("conversations", err)
	}
	out := make([]*Conversation, len(all))
	for i, id := range all {
		out[i] = c.Conversation(id)
	}
	return out, nil
}
