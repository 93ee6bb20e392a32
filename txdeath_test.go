package parley_test

import (
	"context"
	"fmt"
	"testing"

	"parley"
)

// TestTransactionOfADeadNode lets the node die at every step of a transaction that creates a conversation, joins another one by a Welcome
// and marks a third as a child of the first. On another node all of it has happened or nothing, and run again it has happened once.
func TestTransactionOfADeadNode(t *testing.T) {
	for _, step := range []parley.Step{"actors.tx-collect", "events.append-batch", "actors.tx-decide", "actors.tx-spread"} {
		for _, before := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s before=%v", step, before), func(t *testing.T) {
				t.Parallel()
				dieInTransaction(t, &dying{at: step, before: before, died: make(chan struct{})})
			})
		}
	}
}

// homeOf is the share of a client, and all the others.
func homeOf(client string) (home uint32, others []uint32) {
	home = parley.ShareOf("client/"+client, 16)
	for _, s := range parley.Shares(16) {
		if s != home {
			others = append(others, s)
		}
	}
	return home, others
}

func dieInTransaction(t *testing.T, fate *dying) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	d, service := deploy(t), &carrier{}
	foreign := parley.DefaultConfig()
	foreign.Transport = parley.ForeignTransport
	home, theirs := homeOf("ada")
	a := d.node(t, parley.Options{Name: "first", Shares: []uint32{home}, ShareCount: 16, Foreign: service, Hooks: fate.hooks()})
	defer a.Close(ctx)
	b := d.node(t, parley.Options{Name: "second", Shares: theirs, ShareCount: 16, Foreign: service})
	defer closeNode(t, b)
	ada, err := a.Client(ctx, "ada")
	ok(t, err)
	bob, err := b.Client(ctx, "bob")
	ok(t, err)
	_, err = ada.Create(ctx, "room")
	ok(t, err)
	tea, err := bob.Create(ctx, "tea", foreign)
	ok(t, err)
	packages, err := ada.GenerateKeyPackages(ctx, 1)
	ok(t, err)
	ok(t, tea.AddKeyPackages(ctx, packages...))
	welcome := service.last().Welcome
	story := func(client *parley.Client) error {
		return client.Transact(ctx, func(tx *parley.Transaction) error {
			if _, err := tx.Create(parley.WithCommandID(ctx, "create"), "house"); err != nil {
				return err
			}
			invitation := parley.Invitation{Welcome: welcome, Config: &foreign}
			if _, err := tx.Join(parley.WithCommandID(ctx, "join"), invitation); err != nil {
				return err
			}
			return tx.Conversation("room").MarkAsChildOf(parley.WithCommandID(ctx, "mark"), "house")
		})
	}
	fate.armed.Store(true)
	if err := story(ada); err == nil {
		t.Error("a dead node said that all was well")
	}
	<-fate.died
	b.TakeShares(home)
	there, err := b.Client(ctx, "ada")
	ok(t, err)
	room, err := there.Conversation("room").Status(ctx)
	ok(t, err)
	var happened []bool
	for _, id := range []parley.ConversationID{"house", "tea"} {
		exists, err := there.Conversation(id).Exists(ctx)
		ok(t, err)
		happened = append(happened, exists)
	}
	stored := fate.at == "actors.tx-spread" || fate.at != "actors.tx-collect" && !fate.before
	if happened = append(happened, room.Parent == "house"); fmt.Sprint(happened) != fmt.Sprint([]bool{stored, stored, stored}) {
		t.Fatalf("created, joined, marked: %v; the batch was appended: %v", happened, stored)
	}
	if stored {
		return
	}
	ok(t, b.Insist(ctx, func(context.Context) error { return story(there) }))
	agree(t, tea, there.Conversation("tea"))
	status, err := there.Status(ctx)
	ok(t, err)
	if status.Conversations != 3 {
		t.Errorf("%d conversations are listed", status.Conversations)
	}
}
