//go:build parley_sim

package sim

import (
	"testing"

	"parley/mlsengine/suite"
)

// TestEveryEncryptionIsHeard wants each way to encrypt to report its key and nonce: what is not heard may use them twice.
func TestEveryEncryptionIsHeard(t *testing.T) {
	for _, id := range suite.IDs() {
		s, err := suite.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		key, nonce, text := make([]byte, s.AEADKeySize()), make([]byte, s.AEADNonceSize()), make([]byte, 32)
		_, public, err := s.DeriveHPKEKeyPair(make([]byte, s.HashSize()))
		if err != nil {
			t.Fatal(err)
		}
		for name, encrypt := range map[string]func() error{
			"SealAEAD":        func() error { _, err := s.SealAEAD(key, nonce, nil, text); return err },
			"SealAEADInPlace": func() error { _, err := s.SealAEADInPlace(key, nonce, nil, text); return err },
			"EncryptWithLabel": func() error {
				_, _, err := s.EncryptWithLabel(public, "", nil, text, make([]byte, s.HPKEEntropySize()))
				return err
			},
		} {
			heard := 0
			suite.Listen(func(_, _ []byte) { heard++ })
			err := encrypt()
			suite.Listen(nil)
			if err != nil || heard != 1 {
				t.Errorf("%v %s: heard %d times, %v", s, name, heard, err)
			}
		}
	}
}
