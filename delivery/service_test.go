package delivery

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley/internal/ids"
	"parley/mlsengine"
)

const testGroup GroupID = "group one"

func TestRegistrationIsIdempotentAndExclusive(t *testing.T) {
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	alice := newBot(t, "alice")
	r := alice.create(testGroup)
	for range 2 {
		if n := must(s.RegisterGroup(ctx, r))(t); n != 1 {
			t.Fatalf("registered at %d", n)
		}
	}
	mallory := newBot(t, "mallory")
	_, err := s.RegisterGroup(ctx, mallory.create(testGroup))
	wants(t, err, GroupExists)
	forged := mallory.create("group two")
	forged.Origin.Client = "alice"
	_, err = s.RegisterGroup(ctx, forged)
	wants(t, err, NotMember)
	_, err = s.SubmitBundle(ctx, Bundle{Group: "group two", Origin: alice.origin()})
	if err == nil {
		t.Fatal("a bundle for a group that does not exist was answered")
	}
}

func TestCommitWelcomeAndGroupInfoEnterTogether(t *testing.T) {
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	alice, bob := registered(t, s, testGroup, "alice"), newBot(t, "bob")
	bundle, out := alice.add(bob)
	e := alice.win(s, bundle, out)
	if e.Number != 2 || e.Kind != KindCommit || e.Epoch != 0 || len(e.Added) != 1 || e.Added[0].Client != "bob" {
		t.Fatalf("entry %+v", e)
	}
	bob.join(e)
	if !bytes.Equal(alice.group.EpochAuthenticator(), bob.group.EpochAuthenticator()) {
		t.Fatal("alice and bob are in different epochs")
	}
	notices := must(s.Notices(ctx, "bob", 0, 10))(t)
	if len(notices) != 1 || notices[0].Group != testGroup || notices[0].Number != 2 || notices[0].Epoch != 1 {
		t.Fatalf("notices %+v", notices)
	}
	info, number, err := s.GroupInfo(ctx, testGroup, "bob")
	if err != nil || number != 2 || !bytes.Equal(info, bundle.GroupInfo) {
		t.Fatalf("group info of entry %d, %v", number, err)
	}
	_, _, err = s.GroupInfo(ctx, testGroup, "eve")
	wants(t, err, Forbidden)
}

func TestSameBundleGetsSameAnswer(t *testing.T) {
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	bots := crowd(t, s, testGroup, 2)
	mine, out := bots[0].update()
	rival, _ := bots[1].update()
	first := must(s.SubmitBundle(ctx, mine))(t)
	if first != (Answer)(Success{Position: 3}) {
		t.Fatalf("answer %#v", first)
	}
	if again := must(s.SubmitBundle(ctx, mine))(t); again != first {
		t.Fatalf("again %#v", again)
	}
	if lost := must(s.SubmitBundle(ctx, rival))(t); lost != (Answer)(Retry{Epoch: 2}) {
		t.Fatalf("rival %#v", lost)
	}
	bots[0].group = out.Staged.Next
	next, _ := bots[0].update()
	must(s.SubmitBundle(ctx, next))(t)
	if late := must(s.SubmitBundle(ctx, mine))(t); late != first {
		t.Fatalf("an epoch later %#v", late)
	}
	won, ok, err := s.WhoWon(ctx, testGroup, 1)
	if err != nil || !ok || won.Digest != mine.Digest() || won.Number != 3 {
		t.Fatalf("who won: %+v %v %v", won, ok, err)
	}
	if _, ok, err := s.WhoWon(ctx, testGroup, 3); ok || err != nil {
		t.Fatalf("somebody won the current epoch: %v %v", ok, err)
	}
}

func TestOneWinnerPerEpochAmongManyCommitters(t *testing.T) {
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	bots := crowd(t, s, testGroup, 32)
	for round := range 2 {
		var mu sync.Mutex
		var won []int
		outs := make([]*mlsengine.CommitOut, len(bots))
		var work sync.WaitGroup
		for i, b := range bots {
			bundle, out := b.update()
			outs[i] = out
			work.Add(1)
			go func() {
				defer work.Done()
				answer, err := s.Transport().SendCommitBundle(ctx, bundle)
				mu.Lock()
				defer mu.Unlock()
				switch a := answer.(type) {
				case Success:
					won = append(won, i)
				case Retry:
					if a.Epoch != uint64(round)+2 {
						t.Errorf("retry names epoch %d", a.Epoch)
					}
				default:
					t.Errorf("answer %#v, %v", answer, err)
				}
			}()
		}
		work.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d winners", round, len(won))
		}
		entry, ok, err := s.WhoWon(ctx, testGroup, uint64(round)+1)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		for i, b := range bots {
			if i == won[0] {
				b.group = outs[i].Staged.Next
			} else {
				b.process(entry, nil)
			}
		}
		for _, b := range bots {
			if !bytes.Equal(b.group.EpochAuthenticator(), bots[0].group.EpochAuthenticator()) {
				t.Fatalf("round %d: %s is elsewhere", round, b.id)
			}
		}
	}
}

