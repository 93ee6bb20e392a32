package interop

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"parley/internal/interop/mlsclient"
)

// caller calls a server as gRPC would, and remembers what it asked.
type caller struct {
	t      testing.TB
	server *Server
	asked  []asked
}

// asked is one request, as it travels.
type asked struct {
	method  string
	request []byte
}

func newCaller(t testing.TB) *caller {
	return &caller{t: t, server: NewServer(Config{StatesMax: 10_000})}
}

// invoke hands a serialized request to a method by its name.
func (s *Server) invoke(method string, request []byte) (any, error) {
	for _, m := range mlsclient.MLSClient_ServiceDesc.Methods {
		if m.MethodName == method {
			return m.Handler(s, context.Background(), func(into any) error {
				if err := proto.Unmarshal(request, into.(proto.Message)); err != nil {
					return status.Error(codes.InvalidArgument, err.Error()) // as gRPC would
				}
				return nil
			}, answer)
		}
	}
	return nil, fmt.Errorf("no method %s", method)
}

// try calls a method and gives its answer or its error.
func try[R proto.Message](c *caller, method string, request proto.Message) (R, error) {
	c.t.Helper()
	var none R
	b, err := proto.Marshal(request)
	if err != nil {
		c.t.Fatal(err)
	}
	c.asked = append(c.asked, asked{method, b})
	response, err := c.server.invoke(method, b)
	if err != nil {
		return none, err
	}
	return response.(R), nil
}

// do calls a method that must succeed.
func do[R proto.Message](c *caller, method string, request proto.Message) R {
	c.t.Helper()
	r, err := try[R](c, method, request)
	if err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	return r
}

func wantCode(t testing.TB, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v (%v), want %v", what, got, err, want)
	}
}

func (c *caller) create(name string) uint32 {
	return do[*mlsclient.CreateGroupResponse](c, "CreateGroup", &mlsclient.CreateGroupRequest{
		GroupId: []byte("group"), CipherSuite: 1, EncryptHandshake: true, Identity: []byte(name),
	}).GetStateId()
}

func (c *caller) keyPackage(name string) *mlsclient.CreateKeyPackageResponse {
	return do[*mlsclient.CreateKeyPackageResponse](c, "CreateKeyPackage", &mlsclient.CreateKeyPackageRequest{CipherSuite: 1, Identity: []byte(name)})
}

func add(k *mlsclient.CreateKeyPackageResponse) *mlsclient.ProposalDescription {
	return &mlsclient.ProposalDescription{ProposalType: []byte("add"), KeyPackage: k.GetKeyPackage()}
}

func (c *caller) pending(state uint32) *mlsclient.HandleCommitResponse {
	return do[*mlsclient.HandleCommitResponse](c, "HandlePendingCommit", &mlsclient.HandlePendingCommitRequest{StateId: state})
}

func (c *caller) auth(state uint32) []byte {
	return do[*mlsclient.StateAuthResponse](c, "StateAuth", &mlsclient.StateAuthRequest{StateId: state}).GetStateAuthSecret()
}

// pair makes a group of alice and bob.
func (c *caller) pair() (alice, bob uint32) {
	alice = c.create("alice")
	k := c.keyPackage("bob")
	out := do[*mlsclient.CommitResponse](c, "Commit", &mlsclient.CommitRequest{StateId: alice, ByValue: []*mlsclient.ProposalDescription{add(k)}})
	alice = c.pending(alice).GetStateId()
	bob = do[*mlsclient.JoinGroupResponse](c, "JoinGroup", &mlsclient.JoinGroupRequest{
		TransactionId: k.GetTransactionId(), Welcome: out.GetWelcome(), EncryptHandshake: true, Identity: []byte("bob"),
	}).GetStateId()
	return alice, bob
}

