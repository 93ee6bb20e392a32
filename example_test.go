package parley_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"parley"
)

// Two bots of one node: ada starts a conversation, adds echo to it and says something, echo answers.
func Example() {
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
	if err := teatime(ctx, node); err != nil {
		log.Print(err)
	}
	// Output:
	// echo joined tea in epoch 1
	// ada said "hello"
	// echo said "hello"
}

func teatime(ctx context.Context, node *parley.Node) error {
	ada, err := node.Client(ctx, "ada")
	if err != nil {
		return err
	}
	echo, err := node.Client(ctx, "echo")
	if err != nil {
		return err
	}
	tea, err := ada.Create(ctx, "tea")
	if err != nil {
		return err
	}
	if err := tea.Add(ctx, "echo"); err != nil {
		return err
	}
	if _, err := tea.Send(ctx, []byte("hello")); err != nil {
		return err
	}
	for event, err := range echo.Events(ctx) {
		if err != nil {
			return err
		}
		if event.Message == nil {
			fmt.Printf("echo joined %s in epoch %d\n", event.Conversation.ID(), event.Epoch)
			continue
		}
		fmt.Printf("%s said %q\n", event.Message.Sender, event.Message.Text)
		if err := event.Reply(ctx, event.Message.Text); err != nil {
			return err
		}
		if err := event.Ack(ctx); err != nil {
			return err
		}
		break
	}
	for event, err := range ada.Events(ctx) {
		if err != nil {
			return err
		}
		if event.Message != nil {
			fmt.Printf("%s said %q\n", event.Message.Sender, event.Message.Text)
			return event.Ack(ctx)
		}
	}
	return nil
}
