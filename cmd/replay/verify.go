package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"parley/events"
	"parley/internal/audit"
)

// verifyRow is the verdict on one log.
type verifyRow struct {
	logName
	Result  string      `json:"result"` // consistent, complete, bad
	Against string      `json:"against,omitempty"`
	Notes   []string    `json:"notes,omitempty"`
	Version uint64      `json:"version"`
	Digest  string      `json:"digest"`
	Did     audit.Tally `json:"did"`
	Bad     *badRow     `json:"bad,omitempty"`
}

type badRow struct {
	Version uint64 `json:"version"`
	Check   string `json:"check"`
	Detail  string `json:"detail"`
}

// verify proves the chosen logs right, or names the first bad record of each. Its last line is the summary.
func verify(ctx context.Context, s *session) error {
	logs, err := s.verified(ctx)
	if err != nil {
		return err
	}
	p := newPrinter(s, append(logColumns(func(r verifyRow) logName { return r.logName }),
		column[verifyRow]{"RECORDS", func(r verifyRow) string { return fmt.Sprint(r.Did.Records) }},
		column[verifyRow]{"EPOCHS", func(r verifyRow) string { return count(r.Did.Epochs) }},
		column[verifyRow]{"RESULT", func(r verifyRow) string { return r.Result }},
		column[verifyRow]{"NOTE", verifyNote})...)
	var rows []verifyRow
	report, err := s.history.Verify(ctx, logs, s.options.head, func(r audit.LogReport) error {
		if s.options.format == formatJSON {
			rows = append(rows, verifyRowOf(r))
			return nil
		}
		return p.row(verifyRowOf(r))
	})
	if err != nil {
		return explain(err)
	}
	if s.options.format != formatJSON {
		if err := p.close("no logs"); err != nil {
			return err
		}
	}
	return s.conclude(report, rows)
}

// verified are the logs to verify; a trusted head is about one log, so it must be clear which.
func (s *session) verified(ctx context.Context) ([]events.LogID, error) {
	logs, err := s.chosen(s.history.Expected(ctx))
	if err != nil {
		return nil, err
	}
	if s.options.head != nil && len(logs) != 1 {
		return nil, usagef("replay verify --client ID --conv ID --head VERSION:DIGEST", "--head is the head of one log, and %d match", len(logs))
	}
	if s.options.head != nil && !s.options.at.IsNewest() {
		return nil, usagef("replay verify without --at", "--head and --at exclude each other")
	}
	return logs, nil
}

func verifyRowOf(r audit.LogReport) verifyRow {
	row := verifyRow{logName: nameOf(r.Log), Result: string(r.Result), Against: r.Against, Notes: r.Notes, Version: r.Head.Version, Digest: r.Head.Digest.String(), Did: r.Tally}
	if r.Finding != nil {
		row.Bad = &badRow{r.Finding.Version, string(r.Finding.Check), r.Finding.Detail}
	}
	return row
}

func verifyNote(r verifyRow) string {
	notes := r.Notes
	switch {
	case r.Bad != nil:
		notes = append([]string{fmt.Sprintf("record %d: %s: %s", r.Bad.Version, r.Bad.Check, r.Bad.Detail)}, notes...)
	case r.Against != "":
		notes = append([]string{r.Against}, notes...)
	}
	return strings.Join(notes, "; ")
}

// verdict is the sum of a verification.
type verdict struct {
	Summary string      `json:"summary"`
	Result  string      `json:"result"`
	Did     audit.Tally `json:"did"`
	Logs    []verifyRow `json:"logs,omitempty"`
}

// conclude prints the summary and turns a bad history into the exit code. As JSON the whole report is one object.
func (s *session) conclude(report audit.Report, rows []verifyRow) error {
	v := verdict{report.Summary(), string(report.Result), report.Tally, rows}
	err := document(s, v, func(w io.Writer, v verdict) error {
		_, err := fmt.Fprintln(w, v.Summary)
		return err
	})
	if err == nil && report.Result == audit.Bad {
		return &badHistory{"the history is not what was once stored"}
	}
	return err
}