func TestACommitIsPendingUntilItIsHandled(t *testing.T) {
	c := newCaller(t)
	alice, bob := c.pair()
	before := c.auth(alice)
	own := do[*mlsclient.ProposalResponse](c, "ExternalPSKProposal", &mlsclient.ExternalPSKProposalRequest{StateId: alice, PskId: []byte("key")})
	for _, id := range []uint32{alice, bob} {
		do[*mlsclient.StorePSKResponse](c, "StorePSK", &mlsclient.StorePSKRequest{StateOrTransactionId: id, PskId: []byte("key"), PskSecret: []byte("secret")})
	}
	request := &mlsclient.CommitRequest{StateId: alice, ByReference: [][]byte{own.GetProposal()}}
	do[*mlsclient.CommitResponse](c, "Commit", request)
	out := do[*mlsclient.CommitResponse](c, "Commit", request) // takes the place of the first
	if !bytes.Equal(c.auth(alice), before) {
		t.Fatal("Commit moved the state")
	}
	// A proposal that bob has read comes again with a commit that failed, and with the one that does not.
	handle := &mlsclient.HandleCommitRequest{StateId: bob, Proposal: [][]byte{own.GetProposal()}, Commit: own.GetProposal()}
	_, err := try[*mlsclient.HandleCommitResponse](c, "HandleCommit", handle)
	wantCode(t, "a proposal as a commit", err, codes.InvalidArgument)
	handle.Commit = out.GetCommit()
	followed := do[*mlsclient.HandleCommitResponse](c, "HandleCommit", handle)
	mine := c.pending(alice)
	if !bytes.Equal(mine.GetEpochAuthenticator(), followed.GetEpochAuthenticator()) || bytes.Equal(mine.GetEpochAuthenticator(), before) {
		t.Fatal("the committer and the other one are not in the same new epoch")
	}
	_, err = try[*mlsclient.HandleCommitResponse](c, "HandlePendingCommit", &mlsclient.HandlePendingCommitRequest{StateId: mine.GetStateId()})
	wantCode(t, "nothing pending", err, codes.FailedPrecondition)
	// With the next commit the old proposal may come once more; what is not of any epoch may not.
	out = do[*mlsclient.CommitResponse](c, "Commit", &mlsclient.CommitRequest{StateId: mine.GetStateId()})
	handle.StateId, handle.Commit = followed.GetStateId(), out.GetCommit()
	do[*mlsclient.HandleCommitResponse](c, "HandleCommit", handle)
	handle.Proposal = [][]byte{own.GetProposal()[1:]}
	_, err = try[*mlsclient.HandleCommitResponse](c, "HandleCommit", handle)
	wantCode(t, "a proposal that does not parse", err, codes.InvalidArgument)
}

func TestEarlierEpochsStayReadable(t *testing.T) {
	c := newCaller(t)
	alice, bob := c.pair()
	protect := func(id uint32, text string) []byte {
		return do[*mlsclient.ProtectResponse](c, "Protect", &mlsclient.ProtectRequest{StateId: id, Plaintext: []byte(text)}).GetCiphertext()
	}
	late, first := protect(alice, "late"), bob
	for range epochsWhole + 2 {
		out := do[*mlsclient.CommitResponse](c, "Commit", &mlsclient.CommitRequest{StateId: alice})
		alice = c.pending(alice).GetStateId()
		bob = do[*mlsclient.HandleCommitResponse](c, "HandleCommit", &mlsclient.HandleCommitRequest{StateId: bob, Commit: out.GetCommit()}).GetStateId()
	}
	read := &mlsclient.UnprotectRequest{StateId: bob, Ciphertext: late}
	if r := do[*mlsclient.UnprotectResponse](c, "Unprotect", read); string(r.GetPlaintext()) != "late" {
		t.Fatalf("read %q", r.GetPlaintext())
	}
	_, err := try[*mlsclient.UnprotectResponse](c, "Unprotect", &mlsclient.UnprotectRequest{StateId: first, Ciphertext: late})
	wantCode(t, "the same message by an earlier state", err, codes.FailedPrecondition)
	_, err = try[*mlsclient.ProtectResponse](c, "Protect", &mlsclient.ProtectRequest{StateId: first})
	wantCode(t, "sending in an old epoch", err, codes.FailedPrecondition)
	_, err = try[*mlsclient.UnprotectResponse](c, "Unprotect", &mlsclient.UnprotectRequest{StateId: alice, Ciphertext: protect(alice, "own")})
	wantCode(t, "an own message", err, codes.FailedPrecondition)

	do[*mlsclient.FreeResponse](c, "Free", &mlsclient.FreeRequest{StateId: bob})
	for _, id := range []uint32{first, bob} {
		_, err = try[*mlsclient.StateAuthResponse](c, "StateAuth", &mlsclient.StateAuthRequest{StateId: id})
		wantCode(t, "a state that was freed", err, codes.NotFound)
	}
	if n := len(c.server.table.entries); n != epochsWhole+4 {
		t.Errorf("%d entries are left, want alice's %d", n, epochsWhole+4)
	}
}

