package mlsengine

import (
	"bytes"
	"crypto/ed25519"
	"encoding/asn1"
	"math/big"
	"runtime"
	"testing"
	"time"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// The corpus of hostile inputs: each is refused with its rule, within memory in proportion to its size and within a number of operations.
// It is generated here, and the seeds of every decoder's fuzz target are taken from it (hostileEncodings).

// budget bounds what refusing an input may take. Operations are counted in signature verifications made in the same run, so that a slow or
// busy machine does not matter; memory in bytes and objects.
type budget struct {
	verifications int
	bytes         uint64
	objects       uint64
}

// within fails the test if f takes more.
func within(t *testing.T, what string, most budget, f func()) {
	t.Helper()
	unit := verificationTime()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	f()
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	unit = max(unit, verificationTime()) // of a machine that got busier meanwhile
	if took > unit*time.Duration(most.verifications) {
		t.Errorf("%s took %v, more than %d verifications of %v", what, took, most.verifications, unit)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > most.bytes {
		t.Errorf("%s took %d bytes, more than %d", what, n, most.bytes)
	}
	if n := after.Mallocs - before.Mallocs; n > most.objects {
		t.Errorf("%s took %d objects, more than %d", what, n, most.objects)
	}
}

func verificationTime() time.Duration {
	const rounds = 20
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, signature := key.Public().(ed25519.PublicKey), ed25519.Sign(key, []byte("unit"))
	began := time.Now()
	for range rounds {
		ed25519.Verify(public, []byte("unit"), signature)
	}
	return time.Since(began) / rounds
}

// hostileEncodings are inputs that spoil a valid encoding: cut short, with headers that are longer than they need be or promise more than
// there is, with presence bytes and tags that nothing stands for, with something after the end. Positions are spread over the whole seed.
func hostileEncodings(seed []byte) [][]byte {
	const positions = 64
	step := max(1, len(seed)/positions)
	out := [][]byte{nil, append(bytes.Clone(seed), 0)}
	for i := 0; i < len(seed); i += step {
		out = append(out, bytes.Clone(seed[:i]))
		for _, b := range []byte{0x00, 0x02, 0x3f, 0x7f, 0xbf, 0xc0, 0xff} {
			spoiled := bytes.Clone(seed)
			spoiled[i] = b
			out = append(out, spoiled)
		}
		for _, header := range [][]byte{{0x40, seed[i] & 0x3f}, {0x80, 0, 0, seed[i] & 0x3f}, {0xbf, 0xff, 0xff, 0xff}} {
			out = append(out, append(append(bytes.Clone(seed[:i]), header...), seed[i+1:]...))
		}
	}
	return out
}

func TestHostileEncodingsAreMalformedOrCanonical(t *testing.T) {
	w := newFuzzWorld(t)
	decoders := w.treeDecoders()
	seeds := w.treeSeeds(t)
	decoders["message"], seeds["message"] = decodeMessage, messageSeeds(t)
	for name, decode := range decoders {
		accepted, total := 0, 0
		for _, seed := range seeds[name] {
			for _, b := range hostileEncodings(seed) {
				total++
				var again []byte
				var err error
				if got, most := allocated(func() { again, err = decode(b) }), uint64(320*len(b)+1<<17); got > most {
					t.Errorf("%s: an input of %d bytes took %d", name, len(b), got)
				}
				if err == nil && !bytes.Equal(again, b) {
					t.Errorf("%s: %x encodes again to %x", name, b, again)
				}
				if err == nil {
					accepted++
				}
			}
		}
		if total == 0 || accepted == total {
			t.Errorf("%s: %d of %d hostile inputs were accepted", name, accepted, total)
		}
	}
}

// TestListsOfTenThousandProposals: whatever they are, a list is refused by one look at each of them.
func TestListsOfTenThousandProposals(t *testing.T) {
	const many = 10_000
	repeat := func(one func(i int) ProposalOrRef) []ProposalOrRef { return listOf(many, one) }
	value := func(one func(i int) Proposal) []ProposalOrRef {
		return repeat(func(i int) ProposalOrRef { return ProposalOrRef{Proposal: one(i)} })
	}
	dave := *newTestClient(t, 1, "dave").keyPackage(t)
	psk := func(i int) *PreSharedKey {
		return &PreSharedKey{PSK: PreSharedKeyID{Type: PSKTypeExternal, ID: []byte{byte(i >> 8), byte(i)}, Nonce: make([]byte, 32)}}
	}
	for name, c := range map[string]struct {
		want      Rule
		proposals []ProposalOrRef
	}{
		"references to nothing": {UnknownProposal, repeat(func(i int) ProposalOrRef { return ProposalOrRef{Ref: ProposalRef{byte(i >> 8), byte(i)}} })},
		"removes of nobody":     {RemoveBlankLeaf, value(func(i int) Proposal { return &Remove{Removed: LeafIndex(i + 1000)} })},
		"removes of one leaf":   {MultipleChangesOfLeaf, value(func(int) Proposal { return &Remove{Removed: 1} })},
		"unknown keys":          {PSKUnknown, value(func(i int) Proposal { return psk(i) })},
		"one key":               {PSKDuplicate, value(func(int) Proposal { return psk(0) })},
		"contexts":              {MultipleGroupContextExtensions, value(func(int) Proposal { return &GroupContextExtensions{} })},
		"successors":            {ReInitWithOthers, value(func(int) Proposal { return &ReInit{Version: VersionMLS10, CipherSuite: 1} })},
		"external inits":        {ExternalInitByMember, value(func(int) Proposal { return &ExternalInit{KEMOutput: make([]byte, 32)} })},
		"application data":      {AppDataUpdateConflict, value(func(i int) Proposal { return &AppDataUpdate{Component: plain, Remove: i%2 == 1} })},
		"self removes":          {SelfRemoveByValue, value(func(int) Proposal { return &SelfRemove{} })},
		"unknown types":         {ProposalUnsupported, value(func(i int) Proposal { return &CustomProposal{Type: ProposalType(0xf000 + i%4000)} })},
		"one client":            {AddDuplicate, value(func(int) Proposal { return &Add{KeyPackage: dave} })[:200]},
	} {
		t.Run(name, func(t *testing.T) {
			clients := newComponentGroup(t, nil, "alice", "bob")
			message := (&rogueCommit{proposals: c.proposals}).make(t, clients[0])
			m := must(ParseMessage(message))(t)
			most := budget{verifications: 2 * many, bytes: 400*uint64(len(message)) + 1<<22, objects: 400 * many}
			within(t, name, most, func() {
				content, next, err := clients[1].group.Open(m, testLimits)
				check(t, err)
				_, err = next.StageCommit(CommitInput{Commit: content}, clients[1].env)
				wantRule(t, c.want, err)
			})
		})
	}
}

// listOf makes a list of n things.
func listOf[T any](n int, one func(int) T) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = one(i)
	}
	return list
}

