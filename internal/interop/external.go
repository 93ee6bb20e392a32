package interop

import (
	"context"
	"slices"

	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
)

// outside is a group as somebody who is not in it sees it.
type outside struct {
	info   *mlsengine.GroupInfo
	tree   *mlsengine.RatchetTree // nil when the GroupInfo carries it
	public *mlsengine.PublicGroup
}

func seen(groupInfo, tree []byte) (outside, error) {
	info, err := parseGroupInfo(groupInfo)
	if err != nil {
		return outside{}, err
	}
	o := outside{info: info}
	if o.tree, err = parseTree(info.GroupContext.CipherSuite, tree); err != nil {
		return outside{}, err
	}
	o.public, err = mlsengine.NewPublicGroup(info, o.tree)
	return o, err
}

// ExternalJoin joins by an external commit. The joiner is in the new epoch at once.
func (s *Server) ExternalJoin(_ context.Context, r *mlsclient.ExternalJoinRequest) (*mlsclient.ExternalJoinResponse, error) {
	group, err := seen(r.GetGroupInfo(), r.GetRatchetTree())
	if err != nil {
		return nil, err
	}
	m, err := s.newMember(uint32(group.public.CipherSuite()), r.GetIdentity(), r.GetEncryptHandshake())
	if err != nil {
		return nil, err
	}
	p := mlsengine.ExternalCommitParams{GroupInfo: group.info, Tree: group.tree, PSKStore: m.psks(), Capabilities: capabilities()}
	if r.GetRemovePrior() {
		old, err := leafOf(group.public, r.GetIdentity())
		if err != nil {
			return nil, err
		}
		p.Resync = mlsengine.ResyncLeaf(old)
	}
	for _, k := range r.GetPsks() {
		if err := m.client.store(k.GetPskId(), k.GetPskSecret()); err != nil {
			return nil, err
		}
		p.PSKs = append(p.PSKs, mlsengine.PreSharedKeyID{Type: mlsengine.PSKTypeExternal, ID: k.GetPskId()})
	}
	out, err := mlsengine.ExternalCommit(p, m.env())
	if err != nil {
		return nil, err
	}
	st, err := m.begin(out.Staged.Next)
	if err != nil {
		return nil, err
	}
	return &mlsclient.ExternalJoinResponse{
		StateId: st.id, Commit: out.Message, EpochAuthenticator: st.group.EpochAuthenticator(),
	}, nil
}

// NewMemberAddProposal proposes from outside to add the proposer.
func (s *Server) NewMemberAddProposal(_ context.Context, r *mlsclient.NewMemberAddProposalRequest) (*mlsclient.NewMemberAddProposalResponse, error) {
	info, err := parseGroupInfo(r.GetGroupInfo())
	if err != nil {
		return nil, err
	}
	of, err := suiteOf(uint32(info.GroupContext.CipherSuite))
	if err != nil {
		return nil, err
	}
	j, err := s.newJoining(of, r.GetIdentity())
	if err != nil {
		return nil, err
	}
	proposed, err := mlsengine.ProposeToJoin(&info.GroupContext, j.offered, nil, s.env(&j.identity))
	if err != nil {
		return nil, err
	}
	id, err := s.table.add(j)
	if err != nil {
		return nil, err
	}
	return &mlsclient.NewMemberAddProposalResponse{
		TransactionId: id, Proposal: proposed.Message,
		InitPriv: j.secrets.InitKey.Expose(), EncryptionPriv: j.secrets.LeafKey.Expose(), SignaturePriv: j.identity.Key.Raw().Expose(),
	}, nil
}

// signer sends proposals to groups that it is no member of.
type signer struct {
	client   *client
	identity mlsengine.SigningIdentity
}

func (*signer) kind() string     { return "an external signer" }
func (s *signer) owner() *client { return s.client }

// CreateExternalSigner makes a signer for groups of one cipher suite.
func (s *Server) CreateExternalSigner(_ context.Context, r *mlsclient.CreateExternalSignerRequest) (*mlsclient.CreateExternalSignerResponse, error) {
	of, err := suiteOf(r.GetCipherSuite())
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(of, r.GetIdentity())
	if err != nil {
		return nil, err
	}
	id, err := s.table.add(&signer{client: newClient(r.GetIdentity()), identity: identity})
	if err != nil {
		return nil, err
	}
	sender := mlsengine.ExternalSender{SignatureKey: identity.Public, Credential: identity.Credential}
	return &mlsclient.CreateExternalSignerResponse{SignerId: id, ExternalSender: sender.Bytes()}, nil
}

// AddExternalSigner proposes the extensions that the group has, with one more external sender.
func (s *Server) AddExternalSigner(_ context.Context, r *mlsclient.AddExternalSignerRequest) (*mlsclient.ProposalResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.ProposalResponse, error) {
		sender, err := mlsengine.ParseExternalSender(r.GetExternalSender())
		if err != nil {
			return nil, err
		}
		present := st.group.Public().Context().Extensions
		senders, err := present.ExternalSenders()
		if err != nil {
			return nil, err
		}
		senders = append(slices.Clip(senders), *sender)
		return st.respond(&mlsengine.GroupContextExtensions{Extensions: present.WithExternalSenders(senders)})
	})
}

// ExternalSignerProposal proposes from outside what a description asks for. The group knows the signer by its key.
func (s *Server) ExternalSignerProposal(_ context.Context, r *mlsclient.ExternalSignerProposalRequest) (*mlsclient.ProposalResponse, error) {
	by, err := find[*signer](s.table, r.GetSignerId())
	if err != nil {
		return nil, err
	}
	group, err := seen(r.GetGroupInfo(), r.GetRatchetTree())
	if err != nil {
		return nil, err
	}
	p, err := proposal(group.public, r.GetDescription())
	if err != nil {
		return nil, err
	}
	proposed, err := group.public.ProposeExternally(p, nil, s.env(&by.identity))
	if err != nil {
		return nil, err
	}
	return &mlsclient.ProposalResponse{Proposal: proposed.Message}, nil
}
