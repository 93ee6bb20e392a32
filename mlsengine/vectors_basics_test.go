package mlsengine

import (
	"fmt"
	"testing"

	"parley/internal/syntax"
	"parley/mlsengine/suite"
	"parley/mlsengine/treemath"
)

type treeMathVector struct {
	Leaves  uint32    `json:"n_leaves"`
	Nodes   uint32    `json:"n_nodes"`
	Root    uint32    `json:"root"`
	Left    []*uint32 `json:"left"`
	Right   []*uint32 `json:"right"`
	Parent  []*uint32 `json:"parent"`
	Sibling []*uint32 `json:"sibling"`
}

func TestTreeMathVectors(t *testing.T) {
	eachVector(t, "tree-math", generateTreeMath, func(t *testing.T, v *treeMathVector) {
		n := treemath.SizeFor(v.Leaves)
		if uint32(n) != v.Leaves || n.Width() != v.Nodes || uint32(n.Root()) != v.Root {
			t.Fatalf("size %d: width %d, root %d", n, n.Width(), n.Root())
		}
		for name, f := range map[string]struct {
			of   func(treemath.NodeIndex) (treemath.NodeIndex, bool)
			want []*uint32
		}{
			"left": {n.Left, v.Left}, "right": {n.Right, v.Right}, "parent": {n.Parent, v.Parent}, "sibling": {n.Sibling, v.Sibling},
		} {
			if len(f.want) != int(v.Nodes) {
				t.Fatalf("%s has %d entries", name, len(f.want))
			}
			for x, want := range f.want {
				got, ok := f.of(treemath.NodeIndex(x))
				if ok != (want != nil) || ok && uint32(got) != *want {
					t.Errorf("%s of %d is %d, %v", name, x, got, ok)
				}
			}
		}
	})
}

// generateTreeMath numbers trees by walking them from the root down, which
// knows nothing of the bit tricks that it checks.
func generateTreeMath(*testing.T) []treeMathVector {
	var cases []treeMathVector
	for leaves := uint32(1); leaves <= 64; leaves *= 2 {
		n := 2*leaves - 1
		v := treeMathVector{Leaves: leaves, Nodes: n}
		v.Left, v.Right, v.Parent, v.Sibling = make([]*uint32, n), make([]*uint32, n), make([]*uint32, n), make([]*uint32, n)
		v.Root = v.number(0, n)
		cases = append(cases, v)
	}
	return cases
}

// number fills in the subtree of n nodes that begins at first and gives its root.
func (v *treeMathVector) number(first, n uint32) uint32 {
	root := first + n/2
	if n == 1 {
		return root
	}
	left, right := v.number(first, n/2), v.number(root+1, n/2)
	v.Left[root], v.Right[root] = &left, &right
	v.Parent[left], v.Parent[right] = &root, &root
	v.Sibling[left], v.Sibling[right] = &right, &left
	return root
}

func generateDeserialization(*testing.T) []deserializationVector {
	return []deserializationVector{
		{hexBytes{0}, 0}, {hexBytes{0x2a}, 42}, {hexBytes{0x3f}, 63}, {hexBytes{0x40, 0x40}, 64}, {hexBytes{0x51, 0x02}, 4354},
		{hexBytes{0x7f, 0xff}, 16383}, {hexBytes{0x80, 0, 0x40, 0}, 16384}, {hexBytes{0x80, 0x12, 0x34, 0x56}, 0x123456}, {hexBytes{0xbf, 0xff, 0xff, 0xff}, 1<<30 - 1},
	}
}

type deserializationVector struct {
	Header hexBytes `json:"vlbytes_header"`
	Length int      `json:"length"`
}

type opaqueField struct{ b []byte }

func (o *opaqueField) Code(c *syntax.Coder) { syntax.Opaque(c, &o.b) }

func TestDeserializationVectors(t *testing.T) {
	eachVector(t, "deserialization", generateDeserialization, func(t *testing.T, v *deserializationVector) {
		wantBytes(t, "header", syntax.AppendLength(nil, v.Length), v.Header)
		if v.Length > 1<<24 {
			return // the body would be hundreds of megabytes; the header was checked
		}
		got, err := syntax.Decode[opaqueField](append(v.Header, make([]byte, v.Length)...))
		if err != nil || len(got.b) != v.Length {
			t.Errorf("read %d bytes, %v", len(got.b), err)
		}
	})
}

