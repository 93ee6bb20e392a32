package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"text/tabwriter"

	"parley/conversation"
	"parley/events"
	"parley/internal/audit"
	"parley/internal/ids"
	"parley/projections"
)

// stateDoc is a conversation's state at a place. It has no field that could hold a secret.
type stateDoc struct {
	Client                  string        `json:"client"`
	Conversation            string        `json:"conversation"`
	Version                 uint64        `json:"version"`
	Time                    string        `json:"time"`
	Lifecycle               string        `json:"lifecycle"`
	Muted                   *uint64       `json:"muted_through_epoch,omitempty"` // nothing is encrypted until a later epoch
	Digest                  string        `json:"digest"`
	MACs                    string        `json:"macs"`
	CipherSuite             uint16        `json:"cipher_suite,omitempty"`
	Epoch                   *uint64       `json:"epoch,omitempty"`
	TreeHash                string        `json:"tree_hash,omitempty"`
	ConfirmedTranscriptHash string        `json:"confirmed_transcript_hash,omitempty"`
	ConfirmationTag         string        `json:"confirmation_tag,omitempty"`
	Fingerprint             string        `json:"authenticator_fingerprint,omitempty"`
	OwnLeaf                 *uint32       `json:"own_leaf,omitempty"`
	Position                uint64        `json:"position"`
	Reserved                reservedDoc   `json:"reserved"`
	Undelivered             uint64        `json:"undelivered"`
	Failing                 int           `json:"failing_messages,omitempty"` // that the owner could not handle: they come again
	DeadLetters             int           `json:"dead_letters,omitempty"`     // and those put aside
	HistoryShared           bool          `json:"history_shared,omitempty"`   // readers of history are in the group
	HistorySecrets          int           `json:"history_secrets,omitempty"`  // that the owner has not acknowledged
	Roster                  []rosterRow   `json:"roster"`
	Proposals               []proposalRow `json:"proposals"`
	Staged                  *stagedDoc    `json:"staged,omitempty"`
	Private                 string        `json:"private"`
}

type reservedDoc struct {
	Application uint32 `json:"application"`
	Handshake   uint32 `json:"handshake"`
}

type rosterRow struct {
	Leaf         uint32 `json:"leaf"`
	Client       string `json:"client"`
	SignatureKey string `json:"signature_key"`
}

type stagedDoc struct {
	Bundle  string   `json:"bundle"`
	Epoch   uint64   `json:"epoch"`
	Intent  string   `json:"intent"`
	Clients []string `json:"clients"`
}

// state rebuilds a conversation at a place, from public parts alone. Where keys were given it also says whether the secrets belong to
// the epoch; it never prints them.
func state(ctx context.Context, s *session) error {
	st, last, err := s.fold(ctx)
	if err != nil {
		return err
	}
	return document(s, describe(st, last), printState)
}

func (s *session) fold(ctx context.Context) (conversation.State, *events.Record, error) {
	id, err := s.conversation(ctx)
	if err != nil {
		return conversation.State{}, nil, err
	}
	st, last, err := s.history.State(ctx, id, s.options.at)
	return st, last, explain(err)
}

func describe(st conversation.State, last *events.Record) stateDoc {
	d := stateDoc{
		Client: st.Client.String(), Conversation: st.Conversation.String(), Version: st.Version, Time: timeOf(st.TimeMs),
		Lifecycle: st.Lifecycle.String(), Digest: st.Digest().String(), MACs: audit.MACWord(last.MACChecked), Position: st.Position,
		Reserved:  reservedDoc{st.Reserved.Application, st.Reserved.Handshake},
		Roster:    []rosterRow{},
		Proposals: proposalRows(st),
		Private:   describePrivate(st),
	}
	if st.Lifecycle == conversation.RolledBack {
		muted := uint64(st.Muted)
		d.Muted = &muted
	}
	if st.Spool.Next > 0 {
		d.Undelivered = st.Spool.Next - 1 - st.Spool.Acknowledged - uint64(len(st.Spool.Aside))
	}
	d.Failing = st.Spool.Failing()
	d.DeadLetters, _ = st.Spool.DeadLetters()
	d.HistoryShared, d.HistorySecrets = st.HistorySharing(), len(st.Spool.Held)
	for _, m := range st.Roster() {
		d.Roster = append(d.Roster, rosterRow{uint32(m.Leaf), m.Client.String(), hex.EncodeToString(m.SignatureKey)})
	}
	if g := st.Group; g != nil {
		epoch, leaf := uint64(g.Epoch()), uint32(st.OwnLeaf)
		d.CipherSuite, d.Epoch, d.OwnLeaf = uint16(g.CipherSuite()), &epoch, &leaf
		d.TreeHash = hex.EncodeToString(g.TreeHash())
		d.ConfirmedTranscriptHash = hex.EncodeToString(g.ConfirmedTranscriptHash())
		d.ConfirmationTag = hex.EncodeToString(g.ConfirmationTag())
		d.Fingerprint = hex.EncodeToString(st.Fingerprint)
	}
	if c := st.Staged; c != nil {
		d.Staged = &stagedDoc{Bundle: c.Digest.String(), Epoch: uint64(c.Epoch), Intent: c.Intent, Clients: []string{}}
		for _, id := range c.Clients {
			d.Staged.Clients = append(d.Staged.Clients, id.String())
		}
	}
	return d
}

