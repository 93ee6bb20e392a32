package parley

import (
	"context"
	"crypto/sha256"

	"parley/conversation"
	"parley/internal/secret"
)

// DataMax bounds the data of an application, in bytes.
const DataMax = conversation.DataMax

// SetData keeps opaque data of the application with the client, at most DataMax bytes, in place of what it kept before; nothing takes it away.
// It is sealed like keys are, and what it replaces cannot be read any more. It takes over the slice.
func (c *Client) SetData(ctx context.Context, data []byte) error {
	_, err := c.node.actors.Client(ctx, c.id, c.setData(ctx, data))
	return wrap("set data", err)
}

// Data is what the application keeps with the client; nil: nothing.
func (c *Client) Data(ctx context.Context) ([]byte, error) {
	s, err := c.node.actors.ClientState(ctx, c.id)
	if err != nil {
		return nil, wrap("data", err)
	}
	return dataOf(s)
}

// SetData is the client's, in the transaction: what was taken in and how far the application has come become durable together. The data is
// taken into the transaction like a conversation is, so of two transactions that set it the older wins.
func (t *Transaction) SetData(ctx context.Context, data []byte) error {
	_, err := t.inner.Client(ctx, t.client.setData(ctx, data))
	return wrap("set data", err)
}

// Data is the client's as the transaction sees it. Nobody else changes it from then on.
func (t *Transaction) Data(ctx context.Context) ([]byte, error) {
	s, err := t.inner.ClientState(ctx)
	if err != nil {
		return nil, wrap("data", err)
	}
	return dataOf(s)
}

func (c *Client) setData(ctx context.Context, data []byte) conversation.SetData {
	sum := sha256.Sum256(data)
	return conversation.SetData{CommandMeta: c.meta(ctx, "set_data", sum[:]), Data: secret.New(data)}
}

func dataOf(s conversation.ClientState) ([]byte, error) {
	kept, lost := s.Data()
	if lost != nil {
		return nil, wrap("data", lost)
	}
	return append([]byte(nil), kept.Expose()...), nil
}
