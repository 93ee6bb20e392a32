package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"parley/events"
	"parley/internal/audit"
	"parley/projections"
)

// logRow is one record: what it holds, whose command it was, and its place in the chain.
type logRow struct {
	logName
	Version     uint64   `json:"version"`
	Time        string   `json:"time"`
	Events      []string `json:"events"`
	Command     string   `json:"command,omitempty"`
	CommandID   string   `json:"command_id,omitempty"`
	Principal   string   `json:"principal,omitempty"`
	Transaction string   `json:"transaction,omitempty"`
	Bytes       int      `json:"bytes"`
	Digest      string   `json:"digest"`
	Previous    string   `json:"previous,omitempty"`
	MACChecked  bool     `json:"mac_checked"`
}

func logRowOf(id events.LogID, r *events.Record) logRow {
	row := logRow{
		logName: nameOf(id), Version: r.Version, Time: timeOf(r.TimeMS), Command: r.Cause.Command, CommandID: r.Cause.CommandID.String(),
		Principal: r.Cause.Principal, Transaction: r.Cause.Transaction.String(), Bytes: r.Size, Digest: r.Digest.String(), MACChecked: r.MACChecked,
		Events: []string{},
	}
	if r.Version > 1 {
		row.Previous = r.Previous.String()
	}
	for _, e := range r.Events {
		kind := e.Kind()
		if kind == "" {
			kind = "unknown"
		}
		row.Events = append(row.Events, kind)
	}
	return row
}

// showLog lists records, and with --follow goes on as they are written.
func showLog(ctx context.Context, s *session) error {
	p := newPrinter(s, append(logColumns(func(r logRow) logName { return r.logName }),
		column[logRow]{"VERSION", func(r logRow) string { return fmt.Sprint(r.Version) }},
		column[logRow]{"TIME", func(r logRow) string { return r.Time }},
		column[logRow]{"EVENTS", func(r logRow) string { return strings.Join(r.Events, ", ") }},
		column[logRow]{"COMMAND", func(r logRow) string { return r.Command }},
		column[logRow]{"BYTES", func(r logRow) string { return fmt.Sprint(r.Bytes) }},
		column[logRow]{"DIGEST", func(r logRow) string { return r.Digest[:16] }})...)
	print := func(id events.LogID, r *events.Record) error { return p.row(logRowOf(id, r)) }
	if s.options.follow {
		return s.follow(ctx, print, p.rest)
	}
	if err := s.records(ctx, print); err != nil {
		return errors.Join(p.rest(), err) // what could be read is shown
	}
	return p.close("no records")
}

// showRow is one record as a sentence.
type showRow struct {
	logName
	Version  uint64 `json:"version"`
	Sentence string `json:"sentence"`
}

// show tells records in sentences.
func show(ctx context.Context, s *session) error {
	p := newPrinter(s, append(logColumns(func(r showRow) logName { return r.logName }),
		column[showRow]{"VERSION", func(r showRow) string { return fmt.Sprint(r.Version) }},
		column[showRow]{"WHAT HAPPENED", func(r showRow) string { return r.Sentence }})...)
	narrators := map[events.LogID]*projections.Narrator{}
	print := func(id events.LogID, r *events.Record) error {
		if narrators[id] == nil {
			narrators[id] = projections.NewNarrator(id)
		}
		return p.row(showRow{nameOf(id), r.Version, narrators[id].Sentence(r)})
	}
	if s.options.follow {
		return s.follow(ctx, print, p.rest)
	}
	if err := s.records(ctx, print); err != nil {
		return errors.Join(p.rest(), err) // what could be read is shown
	}
	return p.close("no records")
}

// follow prints what is there and then whatever is appended, until it is interrupted.
func (s *session) follow(ctx context.Context, print func(events.LogID, *events.Record) error, rest func() error) error {
	if s.options.source.URL == "" {
		return usagef("replay "+s.options.verb+" --follow --nats URL", "only a server can be followed: a stopped node and a file never change")
	}
	if !s.options.at.IsNewest() {
		return usagef("replay "+s.options.verb+" --follow without --at", "--follow has no end, and --at is one")
	}
	if s.options.format == formatJSON {
		return usagef("replay "+s.options.verb+" --follow --ndjson", "a JSON array cannot be followed, because it has an end")
	}
	return s.history.Follow(ctx, audit.Follower{Wanted: s.options.wants, Record: print, Rest: rest})
}
