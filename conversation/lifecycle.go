package conversation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
)

// The lifetime of the leaves and key packages we make: twelve weeks, and an
// hour backwards for clocks that differ.
const (
	lifetimeSeconds = 12 * 7 * 24 * 3600
	lifetimeMargin  = 3600
)

func lifetimeFrom(nowMs, seconds uint64) mlsengine.Lifetime {
	now := nowMs / 1000
	return mlsengine.Lifetime{NotBefore: now - min(now, lifetimeMargin), NotAfter: later(now, seconds)}
}

// later is a time after another one, at the latest the end of time: an age of
// "for ever" must not come round to the past.
func later(t, age uint64) uint64 {
	if end := t + age; end >= t {
		return end
	}
	return ^uint64(0)
}

// capabilities are what our leaves state: both credential types, so that
// groups may mix them.
func capabilities() mlsengine.Capabilities {
	return mlsengine.Capabilities{Credentials: []mlsengine.CredentialType{mlsengine.CredentialTypeBasic, mlsengine.CredentialTypeX509}}
}

// create makes a group of one (§11).
func (w *work) create(in Create) error {
	switch w.s.Lifecycle {
	case Absent, Wiped, Evicted:
	default:
		return refuse(ConversationAlreadyExists, GiveUp, "%s", w.s.Conversation)
	}
	if w.s.Joining != nil {
		return refuse(ConversationAlreadyExists, GiveUp, "a join of %s is pending", w.s.Conversation)
	}
	if refused := in.Config.validate(); refused != nil {
		return refused
	}
	id := w.env.Identity
	if id == nil {
		return refuse(CredentialNotFound, GiveUp, "credential %q", in.Config.Credential)
	}
	client := ClientOf(id.Credential)
	if refused := in.Config.admits(client); refused != nil {
		return refused
	}
	if !w.authentic(client, id.Credential, id.Public) {
		return refuse(CredentialRefused, GiveUp, "client %s", client)
	}
	group, err := mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID:      mlsengine.GroupID(w.s.Conversation),
		Suite:        in.Config.CipherSuite,
		Identity:     *id,
		Capabilities: capabilities(),
		Lifetime:     lifetimeFrom(w.now(), lifetimeSeconds),
		Extensions:   groupExtensions(in.Config),
	}, w.env.engine())
	if err != nil {
		return engineFault(InvalidConfiguration, err)
	}
	body := &v1.ConversationCreated{
		Config: in.Config.toProto(), PublicGroup: group.Public().Marshal(), Facts: factsOf(group.Public(), group),
		Roster: membersToProto(rosterOf(group.Public())), OwnLeaf: uint32(group.OwnLeaf()),
	}
	e := event{body: body, group: group.Public(), secrets: verificationOf(group)}
	if err := w.emitSealed(e, &Private{Group: group}); err != nil {
		return err
	}
	if in.Config.Transport == TransportBuiltIn {
		effect, err := Register(w.s, w.env)
		if err != nil {
			return err
		}
		w.outbox = append(w.outbox, effect)
	}
	return w.done(in, commandOutcome{})
}

// groupExtensions are those of a group we create: everybody must support both
// credential types, and the external senders are named once and for all.
func groupExtensions(c Config) mlsengine.Extensions {
	required := mlsengine.RequiredCapabilities{CredentialTypes: capabilities().Credentials}
	extensions := mlsengine.Extensions{{Type: mlsengine.ExtensionTypeRequiredCapabilities, Data: syntax.Encode(&required)}}
	if len(c.ExternalSenders) > 0 {
		senders := mlsengine.ExternalSenders(c.ExternalSenders)
		extensions = extensions.With(mlsengine.ExtensionTypeExternalSenders, syntax.Encode(&senders))
	}
	return extensions
}

