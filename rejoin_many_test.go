package parley_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

// crowd is ada at home, who keeps groups going, and others whose node is gone while the orders of those groups are purged past them.
type crowd struct {
	deployment
	clock  *warpedClock
	home   *parley.Node
	theirs []uint32 // shares of the node that is gone
	groups []parley.ConversationID
	others []parley.ClientID
}

// namesOf are names of which the shares are some that are wanted, so many of them.
func namesOf[ID ~string](n int, prefix, kind string, wanted func(uint32) bool) (out []ID) {
	for i := 0; len(out) < n; i++ {
		if name := fmt.Sprint(prefix, i); wanted(parley.ShareOf(kind+name, awayShares)) {
			out = append(out, ID(name))
		}
	}
	return out
}

// sendAway has so many others join so many groups of ada's and leave, for so long that what they have not heard is gone.
func sendAway(t *testing.T, others, groups int) *crowd {
	t.Helper()
	ctx := t.Context()
	c := &crowd{deployment: deploy(t), clock: &warpedClock{Clock: parley.SystemClock()}}
	hers := parley.ShareOf("client/ada", awayShares)
	c.theirs = slices.DeleteFunc(parley.Shares(awayShares), func(s uint32) bool { return s%2 == hers%2 })
	away := func(s uint32) bool { return slices.Contains(c.theirs, s) }
	c.others = namesOf[parley.ClientID](others, "bob-", "client/", away)
	c.groups = namesOf[parley.ConversationID](groups, "tea-", "group/", func(s uint32) bool { return !away(s) })
	c.home = c.node(t, c.options("home", slices.DeleteFunc(parley.Shares(awayShares), away)))
	t.Cleanup(func() { closeNode(t, c.home) })
	node := c.node(t, c.options("theirs", c.theirs))
	for _, other := range c.others {
		_, err := node.Client(ctx, other)
		ok(t, err)
		ok(t, node.Bare(other).PublishKeyPackages(ctx, groups))
	}
	ada, err := c.home.Client(ctx, "ada")
	ok(t, err)
	for _, group := range c.groups {
		conv, err := ada.Create(ctx, group)
		ok(t, err)
		once := parley.WithCommandID(ctx, parley.CommandID("add to "+group))
		ok(t, c.home.Insist(once, func(ctx context.Context) error { return conv.Add(ctx, c.others...) }))
		for _, other := range c.others {
			awaitExists(ctx, t, node.Bare(other).Conversation(group))
		}
	}
	closeNode(t, node)
	outlast(t, c.url, c.clock, func() {
		for _, group := range c.groups {
			ok(t, c.home.Insist(ctx, ada.Conversation(group).UpdateKeys))
		}
	})
	return c
}

func (c *crowd) options(name string, shares []uint32) parley.Options {
	return parley.Options{
		Name: name, Shares: shares, ShareCount: awayShares, Clock: c.clock, Retention: 2 * time.Hour,
		Limits: parley.Limits{Idle: 100 * time.Millisecond, Sweep: 50 * time.Millisecond, RejoinSpread: 300 * time.Millisecond},
	}
}

// comeBack has everybody return, and looks how: each by one commit, at most so many attempts, one epoch after the other.
func (c *crowd) comeBack(t *testing.T, attempts uint32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	before := map[parley.ConversationID]uint64{}
	for _, group := range c.groups {
		status, err := c.home.Bare("ada").Conversation(group).Status(ctx)
		ok(t, err)
		before[group] = status.Epoch
	}
	o := c.options("theirs again", c.theirs)
	o.Rejoin = parley.RejoinAlways
	node := c.node(t, o)
	defer closeNode(t, node)
	for _, other := range c.others {
		back, tried := map[parley.ConversationID]bool{}, map[parley.ConversationID]uint32{}
		for e, err := range node.Bare(other).Events(ctx) {
			ok(t, err)
			if m := e.Membership; m != nil && m.Kind == conversation.MembershipRejoining {
				tried[e.Conversation.ID()] = max(m.Attempt, tried[e.Conversation.ID()])
			} else if m != nil && m.Kind == conversation.MembershipJoined && m.Missed != nil {
				back[e.Conversation.ID()] = true
			}
			ok(t, e.Ack(ctx))
			if len(back) == len(c.groups) {
				break
			}
		}
		for group, times := range tried {
			if times > attempts {
				t.Errorf("%s has planned to come back to %s %d times", other, group, times)
			}
		}
	}
	for _, group := range c.groups {
		all := []*parley.Conversation{c.home.Bare("ada").Conversation(group)}
		for _, other := range c.others {
			all = append(all, node.Bare(other).Conversation(group))
		}
		agree(t, all...)
		c.eachOnce(ctx, t, group, before[group])
		for i, conv := range all {
			_, err := conv.Send(ctx, fmt.Append(nil, "word ", i))
			ok(t, err)
		}
	}
}

// eachOnce reads a group's order: behind an epoch stands one commit of everybody who was away, each in an epoch of its own.
func (c *crowd) eachOnce(ctx context.Context, t *testing.T, group parley.ConversationID, before uint64) {
	t.Helper()
	order, err := parley.OrderOf(ctx, c.home, group)
	ok(t, err)
	var came []parley.ClientID
	for _, e := range order {
		if e.Kind != delivery.KindCommit || e.Epoch < before {
			continue
		}
		if e.Epoch != before+uint64(len(came)) {
			t.Errorf("%s: the commit of %s is of epoch %d, behind %d others", group, e.Sender, e.Epoch, len(came))
		}
		came = append(came, e.Sender)
	}
	want := slices.Clone(c.others)
	slices.Sort(came)
	slices.Sort(want)
	if !slices.Equal(came, want) {
		t.Errorf("%s: %v have come back by a commit, want %v", group, came, want)
	}
}

// TestAWholeGroupComesBackAtOnce: twelve members of one group find at the same time that they are behind. Each comes back, by one commit in an
// epoch of its own, with few attempts, and nobody is in the others' way for good.
func TestAWholeGroupComesBackAtOnce(t *testing.T) {
	t.Parallel()
	sendAway(t, 12, 1).comeBack(t, 6)
}

// TestAClientComesBackToAllItsGroups: a client finds that it is behind in twenty groups. It comes back to each, at the first attempt that follows
// its plan.
func TestAClientComesBackToAllItsGroups(t *testing.T) {
	t.Parallel()
	sendAway(t, 1, 20).comeBack(t, 2)
}
