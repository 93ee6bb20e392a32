package audittest

import (
	"context"
	"fmt"
	"slices"

	"parley/events"
	"parley/events/jetlog"
	"parley/internal/ids"
	"parley/internal/natsd"
)

// Write stores drafts in their order.
func Write(ctx context.Context, stores events.Stores, vault events.KeyVault, drafts []Draft) error {
	w := writer{stores: stores, vault: vault, journals: map[events.LogID]*events.Journal{}}
	for len(drafts) > 0 {
		n := 1
		for n < len(drafts) && drafts[0].Batch != "" && drafts[n].Batch == drafts[0].Batch {
			n++
		}
		if err := w.write(ctx, drafts[:n]); err != nil {
			return err
		}
		drafts = drafts[n:]
	}
	// A clean stop ends with the anchors, so that a log cut short afterwards is noticed.
	for id, j := range w.journals {
		if err := j.WriteAnchor(ctx, j.Anchor()); err != nil {
			return fmt.Errorf("log %s: %w", id, err)
		}
	}
	return nil
}

type writer struct {
	stores   events.Stores
	vault    events.KeyVault
	journals map[events.LogID]*events.Journal
}

func (w *writer) journal(ctx context.Context, id events.LogID) (*events.Journal, error) {
	if j, ok := w.journals[id]; ok {
		return j, nil
	}
	j, err := events.OpenJournal(ctx, w.stores, w.vault, id, events.JournalOptions{})
	if err != nil {
		return nil, err
	}
	w.journals[id] = j
	return j, j.Replay(ctx, events.Head{}, func(*events.Record) error { return nil })
}

func (w *writer) write(ctx context.Context, drafts []Draft) error {
	journals := make([]*events.Journal, len(drafts))
	for i, d := range drafts {
		j, err := w.journal(ctx, d.Log)
		if err != nil {
			return err
		}
		journals[i] = j
	}
	if drafts[0].Batch == "" {
		if _, err := journals[0].Append(ctx, drafts[0].Draft); err != nil {
			return fmt.Errorf("log %s: %w", drafts[0].Log, err)
		}
		return nil
	}
	batch := events.NewBatch(drafts[0].Batch, 1, journals...)
	var prepared []*events.Prepared
	for i, d := range drafts {
		p, err := journals[i].Prepare(ctx, d.Draft, batch)
		if err != nil {
			return fmt.Errorf("log %s: %w", d.Log, err)
		}
		prepared = append(prepared, p)
	}
	return events.AppendAll(ctx, w.stores.Log, prepared)
}

// DataDir lays drafts out as a stopped node leaves its directory: the store in it, the keys beside it.
func DataDir(ctx context.Context, dir string, drafts []Draft) error {
	return Serve(dir, func(store *jetlog.Store) error {
		vault, err := events.PrepareKeyDir(ctx, store.Stores(), dir+".keys")
		if err != nil {
			return err
		}
		return Write(ctx, store.Stores(), vault, drafts)
	})
}

// Serve runs a server on a directory for as long as fn takes.
func Serve(dir string, fn func(*jetlog.Store) error) error {
	srv, err := natsd.Embedded(natsd.Options{Dir: dir})
	if err != nil {
		return err
	}
	defer srv.Shutdown()
	nc, err := jetlog.Connect("", jetlog.ConnectOptions{InProcess: srv})
	if err != nil {
		return err
	}
	defer nc.Close()
	store, err := jetlog.Open(context.Background(), nc, jetlog.Config{})
	if err != nil {
		return err
	}
	return fn(store)
}

// Find is the first draft of a log that holds an event which answers yes.
func Find(drafts []Draft, log events.LogID, is func(events.Body) bool) (draft, event int, err error) {
	for i, d := range drafts {
		if d.Log != log {
			continue
		}
		if at := slices.IndexFunc(d.Draft.Events, func(e events.Event) bool { return is(e.Body) }); at >= 0 {
			return i, at, nil
		}
	}
	return 0, 0, fmt.Errorf("log %s has no such event", log)
}

// Version is the version that a draft gets in its log.
func Version(drafts []Draft, at int) uint64 {
	var n uint64
	for _, d := range drafts[:at+1] {
		if d.Log == drafts[at].Log {
			n++
		}
	}
	return n
}

// Member is the log of one client's side of the story.
func Member(name ids.ClientID) events.LogID { return events.ConversationLog(name, Group) }
