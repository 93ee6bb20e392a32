package conversation

import (
	"parley/events"
)

// Fold is the state after a record. Public always follows; Private follows
// where the record's secrets can be read and is nil where they cannot, until a
// record brings the whole private state again.
//
// The law: with t of Step(s, in, env) and r the record of t.Events at
// t.Next.TimeMs, Fold(s, r) equals t.Next.At(r.Version) in Public and Private.
func Fold(s State, r *events.Record) (State, error) {
	return s, brokenf("not a record")
}

// Reseals reports whether the events hold the whole private state. Right before such a record is the place for a
// snapshot of Public: with that record and the following ones it gives the private state too.
func Reseals(evs []events.Event) bool {
	for i := range evs {
		for _, s := range evs[i].Secrets {
			if s.Class == events.ClassPrivateState {
				return true
			}
		}
	}
	return false
}

// Messages reads the spooled plaintexts of a record: what has to be handed to
// the owner again after a restart. Those whose key is gone are left out.
func Messages(r *events.Record) ([]ReceivedMessage, error) {
	return nil, brokenf("not a record")
}
