package interop

import (
	"context"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// The proposals that the interface names. An update is never described: it always is the proposer's own.
const (
	describedAdd           = "add"
	describedRemove        = "remove"
	describedExternalPSK   = "externalPSK"
	describedResumptionPSK = "resumptionPSK"
	describedExtensions    = "groupContextExtensions"
	describedReInit        = "reinit"
)

// proposal makes what a description asks for, in a group as anybody can know it.
func proposal(g *mlsengine.PublicGroup, d *mlsclient.ProposalDescription) (mlsengine.Proposal, error) {
	switch kind := string(d.GetProposalType()); kind {
	case describedAdd:
		offered, err := mlsengine.ParseKeyPackage(d.GetKeyPackage())
		if err != nil {
			return nil, prefixed(err, "key package")
		}
		return &mlsengine.Add{KeyPackage: *offered}, nil
	case describedRemove:
		leaf, err := leafOf(g, d.GetRemovedId())
		if err != nil {
			return nil, err
		}
		return &mlsengine.Remove{Removed: leaf}, nil
	case describedExternalPSK:
		return withNonce(g, mlsengine.PreSharedKeyID{Type: mlsengine.PSKTypeExternal, ID: d.GetPskId()})
	case describedResumptionPSK:
		return withNonce(g, mlsengine.PreSharedKeyID{
			Type: mlsengine.PSKTypeResumption, Usage: mlsengine.ResumptionPSKUsageApplication,
			Group: g.GroupID(), Epoch: mlsengine.Epoch(d.GetEpochId()),
		})
	case describedExtensions:
		list, err := extensions(d.GetExtensions())
		if err != nil {
			return nil, err
		}
		return &mlsengine.GroupContextExtensions{Extensions: list}, nil
	case describedReInit:
		of, err := suiteOf(d.GetCipherSuite())
		if err != nil {
			return nil, err
		}
		list, err := extensions(d.GetExtensions())
		if err != nil {
			return nil, err
		}
		return &mlsengine.ReInit{GroupID: d.GetGroupId(), Version: mlsengine.VersionMLS10, CipherSuite: of.ID(), Extensions: list}, nil
	default:
		return nil, status.Errorf(codes.InvalidArgument, "proposal type %q", kind)
	}
}

// withNonce makes one use of a pre-shared key.
func withNonce(g *mlsengine.PublicGroup, id mlsengine.PreSharedKeyID) (mlsengine.Proposal, error) {
	s, err := suite.Get(g.CipherSuite())
	if err != nil {
		return nil, err
	}
	id.Nonce = randomness{}.Draw("psk_nonce", s.HashSize())
	return &mlsengine.PreSharedKey{PSK: id}, nil
}

func extensions(list []*mlsclient.Extension) (mlsengine.Extensions, error) {
	var all mlsengine.Extensions
	for _, e := range list {
		if e.GetExtensionType() > math.MaxUint16 {
			return nil, status.Errorf(codes.InvalidArgument, "extension type %d", e.GetExtensionType())
		}
		all = append(all, mlsengine.Extension{Type: mlsengine.ExtensionType(e.GetExtensionType()), Data: e.GetExtensionData()})
	}
	return all, nil
}

// proposeDescribed lets a member send what a description asks for.
func (s *Server) proposeDescribed(id uint32, d *mlsclient.ProposalDescription) (*mlsclient.ProposalResponse, error) {
	return onState(s, id, func(st *state) (*mlsclient.ProposalResponse, error) {
		p, err := proposal(st.group.Public(), d)
		if err != nil {
			return nil, err
		}
		return st.respond(p)
	})
}

func (st *state) respond(p mlsengine.Proposal) (*mlsclient.ProposalResponse, error) {
	message, err := st.propose(p)
	if err != nil {
		return nil, err
	}
	return &mlsclient.ProposalResponse{Proposal: message}, nil
}

// AddProposal proposes to add somebody.
func (s *Server) AddProposal(_ context.Context, r *mlsclient.AddProposalRequest) (*mlsclient.ProposalResponse, error) {
	return s.proposeDescribed(r.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte(describedAdd), KeyPackage: r.GetKeyPackage(),
	})
}

// UpdateProposal proposes to replace the member's own leaf.
func (s *Server) UpdateProposal(_ context.Context, r *mlsclient.UpdateProposalRequest) (*mlsclient.ProposalResponse, error) {
	return onState(s, r.GetStateId(), func(st *state) (*mlsclient.ProposalResponse, error) {
		return st.respond(new(mlsengine.Update))
	})
}

// RemoveProposal proposes to remove the member of an identity.
func (s *Server) RemoveProposal(_ context.Context, r *mlsclient.RemoveProposalRequest) (*mlsclient.ProposalResponse, error) {
	return s.proposeDescribed(r.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte(describedRemove), RemovedId: r.GetRemovedId(),
	})
}

// ExternalPSKProposal proposes an external pre-shared key.
func (s *Server) ExternalPSKProposal(_ context.Context, r *mlsclient.ExternalPSKProposalRequest) (*mlsclient.ProposalResponse, error) {
	return s.proposeDescribed(r.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte(describedExternalPSK), PskId: r.GetPskId(),
	})
}

// ResumptionPSKProposal proposes the resumption key of an epoch of the same group.
func (s *Server) ResumptionPSKProposal(_ context.Context, r *mlsclient.ResumptionPSKProposalRequest) (*mlsclient.ProposalResponse, error) {
	return s.proposeDescribed(r.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte(describedResumptionPSK), EpochId: r.GetEpochId(),
	})
}

// GroupContextExtensionsProposal proposes other extensions for the group.
func (s *Server) GroupContextExtensionsProposal(_ context.Context, r *mlsclient.GroupContextExtensionsProposalRequest) (*mlsclient.ProposalResponse, error) {
	return s.proposeDescribed(r.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte(describedExtensions), Extensions: r.GetExtensions(),
	})
}

// ReInitProposal proposes to close the group in favour of another.
func (s *Server) ReInitProposal(_ context.Context, r *mlsclient.ReInitProposalRequest) (*mlsclient.ProposalResponse, error) {
	return s.proposeDescribed(r.GetStateId(), &mlsclient.ProposalDescription{
		ProposalType: []byte(describedReInit), CipherSuite: r.GetCipherSuite(), GroupId: r.GetGroupId(), Extensions: r.GetExtensions(),
	})
}
