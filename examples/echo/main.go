// Command echo is a bot that answers every message with the same message. Whoever knows its id can add it to a conversation.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"

	"parley"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	node, err := parley.Open(ctx, parley.Options{Data: "data"})
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close(context.WithoutCancel(ctx))
	if err := echo(ctx, node, "echo"); ctx.Err() == nil {
		log.Print(err)
	}
}

// echo ends with an error when ctx or the node ends.
func echo(ctx context.Context, node *parley.Node, id parley.ClientID) error {
	bot, err := node.Client(ctx, id)
	if err != nil {
		return err
	}
	for event, err := range bot.Events(ctx) { // everything not yet acknowledged, then what comes
		if err != nil {
			return err
		}
		if event.Message != nil {
			err = event.Reply(ctx, event.Message.Text)
		}
		answer := event.Ack
		if err != nil {
			log.Printf("%s: %v", event.ID, err)
			answer = func(ctx context.Context) error { return event.Fail(ctx, err.Error()) } // it comes again, later each time, until it is put aside
		}
		if err := node.Insist(ctx, answer); err != nil {
			return err // the next stream begins with what was not answered
		}
	}
	return nil
}
