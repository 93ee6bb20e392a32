package jetlog

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"parley/events"
	"parley/internal/ids"
)

var update = flag.Bool("update", false, "rewrite testdata")

// exampleLogs has an id of every kind, short, awkward and too long to stand in a subject.
func exampleLogs() []events.LogID {
	long := strings.Repeat("x", 65)
	limit := strings.Repeat("y", 64)
	return []events.LogID{
		events.ClientLog("alice"),
		events.ConversationLog("alice", "room 1"),
		events.ConversationLog("_", "_"),
		events.ConversationLog("a.b*c>", "\x00\xff"),
		events.ConversationLog(ids.ClientID(limit), ids.ConversationID(long)),
		events.ConversationLog(ids.ClientID(long), "g"),
		events.ClientLog(ids.ClientID(long)),
		events.OrderLog("room 1"),
		events.OrderLog(ids.ConversationID(long)),
		events.DirectoryLog("alice"),
		events.DirectoryLog(ids.ClientID(long)),
		events.AuthoritiesLog(),
	}
}

// TestNamesAreFrozen compares every subject and stream name with those of the first release: stored histories are found by them.
func TestNamesAreFrozen(t *testing.T) {
	var out strings.Builder
	for _, n := range []Names{{Namespace: "parley", Partitions: 1}, {Namespace: "fleet_2", Partitions: 8}} {
		fmt.Fprintf(&out, "# namespace %s, %d partitions\n", n.Namespace, n.Partitions)
		for stream := range Stream(streamCount) {
			fmt.Fprintf(&out, "%s takes %s\n", n.Stream(stream, n.Partitions-1), n.Subjects(stream, n.Partitions-1))
		}
		for _, id := range exampleLogs() {
			fmt.Fprintf(&out, "%s log of client %q, conversation %q\n", id.Kind, string(id.Client), string(id.Conversation))
			for _, find := range []func(events.LogID) (string, string, error){n.Subject, n.RingSubject, n.SnapshotSubject, n.AnchorSubject} {
				stream, subject, err := find(id)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "  %-14s %s\n", stream, subject)
			}
			if id.IsClient() {
				stream, subject, err := n.InboxSubject(id.Client)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "  %-14s %s\n", stream, subject)
			}
		}
	}
	const golden = "testdata/names.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("names have changed; stored histories would not be found:\n%s", out.String())
	}
}

func TestSubjectsTellTheirIDs(t *testing.T) {
	n := Names{Namespace: "parley", Partitions: 3}
	seen := map[string]events.LogID{}
	for _, id := range exampleLogs() {
		at, err := n.log(id)
		if err != nil {
			t.Fatal(err)
		}
		for _, stream := range []Stream{StreamKeys, StreamSnapshots} {
			beside, err := n.beside(stream, id)
			if err != nil {
				t.Fatal(err)
			}
			if other, twice := seen[beside.subject]; twice {
				t.Errorf("%v and %v share %s", id, other, beside.subject)
			}
			seen[beside.subject] = id
			back, err := parse(stream, beside.subject, beside.header())
			if err != nil || back != id {
				t.Errorf("%s: %v, %v; want %v", beside.subject, back, err, id)
			}
			if hidden := beside.id != ""; hidden != needsHeader(beside.subject) && id.Kind != events.KindDirectory {
				t.Errorf("%s: needs a header: %v, has one: %v", beside.subject, needsHeader(beside.subject), hidden)
			}
		}
		stream := map[events.Kind]Stream{events.KindMember: StreamLog, events.KindOrder: StreamOrder, events.KindDirectory: StreamDirectory,
			events.KindAuthorities: StreamDirectory}[id.Kind]
		if back, err := parse(stream, at.subject, at.header()); err != nil || back != id {
			t.Errorf("%s: %v, %v; want %v", at.subject, back, err, id)
		}
	}
}

func TestStrangeSubjectsAreRefused(t *testing.T) {
	for _, subject := range []string{"", "parley.log", "parley.log.YQ", "parley.log.YQ.YQ.YQ", "parley.log.YQ.!!", "parley.log.YR.YQ", "parley.log.~abc.YQ", "parley.log..YQ"} {
		if id, err := parse(StreamLog, subject, nil); !errors.Is(err, events.ErrBadLog) {
			t.Errorf("%q is %v, %v; want ErrBadLog", subject, id, err)
		}
	}
	for _, name := range []string{"", "a.b", "a b", "ü", "*", strings.Repeat("n", 33)} {
		if err := (Names{Namespace: name, Partitions: 1}).Validate(); !errors.Is(err, ErrBadNamespace) {
			t.Errorf("namespace %q: %v", name, err)
		}
	}
}
