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

// AuditRows are the rows of one record, one for each event.
func AuditRows(id events.LogID, r *events.Record) []AuditRow {
	rows := make([]AuditRow, 0, len(r.Events))
	n := narrator{id: id, who: subject(id)}
	for _, e := range r.Events {
		row := AuditRow{
			Log: id, Version: r.Version, TimeMS: r.TimeMS, Event: e.Kind(), Text: n.clause(e.Body),
			Command: r.Cause.Command, CommandID: r.Cause.CommandID, Principal: r.Cause.Principal, Transaction: r.Cause.Transaction,
		}
		rows = append(rows, row)
	}
	return rows
}
