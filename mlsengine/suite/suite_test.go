package suite

import (
	"bytes"
	"crypto"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"strings"
	"testing"
)

// pattern is n bytes that depend on the seed.
func pattern(seed string, n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func eachSuite(t *testing.T, check func(*testing.T, *Suite)) {
	t.Helper()
	for _, id := range IDs() {
		s, err := Get(id)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(s.String(), func(t *testing.T) { check(t, s) })
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestGetKnowsSuitesOneToSeven(t *testing.T) {
	for _, id := range []ID{0, 8, 0x0a0a, 0xffff} {
		if _, err := Get(id); !errors.Is(err, ErrUnsupported) {
			t.Errorf("suite %d: %v", id, err)
		}
		if !strings.HasPrefix(id.String(), "suite ") {
			t.Errorf("suite %d is named %v", uint16(id), id)
		}
	}
	eachSuite(t, func(t *testing.T, s *Suite) {
		if s.ID().String() != s.String() || !strings.HasPrefix(s.String(), "MLS_") {
			t.Errorf("%d is named %v", s.ID(), s)
		}
	})
}

func newHash(h crypto.Hash) func() hash.Hash { return h.New }

func TestDerivationsAreHKDF(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		h := newHash(s.hash.crypto())
		for _, n := range []int{1, 12, 16, 32, 33, 64, 65, 129, 255 * s.HashSize()} {
			for _, length := range []int{0, 5, s.HashSize(), 170, 190, 230, 5000} {
				secret, context := pattern("secret", s.HashSize()), pattern("context", length)
				info := []byte{byte(n >> 8), byte(n), 12}
				info = append(info, "MLS 1.0 test"...)
				switch {
				case length < 64:
					info = append(info, byte(length))
				default:
					info = append(info, 0x40|byte(length>>8), byte(length))
				}
				want := must[[]byte](t)(hkdf.Expand(h, secret, string(append(info, context...)), n))
				if got := s.ExpandWithLabel(secret, "test", context, n); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes under a context of %d: %x, want %x", n, length, got, want)
				}
			}
		}
		for _, length := range []int{0, 1, 64, 128, 129, 300} {
			key := pattern("key", length)
			mac := hmac.New(h, key)
			mac.Write([]byte("message"))
			if got := s.MAC(key, []byte("message")); !bytes.Equal(got, mac.Sum(nil)) || !s.VerifyMAC(key, []byte("message"), got) {
				t.Errorf("MAC under a key of %d bytes is %x", length, got)
			}
			if s.VerifyMAC(key, []byte("messagf"), mac.Sum(nil)) || s.VerifyMAC(key, []byte("message"), nil) {
				t.Error("a wrong tag verifies")
			}
			if got := must[[]byte](t)(hkdf.Extract(h, []byte("ikm"), key)); !bytes.Equal(got, s.Extract(key, []byte("ikm"))) {
				t.Errorf("extract with a salt of %d bytes", length)
			}
		}
		if !bytes.Equal(s.Hash([]byte("ab"), []byte("c")), s.Hash([]byte("abc"))) {
			t.Error("the hash of parts is not the hash of the whole")
		}
	})
}

func TestExpandingTooMuchIsABug(t *testing.T) {
	s := must[*Suite](t)(Get(1))
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s.ExpandWithLabel(make([]byte, 32), "x", nil, 255*32+1)
}

func TestDerivationsDoNotAllocate(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		out, secret := make([]byte, s.HashSize()), pattern("secret", s.HashSize())
		if n := testing.AllocsPerRun(100, func() { s.DeriveTreeSecretInto(out, secret, "secret", 7) }); n > 0 {
			t.Errorf("DeriveTreeSecretInto: %v allocations", n)
		}
		if n := testing.AllocsPerRun(100, func() { s.ExpandWithLabelInto(out, secret, "key", secret) }); n > 0 {
			t.Errorf("ExpandWithLabelInto: %v allocations", n)
		}
	})
}

