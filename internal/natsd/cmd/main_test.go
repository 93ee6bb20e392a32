package main

import (
	"os"
	"strings"
	"testing"
)

// TestMakeStartsTheServer holds the Makefile's recipe against the flags there are.
func TestMakeStartsTheServer(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, recipe, found := strings.Cut(string(makefile), "run ./internal/natsd/cmd ")
	if !found {
		t.Fatal("the Makefile starts no server")
	}
	recipe, _, _ = strings.Cut(recipe, "\n")
	recipe = strings.NewReplacer("$(NATS_DIR)", "dir", "$(NATS_PORT)", "4333").Replace(recipe)
	o, err := options(strings.Fields(recipe))
	if err != nil || o.Dir != "dir" || o.Listen != "127.0.0.1:4333" {
		t.Errorf("%q means %+v, %v", recipe, o, err)
	}
}
