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

// Narrator tells the records of one log in sentences. It remembers who is in the group, so that it can name whom an event only numbers;
// give it the records in order.
type Narrator struct {
	id      events.LogID
	who     string
	members *Members
	names   map[uint32]ids.ClientID
	wishes  map[string]string // of the epoch's proposals, by reference

	cause     events.Cause // of the record being told
	position  uint64       // newest place in the group's order that it speaks of
	published int          // key packages in it that no clause has counted yet
}

// NewNarrator starts at the beginning of a log.
func NewNarrator(id events.LogID) *Narrator {
	return &Narrator{id: id, who: subject(id), members: NewMembers(id.Client), names: map[uint32]ids.ClientID{}, wishes: map[string]string{}}
}

// Sentence tells the next record: when, who changed what, and why.
func (n *Narrator) Sentence(r *events.Record) string {
	clauses := make([]string, 0, len(r.Events))
	for _, clause := range n.Clauses(r) {
		if clause != "" {
			clauses = append(clauses, clause)
		}
	}
	switch {
	case len(clauses) == 0 && n.position > 0:
		clauses = append(clauses, "nothing changed for "+n.who)
	case len(clauses) == 0:
		clauses = append(clauses, n.who+" recorded nothing")
	}
	return fmt.Sprintf("At %s %s, %s.", Timestamp(r.TimeMS), strings.Join(clauses, "; "), n.why(r))
}

// Clauses tells the next record event by event; an event that goes without saying has no words.
func (n *Narrator) Clauses(r *events.Record) []string {
	n.cause, n.position, n.published = r.Cause, 0, 0
	for _, e := range r.Events {
		if _, ok := e.Body.(*eventsv1.KeyPackagePublished); ok {
			n.published++
		}
	}
	clauses := make([]string, 0, len(r.Events))
	for _, e := range r.Events {
		clauses = append(clauses, n.clause(e.Body))
		n.learn(r, e)
	}
	return clauses
}

// learn keeps the names of those who are in the group. Names of those who left stay until their leaf is taken again.
func (n *Narrator) learn(r *events.Record, e events.Event) {
	one := events.Record{Head: r.Head, Events: []events.Event{e}}
	n.members.Apply(&one)
	if _, ok := epochOf(e.Body); ok {
		clear(n.wishes) // a new epoch has none
	}
	for _, m := range n.members.present {
		n.names[m.Leaf] = m.Client
	}
}

// leaf names the member at a leaf.
func (n *Narrator) leaf(leaf uint32) string {
	if name, ok := n.names[leaf]; ok {
		return name.String()
	}
	return fmt.Sprintf("leaf %d", leaf)
}

// Timestamp prints a record's time, in UTC with milliseconds.
func Timestamp(ms uint64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02T15:04:05.000Z")
}

// clause words one event. Each helper knows one family and answers "" for the rest; a kind that none of them knows is told by its name,
// so that an older program can still show a newer log.
func (n *Narrator) clause(body eventsv1.Body) string {
	for _, family := range []func(eventsv1.Body) string{n.epoch, n.proposal, n.commit, n.traffic, n.letters, n.upkeep, n.trouble, n.client, n.order} {
		if clause := family(body); clause != "" {
			return clause
		}
	}
	switch b := body.(type) {
	case *eventsv1.CommandCompleted:
		return n.completed(b)
	case *eventsv1.OrderFollowed:
		return n.followed(b)
	case *eventsv1.KeyPackagePublished:
		return n.publishes(b)
	}
	if body == nil {
		return n.who + " recorded an event this program does not know"
	}
	return n.who + " recorded " + body.EventKind()
}

// why names the cause of a record: the commands of somebody, the group's order, or upkeep.
func (n *Narrator) why(r *events.Record) string {
	var b strings.Builder
	switch asked := askers(r); {
	case len(asked) > 0:
		b.WriteString("because " + enumerate(asked))
	case r.Cause.Command == "acknowledge":
		b.WriteString("so that it need not be handed over again")
	case r.Cause.Command == "fail":
		b.WriteString("because its owner said so")
	case n.position != 0:
		fmt.Fprintf(&b, "following the group's order to position %d", n.position)
	case r.Cause.Command == "transport":
		b.WriteString("because the delivery service answered")
	default:
		b.WriteString("as upkeep")
	}
	if r.Batch != nil {
		fmt.Fprintf(&b, ", in one transaction with %s", n.others(r.Batch))
	}
	return b.String()
}

// askers names who asked for what. A record of several commands names none in its own cause; each is in the event that ends it.
func askers(r *events.Record) []string {
	c := r.Cause
	if c.Principal != "" {
		return []string{asker(c.Principal, c.Command, string(c.CommandID))}
	}
	if !several(c) {
		return nil
	}
	var asked []string
	for _, e := range r.Events {
		if done, ok := e.Body.(*eventsv1.CommandCompleted); ok && done.GetCommand().GetPrincipal() != "" {
			asked = append(asked, asker(done.Command.Principal, done.Command.Command, string(done.Command.Id)))
		}
	}
	return asked
}

// several tells a record that gathers commands.
func several(c events.Cause) bool { return c.Command == "batch" || c.Command == "transaction" }

// asker words one command. An id that nobody chose is left out: it would tell a reader nothing.
func asker(principal, command, id string) string {
	text := fmt.Sprintf("%s asked for %s", printable([]byte(principal)), printable([]byte(command)))
	if printed := ids.CommandID(id).String(); printed == id && id != "" {
		text += fmt.Sprintf(" (command id %s)", printed)
	}
	return text
}

// completed words the end of a command. One that is done in its own record needs no words.
func (n *Narrator) completed(b *eventsv1.CommandCompleted) string {
	command, principal := b.GetCommand().GetCommand(), b.GetCommand().GetPrincipal()
	if command == "" {
		command, principal = n.cause.Command, n.cause.Principal
	}
	what := "the command " + printable([]byte(command))
	if principal != "" {
		what += " of " + printable([]byte(principal))
	}
	own := n.cause.CommandID != "" && string(n.cause.CommandID) == string(b.GetCommand().GetId())
	switch {
	case b.GetCode() != 0:
		return fmt.Sprintf("%s failed%s%s", what, reason(b.GetError()), reason(b.GetDetail()))
	case own, several(n.cause):
		return "" // the cause says it
	}
	return "with that " + what + " is done"
}

// followed words a move along the group's order. Where nothing was met there, nothing needs to be said.
func (n *Narrator) followed(b *eventsv1.OrderFollowed) string {
	n.at(b.GetPosition())
	if b.GetOwnMessages() == 0 {
		return ""
	}
	return fmt.Sprintf("%s saw %s of its own in the group's order", n.who, plural(b.GetOwnMessages(), "message"))
}

// publishes words a row of published key packages once, with the first of them.
func (n *Narrator) publishes(b *eventsv1.KeyPackagePublished) string {
	count := n.published
	n.published = 0
	switch count {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("key package %s was published", short(b.GetKeyPackage().GetRef()))
	}
	return plural(count, "key package") + " were published"
}

// at remembers a position in the group's order and words it.
func (n *Narrator) at(position uint64) string {
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
	case events.KindAuthorities:
		return "the authorities"
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