// Register makes the effect that registers the group of epoch 0, again.
func Register(s State, env Env) (RegisterGroup, error) {
	if s.Private == nil {
		return RegisterGroup{}, brokenf("no secrets to describe the group with")
	}
	info, err := s.Private.Group.GroupInfo(mlsengine.WithTree, env.engine())
	if err != nil {
		return RegisterGroup{}, fmt.Errorf("%w: describe the group: %w", ErrBroken, err)
	}
	return RegisterGroup{GroupInfo: groupInfoMessage(info)}, nil
}

// join enters a group by Welcome (§12.4.3.1). It also ends every state in which
// an older membership is only a memory.
func (w *work) join(in Join) error {
	if w.s.Lifecycle == Active || w.s.Joining != nil {
		return refuse(ConversationAlreadyExists, GiveUp, "%s", w.s.Conversation)
	}
	if refused := in.Config.validate(); refused != nil {
		return refused
	}
	group, info, err := w.open(in)
	if err != nil {
		return err
	}
	public := group.Public()
	if ids.ConversationID(public.GroupID()) != w.s.Conversation {
		return refuse(WrongGroup, GiveUp, "the Welcome is for %s", ids.ConversationID(public.GroupID()))
	}
	// A Welcome that is not newer than what we know is one that was used before: its epoch's keys may have been used too.
	if known := max(w.s.Epoch(), w.s.Muted); w.s.Group != nil && public.Epoch() <= known {
		return refuse(InvalidWelcome, GiveUp, "it leads to epoch %d, we have been in %d", public.Epoch(), known)
	}
	if w.s.joinedIn(group) {
		return refuse(InvalidWelcome, GiveUp, "we have joined in its epoch before")
	}
	config := in.Config
	config.CipherSuite = public.CipherSuite()
	roster := rosterOf(public)
	body := &v1.ConversationJoined{
		Config: config.toProto(), GroupInfo: info, PublicGroup: public.Marshal(), Facts: factsOf(public, group), Position: in.Position,
		Roster: membersToProto(roster), OwnLeaf: uint32(group.OwnLeaf()), Warnings: w.doubts(public, roster),
	}
	if kp, err := mlsengine.ParseKeyPackage(in.KeyPackage); err == nil {
		body.KeyPackageRef = kp.Ref()
	}
	e := event{body: body, group: public, secrets: verificationOf(group)}
	if err := w.emitSealed(e, &Private{Group: group}); err != nil {
		return err
	}
	if err := w.foundIn(&w.reply.DistributionPoints, credentialsOf(public)); err != nil {
		return err
	}
	if err := w.behindCommit(in.EncryptedMessage, incoming{position: in.Position}); err != nil {
		return err
	}
	return w.done(in, commandOutcome{})
}

// joinedIn reports whether we entered the group's epoch before. Whoever enters
// it once more, by the Welcome of a key package of last resort, would begin its
// ratchets again.
func (p Public) joinedIn(group *mlsengine.Group) bool {
	fingerprint := Fingerprint(group.EpochAuthenticator())
	return slices.ContainsFunc(p.Joined, func(known []byte) bool { return bytes.Equal(known, fingerprint) })
}

// open opens the Welcome and joins its epoch. The GroupInfo inside is kept for
// those who check the join later.
func (w *work) open(in Join) (group *mlsengine.Group, info []byte, err error) {
	if before := w.env.Memo.welcome(); before != nil {
		return before.group, before.info, nil
	}
	welcome, input, err := w.joinInput(in)
	if err != nil {
		return nil, nil, err
	}
	group, err = mlsengine.JoinFromWelcome(welcome, input)
	switch {
	case errors.Is(err, mlsengine.WelcomeNotForUs):
		return nil, nil, refuseRule(OrphanWelcome, err)
	case err != nil:
		return nil, nil, engineFault(InvalidWelcome, err)
	}
	inside, err := welcome.OpenGroupInfo(input)
	if err != nil {
		return nil, nil, engineFault(InvalidWelcome, err)
	}
	info = groupInfoMessage(inside)
	w.env.Memo.keepWelcome(&joinedEpoch{group, info})
	return group, info, nil
}

