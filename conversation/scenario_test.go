package conversation

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
)

var update = flag.Bool("update", false, "rewrite the expected outcomes in testdata")

// TestScenarios runs the transcripts in testdata: commands, then what they led
// to. Run with -update to rewrite the outcomes, and review the difference.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newStage(t).play(string(want))
			if *update {
				err = os.WriteFile(file, []byte(got), 0o644)
			} else if got != string(want) {
				t.Errorf("%s is out of date; run go test ./conversation -run Scenarios -update and review.\n%s", file, firstDifference(got, string(want)))
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s", i+1, g[i], append(w, "")[min(i, len(w))])
		}
	}
	return "the outcome is shorter"
}

// stage plays a scenario.
type stage struct {
	t     *testing.T
	w     *world
	names map[string]*member
	out   strings.Builder
}

func newStage(t *testing.T) *stage {
	return &stage{t: t, w: newWorld(t, 11, DefaultConfig()), names: map[string]*member{}}
}

// play runs the blocks of a script: commands up to a line of dashes, whose
// outcome up to the next empty line is replaced. Lines that begin with # are
// kept.
func (s *stage) play(script string) string {
	skipping := false
	for _, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		switch {
		case skipping && line != "":
		case skipping:
			skipping = false
			s.out.WriteByte('\n')
		case line == "----":
			s.out.WriteString("----\n")
			s.flush()
			skipping = true
		case line == "" || strings.HasPrefix(line, "#"):
			s.out.WriteString(line + "\n")
		default:
			s.out.WriteString(line + "\n")
			s.run(strings.Fields(line))
		}
	}
	return s.out.String()
}

// results collects what the commands of a block led to.
func (s *stage) flush() {
	for _, line := range s.w.transcript {
		s.out.WriteString(line + "\n")
	}
	s.w.transcript = nil
}

