package conversation

import (
	"fmt"
	"strings"
	"testing"

	"parley/internal/ids"
	"parley/internal/secret"
)

// TestLargestConfigurationsPass: the largest values pass, what is beyond them does not.
func TestLargestConfigurationsPass(t *testing.T) {
	for name, change := range map[string]func(c *Config, beyond uint32){
		"out of order":     func(c *Config, beyond uint32) { c.OutOfOrderTolerance = outOfOrderToleranceMax + beyond },
		"forward distance": func(c *Config, beyond uint32) { c.MaximumForwardDistance = forwardDistanceMax + beyond },
		"credential": func(c *Config, beyond uint32) {
			c.Credential = CredentialRef(strings.Repeat("x", credentialBytesMax+int(beyond)))
		},
	} {
		for beyond := range uint32(2) {
			c := DefaultConfig()
			change(&c, beyond)
			if refused := c.validate(); (refused == nil) != (beyond == 0) {
				t.Errorf("%s, %d beyond: %v", name, beyond, refused)
			}
		}
	}
}

// TestPreSharedKeysAreBounded in number and by the length of their ids; to forget one makes room.
func TestPreSharedKeysAreBounded(t *testing.T) {
	w := newWorld(t, 1, DefaultConfig())
	s, _ := newClient(t, w)
	add := func(id string) AddPSK { return AddPSK{ID: []byte(id), Key: secret.New([]byte("key"))} }
	refusedClient(t, w, s, add(strings.Repeat("x", pskIDMax+1)), InvalidConfiguration)
	for i := range PSKsMax {
		s = stepClient(t, w, s, add(fmt.Sprint(i))).Next
	}
	refusedClient(t, w, s, add("one more"), Busy)
	s = stepClient(t, w, s, RemovePSK{ID: []byte("0")}).Next
	stepClient(t, w, s, add("one more"))
}

// TestWhatAMemberRemembersIsBounded: of the handshake messages that it has seen.
func TestWhatAMemberRemembersIsBounded(t *testing.T) {
	w, ada, bob := pair(t, foreign(DefaultConfig()))
	for range RecentMax + 8 {
		commit := w.committed(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
		if o := w.hear(bob, commit); o.Kind != OutcomeCommit {
			t.Fatalf("%+v", o)
		}
	}
	if n := len(bob.state.Recent); n != RecentMax {
		t.Errorf("%d digests", n)
	}
}

// TestPrincipalsAndIdsAreBounded: what the log could not hold is refused.
func TestPrincipalsAndIdsAreBounded(t *testing.T) {
	for i, meta := range []CommandMeta{
		{ID: ids.CommandID(strings.Repeat("x", commandIDBytesMax+1))}, {Principal: strings.Repeat("x", principalBytesMax+1)}, {Principal: "\xff"},
		{ID: ids.CommandID(strings.Repeat("x", commandIDBytesMax)), Principal: strings.Repeat("x", principalBytesMax)},
	} {
		if err := meta.validate(); (err == nil) != (i == 3) {
			t.Errorf("%d: %v", i, err)
		}
	}
}
