package parley

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"parley/delivery"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// The dashboard that CoreCrypto publishes of its JVM binding is transactions a second, each with its commit to the database. Here it is V for
// one transaction, with 65 µs assumed for V on the machine that measured it. Ours are whole transactions too, the fsync of the embedded
// server included, in 64 conversations at once; what is made for one is measured one at a time.
const publishedV = 65 * time.Microsecond

// published is what the dashboard says of an operation, by count of messages or members; 0: nothing.
type published map[int]float64

var (
	publishedEncrypt = map[int]published{16: {1: 7439, 10: 1647, 100: 193}, kib: {1: 6888, 10: 1376, 100: 160}, 64 * kib: {1: 1278, 10: 143, 100: 14.2}}
	publishedDecrypt = map[int]published{16: {10: 1404, 100: 166}, kib: {10: 1241, 100: 137}, 64 * kib: {1: 1237, 10: 148, 100: 15}}
	publishedAdd     = published{1: 1997, 10: 596, 100: 46.6}
	publishedRemove  = published{1: 2656, 10: 2248, 100: 1075}
	publishedJoin    = published{1: 1803, 10: 907, 100: 169}
)

// inV is what upstream takes for a transaction, in V; 0 where nothing is published.
func (p published) inV(count int) float64 {
	if p[count] == 0 {
		return 0
	}
	return float64(time.Second) / float64(publishedV) / p[count]
}

// stage is a node, and rooms of members who live nowhere on it but for the speaker.
type stage struct {
	*benchNode
	client    *Client
	outsiders []*outsider // one of each room
	packages  [][]byte
	others    []*outsider

	mu      sync.Mutex
	bundles map[ConversationID]delivery.Bundle // the newest of each room
}

// newStage opens rooms with so many members in each.
func newStage(b *testing.B, rooms, members int) *stage {
	b.Helper()
	s := &stage{bundles: map[ConversationID]delivery.Bundle{}}
	s.benchNode = newBenchNode(b, Options{Isolated: true, Foreign: granting{func(bundle delivery.Bundle) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bundles[bundle.Group] = bundle
	}}})
	s.rooms = s.rooms[:rooms]
	s.client = s.benchNode.client(b, speaker)
	s.invite(b, members-1)
	for _, id := range s.rooms {
		s.found(b, id, members-1)
		o := &outsider{}
		*o = *s.others[members-2]
		o.join(b, s.bundles[id])
		s.outsiders = append(s.outsiders, o)
	}
	return s
}

// invite makes outsiders whom every room can add.
func (s *stage) invite(b *testing.B, count int) {
	b.Helper()
	for i := len(s.others); i < count; i++ {
		o := newOutsider(b, fmt.Sprintf("member %d", i))
		s.others, s.packages = append(s.others, o), append(s.packages, syntax.Encode(o.pkg))
	}
}

// found opens a room; others are added in one commit.
func (s *stage) found(b *testing.B, id ConversationID, others int) *Conversation {
	b.Helper()
	config := DefaultConfig()
	config.Transport = ForeignTransport
	conv, err := s.client.Create(context.Background(), id, config)
	if err == nil && others > 0 {
		err = conv.AddKeyPackages(context.Background(), s.packages[:others]...)
	}
	if err != nil {
		b.Fatal(err)
	}
	return conv
}

