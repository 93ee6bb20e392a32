package parley

import (
	"context"
	"errors"

	"parley/actors"
	"parley/delivery"
	"parley/events/jetlog"
	"parley/mlsengine"
)

// errNoService is a node without a delivery service of its own.
var errNoService = errors.New("this node has no delivery service")

// WithServiceSender is a configuration whose groups list the deployment's delivery service among their external senders, beside those that are
// there: only in such groups can it propose anything (ServiceDesk). The service has one key for each cipher suite, made when it is first asked
// for and kept like every other secret.
func (n *Node) WithServiceSender(ctx context.Context, c Config) (Config, error) {
	return n.withServiceSender(ctx, c, delivery.NewestKey)
}

// RotateServiceSender is WithServiceSender with a new key: what is created from now on lists it. Groups that were there go on listing the older
// ones, which stay, and sign for the groups that list them.
func (n *Node) RotateServiceSender(ctx context.Context, c Config) (Config, error) {
	return n.withServiceSender(ctx, c, delivery.FreshKey)
}

func (n *Node) withServiceSender(ctx context.Context, c Config, age delivery.KeyAge) (Config, error) {
	if n.delivery == nil {
		return c, wrap("service sender", errNoService)
	}
	sender, err := n.delivery.Sender(ctx, c.CipherSuite, age)
	if err != nil {
		return c, wrap("service sender", err)
	}
	c.ExternalSenders = append(append([]mlsengine.ExternalSender(nil), c.ExternalSenders...), sender)
	return c, nil
}

// What the delivery service wants of groups.
type (
	// Want is something that the service is to propose; one kind of it is set.
	Want = delivery.Want
	// WishID names it within its group.
	WishID = delivery.WishID
	// StandingWish tells of one that is not done.
	StandingWish = delivery.StandingWish
)

// ParseWishID reads what WishID.String wrote.
func ParseWishID(text string) (WishID, error) { return delivery.ParseWishID(text) }

// ServiceDesk is where an operator has the delivery service propose something to groups that list it among their external senders (§12.1.8,
// WithServiceSender). What it wants stands until it is done: a commit that leaves the proposal out, or somebody who joins by a commit of his own,
// makes the proposal void, and the service makes it again for the next epoch, 64 times at most. The members commit it when their time comes. Every
// Node has a desk; OpenServiceDesk is for operators.
type ServiceDesk struct {
	service servant // nil: an isolated node's
	clock   Clock
	name    string                      // on whose behalf it asks, where the context does not say
	end     func(context.Context) error // nil for a node's
}

// servant reaches the sequencers.
type servant interface {
	Wish(context.Context, delivery.Wish) (uint64, error)
	Wishes(context.Context, delivery.GroupID, ClientID) ([]StandingWish, error)
}

// OpenServiceDesk opens a desk from outside of the nodes. With a URL it asks the deployment's nodes, and takes nothing of the options but the
// URL with its credentials, Namespace, ShareCount and Name. With Data, the directory of a node that does not run, it is that node until it is
// closed, and does nothing of its own accord meanwhile. Close it.
func OpenServiceDesk(ctx context.Context, o Options) (*ServiceDesk, error) {
	const op = "open service desk"
	o = o.withDefaults()
	if o.URL == "" {
		o.ManualCommits, o.ManualKeyPackages = true, true
		node, err := Open(ctx, o)
		if err != nil {
			return nil, wrap(op, err)
		}
		desk := *node.ServiceDesk
		desk.end = node.Close
		return &desk, nil
	}
	n := &Node{options: o}
	if err := n.connect(); err != nil {
		return nil, wrap(op, err)
	}
	if o.Namespace == "" {
		o.Namespace = jetlog.DefaultNamespace
	}
	placement := actors.NewStatic(o.ShareCount)
	desk := delivery.OpenDesk(delivery.Config{
		Conn: n.conn, Namespace: o.Namespace, Node: o.Name,
		ShareOf: func(g delivery.GroupID) uint32 { return uint32(placement.ShareOf(actors.GroupIdentity(g).Key())) },
	})
	return &ServiceDesk{service: desk, clock: o.Clock, name: o.Name, end: n.closeAll}, nil
}

// Close ends what OpenServiceDesk has opened; a node's desk ends with the node.
func (d *ServiceDesk) Close(ctx context.Context) error {
	if d.end == nil {
		return nil
	}
	return wrap("close", d.end(ctx))
}

// Propose has the delivery service propose something to a group: an operator's act, on any node. It returns the number of the proposal in the
// group's order; asked again while the wish stands it changes nothing. What the group would refuse is refused at once: delivery.Forbidden where
// the group does not list the service, delivery.NotMember, AlreadyMember, NothingToChange or Closed where nothing is left to be done, otherwise
// delivery.Invalid with the rule of RFC 9420 that is broken.
func (d *ServiceDesk) Propose(ctx context.Context, id ConversationID, w Want, reason string) (uint64, error) {
	return d.wish(ctx, "propose", delivery.Wish{Group: id, Want: w, Reason: reason})
}

// ProposeRemoval is Propose for a client that is to be removed.
func (d *ServiceDesk) ProposeRemoval(ctx context.Context, id ConversationID, client ClientID, reason string) (uint64, error) {
	return d.wish(ctx, "propose removal", delivery.Wish{Group: id, Want: Want{Remove: client}, Reason: reason})
}

// ProposeAddition is Propose for a client that is to come, with a key package of it (bare or MLSMessage).
func (d *ServiceDesk) ProposeAddition(ctx context.Context, id ConversationID, keyPackage []byte, reason string) (uint64, error) {
	return d.wish(ctx, "propose addition", delivery.Wish{Group: id, Want: Want{Add: keyPackage}, Reason: reason})
}

// WithdrawProposal ends a wish, whatever it is for (Want.ID, StandingWishes); one that does not stand is ended already. A proposal of it that is
// pending may still be committed in its epoch.
func (d *ServiceDesk) WithdrawProposal(ctx context.Context, id ConversationID, wish WishID) error {
	_, err := d.wish(ctx, "withdraw proposal", delivery.Wish{Group: id, Withdraw: wish})
	return err
}

// StandingWishes lists what the service wants of a group and is not done, oldest first.
func (d *ServiceDesk) StandingWishes(ctx context.Context, id ConversationID) ([]StandingWish, error) {
	const op = "standing wishes"
	if d.service == nil {
		return nil, wrap(op, errNoService)
	}
	list, err := d.service.Wishes(ctx, id, d.principal(ctx))
	return list, wrap(op, err)
}

func (d *ServiceDesk) principal(ctx context.Context) ClientID {
	if principal := settingsOf(ctx).principal; principal != "" {
		return ClientID(principal)
	}
	return ClientID(d.name)
}

func (d *ServiceDesk) wish(ctx context.Context, op string, w delivery.Wish) (uint64, error) {
	if d.service == nil {
		return 0, wrap(op, errNoService)
	}
	w.Origin = delivery.Origin{Client: d.principal(ctx), IssuedMs: uint64(d.clock.Now().UnixMilli())}
	position, err := d.service.Wish(ctx, w)
	if errors.Is(err, delivery.NotMember) {
		err = &Error{Op: op, Conversation: w.Group, Advice: GiveUp, Err: err} // it is not the operator who is no member
	}
	return position, wrap(op, err)
}