func TestDerivedKeyPairsAreThoseOfCircl(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		scheme := s.kem.id().Scheme()
		for i := range 5 {
			seed := pattern(fmt.Sprint("seed ", i), scheme.SeedSize())
			wantPublic, wantPrivate := scheme.DeriveKeyPair(seed)
			private, public, err := s.DeriveHPKEKeyPair(seed)
			if err != nil {
				t.Fatal(err)
			}
			if raw := must[[]byte](t)(wantPrivate.MarshalBinary()); !bytes.Equal(raw, private.Expose()) {
				t.Errorf("private key %x, want %x", private.Expose(), raw)
			}
			if raw := must[[]byte](t)(wantPublic.MarshalBinary()); !bytes.Equal(raw, public) {
				t.Errorf("public key %x, want %x", public, raw)
			}
		}
	})
}

func TestKeyPairsFromSecretsOfOneHash(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		private, public, err := s.DeriveHPKEKeyPair(pattern("path secret", s.HashSize()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ValidateHPKEPublicKey(public); err != nil {
			t.Error(err)
		}
		parsed := must[HPKEPrivateKey](t)(s.ParseHPKEPrivateKey(private.Raw().Expose()))
		for _, k := range []HPKEPrivateKey{private, parsed} {
			if got := must[HPKEPublicKey](t)(s.PublicHPKEKey(k)); !bytes.Equal(got, public) {
				t.Errorf("public key %x, want %x", got, public)
			}
			entropy := pattern("entropy", s.HPKEEntropySize())
			enc, ct, err := s.EncryptWithLabel(public, "label", []byte("context"), []byte("plaintext"), entropy)
			if err != nil {
				t.Fatal(err)
			}
			enc2, ct2, _ := s.EncryptWithLabel(public, "label", []byte("context"), []byte("plaintext"), entropy)
			if !bytes.Equal(enc, enc2) || !bytes.Equal(ct, ct2) {
				t.Error("encryption depends on more than its entropy")
			}
			if got := must[[]byte](t)(s.DecryptWithLabel(k, "label", []byte("context"), enc, ct)); string(got) != "plaintext" {
				t.Errorf("decrypts to %q", got)
			}
			refuseDecryption(t, s, k, enc, ct)
			checkExternalInit(t, s, k, public)
		}
	})
}

