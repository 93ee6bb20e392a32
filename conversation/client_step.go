package conversation

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"

	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// The bounds of a client. Each of these has a key in the client's ring, which
// holds at most 512.
const (
	CredentialsMax     = 32
	KeyPackagesHeldMax = 400
	PSKsMax            = 64
	pskIDMax           = 256 // bytes
)

// StepClient decides what an input means, like Step.
func StepClient(s ClientState, in ClientInput, env Env) (ClientTransition, error) {
	w := &clientWork{s: s, env: env}
	err := w.run(in)
	var refused *CommandError
	if errors.As(err, &refused) {
		return ClientTransition{Next: s, Reply: ClientReply{Err: refused}}, nil
	}
	if err != nil {
		return ClientTransition{Next: s}, err
	}
	return ClientTransition{Next: w.s, Events: w.events, Reply: w.reply}, nil
}

// clientWork is one step of a client in progress.
type clientWork struct {
	s      ClientState
	env    Env
	events []events.Event
	reply  ClientReply
}

func (w *clientWork) now() uint64 { return max(w.s.TimeMs, w.env.NowMs) }

// emit adds an event and moves the state, exactly as FoldClient will.
func (w *clientWork) emit(e events.Event) error {
	if len(w.events) == 0 {
		w.s.begin(w.env.NowMs)
	}
	w.events = append(w.events, e)
	return w.s.fold(e)
}

func (w *clientWork) run(in ClientInput) error {
	if known, err := w.recall(in); known || err != nil {
		return err
	}
	if err := w.living(in); err != nil {
		return err
	}
	switch in := in.(type) {
	case MarkClientLost:
		return w.markLost(in)
	case AddCredential:
		return w.addCredential(in)
	case RemoveCredential:
		return w.removeCredential(in)
	case GenerateKeyPackages:
		return w.generateKeyPackages(in)
	case RemoveKeyPackages:
		return w.removeKeyPackages(in)
	case ImportKeyPackage:
		return w.importKeyPackage(in)
	case ConsumeKeyPackage:
		return w.consumeKeyPackage(in)
	case ExpireKeyPackages:
		return w.expireKeyPackages()
	case AddPSK:
		return w.addPSK(in)
	case RemovePSK:
		return w.removePSK(in)
	case ListConversation:
		return w.listConversation(in)
	case SetData:
		return w.setData(in)
	case AskToJoin:
		return w.askToJoin(in)
	case PlanAsking:
		return w.planAsking(in)
	case EndAsking:
		return w.endAsking(in)
	}
	return brokenf("%T is no input of a client", in)
}

// create is the first event of a client's log.
func (w *clientWork) create() error {
	if w.s.Created {
		return nil
	}
	return w.emit(events.Event{Body: &v1.ClientCreated{Client: []byte(w.s.Client)}})
}

// recall answers a command whose id is known with its first outcome.
func (w *clientWork) recall(in ClientInput) (known bool, err error) {
	command, ok := in.(ClientCommand)
	if !ok {
		return false, nil
	}
	if err := command.Meta().validate(); err != nil || command.Meta().ID == "" {
		return false, err
	}
	first, err := admit(w.s.Commands, refOf(command), w.now())
	if first == nil || err != nil {
		return false, err
	}
	outcome, err := syntax.Decode[clientOutcome](first.Outcome)
	if err != nil {
		return true, brokenf("remembered outcome: %v", err)
	}
	w.reply.Repeated = true
	w.tell(outcome)
	return true, nil
}

// clientOutcome is the outcome of a client's command, as it is remembered.
type clientOutcome struct {
	credential   CredentialRef
	keyPackages  []mlsengine.KeyPackageRef
	proposalRef  mlsengine.ProposalRef
	proposal     []byte             // MLSMessage of a proposal to join
	conversation ids.ConversationID // that was joined
}

