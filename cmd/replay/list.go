package main

import (
	"context"
	"errors"
	"fmt"

	"parley/events"
	"parley/internal/audit"
	"parley/projections"
)

// listRow is one log: its head, and how far its conversation has come.
type listRow struct {
	logName
	Version uint64  `json:"version"`
	Digest  string  `json:"digest"`
	Time    string  `json:"time,omitempty"`
	Epoch   *uint64 `json:"epoch,omitempty"`
	Members int     `json:"members,omitempty"`
	Bad     string  `json:"bad,omitempty"`
}

// list shows the logs there are. A log that cannot be read to its end is shown up to there, and makes the command end with "bad history".
func list(ctx context.Context, s *session) error {
	logs, err := s.logs(ctx)
	if err != nil {
		return err
	}
	p := newPrinter(s, append(logColumns(func(r listRow) logName { return r.logName }),
		column[listRow]{"EPOCH", func(r listRow) string { return optional(r.Epoch) }},
		column[listRow]{"MEMBERS", func(r listRow) string { return count(r.Members) }},
		column[listRow]{"LAST", func(r listRow) string { return r.Time }},
		column[listRow]{"HEAD", func(r listRow) string { return fmt.Sprintf("%d:%s", r.Version, r.Digest) }},
		column[listRow]{"NOTE", func(r listRow) string { return r.Bad }})...)
	bad := 0
	for _, id := range logs {
		row, err := summarize(ctx, s, id)
		if err != nil {
			return err
		}
		if row.Bad != "" {
			bad++
		}
		if err := p.row(row); err != nil {
			return err
		}
	}
	if err := p.close("no logs"); err != nil {
		return err
	}
	if bad > 0 {
		return &badHistory{fmt.Sprintf("%d of %d logs cannot be read to their end", bad, len(logs))}
	}
	return nil
}

func summarize(ctx context.Context, s *session, id events.LogID) (listRow, error) {
	row := listRow{logName: nameOf(id)}
	members := projections.NewMembers(id.Client)
	err := s.history.Records(ctx, id, s.options.at, func(r *events.Record) error {
		row.Version, row.Digest, row.Time = r.Version, r.Digest.String(), timeOf(r.TimeMS)
		members.Apply(r)
		if epoch, ok := audit.EpochAfter(r); ok {
			row.Epoch = &epoch
		}
		return nil
	})
	row.Members = len(members.Present())
	var missing *audit.NotThereError
	var corrupt *events.ErrCorrupt
	switch {
	case errors.As(err, &missing):
		return row, nil
	case errors.As(err, &corrupt):
		row.Bad = err.Error()
		return row, nil
	}
	return row, err
}

func optional(n *uint64) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
