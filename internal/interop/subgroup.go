package interop

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
)

// reopening is a member of a group that a ReInit closed, with a key package for the group that comes after it.
type reopening struct {
	closed *mlsengine.Group
	next   *joining
	of     *member // in the closed group
}

func (*reopening) kind() string     { return "a member of a closed group" }
func (r *reopening) owner() *client { return r.next.client }

// ReInitCommit makes a commit that closes the group, and keeps it pending.
func (s *Server) ReInitCommit(_ context.Context, r *mlsclient.CommitRequest) (*mlsclient.CommitResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.CommitResponse, error) {
		before := st.pending
		out, err := st.commit(r)
		if err != nil {
			return nil, err
		}
		if st.pending.Staged.ReInit == nil {
			st.pending = before
			return nil, status.Error(codes.InvalidArgument, "the commit has no ReInit")
		}
		return out, nil
	})
}

// HandlePendingReInitCommit closes the group by the member's own commit.
func (s *Server) HandlePendingReInitCommit(_ context.Context, r *mlsclient.HandlePendingCommitRequest) (*mlsclient.HandleReInitCommitResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.HandleReInitCommitResponse, error) {
		staged, err := st.takePending()
		if err != nil {
			return nil, err
		}
		return st.close(staged)
	})
}

// HandleReInitCommit closes the group by somebody else's commit.
func (s *Server) HandleReInitCommit(_ context.Context, r *mlsclient.HandleCommitRequest) (*mlsclient.HandleReInitCommitResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.HandleReInitCommitResponse, error) {
		staged, err := st.follow(r)
		if err != nil {
			return nil, err
		}
		return st.close(staged)
	})
}

// close offers a key package for the next group. The member's state stays where it was: nothing can be said in the closed epoch.
func (st *state) close(staged *mlsengine.Staged) (*mlsclient.HandleReInitCommitResponse, error) {
	if staged.ReInit == nil {
		return nil, status.Error(codes.InvalidArgument, "the commit has no ReInit")
	}
	s := st.of.server
	of, err := suiteOf(uint32(staged.ReInit.CipherSuite))
	if err != nil {
		return nil, err
	}
	next, err := s.newJoining(of, []byte(st.of.client.identity))
	if err != nil {
		return nil, err
	}
	next.client.remember(staged.Next)
	id, err := s.table.add(&reopening{closed: staged.Next, next: next, of: st.of})
	if err != nil {
		return nil, err
	}
	st.pending = nil
	return &mlsclient.HandleReInitCommitResponse{
		ReinitId: id, KeyPackage: next.offered.Message(), EpochAuthenticator: staged.Next.EpochAuthenticator(),
	}, nil
}

// ReInitWelcome makes the group that the closed one was closed for.
func (s *Server) ReInitWelcome(_ context.Context, r *mlsclient.ReInitWelcomeRequest) (*mlsclient.CreateSubgroupResponse, error) {
	from, err := find[*reopening](s.table, r.GetReinitId())
	if err != nil {
		return nil, err
	}
	f, err := founding(r.GetKeyPackage(), r.GetForcePath(), r.GetExternalTree())
	if err != nil {
		return nil, err
	}
	from.next.mu.Lock()
	defer from.next.mu.Unlock()
	if from.next.joined {
		return nil, status.Error(codes.FailedPrecondition, "the member is in the next group already")
	}
	m := &member{server: s, client: from.next.client, identity: from.next.identity, encrypt: from.of.encrypt}
	out, err := from.closed.FoundSuccessor(f, m.env())
	if err != nil {
		return nil, err
	}
	made, err := m.open(out, r.GetExternalTree())
	if err != nil {
		return nil, err
	}
	from.next.joined = true
	s.table.drop(r.GetReinitId())
	return made, nil
}