func refuseDecryption(t *testing.T, s *Suite, k HPKEPrivateKey, enc, ct []byte) {
	t.Helper()
	flipped := bytes.Clone(ct)
	flipped[0] ^= 1
	for name, err := range map[string]error{
		"ciphertext": second(s.DecryptWithLabel(k, "label", []byte("context"), enc, flipped)),
		"context":    second(s.DecryptWithLabel(k, "label", []byte("other"), enc, ct)),
		"short":      second(s.DecryptWithLabel(k, "label", []byte("context"), enc, ct[:5])),
		"kem output": second(s.DecryptWithLabel(k, "label", []byte("context"), enc[1:], ct)),
		"no output":  second(s.DecryptWithLabel(k, "label", []byte("context"), nil, ct)),
		"zero point": second(s.DecryptWithLabel(k, "label", []byte("context"), make([]byte, len(enc)), ct)),
	} {
		if !errors.Is(err, ErrOpen) {
			t.Errorf("wrong %s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func checkExternalInit(t *testing.T, s *Suite, k HPKEPrivateKey, public HPKEPublicKey) {
	t.Helper()
	enc, sent, err := s.ExternalInitSend(public, pattern("external", s.HPKEEntropySize()))
	if err != nil {
		t.Fatal(err)
	}
	received, err := s.ExternalInitReceive(k, enc)
	if err != nil || !received.Equal(sent) || sent.Len() != s.HashSize() {
		t.Errorf("init secrets differ: %v", err)
	}
	if _, err := s.ExternalInitReceive(k, enc[1:]); err == nil {
		t.Error("received from a short KEM output")
	}
}

func TestBadHPKEKeysAreRefused(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		private, public, err := s.DeriveHPKEKeyPair(pattern("ikm", 32))
		if err != nil {
			t.Fatal(err)
		}
		entropy := pattern("entropy", s.HPKEEntropySize())
		for name, bad := range map[string][]byte{"empty": {}, "short": public[1:], "long": append(bytes.Clone(public), 0)} {
			if err := s.ValidateHPKEPublicKey(bad); !errors.Is(err, ErrKey) {
				t.Errorf("%s public key: %v", name, err)
			}
			if _, _, err := s.EncryptWithLabel(bad, "l", nil, nil, entropy); !errors.Is(err, ErrKey) {
				t.Errorf("encrypting to a %s key: %v", name, err)
			}
		}
		zero := make([]byte, len(public)) // of low order on the Montgomery curves, no point on the others
		if s.kem == xWing {
			zero = bytes.Repeat([]byte{0xff}, len(public)) // coefficients above ML-KEM's modulus
		}
		if _, _, err := s.EncryptWithLabel(zero, "l", nil, nil, entropy); !errors.Is(err, ErrKey) {
			t.Errorf("encrypting to zero: %v", err)
		}
		if _, _, err := s.EncryptWithLabel(public, "l", nil, nil, entropy[1:]); !errors.Is(err, ErrEntropy) {
			t.Errorf("short entropy: %v", err)
		}
		size := private.Len()
		for _, n := range []int{0, size + 1} {
			if _, err := s.ParseHPKEPrivateKey(make([]byte, n)); !errors.Is(err, ErrKey) {
				t.Errorf("private key of %d bytes: %v", n, err)
			}
		}
		if !s.kem.montgomery() && s.kem != xWing {
			for _, bad := range [][]byte{make([]byte, size), bytes.Repeat([]byte{0xff}, size)} {
				if _, err := s.ParseHPKEPrivateKey(bad); !errors.Is(err, ErrKey) {
					t.Errorf("scalar %x: %v", bad[:2], err)
				}
			}
		} else if _, err := s.ParseHPKEPrivateKey(make([]byte, size-1)); !errors.Is(err, ErrKey) {
			t.Errorf("short private key: %v", err)
		}
		if _, err := s.PublicHPKEKey(HPKEPrivateKey{}); !errors.Is(err, ErrKey) {
			t.Errorf("no private key: %v", err)
		}
	})
}

func TestStrippedPrivateKeysArePadded(t *testing.T) {
	s := must[*Suite](t)(Get(P521_AES256GCM_SHA512_P521))
	for i := range 8 {
		private, public, err := s.DeriveHPKEKeyPair(pattern(fmt.Sprint("ikm ", i), 64))
		if err != nil {
			t.Fatal(err)
		}
		parsed := must[HPKEPrivateKey](t)(s.ParseHPKEPrivateKey(bytes.TrimLeft(private.Expose(), "\x00")))
		if got := must[HPKEPublicKey](t)(s.PublicHPKEKey(parsed)); !bytes.Equal(got, public) || !parsed.Equal(private.Bytes) {
			t.Error("a stripped key is another key")
		}
		key, _, err := s.GenerateSignatureKeyPair(pattern(fmt.Sprint("seed ", i), s.SignatureSeedSize()))
		if err != nil {
			t.Fatal(err)
		}
		again := must[SignaturePrivateKey](t)(s.ParseSignaturePrivateKey(bytes.TrimLeft(key.Expose(), "\x00")))
		if !again.Equal(key.Bytes) {
			t.Error("a stripped signature key is another key")
		}
	}
}

func TestSignaturesVerifyOnlyWhatWasSigned(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		key, public, err := s.GenerateSignatureKeyPair(pattern("seed", s.SignatureSeedSize()))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.ValidateSignaturePublicKey(public); err != nil {
			t.Error(err)
		}
		if err := s.ValidateSignaturePublicKey(public[1:]); !errors.Is(err, ErrKey) {
			t.Errorf("short public key: %v", err)
		}
		signature := must[[]byte](t)(s.SignWithLabel(key, "label", []byte("content")))
		if again := must[[]byte](t)(key.SignWithLabel("label", []byte("content"))); !bytes.Equal(again, signature) {
			t.Error("signing is not deterministic")
		}
		if err := s.VerifyWithLabel(public, "label", []byte("content"), signature); err != nil {
			t.Error(err)
		}
		flipped := bytes.Clone(signature)
		flipped[len(flipped)/2] ^= 1
		for name, err := range map[string]error{
			"label":     s.VerifyWithLabel(public, "lab", []byte("content"), signature),
			"content":   s.VerifyWithLabel(public, "label", []byte("contents"), signature),
			"signature": s.VerifyWithLabel(public, "label", []byte("content"), flipped),
			"empty":     s.VerifyWithLabel(public, "label", []byte("content"), nil),
			"longer":    s.VerifyWithLabel(public, "label", []byte("content"), append(bytes.Clone(signature), 0)),
		} {
			if !errors.Is(err, ErrSignature) {
				t.Errorf("wrong %s: %v", name, err)
			}
		}
		for _, bad := range []SignaturePublicKey{nil, public[:len(public)-1]} {
			if err := s.VerifyWithLabel(bad, "label", []byte("content"), signature); err == nil {
				t.Error("verifies under a bad key")
			}
		}
	})
}

