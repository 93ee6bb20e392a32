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

// list shows the logs there are, and those of which only a key ring is left. A log that cannot be read to its end is shown up to there;
// that, and whatever else the store has lost, makes the command end with "bad history".
func list(ctx context.Context, s *session) error {
	damage := s.history.Damage(ctx)
	if damage != nil && !errors.Is(damage, events.ErrDamaged) {
		return damage
	}
	logs, err := s.chosen(s.history.Expected(ctx))
	if err != nil {
		return err
	}
	p := newPrinter(s, append(logColumns(func(r listRow) logName { return r.logName }),
		column[listRow]{"EPOCH", func(r listRow) string { return optional(r.Epoch) }},
		column[listRow]{"MEMBERS", func(r listRow) string { return count(r.Members) }},
		column[listRow]{"LAST", func(r listRow) string { return r.Time }},
		column[listRow]{"HEAD", head},
		column[listRow]{"NOTE", func(r listRow) string { return r.Bad }})...)
	bad := 0
	for _, id := range logs {
		row, err := summarize(ctx, s, id)
		if err != nil {
			return explain(err)
		}
		if row.Version == 0 && row.Bad == "" && damage != nil {
			row.Bad = "it has a key ring and no record"
		}
		if row.Version == 0 && row.Bad == "" {
			continue // a ring is made before the first record: this log was never begun
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
	return listed(bad, len(logs), damage)
}

// listed is what is wrong with the logs that were listed, and with the store they are in.
func listed(bad, logs int, damage error) error {
	var wrong []string
	if bad > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of %d logs are damaged", bad, logs))
	}
	if damage != nil {
		wrong = append(wrong, damage.Error())
	}
	if len(wrong) == 0 {
		return nil
	}
	return &badHistory{strings.Join(wrong, "; ")}
}

// head is the row's head as --head takes it; empty without a record.
func head(r listRow) string {
	if r.Version == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%s", r.Version, r.Digest)
}

func summarize(ctx context.Context, s *session, id events.LogID) (listRow, error) {
	row := listRow{logName: nameOf(id)}
	members := projections.NewMembers(id.Client)
	found, err := s.history.Survey(ctx, id, s.options.at, func(r *events.Record) error {
		row.Version, row.Digest, row.Time = r.Version, r.Digest.String(), timeOf(r.TimeMS)
		members.Apply(r)
		if epoch, ok := audit.EpochAfter(r); ok {
			row.Epoch = &epoch
		}
		return nil
	})
	row.Members = len(members.Present())
	var missing *audit.NotThereError
	switch {
	case errors.As(err, &missing):
		return row, nil
	case err != nil:
		return row, err
	case found != nil:
		row.Bad = found.Brief()
	}
	return row, nil
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
