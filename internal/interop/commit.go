package interop

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
)

// Commit makes a commit and keeps it pending; the state stays where it is. A later one takes its place.
func (s *Server) Commit(_ context.Context, r *mlsclient.CommitRequest) (*mlsclient.CommitResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.CommitResponse, error) { return st.commit(r) })
}

func (st *state) commit(r *mlsclient.CommitRequest) (*mlsclient.CommitResponse, error) {
	in := mlsengine.CommitIntent{
		ForcePath: r.GetForcePath(), PSKs: st.of.psks(), TreeInWelcome: inclusion(r.GetExternalTree()), TreeInInfo: mlsengine.WithoutTree,
	}
	var err error
	if in.Proposals, err = st.read(r.GetByReference()); err != nil {
		return nil, err
	}
	for i, d := range r.GetByValue() {
		p, err := proposal(st.group.Public(), d)
		if err != nil {
			return nil, prefixed(err, "proposal %d by value", i)
		}
		in.Inline = append(in.Inline, p)
	}
	if st.of.encrypt {
		in.Framing.Encrypt = true
		if in.Framing.Block, err = st.reserve(mlsengine.ContentTypeCommit); err != nil {
			return nil, err
		}
	}
	out, err := st.group.Commit(in, st.of.env())
	if err != nil {
		return nil, err
	}
	st.pending = out
	return &mlsclient.CommitResponse{
		Commit: out.Message, Welcome: out.Welcome, RatchetTree: treeBeside(out.Staged.Public, r.GetExternalTree()),
	}, nil
}

// HandlePendingCommit takes the member's own commit.
func (s *Server) HandlePendingCommit(_ context.Context, r *mlsclient.HandlePendingCommitRequest) (*mlsclient.HandleCommitResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.HandleCommitResponse, error) {
		staged, err := st.takePending()
		if err != nil {
			return nil, err
		}
		return st.advance(staged)
	})
}

func (st *state) takePending() (*mlsengine.Staged, error) {
	if st.pending == nil {
		return nil, status.Error(codes.FailedPrecondition, "the state has no pending commit")
	}
	return st.pending.Staged, nil
}

// HandleCommit follows a commit of another member or of an external joiner.
func (s *Server) HandleCommit(_ context.Context, r *mlsclient.HandleCommitRequest) (*mlsclient.HandleCommitResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.HandleCommitResponse, error) {
		staged, err := st.follow(r)
		if err != nil {
			return nil, err
		}
		return st.advance(staged)
	})
}

// follow stages somebody else's commit. What an error leaves behind is only that proposals were read: the key that opens the commit is
// used up in a successor that is not taken, so that the commit can come again.
func (st *state) follow(r *mlsclient.HandleCommitRequest) (*mlsengine.Staged, error) {
	proposals, err := st.read(st.present(r.GetProposal()))
	if err != nil {
		return nil, err
	}
	for _, known := range st.proposals {
		proposals = append(proposals, known)
	}
	message, err := parseContent(r.GetCommit(), mlsengine.ContentTypeCommit)
	if err != nil {
		return nil, err
	}
	content, _, err := st.group.Open(message, limits())
	if err != nil {
		return nil, err
	}
	staged, err := st.group.StageCommit(mlsengine.CommitInput{
		Commit: content, Proposals: proposals, OwnUpdates: st.updates, PSKs: st.of.psks(),
	}, st.of.env())
	if err != nil {
		return nil, err
	}
	if staged.Removed {
		return nil, status.Error(codes.FailedPrecondition, "the commit removes this member")
	}
	return staged, nil
}

// present leaves out proposals of other epochs, which a caller may hand in again: no commit can refer to them.
func (st *state) present(proposals [][]byte) [][]byte {
	return slices.DeleteFunc(slices.Clone(proposals), func(b []byte) bool {
		m, err := mlsengine.ParseMessage(b)
		return err == nil && m.Epoch() != st.group.Epoch()
	})
}

// advance takes the outcome of a commit as the member's newest state.
func (st *state) advance(staged *mlsengine.Staged) (*mlsclient.HandleCommitResponse, error) {
	next, err := st.of.enter(staged.Next)
	if err != nil {
		return nil, err
	}
	st.pending = nil
	return &mlsclient.HandleCommitResponse{StateId: next.id, EpochAuthenticator: next.group.EpochAuthenticator()}, nil
}