// Code walks the outcome.
func (o *clientOutcome) Code(c *syntax.Coder) {
	codeString(c, &o.credential)
	syntax.VectorFunc(c, &o.keyPackages, syntax.Opaque[mlsengine.KeyPackageRef])
	syntax.Opaque(c, &o.proposalRef)
	syntax.Opaque(c, &o.proposal)
	codeString(c, &o.conversation)
}

// tell puts an outcome into the reply.
func (w *clientWork) tell(outcome clientOutcome) {
	w.reply.Credential = outcome.credential
	for _, ref := range outcome.keyPackages {
		if kp, ok := w.s.KeyPackage(ref); ok {
			w.reply.KeyPackages = append(w.reply.KeyPackages, kp)
		}
	}
	if len(outcome.proposal) > 0 {
		w.reply.Proposal = &Proposal{Ref: outcome.proposalRef, Message: outcome.proposal}
	}
}

// done ends a command.
func (w *clientWork) done(command ClientCommand, outcome clientOutcome) error {
	w.tell(outcome)
	ref := refOf(command)
	if ref.ID == "" {
		return nil
	}
	return w.emit(events.Event{Body: &v1.CommandCompleted{Command: ref.toProto(), Outcome: syntax.Encode(&outcome)}})
}

// addCredential makes a credential known, with a key of ours or a given one.
func (w *clientWork) addCredential(in AddCredential) error {
	primitives, err := suite.Get(in.CipherSuite)
	if err != nil {
		return refuse(InvalidConfiguration, GiveUp, "cipher suite %d is not supported", in.CipherSuite)
	}
	credential := mlsengine.BasicCredential([]byte(w.s.Client))
	if in.Credential != nil {
		credential = *in.Credential
	}
	if !presentable(credential) {
		return refuse(CredentialRefused, GiveUp, "it is neither a basic nor an X.509 credential")
	}
	if named := ClientOf(credential); named != w.s.Client {
		return refuse(CredentialRefused, GiveUp, "it names %s, the client is %s", named, w.s.Client)
	}
	key := in.Key
	if key.IsZero() {
		generated, _, err := primitives.GenerateSignatureKeyPair(w.env.Entropy.Draw("signature_key", primitives.SignatureSeedSize()))
		if err != nil {
			return refuse(InvalidConfiguration, GiveUp, "signature key: %v", err)
		}
		key = generated.Raw()
	}
	if err := w.create(); err != nil {
		return err
	}
	ref, err := w.learnCredential(in.CipherSuite, credential, key)
	if err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: ref})
}

// learnCredential records a credential with its key, unless it is known.
func (w *clientWork) learnCredential(id mlsengine.CipherSuite, credential mlsengine.Credential, key secret.Bytes) (CredentialRef, error) {
	if HistoryClient(w.s.Client) || HistoryClient(ClientOf(credential)) {
		return "", refuse(HistoryClientCannotWrite, GiveUp, "a credential under the name of a reader of history")
	}
	primitives, err := suite.Get(id)
	if err != nil {
		return "", refuse(InvalidConfiguration, GiveUp, "cipher suite %d is not supported", id)
	}
	private, err := primitives.ParseSignaturePrivateKey(key.Expose())
	if err != nil {
		return "", refuse(CredentialRefused, GiveUp, "the signature key does not parse")
	}
	public, err := primitives.PublicSignatureKey(private)
	if err != nil {
		return "", refuse(CredentialRefused, GiveUp, "the signature key does not parse")
	}
	ref := RefOf(id, public)
	for _, of := range []CredentialRef{ref, ref.under(credential)} {
		known, ok := w.s.credential(of)
		switch {
		case ok && known.Credential.Equal(credential):
			return of, nil
		case ok && (credential.Type() != mlsengine.CredentialTypeX509 || ClientOf(known.Credential) != ClientOf(credential)):
			return "", refuse(CredentialRefused, GiveUp, "its signature key belongs to another credential, %s", of)
		case ok:
			ref = of.under(credential) // a certificate for a key that is here
		}
	}
	if len(w.s.Credentials) >= CredentialsMax {
		return "", refuse(Busy, GiveUp, "%d credentials are held", len(w.s.Credentials))
	}
	return ref, w.emit(events.Event{
		Body: &v1.CredentialAdded{
			Ref: string(ref), CipherSuite: uint32(id), Type: uint32(credential.Type()), Credential: syntax.Encode(&credential), SignatureKey: public,
		},
		Secrets: []events.Secret{{Class: events.ClassSignatureKey, Label: string(ref), Plain: private.Raw()}},
	})
}

