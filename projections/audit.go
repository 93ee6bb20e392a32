package projections

import (
	"parley/events"
	"parley/internal/ids"
)

// AuditRow is one event with its circumstances: what happened, in whose log, when, and on whose command.
type AuditRow struct {
	Log         events.LogID
	Version     uint64
	TimeMS      uint64
	Event       string // kind of the event
	Text        string // the clause Sentence would use
	Command     string
	CommandID   ids.CommandID
	Principal   string
	Transaction ids.TransactionID
}

// AuditRows are the rows of the narrator's next record, one for each event.
func (n *Narrator) AuditRows(r *events.Record) []AuditRow {
	rows := make([]AuditRow, 0, len(r.Events))
	for i, clause := range n.Clauses(r) {
		rows = append(rows, AuditRow{
			Log: n.id, Version: r.Version, TimeMS: r.TimeMS, Event: r.Events[i].Kind(), Text: clause,
			Command: r.Cause.Command, CommandID: r.Cause.CommandID, Principal: r.Cause.Principal, Transaction: r.Cause.Transaction,
		})
	}
	return rows
}
