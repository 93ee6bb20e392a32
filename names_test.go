package parley_test

import (
	"context"
	"fmt"
	"testing"

	"parley"
)

// TestNodesOfOneNameHearTheirOwn: two nodes were both left with the default name, each with a part of the shares. Each hears at once of what its
// own clients are sent, a Welcome included.
func TestNodesOfOneNameHearTheirOwn(t *testing.T) {
	t.Parallel()
	const shares = 16
	d := deploy(t)
	his := []uint32{parley.ShareOf("client/bob", shares)}
	var hers []uint32
	for _, s := range parley.Shares(shares) {
		if s != his[0] {
			hers = append(hers, s)
		}
	}
	one := d.node(t, parley.Options{ShareCount: shares, Shares: hers})
	defer closeNode(t, one)
	other := d.node(t, parley.Options{ShareCount: shares, Shares: his})
	defer closeNode(t, other)
	ada, err := one.Client(t.Context(), "ada")
	ok(t, err)
	bob := takeBot(t, other, "bob")
	for i := range 6 {
		room, err := ada.Create(t.Context(), parley.ConversationID(fmt.Sprint("room ", i)))
		ok(t, err)
		ok(t, one.Insist(t.Context(), func(ctx context.Context) error { return room.Add(ctx, "bob") }))
		bob.await(t, "the welcome", inEpoch(1))
		said := fmt.Sprint("hello in ", i)
		_, err = room.Send(t.Context(), []byte(said))
		ok(t, err)
		ok(t, bob.await(t, said, text(said)).Ack(t.Context()))
	}
}