// removeCredential forgets a credential that nothing presents any more. Key
// packages of it whose lifetime is over bring nobody a Welcome.
func (w *clientWork) removeCredential(in RemoveCredential) error {
	if _, ok := w.s.credential(in.Ref); !ok {
		return refuse(CredentialNotFound, GiveUp, "%s", in.Ref)
	}
	if len(in.InUse) > 0 {
		return refuse(CredentialStillInUse, GiveUp, "by %d conversations, %s among them", len(in.InUse), in.InUse[0])
	}
	now := w.now() / 1000
	if i := slices.IndexFunc(w.s.KeyPackages, func(kp ClientKeyPackage) bool { return kp.Credential == in.Ref && kp.NotAfter >= now }); i >= 0 {
		return refuse(CredentialStillInUse, GiveUp, "by key package %x", []byte(w.s.KeyPackages[i].Ref))
	}
	if err := w.expire(func(kp ClientKeyPackage) bool { return kp.Credential == in.Ref }); err != nil {
		return err
	}
	err := w.emit(events.Event{
		Body: &v1.CredentialRemoved{Ref: string(in.Ref)}, Forget: []string{events.Forget(events.ClassSignatureKey, string(in.Ref))},
	})
	if err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: in.Ref})
}

// generateKeyPackages makes key packages for others to add us with.
func (w *clientWork) generateKeyPackages(in GenerateKeyPackages) error {
	credential, ok := w.s.credential(in.Credential)
	if !ok {
		return refuse(CredentialNotFound, GiveUp, "%s", in.Credential)
	}
	identity, ok := w.s.identity(credential)
	if !ok {
		return refuse(CredentialNotFound, GiveUp, "the signature key of %s is not here", in.Credential)
	}
	if in.Count < 1 {
		return refuse(NothingToCommit, GiveUp, "%d key packages", in.Count)
	}
	lifetime := in.LifetimeSeconds
	if lifetime == 0 {
		lifetime = lifetimeSeconds
	}
	made := make([]heldKeyPackage, 0, min(in.Count, KeyPackagesHeldMax))
	for range min(in.Count, KeyPackagesHeldMax+1) {
		kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
			Suite: credential.CipherSuite, Identity: *identity, Lifetime: lifetimeFrom(w.now(), lifetime),
			Capabilities: capabilities(), LastResort: in.LastResort,
		}, w.env.engine())
		if err != nil {
			return engineFault(InvalidKeyPackage, err)
		}
		made = append(made, heldKeyPackage{kp, secrets})
	}
	refs, err := w.hold(in.Credential, made, &v1.KeyPackagesGenerated{})
	if err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: in.Credential, keyPackages: refs})
}

// heldKeyPackage is a key package with its private keys.
type heldKeyPackage struct {
	kp      *mlsengine.KeyPackage
	secrets mlsengine.KeyPackageSecrets
}

