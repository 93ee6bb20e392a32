package conversation

import (
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// EnableHistorySharing lets a reader into the group, and every member have the
// secret that makes one of anybody. Where sharing is on it does nothing.
type EnableHistorySharing struct {
	CommandMeta
}

// DisableHistorySharing removes every reader. Where sharing is off it does
// nothing.
type DisableHistorySharing struct {
	CommandMeta
}

func (EnableHistorySharing) isInput()  {}
func (DisableHistorySharing) isInput() {}

// Name is the command's name in causes and outcomes.
func (EnableHistorySharing) Name() string { return "enable_history_sharing" }

// Name is the command's name in causes and outcomes.
func (DisableHistorySharing) Name() string { return "disable_history_sharing" }

// HistorySharing reports whether what is said can be read by those who get a
// history secret: whether a reader is in the group.
func (p Public) HistorySharing() bool { return p.Group != nil && len(readersOf(p.Group)) > 0 }

// readersOf lists the leaves of a group's history clients.
func readersOf(group *mlsengine.PublicGroup) []mlsengine.LeafIndex {
	var readers []mlsengine.LeafIndex
	for _, m := range group.Members() {
		if HistoryClient(ClientOf(m.Credential)) {
			readers = append(readers, m.Index)
		}
	}
	return readers
}

// readerAt reports whether the member at a leaf was let in to read.
func readerAt(group *mlsengine.PublicGroup, leaf mlsengine.LeafIndex) bool {
	m, ok := group.Member(leaf)
	return ok && HistoryClient(ClientOf(m.Credential))
}

// shareHistory commits that sharing begins, or ends.
func (w *work) shareHistory(command Command, on bool) error {
	change, err := w.intend(command)
	if err != nil {
		return err
	}
	if w.s.HistorySharing() == on {
		return w.done(command, commandOutcome{})
	}
	change.forcePath = true
	return w.commit(change)
}

// shared reports whether a command about history sharing has nothing left to do.
func (p Public) shared(intent string) bool {
	switch intent {
	case (EnableHistorySharing{}).Name():
		return p.HistorySharing()
	case (DisableHistorySharing{}).Name():
		return !p.HistorySharing()
	}
	return false
}

// sharing is what a commit of ours does about the group's readers.
type sharing struct {
	refs    []*mlsengine.Content // what it refers to
	inline  []mlsengine.Proposal // what it holds
	history *HistorySecret       // of the reader that it adds; nil: none
}

// sharing adds to a commit what keeps the promise of history sharing: whoever
// is removed reads nothing later. The readers that he may be go with him, and
// a new one comes, in the same commit; also where a commit of others had left
// that out.
func (w *work) sharing(in intent, refs []*mlsengine.Content, inline []mlsengine.Proposal) (sharing, error) {
	s := sharing{refs: refs, inline: inline}
	enable, disable := in.name == (EnableHistorySharing{}).Name(), in.name == (DisableHistorySharing{}).Name()
	removed := removedBy(refs, inline)
	if !enable && !disable && len(removed) == 0 && w.s.ExposedMs == 0 {
		return s, nil
	}
	if len(refs) == 1 && refs[0].Proposal().ProposalType() == mlsengine.ProposalTypeReInit {
		if !enable && !disable {
			return s, nil // it must be alone
		}
		s.refs = nil
	}
	readers := readersOf(w.s.Group)
	staying := slices.DeleteFunc(slices.Clone(readers), func(l mlsengine.LeafIndex) bool { return slices.Contains(removed, l) })
	someone := slices.ContainsFunc(removed, func(l mlsengine.LeafIndex) bool { return !slices.Contains(readers, l) })
	rotate := len(staying) > 0 && (someone || w.s.ExposedMs > 0)
	if disable || rotate {
		s.inline = slices.Clone(s.inline)
		for _, leaf := range staying {
			s.inline = append(s.inline, &mlsengine.Remove{Removed: leaf})
		}
	}
	if disable || !enable && !rotate {
		return s, nil
	}
	history, kp, err := w.newHistoryClient()
	if err != nil {
		return s, err
	}
	s.inline = append(s.inline[:len(s.inline):len(s.inline)], &mlsengine.Add{KeyPackage: *kp})
	s.history = history
	return s, nil
}

// removedBy lists the leaves that a commit removes.
func removedBy(refs []*mlsengine.Content, inline []mlsengine.Proposal) []mlsengine.LeafIndex {
	var removed []mlsengine.LeafIndex
	note := func(p mlsengine.Proposal) {
		if r, ok := p.(*mlsengine.Remove); ok {
			removed = append(removed, r.Removed)
		}
	}
	for _, c := range refs {
		note(c.Proposal())
	}
	for _, p := range inline {
		note(p)
	}
	return removed
}

// sealHistory puts a reader's secret into a message of the epoch that a commit
// leads to: whoever is in it can open it, and nobody else. The generation it
// takes is reserved with the commit.
func (w *work) sealHistory(history *HistorySecret, next *mlsengine.Group, successor *mlsengine.SigningIdentity) (message []byte, plain secret.Bytes, err error) {
	_, group, block, err := next.Reserve(mlsengine.ContentTypeApplication, historyGenerations)
	if err != nil {
		return nil, secret.Bytes{}, brokenf("the first generation of an epoch: %v", err)
	}
	plain = history.Encode()
	env := w.env.engine()
	if successor != nil {
		env.Identity = successor // in the next epoch we are who the commit makes us
	}
	message, _, err = group.SealApplication(block, mlsengine.Plaintext{
		Data: plain.Expose(), Padding: int(w.s.Config.PaddingBlock),
	}, env)
	if err != nil {
		return nil, secret.Bytes{}, engineFault(CommitInvalid, err)
	}
	return message, plain, nil
}

// historyGenerations is how many own generations of the next epoch a commit
// uses that brings a history secret.
const historyGenerations = 1

// stagedSecrets are what an own staged commit cannot be taken without.
type stagedSecrets struct {
	resume  secret.Bytes // for mlsengine.ResumeCommit
	history secret.Bytes // of the reader that it adds, encoded; empty: none
}

// Code walks the secrets.
func (s *stagedSecrets) Code(c *syntax.Coder) {
	codeSecret(c, &s.resume)
	codeSecret(c, &s.history)
}

func (s stagedSecrets) encode() secret.Bytes { return secret.New(syntax.Encode(&s)) }

// secretsOf are what the own commit, staged or discarded, needs.
func (w *work) secretsOf(commit *StagedCommit) (stagedSecrets, error) {
	sealed := w.s.Private.staged
	if current := w.s.Staged; current == nil || current.Digest != commit.Digest {
		sealed = w.s.Private.shelvedSecrets(commit.Digest)
	}
	secrets, err := syntax.Decode[stagedSecrets](sealed.Expose())
	if err != nil {
		return secrets, brokenf("secrets of the commit of epoch %d: %v", commit.Epoch, err)
	}
	return secrets, nil
}

// historyIn finds a reader's secret in a message: one that makes a reader of
// the message's own epoch. Anything else is a message like any other, whatever
// it looks like.
func historyIn(plain []byte, epoch *mlsengine.PublicGroup) *HistorySecret {
	if len(plain) < len(historyMagic) || string(plain[:len(historyMagic)]) != string(historyMagic) {
		return nil
	}
	s, kp, err := parseHistorySecret(plain)
	if err != nil || !s.fits(kp, epoch) {
		return nil
	}
	return s
}

// holdHistory keeps a reader's secret for the owner as messages are kept, and
// with numbers of its own: sealed under a spool key until it is acknowledged.
func (w *work) holdHistory(m ReceivedMessage, use consumptions) error {
	if err := w.flush(); err != nil {
		return err
	}
	if held := w.s.Spool.Held; len(held) >= HeldMax {
		if err := w.dropSpool(w.s.Spool.Acknowledged, held[0].Number); err != nil {
			return err
		}
	}
	m.Number = w.s.Spool.Secrets + 1
	list := spooled{m}
	e := event{body: &v1.HistorySecretHeld{
		HistoryClient: []byte(m.History), Epoch: uint64(m.Epoch), Number: m.Number, Sender: []byte(m.Sender), Position: m.Position, Own: len(use) == 0,
	}}
	if len(use) > 0 {
		e.secrets = append(e.secrets, events.Secret{Class: events.ClassConsumption, Plain: sealedList(&use)})
		w.batch.consumed = true
	}
	e.secrets = append(e.secrets, events.Secret{Class: events.ClassSpool, Label: events.Item(historyStream, m.Number), Plain: sealedList(&list)})
	if err := w.emit(e); err != nil {
		return err
	}
	w.reply.Messages = append(w.reply.Messages, m)
	return nil
}

// holdOwnHistory keeps the secret of a reader that an own commit has let in.
func (w *work) holdOwnHistory(plain secret.Bytes, position uint64) error {
	if plain.IsZero() || !w.s.Exists() {
		return nil
	}
	history, err := ParseHistorySecret(plain.Expose())
	if err != nil {
		return brokenf("own history secret: %v", err)
	}
	return w.holdHistory(ReceivedMessage{
		Sender: w.s.Client, Leaf: w.s.OwnLeaf, Epoch: w.s.Epoch(), TimeMs: w.now(), Position: position, Plaintext: plain, History: history.Client,
	}, nil)
}

// exposedSince is since when somebody who was removed may be a reader of the
// group: the committer let him go and his readers stay. 0: nobody may.
func (p *Public) exposedSince(e *v1.EpochAdvanced, next *mlsengine.PublicGroup) uint64 {
	someone := slices.ContainsFunc(e.GetRemoved(), func(gone *v1.MemberChange) bool {
		return !HistoryClient(ids.ClientID(gone.GetClient())) && !slices.ContainsFunc(e.GetAdded(), func(back *v1.MemberChange) bool {
			return string(back.GetClient()) == string(gone.GetClient())
		})
	})
	if !someone && p.ExposedMs == 0 {
		return 0
	}
	for _, leaf := range readersOf(next) {
		before, ok := p.Group.Member(leaf)
		if now, _ := next.Member(leaf); !ok || ClientOf(before.Credential) != ClientOf(now.Credential) {
			continue // it came with this commit
		}
		if p.ExposedMs > 0 {
			return p.ExposedMs
		}
		return p.TimeMs
	}
	return 0
}

// exposureDue is when we let new readers take the place of those that a removed
// member may be; 0: nobody may. Everybody who can does, one after the other.
func (p Public) exposureDue() uint64 {
	if p.ExposedMs == 0 {
		return 0
	}
	return later(p.ExposedMs, 1000*p.turn(nil))
}

// readsOnly refuses what a reader of history can never do.
func (w *work) readsOnly(in Input) error {
	if _, ok := in.(Command); !ok {
		return nil
	}
	switch in.(type) {
	case Join, Received, Wipe:
		return nil
	}
	if refused := Writes(w.s.Client); refused != nil {
		return refused
	}
	return nil
}

// Writes refuses a client that was let in to read, by its name.
func Writes(client ids.ClientID) *CommandError {
	if !HistoryClient(client) {
		return nil
	}
	return refuse(HistoryClientCannotWrite, GiveUp, "%s was let in to read", client)
}
