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
	if err := echo(ctx, node, "echo"); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func echo(ctx context.Context, node *parley.Node, id parley.ClientID) error {
	bot, err := node.Client(ctx, id)
	if err != nil {
		return err
	}
	for event, err := range bot.Events(ctx) {
		if err != nil {
			return err
		}
		if event.Message != nil {
			// The event's id names the answer: an event that comes again after a crash is not answered twice.
			err = node.Insist(parley.WithCommandID(ctx, parley.CommandID(event.ID)), func(ctx context.Context) error {
				_, err := event.Conversation.Send(ctx, event.Message.Text)
				return err
			})
			if err != nil {
				log.Printf("%s: %v", event.ID, err)
			}
		}
		if err := event.Ack(ctx); err != nil {
			return err
		}
	}
	return nil
}
