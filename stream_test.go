package parley_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"parley"
)

// listening is a client's stream, event by event, and how it ended.
type listening struct {
	events chan parley.Event
	ended  chan error
}

func listen(ctx context.Context, c *parley.Client) *listening {
	l := &listening{events: make(chan parley.Event), ended: make(chan error, 1)}
	go func() {
		for e, err := range c.Events(ctx) {
			if err != nil {
				l.ended <- err
				return
			}
			select {
			case l.events <- e:
			case <-ctx.Done():
				l.ended <- ctx.Err()
				return
			}
		}
	}()
	return l
}

// hear returns the next messages, so many of them.
func (l *listening) hear(t *testing.T, n int) (heard []parley.Event) {
	t.Helper()
	timeout := time.After(patience)
	for len(heard) < n {
		select {
		case e := <-l.events:
			if e.Message != nil {
				heard = append(heard, e)
			}
		case err := <-l.ended:
			t.Fatalf("the stream ended after %d messages: %v", len(heard), err)
		case <-timeout:
			t.Fatalf("heard %d messages of %d", len(heard), n)
		}
	}
	return heard
}

func texts(heard []parley.Event) (out []string) {
	for _, e := range heard {
		out = append(out, string(e.Message.Text))
	}
	return out
}

// moving is bob, whose share goes from node to node, and ada, who speaks to him from where she always is.
type moving struct {
	his      uint32 // bob's share
	from, to *parley.Node
	home     *parley.Node
	tea      *parley.Conversation // ada's
	said     int
}

func newMoving(ctx context.Context, t *testing.T) *moving {
	t.Helper()
	d := deploy(t)
	const shares = 16
	m := &moving{his: parley.ShareOf("client/bob", shares)}
	others := slices.DeleteFunc(parley.Shares(shares), func(s uint32) bool { return s == m.his })
	m.home = d.node(t, parley.Options{Name: "home", ShareCount: shares, Shares: others})
	t.Cleanup(func() { closeNode(t, m.home) })
	away := d.node(t, parley.Options{Name: "away", ShareCount: shares, Shares: []uint32{m.his}})
	t.Cleanup(func() { closeNode(t, away) })
	m.from, m.to = away, m.home
	_, err := m.from.Client(ctx, "bob")
	ok(t, err)
	ada, err := m.home.Client(ctx, "ada")
	ok(t, err)
	m.tea, err = ada.Create(ctx, "tea")
	ok(t, err)
	ok(t, m.home.Insist(ctx, func(ctx context.Context) error { return m.tea.Add(ctx, "bob") }))
	return m
}

// say has ada say the next so many words.
func (m *moving) say(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	for range n {
		word := fmt.Sprint("word ", m.said)
		ok(t, m.home.Insist(parley.WithCommandID(ctx, parley.CommandID(word)), func(ctx context.Context) error {
			_, err := m.tea.Send(ctx, []byte(word))
			return err
		}))
		m.said++
	}
}

// words are those from one on to the last.
func (m *moving) words(from int) (out []string) {
	for i := from; i < m.said; i++ {
		out = append(out, fmt.Sprint("word ", i))
	}
	return out
}

// leave takes bob from where he is, with a stream that has handed out some events.
func (m *moving) leave(ctx context.Context, t *testing.T, stream *listening, unread parley.Event) {
	t.Helper()
	m.from.ReleaseShares(m.his)
	select {
	case err := <-stream.ended:
		if !errors.Is(err, parley.ErrNotHere) || parley.AdviceOf(err) != parley.Retry {
			t.Errorf("the stream of a client that has left ends with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the stream of a client that has left does not end")
	}
	for _, err := range m.from.Bare("bob").Events(ctx) {
		if !errors.Is(err, parley.ErrNotHere) {
			t.Errorf("opened where the client is not: %v", err)
		}
	}
	if err := unread.Ack(ctx); !errors.Is(err, parley.ErrNotHere) {
		t.Errorf("acknowledged where the client is not: %v", err)
	}
}

// TestAStreamMovesWithItsClient: bob's share goes to another node and back. His stream ends with ErrNotHere where he has left, though it had
// nothing to hand out, and there nobody opens another or acknowledges. On the node that serves him now it begins with what he has not
// acknowledged, in order and under the same ids, then what was said while nobody served him.
func TestAStreamMovesWithItsClient(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m := newMoving(ctx, t)
	m.say(ctx, t, 5)
	var before []parley.Event // not acknowledged where he was
	for move := range 2 {
		stream := listen(ctx, m.from.Bare("bob"))
		want := m.words(move * 2)
		heard := stream.hear(t, len(want))
		if !slices.Equal(texts(heard), want) {
			t.Errorf("after %d moves bob heard %q, want %q", move, texts(heard), want)
		}
		for i, e := range before {
			if heard[i].ID != e.ID {
				t.Errorf("%s came again as %s", e.ID, heard[i].ID)
			}
		}
		ok(t, heard[1].Ack(ctx))
		before = heard[2:]
		m.leave(ctx, t, stream, before[0])
		m.say(ctx, t, 2) // nobody serves him
		m.to.TakeShares(m.his)
		m.from, m.to = m.to, m.from
	}
	stream := listen(ctx, m.from.Bare("bob"))
	heard := stream.hear(t, m.said-4)
	m.say(ctx, t, 1)
	heard = append(heard, stream.hear(t, 1)...)
	if want := m.words(4); !slices.Equal(texts(heard), want) {
		t.Errorf("in the end bob heard %q, want %q", texts(heard), want)
	}
	for _, e := range heard {
		ok(t, e.Ack(ctx))
	}
	agree(t, m.tea, m.from.Bare("bob").Conversation("tea"))
}
