package conversation

import (
	"errors"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/mlsengine"
)

// Env is all that a step may know of the world.
type Env struct {
	// NowMs is the time in Unix milliseconds. Steps whose events become one record get the same one, and it is the record's.
	NowMs    uint64
	Entropy  mlsengine.Entropy
	Identity *mlsengine.SigningIdentity // the own credential and signature key
	// Credentials are the client's own ones, for changing what the own leaf presents; nil: there are no others.
	Credentials Credentials
	Auth        Authenticator // nil: every credential is accepted unchecked
	// Certificates finds revocation lists in X.509 chains; nil: nobody looks for any.
	Certificates Certificates
	PSKs         mlsengine.PSKStore // external and foreign resumption keys; may be nil
	// KeyPackageLifetimeMax is the longest lifetime, in seconds, of a key package that we add (RFC 9420 §7.2); 0: no bound.
	KeyPackageLifetimeMax uint64
	// KeyTables are what the messages of all conversations are verified with; nil: each has its own keys only. Nothing but time depends on them.
	KeyTables *mlsengine.KeyTables
	// Memo is what a step leaves to its repetition; nil: nothing. Nothing but time depends on it.
	Memo *Memo
	// LeaseValid says that this node still holds the conversation. What stores nothing (reads, encryption inside a block) needs it.
	LeaseValid bool
}

// Authenticator says whether a client may present a signature key. It must be a pure function: a lookup in a table the
// shell has loaded.
type Authenticator interface {
	Authenticate(client ids.ClientID, credential mlsengine.Credential, signatureKey []byte) bool
}

// Credentials finds the client's own credentials. Like Authenticator it is a pure lookup; ClientState is one.
type Credentials interface {
	// Identity is the signing identity of a credential of a cipher suite; ok is false where there is none, or its key is missing.
	Identity(ref CredentialRef, suite mlsengine.CipherSuite) (id *mlsengine.SigningIdentity, credential CredentialRef, ok bool)
}

// Certificates reads X.509 chains. Like Authenticator it is a pure lookup.
type Certificates interface {
	// DistributionPoints lists the URLs of revocation lists that a chain names and nobody has registered yet.
	DistributionPoints(chain [][]byte) []string
}

// engine is what the engine may know of the world.
func (e Env) engine() mlsengine.Env {
	return mlsengine.Env{Now: e.NowMs / 1000, LifetimeMax: e.KeyPackageLifetimeMax, Entropy: e.Entropy, Identity: e.Identity, Identify: Identify}
}

// Step decides what an input means. It changes nothing: s is as it was,
// whatever happens; only generations taken out of a block of s.Live stay taken.
// An error is a bug or a log that is not ours; what a caller or a peer did
// wrong is in the Reply.
func Step(s State, in Input, env Env) (Transition, error) {
	w := &work{s: s, env: env}
	err := w.run(in)
	if err == nil {
		err = w.finish()
	}
	var refused *CommandError
	if errors.As(err, &refused) {
		return Transition{Next: s, Reply: Reply{Err: refused, Epoch: s.Epoch()}}, nil
	}
	if err != nil {
		return Transition{Next: s}, err
	}
	return w.transition(), nil
}

// work is one step in progress: a state that moves with every event.
type work struct {
	s        State
	env      Env
	events   []events.Event
	outbox   []Effect
	reply    Reply
	anchored bool      // something that the anchor must know has happened
	batch    openBatch // messages consumed since the last event

	replaying bool // what is taken waited in the buffer
}

// event is an event in the making, with the values that it leads to.
type event struct {
	body    events.Body
	secrets []events.Secret
	forget  []string
	group   *mlsengine.PublicGroup // the epoch it leads to
}

// now is the record's time.
func (w *work) now() uint64 { return max(w.s.TimeMs, w.env.NowMs) }

