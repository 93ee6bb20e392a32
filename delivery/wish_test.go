package delivery

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"parley/internal/ids"
	"parley/internal/syntax"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// heldKeys are the external pre-shared keys of a bot.
type heldKeys map[string][]byte

func (k heldKeys) PSK(id mlsengine.PreSharedKeyID) ([]byte, bool) {
	key, ok := k[string(id.ID)]
	return key, ok && id.Type == mlsengine.PSKTypeExternal
}

// listing is a group of bots that lists the service.
func listing(t testing.TB, s *Service, size int) []*bot {
	t.Helper()
	ctx := context.Background()
	sender := must(s.Sender(ctx, testSuite, NewestKey))(t)
	founder := newBot(t, "bot-0")
	group, err := mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: mlsengine.GroupID(testGroup), Suite: testSuite, Identity: founder.identity, Lifetime: lifetime(),
		Extensions: mlsengine.Extensions{}.WithExternalSenders(mlsengine.ExternalSenders{sender}),
	}, founder.env())
	if err != nil {
		t.Fatal(err)
	}
	founder.group = group
	must(s.RegisterGroup(ctx, Registration{Group: testGroup, Origin: founder.origin(), GroupInfo: founder.info()}))(t)
	return founder.among(s, size)
}

func operators(want Want) Wish {
	return Wish{Group: testGroup, Origin: Origin{Client: "operator"}, Want: want, Reason: "a test"}
}

// proposed reads the proposal of an entry, as a member.
func (b *bot) proposed(s *Service, number uint64) *mlsengine.Content {
	b.t.Helper()
	e := must(s.Entry(context.Background(), testGroup, number))(b.t)
	m := must(mlsengine.ParseMessage(e.Message))(b.t)
	content, next, err := b.group.Open(m, mlsengine.Limits{})
	if err != nil {
		b.t.Fatalf("entry %d: %v", number, err)
	}
	b.group = next
	return content
}

func standing(t testing.TB, s *Service) []StandingWish {
	t.Helper()
	return must(s.Wishes(context.Background(), testGroup, "operator"))(t)
}

// wants of every kind, with what the listing says of each.
func kinds(carol *bot) []StandingWish {
	return []StandingWish{
		{Type: mlsengine.ProposalTypeRemove, Client: "bot-1"},
		{Type: mlsengine.ProposalTypeAdd, Client: carol.id},
		{Type: mlsengine.ProposalTypePSK, PSK: []byte("shared")},
		{Type: mlsengine.ProposalTypeGroupContextExtensions, With: []mlsengine.ExtensionType{mlsengine.ExtensionTypeRequiredCapabilities}},
		{Type: mlsengine.ProposalTypeReInit, Successor: "group two", CipherSuite: testSuite},
	}
}

func wantOf(t testing.TB, kind mlsengine.ProposalType, carol *bot) Want {
	t.Helper()
	switch kind {
	case mlsengine.ProposalTypeRemove:
		return Want{Remove: "bot-1"}
	case mlsengine.ProposalTypeAdd:
		return Want{Add: syntax.Encode(carol.keyPackage())}
	case mlsengine.ProposalTypePSK:
		return Want{PSK: []byte("shared")}
	case mlsengine.ProposalTypeReInit:
		return Want{Reinit: &mlsengine.ReInit{GroupID: []byte("group two"), Version: mlsengine.VersionMLS10, CipherSuite: testSuite}}
	}
	required := mlsengine.RequiredCapabilities{CredentialTypes: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic}}
	return Want{Extensions: mlsengine.Extensions{}.WithRequiredCapabilities(required)}
}