// TestTreesOfAbsurdShape: a tree is refused before anything in proportion to what it claims is made, and before its keys are looked at.
func TestTreesOfAbsurdShape(t *testing.T) {
	member := newTestGroup(t, 1, "alice")[0].group.public.tree.leaf(0)
	leaf := append([]byte{1, 1}, syntax.Encode(member)...)
	parent := append([]byte{1, 2}, syntax.Encode(&parentNode{EncryptionKey: member.EncryptionKey})...)
	vector := func(parts ...[]byte) []byte {
		body := bytes.Join(parts, nil)
		return append(syntax.AppendLength(nil, len(body)), body...)
	}
	blank := func(n int) []byte { return make([]byte, n) }
	unmerged := func(n int) []byte {
		p := parentNode{EncryptionKey: member.EncryptionKey, UnmergedLeaves: make([]LeafIndex, n)}
		return append([]byte{1, 2}, syntax.Encode(&p)...)
	}
	for name, c := range map[string]struct {
		want Rule
		tree []byte
	}{
		"nothing":                   {TreeMalformed, vector()},
		"a million blanks":          {TreeMalformed, vector(blank(1 << 20))},
		"a leaf after a million":    {TreeTooLarge, vector(blank(1<<20), leaf)},
		"ends with a blank":         {TreeMalformed, vector(leaf, blank(1))},
		"a leaf as parent":          {TreeMalformed, vector(leaf, leaf, leaf)},
		"a parent as leaf":          {TreeMalformed, vector(parent)},
		"presence of two":           {MalformedMessage, vector([]byte{2}, leaf[1:])},
		"a node of no type":         {MalformedMessage, vector([]byte{1, 3}, leaf[2:])},
		"half a leaf":               {MalformedMessage, vector(leaf[:len(leaf)/2])},
		"100,000 unmerged leaves":   {TreeUnmergedLeaf, vector(leaf, unmerged(100_000), leaf)},
		"a header for a gigabyte":   {MalformedMessage, []byte{0xbf, 0xff, 0xff, 0xff, 1}},
		"a header that is too long": {MalformedMessage, append([]byte{0x80, 0, 0, byte(len(leaf) & 0x3f)}, leaf...)},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, name, budget{verifications: 20_000, bytes: 200*uint64(len(c.tree)) + 1<<20, objects: 4*uint64(len(c.tree)) + 1000}, func() {
				tree, err := ParseRatchetTree(1, c.tree)
				if err == nil {
					err = tree.verifyUnmerged()
				}
				wantRule(t, c.want, err)
			})
		})
	}
}