// hold records key packages, each under a key of its own.
func (w *clientWork) hold(credential CredentialRef, held []heldKeyPackage, body *v1.KeyPackagesGenerated) ([]mlsengine.KeyPackageRef, error) {
	if n := len(w.s.KeyPackages) + len(held); n > KeyPackagesHeldMax {
		return nil, refuse(Busy, GiveUp, "%d key packages would be more than %d", n, KeyPackagesHeldMax)
	}
	var refs []mlsengine.KeyPackageRef
	e := events.Event{Body: body}
	for _, h := range held {
		ref := h.kp.Ref()
		body.KeyPackages = append(body.KeyPackages, &v1.KeyPackageEntry{
			Ref: ref, KeyPackage: h.kp.Bytes(), Credential: string(credential), NotAfter: h.kp.LeafNode.Lifetime.NotAfter,
			LastResort: h.kp.LastResort(), CipherSuite: uint32(h.kp.CipherSuite),
		})
		stored := keyPackageSecrets(h.secrets)
		e.Secrets = append(e.Secrets, events.Secret{
			Class: events.ClassKeyPackage, Label: hex.EncodeToString(ref), Plain: secret.New(syntax.Encode(&stored)),
		})
		refs = append(refs, ref)
	}
	return refs, w.emit(e)
}

// importKeyPackage takes a key package made elsewhere. The client named in its
// credential need not be this log's: who may present what is for the
// authentication service to say, not for a name.
func (w *clientWork) importKeyPackage(in ImportKeyPackage) error {
	kp, err := mlsengine.ParseKeyPackage(in.KeyPackage)
	if err != nil {
		return refuseRule(InvalidKeyPackage, err)
	}
	if err := kp.Validate(w.env.engine()); err != nil {
		return engineFault(InvalidKeyPackage, err)
	}
	secrets := mlsengine.KeyPackageSecrets{InitKey: in.InitKey, LeafKey: in.LeafKey}
	if err := checkKeyPackageSecrets(kp, secrets); err != nil {
		return err
	}
	if _, known := w.s.KeyPackage(kp.Ref()); known {
		return refuse(InvalidKeyPackage, GiveUp, "it is held already")
	}
	if err := w.create(); err != nil {
		return err
	}
	credential, err := w.learnCredential(kp.CipherSuite, kp.LeafNode.Credential, in.SignatureKey)
	if err != nil {
		return err
	}
	if known, _ := w.s.credential(credential); !bytes.Equal(known.SignatureKey, kp.LeafNode.SignatureKey) {
		return refuse(CredentialRefused, GiveUp, "the signature key is not the key package's")
	}
	refs, err := w.hold(credential, []heldKeyPackage{{kp, secrets}}, &v1.KeyPackagesGenerated{Imported: true})
	if err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: credential, keyPackages: refs})
}

// checkKeyPackageSecrets checks that private keys belong to their public halves.
func checkKeyPackageSecrets(kp *mlsengine.KeyPackage, secrets mlsengine.KeyPackageSecrets) error {
	primitives, err := suite.Get(kp.CipherSuite)
	if err != nil {
		return refuse(InvalidKeyPackage, GiveUp, "cipher suite %d is not supported", kp.CipherSuite)
	}
	for _, pair := range []struct {
		private secret.Bytes
		public  suite.HPKEPublicKey
	}{{secrets.InitKey, kp.InitKey}, {secrets.LeafKey, kp.LeafNode.EncryptionKey}} {
		key, err := primitives.ParseHPKEPrivateKey(pair.private.Expose())
		if err != nil {
			return refuse(InvalidKeyPackage, GiveUp, "a private key does not parse")
		}
		if public, err := primitives.PublicHPKEKey(key); err != nil || !bytes.Equal(public, pair.public) {
			return refuse(InvalidKeyPackage, GiveUp, "the private keys are not those of the key package")
		}
	}
	return nil
}

// consumeKeyPackage ends a key package, unless it is one of last resort.
func (w *clientWork) consumeKeyPackage(in ConsumeKeyPackage) error {
	kp, ok := w.s.KeyPackage(in.Ref)
	if !ok {
		return refuse(OrphanWelcome, GiveUp, "key package %x is not held", []byte(in.Ref))
	}
	e := events.Event{Body: &v1.KeyPackagesConsumed{Refs: [][]byte{in.Ref}, Conversation: []byte(in.Conversation)}}
	if !kp.LastResort {
		e.Forget = []string{events.Forget(events.ClassKeyPackage, hex.EncodeToString(in.Ref))}
	}
	if err := w.emit(e); err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: kp.Credential, conversation: in.Conversation})
}