func (w *work) joinInput(in Join) (*mlsengine.Welcome, mlsengine.JoinInput, error) {
	none := mlsengine.JoinInput{}
	if w.env.Identity == nil {
		return nil, none, refuse(CredentialNotFound, GiveUp, "credential %q", in.Config.Credential)
	}
	m, err := mlsengine.ParseMessage(in.Welcome)
	if err != nil {
		return nil, none, refuseRule(InvalidWelcome, err)
	}
	if m.Welcome() == nil {
		return nil, none, refuse(InvalidWelcome, GiveUp, "wire format %d is no Welcome", m.WireFormat())
	}
	kp, err := mlsengine.ParseKeyPackage(in.KeyPackage)
	if err != nil {
		return nil, none, refuseRule(InvalidKeyPackage, err)
	}
	input := mlsengine.JoinInput{KeyPackage: kp, Secrets: in.Secrets, Identity: *w.env.Identity, PSKs: w.env.PSKs, Origin: in.Origin, Identify: Identify}
	if len(in.Tree) == 0 {
		return m.Welcome(), input, nil
	}
	if input.Tree, err = mlsengine.ParseRatchetTree(m.Welcome().CipherSuite, in.Tree); err != nil {
		return nil, none, refuseRule(InvalidWelcome, err)
	}
	return m.Welcome(), input, nil
}

