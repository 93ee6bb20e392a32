package conversation

import (
	"cmp"
	"errors"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// KeyPackagesMax bounds the members that one commit adds.
const KeyPackagesMax = 10_000

// intent is a commit to be made.
type intent struct {
	command    CommandRef // whose it is
	name       string     // the command's name
	inline     []mlsengine.Proposal
	clients    []ids.ClientID
	forcePath  bool
	credential CredentialRef // that the own leaf is to present; empty: the one it does, or that of a pending Update of ours
	rebuilt    uint32        // how often it was made before, for epochs that others won
}

// intend makes room for a commit: one whose outcome nobody knows and nobody
// waits for is discarded.
func (w *work) intend(command Command) (intent, error) {
	if staged := w.s.Staged; staged != nil && staged.Failed && len(w.s.Shelved) < ShelvedMax {
		if err := w.discard(); err != nil {
			return intent{}, err
		}
	}
	return intent{command: refOf(command), name: command.Name()}, w.committer()
}

// addMembers commits key packages together with all that is pending.
func (w *work) addMembers(in AddMembers) error {
	adds, err := w.intend(in)
	if err != nil {
		return err
	}
	if len(in.KeyPackages) == 0 {
		return refuse(NothingToCommit, GiveUp, "no key packages")
	}
	if len(in.KeyPackages) > KeyPackagesMax {
		return refuse(Busy, GiveUp, "%d key packages are more than %d", len(in.KeyPackages), KeyPackagesMax)
	}
	adds.forcePath = true
	var added []mlsengine.Credential
	var doubt error // the first; the authentication service is asked about everybody before that is said
	signers := make(map[string]ids.ClientID, len(in.KeyPackages))
	packages, bad := w.keyPackages(in.KeyPackages)
	for _, kp := range packages {
		client, err := w.vouched(kp)
		if errors.Is(err, CredentialRefused) {
			if doubt == nil {
				doubt = err
			}
			continue
		}
		if err != nil {
			return err
		}
		key := string(kp.LeafNode.SignatureKey)
		if other, twice := signers[key]; twice {
			e := refuse(DuplicateSignature, GiveUp, "two key packages have one signature key")
			e.Clients = []string{string(other), string(client)}
			return e
		}
		signers[key] = client
		adds.inline = append(adds.inline, &mlsengine.Add{KeyPackage: *kp})
		adds.clients = append(adds.clients, client)
		added = append(added, kp.LeafNode.Credential)
	}
	if err := cmp.Or(bad, doubt); err != nil {
		return err
	}
	if err := w.commit(adds); err != nil {
		return err
	}
	return w.foundIn(&w.reply.DistributionPoints, added)
}

// keyPackage reads a key package and judges it as one who vouches for it: clock
// and authentication service included.
func (w *work) keyPackage(b []byte) (*mlsengine.KeyPackage, ids.ClientID, error) {
	packages, err := w.keyPackages([][]byte{b})
	if err != nil {
		return nil, "", err
	}
	client, err := w.vouched(packages[0])
	return packages[0], client, err
}

// keyPackages reads key packages and verifies them, on all cores: as many as come before the first that is not good, and what is wrong
// with that one.
func (w *work) keyPackages(encoded [][]byte) (packages []*mlsengine.KeyPackage, bad error) {
	for _, b := range encoded {
		kp, err := w.env.Memo.keyPackage(b)
		if err != nil {
			bad = refuseRule(InvalidKeyPackage, err)
			break
		}
		packages = append(packages, kp)
	}
	good, err := mlsengine.ValidateKeyPackages(packages, w.env.engine())
	if err != nil {
		bad = engineFault(InvalidKeyPackage, err)
	}
	return packages[:good], bad
}

// vouched judges a key package that is good in itself: group, rules and authentication service.
func (w *work) vouched(kp *mlsengine.KeyPackage) (ids.ClientID, error) {
	if err := kp.ValidateForOthers(); err != nil {
		return "", refuseRule(InvalidKeyPackage, err)
	}
	if kp.CipherSuite != w.s.Group.CipherSuite() {
		return "", refuse(InvalidKeyPackage, GiveUp, "cipher suite %d, the group has %d", kp.CipherSuite, w.s.Group.CipherSuite())
	}
	client := ClientOf(kp.LeafNode.Credential)
	if HistoryClient(client) {
		return "", refuse(HistoryClientCannotWrite, GiveUp, "client %s has the name of a reader, who comes by enabling history sharing", client)
	}
	if refused := w.s.Config.admits(client); refused != nil {
		return "", refused
	}
	if !w.authentic(client, kp.LeafNode.Credential, kp.LeafNode.SignatureKey) {
		e := refuse(CredentialRefused, GiveUp, "client %s", client)
		e.Clients = []string{string(client)}
		return "", e
	}
	return client, nil
}

// removeMembers commits the removal of every leaf of the clients.
func (w *work) removeMembers(in RemoveMembers) error {
	removes, err := w.intend(in)
	if err != nil {
		return err
	}
	named := make(map[ids.ClientID]bool, len(in.Clients))
	for _, c := range in.Clients {
		named[c] = true
	}
	for _, m := range w.s.Roster() {
		if !named[m.Client] {
			continue
		}
		if m.Leaf == w.s.OwnLeaf {
			return refuse(CannotRemoveSelf, GiveUp, "client %s is ourselves", m.Client)
		}
		removes.inline = append(removes.inline, &mlsengine.Remove{Removed: m.Leaf})
		removes.clients = append(removes.clients, m.Client)
	}
	if len(removes.inline) == 0 {
		return refuse(NothingToCommit, GiveUp, "none of the %d clients is a member", len(in.Clients))
	}
	return w.commit(removes)
}

// updateKeyMaterial commits new keys for the own leaf.
func (w *work) updateKeyMaterial(in UpdateKeyMaterial) error {
	update, err := w.intend(in)
	if err != nil {
		return err
	}
	update.forcePath = true
	return w.commit(update)
}

// commitPending commits what is pending, or does nothing.
func (w *work) commitPending(in CommitPending) error {
	pending, err := w.intend(in)
	if err != nil {
		return err
	}
	if len(w.s.Pending) == 0 {
		return w.done(in, commandOutcome{})
	}
	pending.forcePath = true
	return w.commit(pending)
}

// commit makes a commit and stages it: it is stored before anybody sees it.
func (w *work) commit(in intent) error {
	refs, inline, err := w.selection(in.inline)
	if err != nil {
		return err
	}
	share, err := w.sharing(in, refs, inline)
	if err != nil {
		return err
	}
	refs, inline = share.refs, share.inline
	credential, successor, err := w.successorFor(in)
	if err != nil {
		return err
	}
	private, block, from, err := w.framing(mlsengine.ContentTypeCommit)
	if err != nil {
		return err
	}
	out, err := private.Group.Commit(mlsengine.CommitIntent{
		Proposals: refs, Inline: inline, ForcePath: in.forcePath, NewIdentity: successor,
		Framing: mlsengine.Framing{Encrypt: block != nil, Block: block, Padding: int(w.s.Config.PaddingBlock)},
		PSKs:    w.env.PSKs, TreeInWelcome: mlsengine.WithTree, TreeInInfo: mlsengine.WithTree,
	}, w.env.engine())
	if err != nil {
		return commitFault(err)
	}
	secrets := stagedSecrets{resume: out.Secrets}
	body := &v1.CommitStaged{}
	if share.history != nil {
		body.NextReserved = historyGenerations
		if body.EncryptedMessage, secrets.history, err = w.sealHistory(share.history, out.Staged.Next, successor); err != nil {
			return err
		}
	}
	describeCommit(body, in, out)
	body.Epoch, body.Command, body.Credential = uint64(w.s.Epoch()), in.command.toProto(), string(credential)
	for _, r := range refs {
		body.ProposalRefs = append(body.ProposalRefs, r.ProposalRef())
	}
	if block != nil {
		body.Encrypted, body.ReservedFrom, body.ReservedCount = true, from, 1
	}
	sealed := secrets.encode()
	w.s.Private = private.withStaged(sealed)
	e := event{body: body, secrets: []events.Secret{{Class: events.ClassConsumption, Plain: sealed}}}
	if err := w.emit(e); err != nil {
		return err
	}
	w.s.Live.staged = out.Staged
	w.outbox = append(w.outbox, w.s.bundle())
	w.reply.InFlight = true
	return nil
}

// framing prepares for a handshake message of ours: where it travels encrypted
// it takes a generation, which the event that carries it reserves.
func (w *work) framing(ct mlsengine.ContentType) (private *Private, block *mlsengine.SendBlock, from uint32, err error) {
	if err := w.flush(); err != nil {
		return nil, nil, 0, err
	}
	if !w.s.Config.encryptsHandshakes() {
		return w.s.Private, nil, 0, nil
	}
	if next, limit := w.s.Reserved.Handshake, w.s.Config.MaximumForwardDistance; next > limit && next-w.s.handshakesOrdered() > limit {
		return nil, nil, 0, refuse(UpdateRequired, Retry, "%d handshakes of epoch %d never reached the others", next, w.s.Epoch())
	}
	generation, group, block, err := w.s.Private.Group.Reserve(ct, 1)
	if err != nil {
		return nil, nil, 0, refuse(UpdateRequired, Retry, "no generations are left in epoch %d", w.s.Epoch())
	}
	return w.s.Private.withGroup(group), block, uint32(generation), nil
}

// handshakesOrdered is below which own handshake generation of this epoch the
// others have read us: commits that were refused and proposals that got lost
// count toward what they can skip.
func (s State) handshakesOrdered() uint32 {
	ordered := uint32(0)
	for _, q := range s.Pending {
		if !q.Own || !q.Encrypted || q.Position == 0 {
			continue
		}
		if _, generation, ok := s.PeekSender(q.Message); ok {
			ordered = max(ordered, generation+1)
		}
	}
	return ordered
}

// describeCommit fills in the event of a commit that was made.
func describeCommit(body *v1.CommitStaged, in intent, out *mlsengine.CommitOut) {
	effects := out.Staged.Effects
	body.Commit, body.Welcome, body.GroupInfo, body.Intent, body.Rebuilt = out.Message, out.Welcome, out.GroupInfo, in.name, in.rebuilt
	body.Added, body.Removed = membersToProto(changed(effects.Added)), membersToProto(changed(effects.Removed))
	body.Updated, body.ContextChanged = membersToProto(changed(effects.Updated)), effects.ContextChanged
	digest := ids.DigestOf(
		[]byte("parley bundle"), lengthOf(out.Message), out.Message, lengthOf(out.Welcome), out.Welcome, lengthOf(out.GroupInfo), out.GroupInfo,
		body.EncryptedMessage,
	)
	body.BundleDigest = digest[:]
	for _, c := range in.clients {
		body.Clients = append(body.Clients, []byte(c))
	}
	for _, m := range body.Added {
		body.AddClients = append(body.AddClients, m.Client)
	}
	for _, p := range in.inline {
		body.Inline = append(body.Inline, mlsengine.MarshalProposal(p))
	}
}

func lengthOf(b []byte) []byte {
	n := len(b)
	return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// commitFault turns what the engine says about a commit of ours into a refusal.
func commitFault(err error) error {
	for _, clash := range []mlsengine.Rule{mlsengine.AddMember, mlsengine.AddDuplicate, mlsengine.LeafDuplicateSignatureKey} {
		if errors.Is(err, clash) {
			return refuseRule(DuplicateSignature, err)
		}
	}
	switch {
	case errors.Is(err, mlsengine.RemoveCommitter):
		return refuseRule(CannotRemoveSelf, err)
	case errors.Is(err, mlsengine.GroupEnded):
		return refuseRule(GroupEnded, err)
	}
	return engineFault(CommitInvalid, err)
}

// bundle is what the transport gets of the staged commit.
func (s State) bundle() SendBundle { return s.bundleOf(s.Staged) }

func (s State) bundleOf(c *StagedCommit) SendBundle {
	b := SendBundle{
		Digest: c.Digest, Epoch: c.Epoch, Commit: c.Commit, Welcome: c.Welcome, GroupInfo: c.GroupInfo, EncryptedMessage: c.EncryptedMessage,
		AddedClients: c.AddClients,
		Added:        c.Added, Removed: c.Removed, Updated: c.Updated, ContextChanged: c.ContextChanged, Encrypted: c.Encrypted,
		Generation: c.Generation, Attempt: c.Attempt, Rebuilt: c.Rebuilt, Command: c.Command,
	}
	for _, ref := range c.Refs {
		// To a foreign service the bundle is the same bytes whenever it is offered, whatever has come to us meanwhile.
		missing := s.Config.Transport == TransportForeign
		if i := s.pendingIndex(ref); i >= 0 && s.Pending[i].Own && (missing || s.Pending[i].Position == 0) {
			b.Proposals = append(b.Proposals, s.Pending[i].Message)
		}
	}
	return b
}
