package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"parley/internal/interop/scripts"
)

func TestServesUntilItIsToldToStop(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, []string{"--listen", "127.0.0.1:0"}, in) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "mls-interop ready: ")
	if !ok {
		t.Fatalf("the first line is %q", line)
	}
	client, err := scripts.Dial(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	if client.Name != "Parley" || len(client.Suites) != 7 {
		t.Errorf("%s offers suites %v", client.Name, client.Suites)
	}
	var played strings.Builder
	if err := run(ctx, []string{"run", "--clients", address + "," + address, "--scripts", "1", "--steps", "2", "--suite", "1"}, &played); err != nil {
		t.Errorf("run: %v", err)
	}
	if !strings.HasPrefix(played.String(), "seed 1: suite 1") {
		t.Errorf("run printed %q", played.String())
	}
	_ = client.Close()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for _, args := range [][]string{
		{"--listen", "nowhere"}, {"--states", "0"}, {"serve"}, {"--no-such-flag"},
		{"run", "--without", "luck"}, {"run", "--suite", "9"}, {"run", "--scripts", "0"}, {"run", "more"},
	} {
		if err := run(context.Background(), args, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	var help strings.Builder
	if err := run(context.Background(), []string{"--help"}, &help); err != nil || help.String() != usage {
		t.Errorf("--help: %v, %q", err, help.String())
	}
}
