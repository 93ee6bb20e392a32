package parley

import (
	"context"

	"parley/delivery"
)

// KeyPackageNotice tells a client's owner that others will soon find no key package to add the client with. It stands in Client.Events, and
// comes again in every stream until it is acknowledged; then not before others were published. A client that publishes by itself hears of it
// only where the node cannot.
type KeyPackageNotice = delivery.StockNotice

// The kinds of KeyPackageNotice.
const (
	KeyPackagesLow    = delivery.StockLow          // no more than Options.KeyPackagesLow are left beside the one of last resort
	LastResortUsed    = delivery.LastResortUsed    // the one of last resort was given to somebody
	LastResortExpires = delivery.LastResortExpires // the one of last resort lasts less than a week
	KeyPackagesOut    = delivery.StockOut          // none is left at all
)

// stockNotices is what the client's owner is to know of its key packages and has not acknowledged.
func (c *Client) stockNotices(ctx context.Context) []KeyPackageNotice {
	if c.node.delivery == nil {
		return nil
	}
	notices, err := c.node.delivery.StockNotices(ctx, c.id, c.node.options.KeyPackagesLow)
	if err != nil {
		if ctx.Err() == nil {
			c.node.options.Logger.Warn("stock of key packages not known", "client", c.id.String(), "err", err)
		}
		return nil
	}
	return notices
}

// stockEvents are the notices that a stream has not had.
func (c *Client) stockEvents(ctx context.Context, told map[string]bool) (out []Event) {
	for _, notice := range c.stockNotices(ctx) {
		if told[notice.ID()] {
			continue
		}
		told[notice.ID()] = true
		out = append(out, Event{
			ID: notice.ID(), Time: c.node.options.Clock.Now(), KeyPackages: &notice,
			ack: func(ctx context.Context) error { return c.node.delivery.AcknowledgeStock(ctx, notice) },
		})
	}
	return out
}