// TestEveryKindOfWishIsDone: what a commit leaves out is proposed again in the same record; what one holds is done. A kind that is taken back
// is proposed no more.
func TestEveryKindOfWishIsDone(t *testing.T) {
	for i, row := range kinds(newBot(t, "carol")) {
		t.Run(fmt.Sprint("type ", row.Type), func(t *testing.T) {
			w, ctx := newWorld(t), context.Background()
			s := w.serving("a", nil)
			bots := listing(t, s, 3)
			carol, shared := newBot(t, "carol"), heldKeys{"shared": []byte("a key of thirty-two bytes, or so")}
			wish := operators(wantOf(t, row.Type, carol))
			first := must(s.Wish(ctx, wish))(t)
			if again := must(s.Wish(ctx, wish))(t); again != first {
				t.Fatalf("asked again: entry %d, first %d", again, first)
			}
			row.ID, row.Principal, row.Reason, row.Tries, row.Epoch, row.Number, row.Pending = wish.Want.ID(), "operator", "a test", 1, 1, first, true
			got := standing(t, s)
			if len(got) != 1 || got[0].Since.IsZero() {
				t.Fatalf("standing: %+v", got)
			}
			row.Since = got[0].Since
			if !reflect.DeepEqual(got[0], row) {
				t.Fatalf("standing %+v\nwant %+v", got[0], row)
			}
			bundle, out := bots[0].update()
			e := bots[0].win(s, bundle, out)
			bots[2].process(e, nil)
			got = standing(t, s)
			if len(got) != 1 || got[0].Tries != 2 || got[0].Epoch != 2 || got[0].Number != e.Number+1 {
				t.Fatalf("left out: %+v", got)
			}
			if i%2 == 1 { // every second one is taken back before, and asked for anew
				must(s.Wish(ctx, Wish{Group: testGroup, Origin: wish.Origin, Withdraw: got[0].ID}))(t)
				if got := standing(t, s); len(got) != 0 {
					t.Fatalf("taken back: %+v", got)
				}
				if n := must(s.Wish(ctx, wish))(t); n != e.Number+2 {
					t.Fatalf("asked anew: entry %d", n)
				}
			}
			content := bots[0].proposed(s, standing(t, s)[0].Number)
			bundle, out = bots[0].commit(mlsengine.CommitIntent{Proposals: []*mlsengine.Content{content}, PSKs: shared})
			bots[0].win(s, bundle, out)
			if got := standing(t, s); len(got) != 0 {
				t.Fatalf("done: %+v", got)
			}
		})
	}
}

// TestWishesOutliveCheckpointsAndNodes: with what was before the newest checkpoint purged, and on another node, they stand as they stood.
func TestWishesOutliveCheckpointsAndNodes(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	bots := listing(t, s, 2)
	carol := newBot(t, "carol")
	for _, row := range kinds(carol) {
		must(s.Wish(ctx, operators(wantOf(t, row.Type, carol))))(t)
	}
	before := standing(t, s)
	if len(before) != 5 {
		t.Fatalf("%d stand", len(before))
	}
	q := w.hosts[s].owner(testGroup).seq
	if err := q.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(32 * 24 * time.Hour) // beyond the retention: what lies before the checkpoint goes
	if err := q.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	q.retain(ctx)
	if _, err := s.Entry(ctx, testGroup, 1); CodeOf(err) != Behind {
		t.Fatalf("the first entry: %v", err)
	}
	w.close(s)
	heir := w.serving("heir", nil)
	if got := standing(t, heir); !reflect.DeepEqual(got, before) {
		t.Fatalf("they stand otherwise:\n%+v\n%+v", got, before)
	}
	w.clock.advance(-32 * 24 * time.Hour)
	bundle, out := bots[0].update()
	e := bots[0].win(heir, bundle, out)
	for i, row := range standing(t, heir) {
		if row.Tries != 2 || row.Epoch != 2 || row.Number != e.Number+1+uint64(i) || !row.Pending {
			t.Errorf("on the heir: %+v", row)
		}
	}
}