// badHPKEKeys are strings that are no public key of a suite's KEM, good being one that is.
func badHPKEKeys(id CipherSuite, good []byte) map[string][]byte {
	bad := map[string][]byte{
		"empty": {}, "one byte": {4}, "short": good[:len(good)-1], "long": append(bytes.Clone(good), 0), "a megabyte": make([]byte, 1<<20),
	}
	edit := func(change func([]byte)) []byte {
		b := bytes.Clone(good)
		change(b)
		return b
	}
	fill := func(v byte) []byte { return bytes.Repeat([]byte{v}, len(good)) }
	switch id {
	case suite.P256_AES128GCM_SHA256_P256, suite.P384_AES256GCM_SHA384_P384, suite.P521_AES256GCM_SHA512_P521:
		bad["zero"], bad["ones"], bad["infinity"] = fill(0), append([]byte{4}, fill(0xff)[1:]...), []byte{0}
		bad["off the curve"] = edit(func(b []byte) { b[len(b)-1] ^= 1 })
		bad["compressed"] = edit(func(b []byte) { b[0] = 2 })[:1+len(good)/2]
		bad["hybrid"] = edit(func(b []byte) { b[0] = 6 + b[len(b)-1]&1 })
		bad["x and y zero"] = append([]byte{4}, fill(0)[1:]...)
	case suite.X448_AES256GCM_SHA512_Ed448, suite.X448_CHACHA20POLY1305_SHA512_Ed448:
		bad["zero"], bad["one"] = fill(0), edit(func(b []byte) { clear(b); b[0] = 1 })
		bad["p"] = append(append(bytes.Repeat([]byte{0xff}, 28), 0xfe), bytes.Repeat([]byte{0xff}, 27)...)
	case suite.X25519_AES128GCM_SHA256_Ed25519, suite.X25519_CHACHA20POLY1305_SHA256_Ed25519:
		bad["zero"], bad["one"] = fill(0), edit(func(b []byte) { clear(b); b[0] = 1 })
		bad["zero with the high bit"] = edit(func(b []byte) { clear(b); b[31] = 0x80 })
		bad["p"] = append(append([]byte{0xed}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f)
	default:
		bad["coefficients above the modulus"] = fill(0xff)
	}
	return bad
}

// badSignatureKeys is the same for a suite's signature scheme.
func badSignatureKeys(id CipherSuite, good []byte) map[string][]byte {
	switch id {
	case suite.P256_AES128GCM_SHA256_P256, suite.P384_AES256GCM_SHA384_P384, suite.P521_AES256GCM_SHA512_P521:
		return badHPKEKeys(id, good)
	}
	identity := append([]byte{1}, make([]byte, len(good)-1)...)
	return map[string][]byte{
		"empty": {}, "short": good[1:], "long": append(bytes.Clone(good), 0), "the identity": identity, "of order four": make([]byte, len(good)),
		"a megabyte": make([]byte, 1<<20),
	}
}

func TestMalformedKeysOnEveryCurve(t *testing.T) {
	for _, id := range suite.IDs() {
		clients := newTestGroup(t, id, "alice", "bob")
		alice, bob := clients[0], clients[1]
		dave := newTestClient(t, id, "dave")
		good := *dave.keyPackage(t)
		for name, key := range badHPKEKeys(id, good.InitKey) {
			k := good
			k.InitKey = key
			wantRule(t, KeyPackageInitKeyInvalid, k.validate(dave.suite))
			k = good
			k.LeafNode.EncryptionKey = key
			wantRule(t, LeafKey, k.validate(dave.suite))
			r := rogueCommit{beforeSeal: func(b *committing) { b.commit.Path.Nodes = nil }}
			r.beforeSign = func(b *committing) { b.commit.Path.Nodes[0].EncryptionKey = key }
			wantRule(t, PathKey, refusedBy(t, bob, r.make(t, alice), nil))
			tree := alice.group.public.tree.draft()
			tree.set(1, node{parent: &parentNode{EncryptionKey: key}})
			wantRule(t, TreeParentKey, tree.seal().verifyParents())
			if t.Failed() {
				t.Fatalf("suite %d: %s", id, name)
			}
		}
		for name, key := range badSignatureKeys(id, good.LeafNode.SignatureKey) {
			k := good
			k.LeafNode.SignatureKey = key
			wantRule(t, LeafKey, k.validate(dave.suite))
			if err := dave.suite.VerifyWithLabel(key, "label", nil, good.Signature); err == nil {
				t.Error("a signature verifies")
			}
			if t.Failed() {
				t.Fatalf("suite %d: %s", id, name)
			}
		}
	}
}

// order25519 is the order of Ed25519's base point, L.
func order25519() *big.Int {
	l, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	return l.Add(l, new(big.Int).Lsh(big.NewInt(1), 252))
}

// malleated are other encodings of a valid signature, which must not verify: S plus the group's order, and DER that is not DER.
func malleated(id CipherSuite, signature []byte) map[string][]byte {
	reversed := func(b []byte) []byte {
		out := bytes.Clone(b)
		for i := range len(out) / 2 {
			out[i], out[len(out)-1-i] = out[len(out)-1-i], out[i]
		}
		return out
	}
	switch id {
	case suite.P256_AES128GCM_SHA256_P256, suite.P384_AES256GCM_SHA384_P384, suite.P521_AES256GCM_SHA512_P521:
	case suite.X448_AES256GCM_SHA512_Ed448, suite.X448_CHACHA20POLY1305_SHA512_Ed448:
		high := bytes.Clone(signature)
		high[len(high)-1] = 0x80
		return map[string][]byte{"S beyond its bytes": high, "long": append(bytes.Clone(signature), 0), "short": signature[:len(signature)-1], "empty": {}}
	default:
		s := new(big.Int).SetBytes(reversed(signature[32:]))
		s.Add(s, order25519())
		return map[string][]byte{
			"S plus L": append(bytes.Clone(signature[:32]), reversed(s.FillBytes(make([]byte, 32)))...),
			"long":     append(bytes.Clone(signature), 0), "short": signature[:63], "empty": {},
		}
	}
	var rs struct{ R, S *big.Int }
	_, _ = asn1.Unmarshal(signature, &rs)
	integer := func(b []byte) []byte { return append([]byte{2, byte(len(b))}, b...) }
	sequence := func(parts ...[]byte) []byte {
		body := bytes.Join(parts, nil)
		if len(body) > 127 {
			return append([]byte{0x30, 0x81, byte(len(body))}, body...)
		}
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	r, s := positive(rs.R), positive(rs.S)
	body := bytes.Join([][]byte{integer(r), integer(s)}, nil)
	return map[string][]byte{
		"a zero before r":     sequence(integer(append([]byte{0}, r...)), integer(s)),
		"a zero before s":     sequence(integer(r), integer(append([]byte{0}, s...))),
		"a negative r":        sequence(integer(append([]byte{0xff}, r...)), integer(s)),
		"something after":     append(bytes.Clone(signature), 0),
		"something inside":    sequence(integer(r), integer(s), []byte{5, 0}),
		"a length too long":   append([]byte{0x30, 0x82, 0, byte(len(body))}, body...),
		"no definite length":  append(append([]byte{0x30, 0x80}, body...), 0, 0),
		"r alone":             sequence(integer(r)),
		"zeroes":              sequence(integer([]byte{0}), integer([]byte{0})),
		"r and s without DER": append(rs.R.Bytes(), rs.S.Bytes()...),
		"empty":               {},
	}
}

// positive is an INTEGER's content for a positive number.
func positive(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) > 0 && b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return b
}

func TestMalleatedSignaturesAreInvalid(t *testing.T) {
	for _, id := range suite.IDs() {
		clients := newTestGroup(t, id, "alice", "bob")
		g := clients[0].group
		a := must(g.frame(framedContent{ContentType: ContentTypeProposal, Proposal: &Remove{Removed: 1}}, Framing{}, clients[0].env))(t)
		check(t, g.public.verifyAuthenticated(a))
		for name, signature := range malleated(id, a.Signature) {
			spoiled := *a
			spoiled.Signature = signature
			message := sealPublic(clients[0].suite, &spoiled, g.secrets.membership, g.public.encoded).Bytes()
			_, _, err := clients[1].group.Open(must(ParseMessage(message))(t), testLimits)
			wantRule(t, InvalidSignature, err)
			if t.Failed() {
				t.Fatalf("suite %d: %s", id, name)
			}
		}
	}
}
