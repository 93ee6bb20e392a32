package interop

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"parley/internal/interop/mlsclient"
	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// joining is a client whose key package is out and whose Welcome has not come.
type joining struct {
	client   *client
	identity mlsengine.SigningIdentity
	offered  *mlsengine.KeyPackage
	secrets  mlsengine.KeyPackageSecrets

	mu     sync.Mutex
	joined bool // the key package is used up
}

func (*joining) kind() string     { return "a pending join" }
func (j *joining) owner() *client { return j.client }

// newJoining makes a key package for an identity, old or new.
func (s *Server) newJoining(of *suite.Suite, name []byte) (*joining, error) {
	identity, err := newIdentity(of, name)
	if err != nil {
		return nil, err
	}
	j := &joining{client: newClient(name), identity: identity}
	j.offered, j.secrets, err = mlsengine.NewKeyPackage(mlsengine.KeyPackageParams{
		Suite: of.ID(), Identity: identity, Lifetime: validity(), Capabilities: capabilities(),
	}, s.env(&j.identity))
	return j, err
}

// join is what a client does with a Welcome.
type join struct {
	of      *joining
	welcome []byte
	tree    []byte                 // empty when the Welcome carries it
	encrypt bool                   // the handshake messages to come
	origin  *mlsengine.PublicGroup // the group that this one continues or branches from
	psks    mlsengine.PSKStore
}

// join enters a group by Welcome as a new member of it.
func (s *Server) join(j join) (*state, error) {
	j.of.mu.Lock()
	defer j.of.mu.Unlock()
	if j.of.joined {
		return nil, status.Error(codes.FailedPrecondition, "the key package was used")
	}
	message, err := mlsengine.ParseMessage(j.welcome)
	if err != nil {
		return nil, err
	}
	welcome := message.Welcome()
	if welcome == nil {
		return nil, status.Error(codes.InvalidArgument, "the message is not a Welcome")
	}
	tree, err := parseTree(welcome.CipherSuite, j.tree)
	if err != nil {
		return nil, err
	}
	g, err := mlsengine.JoinFromWelcome(welcome, mlsengine.JoinInput{
		KeyPackage: j.of.offered, Secrets: j.of.secrets, Identity: j.of.identity, Tree: tree, PSKs: j.psks, Origin: j.origin,
	})
	if err != nil {
		return nil, err
	}
	m := &member{server: s, client: j.of.client, identity: j.of.identity, encrypt: j.encrypt}
	st, err := m.begin(g)
	j.of.joined = err == nil
	return st, err
}

// parseTree reads a tree that came by itself, or nothing.
func parseTree(id mlsengine.CipherSuite, b []byte) (*mlsengine.RatchetTree, error) {
	if len(b) == 0 {
		return nil, nil
	}
	tree, err := mlsengine.ParseRatchetTree(id, b)
	if err != nil {
		return nil, prefixed(err, "ratchet tree")
	}
	return tree, nil
}

// parseGroupInfo reads an MLSMessage with a GroupInfo.
func parseGroupInfo(b []byte) (*mlsengine.GroupInfo, error) {
	message, err := mlsengine.ParseMessage(b)
	if err != nil {
		return nil, err
	}
	gi := message.GroupInfo()
	if gi == nil {
		return nil, status.Error(codes.InvalidArgument, "the message is not a GroupInfo")
	}
	return gi, nil
}

// newMember is somebody with a new signature key of a suite, who is in no group yet.
func (s *Server) newMember(id uint32, name []byte, encrypt bool) (*member, error) {
	of, err := suiteOf(id)
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(of, name)
	if err != nil {
		return nil, err
	}
	return &member{server: s, client: newClient(name), identity: identity, encrypt: encrypt}, nil
}

// CreateGroup makes a group of one.
func (s *Server) CreateGroup(_ context.Context, r *mlsclient.CreateGroupRequest) (*mlsclient.CreateGroupResponse, error) {
	m, err := s.newMember(r.GetCipherSuite(), r.GetIdentity(), r.GetEncryptHandshake())
	if err != nil {
		return nil, err
	}
	g, err := mlsengine.NewGroup(mlsengine.GroupParams{
		GroupID: r.GetGroupId(), Suite: mlsengine.CipherSuite(r.GetCipherSuite()), Identity: m.identity, Capabilities: capabilities(), Lifetime: validity(),
	}, m.env())
	if err != nil {
		return nil, err
	}
	st, err := m.begin(g)
	if err != nil {
		return nil, err
	}
	return &mlsclient.CreateGroupResponse{StateId: st.id}, nil
}

// CreateKeyPackage begins a join.
func (s *Server) CreateKeyPackage(_ context.Context, r *mlsclient.CreateKeyPackageRequest) (*mlsclient.CreateKeyPackageResponse, error) {
	of, err := suiteOf(r.GetCipherSuite())
	if err != nil {
		return nil, err
	}
	j, err := s.newJoining(of, r.GetIdentity())
	if err != nil {
		return nil, err
	}
	id, err := s.table.add(j)
	if err != nil {
		return nil, err
	}
	return &mlsclient.CreateKeyPackageResponse{
		TransactionId: id, KeyPackage: j.offered.Message(),
		InitPriv: j.secrets.InitKey.Expose(), EncryptionPriv: j.secrets.LeafKey.Expose(), SignaturePriv: j.identity.Key.Raw().Expose(),
	}, nil
}

// JoinGroup ends a join. The key package cannot be used again.
func (s *Server) JoinGroup(_ context.Context, r *mlsclient.JoinGroupRequest) (*mlsclient.JoinGroupResponse, error) {
	j, err := find[*joining](s.table, r.GetTransactionId())
	if err != nil {
		return nil, err
	}
	if err := j.isFor(r.GetIdentity()); err != nil {
		return nil, err
	}
	st, err := s.join(join{
		of: j, welcome: r.GetWelcome(), tree: r.GetRatchetTree(), encrypt: r.GetEncryptHandshake(), psks: pskStore{j.client, s.table},
	})
	if err != nil {
		return nil, err
	}
	s.table.drop(r.GetTransactionId())
	return &mlsclient.JoinGroupResponse{StateId: st.id, EpochAuthenticator: st.group.EpochAuthenticator()}, nil
}

// isFor checks that the identity of a request is the key package's; none is any.
func (j *joining) isFor(identity []byte) error {
	if len(identity) > 0 && string(identity) != j.client.identity {
		return status.Error(codes.InvalidArgument, "the key package is of another identity")
	}
	return nil
}
