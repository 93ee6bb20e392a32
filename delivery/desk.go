package delivery

import (
	"context"

	"parley/internal/ids"
)

// Desk is where an operator reaches the sequencers of a deployment from outside of its nodes. It serves no share, keeps nothing and holds no
// key; who may use it is who may use the connection.
type Desk struct {
	remote  *remote
	shareOf func(GroupID) uint32
	limits  Limits
}

// OpenDesk is a desk on a connection, which stays its caller's. Of the configuration it takes Conn, Namespace, Node, ShareOf and Limits.
func OpenDesk(c Config) *Desk {
	limits := c.Limits.withDefaults()
	return &Desk{
		remote: &remote{nc: c.Conn, namespace: c.Namespace, node: c.Node, timeout: limits.RemoteTimeout}, shareOf: c.ShareOf, limits: limits,
	}
}

// Wish is Service.Wish, asked of the node that holds the group's share.
func (d *Desk) Wish(ctx context.Context, w Wish) (uint64, error) {
	outcome, err := d.ask(ctx, &w)
	return outcome.Position, err
}

// Wishes is Service.Wishes.
func (d *Desk) Wishes(ctx context.Context, g GroupID, asker ids.ClientID) ([]StandingWish, error) {
	outcome, err := d.ask(ctx, &Lookup{Group: g, Origin: Origin{Client: asker}, Wishes: true})
	switch {
	case err != nil:
		return nil, err
	case outcome.Standing == nil:
		return nil, refuse(Unknown, "a lookup without an answer")
	}
	return outcome.Standing.Wishes, nil
}

func (d *Desk) ask(ctx context.Context, sub Submission) (outcome Outcome, err error) {
	if refused := checkShape(sub, &d.limits); refused != nil {
		return Outcome{}, refused
	}
	err = insist(ctx, func() error {
		outcomes, err := d.remote.submit(ctx, d.shareOf(sub.group()), sub.group(), []Submission{sub})
		if err != nil {
			return err
		}
		outcome = outcomes[0]
		return outcome.Err
	})
	return outcome, err
}
