package parley_test

import (
	"context"
	"sync/atomic"
	"testing"

	"parley"
	"parley/delivery"
)

// oddTransport answers bundles as it is told.
type oddTransport struct {
	carrier
	answer delivery.Answer
	asked  atomic.Int32
}

func (o *oddTransport) SendCommitBundle(context.Context, delivery.Bundle) (delivery.Answer, error) {
	o.asked.Add(1)
	return o.answer, nil
}

// TestAnswersThatAreNone: a transport that answers nothing, or by pointer, has said nothing strange to a commit: it is unresolved, or what the
// pointer means, and nobody asks for ever.
func TestAnswersThatAreNone(t *testing.T) {
	config := parley.DefaultConfig()
	config.Transport = parley.ForeignTransport
	odd := &oddTransport{}
	node := openNode(t, parley.Options{Config: config, Foreign: odd, Isolated: true})
	defer closeNode(t, node)
	ada, err := node.Client(t.Context(), "ada")
	ok(t, err)
	for room, c := range map[parley.ConversationID]struct {
		answer delivery.Answer
		code   parley.Code // of the error
		advice parley.Advice
		asked  int32
	}{
		"nothing":           {nil, parley.TransportError, parley.Retry, 5},
		"a pointer to none": {(*delivery.Success)(nil), parley.TransportError, parley.Retry, 5},
		"a pointer":         {&delivery.Success{}, "", "", 1},
		"a refusal":         {&delivery.Abort{Reason: "no"}, parley.TransportAborted, parley.GiveUp, 1},
	} {
		conv, err := ada.Create(t.Context(), room)
		ok(t, err)
		odd.answer = c.answer
		odd.asked.Store(0)
		if err = conv.UpdateKeys(t.Context()); c.code == "" {
			ok(t, err)
		} else {
			failure(t, string(room), err, c.code, c.advice, room)
		}
		if n := odd.asked.Load(); n != c.asked {
			t.Errorf("%s: asked %d times, want %d", room, n, c.asked)
		}
	}
}
