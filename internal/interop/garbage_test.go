package interop

import (
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop/mlsclient"
)

// everything makes a history in which every call occurs, and gives what was asked.
func everything(t testing.TB) *caller {
	c := newCaller(t)
	do[*mlsclient.NameResponse](c, "Name", new(mlsclient.NameRequest))
	do[*mlsclient.SupportedCiphersuitesResponse](c, "SupportedCiphersuites", new(mlsclient.SupportedCiphersuitesRequest))
	alice, bob := c.pair()
	c.proposals(alice, bob)
	alice, bob = c.outsiders(alice, bob)
	c.branch(alice, bob)
	c.reinit(alice, bob)
	do[*mlsclient.FreeResponse](c, "Free", &mlsclient.FreeRequest{StateId: c.create("carol")})
	return c
}

// proposals lets bob propose everything that a member can, and reads what he says.
func (c *caller) proposals(alice, bob uint32) {
	kind := func(method string, p interface{ GetProposal() []byte }) {
		if len(p.GetProposal()) == 0 {
			c.t.Errorf("%s gave no proposal", method)
		}
	}
	kind("add", do[*mlsclient.ProposalResponse](c, "AddProposal", &mlsclient.AddProposalRequest{StateId: bob, KeyPackage: c.keyPackage("dave").GetKeyPackage()}))
	kind("update", do[*mlsclient.ProposalResponse](c, "UpdateProposal", &mlsclient.UpdateProposalRequest{StateId: bob}))
	kind("remove", do[*mlsclient.ProposalResponse](c, "RemoveProposal", &mlsclient.RemoveProposalRequest{StateId: bob, RemovedId: []byte("alice")}))
	kind("psk", do[*mlsclient.ProposalResponse](c, "ExternalPSKProposal", &mlsclient.ExternalPSKProposalRequest{StateId: bob, PskId: []byte("key")}))
	kind("resumption", do[*mlsclient.ProposalResponse](c, "ResumptionPSKProposal", &mlsclient.ResumptionPSKProposalRequest{StateId: bob, EpochId: 1}))
	kind("extensions", do[*mlsclient.ProposalResponse](c, "GroupContextExtensionsProposal", &mlsclient.GroupContextExtensionsProposalRequest{
		StateId: bob, Extensions: []*mlsclient.Extension{{ExtensionType: 3, ExtensionData: []byte{0, 0, 0}}},
	}))
	c.auth(bob)
	do[*mlsclient.ExportResponse](c, "Export", &mlsclient.ExportRequest{StateId: bob, Label: "label", KeyLength: 32})
	said := do[*mlsclient.ProtectResponse](c, "Protect", &mlsclient.ProtectRequest{StateId: bob, Plaintext: []byte("hello"), AuthenticatedData: []byte("aad")})
	do[*mlsclient.UnprotectResponse](c, "Unprotect", &mlsclient.UnprotectRequest{StateId: alice, Ciphertext: said.GetCiphertext()})
}

// outsiders lets somebody propose to join, a signer propose a key, and somebody join from outside.
func (c *caller) outsiders(alice, bob uint32) (uint32, uint32) {
	signer := do[*mlsclient.CreateExternalSignerResponse](c, "CreateExternalSigner", &mlsclient.CreateExternalSignerRequest{CipherSuite: 1, Identity: []byte("signer")})
	adding := do[*mlsclient.ProposalResponse](c, "AddExternalSigner", &mlsclient.AddExternalSignerRequest{StateId: alice, ExternalSender: signer.GetExternalSender()})
	alice, bob = c.commit(alice, bob, adding.GetProposal())
	info := do[*mlsclient.GroupInfoResponse](c, "GroupInfo", &mlsclient.GroupInfoRequest{StateId: alice, ExternalTree: true})
	proposed := do[*mlsclient.ProposalResponse](c, "ExternalSignerProposal", &mlsclient.ExternalSignerProposalRequest{
		SignerId: signer.GetSignerId(), SignerIndex: 7, GroupInfo: info.GetGroupInfo(), RatchetTree: info.GetRatchetTree(),
		Description: &mlsclient.ProposalDescription{ProposalType: []byte("externalPSK"), PskId: []byte("key")},
	})
	asking := do[*mlsclient.NewMemberAddProposalResponse](c, "NewMemberAddProposal", &mlsclient.NewMemberAddProposalRequest{
		GroupInfo: info.GetGroupInfo(), Identity: []byte("erin"),
	})
	for _, id := range []uint32{alice, bob, asking.GetTransactionId()} {
		do[*mlsclient.StorePSKResponse](c, "StorePSK", &mlsclient.StorePSKRequest{StateOrTransactionId: id, PskId: []byte("key"), PskSecret: []byte("secret")})
	}
	alice, bob = c.commit(alice, bob, proposed.GetProposal(), asking.GetProposal())
	info = do[*mlsclient.GroupInfoResponse](c, "GroupInfo", &mlsclient.GroupInfoRequest{StateId: alice})
	joined := do[*mlsclient.ExternalJoinResponse](c, "ExternalJoin", &mlsclient.ExternalJoinRequest{
		GroupInfo: info.GetGroupInfo(), Identity: []byte("erin"), RemovePrior: true,
	})
	handle := func(id uint32) uint32 {
		return do[*mlsclient.HandleCommitResponse](c, "HandleCommit", &mlsclient.HandleCommitRequest{StateId: id, Commit: joined.GetCommit()}).GetStateId()
	}
	return handle(alice), handle(bob)
}

