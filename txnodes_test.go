package parley_test

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"parley"
)

// TestTransactionsOfTwoNodesThatBothBelieve lets two nodes serve the same client, each with transactions that meet in one conversation and in
// the client's own log. One of them loses every race; whatever was acknowledged has happened once, whole.
func TestTransactionsOfTwoNodesThatBothBelieve(t *testing.T) {
	const each = 8
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	d := deploy(t)
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	var nodes []*parley.Node
	for i := range 2 {
		node := d.node(t, parley.Options{Name: fmt.Sprint("node ", i), Isolated: true, Config: config})
		defer closeNode(t, node)
		nodes = append(nodes, node)
	}
	ada, err := nodes[0].Client(ctx, "ada")
	ok(t, err)
	_, err = ada.Create(ctx, "tea")
	ok(t, err)
	var all errgroup.Group
	for n, node := range nodes {
		all.Go(func() error {
			client := node.Bare("ada")
			for i := range each {
				name := fmt.Sprintf("room %d of %d", i, n)
				named := func(deed string) context.Context { return parley.WithCommandID(ctx, parley.CommandID(name+deed)) }
				err := node.Insist(ctx, func(attempt context.Context) error {
					return client.Transact(attempt, func(tx *parley.Transaction) error {
						if _, err := tx.Conversation("tea").ProposeUpdate(named(" proposes")); err != nil {
							return err
						}
						_, err := tx.Create(named(" is created"), parley.ConversationID(name))
						return err
					})
				})
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		})
	}
	ok(t, all.Wait())
	for _, node := range nodes {
		tea := node.Bare("ada").Conversation("tea")
		ok(t, node.Insist(ctx, func(ctx context.Context) error {
			_, err := tea.ExportSecret(ctx, "", nil, 16) // stores something: a node that is behind learns it
			return err
		}))
		ok(t, node.Insist(ctx, func(ctx context.Context) error { return node.Bare("ada").SetData(ctx, []byte("x")) }))
		if n := pending(t, tea); n != 2*each {
			t.Errorf("%d proposals of %d", n, 2*each)
		}
		listed, err := node.Bare("ada").Status(ctx)
		ok(t, err)
		if listed.Conversations != 2*each+1 {
			t.Errorf("%d conversations of %d", listed.Conversations, 2*each+1)
		}
		for n := range nodes {
			for i := range each {
				exists, err := node.Bare("ada").Conversation(parley.ConversationID(fmt.Sprintf("room %d of %d", i, n))).Exists(ctx)
				if err != nil || !exists {
					t.Errorf("room %d of %d: %v, %v", i, n, exists, err)
				}
			}
		}
	}
}
