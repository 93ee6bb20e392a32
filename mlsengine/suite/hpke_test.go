package suite

import (
	"bytes"
	"crypto/ecdh"
	"testing"

	"github.com/cloudflare/circl/hpke"
)

// circlSuite is the same combination of algorithms as circl's HPKE knows it.
func circlSuite(s *Suite) hpke.Suite {
	kdf := map[hashAlgorithm]hpke.KDF{sha2_256: hpke.KDF_HKDF_SHA256, sha2_384: hpke.KDF_HKDF_SHA384, sha2_512: hpke.KDF_HKDF_SHA512}
	aead := map[aeadAlgorithm]hpke.AEAD{aes128GCM: hpke.AEAD_AES128GCM, aes256GCM: hpke.AEAD_AES256GCM, chacha20Poly1305: hpke.AEAD_ChaCha20Poly1305}
	return hpke.NewSuite(s.kem.id(), kdf[s.hash], aead[s.aead])
}

// TestHPKEIsThatOfCircl compares every byte, as sender and as receiver, with
// contexts that are shorter and longer than what is hashed without garbage.
func TestHPKEIsThatOfCircl(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		private, public, err := s.DeriveHPKEKeyPair(pattern("ikm", s.HashSize()))
		if err != nil {
			t.Fatal(err)
		}
		pk, err := s.kemScheme().UnmarshalBinaryPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		entropy := pattern("entropy", s.HPKEEntropySize())
		for _, n := range []int{0, 100, 5000} {
			info := pattern("info", n)
			sender, err := circlSuite(s).NewSender(pk, info)
			if err != nil {
				t.Fatal(err)
			}
			enc, sealer, err := sender.Setup(bytes.NewReader(entropy))
			if err != nil {
				t.Fatal(err)
			}
			ct := must[[]byte](t)(sealer.Seal([]byte("plaintext"), nil))
			gotEnc, gotCT, err := s.encryption(info).Encrypt(public, []byte("plaintext"), entropy)
			if err != nil || !bytes.Equal(gotEnc, enc) || !bytes.Equal(gotCT, ct) {
				t.Errorf("info of %d bytes: %x %x, want %x %x (%v)", n, gotEnc, gotCT, enc, ct, err)
			}
			shared := must[[]byte](t)(s.decapsulate(private, enc))
			exported := s.encryption(info).export(shared, externalInitLabel)
			if !bytes.Equal(exported.Expose(), sealer.Export([]byte(externalInitLabel), uint(s.HashSize()))) {
				t.Errorf("info of %d bytes: another exported secret", n)
			}
		}
	})
}

// FuzzX25519AgreesWithTheStandardLibrary multiplies by and without the base
// point: same verdict, same bytes.
func FuzzX25519AgreesWithTheStandardLibrary(f *testing.F) {
	for i, p := range oddPoints() {
		f.Add(pattern("scalar", x25519Size), p)
		f.Add(bytes.Repeat([]byte{byte(i * 11)}, x25519Size), p)
	}
	for _, limbs := range [][]uint64{
		{0xaeb8413b7c7aebe0, 0x6ac49ff1fae35616, 0xfdb1329ceb8d09da, 0x00b8495f16056286},
		{0x248c50a3bc959c5f, 0x5bef839c55b1d0b1, 0x868e1c58c45c4404, 0x57119fd0dd4e22d8},
		{0x248c50a3bc959c5f, 0x5bef839c55b1d0b1, 0x868e1c58c45c4404, 0xd7119fd0dd4e22d8},
		{ones, ones, ones, ones}, {ones - 19, ones, ones, ones >> 1}, {ones - 17, ones, ones, ones},
	} {
		f.Add(pattern("scalar", x25519Size), littleEndian(limbs...))
	}
	f.Fuzz(func(t *testing.T, scalar, point []byte) {
		if len(scalar) != x25519Size || len(point) != x25519Size {
			return
		}
		private, err := ecdh.X25519().NewPrivateKey(scalar)
		if err != nil {
			t.Fatal(err)
		}
		if got := publicX25519(scalar); !bytes.Equal(got, private.PublicKey().Bytes()) {
			t.Fatalf("public key %x of %x", got, scalar)
		}
		peer, err := ecdh.X25519().NewPublicKey(point)
		if err != nil {
			t.Fatal(err)
		}
		want, err := private.ECDH(peer)
		var got [x25519Size]byte
		if ok := sharedX25519(&got, (*[x25519Size]byte)(scalar), (*[x25519Size]byte)(point)); ok != (err == nil) || ok && !bytes.Equal(got[:], want) {
			t.Fatalf("%x times %x is %x %v, want %x %v", scalar, point, got, ok, want, err)
		}
		if lowOrder25519(point) != (err != nil) {
			t.Fatalf("%x: low order %v, the standard library says %v", point, lowOrder25519(point), err)
		}
	})
}

// TestXWingKeysAreExpandedOnce: parsing one is a key generation of ML-KEM.
func TestXWingKeysAreExpandedOnce(t *testing.T) {
	s := must[*Suite](t)(Get(XWing_AES256GCM_SHA384_Ed25519))
	private, public, err := s.DeriveHPKEKeyPair(pattern("ikm", s.HashSize()))
	if err != nil {
		t.Fatal(err)
	}
	again := must[HPKEPrivateKey](t)(s.ParseHPKEPrivateKey(private.Expose()))
	if again.parsed == nil || !bytes.Equal(must[HPKEPublicKey](t)(s.PublicHPKEKey(again)), public) {
		t.Error("a parsed key is not expanded, or another one")
	}
	_, kemOutput, err := s.encapsulate(public, pattern("entropy", s.HPKEEntropySize()))
	if err != nil || s.ValidateKEMOutput(kemOutput) != nil || s.ValidateKEMOutput(public) == nil || s.ValidateKEMOutput(kemOutput[1:]) == nil {
		t.Errorf("KEM output of %d bytes: %v", len(kemOutput), err)
	}
	if _, err := s.ParseHPKEPrivateKey(private.Expose()[1:]); err == nil {
		t.Error("a short seed is a key")
	}
}
