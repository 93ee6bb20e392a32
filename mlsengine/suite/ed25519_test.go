package suite

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"math/big"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
)

// judge holds our verdicts, with and without a prepared key or its table, against the
// standard library's, which it returns.
func judge(t *testing.T, pub, message, signature []byte) bool {
	t.Helper()
	want := len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, message, signature)
	if got := verifyEd25519(pub, message, signature); got != want {
		t.Fatalf("verdict %v, the standard library's %v: key %x, message %x, signature %x", got, want, pub, message, signature)
	}
	if got := verifyExpanded(expandEd25519(pub), message, signature); got != want {
		t.Fatalf("verdict %v under a prepared key, the standard library's %v: key %x, message %x, signature %x", got, want, pub, message, signature)
	}
	half := len(message) / 2
	if got := tableEd25519(pub).verify(signature, message[:half], message[half:]); got != want {
		t.Fatalf("verdict %v under a table, the standard library's %v: key %x, message %x, signature %x", got, want, pub, message, signature)
	}
	return want
}

// oddPoints lists encodings that libraries treat differently: the points of
// order 1, 2, 4 and 8, canonical or not, with either sign bit, and coordinates
// at and around the field's prime.
func oddPoints() [][]byte {
	prime := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	eighth, _ := new(big.Int).SetString("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd83d3d706a17c7", 16)
	var points [][]byte
	for _, y := range []*big.Int{
		big.NewInt(0), big.NewInt(1), eighth, new(big.Int).Sub(prime, eighth),
		new(big.Int).Sub(prime, big.NewInt(1)), prime, new(big.Int).Add(prime, big.NewInt(1)),
		new(big.Int).Add(prime, big.NewInt(2)), new(big.Int).Add(prime, big.NewInt(18)),
		big.NewInt(2), big.NewInt(3), big.NewInt(4),
	} {
		for _, sign := range []byte{0, 0x80} {
			p := make([]byte, 32)
			y.FillBytes(p)
			for i, j := 0, 31; i < j; i, j = i+1, j-1 {
				p[i], p[j] = p[j], p[i]
			}
			p[31] |= sign
			points = append(points, p)
		}
	}
	return points
}

// oddScalars lists halves of signatures around the order of the base point.
func oddScalars() [][]byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	var scalars [][]byte
	for _, s := range []*big.Int{
		big.NewInt(0), big.NewInt(1), new(big.Int).Sub(order, big.NewInt(1)), order, new(big.Int).Add(order, big.NewInt(1)),
		new(big.Int).Lsh(order, 1), new(big.Int).Lsh(big.NewInt(1), 252), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1)),
	} {
		b := s.FillBytes(make([]byte, 32))
		for i, j := 0, 31; i < j; i, j = i+1, j-1 {
			b[i], b[j] = b[j], b[i]
		}
		scalars = append(scalars, b)
	}
	return scalars
}

// TestEd25519JudgesOddInputsAsTheStandardLibrary tries every odd key with every
// odd signature. Some of them are valid, by the order of the key.
func TestEd25519JudgesOddInputsAsTheStandardLibrary(t *testing.T) {
	valid := 0
	for _, a := range oddPoints() {
		for _, r := range oddPoints() {
			for _, s := range oddScalars() {
				for message := range byte(4) {
					if judge(t, a, []byte{message}, append(bytes.Clone(r), s...)) {
						valid++
					}
				}
			}
		}
	}
	if valid == 0 {
		t.Error("no odd input is valid, so that nothing was compared")
	}
	honest := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	good := ed25519.Sign(honest, []byte("message"))
	for _, s := range oddScalars() {
		judge(t, honest[32:], []byte("message"), append(bytes.Clone(good[:32]), s...))
	}
	order := oddScalars()[3]
	malleated, carry := bytes.Clone(good), 0
	for i, b := range order {
		carry += int(malleated[32+i]) + int(b)
		malleated[32+i], carry = byte(carry), carry>>8
	}
	if judge(t, honest[32:], []byte("message"), malleated) || !judge(t, honest[32:], []byte("message"), good) {
		t.Error("the scalar is not unique")
	}
}

