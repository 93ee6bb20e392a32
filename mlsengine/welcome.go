package mlsengine

import (
	"parley/internal/secret"
	"parley/internal/syntax"
)

// Welcome lets new members join the epoch their Add created (§12.4.3.1). A
// Welcome must not be changed.
type Welcome struct {
	CipherSuite        CipherSuite
	Secrets            []EncryptedGroupSecrets
	EncryptedGroupInfo []byte
}

// Code walks the Welcome struct of §12.4.3.1.
func (w *Welcome) Code(c *syntax.Coder) {
	syntax.Uint16(c, &w.CipherSuite)
	syntax.Vector(c, &w.Secrets)
	syntax.Opaque(c, &w.EncryptedGroupInfo)
}

// EncryptedGroupSecrets is the part of a Welcome for one new member (§12.4.3.1).
type EncryptedGroupSecrets struct {
	NewMember             KeyPackageRef
	EncryptedGroupSecrets HPKECiphertext
}

// Code walks the EncryptedGroupSecrets struct of §12.4.3.1.
func (e *EncryptedGroupSecrets) Code(c *syntax.Coder) {
	syntax.Opaque(c, &e.NewMember)
	e.EncryptedGroupSecrets.Code(c)
}

// groupSecrets is what a new member learns (§12.4.3.1).
type groupSecrets struct {
	joinerSecret secret.Bytes
	pathSecret   *codedSecret
	psks         []PreSharedKeyID
}

// Code walks the GroupSecrets struct of §12.4.3.1.
func (g *groupSecrets) Code(c *syntax.Coder) {
	codeSecret(c, &g.joinerSecret)
	syntax.Optional(c, &g.pathSecret)
	syntax.Vector(c, &g.psks)
}

// codedSecret is a struct of one opaque secret, such as PathSecret of §12.4.3.1.
type codedSecret struct{ secret.Bytes }

// Code walks the one field.
func (s *codedSecret) Code(c *syntax.Coder) { codeSecret(c, &s.Bytes) }