// commit lets alice commit proposals and bob follow.
func (c *caller) commit(alice, bob uint32, proposals ...[]byte) (uint32, uint32) {
	out := do[*mlsclient.CommitResponse](c, "Commit", &mlsclient.CommitRequest{StateId: alice, ByReference: proposals})
	bob = do[*mlsclient.HandleCommitResponse](c, "HandleCommit", &mlsclient.HandleCommitRequest{StateId: bob, Proposal: proposals, Commit: out.GetCommit()}).GetStateId()
	return c.pending(alice).GetStateId(), bob
}

func (c *caller) branch(alice, bob uint32) {
	k := c.keyPackage("bob")
	made := do[*mlsclient.CreateSubgroupResponse](c, "CreateBranch", &mlsclient.CreateBranchRequest{
		StateId: alice, GroupId: []byte("branch"), KeyPackages: [][]byte{k.GetKeyPackage()}, ExternalTree: true,
	})
	do[*mlsclient.HandleBranchResponse](c, "HandleBranch", &mlsclient.HandleBranchRequest{
		StateId: bob, TransactionId: k.GetTransactionId(), Welcome: made.GetWelcome(), RatchetTree: made.GetRatchetTree(),
	})
}

// reinit closes the group without erin, who then asks in vain to be let in.
func (c *caller) reinit(alice, bob uint32) {
	out := do[*mlsclient.CommitResponse](c, "Commit", &mlsclient.CommitRequest{StateId: alice, ByValue: []*mlsclient.ProposalDescription{
		{ProposalType: []byte("remove"), RemovedId: []byte("erin")},
	}})
	bob = do[*mlsclient.HandleCommitResponse](c, "HandleCommit", &mlsclient.HandleCommitRequest{StateId: bob, Commit: out.GetCommit()}).GetStateId()
	alice = c.pending(alice).GetStateId()
	asked := [][]byte{do[*mlsclient.ProposalResponse](c, "ReInitProposal", &mlsclient.ReInitProposalRequest{
		StateId: bob, CipherSuite: 3, GroupId: []byte("next"),
	}).GetProposal()}
	out = do[*mlsclient.CommitResponse](c, "ReInitCommit", &mlsclient.CommitRequest{StateId: alice, ByReference: asked})
	a := do[*mlsclient.HandleReInitCommitResponse](c, "HandlePendingReInitCommit", &mlsclient.HandlePendingCommitRequest{StateId: alice})
	b := do[*mlsclient.HandleReInitCommitResponse](c, "HandleReInitCommit", &mlsclient.HandleCommitRequest{StateId: bob, Proposal: asked, Commit: out.GetCommit()})
	made := do[*mlsclient.CreateSubgroupResponse](c, "ReInitWelcome", &mlsclient.ReInitWelcomeRequest{ReinitId: a.GetReinitId(), KeyPackage: [][]byte{b.GetKeyPackage()}})
	do[*mlsclient.JoinGroupResponse](c, "HandleReInitWelcome", &mlsclient.HandleReInitWelcomeRequest{ReinitId: b.GetReinitId(), Welcome: made.GetWelcome()})
}

// wantRefusal calls a method with anything; no answer may say that the fault is ours.
func wantRefusal(t *testing.T, s *Server, method string, request []byte) {
	t.Helper()
	_, err := s.invoke(method, request)
	if code := status.Code(err); code == codes.Internal || code == codes.Unknown {
		t.Errorf("%s of %x: %v", method, request, err)
	}
}

// TestSpoiledRequestsAreRefused asks everything once more with bytes changed, cut and repeated, of a server that knows all the ids.
func TestSpoiledRequestsAreRefused(t *testing.T) {
	c := everything(t)
	seen := make(map[string]struct{})
	r := rand.New(rand.NewPCG(7, 7))
	for _, a := range c.asked {
		seen[a.method] = struct{}{}
		wantRefusal(t, c.server, a.method, a.request)
		for range 25 {
			wantRefusal(t, c.server, a.method, spoil(r, a.request))
		}
	}
	if all := len(mlsclient.MLSClient_ServiceDesc.Methods); len(seen) != all {
		t.Errorf("the history has %d of %d calls", len(seen), all)
	}
}

// spoil changes a request in one of several ways.
func spoil(r *rand.Rand, request []byte) []byte {
	b := slices.Clone(request)
	if len(b) == 0 {
		return b
	}
	at := r.IntN(len(b))
	switch r.IntN(4) {
	case 0:
		return b[:at]
	case 1:
		return append(b, b[at:]...)
	case 2:
		return slices.Delete(b, at, min(len(b), at+1+r.IntN(8)))
	}
	for range 1 + r.IntN(4) {
		b[r.IntN(len(b))] = byte(r.Uint32())
	}
	return b
}

// FuzzRequests hands any bytes to any call.
func FuzzRequests(f *testing.F) {
	c := everything(f)
	methods := mlsclient.MLSClient_ServiceDesc.Methods
	for _, a := range c.asked {
		for i, m := range methods {
			if m.MethodName == a.method {
				f.Add(uint8(i), a.request)
			}
		}
	}
	f.Fuzz(func(t *testing.T, method uint8, request []byte) {
		wantRefusal(t, c.server, methods[int(method)%len(methods)].MethodName, request)
	})
}