func TestMessagesOfManyCallersShareRecords(t *testing.T) {
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	bots := crowd(t, s, testGroup, 2)
	var ms []Message
	for i := range 40 {
		ms = append(ms, bots[i%2].message(fmt.Sprint(i)))
	}
	receipts := must(s.SubmitMessages(ctx, ms))(t)
	for i, r := range receipts {
		if r.Err != nil || r.Position != uint64(3+i) {
			t.Fatalf("receipt %d: %+v", i, r)
		}
	}
	again := must(s.SubmitMessages(ctx, ms))(t)
	for i := range again {
		if again[i] != receipts[i] {
			t.Fatalf("again %d: %+v, first %+v", i, again[i], receipts[i])
		}
	}
	entries := must(s.Follow(ctx, testGroup, 3, 100))(t)
	if len(entries) != 40 {
		t.Fatalf("%d entries", len(entries))
	}
	for i, e := range entries {
		if e.Number != uint64(3+i) || e.Kind != KindApplication || !bytes.Equal(e.Message, ms[i].Bytes) || e.Sender != ms[i].Origin.Client {
			t.Fatalf("entry %d: %+v", i, e)
		}
	}
	last, ok, err := s.LastOwn(ctx, testGroup, bots[0].id)
	if err != nil || !ok || last.Number != 41 || last.Generation != ms[38].Generation {
		t.Fatalf("last own %+v %v %v", last, ok, err)
	}
	if n := must(s.Newest(ctx, testGroup))(t); n != 42 {
		t.Fatalf("newest %d", n)
	}
}

func TestCommandIdsBindRequestsAndExpire(t *testing.T) {
	w := newWorld(t)
	s, ctx := w.serving("a", nil), context.Background()
	bots := crowd(t, s, testGroup, 2)
	submit := func(m Message) Receipt { return must(s.SubmitMessages(ctx, []Message{m}))(t)[0] }
	first := bots[0].message("one")
	first.Origin.Request = ids.DigestOf([]byte("one"))
	want := submit(first)
	retry := bots[0].message("one") // encrypted anew, as after a crash
	retry.Origin = first.Origin
	if got := submit(retry); got != want || got.Err != nil {
		t.Fatalf("a retry with other bytes: %+v, first %+v", got, want)
	}
	other := bots[0].message("two")
	other.Origin = first.Origin
	other.Origin.Request = ids.DigestOf([]byte("two"))
	wants(t, submit(other).Err, CommandReused)
	stranger := bots[0].message("three")
	stranger.Origin.Client = "eve"
	wants(t, submit(stranger).Err, NotMember)
	future := bots[0].message("four")
	future.Origin.IssuedMs += 3_600_000
	wants(t, submit(future).Err, Expired)
	w.clock.advance(11 * time.Minute)
	late := bots[0].message("five")
	wants(t, submit(late).Err, Expired)
}

func TestProposalsAreCommittedByReference(t *testing.T) {
	s, ctx := newWorld(t).serving("a", nil), context.Background()
	bots := crowd(t, s, testGroup, 3)
	carol := newBot(t, "carol")
	proposed := must(bots[1].group.Propose(&mlsengine.Add{KeyPackage: *carol.keyPackage()}, mlsengine.Framing{}, bots[1].env()))(t)
	position := must(s.SubmitProposal(ctx, Proposal{Group: testGroup, Origin: bots[1].origin(), Message: proposed.Message}))(t)
	if position != 3 {
		t.Fatalf("position %d", position)
	}
	remove := must(bots[0].group.Propose(&mlsengine.Remove{Removed: bots[2].group.OwnLeaf()}, mlsengine.Framing{}, bots[0].env()))(t)
	m := must(mlsengine.ParseMessage(proposed.Message))(t)
	content, next, err := bots[0].group.Open(m, mlsengine.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	bots[0].group = next
	bundle, out := bots[0].commit(mlsengine.CommitIntent{Proposals: []*mlsengine.Content{content, remove.Content}})
	if got := must(s.SubmitBundle(ctx, bundle))(t); fmt.Sprintf("%T", got) != "delivery.Abort" {
		t.Fatalf("a commit of a proposal nobody has: %#v", got)
	}
	bundle.Proposals = [][]byte{remove.Message} // its own proposal, ahead of the commit
	e := bots[0].win(s, bundle, out)
	if len(e.Added) != 1 || len(e.Removed) != 1 || e.Removed[0].Client != bots[2].id {
		t.Fatalf("entry %+v", e)
	}
	bots[1].process(e, []*mlsengine.Content{proposed.Content})
	carol.join(e)
	for _, b := range []*bot{bots[1], carol} {
		if !bytes.Equal(b.group.EpochAuthenticator(), bots[0].group.EpochAuthenticator()) {
			t.Fatalf("%s is elsewhere", b.id)
		}
	}
	wants(t, must(s.SubmitMessages(ctx, []Message{bots[2].message("removed")}))(t)[0].Err, NotMember)
}