func TestBadSignatureKeysAreRefused(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		if _, _, err := s.GenerateSignatureKeyPair(nil); !errors.Is(err, ErrEntropy) {
			t.Errorf("no seed: %v", err)
		}
		for _, n := range []int{0, s.SignatureSeedSize() + 1} {
			if _, err := s.ParseSignaturePrivateKey(make([]byte, n)); !errors.Is(err, ErrKey) {
				t.Errorf("private key of %d bytes: %v", n, err)
			}
		}
		if _, err := s.SignWithLabel(SignaturePrivateKey{algorithm: s.signature}, "l", nil); !errors.Is(err, ErrKey) {
			t.Errorf("signing with no key: %v", err)
		}
		if _, err := s.PublicSignatureKey(SignaturePrivateKey{}); !errors.Is(err, ErrKey) {
			t.Errorf("public half of no key: %v", err)
		}
		other := must[*Suite](t)(Get(P256_AES128GCM_SHA256_P256))
		if s == other {
			other = must[*Suite](t)(Get(X25519_AES128GCM_SHA256_Ed25519))
		}
		key, _, err := other.GenerateSignatureKeyPair(pattern("seed", other.SignatureSeedSize()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.SignWithLabel(key, "l", nil); !errors.Is(err, ErrKey) {
			t.Errorf("signing with another suite's key: %v", err)
		}
		if s.signature == ecdsaP256 || s.signature == ecdsaP384 || s.signature == ecdsaP521 {
			if _, err := s.ParseSignaturePrivateKey(make([]byte, s.SignatureSeedSize())); !errors.Is(err, ErrKey) {
				t.Errorf("scalar zero: %v", err)
			}
		}
	})
}

func TestAEADRefusesWhatItDidNotSeal(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		key, nonce := pattern("key", s.AEADKeySize()), pattern("nonce", s.AEADNonceSize())
		sealed := must[[]byte](t)(s.SealAEAD(key, nonce, []byte("aad"), []byte("plaintext")))
		if len(sealed) != len("plaintext")+s.AEADOverhead() {
			t.Errorf("sealed to %d bytes", len(sealed))
		}
		if got := must[[]byte](t)(s.OpenAEAD(key, nonce, []byte("aad"), sealed)); string(got) != "plaintext" {
			t.Errorf("opens to %q", got)
		}
		for name, err := range map[string]error{
			"aad":   second(s.OpenAEAD(key, nonce, []byte("aae"), sealed)),
			"short": second(s.OpenAEAD(key, nonce, []byte("aad"), sealed[:3])),
			"empty": second(s.OpenAEAD(key, nonce, []byte("aad"), nil)),
		} {
			if !errors.Is(err, ErrOpen) {
				t.Errorf("wrong %s: %v", name, err)
			}
		}
		for name, err := range map[string]error{
			"key":        second(s.OpenAEAD(key[1:], nonce, nil, sealed)),
			"nonce":      second(s.SealAEAD(key, nonce[1:], nil, nil)),
			"seal's key": second(s.SealAEAD(nil, nonce, nil, nil)),
		} {
			if !errors.Is(err, ErrKey) {
				t.Errorf("wrong %s: %v", name, err)
			}
		}
	})
}

func TestPrivateKeysDoNotPrintThemselves(t *testing.T) {
	eachSuite(t, func(t *testing.T, s *Suite) {
		hpkeKey, _, err := s.DeriveHPKEKeyPair(pattern("ikm", 32))
		if err != nil {
			t.Fatal(err)
		}
		signatureKey, _, err := s.GenerateSignatureKeyPair(pattern("seed", s.SignatureSeedSize()))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []any{hpkeKey, signatureKey, &hpkeKey, &signatureKey} {
			if out := fmt.Sprintf("%v %+v %#v %x %s", k, k, k, k, k); strings.Trim(strings.ReplaceAll(out, "[secret]", ""), " ") != "" {
				t.Errorf("prints %q", out)
			}
		}
	})
}
