package parley_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"parley"
)

// What is said after history sharing was enabled can be read later by whoever gets the reader's secret, and by nobody who left before.
func ExampleNode_HistoryClient() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "parley-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	node, err := parley.Open(ctx, parley.Options{Data: dir + "/data"})
	if err != nil {
		log.Print(err)
		return
	}
	defer node.Close(ctx)
	if err := lookBack(ctx, node); err != nil {
		log.Print(err)
	}
	// Output:
	// ada said "for those who come later"
}

func lookBack(ctx context.Context, node *parley.Node) error {
	ada, err := node.Client(ctx, "ada")
	if err != nil {
		return err
	}
	tea, err := ada.Create(ctx, "tea")
	if err != nil {
		return err
	}
	if err := tea.EnableHistorySharing(ctx); err != nil {
		return err
	}
	if _, err := tea.Send(ctx, []byte("for those who come later")); err != nil {
		return err
	}
	for event, err := range ada.Events(ctx) {
		if err != nil {
			return err
		}
		if event.History == nil {
			continue
		}
		reader, err := node.HistoryClient(event.History.Secret)
		if err != nil {
			return err
		}
		for message, err := range reader.Messages(ctx) {
			if err != nil {
				return err
			}
			fmt.Printf("%s said %q\n", message.Sender, message.Text)
		}
		return event.Ack(ctx)
	}
	return nil
}
