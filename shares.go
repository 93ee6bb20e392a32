package parley

import (
	"fmt"
	"slices"

	"parley/actors"
	"parley/internal/ids"
)

// Shares lists the shares this node serves.
func (n *Node) Shares() (owned []uint32) {
	for share := range n.placement.Count() {
		if n.placement.Owns(actors.Share(share)) {
			owned = append(owned, share)
		}
	}
	return owned
}

// TakeShares makes this node serve shares whose node has died or released them. No data moves: the log is where it was.
func (n *Node) TakeShares(shares ...uint32) { n.placement.Take(asShares(shares)...) }

// ReleaseShares stops serving shares; their conversations save what they must and leave.
func (n *Node) ReleaseShares(shares ...uint32) { n.placement.Release(asShares(shares)...) }

func asShares(shares []uint32) []actors.Share {
	out := make([]actors.Share, len(shares))
	for i, s := range shares {
		out[i] = actors.Share(s)
	}
	return out
}

// Shares lists all shares of a deployment of so many.
func Shares(count uint32) []uint32 {
	out := make([]uint32, count)
	for i := range out {
		out[i] = uint32(i)
	}
	return out
}

// ShareOf is the share of an identity: "client/" and the id of a client, or "group/" and the id of a group's order.
func ShareOf(identity string, count uint32) uint32 {
	return uint32(actors.NewStatic(count).ShareOf(identity))
}

// watcherName is under which a node hears what has grown: its name, and where it serves a part of the shares, which part. Nodes that share a
// name, such as the default, do not take each other's wakes that way; one that is started again goes on where it was.
func watcherName(o Options) string {
	if len(o.Shares) == 0 {
		return o.Name
	}
	shares := slices.Sorted(slices.Values(o.Shares))
	return fmt.Sprintf("%s/%s", o.Name, ids.DigestOf(fmt.Append(nil, o.ShareCount, shares)).Short())
}
