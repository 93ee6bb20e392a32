package interop

import (
	"context"

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
	of, err := suiteOf(uint32(group.public.CipherSuite()))
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(of, r.GetIdentity())
	if err != nil {
		return nil, err
	}
	m := &member{server: s, client: newClient(r.GetIdentity()), identity: identity, encrypt: r.GetEncryptHandshake()}
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