// emit adds an event and moves the state. What it does to the private state
// beyond taking secrets away, the caller has done before.
func (w *work) emit(e event) error {
	if err := w.flush(); err != nil {
		return err
	}
	return w.add(e)
}

func (w *work) add(e event) error {
	if len(w.events) == 0 {
		w.s.Public.begin(w.env.NowMs)
	}
	if err := w.s.Public.evolve(e.body, e.group); err != nil {
		return err
	}
	w.s.Private = w.s.Private.without(e.body)
	if !keepsJoin(e.body) {
		w.s.joining = secret.Bytes{}
	}
	w.s.Live = w.s.Live.after(e.body)
	if advanced, ok := e.body.(*v1.EpochAdvanced); ok && advanced.GetOwnCredential() != "" {
		w.env.Identity = w.signer(w.s.Config.Credential) // what follows in this step is signed with it already
	}
	switch e.body.(type) {
	case *v1.GenerationsReserved, *v1.CommitStaged, *v1.ProposalCreated, *v1.EpochAdvanced, *v1.ConversationCreated, *v1.ConversationJoined,
		*v1.LogRolledBack:
		w.anchored = true
	}
	w.events = append(w.events, events.Event{Body: e.body, Secrets: e.secrets, Forget: e.forget})
	return nil
}

// emitSealed is emit for an event that carries the whole private state after it.
func (w *work) emitSealed(e event, private *Private) error {
	if err := w.flush(); err != nil {
		return err
	}
	w.s.Private = private
	at := len(w.events)
	if err := w.add(e); err != nil {
		return err
	}
	w.events[at].Secrets = append([]events.Secret{{Class: events.ClassPrivateState, Plain: EncodePrivate(w.s)}}, e.secrets...)
	return nil
}

// after is the live part after an event.
func (l Live) after(body events.Body) Live {
	switch body.(type) {
	case *v1.ConversationCreated, *v1.ConversationJoined, *v1.EpochAdvanced, *v1.ConversationWiped, *v1.MemberEvicted,
		*v1.EpochUnreachable, *v1.LogRolledBack, *v1.SecretsLost, *v1.GroupRestarted:
		return Live{}
	case *v1.CommitAccepted, *v1.CommitRejected, *v1.CommitDiscarded:
		l.staged = nil
	case *v1.ExternalJoinStaged:
		l.joining = nil
	}
	return l
}

func (w *work) run(in Input) error {
	if err := w.readsOnly(in); err != nil {
		return err
	}
	if known, err := w.recall(in); known || err != nil {
		return err
	}
	switch in := in.(type) {
	case Create:
		return w.create(in)
	case Join:
		return w.join(in)
	case JoinExternally:
		return w.joinExternally(in)
	case AbandonJoin:
		return w.abandonJoin(in)
	case Resolve:
		return w.resolve(in)
	case AddMembers:
		return w.addMembers(in)
	case RemoveMembers:
		return w.removeMembers(in)
	case UpdateKeyMaterial:
		return w.updateKeyMaterial(in)
	case SetCredential:
		return w.setCredential(in)
	case CommitPending:
		return w.commitPending(in)
	case EnableHistorySharing:
		return w.shareHistory(in, true)
	case DisableHistorySharing:
		return w.shareHistory(in, false)
	case ProposeAdd:
		return w.proposeAdd(in)
	case ProposeRemove:
		return w.proposeRemove(in)
	case ProposeUpdate:
		return w.proposeUpdate(in)
	case ClearProposal:
		return w.clearProposal(in)
	case Encrypt:
		return w.encrypt(in)
	case RequeueLetters:
		return w.requeueLetters(in)
	case DropLetters:
		return w.discardLetters(in)
	case ExportSecret:
		return w.exportSecret(in)
	case MarkAsChild:
		return w.markAsChild(in)
	case Wipe:
		return w.wipe(in)
	case Received:
		return w.received(in)
	case Entries:
		return w.entries(in)
	}
	return w.runShell(in)
}

