package parley_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sync/errgroup"

	"parley"
)

// TestSetDataPersists: what an application keeps is there after a restart, an abort leaves it as it was, and a bound holds.
func TestSetDataPersists(t *testing.T) {
	ctx := t.Context()
	o := parley.Options{Data: filepath.Join(t.TempDir(), "data")}
	node := openNode(t, o)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	kept := func(want string) {
		t.Helper()
		if data, err := ada.Data(ctx); err != nil || string(data) != want {
			t.Errorf("%q is kept, want %q, %v", data, want, err)
		}
	}
	kept("")
	ok(t, ada.SetData(ctx, []byte("one")))
	err = ada.Transact(ctx, func(tx *parley.Transaction) error {
		if err := tx.SetData(ctx, []byte("two")); err != nil {
			return err
		}
		if data, err := tx.Data(ctx); err != nil || string(data) != "two" {
			t.Errorf("the transaction sees %q, %v", data, err)
		}
		kept("one")
		return errNo
	})
	if !errors.Is(err, errNo) {
		t.Fatal(err)
	}
	kept("one")
	// As often as a transaction sets it, with what it has done: what is kept is the last.
	ok(t, ada.Transact(ctx, func(tx *parley.Transaction) error {
		for i := range 200 {
			if err := tx.SetData(ctx, fmt.Appendf(nil, "checkpoint %d", i)); err != nil {
				return err
			}
		}
		_, err := tx.Create(ctx, "tea")
		return err
	}))
	kept("checkpoint 199")
	refusedAs(t, ada.SetData(ctx, make([]byte, parley.DataMax+1)), parley.MessageTooLarge, parley.GiveUp)
	ok(t, ada.SetData(ctx, bytes.Repeat([]byte{7}, parley.DataMax)))
	closeNode(t, node)

	node = openNode(t, o)
	defer closeNode(t, node)
	ada, err = node.Client(ctx, "ada")
	ok(t, err)
	kept(string(bytes.Repeat([]byte{7}, parley.DataMax)))
	again := parley.WithCommandID(ctx, "set")
	ok(t, ada.SetData(again, []byte("once")))
	ok(t, ada.SetData(ctx, nil))
	ok(t, ada.SetData(again, []byte("once"))) // asked again: it has happened before the other one
	kept("")
}

// TestTransactionsThatSetDataAreSerial: each reads and writes the data; none is lost.
func TestTransactionsThatSetDataAreSerial(t *testing.T) {
	const writers, each = 4, 5
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	node := openNode(t, parley.Options{})
	defer closeNode(t, node)
	ada, err := node.Client(ctx, "ada")
	ok(t, err)
	var all errgroup.Group
	for w := range writers {
		all.Go(func() error {
			for i := range each {
				err := node.Insist(ctx, func(attempt context.Context) error {
					return ada.Transact(attempt, func(tx *parley.Transaction) error {
						data, err := tx.Data(ctx)
						if err != nil {
							return err
						}
						if err := tx.SetData(ctx, append(data, 'x')); err != nil {
							return err
						}
						_, err = tx.Create(ctx, parley.ConversationID(fmt.Sprintf("tea %d %d", w, i)))
						return err
					})
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	ok(t, all.Wait())
	data, err := ada.Data(ctx)
	ok(t, err)
	status, err := ada.Status(ctx)
	ok(t, err)
	if len(data) != writers*each || status.Conversations != writers*each {
		t.Errorf("%d writes, %d conversations", len(data), status.Conversations)
	}
}
