package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"parley"
)

func TestEchoAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node, err := parley.Open(ctx, parley.Options{Data: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close(context.WithoutCancel(ctx))
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- echo(running, node, "echo") }()
	defer func() {
		stop()
		<-done
	}()
	ada, err := node.Client(ctx, "ada")
	if err != nil {
		t.Fatal(err)
	}
	conv, err := ada.Create(ctx, "tea")
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Insist(ctx, func(ctx context.Context) error { return conv.Add(ctx, "echo") }); err != nil {
		t.Fatal(err)
	}
	if _, err := conv.Send(ctx, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for event, err := range ada.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if m := event.Message; m != nil {
			if m.Sender != "echo" || string(m.Text) != "hello" {
				t.Fatalf("%s answered %q", m.Sender, m.Text)
			}
			return
		}
	}
}
