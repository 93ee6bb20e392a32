package mlsengine

import "parley/internal/syntax"

// Message encodes the key package as an MLSMessage (§6).
func (k *KeyPackage) Message() []byte { return keyPackageMessage(k).Bytes() }

// Message encodes the GroupInfo as an MLSMessage (§6).
func (g *GroupInfo) Message() []byte { return groupInfoMessage(g).Bytes() }

// Bytes encodes the external sender by itself.
func (s *ExternalSender) Bytes() []byte { return syntax.Encode(s) }

// ParseExternalSender reads what Bytes wrote. Its key has not been validated.
func ParseExternalSender(b []byte) (*ExternalSender, error) {
	s, err := parse[ExternalSender](b)
	if err != nil {
		return nil, err
	}
	return &s, nil
}
