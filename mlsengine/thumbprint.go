package mlsengine

import (
	"encoding/base64"
	"fmt"

	"parley/mlsengine/suite"
)

// Thumbprint is the JWK thumbprint (RFC 7638) of a signature key under the hash
// of its cipher suite, as base64url; empty for what is no key of the suite.
func Thumbprint(id CipherSuite, key []byte) string {
	primitives, err := suite.Get(id)
	if err != nil || primitives.ValidateSignaturePublicKey(key) != nil {
		return ""
	}
	text := base64.RawURLEncoding.EncodeToString
	jwk := ""
	switch id {
	case suite.P256_AES128GCM_SHA256_P256:
		jwk = point("P-256", key)
	case suite.P384_AES256GCM_SHA384_P384:
		jwk = point("P-384", key)
	case suite.P521_AES256GCM_SHA512_P521:
		jwk = point("P-521", key)
	case suite.X448_AES256GCM_SHA512_Ed448, suite.X448_CHACHA20POLY1305_SHA512_Ed448:
		jwk = fmt.Sprintf(`{"crv":"Ed448","kty":"OKP","x":"%s"}`, text(key))
	default:
		jwk = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, text(key))
	}
	return text(primitives.Hash([]byte(jwk)))
}

// point is the JWK of an uncompressed point, its members in the order of RFC 7638.
func point(curve string, key []byte) string {
	x, y := key[1:(len(key)+1)/2], key[(len(key)+1)/2:]
	return fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, curve, base64.RawURLEncoding.EncodeToString(x), base64.RawURLEncoding.EncodeToString(y))
}
