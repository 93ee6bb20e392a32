package projections

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"parley/events"
	eventsv1 "parley/events/v1"
	"parley/internal/ids"
)

// Sentence tells a record in one sentence: when, who changed what, and why.
func Sentence(id events.LogID, r *events.Record) string {
	n := narrator{id: id, who: subject(id)}
	clauses := make([]string, 0, len(r.Events))
	for _, e := range r.Events {
		if clause := n.clause(e.Body); clause != "" {
			clauses = append(clauses, clause)
		}
	}
	if len(clauses) == 0 {
		clauses = append(clauses, n.who+" recorded nothing")
	}
	return fmt.Sprintf("At %s %s, %s.", Timestamp(r.TimeMS), strings.Join(clauses, "; "), n.why(r))
}

// Timestamp prints a record's time, in UTC with milliseconds.
func Timestamp(ms uint64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// narrator words the events of one record.
type narrator struct {
	id       events.LogID
	who      string
	position uint64 // newest place in the group's order that the record speaks of
}

// clause words one event. Each helper knows one family and answers "" for the rest; a kind that none of them knows is told by its name,
// so that an older program can still show a newer log.
func (n *narrator) clause(body eventsv1.Body) string {
	for _, family := range []func(eventsv1.Body) string{n.epoch, n.proposal, n.commit, n.traffic, n.upkeep, n.trouble, n.client, n.order} {
		if clause := family(body); clause != "" {
			return clause
		}
	}
	if body == nil {
		return n.who + " recorded an event this program does not know"
	}
	return n.who + " recorded " + body.EventKind()
}

// why names the cause of a record: a command, the group's order, or upkeep.
func (n *narrator) why(r *events.Record) string {
	var b strings.Builder
	c := r.Cause
	switch {
	case c.Command != "" && c.Principal != "":
		fmt.Fprintf(&b, "because %s asked for %s", printable([]byte(c.Principal)), printable([]byte(c.Command)))
	case c.Command != "":
		fmt.Fprintf(&b, "because of the command %s", printable([]byte(c.Command)))
	case n.position != 0:
		fmt.Fprintf(&b, "following the group's order to position %d", n.position)
	default:
		b.WriteString("as upkeep")
	}
	if c.CommandID != "" {
		fmt.Fprintf(&b, " (command id %s)", c.CommandID)
	}
	if r.Batch != nil {
		fmt.Fprintf(&b, ", in one transaction with %s", n.others(r.Batch))
	}
	return b.String()
}

// at remembers a position in the group's order and words it.
func (n *narrator) at(position uint64) string {
	if position == 0 {
		return ""
	}
	n.position = max(n.position, position)
	return fmt.Sprintf(" at position %d", position)
}

// subject names whose log it is.
func subject(id events.LogID) string {
	switch id.Kind {
	case events.KindOrder:
		return "the order of " + id.Conversation.String()
	case events.KindDirectory:
		return "the directory of " + id.Client.String()
	}
	return id.Client.String()
}

// people lists client ids: "ann", "ann and bob", "ann, bob and carol".
func people(clients [][]byte) string {
	names := make([]string, len(clients))
	for i, c := range clients {
		names[i] = ids.ClientID(c).String()
	}
	return enumerate(names)
}

func enumerate(names []string) string {
	switch len(names) {
	case 0:
		return "nobody"
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// changed lists the clients of member changes.
func changed(members []*eventsv1.MemberChange) string {
	clients := make([][]byte, len(members))
	for i, m := range members {
		clients[i] = m.GetClient()
	}
	return people(clients)
}

// plural words a count: "1 message", "3 messages".
func plural[N ~uint32 | ~uint64 | ~int](count N, noun string) string {
	if count == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", count, noun)
}

// short is the beginning of a digest or reference, enough to find it again.
func short(b []byte) string {
	if len(b) > 6 {
		b = b[:6]
	}
	return hex.EncodeToString(b)
}

// printable is text as it stands where a terminal can show it in one piece, and 0x hex otherwise.
func printable(b []byte) string {
	if len(b) == 0 || !utf8.Valid(b) {
		return "0x" + hex.EncodeToString(b)
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) {
			return "0x" + hex.EncodeToString(b)
		}
	}
	return string(b)
}

// reason appends a recorded reason to a clause.
func reason(text string) string {
	if text == "" {
		return ""
	}
	return " (" + printable([]byte(text)) + ")"
}