// TestWishesAreMadeOnAnyNode: on a node that does not hold the group's share, and at a desk outside of the nodes.
func TestWishesAreMadeOnAnyNode(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	holder, other := w.serving("holder", nil), w.node("other", nil)
	listing(t, holder, 2)
	carol := newBot(t, "carol")
	desk := OpenDesk(Config{Conn: w.conn, Namespace: "test", Node: "desk", ShareOf: testShareOf})
	for i, row := range kinds(carol) {
		wish := operators(wantOf(t, row.Type, carol))
		ask := other.Wish
		if i%2 == 0 {
			ask = desk.Wish
		}
		first := must(ask(ctx, wish))(t)
		if again := must(holder.Wish(ctx, wish))(t); again != first {
			t.Fatalf("asked again of the holder: %d, first %d", again, first)
		}
	}
	here := standing(t, holder)
	for name, list := range map[string][]StandingWish{"other": standing(t, other), "desk": must(desk.Wishes(ctx, testGroup, "operator"))(t)} {
		if !reflect.DeepEqual(list, here) {
			t.Errorf("%s lists %+v\nthe holder %+v", name, list, here)
		}
	}
	for i, row := range here {
		withdraw := Wish{Group: testGroup, Origin: Origin{Client: "operator"}, Withdraw: row.ID}
		ask := other.Wish
		if i%2 == 0 {
			ask = desk.Wish
		}
		must(ask(ctx, withdraw))(t)
		must(ask(ctx, withdraw))(t) // ended already
	}
	if got := standing(t, other); len(got) != 0 {
		t.Errorf("taken back, and stand: %+v", got)
	}
	_, err := desk.Wish(ctx, operators(Want{Remove: "nobody"}))
	wants(t, err, NotMember)
	_, err = desk.Wishes(ctx, "no such group", "operator")
	wants(t, err, UnknownGroup)
	_, err = desk.Wish(ctx, operators(Want{}))
	wants(t, err, Malformed)
}

// TestWishesThatCannotBeAreRefusedAtOnce: whoever asks hears it, and nothing enters the order.
func TestWishesThatCannotBeAreRefusedAtOnce(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	bots := listing(t, s, 2)
	number := must(s.Lookup(ctx, testGroup, "bot-0"))(t).Number
	of := func(change func(*mlsengine.KeyPackageParams)) []byte {
		carol := newBot(t, "carol")
		p := mlsengine.KeyPackageParams{Suite: testSuite, Identity: carol.identity, Lifetime: lifetime()}
		change(&p)
		kp, _, err := mlsengine.NewKeyPackage(p, carol.env())
		if err != nil {
			t.Fatal(err)
		}
		return syntax.Encode(kp)
	}
	reader := newBot(t, "history-client:3f2504e0-4f89-41d3-9a0c-0305e82c3301")
	current := must(bots[0].group.Public().Context().Extensions.ExternalSenders())(t)
	for name, c := range map[string]struct {
		want Want
		code Code
	}{
		"nothing":                 {Want{}, Malformed},
		"two things":              {Want{Remove: "bot-1", PSK: []byte("x")}, Malformed},
		"who is no member":        {Want{Remove: "carol"}, NotMember},
		"who is there":            {Want{Add: syntax.Encode(bots[1].keyPackage())}, AlreadyMember},
		"no key package":          {Want{Add: []byte("none")}, Malformed},
		"an expired key package":  {Want{Add: of(func(p *mlsengine.KeyPackageParams) { p.Lifetime = mlsengine.Lifetime{NotBefore: 1, NotAfter: 2} })}, Invalid},
		"another suite":           {Want{Add: otherSuite(t)}, Invalid},
		"an unlisted extension":   {Want{Add: unlisted(t, newBot(t, "carol"))}, Invalid},
		"a reader of history":     {Want{Add: syntax.Encode(reader.keyPackage())}, Forbidden},
		"what is so already":      {Want{Extensions: mlsengine.Extensions{}.WithExternalSenders(current)}, NothingToChange},
		"what is not there":       {Want{Without: []mlsengine.ExtensionType{0x4a4a}}, NothingToChange},
		"what nobody understands": {Want{Extensions: mlsengine.Extensions{{Type: 0xff01}}}, Invalid},
		"an older version":        {Want{Reinit: &mlsengine.ReInit{GroupID: []byte("x"), CipherSuite: testSuite}}, Invalid},
		"a successor without id":  {Want{Reinit: &mlsengine.ReInit{Version: mlsengine.VersionMLS10, CipherSuite: testSuite}}, Malformed},
	} {
		if _, err := s.Wish(ctx, operators(c.want)); CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
	if now := must(s.Lookup(ctx, testGroup, "bot-0"))(t).Number; now != number || len(standing(t, s)) != 0 {
		t.Errorf("%d entries, then %d", number, now)
	}
	registered(t, s, "plain", "dora")
	_, err := s.Wish(ctx, Wish{Group: "plain", Origin: Origin{Client: "operator"}, Want: Want{PSK: []byte("x")}})
	wants(t, err, Forbidden)
}

// unlisted is a key package of a bot with an extension that its leaf does not list.
func unlisted(t testing.TB, b *bot) []byte {
	t.Helper()
	kp := *b.keyPackage()
	kp.Extensions, kp.Signature = mlsengine.Extensions{{Type: 0xff01}}, nil
	unsigned := syntax.Encode(&kp)
	kp.Signature = must(b.identity.Sign("KeyPackageTBS", unsigned[:len(unsigned)-1]))(t) // without the signature's length
	return syntax.Encode(&kp)
}

// TestWhatNobodyWouldAddIsNotPublished: a key package that whoever claims it would refuse.
func TestWhatNobodyWouldAddIsNotPublished(t *testing.T) {
	s := newWorld(t).serving("a", nil)
	carol := newBot(t, "carol")
	carol.register(s)
	err := s.PublishKeyPackages(context.Background(), carol.id, []Publication{{KeyPackage: unlisted(t, carol)}})
	if CodeOf(err) != Invalid || !strings.Contains(err.Error(), mlsengine.KeyPackageExtension.Code()) {
		t.Errorf("%v", err)
	}
}

func otherSuite(t testing.TB) []byte {
	t.Helper()
	const other = suite.X25519_CHACHA20POLY1305_SHA256_Ed25519
	carol := newBot(t, "carol")
	kp, _, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{Suite: other, Identity: carol.identity, Lifetime: lifetime()}, carol.env())
	if err != nil {
		t.Fatal(err)
	}
	return syntax.Encode(kp)
}