type cryptoBasicsVector struct {
	Suite   suite.ID `json:"cipher_suite"`
	RefHash struct {
		Label string   `json:"label"`
		Value hexBytes `json:"value"`
		Out   hexBytes `json:"out"`
	} `json:"ref_hash"`
	Expand struct {
		Secret  hexBytes `json:"secret"`
		Label   string   `json:"label"`
		Context hexBytes `json:"context"`
		Length  int      `json:"length"`
		Out     hexBytes `json:"out"`
	} `json:"expand_with_label"`
	Derive struct {
		Label  string   `json:"label"`
		Out    hexBytes `json:"out"`
		Secret hexBytes `json:"secret"`
	} `json:"derive_secret"`
	Tree struct {
		Secret     hexBytes `json:"secret"`
		Label      string   `json:"label"`
		Generation uint32   `json:"generation"`
		Length     int      `json:"length"`
		Out        hexBytes `json:"out"`
	} `json:"derive_tree_secret"`
	Sign struct {
		Private   hexBytes `json:"priv"`
		Public    hexBytes `json:"pub"`
		Content   hexBytes `json:"content"`
		Label     string   `json:"label"`
		Signature hexBytes `json:"signature"`
	} `json:"sign_with_label"`
	Encrypt struct {
		Private    hexBytes `json:"priv"`
		Public     hexBytes `json:"pub"`
		Label      string   `json:"label"`
		Context    hexBytes `json:"context"`
		Plaintext  hexBytes `json:"plaintext"`
		KEMOutput  hexBytes `json:"kem_output"`
		Ciphertext hexBytes `json:"ciphertext"`
	} `json:"encrypt_with_label"`
}

func TestCryptoBasicsVectors(t *testing.T) {
	seen := map[suite.ID]bool{}
	eachVector(t, "crypto-basics", generateCryptoBasics, func(t *testing.T, v *cryptoBasicsVector) {
		seen[v.Suite] = true
		s, err := suite.Get(v.Suite)
		if err != nil {
			t.Fatal(err)
		}
		wantBytes(t, "RefHash", s.RefHash(v.RefHash.Label, v.RefHash.Value), v.RefHash.Out)
		wantBytes(t, "ExpandWithLabel", s.ExpandWithLabel(v.Expand.Secret, v.Expand.Label, v.Expand.Context, v.Expand.Length), v.Expand.Out)
		wantBytes(t, "DeriveSecret", s.DeriveSecret(v.Derive.Secret, v.Derive.Label), v.Derive.Out)
		wantBytes(t, "DeriveTreeSecret", s.DeriveTreeSecret(v.Tree.Secret, v.Tree.Label, v.Tree.Generation, v.Tree.Length), v.Tree.Out)
		checkSignVector(t, s, v)
		checkEncryptVector(t, s, v)
	})
	wantEverySuite(t, seen)
}

// wantEverySuite fails when a kind of vectors left a suite out.
func wantEverySuite(t *testing.T, seen map[suite.ID]bool) {
	t.Helper()
	for _, id := range suite.IDs() {
		if !seen[id] {
			t.Errorf("no case for %v", id)
		}
	}
}

func checkSignVector(t *testing.T, s *suite.Suite, v *cryptoBasicsVector) {
	t.Helper()
	key, err := s.ParseSignaturePrivateKey(v.Sign.Private)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := s.PublicSignatureKey(key)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "signature public key", pub, v.Sign.Public)
	if err := s.VerifyWithLabel(suite.SignaturePublicKey(v.Sign.Public), v.Sign.Label, v.Sign.Content, v.Sign.Signature); err != nil {
		t.Error(err)
	}
	signature, err := s.SignWithLabel(key, v.Sign.Label, v.Sign.Content)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.VerifyWithLabel(pub, v.Sign.Label, v.Sign.Content, signature); err != nil {
		t.Error(err)
	}
	if err := s.VerifyWithLabel(pub, v.Sign.Label+"x", v.Sign.Content, signature); err == nil {
		t.Error("verifies under another label")
	}
	again, err := s.SignWithLabel(key, v.Sign.Label, v.Sign.Content)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "second signature", again, signature)
}

