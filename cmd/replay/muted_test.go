package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"parley/conversation"
	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/audit/audittest"
)

// TestStateSaysThroughWhichEpochAConversationIsMuted has a conversation that was rolled back: its state tells through which epoch nothing
// is encrypted.
func TestStateSaysThroughWhichEpochAConversationIsMuted(t *testing.T) {
	drafts, err := audittest.Story(conversation.WirePlaintext)
	if err != nil {
		t.Fatal(err)
	}
	rolled := &eventsv1.LogRolledBack{AnchorVersion: 99, FoundVersion: 12, Epoch: 5, Reason: "the disk forgot"}
	drafts = append(drafts, audittest.Draft{Log: events.ConversationLog("ann", audittest.Group), Draft: events.Draft{
		TimeMS: 1769861000000, Cause: events.Cause{Command: "recover", Principal: "node"}, Events: []events.Event{{Body: rolled}},
	}})
	dir := filepath.Join(t.TempDir(), "data")
	if err := audittest.DataDir(t.Context(), dir, drafts); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flag, want string }{
		{"--format=table", "muted                      through epoch 5: generations of it"},
		{"--json", `"muted_through_epoch":5`},
	} {
		var out, errs bytes.Buffer
		args := []string{"state", "--data", dir, "--client", "ann", "--conv", "team", c.flag}
		if code := run(args, &out, &errs); code != exitGood || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: exit code %d, %s%s", args, code, &out, &errs)
		}
		out.Reset()
		if code := run(append(args, "--at", "epoch:2"), &out, &errs); code != exitGood || strings.Contains(out.String(), "muted") {
			t.Errorf("before it happened: exit code %d, %s%s", code, &out, &errs)
		}
	}
}
