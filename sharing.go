package parley

import (
	"context"
	"time"

	"parley/conversation"
	"parley/internal/secret"
)

// EnableHistorySharing lets a reader of history into the group: a client of nobody, whose secret every member gets (Event.History). Whoever
// is given that secret reads everything that is said from here on, see Node.HistoryClient, until a member is removed: then another reader
// takes its place in the same commit, and there is another secret. Where sharing is on it does nothing.
func (c *Conversation) EnableHistorySharing(ctx context.Context) error {
	in := conversation.EnableHistorySharing{CommandMeta: c.client.meta(ctx, "enable_history_sharing")}
	_, err := c.do(ctx, "enable history sharing", in)
	return err
}

// DisableHistorySharing removes every reader: what is said from here on, members read alone. Where sharing is off it does nothing.
func (c *Conversation) DisableHistorySharing(ctx context.Context) error {
	in := conversation.DisableHistorySharing{CommandMeta: c.client.meta(ctx, "disable_history_sharing")}
	_, err := c.do(ctx, "disable history sharing", in)
	return err
}

// HistoryShared says that a history secret came, or was made by ourselves. It may come more than once for one reader.
type HistoryShared struct {
	Client ClientID // the reader
	Sender ClientID // verified; who enabled sharing, or removed a member
	Number uint64   // running number among the history secrets of the conversation
	Time   time.Time
	Secret HistorySecret
}

// HistorySecret makes a reader of a conversation of whoever has it. It prints as nothing; Bytes is what to store, and to give away.
type HistorySecret struct{ encoded secret.Bytes }

// Bytes are the secret's: keep them as you keep keys.
func (s HistorySecret) Bytes() []byte { return append([]byte(nil), s.encoded.Expose()...) }

// ParseHistorySecret reads what HistorySecret.Bytes gave.
func ParseHistorySecret(b []byte) (HistorySecret, error) {
	if _, err := conversation.ParseHistorySecret(b); err != nil {
		return HistorySecret{}, wrap("history secret", err)
	}
	return HistorySecret{secret.Clone(b)}, nil
}

func sharedHistory(m *conversation.ReceivedMessage) *HistoryShared {
	return &HistoryShared{
		Client: m.History, Sender: m.Sender, Number: m.Number, Time: timeOf(m.TimeMs), Secret: HistorySecret{secret.Clone(m.Plaintext.Expose())},
	}
}
