package parley

import (
	"context"

	"parley/delivery"
)

// OrderOf is what a group's order holds, from its first entry on.
func OrderOf(ctx context.Context, n *Node, id ConversationID) ([]delivery.Entry, error) {
	var all []delivery.Entry
	for {
		found, err := n.delivery.Follow(ctx, id, uint64(len(all))+1, 256)
		if err != nil || len(found) == 0 {
			return all, err
		}
		all = append(all, found...)
	}
}
