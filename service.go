package parley

import (
	"context"
	"errors"

	"parley/delivery"
	"parley/mlsengine"
)

// errNoService is a node without a delivery service of its own.
var errNoService = errors.New("this node has no delivery service")

// WithServiceSender is a configuration whose groups list the deployment's delivery service among their external senders, beside those that are
// there: only in such groups can it propose anything (ProposeRemoval, ProposeAddition). The service has one key for each cipher suite, made
// when it is first asked for and kept like every other secret.
func (n *Node) WithServiceSender(ctx context.Context, c Config) (Config, error) {
	return n.withServiceSender(ctx, c, delivery.NewestKey)
}

// RotateServiceSender is WithServiceSender with a new key: what is created from now on lists it. Groups list their external senders for life, so
// the older keys stay, and sign for the groups that list them.
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

// ProposeRemoval has the delivery service propose that a client is removed from a group: an operator's act, on any node. The members commit
// it when their time comes. A commit that leaves it out makes the proposal void; the service makes it again for the next epoch, 64 times at
// most, until the client is gone or WithdrawProposal is called. It returns the proposal's number in the group's order; asked again while the
// wish stands it changes nothing.
func (n *Node) ProposeRemoval(ctx context.Context, id ConversationID, client ClientID, reason string) (uint64, error) {
	return n.wish(ctx, "propose removal", delivery.Wish{Group: id, Remove: client, Reason: reason})
}

// ProposeAddition is ProposeRemoval for a client that is to come, with a key package of it (bare or MLSMessage). Once she has come it fails with
// delivery.AlreadyMember, as ProposeRemoval does with delivery.NotMember once the client is gone.
func (n *Node) ProposeAddition(ctx context.Context, id ConversationID, keyPackage []byte, reason string) (uint64, error) {
	return n.wish(ctx, "propose addition", delivery.Wish{Group: id, Add: keyPackage, Reason: reason})
}

// WithdrawProposal ends the wish that a client is removed. A proposal of it that is pending may still be committed in its epoch.
func (n *Node) WithdrawProposal(ctx context.Context, id ConversationID, client ClientID) error {
	_, err := n.wish(ctx, "withdraw proposal", delivery.Wish{Group: id, Remove: client, Withdraw: true})
	return err
}

func (n *Node) wish(ctx context.Context, op string, w delivery.Wish) (uint64, error) {
	if n.delivery == nil {
		return 0, wrap(op, errNoService)
	}
	principal := settingsOf(ctx).principal
	if principal == "" {
		principal = n.options.Name
	}
	w.Origin = delivery.Origin{Client: ClientID(principal), IssuedMs: n.actors.Now()}
	position, err := n.delivery.Wish(ctx, w)
	return position, wrap(op, err)
}