// FuzzEd25519AgreesWithTheStandardLibrary signs with both, and lets both judge
// an arbitrary signature under an arbitrary key, as well as one that differs
// from a good one in one place.
func FuzzEd25519AgreesWithTheStandardLibrary(f *testing.F) {
	points, scalars := oddPoints(), oddScalars()
	for i, p := range points {
		f.Add(p, []byte("message"), append(bytes.Clone(points[(i*7)%len(points)]), scalars[i%len(scalars)]...), uint16(i*37))
	}
	f.Add(make([]byte, 31), []byte{}, make([]byte, 63), uint16(0))
	f.Fuzz(func(t *testing.T, key, message, signature []byte, flip uint16) {
		judge(t, key, message, signature)
		if len(key) != ed25519.SeedSize {
			return
		}
		standard := ed25519.NewKeyFromSeed(key)
		if !bytes.Equal(standard, newEd25519Key(key)) {
			t.Fatalf("seed %x gives another key", key)
		}
		good := ed25519.Sign(standard, message)
		if !bytes.Equal(good, signEd25519(standard, message)) {
			t.Fatalf("seed %x signs %x differently", key, message)
		}
		public := bytes.Clone(standard[32:])
		if !judge(t, public, message, good) {
			t.Fatal("a good signature is refused")
		}
		if at := int(flip/8) % 96; at < 64 {
			good[at] ^= 1 << (flip % 8)
		} else {
			public[at-64] ^= 1 << (flip % 8)
		}
		judge(t, public, message, good)
	})
}

// TestEd25519JudgesMixedOrderAsTheStandardLibrary signs with keys and nonces
// that have a part of small order. With a cofactor all of these signatures were
// valid; without one, which is our meaning, only those where the parts cancel.
func TestEd25519JudgesMixedOrderAsTheStandardLibrary(t *testing.T) {
	var verdicts [2]int
	for _, small := range oddPoints() {
		for _, other := range oddPoints() {
			pub, ok := plusSmall(t, 5, small)
			nonce, ok2 := plusSmall(t, 7, other)
			if !ok || !ok2 {
				continue
			}
			for message := range byte(8) {
				h := sha512.New()
				h.Write(nonce)
				h.Write(pub)
				h.Write([]byte{message})
				var k, a, r, s scalar.Scalar
				if _, err := k.SetBytesModOrderWide(h.Sum(nil)); err != nil {
					t.Fatal(err)
				}
				s.Add(s.Mul(&k, a.SetUint64(5)), r.SetUint64(7))
				signature := append(bytes.Clone(nonce), make([]byte, 32)...)
				if err := s.ToBytes(signature[32:]); err != nil {
					t.Fatal(err)
				}
				if judge(t, pub, []byte{message}, signature) {
					verdicts[1]++
				} else {
					verdicts[0]++
				}
			}
		}
	}
	if verdicts[0] == 0 || verdicts[1] == 0 {
		t.Errorf("%d refused, %d accepted: both should occur", verdicts[0], verdicts[1])
	}
}

// plusSmall encodes n times the base point plus an encoded point of small
// order, if that is what the encoding holds.
func plusSmall(t *testing.T, n uint64, encoded []byte) ([]byte, bool) {
	t.Helper()
	var in, out curve.CompressedEdwardsY
	if _, err := in.SetBytes(encoded); err != nil {
		t.Fatal(err)
	}
	var small, p curve.EdwardsPoint
	if _, err := small.SetCompressedY(&in); err != nil || !small.IsSmallOrder() {
		return nil, false
	}
	p.MulBasepoint(curve.ED25519_BASEPOINT_TABLE, scalar.New().SetUint64(n))
	out.SetEdwardsPoint(p.Add(&p, &small))
	return out[:], true
}
