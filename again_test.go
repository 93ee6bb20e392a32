package parley_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"parley"
	"parley/conversation"
	"parley/delivery"
)

// taking is a foreign service that takes what it gets, once for each idempotency key, and says so only when it is told to.
type taking struct {
	carrier
	mute  int // so many of its next answers get lost
	taken []string
}

func (s *taking) SendCommitBundle(ctx context.Context, b delivery.Bundle) (delivery.Answer, error) {
	_, _ = s.carrier.SendCommitBundle(ctx, b)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := b.IdempotencyKey()
	for _, known := range s.taken {
		if known == key {
			key = ""
		}
	}
	if key != "" {
		s.taken = append(s.taken, key)
	}
	if s.mute > 0 {
		s.mute--
		return nil, errors.New("no connection")
	}
	return delivery.Success{}, nil
}

func (s *taking) silence(answers int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = answers
}

// TestACommandThatIsAskedAgainTakesEffectOnce: the service has taken an update and its answers get lost, for longer than the node asks. The
// application asks again under the same command id, on the same node or, after it was started anew, on its successor: the service has one commit,
// and the conversation has advanced by one epoch. An update under another id is another update.
func TestACommandThatIsAskedAgainTakesEffectOnce(t *testing.T) {
	ctx, service := t.Context(), &taking{}
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	options := parley.Options{Data: filepath.Join(t.TempDir(), "data"), Config: config, Isolated: true, Foreign: service}
	node := openNode(t, options)
	client, err := node.Client(ctx, "ada")
	ok(t, err)
	tea, err := client.Create(ctx, "tea")
	ok(t, err)
	state := func(want uint64, commits int) {
		t.Helper()
		status, err := tea.Status(ctx)
		ok(t, err)
		if status.Epoch != want || len(service.taken) != commits || len(status.Unresolved) != 0 {
			t.Errorf("epoch %d after %d commits; open: %v", status.Epoch, len(service.taken), status.Unresolved)
		}
	}
	service.silence(7) // the first call gives up after five
	ok(t, node.Insist(ctx, tea.UpdateKeys))
	state(1, 1)
	service.silence(5)
	same := parley.WithCommandID(ctx, "update")
	if err := tea.UpdateKeys(same); !errors.Is(err, conversation.TransportError) {
		t.Fatalf("without an answer: %v", err)
	}
	closeNode(t, node)
	node = openNode(t, options)
	defer closeNode(t, node)
	tea = node.Bare("ada").Conversation("tea")
	for range 2 {
		ok(t, tea.UpdateKeys(same))
		state(2, 2)
	}
	ok(t, tea.UpdateKeys(parley.WithCommandID(ctx, "another")))
	state(3, 3)
}
