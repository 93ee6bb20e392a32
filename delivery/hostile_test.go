package delivery

import (
	"bytes"
	"context"
	"testing"

	"parley/mlsengine"
)

// TestHostileSubmissionsChangeNothing brings messages and proposals that are not what they say, or not from whom they say: each is refused
// with its code, nothing enters the order, and the group goes on.
func TestHostileSubmissionsChangeNothing(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.MessageBytes = 4096 })
	bots := crowd(t, s, testGroup, 3)
	alice, bob := bots[0], bots[1]
	elsewhere := registered(t, s, "another group", "mallory")
	stale := must(alice.group.Propose(&mlsengine.Remove{Removed: 2}, mlsengine.Framing{}, alice.env()))(t).Message
	bundle, out := alice.update()
	e := alice.win(s, bundle, out)
	bob.process(e, nil)
	fresh := must(alice.group.Propose(&mlsengine.Remove{Removed: 2}, mlsengine.Framing{}, alice.env()))(t).Message
	sent := alice.message("once")
	if _, err := s.submitOne(ctx, &sent); err != nil {
		t.Fatal(err)
	}
	before := must(s.Newest(ctx, testGroup))(t)
	message := func(change func(*Message)) *Message {
		m := bob.message("x")
		change(&m)
		return &m
	}
	proposal := func(by *bot, b []byte) *Proposal { return &Proposal{Group: testGroup, Origin: by.origin(), Message: b} }
	for name, c := range map[string]struct {
		sub  Submission
		want Code
	}{
		"a stranger's message":          {message(func(m *Message) { m.Origin.Client = "eve" }), NotMember},
		"another group's message":       {message(func(m *Message) { m.Bytes = elsewhere.message("x").Bytes }), Malformed},
		"garbage":                       {message(func(m *Message) { m.Bytes = []byte("garbage") }), Malformed},
		"a commit as a message":         {message(func(m *Message) { m.Bytes = bundle.Commit }), Malformed},
		"an oversized message":          {message(func(m *Message) { m.Bytes = bytes.Repeat([]byte{1}, 5000) }), TooLarge},
		"a command id of another":       {message(func(m *Message) { m.Origin = sent.Origin }), CommandReused},
		"a command of long ago":         {message(func(m *Message) { m.Origin.IssuedMs = 1 }), Expired},
		"a member's forged proposal":    {proposal(bob, fresh), NotMember},
		"a proposal of the last epoch":  {proposal(alice, stale), WrongEpoch},
		"a proposal that was tampered":  {proposal(alice, flipped(fresh, -50)), Invalid},
		"a message as a proposal":       {proposal(alice, sent.Bytes), Malformed},
		"another group's first entry":   {&Registration{Group: testGroup, Origin: bob.origin(), GroupInfo: elsewhere.info()}, GroupExists},
		"a registration of a stranger":  {&Registration{Group: "third", Origin: bob.origin(), GroupInfo: elsewhere.info()}, GroupInfoWrong},
		"a question about a void group": {&Lookup{Group: "nowhere", Origin: bob.origin()}, UnknownGroup},
	} {
		if _, err := s.submitOne(ctx, c.sub); CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for range 3 { // a replay under its own command is the first one's outcome
		if o := must(s.submitOne(ctx, &sent))(t); o.Position != before {
			t.Errorf("the replay stands at %d, the first at %d", o.Position, before)
		}
	}
	if after := must(s.Newest(ctx, testGroup))(t); after != before {
		t.Errorf("entry %d after entry %d", after, before)
	}
	next, out := bob.update()
	bob.win(s, next, out)
}

// TestFloodOfOneMemberIsItsOwn lets one member submit more than it may: it is told so, and the others are heard.
func TestFloodOfOneMemberIsItsOwn(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", func(c *Config) { c.Limits.RateMessages, c.Limits.RateBurst = 1, 10 })
	bots := crowd(t, s, testGroup, 3)
	refused := 0
	for range 30 {
		m := bots[1].message("flood")
		if _, err := s.submitOne(ctx, &m); err != nil {
			wants(t, err, Busy)
			refused++
		}
	}
	if refused == 0 {
		t.Error("nothing of the flood was refused")
	}
	m := bots[2].message("heard all the same")
	if _, err := s.submitOne(ctx, &m); err != nil {
		t.Error(err)
	}
}
