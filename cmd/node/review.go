package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"parley"
	"parley/events"
	"parley/internal/audit"
)

func clientID(name string) parley.ClientID { return parley.ClientID(name) }

// review is replay: the whole history told, the last states rebuilt from the log and compared with the live ones, everything verified.
func (p *play) review(ctx context.Context) error {
	h, err := audit.Open(ctx, audit.SourceConfig{
		URL: p.server.URL(), Namespace: p.config.namespace, ShredDir: p.keyDir(), KEKFile: p.config.kekFile, KEK: p.config.kek,
	})
	if err != nil {
		return err
	}
	defer h.Close()
	if err := p.story(ctx, h); err != nil {
		return err
	}
	for _, name := range []string{"ann", "bob", "cem"} {
		if err := p.rebuild(ctx, h, events.ConversationLog(clientID(name), stageName)); err != nil {
			return err
		}
	}
	logs, err := h.Expected(ctx)
	if err != nil {
		return err
	}
	epochs := 0
	report, err := h.Verify(ctx, logs, nil, func(r audit.LogReport) error {
		if r.Log == events.OrderLog(stageName) {
			epochs = r.Tally.Epochs
		}
		if r.Finding != nil {
			return r.Finding
		}
		return nil
	})
	if err != nil {
		return err
	}
	if report.Result == audit.Bad {
		return errors.New(report.Summary())
	}
	if err := p.tell(step{Step: "verify", Text: report.Summary()}); err != nil {
		return err
	}
	return p.finish(epochs, report.Tally.Records)
}

// story tells ann's log, a sentence a record.
func (p *play) story(ctx context.Context, h *audit.History) error {
	id := events.ConversationLog("ann", stageName)
	if err := p.tell(step{Step: "replay", Bot: "ann", Text: "replay tells ann's log from its first record to its last:"}); err != nil {
		return err
	}
	return h.Tell(ctx, id, func(version uint64, sentence string) error {
		return p.tell(step{Step: "replay", Bot: "ann", Text: fmt.Sprintf("  %3d  %s", version, sentence)})
	})
}

// rebuild folds a log to where its owner was last seen, and compares.
func (p *play) rebuild(ctx context.Context, h *audit.History, id events.LogID) error {
	live := p.last[id]
	state, _, err := h.State(ctx, id, audit.AtVersion(live.Version))
	if err != nil {
		return err
	}
	if got := state.Digest().String(); got != live.Digest {
		return fmt.Errorf("log %s: replay has state %s at record %d, and the node had %s", id, got, live.Version, live.Digest)
	}
	text := fmt.Sprintf("replay rebuilds the state of %s from its log: epoch %d, %d members, %d proposal pending, digest %.16s as it was live",
		id.Client, uint64(state.Epoch()), len(state.Roster()), len(state.PendingProposals()), live.Digest)
	return p.tell(step{Step: "rebuild", Bot: string(id.Client), Epoch: live.Epoch, Text: text})
}

// finish stops the log, says what to try and ends.
func (p *play) finish(epochs, records int) error {
	p.server.Shutdown()
	p.server = nil
	dir, note := p.dir, "try:"
	if p.config.data == "" {
		dir, note = "parley-demo", "try, after "+program("node", os.Args[0])+" demo --data parley-demo --keep:"
	}
	replay := program("replay", os.Args[0])
	flags := fmt.Sprintf("--data %s --client ann --conv %s", quote(dir), conversationName())
	hints := []string{
		replay + " show " + flags,
		replay + " state " + flags + " --at epoch:2",
		replay + " verify --data " + quote(dir),
	}
	if p.config.json {
		for _, hint := range hints {
			if err := p.tell(step{Step: "try", Text: hint}); err != nil {
				return err
			}
		}
	} else if _, err := fmt.Fprintf(p.out, "%s\n  %s\n", note, strings.Join(hints, "\n  ")); err != nil {
		return err
	}
	summary := fmt.Sprintf("demo ok: 3 bots, %d epochs, %d kills, %d records verified", epochs, p.kills, records)
	if p.config.json {
		return p.tell(step{Step: "ok", Text: summary})
	}
	_, err := fmt.Fprintln(p.out, summary)
	return err
}

// program is how to call one of this module's programs where this one was called as self: go run keeps neither.
func program(name, self string) string {
	if strings.Contains(filepath.ToSlash(self), "/go-build") {
		return "go run ./cmd/" + name
	}
	return name
}

// quote makes a path one word of a shell.
func quote(path string) string {
	if strings.ContainsAny(path, " '\"\\$&;()<>|*?`~#!\t\n") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}
