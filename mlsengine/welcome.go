package mlsengine

import (
	"bytes"
	"errors"

	"parley/internal/secret"
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// Welcome lets new members join the epoch their Add created (§12.4.3.1). A
// Welcome must not be changed.
type Welcome struct {
	CipherSuite        CipherSuite
	Secrets            []EncryptedGroupSecrets
	EncryptedGroupInfo []byte
}

// Code walks the Welcome struct of §12.4.3.1.
func (w *Welcome) Code(c *syntax.Coder) {
	syntax.Uint16(c, &w.CipherSuite)
	syntax.Vector(c, &w.Secrets)
	syntax.Opaque(c, &w.EncryptedGroupInfo)
}

// EncryptedGroupSecrets is the part of a Welcome for one new member (§12.4.3.1).
type EncryptedGroupSecrets struct {
	NewMember             KeyPackageRef
	EncryptedGroupSecrets HPKECiphertext
}

// Code walks the EncryptedGroupSecrets struct of §12.4.3.1.
func (e *EncryptedGroupSecrets) Code(c *syntax.Coder) {
	syntax.Opaque(c, &e.NewMember)
	e.EncryptedGroupSecrets.Code(c)
}

// groupSecrets is what a new member learns (§12.4.3.1).
type groupSecrets struct {
	joiner joinerSecret
	path   *pathSecret
	psks   []PreSharedKeyID
}

// Code walks the GroupSecrets struct of §12.4.3.1.
func (g *groupSecrets) Code(c *syntax.Coder) {
	codeSecret(c, &g.joiner.Bytes)
	syntax.Optional(c, &g.path)
	syntax.Vector(c, &g.psks)
}

// Code walks the PathSecret struct of §12.4.3.1.
func (p *pathSecret) Code(c *syntax.Coder) { codeSecret(c, &p.Bytes) }

// newcomer is a member a Welcome is for.
type newcomer struct {
	keyPackage *KeyPackage
	secrets    groupSecrets
}

// sealWelcome encrypts a GroupInfo and each newcomer's secrets (§12.4.3.1).
func sealWelcome(s *suite.Suite, member memberSecret, gi *GroupInfo, newcomers []newcomer, env Env) (*Welcome, error) {
	welcome := member.welcomeSecret(s)
	key, nonce := welcome.keyAndNonce(s)
	plain := syntax.Append(make([]byte, 0, gi.sizeHint()+s.AEADOverhead()), gi)
	sealed, err := s.SealAEADInPlace(key.Expose(), nonce.Expose(), nil, plain)
	if err != nil {
		return nil, err
	}
	w := &Welcome{CipherSuite: s.ID(), EncryptedGroupInfo: sealed, Secrets: make([]EncryptedGroupSecrets, len(newcomers))}
	entropy := make([][]byte, len(newcomers))
	draw := func(i int) { entropy[i] = env.draw("welcome", s.HPKEEntropySize()) }
	encryption := s.Encryption("Welcome", sealed)
	return w, eachPrepared(len(newcomers), draw, func(i int) error {
		n := &newcomers[i]
		plain := syntax.Encode(&n.secrets)
		defer clear(plain)
		kem, ciphertext, err := encryption.Encrypt(n.keyPackage.InitKey, plain, entropy[i])
		w.Secrets[i] = EncryptedGroupSecrets{n.keyPackage.Ref(), HPKECiphertext{kem, ciphertext}}
		return err
	})
}

// JoinInput is what a client brings along to join by Welcome.
type JoinInput struct {
	KeyPackage *KeyPackage
	Secrets    KeyPackageSecrets
	Identity   SigningIdentity
	Tree       *RatchetTree // when the Welcome does not carry it
	PSKs       PSKStore
	Origin     *PublicGroup // the group this one reinitializes or branches from, in the epoch its PSK names
	Identify   Identifier   // compares the members with Origin's, as Env.Identify
}

// ErrKeyPackageSecrets is returned where private keys do not belong to their
// key package.
var ErrKeyPackageSecrets = errors.New("mlsengine: the private keys are not those of the key package")

// JoinFromWelcome joins the epoch that a Welcome describes (§12.4.3.1). The
// caller checks that it is not in a group of that id already.
func JoinFromWelcome(w *Welcome, in JoinInput) (*Group, error) {
	if w == nil {
		return nil, broken(MalformedMessage, "no Welcome")
	}
	s, err := suite.Get(w.CipherSuite)
	if err != nil {
		return nil, broken(UnsupportedCipherSuite, "%d", w.CipherSuite)
	}
	secrets, err := w.open(s, in)
	if err != nil {
		return nil, err
	}
	psk, err := joinPSKs(s, secrets.psks, in)
	if err != nil {
		return nil, err
	}
	member := deriveMemberSecret(s, secrets.joiner, psk)
	defer member.Wipe()
	secrets.joiner.Wipe()
	psk.Wipe()
	gi, err := w.openGroupInfo(s, member)
	if err != nil {
		return nil, err
	}
	if gi.GroupContext.CipherSuite != w.CipherSuite {
		return nil, broken(WelcomeCipherSuite, "GroupInfo has cipher suite %d", gi.GroupContext.CipherSuite)
	}
	if t, found := lacking(gi.GroupContext.Extensions.types(), in.KeyPackage.LeafNode.Capabilities.supported()); found {
		return nil, broken(GroupInfoExtension, "extension type %d", t)
	}
	public, err := NewPublicGroup(gi, in.Tree)
	if err != nil {
		return nil, err
	}
	if err := checkOrigin(public, secrets.psks, in.Origin, in.Identify); err != nil {
		return nil, err
	}
	own, err := public.tree.find(&in.KeyPackage.LeafNode)
	if err != nil {
		return nil, err
	}
	keys, err := welcomeKeys(public.tree, own, gi.Signer, secrets.path, in.Secrets.LeafKey)
	if err != nil {
		return nil, err
	}
	derived, roots := deriveEpoch(s, member, syntax.Encode(&public.context))
	if err := derived.confirmation.verify(s, public.context.ConfirmedTranscriptHash, public.confirmationTag); err != nil {
		return nil, err
	}
	return &Group{
		public: public, own: own, keys: keys, secrets: derived,
		ratchets: newSecretTree(s, roots.encryption, public.tree.size), exports: newExportTree(s, roots.export),
	}, nil
}

// open finds the entry for our key package and decrypts it.
func (w *Welcome) open(s *suite.Suite, in JoinInput) (*groupSecrets, error) {
	if !bytes.Equal(in.Identity.Public, in.KeyPackage.LeafNode.SignatureKey) {
		return nil, ErrKeyPackageSecrets
	}
	if in.KeyPackage.CipherSuite != w.CipherSuite {
		return nil, broken(WelcomeCipherSuite, "Welcome has %d, key package %d", w.CipherSuite, in.KeyPackage.CipherSuite)
	}
	initKey, err := s.ParseHPKEPrivateKey(in.Secrets.InitKey.Expose())
	if err != nil {
		return nil, ErrKeyPackageSecrets
	}
	ref := in.KeyPackage.Ref()
	for i := range w.Secrets {
		entry := &w.Secrets[i]
		if !bytes.Equal(entry.NewMember, ref) {
			continue
		}
		sealed := &entry.EncryptedGroupSecrets
		plain, err := s.DecryptWithLabel(initKey, "Welcome", w.EncryptedGroupInfo, sealed.KEMOutput, sealed.Ciphertext)
		if err != nil {
			return nil, broken(WelcomeSecrets, "do not decrypt")
		}
		secrets, err := syntax.Decode[groupSecrets](plain)
		clear(plain)
		if err != nil {
			return nil, broken(WelcomeSecrets, "%v", err)
		}
		return &secrets, nil
	}
	return nil, broken(WelcomeNotForUs, "%d entries", len(w.Secrets))
}

// openGroupInfo decrypts the GroupInfo.
func (w *Welcome) openGroupInfo(s *suite.Suite, member memberSecret) (*GroupInfo, error) {
	welcome := member.welcomeSecret(s)
	key, nonce := welcome.keyAndNonce(s)
	plain, err := s.OpenAEAD(key.Expose(), nonce.Expose(), nil, w.EncryptedGroupInfo)
	if err != nil {
		return nil, broken(WelcomeGroupInfo, "does not decrypt")
	}
	gi, err := syntax.Decode[GroupInfo](plain)
	if err != nil {
		return nil, broken(WelcomeGroupInfo, "%v", err)
	}
	return &gi, nil
}

// find returns the place of a leaf in the tree.
func (t *RatchetTree) find(leaf *LeafNode) (LeafIndex, error) {
	for i, other := range t.Members {
		if bytes.Equal(other.EncryptionKey, leaf.EncryptionKey) && other.Equal(leaf) {
			return i, nil
		}
	}
	return 0, broken(WelcomeLeaf, "%d leaves", t.size)
}

// welcomeKeys collects the private keys of a new member: its leaf's, and those
// from the lowest node above it and the committer to the root (§12.4.3.1).
func welcomeKeys(tree *RatchetTree, own, signer LeafIndex, path *pathSecret, leafKey secret.Bytes) (nodeKeys, error) {
	s := tree.suite
	private, err := s.ParseHPKEPrivateKey(leafKey.Expose())
	if err != nil {
		return nil, ErrKeyPackageSecrets
	}
	public, err := s.PublicHPKEKey(private)
	if err != nil || !bytes.Equal(public, tree.leaf(own).EncryptionKey) {
		return nil, ErrKeyPackageSecrets
	}
	keys := nodeKeys{{own.Node(), private}}
	if path == nil {
		return keys, nil
	}
	steps, nodes, err := tree.sharedPath(own, signer)
	if err != nil {
		return nil, err
	}
	above, last, err := climb(s, steps, nodes, *path)
	path.Wipe()
	last.Wipe()
	if err != nil {
		return nil, broken(WelcomePathSecret, "%v", err)
	}
	return keys.moved(tree, tree, above), nil
}

// sharedPath lists the non-blank nodes from the lowest common ancestor of two
// leaves to the root, with their keys. The first must not be blank: the path
// secret is for it.
func (t *RatchetTree) sharedPath(own, signer LeafIndex) (steps []pathStep, keys []suite.HPKEPublicKey, err error) {
	if own == signer {
		return nil, nil, broken(GroupInfoSigner, "the signer is the new member itself")
	}
	ancestor := t.size.CommonAncestor(own, signer)
	if t.at(ancestor).parent == nil {
		return nil, nil, broken(WelcomePathSecret, "node %d is blank", ancestor)
	}
	for _, step := range t.directPath(own) {
		if step.node.Level() < ancestor.Level() || t.at(step.node).parent == nil {
			continue
		}
		steps = append(steps, step)
		keys = append(keys, t.at(step.node).encryptionKey())
	}
	return steps, keys, nil
}

// joinPSKs finds the keys a Welcome names and combines them (§8.4). Unlike those
// of proposals (§12.1.4), their nonces may have any length: others make the one
// for a successor as long as a hash of the closed group, and a joiner has nothing
// to gain from staying away.
func joinPSKs(s *suite.Suite, ids []PreSharedKeyID, in JoinInput) (pskSecret, error) {
	linked := 0
	for i := range ids {
		if ids[i].linksGroups() {
			linked++
		}
	}
	if linked > 1 {
		return pskSecret{}, broken(WelcomePSKs, "%d of them", linked)
	}
	return findPSKs(s, ids, func(id PreSharedKeyID) ([]byte, bool) {
		if in.PSKs == nil {
			return nil, false
		}
		return in.PSKs.PSK(id)
	})
}

// linksGroups reports whether the key ties a new group to an older one
// (§11.2, §11.3).
func (p *PreSharedKeyID) linksGroups() bool {
	return p.Type == PSKTypeResumption && p.Usage != ResumptionPSKUsageApplication
}

// findPSKs looks the keys up in their order and combines them (§8.4).
func findPSKs(s *suite.Suite, ids []PreSharedKeyID, find func(PreSharedKeyID) ([]byte, bool)) (pskSecret, error) {
	keys := make([][]byte, len(ids))
	for i, id := range ids {
		key, known := find(id)
		if !known {
			return pskSecret{}, broken(PSKUnknown, "PSK %d of %d", i+1, len(ids))
		}
		keys[i] = key
	}
	return derivePSKSecret(s, ids, keys)
}
