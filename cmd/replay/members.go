package main

import (
	"context"
	"encoding/hex"
	"fmt"

	"parley/events"
	"parley/projections"
)

// memberRow is one stay of a client in the group.
type memberRow struct {
	Leaf         uint32  `json:"leaf"`
	Client       string  `json:"client"`
	Status       string  `json:"status"` // present, gone
	Since        uint64  `json:"since_epoch"`
	SinceVersion uint64  `json:"since_version"`
	AddedBy      string  `json:"added_by,omitempty"`
	Updated      uint64  `json:"updated_epoch"`
	Gone         *uint64 `json:"gone_epoch,omitempty"`
	GoneVersion  uint64  `json:"gone_version,omitempty"`
	RemovedBy    string  `json:"removed_by,omitempty"`
	SignatureKey string  `json:"signature_key,omitempty"`
}

func memberRowOf(m projections.Member) memberRow {
	row := memberRow{
		Leaf: m.Leaf, Client: m.Client.String(), Status: "present", Since: m.SinceEpoch, SinceVersion: m.SinceVersion,
		AddedBy: m.AddedBy.String(), Updated: m.UpdatedEpoch, SignatureKey: hex.EncodeToString(m.SignatureKey),
	}
	if m.Gone {
		row.Status, row.Gone, row.GoneVersion, row.RemovedBy = "gone", &m.GoneEpoch, m.GoneVersion, m.RemovedBy.String()
	}
	return row
}

// members shows who is in the group at a place, and then who was.
func members(ctx context.Context, s *session) error {
	id, err := s.conversation(ctx)
	if err != nil {
		return err
	}
	roster := projections.NewMembers(id.Client)
	err = s.history.Records(ctx, id, s.options.at, func(r *events.Record) error {
		roster.Apply(r)
		return nil
	})
	if err != nil {
		return explain(err)
	}
	p := newPrinter(s,
		column[memberRow]{"LEAF", func(r memberRow) string { return fmt.Sprint(r.Leaf) }},
		column[memberRow]{"CLIENT", func(r memberRow) string { return r.Client }},
		column[memberRow]{"STATUS", func(r memberRow) string { return r.Status }},
		column[memberRow]{"SINCE", func(r memberRow) string { return fmt.Sprintf("epoch %d", r.Since) }},
		column[memberRow]{"ADDED BY", func(r memberRow) string { return r.AddedBy }},
		column[memberRow]{"RENEWED", func(r memberRow) string { return fmt.Sprintf("epoch %d", r.Updated) }},
		column[memberRow]{"GONE", func(r memberRow) string { return goneText(r) }},
		column[memberRow]{"REMOVED BY", func(r memberRow) string { return r.RemovedBy }})
	for _, m := range append(roster.Present(), roster.Past()...) {
		if err := p.row(memberRowOf(m)); err != nil {
			return err
		}
	}
	return p.close("no members")
}

func goneText(r memberRow) string {
	if r.Gone == nil {
		return ""
	}
	return fmt.Sprintf("epoch %d", *r.Gone)
}
