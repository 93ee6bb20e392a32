package mlsengine

import (
	"errors"
	"slices"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

// Limits bound what a receiver keeps and derives for messages that arrive out
// of order (§15.3). They are per sender, epoch and kind of message.
type Limits struct {
	// OutOfOrderTolerance is how far behind the next expected generation a
	// message may be.
	OutOfOrderTolerance uint32
	// MaximumForwardDistance is how many generations a message may skip.
	MaximumForwardDistance uint32
}

// secretTree holds the message keys of one epoch (§9): for each subtree the
// secret that nobody below has used yet, for each leaf that was used its two
// ratchets. It is immutable and shares structure with its successors; what was
// consumed is in none of them.
type secretTree struct {
	suite *suite.Suite
	size  treemath.Size
	root  *secretNode
}

// secretNode is a subtree. A nil node is one whose secrets are all consumed.
type secretNode struct {
	secret      treeNodeSecret // of the node; zero once it was split
	left, right *secretNode    // of a parent that was split
	ratchets    *leafRatchets  // of a leaf that was split
}

type (
	// treeNodeSecret is the secret of a node of the secret tree (§9).
	treeNodeSecret struct{ secret.Bytes }
	// ratchetSecret is the state of a ratchet at one generation (§9.1).
	ratchetSecret struct{ secret.Bytes }
)

// leafRatchets are the two ratchets of a leaf; nil ones were given up.
type leafRatchets struct{ handshake, application *ratchet }

// ratchet makes the keys of one leaf for one kind of message (§9.1).
type ratchet struct {
	secret  ratchetSecret // of the generation next
	next    Generation
	skipped []skippedKeys // of generations below next, ascending
}

// skippedKeys wait for a message that is late.
type skippedKeys struct {
	generation Generation
	keys       messageKeys
}

// messageKeys encrypt one message.
type messageKeys struct{ key, nonce secret.Bytes }

// wipe overwrites the keys; their time is over when the message is sealed.
func (k messageKeys) wipe() {
	k.key.Wipe()
	k.nonce.Wipe()
}

// generationMax cannot be used: no generation could follow it.
const generationMax = Generation(1<<32 - 1)

// ErrGenerationsExhausted is returned when a member has sent as many messages
// in this epoch as SendMax allows: it has to commit first.
var ErrGenerationsExhausted = errors.New("no generations are left in this epoch")

// newSecretTree consumes the encryption secret (§9).
func newSecretTree(s *suite.Suite, root encryptionSecret, size treemath.Size) *secretTree {
	return &secretTree{suite: s, size: size, root: &secretNode{secret: treeNodeSecret{root.Bytes}}}
}

// consume takes the keys of one generation of a sender out of the tree. Keys
// it passes over stay for late messages, as far as the limits allow. The
// caller takes the successor only if the keys opened the message.
func (t *secretTree) consume(leaf LeafIndex, ct ContentType, g Generation, limits Limits) (messageKeys, *secretTree, error) {
	var keys messageKeys
	next, err := t.changeRatchet(leaf, ct, func(r *ratchet) (_ *ratchet, err error) {
		keys, r, err = r.consume(t.suite, g, limits)
		return r, err
	})
	return keys, next, err
}

// reserve moves a sender's own ratchet past n generations and hands them out.
// A ratchet ends at SendMax, long before its counter does.
func (t *secretTree) reserve(leaf LeafIndex, ct ContentType, n uint32) (Generation, *secretTree, *SendBlock, error) {
	var block *SendBlock
	next, err := t.changeRatchet(leaf, ct, func(r *ratchet) (*ratchet, error) {
		if err := checkSendMax(r.next, n); err != nil {
			return nil, err
		}
		block = &SendBlock{suite: t.suite, contentType: ct, end: r.next + Generation(n)}
		block.ratchet = ratchet{secret: ratchetSecret{secret.Clone(r.secret.Expose())}, next: r.next}
		moved := &ratchet{secret: r.secret, next: r.next, skipped: r.skipped}
		for range n {
			moved.stepFrom(t.suite, r.next)
		}
		return moved, nil
	})
	if err != nil {
		return 0, nil, nil, err
	}
	return block.ratchet.next, next, block, nil
}

// retire keeps what opens late application messages of others: handshakes of
// a past epoch change nothing any more, and nothing is sent in it.
func (t *secretTree) retire(own LeafIndex) *secretTree {
	next, err := t.changeLeaf(t.root, t.size.Root(), own, func(*leafRatchets) (*leafRatchets, error) {
		return nil, nil
	})
	if err != nil {
		next = t.root // our own keys were gone before
	}
	return &secretTree{suite: t.suite, size: t.size, root: next.withoutHandshakes()}
}

// withoutHandshakes drops the handshake ratchets that were derived. Subtrees
// that were never split keep their secret: both kinds of keys follow from it.
func (n *secretNode) withoutHandshakes() *secretNode {
	switch {
	case n == nil || !n.secret.IsZero():
		return n
	case n.ratchets != nil:
		return leafNodeOf(&leafRatchets{application: n.ratchets.application})
	}
	return parentNodeOf(n.left.withoutHandshakes(), n.right.withoutHandshakes())
}

// leafNodeOf is a split leaf, nil when it holds nothing.
func leafNodeOf(r *leafRatchets) *secretNode {
	if r == nil || r.handshake == nil && r.application == nil {
		return nil
	}
	return &secretNode{ratchets: r}
}

// parentNodeOf is a split parent, nil when it holds nothing.
func parentNodeOf(left, right *secretNode) *secretNode {
	if left == nil && right == nil {
		return nil
	}
	return &secretNode{left: left, right: right}
}

// changeRatchet is the successor in which one ratchet is replaced.
func (t *secretTree) changeRatchet(leaf LeafIndex, ct ContentType, change func(*ratchet) (*ratchet, error)) (*secretTree, error) {
	if !t.size.Contains(leaf) {
		return nil, broken(UnknownSender, "leaf %d of %d", leaf, t.size)
	}
	root, err := t.changeLeaf(t.root, t.size.Root(), leaf, func(rs *leafRatchets) (*leafRatchets, error) {
		next := *rs
		which := &next.handshake
		if ct == ContentTypeApplication {
			which = &next.application
		}
		if *which == nil {
			return nil, broken(GenerationConsumed, "leaf %d has no keys left", leaf)
		}
		r, err := change(*which)
		*which = r
		return &next, err
	})
	if err != nil {
		return nil, err
	}
	return &secretTree{suite: t.suite, size: t.size, root: root}, nil
}

// changeLeaf is the successor of the subtree n at x in which the ratchets of
// one leaf are replaced. Secrets on the way down are split: using what is
// below consumes them (§9.2).
func (t *secretTree) changeLeaf(n *secretNode, x treemath.NodeIndex, leaf LeafIndex, change func(*leafRatchets) (*leafRatchets, error)) (*secretNode, error) {
	if n == nil {
		return nil, broken(GenerationConsumed, "leaf %d has no keys left", leaf)
	}
	if x.IsLeaf() {
		ratchets := n.ratchets
		if ratchets == nil {
			ratchets = n.secret.ratchets(t.suite)
		}
		next, err := change(ratchets)
		return leafNodeOf(next), err
	}
	left, right := n.left, n.right
	if !n.secret.IsZero() {
		left, right = n.secret.split(t.suite)
	}
	var err error
	if l, _ := t.size.Left(x); leaf.Node() < x {
		left, err = t.changeLeaf(left, l, leaf, change)
	} else {
		r, _ := t.size.Right(x)
		right, err = t.changeLeaf(right, r, leaf, change)
	}
	return parentNodeOf(left, right), err
}

// split derives the secrets of both children (§9).
func (n treeNodeSecret) split(s *suite.Suite) (left, right *secretNode) {
	child := func(side string) *secretNode {
		return &secretNode{secret: treeNodeSecret{secret.New(s.ExpandWithLabel(n.Expose(), "tree", []byte(side), s.HashSize()))}}
	}
	return child("left"), child("right")
}

// ratchets starts both ratchets of a leaf (§9).
func (n treeNodeSecret) ratchets(s *suite.Suite) *leafRatchets {
	start := func(label string) *ratchet {
		return &ratchet{secret: ratchetSecret{secret.New(s.ExpandWithLabel(n.Expose(), label, nil, s.HashSize()))}}
	}
	return &leafRatchets{handshake: start("handshake"), application: start("application")}
}

// keys derives the keys of the generation next (§9.1).
func (r *ratchet) keys(s *suite.Suite) messageKeys {
	b := make([]byte, s.AEADKeySize()+s.AEADNonceSize())
	key, nonce := b[:s.AEADKeySize():s.AEADKeySize()], b[s.AEADKeySize():]
	s.DeriveTreeSecretInto(key, r.secret.Expose(), "key", uint32(r.next))
	s.DeriveTreeSecretInto(nonce, r.secret.Expose(), "nonce", uint32(r.next))
	return messageKeys{key: secret.New(key), nonce: secret.New(nonce)}
}

// stepFrom moves on by one generation. Only a ratchet that is still being made
// may step. The secret that it leaves is wiped unless an older tree has it: the
// generation at which this ratchet's life began.
func (r *ratchet) stepFrom(s *suite.Suite, began Generation) {
	left := r.secret
	r.secret = ratchetSecret{secret.New(s.DeriveTreeSecret(left.Expose(), "secret", uint32(r.next), s.HashSize()))}
	if r.next != began {
		left.Wipe()
	}
	r.next++
}

// consume is secretTree.consume for one ratchet.
func (r *ratchet) consume(s *suite.Suite, g Generation, limits Limits) (messageKeys, *ratchet, error) {
	if g < r.next {
		return r.consumeSkipped(g)
	}
	if distance := g - r.next; uint32(distance) > limits.MaximumForwardDistance || g == generationMax {
		return messageKeys{}, nil, broken(GenerationTooFar, "generation %d, next is %d", g, r.next)
	}
	// What is older than the tolerance after this message is not even derived.
	oldest := Generation(0)
	if g+1 > Generation(limits.OutOfOrderTolerance) {
		oldest = g + 1 - Generation(limits.OutOfOrderTolerance)
	}
	next := &ratchet{secret: r.secret, next: r.next, skipped: r.keptFrom(oldest, g)}
	for next.next < g {
		if next.next >= oldest {
			next.skipped = append(next.skipped, skippedKeys{next.next, next.keys(s)})
		}
		next.stepFrom(s, r.next)
	}
	keys := next.keys(s)
	next.stepFrom(s, r.next)
	return keys, next, nil
}

// keptFrom are the skipped keys from a generation on. When more are about to
// follow, up to g, they are a copy with room for those.
func (r *ratchet) keptFrom(oldest, g Generation) []skippedKeys {
	first, _ := slices.BinarySearchFunc(r.skipped, oldest, skippedKeys.compare)
	kept := r.skipped[first:]
	if more := int(g - max(r.next, min(oldest, g))); more > 0 {
		return append(make([]skippedKeys, 0, len(kept)+more), kept...)
	}
	return kept
}

func (k skippedKeys) compare(g Generation) int { return int(int64(k.generation) - int64(g)) }

// consumeSkipped takes the keys of a late message.
func (r *ratchet) consumeSkipped(g Generation) (messageKeys, *ratchet, error) {
	i, found := slices.BinarySearchFunc(r.skipped, g, skippedKeys.compare)
	if !found {
		return messageKeys{}, nil, broken(GenerationConsumed, "generation %d, next is %d", g, r.next)
	}
	rest := make([]skippedKeys, 0, len(r.skipped)-1)
	rest = append(append(rest, r.skipped[:i]...), r.skipped[i+1:]...)
	return r.skipped[i].keys, &ratchet{secret: r.secret, next: r.next, skipped: rest}, nil
}

// SendBlock is a run of own generations that a ratchet has moved past. Unlike
// everything else here it changes: taking a generation is irrevocable, so that
// no key is used twice whatever becomes of the message. It must not be copied
// or used by two goroutines.
type SendBlock struct {
	suite       *suite.Suite
	contentType ContentType
	ratchet     ratchet // owns its secret
	end         Generation
	epoch       []byte // confirmation tag of the epoch whose keys these are
	scratch     sealScratch
}

// Remaining is how many generations the block has left.
func (b *SendBlock) Remaining() uint32 { return uint32(b.end - b.ratchet.next) }

// Next is the generation that the next message takes.
func (b *SendBlock) Next() Generation { return b.ratchet.next }

// ErrBlockExhausted is returned when a send block has no generation left.
var ErrBlockExhausted = errors.New("the reserved generations are used up")

// take gives the keys of the block's next generation, once.
func (b *SendBlock) take(ct ContentType) (Generation, messageKeys, error) {
	if (ct == ContentTypeApplication) != (b.contentType == ContentTypeApplication) {
		panic("mlsengine: the block was reserved for another kind of message")
	}
	if b.Remaining() == 0 {
		return 0, messageKeys{}, ErrBlockExhausted
	}
	g, keys := b.ratchet.next, b.ratchet.keys(b.suite)
	b.ratchet.stepFrom(b.suite, generationMax) // the block owns its secrets
	if b.Remaining() == 0 {
		b.ratchet.secret.Wipe()
	}
	return g, keys, nil
}

// Discard gives up what is left of the block.
func (b *SendBlock) Discard() {
	b.ratchet.secret.Wipe()
	b.end = b.ratchet.next
}

// How a subtree stands in a snapshot.
const (
	secretNodeAbsent uint8 = iota
	secretNodeWhole
	secretNodeSplit
)

// Code walks the tree in a snapshot: only what is unconsumed, so that a tree in
// which one member sent takes one secret for each level. Before reading, the
// suite must be set.
func (t *secretTree) Code(c *syntax.Coder) {
	syntax.Uint32(c, &t.size)
	if !t.size.Valid() || t.size > treemath.SizeMax {
		c.Fail("not the size of a tree")
		return
	}
	t.codeNode(c, &t.root, t.size.Root().Level())
}

func (t *secretTree) codeNode(c *syntax.Coder, n **secretNode, level uint) {
	kind := secretNodeAbsent
	if *n != nil {
		kind = secretNodeSplit
		if !(*n).secret.IsZero() {
			kind = secretNodeWhole
		}
	}
	syntax.Uint8(c, &kind)
	if c.Err() != nil || kind == secretNodeAbsent {
		return
	}
	if c.Reading() {
		*n = &secretNode{}
	}
	switch {
	case kind == secretNodeWhole:
		t.codeSecretOfSize(c, &(*n).secret.Bytes, t.suite.HashSize())
	case kind == secretNodeSplit && level > 0:
		t.codeNode(c, &(*n).left, level-1)
		t.codeNode(c, &(*n).right, level-1)
		if (*n).left == nil && (*n).right == nil {
			c.Fail("a split node with nothing below it")
		}
	case kind == secretNodeSplit:
		if c.Reading() {
			(*n).ratchets = &leafRatchets{}
		}
		t.codeLeaf(c, (*n).ratchets)
	default:
		c.Fail("unknown kind of node")
	}
}

func (t *secretTree) codeLeaf(c *syntax.Coder, rs *leafRatchets) {
	for _, which := range []**ratchet{&rs.handshake, &rs.application} {
		present := uint8(0)
		if *which != nil {
			present = 1
		}
		syntax.Uint8(c, &present)
		if present > 1 {
			c.Fail("presence byte is neither 0 nor 1")
		}
		if c.Err() != nil || present == 0 {
			continue
		}
		if c.Reading() {
			*which = &ratchet{}
		}
		t.codeRatchet(c, *which)
	}
	if rs.handshake == nil && rs.application == nil {
		c.Fail("a leaf with nothing in it")
	}
}

func (t *secretTree) codeRatchet(c *syntax.Coder, r *ratchet) {
	t.codeSecretOfSize(c, &r.secret.Bytes, t.suite.HashSize())
	syntax.Uint32(c, &r.next)
	syntax.VectorFunc(c, &r.skipped, func(c *syntax.Coder, k *skippedKeys) {
		syntax.Uint32(c, &k.generation)
		t.codeSecretOfSize(c, &k.keys.key, t.suite.AEADKeySize())
		t.codeSecretOfSize(c, &k.keys.nonce, t.suite.AEADNonceSize())
	})
	for i := range r.skipped {
		if r.skipped[i].generation >= r.next || i > 0 && r.skipped[i].generation <= r.skipped[i-1].generation {
			c.Fail("skipped generations are out of order")
			return
		}
	}
}

// codeSecretOfSize is codeSecret for a secret whose length the suite fixes.
func (t *secretTree) codeSecretOfSize(c *syntax.Coder, s *secret.Bytes, n int) {
	if !c.Reading() {
		syntax.Fixed(c, s.Expose())
		return
	}
	if c.Remaining() < n {
		c.Fail("truncated")
		return
	}
	b := make([]byte, n)
	syntax.Fixed(c, b)
	*s = secret.New(b)
}
