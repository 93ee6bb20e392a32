package interop

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
)

// inclusion says where the tree goes.
func inclusion(beside bool) mlsengine.TreeInclusion { return mlsengine.TreeInclusion(!beside) }

// treeBeside is the tree when it goes beside a message, and nothing otherwise.
func treeBeside(g *mlsengine.PublicGroup, beside bool) []byte {
	if !beside {
		return nil
	}
	return g.Tree().Marshal()
}

// GroupInfo describes the epoch to joiners.
func (s *Server) GroupInfo(_ context.Context, r *mlsclient.GroupInfoRequest) (*mlsclient.GroupInfoResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.GroupInfoResponse, error) {
		gi, err := st.group.GroupInfo(inclusion(r.GetExternalTree()), st.of.env())
		if err != nil {
			return nil, err
		}
		return &mlsclient.GroupInfoResponse{
			GroupInfo: gi.Message(), RatchetTree: treeBeside(st.group.Public(), r.GetExternalTree()),
		}, nil
	})
}

// StateAuth gives the epoch authenticator.
func (s *Server) StateAuth(_ context.Context, r *mlsclient.StateAuthRequest) (*mlsclient.StateAuthResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.StateAuthResponse, error) {
		if st.group.Retired() {
			return nil, mlsengine.ErrRetired
		}
		return &mlsclient.StateAuthResponse{StateAuthSecret: st.group.EpochAuthenticator()}, nil
	})
}

// exportMax bounds what Export derives, in bytes: the KDF with the longest hash makes less.
const exportMax = 1 << 16

// Export derives a secret.
func (s *Server) Export(_ context.Context, r *mlsclient.ExportRequest) (*mlsclient.ExportResponse, error) {
	if r.GetKeyLength() > exportMax {
		return nil, mlsengine.ErrExportLength
	}
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.ExportResponse, error) {
		exported, err := st.group.Export(r.GetLabel(), r.GetContext(), int(r.GetKeyLength()))
		if err != nil {
			return nil, err
		}
		return &mlsclient.ExportResponse{ExportedSecret: exported.Expose()}, nil
	})
}

// Protect encrypts application data.
func (s *Server) Protect(_ context.Context, r *mlsclient.ProtectRequest) (*mlsclient.ProtectResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.ProtectResponse, error) {
		block, err := st.reserve(mlsengine.ContentTypeApplication)
		if err != nil {
			return nil, err
		}
		sealed, _, err := st.group.SealApplication(block, mlsengine.Plaintext{
			AAD: r.GetAuthenticatedData(), Data: r.GetPlaintext(),
		}, st.of.env())
		if err != nil {
			return nil, err
		}
		return &mlsclient.ProtectResponse{Ciphertext: sealed}, nil
	})
}

// Unprotect decrypts application data of the state's epoch or of another one that its member was in.
func (s *Server) Unprotect(_ context.Context, r *mlsclient.UnprotectRequest) (*mlsclient.UnprotectResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.UnprotectResponse, error) {
		message, err := parseContent(r.GetCiphertext(), mlsengine.ContentTypeApplication)
		if err != nil {
			return nil, err
		}
		at, found := st.of.at(message.GroupID(), message.Epoch())
		if !found {
			return nil, status.Errorf(codes.FailedPrecondition, "the message is of epoch %d, which the state does not know", message.Epoch())
		}
		content, next, err := at.group.Open(message, limits())
		if err != nil {
			return nil, err
		}
		at.group = next
		return &mlsclient.UnprotectResponse{AuthenticatedData: content.AAD(), Plaintext: content.Application()}, nil
	})
}
