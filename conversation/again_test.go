package conversation

import (
	"errors"
	"testing"

	"parley/internal/ids"
)

// unanswered lets a command's commit end without an answer of the transport.
func (w *world) unanswered(m *member, command Command) (commit []byte, bundle ids.Digest) {
	w.t.Helper()
	commit = w.staged(m, command)
	bundle = m.state.Staged.Digest
	if end := w.verdict(m, bundle, TransportFailed); end == nil || !errors.Is(end.Err, TransportError) || end.Err.Advice != Retry {
		w.t.Fatalf("ended %+v", end)
	}
	return commit, bundle
}

// TestAskedAgainACommandTakesEffectOnce: the transport has given no answer. The same command under its id offers the identical bundle again, on
// whatever node, however often; whether that wins, the old offer turns out to have won, or somebody else wins, there is one commit of it.
func TestAskedAgainACommandTakesEffectOnce(t *testing.T) {
	commands := map[string]func(w *world, ada, bob *member) Command{
		"update": func(w *world, ada, _ *member) Command { return UpdateKeyMaterial{CommandMeta: w.meta(ada)} },
		"add":    func(w *world, ada, _ *member) Command { return addDan(w, ada) },
		"remove": func(w *world, ada, _ *member) Command {
			return RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"cara"}}
		},
		"pending": func(w *world, ada, bob *member) Command {
			w.hear(ada, w.step(bob, ProposeUpdate{CommandMeta: w.meta(bob)}).Proposal.Message)
			return CommitPending{CommandMeta: w.meta(ada)}
		},
	}
	for name, command := range commands {
		for _, end := range []string{"accepted", "echo", "lost"} {
			t.Run(name+" "+end, func(t *testing.T) {
				w, ada, bob, _ := trio(t, DefaultConfig())
				in := command(w, ada, bob)
				commit, bundle := w.unanswered(ada, in)
				for range 3 {
					w.restart(ada)
					r := w.step(ada, in)
					if r.Err != nil || !r.InFlight || ada.state.Staged.Digest != bundle || len(ada.state.Shelved) != 0 {
						t.Fatalf("asked again: %+v", r)
					}
					w.verdict(ada, bundle, TransportFailed)
				}
				w.step(ada, in)
				var done *Completion
				switch end {
				case "accepted":
					done = w.verdict(ada, bundle, TransportSuccess)
				case "echo":
					w.hear(ada, commit)
				case "lost":
					w.win(bob, ada)
					done = w.verdict(ada, bundle, TransportRetry)
					if name != "pending" { // bob's commit held nothing of what was pending: the update is his own
						if done != nil || ada.state.Staged == nil {
							t.Fatalf("not made anew: %+v", done)
						}
						done = w.verdict(ada, ada.state.Staged.Digest, TransportSuccess)
					}
				}
				if end != "echo" && (done == nil || done.Err != nil) {
					t.Fatalf("ended %+v", done)
				}
				epoch := ada.state.Epoch()
				if r := w.step(ada, in); !r.Repeated || r.Err != nil || ada.state.Epoch() != epoch || ada.state.Staged != nil {
					t.Errorf("asked when it is done: %+v", r)
				}
			})
		}
	}
}

// TestAnOlderCommitOfTheCommandIsEnough: another command has taken the place of the commit without an answer, which is asked for again; then the
// old one turns up.
func TestAnOlderCommitOfTheCommandIsEnough(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		config := DefaultConfig()
		if encrypted {
			config.WirePolicy = WireCiphertext
		}
		w, ada, bob, cara := trio(t, config)
		in := UpdateKeyMaterial{CommandMeta: w.meta(ada)}
		old, _ := w.unanswered(ada, in)
		w.unanswered(ada, RemoveMembers{CommandMeta: w.meta(ada), Clients: []ids.ClientID{"cara"}})
		w.staged(ada, in)
		newest := ada.state.Staged.Digest
		if len(ada.state.Shelved) != 2 {
			t.Fatalf("%d are shelved", len(ada.state.Shelved))
		}
		w.restart(ada)
		for _, m := range []*member{ada, bob, cara} {
			if o := w.hear(m, old); o.Kind != OutcomeCommit {
				t.Fatalf("%s: %+v", m.name, o)
			}
		}
		w.restart(ada)
		if end := w.verdict(ada, newest, TransportRetry); end == nil || end.Err != nil || ada.state.Staged != nil || ada.state.Epoch() != 2 {
			t.Errorf("ended %+v in epoch %d", end, ada.state.Epoch())
		}
		if r := w.step(ada, in); !r.Repeated || r.Err != nil {
			t.Errorf("asked again: %+v", r)
		}
	}
}

// TestAnUpdateAskedForAnewIsAnotherOne: under another id it is not the first one asked again, and its keys have to be newer than the request.
func TestAnUpdateAskedForAnewIsAnotherOne(t *testing.T) {
	w, ada, bob, cara := trio(t, DefaultConfig())
	first, _ := w.unanswered(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	w.staged(ada, UpdateKeyMaterial{CommandMeta: w.meta(ada)})
	second := ada.state.Staged.Digest
	for _, m := range []*member{ada, bob, cara} {
		w.hear(m, first)
	}
	if end := w.verdict(ada, second, TransportRetry); end != nil || ada.state.Staged == nil {
		t.Fatalf("ended %+v", end)
	}
	if end := w.verdict(ada, ada.state.Staged.Digest, TransportSuccess); end == nil || end.Err != nil || ada.state.Epoch() != 3 {
		t.Errorf("ended %+v in epoch %d", end, ada.state.Epoch())
	}
}

// TestAnotherRequestUnderTheIdIsRefused also while the first one has no answer.
func TestAnotherRequestUnderTheIdIsRefused(t *testing.T) {
	w, ada, _, _ := trio(t, DefaultConfig())
	meta := w.meta(ada)
	_, bundle := w.unanswered(ada, UpdateKeyMaterial{CommandMeta: meta})
	w.refused(ada, CommitPending{CommandMeta: meta}, CommandMismatch)
	if ada.state.Staged == nil || !ada.state.Staged.Failed || ada.state.Staged.Digest != bundle {
		t.Errorf("the commit is gone: %+v", ada.state.Staged)
	}
}
