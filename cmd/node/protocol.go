package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// childVerb starts the demo's child: a node that does what its parent writes to its standard input, one JSON object a line, and answers
// on its standard output the same way. It is no interface for anybody else.
const childVerb = "demo-child"

// lineBytesMax bounds a line either way.
const lineBytesMax = 1 << 20

// order is what the parent asks of a child.
type order struct {
	ID      int      `json:"id"`
	Op      string   `json:"op"`
	Bot     string   `json:"bot,omitempty"`
	Clients []string `json:"clients,omitempty"`
	Text    string   `json:"text,omitempty"`
	Command string   `json:"command,omitempty"` // command id, so that it can be asked again elsewhere
	Shares  []uint32 `json:"shares,omitempty"`
	Trap    *trap    `json:"trap,omitempty"`
	Open    *opening `json:"open,omitempty"`
}

// opening says what the child's node runs on.
type opening struct {
	Name      string `json:"name"`
	URL       string `json:"url"`
	Namespace string `json:"namespace,omitempty"`
	KeyDir    string `json:"key_dir,omitempty"`
	KEKFile   string `json:"kek_file,omitempty"`
	KEK       string `json:"kek,omitempty"`
}

// trap is a durable step at which the child stops for good, to be killed there.
type trap struct {
	Step  string `json:"step"`
	After bool   `json:"after"` // behind the step instead of before it
	Bot   string `json:"bot"`
	Name  string `json:"name"` // what to report when it closes
}

// answer is what a child says: the reply to an order (ID), or something that happened (Event).
type answer struct {
	ID     int     `json:"id,omitempty"`
	Error  string  `json:"error,omitempty"`
	Status *status `json:"status,omitempty"`

	Event  string `json:"event,omitempty"` // message, membership, trapped
	Bot    string `json:"bot,omitempty"`
	Sender string `json:"sender,omitempty"`
	Text   string `json:"text,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
}

// status is a conversation as one bot has it.
type status struct {
	Lifecycle   string   `json:"lifecycle"`
	Epoch       uint64   `json:"epoch"`
	Version     uint64   `json:"version"`
	Position    uint64   `json:"position"`
	Digest      string   `json:"digest"`
	Fingerprint string   `json:"fingerprint"` // of the epoch authenticator: equal in all members
	Members     []string `json:"members"`
	Pending     int      `json:"pending"`
}

// lines writes JSON objects, one a line, from several goroutines.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err = l.w.Write(append(b, '\n'))
	return err
}