func TestARemovedMemberIsTold(t *testing.T) {
	c := newCaller(t)
	alice, bob := c.pair()
	out := do[*mlsclient.CommitResponse](c, "Commit", &mlsclient.CommitRequest{StateId: alice, ByValue: []*mlsclient.ProposalDescription{
		{ProposalType: []byte("remove"), RemovedId: []byte("bob")},
	}})
	_, err := try[*mlsclient.HandleCommitResponse](c, "HandleCommit", &mlsclient.HandleCommitRequest{StateId: bob, Commit: out.GetCommit()})
	wantCode(t, "the commit that removes", err, codes.FailedPrecondition)
	late := do[*mlsclient.ProtectResponse](c, "Protect", &mlsclient.ProtectRequest{StateId: bob, Plaintext: []byte("bye")})
	alice = c.pending(alice).GetStateId()
	r := do[*mlsclient.UnprotectResponse](c, "Unprotect", &mlsclient.UnprotectRequest{StateId: alice, Ciphertext: late.GetCiphertext()})
	if string(r.GetPlaintext()) != "bye" {
		t.Fatalf("read %q", r.GetPlaintext())
	}
}

// TestEveryCallRefusesWhatItIsNotFor asks every call that takes an id for one that nothing has, and for a signer where none is meant.
func TestEveryCallRefusesWhatItIsNotFor(t *testing.T) {
	c := newCaller(t)
	signer := do[*mlsclient.CreateExternalSignerResponse](c, "CreateExternalSigner", &mlsclient.CreateExternalSignerRequest{CipherSuite: 1}).GetSignerId()
	methods := mlsclient.File_internal_interop_mlsclient_mls_client_proto.Services().Get(0).Methods()
	probed := 0
	for i := range methods.Len() {
		m := methods.Get(i)
		fields := m.Input().Fields()
		for j := range fields.Len() {
			field := fields.Get(j)
			if field.Kind() != protoreflect.Uint32Kind || !strings.HasSuffix(string(field.Name()), "_id") {
				continue
			}
			probed++
			for _, id := range []uint32{0, 999_999, signer} {
				if id == signer && (field.Name() == "signer_id" || m.Name() == "StorePSK" || m.Name() == "Free") {
					continue
				}
				request := protowire.AppendVarint(protowire.AppendTag(nil, field.Number(), protowire.VarintType), uint64(id))
				_, err := c.server.invoke(string(m.Name()), request)
				wantCode(t, fmt.Sprintf("%s of %s %d", m.Name(), field.Name(), id), err, codes.NotFound)
			}
		}
	}
	if probed < 25 {
		t.Errorf("only %d fields were probed", probed)
	}
}

func TestAFullTableSaysSo(t *testing.T) {
	c := &caller{t: t, server: NewServer(Config{StatesMax: 3})}
	alice := c.create("alice")
	c.keyPackage("bob")
	c.keyPackage("carol")
	_, err := try[*mlsclient.CreateGroupResponse](c, "CreateGroup", &mlsclient.CreateGroupRequest{CipherSuite: 1})
	wantCode(t, "one too many", err, codes.ResourceExhausted)
	do[*mlsclient.CommitResponse](c, "Commit", &mlsclient.CommitRequest{StateId: alice})
	_, err = try[*mlsclient.HandleCommitResponse](c, "HandlePendingCommit", &mlsclient.HandlePendingCommitRequest{StateId: alice})
	wantCode(t, "an epoch too many", err, codes.ResourceExhausted)
	for _, e := range c.server.table.entries {
		if e.owner().identity == "bob" {
			e.owner().used = time.Now().Add(-2 * idle) // nobody asks for him any more
		}
	}
	c.pending(alice)
}

// TestMembersAreServedSideBySide lets many callers work on the same members at once; the race detector watches.
func TestMembersAreServedSideBySide(t *testing.T) {
	c := newCaller(t)
	alice, bob := c.pair()
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			mine := &caller{t: t, server: c.server}
			for range 20 {
				said := do[*mlsclient.ProtectResponse](mine, "Protect", &mlsclient.ProtectRequest{StateId: alice, Plaintext: []byte{byte(n)}})
				r := do[*mlsclient.UnprotectResponse](mine, "Unprotect", &mlsclient.UnprotectRequest{StateId: bob, Ciphertext: said.GetCiphertext()})
				if !bytes.Equal(r.GetPlaintext(), []byte{byte(n)}) {
					t.Errorf("read %x", r.GetPlaintext())
				}
				do[*mlsclient.ProposalResponse](mine, "UpdateProposal", &mlsclient.UpdateProposalRequest{StateId: bob})
				do[*mlsclient.CommitResponse](mine, "Commit", &mlsclient.CommitRequest{StateId: alice})
			}
		})
	}
	wait.Wait()
}
