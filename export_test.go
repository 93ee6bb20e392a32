package parley

import (
	"context"
	"errors"

	"parley/delivery"
)

// OrderOf is what a group's order holds, from the oldest entry on that is left.
func OrderOf(ctx context.Context, n *Node, id ConversationID) (all []delivery.Entry, err error) {
	for next := uint64(1); ; {
		found, err := n.delivery.Follow(ctx, id, next, 256)
		if behind, ok := errors.AsType[*delivery.Error](err); ok && behind.Code == delivery.Behind && behind.First > next {
			next = behind.First
			continue
		}
		if err != nil || len(found) == 0 {
			return all, err
		}
		all, next = append(all, found...), found[len(found)-1].Number+1
	}
}
