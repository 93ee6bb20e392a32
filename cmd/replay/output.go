package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// format is how rows are printed.
type format int

const (
	formatTable format = iota
	formatJSON
	formatNDJSON
)

// column is one column of a table: its head and how a row fills it.
type column[T any] struct {
	head string
	cell func(T) string
}

// printer writes rows of one type in the chosen format. Close ends what was begun.
type printer[T any] struct {
	w       io.Writer
	tab     *tabwriter.Writer
	format  format
	columns []column[T]
	rows    int
	live    bool // flush after every row: somebody is watching
}

func newPrinter[T any](s *session, columns ...column[T]) *printer[T] {
	return &printer[T]{w: s.out, tab: tabwriter.NewWriter(s.out, 2, 8, 2, ' ', 0), format: s.options.format, columns: columns, live: s.options.follow}
}

// row prints one row.
func (p *printer[T]) row(v T) error {
	first := p.rows == 0
	p.rows++
	if p.format == formatTable {
		return p.tableRow(v, first)
	}
	line, err := encodeJSON(v)
	if err != nil {
		return err
	}
	switch {
	case p.format == formatNDJSON:
		_, err = fmt.Fprintf(p.w, "%s\n", line)
	case first:
		_, err = fmt.Fprintf(p.w, "[\n  %s", line)
	default:
		_, err = fmt.Fprintf(p.w, ",\n  %s", line)
	}
	return err
}

func (p *printer[T]) tableRow(v T, first bool) error {
	cells := make([]string, len(p.columns))
	if first {
		for i, c := range p.columns {
			cells[i] = c.head
		}
		if _, err := fmt.Fprintln(p.tab, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	for i, c := range p.columns {
		cells[i] = c.cell(v)
		if cells[i] == "" {
			cells[i] = "-"
		}
	}
	if _, err := fmt.Fprintln(p.tab, strings.Join(cells, "\t")); err != nil {
		return err
	}
	if p.live {
		return p.tab.Flush()
	}
	return nil
}

// close ends the output; an empty table says so instead of printing nothing.
func (p *printer[T]) close(nothing string) error {
	var err error
	switch {
	case p.format == formatTable && p.rows == 0:
		_, err = fmt.Fprintln(p.w, nothing)
	case p.format == formatTable:
		err = p.tab.Flush()
	case p.format == formatJSON && p.rows == 0:
		_, err = fmt.Fprintln(p.w, "[]")
	case p.format == formatJSON:
		_, err = fmt.Fprint(p.w, "\n]\n")
	}
	return err
}

// document prints one value: text lines for people, one JSON object for programs.
func document[T any](s *session, v T, text func(io.Writer, T) error) error {
	if s.options.format == formatTable {
		return text(s.out, v)
	}
	line, err := encodeJSON(v)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s\n", line)
	return err
}

// encodeJSON keeps <, > and & as they are: this is for terminals and files, not for web pages.
func encodeJSON(v any) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", fmt.Errorf("encode output: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
