package conversation

import (
	"encoding/base64"
	"encoding/json"

	"parley/mlsengine"
	"parley/mlsengine/suite"
)

// externalSenderName is the credential of the external senders that are given
// as bare keys: what deployed clients expect.
const externalSenderName = "wire-server"

// WithRawExternalSenders is the configuration of a group whose external senders
// have these public keys: each a JWK (RFC 7517) or, failing that, the raw key of
// the cipher suite's signature scheme (§5.1.1).
func (c Config) WithRawExternalSenders(keys ...[]byte) (Config, error) {
	primitives, err := suite.Get(c.CipherSuite)
	if err != nil {
		return c, refuse(InvalidConfiguration, GiveUp, "cipher suite %d is not supported", c.CipherSuite)
	}
	c.ExternalSenders = nil
	for i, key := range keys {
		raw, ok := fromJWK(key)
		if !ok {
			raw = key
		}
		if primitives.ValidateSignaturePublicKey(raw) != nil {
			return c, refuse(InvalidConfiguration, GiveUp, "external sender %d is neither a JWK nor a raw key of cipher suite %d", i, c.CipherSuite)
		}
		c.ExternalSenders = append(c.ExternalSenders, mlsengine.ExternalSender{
			SignatureKey: raw, Credential: mlsengine.BasicCredential([]byte(externalSenderName)),
		})
	}
	return c, nil
}

// fromJWK reads a public key of the curves that cipher suites sign with: the
// 32 bytes of Ed25519 (RFC 8037), or an uncompressed point (RFC 7518, 6.2).
func fromJWK(b []byte) (raw []byte, ok bool) {
	var key struct {
		Type  string `json:"kty"`
		Curve string `json:"crv"`
		X     string `json:"x"`
		Y     string `json:"y"`
	}
	if json.Unmarshal(b, &key) != nil {
		return nil, false
	}
	x, errX := base64.RawURLEncoding.DecodeString(key.X)
	y, errY := base64.RawURLEncoding.DecodeString(key.Y)
	if errX != nil || errY != nil {
		return nil, false
	}
	if key.Type == "OKP" && key.Curve == "Ed25519" {
		return x, true
	}
	size := map[string]int{"P-256": 32, "P-384": 48, "P-521": 66}[key.Curve]
	if key.Type != "EC" || size == 0 || len(x) != size || len(y) != size {
		return nil, false
	}
	const uncompressed = 4
	return append(append([]byte{uncompressed}, x...), y...), true
}

// ExternalSender is the public key of the group's first external sender.
func (p Public) ExternalSender() ([]byte, error) {
	if p.Group == nil {
		return nil, refuse(ConversationNotFound, GiveUp, "%s: %s", p.Conversation, p.Lifecycle)
	}
	senders := p.Group.ExternalSenders()
	if len(senders) == 0 {
		return nil, refuse(MissingExternalSender, GiveUp, "the group names no external sender")
	}
	return senders[0].SignatureKey, nil
}
