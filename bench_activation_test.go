package parley

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/actors"
	"parley/delivery"
	"parley/internal/syntax"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// outsider is a member of a group who lives nowhere on this node: the engine alone.
type outsider struct {
	identity mlsengine.SigningIdentity
	pkg      *mlsengine.KeyPackage
	secrets  mlsengine.KeyPackageSecrets
	group    *mlsengine.Group
	env      mlsengine.Env
}

func newOutsider(b *testing.B, name string) *outsider {
	b.Helper()
	s, err := suite.Get(suite.X25519_AES128GCM_SHA256_Ed25519)
	if err != nil {
		b.Fatal(err)
	}
	entropy := actors.SystemEntropy{}
	private, public, err := s.GenerateSignatureKeyPair(entropy.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		b.Fatal(err)
	}
	o := &outsider{identity: mlsengine.SigningIdentity{
		Credential: mlsengine.BasicCredential([]byte(name)), Key: private, Public: public,
	}}
	now := uint64(time.Now().Unix())
	o.env = mlsengine.Env{Now: now, Entropy: entropy, Identity: &o.identity}
	o.pkg, o.secrets, err = mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: s.ID(), Identity: o.identity, Lifetime: mlsengine.Lifetime{NotBefore: now - 3600, NotAfter: now + 90*24*3600},
		Capabilities: mlsengine.Capabilities{Credentials: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic, mlsengine.CredentialTypeX509}},
	}, o.env)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

// join enters the group by the Welcome of a bundle.
func (o *outsider) join(b *testing.B, bundle delivery.Bundle) {
	b.Helper()
	m, err := mlsengine.ParseMessage(bundle.Welcome)
	if err == nil {
		o.group, err = mlsengine.JoinFromWelcome(m.Welcome(), mlsengine.JoinInput{KeyPackage: o.pkg, Secrets: o.secrets, Identity: o.identity})
	}
	if err != nil {
		b.Fatal(err)
	}
}

// speak makes messages.
func (o *outsider) speak(b *testing.B, count int, text []byte) (messages [][]byte) {
	b.Helper()
	_, next, block, err := o.group.Reserve(mlsengine.ContentTypeApplication, uint32(count))
	if err != nil {
		b.Fatal(err)
	}
	o.group = next
	for range count {
		m, _, err := o.group.SealApplication(block, mlsengine.Plaintext{Data: text, Padding: 128}, o.env)
		if err != nil {
			b.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

// leapingClock is the machine's clock, and a leap ahead.
type leapingClock struct {
	actors.SystemClock
	leap atomic.Int64
}

func (c *leapingClock) Now() time.Time { return time.Now().Add(time.Duration(c.leap.Load())) }

// crowd is one conversation with 100 members, on a node of its own.
type crowd struct {
	node    *benchNode
	clock   *leapingClock
	conv    *Conversation
	speaker *outsider
}

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	ctx := context.Background()
	var bundle delivery.Bundle
	c := &crowd{clock: &leapingClock{}}
	c.node = newBenchNode(b, Options{Isolated: true, Foreign: granting{func(b delivery.Bundle) {
		if len(b.Welcome) > 0 {
			bundle = b
		}
	}}, Clock: c.clock})
	config := DefaultConfig()
	config.Transport, config.OutOfOrderTolerance = ForeignTransport, 1000
	conv, err := c.node.client(b, speaker).Create(ctx, "crowd", config)
	if err != nil {
		b.Fatal(err)
	}
	var packages [][]byte
	for i := range 99 {
		o := newOutsider(b, fmt.Sprintf("member %d", i))
		packages = append(packages, syntax.Encode(o.pkg))
		c.speaker = o
	}
	if err := conv.AddKeyPackages(ctx, packages...); err != nil {
		b.Fatal(err)
	}
	c.conv = conv
	c.speaker.join(b, bundle)
	return c
}

// activations lets one node after the other take the conversation over, and reports what the first answer of the last ones costs. Opening the
// node and reading the client's keys is not part of it.
func (c *crowd) activations(b *testing.B) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := c.node.Drain(ctx); err != nil {
		b.Fatal(err)
	}
	run(b, func(f figures) {
		successor, err := Open(ctx, Options{
			URL: c.node.URL(), KeyDir: c.node.options.KeyDir, Isolated: true, Foreign: granting{}, Clock: c.clock,
		})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := successor.actors.ClientState(ctx, speaker); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		s, err := successor.Bare(speaker).Conversation("crowd").state(ctx)
		took := time.Since(began)
		if err != nil || !s.Exists() || s.Private == nil {
			b.Fatal("not activated:", err)
		}
		f.add("V", float64(took)/float64(verification()))
		f.add("ms", took.Seconds()*1000)
		if err := successor.Close(ctx); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkActivateEpochsInV activates a conversation of 100 members with 1,000 epochs of history; the target is 600 V.
func BenchmarkActivateEpochsInV(b *testing.B) {
	c := newCrowd(b)
	for range 999 {
		if err := c.conv.UpdateKeys(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	c.activations(b)
}

// BenchmarkActivateMessagesInV activates a conversation of 100 members with one epoch of 100,000 messages, none of them acknowledged; the
// target is twice that of 1,000 epochs.
func BenchmarkActivateMessagesInV(b *testing.B) {
	c := newCrowd(b)
	const messages, atOnce = 100_000, 100
	text := make([]byte, 100)
	for sent := 0; sent < messages; sent += atOnce {
		if sent%4000 == 0 {
			c.clock.leap.Add(int64(11 * time.Minute)) // hours of traffic: commands are remembered for minutes
		}
		var work sync.WaitGroup
		for _, m := range c.speaker.speak(b, atOnce, text) {
			work.Go(func() {
				if got, err := c.conv.Decrypt(context.Background(), m); err != nil || got.Message == nil {
					b.Error(err, got.Outcome)
				}
			})
		}
		work.Wait()
		if b.Failed() {
			b.FailNow()
		}
	}
	c.activations(b)
}