// describePrivate says what keys gave, without giving any of it.
func describePrivate(st conversation.State) string {
	authenticator := st.EpochAuthenticator()
	switch {
	case st.Group == nil:
		return "none: not a member"
	case authenticator == nil:
		return "absent: no keys, or they are gone"
	case bytes.Equal(conversation.Fingerprint(authenticator), st.Fingerprint):
		return "present; the epoch authenticator has the recorded fingerprint"
	}
	return "present, but the epoch authenticator does not have the recorded fingerprint"
}

func printState(w io.Writer, d stateDoc) error {
	t := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("conversation", "%s of %s", d.Conversation, d.Client)
	line("version", "%d, %s (MACs %s)", d.Version, d.Time, d.MACs)
	line("state", "%s", d.Lifecycle)
	if d.Muted != nil {
		line("muted", "through epoch %d: generations of it may have been used that the log does not know of", *d.Muted)
	}
	line("digest", "%s", d.Digest)
	if d.Epoch != nil {
		line("epoch", "%d (cipher suite %d, own leaf %d)", *d.Epoch, d.CipherSuite, *d.OwnLeaf)
		line("tree hash", "%s", d.TreeHash)
		line("confirmed transcript hash", "%s", d.ConfirmedTranscriptHash)
		line("confirmation tag", "%s", d.ConfirmationTag)
		line("authenticator fingerprint", "%s", d.Fingerprint)
	}
	line("position in the order", "%d", d.Position)
	line("reserved generations", "application %d, handshake %d", d.Reserved.Application, d.Reserved.Handshake)
	line("undelivered messages", "%d", d.Undelivered)
	if d.Failing+d.DeadLetters > 0 {
		line("messages that failed", "%d to be handed over again, %d put aside", d.Failing, d.DeadLetters)
	}
	if d.HistoryShared || d.HistorySecrets > 0 {
		line("history shared", "%t, %d secrets not acknowledged", d.HistoryShared, d.HistorySecrets)
	}
	line("private state", "%s", d.Private)
	if d.Staged != nil {
		line("staged commit", "%s in epoch %d: %s %v", d.Staged.Bundle[:16], d.Staged.Epoch, d.Staged.Intent, d.Staged.Clients)
	}
	for _, m := range d.Roster {
		line("member", "leaf %d  %s  key %.16s", m.Leaf, m.Client, m.SignatureKey)
	}
	for _, p := range d.Proposals {
		line("pending proposal", "%.16s  %s  by %s  %s", p.Ref, p.Type, p.Sender, p.What)
	}
	return t.Flush()
}

// proposalRow is a proposal that waits for a commit.
type proposalRow struct {
	Ref       string `json:"ref"`
	Type      string `json:"type"`
	What      string `json:"what"`
	Sender    string `json:"sender"`
	Own       bool   `json:"own"`
	Encrypted bool   `json:"encrypted"`
	Position  uint64 `json:"position,omitempty"`
	Time      string `json:"time"`
}

func proposalRows(st conversation.State) []proposalRow {
	names := map[uint32]ids.ClientID{}
	for _, m := range st.Roster() {
		names[uint32(m.Leaf)] = m.Client
	}
	rows := []proposalRow{}
	for _, p := range st.PendingProposals() {
		rows = append(rows, proposalRow{
			Ref: hex.EncodeToString(p.Ref), Type: projections.ProposalName(uint32(p.Type)), What: audit.DescribeProposal(p.Proposal, names),
			Sender: audit.SenderName(uint8(p.SenderType), p.SenderIndex, names), Own: p.Own, Encrypted: p.Encrypted, Position: p.Position, Time: timeOf(p.TimeMs),
		})
	}
	return rows
}

// proposals lists what waits for a commit at a place.
func proposals(ctx context.Context, s *session) error {
	st, _, err := s.fold(ctx)
	if err != nil {
		return err
	}
	p := newPrinter(s,
		column[proposalRow]{"REF", func(r proposalRow) string { return fmt.Sprintf("%.16s", r.Ref) }},
		column[proposalRow]{"TYPE", func(r proposalRow) string { return r.Type }},
		column[proposalRow]{"WHAT", func(r proposalRow) string { return r.What }},
		column[proposalRow]{"SENDER", func(r proposalRow) string { return r.Sender }},
		column[proposalRow]{"TIME", func(r proposalRow) string { return r.Time }})
	for _, row := range proposalRows(st) {
		if err := p.row(row); err != nil {
			return err
		}
	}
	return p.close("no pending proposals")
}
