package main

import (
	"context"
	"os"
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"parley"
)

// found DIR or URL: a conversation "tea" of ada, bob and eve that lists the delivery service, made by a node that ends; cara's key package is left
// in cara.kp.
func found(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: found DIR-OR-URL KEYS")
	}
	o := parley.Options{KeyDir: ts.MkAbs(args[1]), Data: ts.MkAbs(args[0])}
	if args[0] == ts.Getenv("URL") {
		o.Data, o.URL = "", args[0]
	}
	ctx := context.Background()
	node, err := parley.Open(ctx, o)
	ts.Check(err)
	defer func() { ts.Check(node.Close(ctx)) }()
	clients := map[string]*parley.Client{}
	for _, name := range []string{"ada", "bob", "eve", "cara"} {
		clients[name], err = node.Client(ctx, parley.ClientID(name))
		ts.Check(err)
	}
	config, err := node.WithServiceSender(ctx, parley.DefaultConfig())
	ts.Check(err)
	tea, err := clients["ada"].Create(ctx, "tea", config)
	ts.Check(err)
	ts.Check(tea.Add(ctx, "bob", "eve"))
	packages, err := clients["cara"].GenerateKeyPackages(ctx, 1)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("cara.kp"), packages[0], 0o644))
}

// until PATTERN PROGRAM ARG ... runs a program again and again until its output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN PROGRAM ARG ...")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-look.C {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("it never says %s", args[0])
		}
	}
}

// withdrawn PATTERN ARG ... takes back the wish whose line of node wishes ARG ... matches.
func withdrawn(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: withdrawn PATTERN ARG ...")
	}
	pattern, err := regexp.Compile(`(?m)^([0-9a-f]+)  .*` + args[0])
	ts.Check(err)
	ts.Check(ts.Exec("node", append([]string{"wishes"}, args[1:]...)...))
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("no such wish")
	}
	ts.Check(ts.Exec("node", append([]string{"withdraw", "--wish", found[1]}, args[1:]...)...))
}
