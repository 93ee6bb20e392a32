package mlsengine

import (
	"fmt"
	"testing"

	"github.com/cloudflare/circl/dh/x25519"
	voi "github.com/oasisprotocol/curve25519-voi/primitives/x25519"
)

// BenchmarkSealFloorInV is what an update commit on a fresh tree of 1,000
// members, and adding to one of 100, cannot be faster than: the bare X25519 of
// their seals, two multiplications each by the libraries that package suite
// took, on all cores, and nothing else.
func BenchmarkSealFloorInV(b *testing.B) {
	for _, seals := range []int{100, 990} {
		b.Run(fmt.Sprint(seals), func(b *testing.B) {
			ephemeral, recipient := make([]x25519.Key, seals), make([]x25519.Key, seals)
			for i := range seals {
				ephemeral[i][0], recipient[i][0], recipient[i][1] = byte(i), 9, byte(i)
			}
			measure(b, func() {
				err := eachInParallel(seals, func(i int) error {
					var public, shared x25519.Key
					voi.ScalarBaseMult((*[32]byte)(&public), (*[32]byte)(&ephemeral[i]))
					x25519.Shared(&shared, &ephemeral[i], &recipient[i])
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}