// engineFault turns an engine's error into a refusal where a rule was broken or
// a key is not the right one, and lets any other one through.
func engineFault(code Code, err error) error {
	var rule *mlsengine.RuleError
	switch {
	case errors.As(err, &rule):
		return refuseRule(code, err)
	case errors.Is(err, mlsengine.ErrIdentity):
		return refuse(CredentialNotFound, GiveUp, "the signature key is not the one of our leaf")
	case errors.Is(err, mlsengine.ErrKeyPackageSecrets):
		return refuse(InvalidKeyPackage, GiveUp, "the private keys are not those of the key package")
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// authentic asks the authentication service.
func (w *work) authentic(client ids.ClientID, c mlsengine.Credential, key []byte) bool {
	if HistoryClient(client) && c.Type() == mlsengine.CredentialTypeBasic {
		return true // nobody vouches for a reader, and nothing that it says is believed
	}
	return w.env.Auth == nil || w.env.Auth.Authenticate(client, c, key)
}

// The prefix of the warning about a member whose credential the authentication
// service does not vouch for; the leaf index follows.
const warningCredential = "CredentialRefused:"

// doubts asks the authentication service about members that others let in.
// What it says binds nobody else, so it is a warning.
func (w *work) doubts(group *mlsengine.PublicGroup, members []Member) []string {
	if w.env.Auth == nil {
		return nil
	}
	var doubts []string
	for _, m := range members {
		member, ok := group.Member(m.Leaf)
		if ok && !w.authentic(m.Client, member.Credential, m.SignatureKey) {
			doubts = append(doubts, fmt.Sprintf("%s%d", warningCredential, m.Leaf))
		}
	}
	return doubts
}

// factsOf are the epoch's public facts; the fingerprint needs a member.
func factsOf(public *mlsengine.PublicGroup, group *mlsengine.Group) *v1.EpochFacts {
	f := &v1.EpochFacts{
		Epoch: uint64(public.Epoch()), TreeHash: public.TreeHash(),
		ConfirmedTranscriptHash: public.ConfirmedTranscriptHash(), ConfirmationTag: public.ConfirmationTag(),
	}
	if group != nil {
		f.AuthenticatorFingerprint = Fingerprint(group.EpochAuthenticator())
	}
	return f
}

// verificationStream is the stream that epochs' verification parts are items of.
const verificationStream = "epoch"

// verificationOf seals what checks the epoch later, apart from its secrets.
func verificationOf(group *mlsengine.Group) []events.Secret {
	v := verification{authenticator: secret.New(group.EpochAuthenticator()), confirmationKey: group.ConfirmationKey()}
	return []events.Secret{{
		Class: events.ClassVerification, Label: events.Item(verificationStream, uint64(group.Epoch())), Plain: secret.New(syntax.Encode(&v)),
	}}
}

// wipe destroys the conversation: every key of its log dies with the record.
func (w *work) wipe(in Wipe) error {
	if (w.s.Lifecycle == Absent || w.s.Lifecycle == Wiped) && w.s.Joining == nil {
		return refuse(ConversationNotFound, GiveUp, "%s: %s", w.s.Conversation, w.s.Lifecycle)
	}
	waiting := w.s.waiting()
	if err := w.clearBuffer("wiped"); err != nil {
		return err
	}
	reason := "asked for"
	if in.Reason != "" {
		reason = bounded(in.Reason)
	}
	if err := w.emit(event{body: &v1.ConversationWiped{Reason: reason}, forget: []string{events.ForgetAll()}}); err != nil {
		return err
	}
	w.reply.Removed = true
	if err := w.abandon(waiting, refuse(ConversationNotFound, GiveUp, "the conversation was wiped")); err != nil {
		return err
	}
	return w.done(in, commandOutcome{})
}

// exportSecret derives a secret and notes that it did, not what it is.
func (w *work) exportSecret(in ExportSecret) error {
	if err := w.derive(in); err != nil {
		return err
	}
	body := &v1.SecretExported{Length: uint32(in.Length), Label: bounded(in.label()), Epoch: uint64(w.s.Epoch())}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	return w.done(in, commandOutcome{})
}

func (in ExportSecret) label() string {
	if in.Label == "" {
		return "exporter"
	}
	return in.Label
}

func (w *work) derive(in ExportSecret) error {
	if err := w.member(); err != nil {
		return err
	}
	if in.Length < 0 || in.Length > exportMax || len(in.label()) > detailBytesMax {
		return refuse(KeyLengthTooLong, GiveUp, "%d bytes", in.Length)
	}
	key, err := w.s.Private.Group.Export(in.label(), in.Context, in.Length)
	if err != nil {
		return refuseRule(KeyLengthTooLong, err)
	}
	w.reply.Secret = key
	return nil
}

const exportMax = 1<<16 - 1

// markRolledBack says that the log lost its end. Which generations were used
// is no longer known, so nothing is sent in this epoch, nor in later ones that
// the lost records had reached: following the order leads into them again,
// with the same keys. Where no group is known to begin with, none can be
// followed: what was lost may have been the whole membership.
func (w *work) markRolledBack(in MarkRolledBack) error {
	if !in.Owed && w.s.Lifecycle != Active && (w.s.Lifecycle != RolledBack || in.Epoch <= w.s.Muted) {
		return nil
	}
	waiting := w.s.committing()
	body := &v1.LogRolledBack{
		AnchorVersion: in.AnchorVersion, FoundVersion: in.FoundVersion, Epoch: uint64(in.Epoch), Reason: bounded(in.Reason),
	}
	if err := w.emit(event{body: body}); err != nil {
		return err
	}
	return w.abandon(waiting, refuse(ConversationRolledBack, Rejoin, "the log lost its end"))
}

// markSecretsLost says that the key ring is gone, and with it what was spooled.
func (w *work) markSecretsLost(in MarkSecretsLost) error {
	switch w.s.Lifecycle {
	case Active, RolledBack, Unreachable:
	case Absent: // nothing of the log can be believed without its keys; what it may have been is lost all the same
	default:
		if j := w.s.Joining; j != nil {
			if err := w.rejectJoin(j, refuse(SecretsMissing, Rejoin, "the key ring is gone")); err != nil {
				return err
			}
		}
		return w.loseSpool()
	}
	waiting := w.s.waiting()
	if err := w.loseSpool(); err != nil {
		return err
	}
	if err := w.clearBuffer("the key ring is gone"); err != nil {
		return err
	}
	if err := w.emit(event{body: &v1.SecretsLost{Reason: bounded(in.Reason)}}); err != nil {
		return err
	}
	return w.abandon(waiting, refuse(SecretsMissing, Rejoin, "the key ring is gone"))
}

// markBehind says that what would have to be followed next is gone.
func (w *work) markBehind(in MarkBehind) error {
	if w.s.Lifecycle != Active && w.s.Lifecycle != RolledBack || in.First <= w.s.Position+1 {
		return nil
	}
	waiting := w.s.committing()
	if err := w.clearBuffer("the group's order was purged past us"); err != nil {
		return err
	}
	body := &v1.EpochUnreachable{
		Epoch: uint64(w.s.Epoch()), Position: w.s.Position, Rule: "behind", First: in.First,
		Detail: fmt.Sprintf("the order begins at %d, next would be %d", in.First, w.s.Position+1),
	}
	if err := w.emitSealed(event{body: body}, nil); err != nil {
		return err
	}
	return w.abandon(waiting, refuse(ConversationUnreachable, Rejoin, "the group's order was purged past us"))
}

// abandon ends the command whose commit will not be settled here any more.
func (w *work) abandon(waiting CommandRef, refused *CommandError) error {
	return w.complete(waiting, refused, commandOutcome{})
}

// markAsChild names the conversation that this one belongs to.
func (w *work) markAsChild(in MarkAsChild) error {
	if err := w.member(); err != nil {
		return err
	}
	if !in.Exists || len(in.Parent) == 0 || in.Parent == w.s.Conversation {
		return refuse(ParentGroupNotFound, GiveUp, "%s is no established conversation beside this one", in.Parent)
	}
	if in.Parent != w.s.Parent {
		if err := w.emit(event{body: &v1.MarkedAsChild{Parent: []byte(in.Parent)}}); err != nil {
			return err
		}
	}
	return w.done(in, commandOutcome{})
}

// checkpoint seals the private state anew, and lets past epochs die of age.
func (w *work) checkpoint(in Checkpoint) error {
	if !in.Force && !w.s.Public.CheckpointDue(w.now()) {
		return nil
	}
	if w.s.Private == nil || w.s.Lifecycle != Active && w.s.Lifecycle != RolledBack {
		return nil
	}
	return w.seal(in.Reason)
}

// seal is a SecretsCheckpoint: everything that must survive goes under a new
// key, and the keys of what was consumed die.
func (w *work) seal(reason string) error {
	for _, epoch := range w.s.Public.agedEpochs(w.now()) {
		body := &v1.EpochKeysShredded{Epoch: uint64(epoch), Keys: 1, Reason: "age"}
		if err := w.emit(event{body: body}); err != nil {
			return err
		}
	}
	return w.emitSealed(event{body: &v1.SecretsCheckpoint{Reason: bounded(reason)}}, w.s.Private)
}

// burn gives up generations that an aborted transaction had reserved.
func (w *work) burn(in Burn) error {
	if w.s.Lifecycle != Active || w.s.Private == nil {
		return nil
	}
	if n := in.Reserved.Application; n > w.s.Reserved.Application {
		w.s.Live.block = nil // its generations lie below what was burned
		if _, err := w.reserve(mlsengine.ContentTypeApplication, n-w.s.Reserved.Application); err != nil {
			return err
		}
	}
	if n := in.Reserved.Handshake; n > w.s.Reserved.Handshake {
		if _, err := w.reserve(mlsengine.ContentTypeProposal, n-w.s.Reserved.Handshake); err != nil {
			return err
		}
	}
	return nil
}

// reserve takes own generations with a record of their own.
func (w *work) reserve(ct mlsengine.ContentType, n uint32) (*mlsengine.SendBlock, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	from, group, block, err := w.s.Private.Group.Reserve(ct, n)
	if err != nil {
		return nil, refuse(UpdateRequired, Retry, "no generations are left in epoch %d", w.s.Epoch())
	}
	w.s.Private = w.s.Private.withGroup(group)
	w.batch.consumed = true
	body := &v1.GenerationsReserved{Epoch: uint64(w.s.Epoch()), ContentType: uint32(ct), From: uint32(from), Count: n}
	return block, w.emit(event{body: body})
}