// TestWishesAreBounded: so many stand in a group, each is proposed in so many epochs, and none is longer than it may be.
func TestWishesAreBounded(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	bots := listing(t, s, 1)
	for i := range wishesMax {
		must(s.Wish(ctx, operators(Want{PSK: fmt.Append(nil, "key ", i)})))(t)
	}
	_, err := s.submitOne(ctx, &Wish{Group: testGroup, Origin: Origin{Client: "operator"}, Want: Want{PSK: []byte("one more")}})
	wants(t, err, Busy)
	for _, row := range standing(t, s)[1:] {
		must(s.Wish(ctx, Wish{Group: testGroup, Origin: Origin{Client: "operator"}, Withdraw: row.ID}))(t)
	}
	for i := range wishTries {
		if got := standing(t, s); len(got) != 1 || got[0].Tries != uint32(i+1) {
			t.Fatalf("epoch %d: %+v", i, got)
		}
		bundle, out := bots[0].update()
		bots[0].win(s, bundle, out)
	}
	if got := standing(t, s); len(got) != 0 {
		t.Errorf("proposed %d times, and stands: %+v", wishTries, got)
	}
	long := ids.ClientID(strings.Repeat("x", identityBytesMax+1))
	for name, want := range map[string]Want{
		"client": {Remove: long}, "key": {PSK: []byte(long)}, "successor": {Reinit: &mlsengine.ReInit{GroupID: []byte(long)}},
		"types": {Without: make([]mlsengine.ExtensionType, wishTypesMax+1)},
	} {
		_, err := s.Wish(ctx, operators(want))
		if CodeOf(err) != Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = s.Wish(ctx, operators(Want{Add: make([]byte, s.config.Limits.MessageBytes+1)}))
	wants(t, err, TooLarge)
	wordy := operators(Want{PSK: []byte("x")})
	wordy.Reason = strings.Repeat("x", reasonBytesMax+1)
	_, err = s.Wish(ctx, wordy)
	wants(t, err, Malformed)
}

// TestAWishThatAnEncryptedCommitHidesIsNotMadeAgain: nobody sees whether the key went in, and it must not go in twice.
func TestAWishThatAnEncryptedCommitHidesIsNotMadeAgain(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	s := w.serving("a", nil)
	bots := listing(t, s, 2)
	number := must(s.Wish(ctx, operators(Want{PSK: []byte("shared")})))(t)
	must(s.Wish(ctx, operators(Want{Remove: "bot-1"})))(t)
	content := bots[0].proposed(s, number)
	shared := heldKeys{"shared": bytes.Repeat([]byte{7}, 32)}
	bundle, out := bots[0].sealed(mlsengine.CommitIntent{Proposals: []*mlsengine.Content{content}, PSKs: shared})
	bots[0].win(s, bundle, out)
	got := standing(t, s)
	if len(got) != 1 || got[0].Client != "bot-1" || got[0].Tries != 2 {
		t.Errorf("what stands: %+v", got)
	}
}