// HandleReInitWelcome joins that group.
func (s *Server) HandleReInitWelcome(_ context.Context, r *mlsclient.HandleReInitWelcomeRequest) (*mlsclient.JoinGroupResponse, error) {
	from, err := find[*reopening](s.table, r.GetReinitId())
	if err != nil {
		return nil, err
	}
	st, err := s.join(join{
		of: from.next, welcome: r.GetWelcome(), tree: r.GetRatchetTree(), encrypt: from.of.encrypt,
		origin: from.closed.Public(), psks: pskStore{from.next.client, s.table},
	})
	if err != nil {
		return nil, err
	}
	s.table.drop(r.GetReinitId())
	return &mlsclient.JoinGroupResponse{StateId: st.id, EpochAuthenticator: st.group.EpochAuthenticator()}, nil
}

// CreateBranch makes a group of the member and the owners of some key packages.
func (s *Server) CreateBranch(_ context.Context, r *mlsclient.CreateBranchRequest) (*mlsclient.CreateSubgroupResponse, error) {
	f, err := founding(r.GetKeyPackages(), r.GetForcePath(), r.GetExternalTree())
	if err != nil {
		return nil, err
	}
	list, err := extensions(r.GetExtensions())
	if err != nil {
		return nil, err
	}
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.CreateSubgroupResponse, error) {
		m, err := s.newMember(uint32(st.group.Public().CipherSuite()), []byte(st.of.client.identity), st.of.encrypt)
		if err != nil {
			return nil, err
		}
		out, err := st.group.FoundBranch(mlsengine.Branch{GroupID: r.GetGroupId(), Extensions: list}, f, m.env())
		if err != nil {
			return nil, err
		}
		return m.open(out, r.GetExternalTree())
	})
}

// HandleBranch joins such a group.
func (s *Server) HandleBranch(_ context.Context, r *mlsclient.HandleBranchRequest) (*mlsclient.HandleBranchResponse, error) {
	j, err := find[*joining](s.table, r.GetTransactionId())
	if err != nil {
		return nil, err
	}
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.HandleBranchResponse, error) {
		if err := j.isFor([]byte(st.of.client.identity)); err != nil {
			return nil, err
		}
		branched, err := s.join(join{
			of: j, welcome: r.GetWelcome(), tree: r.GetRatchetTree(), encrypt: st.of.encrypt,
			origin: st.group.Public(), psks: originStore{st.group, pskStore{j.client, s.table}},
		})
		if err != nil {
			return nil, err
		}
		s.table.drop(r.GetTransactionId())
		return &mlsclient.HandleBranchResponse{StateId: branched.id, EpochAuthenticator: branched.group.EpochAuthenticator()}, nil
	})
}

// originStore finds the resumption keys of the group that another branches from there, and other keys where the joiner has them.
type originStore struct {
	origin *mlsengine.Group
	pskStore
}

// PSK implements mlsengine.PSKStore.
func (s originStore) PSK(id mlsengine.PreSharedKeyID) ([]byte, bool) {
	if key, known := s.origin.PSK(id); known {
		return key, true
	}
	return s.pskStore.PSK(id)
}

// founding reads who else is to be in a new group.
func founding(keyPackages [][]byte, forcePath, treeBeside bool) (mlsengine.Founding, error) {
	f := mlsengine.Founding{
		Capabilities: capabilities(), Lifetime: validity(), ForcePath: forcePath, TreeInWelcome: inclusion(treeBeside), TreeInInfo: mlsengine.WithoutTree,
	}
	for i, b := range keyPackages {
		k, err := mlsengine.ParseKeyPackage(b)
		if err != nil {
			return f, prefixed(err, "key package %d", i)
		}
		f.KeyPackages = append(f.KeyPackages, k)
	}
	return f, nil
}

// open enters a group that the member has made.
func (m *member) open(out *mlsengine.CommitOut, beside bool) (*mlsclient.CreateSubgroupResponse, error) {
	st, err := m.begin(out.Staged.Next)
	if err != nil {
		return nil, err
	}
	return &mlsclient.CreateSubgroupResponse{
		StateId: st.id, Welcome: out.Welcome, RatchetTree: treeBeside(out.Staged.Public, beside),
		EpochAuthenticator: st.group.EpochAuthenticator(),
	}, nil
}
