package mlsengine

import (
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"parley/mlsengine/suite"
)

// benchPair is a group of two: who sends and who receives.
type benchPair struct {
	sender, receiver *Group
	env              Env
}

func newBenchPair(b *testing.B) *benchPair {
	b.Helper()
	identity := func(name string) SigningIdentity {
		s, err := suite.Get(1)
		if err != nil {
			b.Fatal(err)
		}
		key, pub, err := s.GenerateSignatureKeyPair(newSeededEntropy(name).Draw("signature", s.SignatureSeedSize()))
		if err != nil {
			b.Fatal(err)
		}
		return SigningIdentity{BasicCredential([]byte(name)), key, pub}
	}
	alice, bob := identity("alice"), identity("bob")
	lifetime := Lifetime{NotBefore: 0, NotAfter: 1 << 40}
	env := Env{Now: 1 << 30, Entropy: newSeededEntropy("bench"), Identity: &alice}
	g, err := NewGroup(GroupParams{GroupID: GroupID("bench"), Suite: 1, Identity: alice, Lifetime: lifetime}, env)
	if err != nil {
		b.Fatal(err)
	}
	kp, secrets, err := NewKeyPackage(KeyPackageParams{Suite: 1, Identity: bob, Lifetime: lifetime}, env)
	if err != nil {
		b.Fatal(err)
	}
	out, err := g.Commit(CommitIntent{Inline: []Proposal{&Add{KeyPackage: *kp}}, TreeInWelcome: WithTree}, env)
	if err != nil {
		b.Fatal(err)
	}
	m, err := ParseMessage(out.Welcome)
	if err != nil {
		b.Fatal(err)
	}
	joined, err := JoinFromWelcome(m.Welcome(), JoinInput{KeyPackage: kp, Secrets: secrets, Identity: bob})
	if err != nil {
		b.Fatal(err)
	}
	return &benchPair{sender: out.Staged.Next, receiver: joined, env: env}
}

// fixedEntropy costs nothing, so that it is the engine that is measured.
type fixedEntropy struct{}

func (fixedEntropy) Draw(_ string, n int) []byte { return make([]byte, n) }

// verifyOnce is the unit V: one Ed25519 verification.
func verifyOnce() func() {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	message := make([]byte, 100)
	signature, public := ed25519.Sign(key, message), key.Public().(ed25519.PublicKey)
	return func() { ed25519.Verify(public, message, signature) }
}

// inV measures an operation in units of V: both are timed in turns, and the
// medians are compared, so that a noisy machine disturbs both alike.
func inV(b *testing.B, operation func()) { inVTimes(b, 64, operation) }

// inVTimes is inV for an operation that is repeated n times in a turn. The
// turns of the unit are made as long: what else the machine does interrupts a
// longer turn more often.
func inVTimes(b *testing.B, n int, operation func()) {
	const rounds, unitsMin, unitsMax = 41, 64, 4096
	unit := verifyOnce()
	perTurn := int(timed(n, operation) / (timed(unitsMin, unit)/unitsMin + 1))
	perTurn = min(max(perTurn, unitsMin), unitsMax)
	var ours, units []time.Duration
	for range rounds {
		ours = append(ours, timed(n, operation))
		units = append(units, timed(perTurn, unit))
	}
	slices.Sort(ours)
	slices.Sort(units)
	perOperation, perUnit := float64(ours[rounds/2])/float64(n), float64(units[rounds/2])/float64(perTurn)
	b.ReportMetric(perOperation/perUnit, "V")
}

func timed(n int, f func()) time.Duration {
	start := time.Now()
	for range n {
		f()
	}
	return time.Since(start)
}

// BenchmarkEncryptInV encrypts 1 KiB; the target is 1.0 V. Reserving is part of it: one block
// for 32 messages, as the conversation does.
func BenchmarkEncryptInV(b *testing.B) {
	p := newBenchPair(b)
	p.env.Entropy = fixedEntropy{}
	text := make([]byte, 1024)
	var block *SendBlock
	encrypt := func() {
		if block == nil || block.Remaining() == 0 {
			var err error
			if _, p.sender, block, err = p.sender.Reserve(ContentTypeApplication, 32); err != nil {
				b.Fatal(err)
			}
		}
		if _, _, err := p.sender.SealApplication(block, Plaintext{Data: text, Padding: 128}, p.env); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		encrypt()
	}
	inV(b, encrypt)
}

// BenchmarkDecryptInV decrypts 1 KiB, parsing included; the target is 1.5 V.
func BenchmarkDecryptInV(b *testing.B) {
	p := newBenchPair(b)
	const messages = 4096
	_, _, block, err := p.sender.Reserve(ContentTypeApplication, messages)
	if err != nil {
		b.Fatal(err)
	}
	text := make([]byte, 1024)
	sealed := make([][]byte, messages)
	for i := range sealed {
		if sealed[i], _, err = p.sender.SealApplication(block, Plaintext{Data: text, Padding: 128}, p.env); err != nil {
			b.Fatal(err)
		}
	}
	first, next := p.receiver, 0
	limits := Limits{OutOfOrderTolerance: 2, MaximumForwardDistance: 1000}
	decrypt := func() {
		if next == messages {
			p.receiver, next = first, 0
		}
		m, err := ParseMessage(sealed[next])
		if err != nil {
			b.Fatal(err)
		}
		if _, p.receiver, err = p.receiver.Open(m, limits); err != nil {
			b.Fatal(err)
		}
		next++
	}
	b.ReportAllocs()
	for b.Loop() {
		decrypt()
	}
	inV(b, decrypt)
}