func checkEncryptVector(t *testing.T, s *suite.Suite, v *cryptoBasicsVector) {
	t.Helper()
	e := &v.Encrypt
	key, err := s.ParseHPKEPrivateKey(e.Private)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := s.PublicHPKEKey(key)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "HPKE public key", pub, e.Public)
	plaintext, err := s.DecryptWithLabel(key, e.Label, e.Context, e.KEMOutput, e.Ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "plaintext", plaintext, e.Plaintext)
	entropy := newSeededEntropy("crypto-basics").Draw("hpke", s.HPKEEntropySize())
	kemOutput, ciphertext, err := s.EncryptWithLabel(pub, e.Label, e.Context, e.Plaintext, entropy)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err = s.DecryptWithLabel(key, e.Label, e.Context, kemOutput, ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "own plaintext", plaintext, e.Plaintext)
	if _, err := s.DecryptWithLabel(key, e.Label+"x", e.Context, kemOutput, ciphertext); err == nil {
		t.Error("decrypts under another label")
	}
}

func generateCryptoBasics(t *testing.T) []cryptoBasicsVector {
	var cases []cryptoBasicsVector
	for i, id := range append(suite.IDs(), suite.IDs()...) {
		v := cryptoBasicsVector{Suite: id}
		s, err := suite.Get(v.Suite)
		if err != nil {
			t.Fatal(err)
		}
		e := newSeededEntropy(fmt.Sprintf("crypto-basics %d", i))
		v.RefHash.Label, v.RefHash.Value = "RefHash", e.Draw("value", 40*i)
		v.RefHash.Out = s.RefHash(v.RefHash.Label, v.RefHash.Value)
		x := &v.Expand
		x.Secret, x.Label, x.Context, x.Length = e.Draw("secret", s.HashSize()), "ExpandWithLabel", e.Draw("context", 30*i), 20*i+1
		x.Out = s.ExpandWithLabel(x.Secret, x.Label, x.Context, x.Length)
		v.Derive.Secret, v.Derive.Label = e.Draw("secret", s.HashSize()), "DeriveSecret"
		v.Derive.Out = s.DeriveSecret(v.Derive.Secret, v.Derive.Label)
		g := &v.Tree
		g.Secret, g.Label, g.Generation, g.Length = e.Draw("secret", s.HashSize()), "DeriveTreeSecret", uint32(1)<<(2*i), s.AEADKeySize()
		g.Out = s.DeriveTreeSecret(g.Secret, g.Label, g.Generation, g.Length)
		generateSign(t, s, e, &v)
		generateEncrypt(t, s, e, &v)
		cases = append(cases, v)
	}
	return cases
}

func generateSign(t *testing.T, s *suite.Suite, e *seededEntropy, v *cryptoBasicsVector) {
	key, pub, err := s.GenerateSignatureKeyPair(e.Draw("signature key", s.SignatureSeedSize()))
	if err != nil {
		t.Fatal(err)
	}
	v.Sign.Private, v.Sign.Public = key.Expose(), hexBytes(pub)
	v.Sign.Label, v.Sign.Content = "SignWithLabel", e.Draw("content", 100)
	if v.Sign.Signature, err = s.SignWithLabel(key, v.Sign.Label, v.Sign.Content); err != nil {
		t.Fatal(err)
	}
}

func generateEncrypt(t *testing.T, s *suite.Suite, e *seededEntropy, v *cryptoBasicsVector) {
	x := &v.Encrypt
	key, pub, err := s.DeriveHPKEKeyPair(e.Draw("hpke key", s.HashSize()))
	if err != nil {
		t.Fatal(err)
	}
	x.Private, x.Public = key.Expose(), hexBytes(pub)
	x.Label, x.Context, x.Plaintext = "EncryptWithLabel", e.Draw("context", 50), e.Draw("plaintext", 70)
	kemOutput, ciphertext, err := s.EncryptWithLabel(pub, x.Label, x.Context, x.Plaintext, e.Draw("hpke", s.HPKEEntropySize()))
	if err != nil {
		t.Fatal(err)
	}
	x.KEMOutput, x.Ciphertext = kemOutput, ciphertext
}