// runShell handles what nobody asked for: answers, timers and what the shell
// found out.
func (w *work) runShell(in Input) error {
	switch in := in.(type) {
	case TransportAnswered:
		return w.transportAnswered(in)
	case Acknowledge:
		return w.acknowledge(in)
	case Fail:
		return w.fail(in)
	case LoseLetters:
		return w.loseLetters(in)
	case ExpireSpool:
		return w.expireSpool()
	case Checkpoint:
		return w.checkpoint(in)
	case Tick:
		return w.tick(in)
	case Burn:
		return w.burn(in)
	case MarkRolledBack:
		return w.markRolledBack(in)
	case MarkBehind:
		return w.markBehind(in)
	case MarkSecretsLost:
		return w.markSecretsLost(in)
	case PlanRejoin:
		return w.planRejoin(in)
	case RefuseRejoin:
		return w.refuseRejoin(in)
	}
	return brokenf("%T is no input", in)
}

// finish completes the step: what was consumed becomes an event, and the
// private state is sealed anew where that is due.
func (w *work) finish() error {
	if err := w.flush(); err != nil {
		return err
	}
	if w.batch.consumed && w.s.Public.CheckpointDue(w.now()) {
		return w.seal("due")
	}
	return nil
}

func (w *work) transition() Transition {
	w.reply.Epoch = w.s.Epoch()
	t := Transition{Next: w.s, Events: w.events, Outbox: w.outbox, Reply: w.reply}
	if w.anchored {
		anchor := w.s.Anchor()
		t.Anchor = &anchor
	}
	return t
}

// member checks that the conversation can do what needs its secrets.
func (w *work) member() error {
	switch w.s.Lifecycle {
	case Absent, Wiped, Evicted:
		return refuse(ConversationNotFound, GiveUp, "%s: %s", w.s.Conversation, w.s.Lifecycle)
	case Unreachable:
		return refuse(ConversationUnreachable, Rejoin, "epoch %d could not be left with the group", w.s.Epoch())
	case RolledBack:
		return refuse(ConversationRolledBack, Rejoin, "the log lost its end in epoch %d", w.s.Epoch())
	case SecretsLost:
		return refuse(SecretsMissing, Rejoin, "the key ring is gone")
	case Closed:
		return refuse(GroupEnded, GiveUp, "the group goes on as %s", w.s.Successor)
	case Active:
	}
	if w.s.Private == nil {
		return refuse(SecretsMissing, Rejoin, "the private state of epoch %d is not here", w.s.Epoch())
	}
	if r := w.s.Group.ReInit(); r != nil {
		return refuse(GroupEnded, GiveUp, "the group was reinitialized as %s", ids.ConversationID(r.GroupID))
	}
	return nil
}

// committer checks that a new commit or proposal may be made: one commit at a
// time, since what was sent is never dropped silently.
func (w *work) committer() error {
	if err := w.member(); err != nil {
		return err
	}
	if err := w.unstaged(); err != nil {
		return err
	}
	if w.env.Identity == nil {
		return refuse(CredentialNotFound, GiveUp, "credential %q has no signature key here", w.s.Config.Credential)
	}
	return nil
}

// unstaged checks that no commit of ours is under way.
func (w *work) unstaged() error {
	switch {
	case w.s.Staged != nil && w.s.Staged.Failed:
		return refuse(PendingCommit, Decide, "nobody knows what became of the commit of epoch %d", w.s.Staged.Epoch)
	case w.s.Staged != nil:
		return refuse(PendingCommit, Retry, "a commit of epoch %d waits for the transport", w.s.Staged.Epoch)
	case w.s.Superseded != nil:
		return refuse(PendingCommit, Retry, "a commit that lost its epoch is to be made anew")
	case w.s.Joining != nil && !w.s.Joining.Failed:
		return refuse(PendingCommit, Retry, "a commit that joins anew waits for the transport")
	}
	return nil
}