func (s *stage) run(words []string) {
	s.t.Helper()
	if words[0] == "clock" {
		d, err := time.ParseDuration(words[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.w.nowMs += uint64(d.Milliseconds())
		return
	}
	if words[0] == "policy" {
		s.w.config.WirePolicy = map[string]WirePolicy{"plaintext": WirePlaintext, "ciphertext": WireCiphertext}[words[1]]
		return
	}
	m := s.member(words[0])
	switch verb, rest := words[1], words[2:]; verb {
	case "follow":
		s.w.followAll(m)
	case "answer":
		s.w.answer(m)
	case "lose-answer":
		m.answers = nil
	case "crash":
		s.w.restart(m)
	case "resend":
		for _, e := range m.state.Unsent() {
			s.w.send(m, e)
		}
	case "say":
		r := s.do(m, Encrypt{Plaintext: []byte(strings.Join(rest, " "))})
		if r.Err == nil {
			s.w.append(Entry{Kind: EntryApplication, Message: r.Ciphertext})
		}
	case "inject":
		s.w.append(Entry{Kind: EntryApplication, Message: []byte(strings.Join(rest, " "))})
	case "state":
		s.w.print("%s: %s, epoch %d, %v, %d pending, staged %v", m.name, m.state.Lifecycle, m.state.Epoch(), m.state.ClientIDs(),
			len(m.state.Pending), m.state.Staged != nil)
	default:
		s.do(m, s.input(m, verb, rest))
	}
}

func (s *stage) member(name string) *member {
	if s.names[name] == nil {
		s.names[name] = s.w.newMember(name)
	}
	return s.names[name]
}

func (s *stage) do(m *member, in Input) Reply {
	s.t.Helper()
	return s.w.step(m, in)
}

func (s *stage) input(m *member, verb string, rest []string) Input {
	s.t.Helper()
	meta := s.w.meta(m)
	switch verb {
	case "create":
		return Create{CommandMeta: meta, Config: s.w.config}
	case "add":
		in := AddMembers{CommandMeta: meta}
		for _, name := range rest {
			in.KeyPackages = append(in.KeyPackages, s.w.invite(s.member(name)))
		}
		return in
	case "remove":
		in := RemoveMembers{CommandMeta: meta}
		for _, name := range rest {
			in.Clients = append(in.Clients, ids.ClientID(name))
		}
		return in
	case "update":
		return UpdateKeyMaterial{CommandMeta: meta}
	case "commit":
		return CommitPending{CommandMeta: meta}
	case "propose-add":
		return ProposeAdd{CommandMeta: meta, KeyPackage: s.w.invite(s.member(rest[0]))}
	case "propose-remove":
		return ProposeRemove{CommandMeta: meta, Client: ids.ClientID(rest[0])}
	case "propose-update":
		return ProposeUpdate{CommandMeta: meta}
	case "clear":
		i, _ := strconv.Atoi(rest[0])
		return ClearProposal{CommandMeta: meta, Ref: m.state.Pending[i].Ref}
	case "export":
		return ExportSecret{CommandMeta: meta, Length: 32}
	case "ack":
		n, _ := strconv.ParseUint(rest[0], 10, 64)
		return Acknowledge{Through: n}
	case "checkpoint":
		return Checkpoint{Reason: "timer"}
	case "wipe":
		return Wipe{CommandMeta: meta}
	}
	s.t.Fatalf("no such command: %s", verb)
	return nil
}

// print adds a line to the transcript of a world.
func (w *world) print(format string, args ...any) {
	w.transcript = append(w.transcript, fmt.Sprintf(format, args...))
}

// tell writes what a step led to.
func (w *world) tell(m *member, tr Transition) {
	if err := tr.Reply.Err; err != nil {
		w.print("%s: refused: %s (%s)", m.name, err.Code, err.Advice)
	}
	for _, e := range tr.Events {
		w.print("%s: %s", m.name, describe(e))
	}
	for _, msg := range tr.Reply.Messages {
		w.print("%s: hears %q from %s", m.name, msg.Plaintext.Expose(), msg.Sender)
	}
	for _, c := range tr.Reply.Completed {
		if c.Err != nil {
			w.print("%s: %s ends: %s (%s)", m.name, c.Command.Name, c.Err.Code, c.Err.Advice)
		}
	}
}

// describe prints the parts of an event that do not depend on keys.
func describe(e events.Event) string {
	text := e.Kind()
	switch b := e.Body.(type) {
	case *v1.EpochAdvanced:
		text += fmt.Sprintf(" to epoch %d by %s at %d", b.GetFacts().GetEpoch(), b.GetCommitter(), b.GetPosition())
		text += roster(" +", b.GetAdded()) + roster(" -", b.GetRemoved()) + roster(" ~", b.GetUpdated())
	case *v1.CommitStaged:
		text += fmt.Sprintf(" in epoch %d: %s, %d by reference", b.GetEpoch(), b.GetIntent(), len(b.GetProposalRefs()))
	case *v1.CommitRejected:
		text += " " + b.GetCode()
	case *v1.GenerationsReserved:
		text += fmt.Sprintf(" %d..%d", b.GetFrom(), b.GetFrom()+b.GetCount()-1)
	case *v1.MessagesConsumed:
		text += fmt.Sprintf(" %d, from number %d, up to %d", b.GetCount(), b.GetFirstMessage(), b.GetPosition())
	case *v1.OrderFollowed:
		text += fmt.Sprintf(" up to %d, %d own", b.GetPosition(), b.GetOwnMessages())
	case *v1.MessageRejected:
		text += fmt.Sprintf(" %s at %d", b.GetCode(), b.GetPosition())
	case *v1.ProposalReceived:
		text += fmt.Sprintf(" type %d at %d", b.GetFacts().GetType(), b.GetPosition())
	case *v1.ProposalCreated:
		text += fmt.Sprintf(" type %d about %s", b.GetFacts().GetType(), b.GetFacts().GetClient())
	case *v1.CommandCompleted:
		text += " " + b.GetCommand().GetCommand()
		if b.GetError() != "" {
			text += " " + b.GetError()
		}
	}
	for _, part := range e.Secrets {
		text += " [" + part.Class.String() + "]"
	}
	return text
}

func roster(sign string, changes []*v1.MemberChange) string {
	var text bytes.Buffer
	for _, c := range changes {
		fmt.Fprintf(&text, "%s%s", sign, c.GetClient())
	}
	return text.String()
}
