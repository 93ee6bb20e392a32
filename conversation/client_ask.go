package conversation

import (
	"parley/events"
	v1 "parley/events/v1"
	"parley/internal/ids"
	"parley/mlsengine"
)

// AskToJoin makes an Add proposal by which the client asks to be added to a
// group that it is no member of (RFC 9420, 12.1.8). The private keys of the key
// package inside are kept for the Welcome. Asked again under its id it is the
// same proposal.
type AskToJoin struct {
	CommandMeta
	Group       ids.ConversationID
	Epoch       mlsengine.Epoch // of the group: in any other one the proposal is void
	CipherSuite mlsengine.CipherSuite
	Credential  CredentialRef // empty: the client's first of the suite
}

func (AskToJoin) isClientInput() {}

// Name is the command's name in causes and outcomes.
func (AskToJoin) Name() string { return "new_external_add_proposal" }

func (w *clientWork) askToJoin(in AskToJoin) error {
	if len(in.Group) == 0 {
		return refuse(InvalidConfiguration, GiveUp, "no group is named")
	}
	identity, ref, ok := w.s.Identity(in.Credential, in.CipherSuite)
	if !ok {
		return refuse(CredentialNotFound, GiveUp, "%q of cipher suite %d", in.Credential, in.CipherSuite)
	}
	env := w.env.engine()
	env.Identity = identity
	kp, secrets, err := mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: in.CipherSuite, Identity: *identity, Lifetime: lifetimeFrom(w.now(), lifetimeSeconds), Capabilities: capabilities(),
	}, env)
	if err != nil {
		return engineFault(InvalidKeyPackage, err)
	}
	proposed, err := mlsengine.ProposeToJoin(&mlsengine.GroupContext{
		Version: mlsengine.VersionMLS10, CipherSuite: in.CipherSuite, GroupID: mlsengine.GroupID(in.Group), Epoch: in.Epoch,
	}, kp, nil, env)
	if err != nil {
		return engineFault(InvalidConfiguration, err)
	}
	refs, err := w.hold(ref, []heldKeyPackage{{kp, secrets}}, &v1.KeyPackagesGenerated{})
	if err != nil {
		return err
	}
	err = w.emit(events.Event{Body: &v1.JoinProposed{
		Group: []byte(in.Group), Epoch: uint64(in.Epoch), KeyPackageRef: refs[0], ProposalRef: proposed.Ref, Message: proposed.Message,
	}})
	if err != nil {
		return err
	}
	return w.done(in, clientOutcome{credential: ref, keyPackages: refs, proposalRef: proposed.Ref, proposal: proposed.Message})
}