// removeKeyPackages drops key packages that nobody is to use any more; one that
// is not held is dropped already.
func (w *clientWork) removeKeyPackages(in RemoveKeyPackages) error {
	if _, ok := w.s.credential(in.Credential); !ok && in.Credential != "" {
		return refuse(CredentialNotFound, GiveUp, "%s", in.Credential)
	}
	named := make(map[string]bool, len(in.Refs))
	for _, ref := range in.Refs {
		named[string(ref)] = true
	}
	err := w.expire(func(kp ClientKeyPackage) bool {
		return named[string(kp.Ref)] || in.Credential != "" && kp.Credential == in.Credential
	})
	if err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: in.Credential})
}

// expireKeyPackages drops those whose lifetime is over.
func (w *clientWork) expireKeyPackages() error {
	return w.expire(func(kp ClientKeyPackage) bool { return kp.NotAfter < w.now()/1000 })
}

func (w *clientWork) expire(over func(ClientKeyPackage) bool) error {
	body := &v1.KeyPackagesExpired{}
	var forget []string
	for _, kp := range w.s.KeyPackages {
		if over(kp) {
			body.Refs = append(body.Refs, kp.Ref)
			forget = append(forget, events.Forget(events.ClassKeyPackage, hex.EncodeToString(kp.Ref)))
		}
	}
	if len(body.Refs) == 0 {
		return nil
	}
	return w.emit(events.Event{Body: body, Forget: forget})
}

// addPSK makes an external pre-shared key known.
func (w *clientWork) addPSK(in AddPSK) error {
	if len(in.ID) == 0 || len(in.ID) > pskIDMax || in.Key.Len() == 0 {
		return refuse(InvalidConfiguration, GiveUp, "a pre-shared key needs an id of 1 to %d bytes and a key", pskIDMax)
	}
	if known, ok := w.s.secrets.psks[string(in.ID)]; ok && !known.Equal(in.Key) {
		return refuse(InvalidConfiguration, GiveUp, "the id is taken by another key")
	} else if !ok {
		if len(w.s.PSKs) >= PSKsMax {
			return refuse(Busy, GiveUp, "%d pre-shared keys are held", len(w.s.PSKs))
		}
		if err := w.create(); err != nil {
			return err
		}
		err := w.emit(events.Event{
			Body:    &v1.PreSharedKeyAdded{Id: in.ID},
			Secrets: []events.Secret{{Class: events.ClassPSK, Label: hex.EncodeToString(in.ID), Plain: in.Key}},
		})
		if err != nil {
			return err
		}
	}
	return w.done(in, clientOutcome{})
}

// removePSK forgets one; one that is not known is forgotten already.
func (w *clientWork) removePSK(in RemovePSK) error {
	for _, id := range w.s.PSKs {
		if !bytes.Equal(id, in.ID) {
			continue
		}
		err := w.emit(events.Event{
			Body: &v1.PreSharedKeyRemoved{Id: in.ID}, Forget: []string{events.Forget(events.ClassPSK, hex.EncodeToString(in.ID))},
		})
		if err != nil {
			return err
		}
	}
	return w.done(in, clientOutcome{})
}

// listConversation keeps the list of a client's conversations.
func (w *clientWork) listConversation(in ListConversation) error {
	if slices.Contains(w.s.Conversations, in.Conversation) != in.Gone {
		return nil // it says so already
	}
	if err := w.create(); err != nil {
		return err
	}
	return w.emit(events.Event{Body: &v1.ConversationListed{Conversation: []byte(in.Conversation), Gone: in.Gone}})
}
