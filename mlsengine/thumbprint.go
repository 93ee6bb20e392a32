package mlsengine

import (
	"encoding/base64"

	"parley/mlsengine/suite"
)

// Thumbprint is the JWK thumbprint (RFC 7638) of a signature key under the hash
// of its cipher suite, as base64url; empty for what is no key of the suite.
func Thumbprint(id CipherSuite, key []byte) string {
	primitives, err := suite.Get(id)
	if err != nil || primitives.ValidateSignaturePublicKey(key) != nil {
		return ""
	}
	var room [256]byte // every received message shows one: they are written without garbage
	jwk := room[:0]
	switch id {
	case suite.P256_AES128GCM_SHA256_P256:
		jwk = point(jwk, "P-256", key)
	case suite.P384_AES256GCM_SHA384_P384:
		jwk = point(jwk, "P-384", key)
	case suite.P521_AES256GCM_SHA512_P521:
		jwk = point(jwk, "P-521", key)
	case suite.X448_AES256GCM_SHA512_Ed448, suite.X448_CHACHA20POLY1305_SHA512_Ed448:
		jwk = octets(jwk, "Ed448", key)
	default:
		jwk = octets(jwk, "Ed25519", key)
	}
	return base64.RawURLEncoding.EncodeToString(primitives.Hash(jwk))
}

// octets is the JWK of a raw key, its members in the order of RFC 7638.
func octets(jwk []byte, curve string, key []byte) []byte {
	jwk = append(append(append(jwk, `{"crv":"`...), curve...), `","kty":"OKP","x":"`...)
	return append(base64.RawURLEncoding.AppendEncode(jwk, key), `"}`...)
}

// point is the JWK of an uncompressed point, its members in the order of RFC 7638.
func point(jwk []byte, curve string, key []byte) []byte {
	x, y := key[1:(len(key)+1)/2], key[(len(key)+1)/2:]
	jwk = append(append(append(jwk, `{"crv":"`...), curve...), `","kty":"EC","x":"`...)
	jwk = append(base64.RawURLEncoding.AppendEncode(jwk, x), `","y":"`...)
	return append(base64.RawURLEncoding.AppendEncode(jwk, y), `"}`...)
}
