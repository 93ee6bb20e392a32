package jetlog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"parley/events"
	"parley/events/jetlog"
	v1 "parley/events/v1"
	"parley/internal/ids"
)

// TestAFileSizeLimitTearsNoTransaction lets a server run into a file size limit while journals append transactions over three logs.
// Whatever the server had of the last one on disk: after a restart with room it is there whole or not at all.
func TestAFileSizeLimitTearsNoTransaction(t *testing.T) {
	t.Parallel()
	p := process(t)
	stores := open(t, connect(t, p.URL(), jetlog.ConnectOptions{}), jetlog.Config{Patience: 2 * impatient}).Stores()
	vault, ctx := newVault(t), testContext(t)
	var logs []events.LogID
	for _, name := range []string{"a", "b", "c"} {
		id := events.ConversationLog("alice", own(t)+"/"+ids.ConversationID(name))
		mustActivate(t, stores, vault, id)
		logs = append(logs, id)
	}
	p.Stop()
	if err := p.RestartWith(ctx, 256<<10); err != nil {
		t.Fatal(err)
	}
	acknowledged, err := transactions(t, stores, vault, logs)
	if !errors.Is(err, events.ErrUnknownOutcome) && !errors.Is(err, events.ErrUnavailable) {
		t.Errorf("at the limit: %v", err)
	}
	p.Kill()
	if err := p.RestartWith(ctx, 0); err != nil {
		t.Fatal(err)
	}
	var first []string
	for i, id := range logs {
		a := mustActivate(t, stores, vault, id)
		if n := len(acknowledged); len(a.said) < n || len(a.said) > n+1 || !slices.Equal(a.said[:n], acknowledged) {
			t.Errorf("%v says %d records, %d were acknowledged", id, len(a.said), n)
		}
		if i == 0 {
			first = a.said
		} else if !slices.Equal(a.said, first) {
			t.Errorf("%v says %q, another log of the same transactions %q", id, a.said, first)
		}
	}
	if _, err := transactions(t, stores, vault, logs); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// transactions appends ten transactions over all logs, or as many as the store takes, and returns those that were acknowledged.
func transactions(t *testing.T, stores events.Stores, vault events.KeyVault, logs []events.LogID) (acknowledged []string, err error) {
	t.Helper()
	ctx := context.Background()
	var journals []*events.Journal
	for _, id := range logs {
		journals = append(journals, mustActivate(t, stores, vault, id).Journal)
	}
	for i := range 10 {
		text := fmt.Sprint("transaction ", i)
		batch := events.NewBatch("tx", uint32(i), journals...)
		var prepared []*events.Prepared
		for _, j := range journals {
			draft := noted(text)
			draft.Events = append(draft.Events, events.Event{Body: &v1.ConversationCreated{PublicGroup: make([]byte, 12<<10)}})
			p, err := j.Prepare(ctx, draft, batch)
			if err != nil {
				return acknowledged, err
			}
			prepared = append(prepared, p)
		}
		if err := events.AppendAll(ctx, stores.Log, prepared); err != nil {
			return acknowledged, err
		}
		acknowledged = append(acknowledged, text)
	}
	return acknowledged, nil
}
