package interop

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

const (
	// DefaultStatesMax is how many states and pending joins a server holds unless it is told otherwise.
	DefaultStatesMax = 1 << 17
	// MessageMax bounds a request and an answer, in bytes.
	MessageMax = 32 << 20
	// streamsMax bounds the calls that one connection has open.
	streamsMax = 256
	// lifetimeSlack and lifetime are how long key packages are valid, before and after now, in seconds.
	lifetimeSlack = 3600
	lifetime      = 90 * 24 * 3600
)

// Server plays clients. Its methods may be called by any number of goroutines.
type Server struct {
	mlsclient.UnimplementedMLSClientServer
	table  *table
	grease mlsengine.GREASE
}

// Config says how a server plays.
type Config struct {
	StatesMax int              // how many states, pending joins and signers it holds
	GREASE    mlsengine.GREASE // whether what its clients make holds values that others must ignore
}

// NewServer makes a server.
func NewServer(c Config) *Server { return &Server{table: newTable(c.StatesMax), grease: c.GREASE} }

// GRPC makes the gRPC server that serves s.
func (s *Server) GRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.MaxRecvMsgSize(MessageMax), grpc.MaxSendMsgSize(MessageMax), grpc.MaxConcurrentStreams(streamsMax),
		grpc.UnaryInterceptor(answer),
	)
	mlsclient.RegisterMLSClientServer(g, s)
	return g
}

// answer gives every error its status.
func answer(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	response, err := handle(ctx, request)
	if err != nil {
		return nil, asStatus(err)
	}
	return response, nil
}

// asStatus says whose fault an error is. What the caller sent breaks a rule: InvalidArgument. It is right but does not fit the state:
// FailedPrecondition. The rest is ours.
func asStatus(err error) error {
	var broken *mlsengine.RuleError
	switch {
	case isStatus(err):
		return err
	case errors.As(err, &broken):
		return status.Error(ruleCode(broken.Rule), err.Error())
	case errors.Is(err, errNoSuchMember), errors.Is(err, mlsengine.ErrNoOldLeaf):
		return status.Error(codes.NotFound, err.Error())
	case errors.Is(err, mlsengine.ErrRetired), errors.Is(err, mlsengine.ErrGenerationsExhausted):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, mlsengine.ErrExportLength), errors.Is(err, mlsengine.ErrTooLong), errors.Is(err, mlsengine.ErrKeyPackageSecrets),
		errors.Is(err, suite.ErrUnsupported):
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

func isStatus(err error) bool {
	var s interface{ GRPCStatus() *status.Status }
	return errors.As(err, &s)
}

func ruleCode(r mlsengine.Rule) codes.Code {
	switch r {
	case mlsengine.WrongEpoch, mlsengine.GroupEnded, mlsengine.PSKUnknown, mlsengine.GenerationConsumed, mlsengine.GenerationTooFar,
		mlsengine.OwnMessage, mlsengine.OwnUpdateUnknown, mlsengine.UnknownProposal:
		return codes.FailedPrecondition
	}
	return codes.InvalidArgument
}

// prefixed says where an error happened and keeps what it is.
func prefixed(err error, format string, args ...any) error {
	where := fmt.Sprintf(format, args...)
	if s, ok := status.FromError(err); ok {
		return status.Errorf(s.Code(), "%s: %s", where, s.Message())
	}
	return fmt.Errorf("%s: %w", where, err)
}

// randomness is the entropy of the system.
type randomness struct{}

// Draw implements mlsengine.Entropy.
func (randomness) Draw(_ string, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func (s *Server) env(identity *mlsengine.SigningIdentity) mlsengine.Env {
	return mlsengine.Env{Now: uint64(time.Now().Unix()), Entropy: randomness{}, Identity: identity, GREASE: s.grease}
}

func validity() mlsengine.Lifetime {
	now := uint64(time.Now().Unix())
	return mlsengine.Lifetime{NotBefore: now - lifetimeSlack, NotAfter: now + lifetime}
}

// suites lists what SupportedCiphersuites says.
func suites() []mlsengine.CipherSuite {
	var all []mlsengine.CipherSuite
	for id := suite.X25519_AES128GCM_SHA256_Ed25519; id <= suite.P384_AES256GCM_SHA384_P384; id++ {
		all = append(all, id)
	}
	return all
}

// capabilities are what every leaf of this server lists.
func capabilities() mlsengine.Capabilities {
	return mlsengine.Capabilities{
		CipherSuites: suites(),
		Credentials:  []mlsengine.CredentialType{mlsengine.CredentialTypeBasic, mlsengine.CredentialTypeX509},
	}
}

// suiteOf reads a cipher suite of a request.
func suiteOf(number uint32) (*suite.Suite, error) {
	id := suite.ID(number)
	if number > math.MaxUint16 || !slices.Contains(suites(), id) {
		return nil, status.Errorf(codes.InvalidArgument, "cipher suite %d is not supported", number)
	}
	return suite.Get(id)
}

// newIdentity makes a signature key under a basic credential.
func newIdentity(s *suite.Suite, name []byte) (mlsengine.SigningIdentity, error) {
	key, public, err := s.GenerateSignatureKeyPair(randomness{}.Draw("signature", s.SignatureSeedSize()))
	if err != nil {
		return mlsengine.SigningIdentity{}, err
	}
	return mlsengine.SigningIdentity{Credential: mlsengine.BasicCredential(name), Key: key, Public: public}, nil
}

// Name says who this is.
func (*Server) Name(context.Context, *mlsclient.NameRequest) (*mlsclient.NameResponse, error) {
	return &mlsclient.NameResponse{Name: "Parley"}, nil
}

// SupportedCiphersuites lists suites 1 to 7.
func (*Server) SupportedCiphersuites(context.Context, *mlsclient.SupportedCiphersuitesRequest) (*mlsclient.SupportedCiphersuitesResponse, error) {
	r := new(mlsclient.SupportedCiphersuitesResponse)
	for _, id := range suites() {
		r.Ciphersuites = append(r.Ciphersuites, uint32(id))
	}
	return r, nil
}

// Free forgets what an id names; with the newest state of a member all earlier ones go too.
func (s *Server) Free(_ context.Context, r *mlsclient.FreeRequest) (*mlsclient.FreeResponse, error) {
	e, err := s.table.get(r.GetStateId())
	if err != nil {
		return nil, err
	}
	if st, ok := e.(*state); ok {
		s.forget(st)
	} else {
		s.table.drop(r.GetStateId())
	}
	return new(mlsclient.FreeResponse), nil
}

// StorePSK gives an external key to a member, or to a client that is about to be one.
func (s *Server) StorePSK(_ context.Context, r *mlsclient.StorePSKRequest) (*mlsclient.StorePSKResponse, error) {
	e, err := s.table.get(r.GetStateOrTransactionId())
	if err != nil {
		return nil, err
	}
	return new(mlsclient.StorePSKResponse), e.owner().store(r.GetPskId(), r.GetPskSecret())
}
