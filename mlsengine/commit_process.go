package mlsengine

import (
	"bytes"
	"crypto/hmac"
	"slices"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// CommitInput is what a member needs to process a commit.
type CommitInput struct {
	Commit     *Content
	Proposals  []*Content // among them those that the commit refers to
	OwnUpdates OwnUpdates
	PSKs       PSKStore
}

// receive puts a commit of somebody else into effect, up to the point where
// the next epoch's tree and provisional context are known.
func (g *PublicGroup) receive(c *Content, proposals []*Content, env Env) (*staging, error) {
	commit := c.Commit()
	if commit == nil {
		return nil, broken(MalformedContent, "not a commit")
	}
	if !bytes.Equal(c.GroupID(), g.context.GroupID) {
		return nil, broken(WrongGroup, "")
	}
	if c.Epoch() != g.context.Epoch {
		return nil, broken(WrongEpoch, "epoch %d, group is in %d", c.Epoch(), g.context.Epoch)
	}
	if kind := c.Sender().Type; kind != SenderTypeMember && kind != SenderTypeNewMemberCommit {
		return nil, broken(UnknownSender, "sender type %d does not commit", kind)
	}
	list, err := g.resolve(c.Sender(), commit, proposals)
	if err != nil {
		return nil, err
	}
	st, err := g.stage(list, env)
	if err != nil {
		return nil, err
	}
	if commit.Path != nil {
		if err := st.mergePath(commit.Path); err != nil {
			return nil, err
		}
	}
	return st, st.finishTree()
}

// StageCommit computes the next epoch from a verified commit and the verified
// proposals it refers to. All rules are checked that need no secret.
func (g *PublicGroup) StageCommit(c *Content, proposals []*Content, env Env) (*PublicStaged, error) {
	st, err := g.receive(c, proposals, env)
	if err != nil {
		return nil, err
	}
	st.conclude(&c.authenticated)
	next := st.public(c.ConfirmationTag())
	return &PublicStaged{Next: next, Delta: st.delta(next), Effects: st.effects, ReInit: st.reinit}, nil
}

// StageCommit computes the next epoch from a commit of somebody else (§12.4.2).
func (g *Group) StageCommit(in CommitInput, env Env) (*Staged, error) {
	if g.retired {
		return nil, ErrRetired
	}
	if in.Commit.Sender() == MemberSender(g.own) {
		return nil, broken(OwnMessage, "commit of leaf %d", g.own)
	}
	st, err := g.public.receive(in.Commit, in.Proposals, env)
	if err != nil {
		return nil, err
	}
	if err := st.list.checkUnderstood(); err != nil {
		return nil, err
	}
	if slices.Contains(st.removed, g.own) {
		st.conclude(&in.Commit.authenticated)
		return st.staged(nil, in.Commit.ConfirmationTag()), nil
	}
	held, fresh, err := g.ownUpdate(st.list, in.OwnUpdates)
	if err != nil {
		return nil, err
	}
	commit := zeroCommitSecret(g.public.suite)
	if path := in.Commit.Commit().Path; path != nil {
		r := pathReceiver{tree: st.tree, committer: st.committer, own: g.own, added: st.added, keys: held, context: st.provisional()}
		above, secret, err := r.open(path)
		if err != nil {
			return nil, err
		}
		fresh, commit = append(fresh, above...), secret
	}
	st.conclude(&in.Commit.authenticated)
	entered, err := g.enterNext(st, commit, in.PSKs)
	commit.Wipe()
	if err != nil {
		return nil, err
	}
	defer entered.wipe()
	if !hmac.Equal(entered.tag, in.Commit.ConfirmationTag()) {
		return nil, broken(InvalidConfirmationTag, "epoch %d", st.context.Epoch)
	}
	return st.staged(g.successor(st, entered, fresh), entered.tag), nil
}

// ownUpdate finds the private key of our own Update if the list has one, and
// returns the keys that open the commit's path.
func (g *Group) ownUpdate(list *proposalList, own OwnUpdates) (held nodeKeys, fresh []nodeKey, err error) {
	held = g.keys
	err = eachProposal(list, func(p *Update, c committed) error {
		if c.sender != MemberSender(g.own) {
			return nil
		}
		raw, known := own[string(c.ref)]
		if !known {
			return broken(OwnUpdateUnknown, "proposal %x", []byte(c.ref))
		}
		key, err := g.public.suite.ParseHPKEPrivateKey(raw.Expose())
		if err != nil {
			return broken(OwnUpdateUnknown, "proposal %x: the key is malformed", []byte(c.ref))
		}
		if public, err := g.public.suite.PublicHPKEKey(key); err != nil || !bytes.Equal(public, p.LeafNode.EncryptionKey) {
			return broken(OwnUpdateUnknown, "proposal %x: the key is that of another leaf", []byte(c.ref))
		}
		fresh = []nodeKey{{g.own.Node(), key}}
		held = held.with(fresh)
		return nil
	})
	return held, fresh, err
}

// enteredEpoch is what the key schedule gives for the next epoch (§8).
type enteredEpoch struct {
	joiner  joinerSecret
	member  memberSecret
	secrets epochSecrets
	roots   epochRoots
	tag     []byte
}

// wipe overwrites what nobody needs once the epoch is entered and, by its
// committer, the Welcome is made.
func (e *enteredEpoch) wipe() {
	e.joiner.Wipe()
	e.member.Wipe()
}

// enterNext is enter from the epoch's own init secret, or the one that an
// external joiner chose.
func (g *Group) enterNext(st *staging, commit commitSecret, psks PSKStore) (*enteredEpoch, error) {
	init, err := g.initSecret(st.list)
	if err != nil {
		return nil, err
	}
	return g.enter(st, init, commit, psks)
}

// enter runs the key schedule of a concluded staging.
func (g *Group) enter(st *staging, init initSecret, commit commitSecret, psks PSKStore) (*enteredEpoch, error) {
	s := g.public.suite
	psk, err := findPSKs(s, st.list.pskIDs(), func(id PreSharedKeyID) ([]byte, bool) { return g.findPSK(id, psks) })
	if err != nil {
		return nil, err
	}
	context := syntax.Encode(&st.context)
	joiner := deriveJoinerSecret(s, init, commit, context)
	defer psk.Wipe()
	member := deriveMemberSecret(s, joiner, psk)
	e := &enteredEpoch{joiner: joiner, member: member}
	e.secrets, e.roots = deriveEpoch(s, member, context)
	e.tag = e.secrets.confirmation.tag(s, st.context.ConfirmedTranscriptHash)
	return e, nil
}

// deriveEpoch spreads the secrets of the epoch with this encoded context.
func deriveEpoch(s *suite.Suite, member memberSecret, context []byte) (epochSecrets, epochRoots) {
	root := member.epochSecret(s, context)
	defer root.Wipe()
	return deriveEpochSecrets(s, root)
}

// pskIDs lists the pre-shared keys of a commit in its order.
func (l *proposalList) pskIDs() []PreSharedKeyID {
	var ids []PreSharedKeyID
	for _, c := range l.all {
		if p, ok := c.proposal.(*PreSharedKey); ok {
			ids = append(ids, p.PSK)
		}
	}
	return ids
}

// PSK finds the resumption key of this epoch or of a past one that the group
// still knows. So a group is the PSKStore of those that continue it.
func (g *Group) PSK(id PreSharedKeyID) ([]byte, bool) {
	if id.Type != PSKTypeResumption || !bytes.Equal(id.Group, g.public.context.GroupID) {
		return nil, false
	}
	if id.Epoch == g.public.context.Epoch && !g.secrets.resumption.IsZero() {
		return g.secrets.resumption.Expose(), true
	}
	for _, past := range g.past {
		if past.epoch == id.Epoch {
			return past.psk.Expose(), true
		}
	}
	return nil, false
}

// findPSK finds a key: our own group's resumption keys here, others in the store.
func (g *Group) findPSK(id PreSharedKeyID, store PSKStore) ([]byte, bool) {
	if key, known := g.PSK(id); known {
		return key, true
	}
	if store == nil {
		return nil, false
	}
	return store.PSK(id)
}

// successor is our group in the epoch just entered.
func (g *Group) successor(st *staging, e *enteredEpoch, fresh []nodeKey) *Group {
	return &Group{
		public:   st.public(e.tag),
		own:      g.own,
		keys:     g.keys.moved(g.public.tree, st.tree, fresh),
		secrets:  e.secrets,
		ratchets: newSecretTree(g.public.suite, e.roots.encryption, st.tree.size),
		exports:  newExportTree(g.public.suite, e.roots.export),
		past:     g.rememberedPSKs(),
	}
}
