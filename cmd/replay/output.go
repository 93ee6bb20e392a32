package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
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
	format  format
	columns []column[T]
	rows    int
	cells   [][]string // of the table, and not printed yet
	widths  []int      // of the columns; they only grow, so that what is printed later stands under what was printed before
}

func newPrinter[T any](s *session, columns ...column[T]) *printer[T] {
	return &printer[T]{w: s.out, format: s.options.format, columns: columns, widths: make([]int, len(columns))}
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
	if first {
		heads := make([]string, len(p.columns))
		for i, c := range p.columns {
			heads[i] = c.head
		}
		if err := p.hold(heads); err != nil {
			return err
		}
	}
	cells := make([]string, len(p.columns))
	for i, c := range p.columns {
		if cells[i] = c.cell(v); cells[i] == "" {
			cells[i] = "-"
		}
	}
	return p.hold(cells)
}

// heldMax bounds the lines that are held.
const heldMax = 1024

// hold keeps a line until the widths are known that it needs.
func (p *printer[T]) hold(cells []string) error {
	for i, cell := range cells {
		p.widths[i] = max(p.widths[i], utf8.RuneCountInString(cell))
	}
	if p.cells = append(p.cells, cells); len(p.cells) < heldMax {
		return nil
	}
	return p.rest()
}

// rest prints the lines of the table that are held: nothing follows them for now.
func (p *printer[T]) rest() error {
	var b strings.Builder
	for _, cells := range p.cells {
		for i, cell := range cells[:len(cells)-1] {
			fmt.Fprintf(&b, "%-*s  ", p.widths[i], cell)
		}
		b.WriteString(cells[len(cells)-1] + "\n")
	}
	p.cells = p.cells[:0]
	_, err := io.WriteString(p.w, b.String())
	return err
}

// close ends the output; an empty table says so instead of printing nothing.
func (p *printer[T]) close(nothing string) error {
	var err error
	switch {
	case p.format == formatTable && p.rows == 0:
		_, err = fmt.Fprintln(p.w, nothing)
	case p.format == formatTable:
		err = p.rest()
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
