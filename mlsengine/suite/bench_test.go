package suite

import (
	"crypto/ed25519"
	"testing"
)

// BenchmarkEd25519Verify is the unit V of the project's speed targets.
func BenchmarkEd25519Verify(b *testing.B) {
	key := ed25519.NewKeyFromSeed(pattern("seed", ed25519.SeedSize))
	message := pattern("message", 100)
	signature := ed25519.Sign(key, message)
	public := key.Public().(ed25519.PublicKey)
	for b.Loop() {
		if !ed25519.Verify(public, message, signature) {
			b.Fatal("does not verify")
		}
	}
}

func BenchmarkPrimitives(b *testing.B) {
	for _, id := range IDs() {
		s, err := Get(id)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.String(), func(b *testing.B) { benchmarkSuite(b, s) })
	}
}

func benchmarkSuite(b *testing.B, s *Suite) {
	private, public, err := s.DeriveHPKEKeyPair(pattern("ikm", 32))
	if err != nil {
		b.Fatal(err)
	}
	key, verify, err := s.GenerateSignatureKeyPair(pattern("seed", s.SignatureSeedSize()))
	if err != nil {
		b.Fatal(err)
	}
	secret, entropy := pattern("secret", s.HashSize()), pattern("entropy", s.HPKEEntropySize())
	enc, ct, err := s.EncryptWithLabel(public, "l", nil, secret, entropy)
	if err != nil {
		b.Fatal(err)
	}
	signature, err := s.SignWithLabel(key, "l", secret)
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, s.HashSize())
	aeadKey, kilobyte := pattern("key", s.AEADKeySize()), pattern("text", 1024)
	for _, c := range []struct {
		name string
		run  func() error
	}{
		{"expand", func() error { s.ExpandWithLabelInto(out, secret, "label", nil); return nil }},
		{"derive-key-pair", func() error { _, _, err := s.DeriveHPKEKeyPair(secret); return err }},
		{"hpke-encrypt", func() error { _, _, err := s.EncryptWithLabel(public, "l", nil, secret, entropy); return err }},
		{"hpke-decrypt", func() error { return second(s.DecryptWithLabel(private, "l", nil, enc, ct)) }},
		{"sign", func() error { return second(s.SignWithLabel(key, "l", secret)) }},
		{"verify", func() error { return s.VerifyWithLabel(verify, "l", secret, signature) }},
		{"aead-seal-1KiB", func() error { return second(s.SealAEAD(aeadKey, out[:12], nil, kilobyte)) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