// transact runs so many transactions in every room at once, each of count operations; one alone needs no transaction around it. Operations
// are numbered within the room.
func (s *stage) transact(b *testing.B, each, count int, do func(c *Conversation, room, number int) error) (took, used time.Duration) {
	b.Helper()
	return metered(func() {
		s.everywhere(b, 1, func(room int) error {
			for i := range each {
				if count == 1 {
					if err := do(s.client.Conversation(s.rooms[room]), room, i); err != nil {
						return err
					}
					continue
				}
				err := s.client.Transact(context.Background(), func(tx *Transaction) error {
					c := tx.Conversation(s.rooms[room])
					for k := range count {
						if err := do(c, room, i*count+k); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// load is one row of the dashboard: messages of a size, so many in a transaction.
type load struct{ size, count int }

// plan is how many rooms such a load gets, and how many transactions each of them in a round: some megabytes of messages.
func (l load) plan() (atOnce, each int) {
	switch {
	case l.size < 64*kib:
		return rooms, max(1, 64/l.count)
	case l.count < 100:
		return rooms, max(1, 4/l.count)
	}
	return rooms / 8, 1
}

func eachLoad(b *testing.B, run func(*testing.B, load)) {
	for _, size := range []int{16, kib, 64 * kib} {
		for _, count := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%d/%d", size, count), func(b *testing.B) { run(b, load{size, count}) })
		}
	}
}

// compare adds what transactions took: in V by the clock and by processor time, and how many of them we do while upstream does one.
func (f figures) compare(took, used time.Duration, transactions int, upstream float64) {
	clock := float64(took) / float64(transactions) / float64(verification())
	f.add("V/transaction", clock)
	f.add("cpu-V/transaction", cost(used, transactions))
	if upstream > 0 {
		f.add("x-upstream", upstream/clock)
	}
}

func encryptOnce(text []byte) func(*Conversation, int, int) error {
	return func(c *Conversation, _, _ int) error {
		_, err := c.Encrypt(context.Background(), text, nil)
		return err
	}
}

// BenchmarkDashboardEncrypt encrypts messages of a size, so many in a transaction. The target is 1.5 times upstream.
func BenchmarkDashboardEncrypt(b *testing.B) {
	eachLoad(b, func(b *testing.B, l load) {
		atOnce, each := l.plan()
		s := newStage(b, atOnce, 2)
		text, upstream := make([]byte, l.size), publishedEncrypt[l.size]
		run(b, func(f figures) {
			took, used := s.transact(b, each, l.count, encryptOnce(text))
			f.compare(took, used, atOnce*each, upstream.inV(l.count))
		})
	})
}

// speech is what the outsiders say in a round.
func (s *stage) speech(b *testing.B, count int, text []byte) [][][]byte {
	messages := make([][][]byte, len(s.rooms))
	for room, o := range s.outsiders {
		messages[room] = o.speak(b, count, text)
	}
	return messages
}

func decryptFrom(messages [][][]byte) func(*Conversation, int, int) error {
	return func(c *Conversation, room, number int) error {
		got, err := c.Decrypt(context.Background(), messages[room][number])
		if err == nil && got.Message == nil {
			err = fmt.Errorf("%s: %v", c.ID(), got.Outcome)
		}
		return err
	}
}

// acknowledge takes what was decrypted off the node.
func (s *stage) acknowledge(b *testing.B, messages int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	last := map[ConversationID]Event{}
	for e, err := range s.client.Events(ctx) {
		if err != nil {
			b.Fatal(err)
		}
		if last[e.Conversation.ID()] = e; e.Message != nil {
			messages--
		}
		if messages == 0 {
			break
		}
	}
	for _, e := range last {
		if err := e.Ack(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDashboardDecrypt decrypts messages of a size, so many in a transaction: their keys are gone and their texts kept for the owner when
// it is over. The target is 1.5 times upstream.
func BenchmarkDashboardDecrypt(b *testing.B) {
	eachLoad(b, func(b *testing.B, l load) {
		atOnce, each := l.plan()
		s := newStage(b, atOnce, 2)
		text, upstream := make([]byte, l.size), publishedDecrypt[l.size]
		run(b, func(f figures) {
			messages := s.speech(b, each*l.count, text)
			took, used := s.transact(b, each, l.count, decryptFrom(messages))
			f.compare(took, used, atOnce*each, upstream.inV(l.count))
			s.acknowledge(b, atOnce*each*l.count)
		})
	})
}

// BenchmarkDurableByMembers encrypts and decrypts 1 KiB in groups of different sizes, 16 at once. The target is that 1,000 members cost at most
// 15 % more than two.
func BenchmarkDurableByMembers(b *testing.B) {
	for _, members := range []int{2, 10, 100, 1000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			const atOnce, each = 16, 256
			s := newStage(b, atOnce, members)
			text := make([]byte, kib)
			run(b, func(f figures) {
				took, used := s.transact(b, each, 1, encryptOnce(text))
				f.add("encrypt-V", float64(took)/float64(verification())/(atOnce*each))
				f.add("encrypt-cpu-V", cost(used, atOnce*each))
				messages := s.speech(b, each, text)
				took, used = s.transact(b, each, 1, decryptFrom(messages))
				f.add("decrypt-V", float64(took)/float64(verification())/(atOnce*each))
				f.add("decrypt-cpu-V", cost(used, atOnce*each))
				s.acknowledge(b, atOnce*each)
			})
		})
	}
}

// eachCrowd runs a benchmark of what is done with so many members, one transaction at a time. The target is what upstream takes, and 2 F. The
// clock runs until the last caller has his answer, processor time until every conversation is done with what follows it, the end of keys.
func eachCrowd(b *testing.B, upstream published, once func(b *testing.B, s *stage, count, number int) func() (*Conversation, error)) {
	for _, count := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			s := newStage(b, 1, 2)
			s.invite(b, count)
			number := 0
			run(b, func(f figures) {
				var doing []func() (*Conversation, error)
				for range 10 {
					doing = append(doing, once(b, s, count, number))
					number++
				}
				unit := s.gauge.f(b)
				var touched []*Conversation
				took, used := metered(func() {
					for _, do := range doing {
						c, err := do()
						if err != nil {
							b.Fatal(err)
						}
						touched = append(touched, c)
					}
				})
				_, after := metered(func() { s.settled(b, touched) })
				used += after
				v, each := float64(verification()), float64(took)/float64(len(doing))
				f.add("V/transaction", each/v)
				f.add("cpu-V/transaction", cost(used, len(doing)))
				f.add("F/transaction", each/float64(unit))
				f.add("V-without-2F", (each-2*float64(unit))/v)
				f.add("of-target", each/(upstream.inV(count)*v+2*float64(unit)))
			})
		})
	}
}

// settled returns when conversations, and their client, have done what was left until after their answers: they say how they are only then.
func (s *stage) settled(b *testing.B, touched []*Conversation) {
	b.Helper()
	for _, c := range touched {
		if _, err := c.Status(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := s.client.Status(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDashboardAdd adds users to a new group.
func BenchmarkDashboardAdd(b *testing.B) {
	eachCrowd(b, publishedAdd, func(b *testing.B, s *stage, count, number int) func() (*Conversation, error) {
		conv := s.found(b, ConversationID(fmt.Sprint("add ", number)), 0)
		return func() (*Conversation, error) {
			return conv, conv.AddKeyPackages(context.Background(), s.packages[:count]...)
		}
	})
}

// BenchmarkDashboardRemove removes users from a group of no others.
func BenchmarkDashboardRemove(b *testing.B) {
	eachCrowd(b, publishedRemove, func(b *testing.B, s *stage, count, number int) func() (*Conversation, error) {
		conv := s.found(b, ConversationID(fmt.Sprint("remove ", number)), count)
		var names []ClientID
		for i := range count {
			names = append(names, ClientID(fmt.Sprintf("member %d", i)))
		}
		return func() (*Conversation, error) { return conv, conv.Remove(context.Background(), names...) }
	})
}

// BenchmarkDashboardJoin joins a group of so many members by a Welcome.
func BenchmarkDashboardJoin(b *testing.B) {
	founder := newOutsider(b, "founder")
	eachCrowd(b, publishedJoin, func(b *testing.B, s *stage, count, number int) func() (*Conversation, error) {
		welcome := founder.welcome(b, s, count, fmt.Sprint("join ", number))
		config := DefaultConfig()
		config.Transport = ForeignTransport
		return func() (*Conversation, error) {
			return s.client.Join(context.Background(), Invitation{Welcome: welcome, Config: &config})
		}
	})
}

// welcome founds a group in which the stage's client is the last of so many members.
func (o *outsider) welcome(b *testing.B, s *stage, members int, name string) []byte {
	b.Helper()
	made, err := s.client.GenerateKeyPackages(context.Background(), 1)
	if err != nil {
		b.Fatal(err)
	}
	group, err := mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: mlsengine.GroupID(name), Suite: o.pkg.CipherSuite, Identity: o.identity, Lifetime: o.pkg.LeafNode.Lifetime,
		Capabilities: o.pkg.LeafNode.Capabilities,
	}, o.env)
	if err != nil {
		b.Fatal(err)
	}
	intent := mlsengine.CommitIntent{TreeInWelcome: mlsengine.WithTree}
	for _, encoded := range append(s.packages[:max(0, members-1):max(0, members-1)], made[0]) {
		kp, err := syntax.Decode[mlsengine.KeyPackage](encoded)
		if err != nil {
			b.Fatal(err)
		}
		intent.Inline = append(intent.Inline, &mlsengine.Add{KeyPackage: kp})
	}
	out, err := group.Commit(intent, o.env)
	if err != nil {
		b.Fatal(err)
	}
	return out.Welcome
}
