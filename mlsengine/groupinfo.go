package mlsengine

import (
	"parley/internal/syntax"
)

// GroupInfo describes an epoch to those who want to join it (§12.4.3). A
// GroupInfo must not be changed.
type GroupInfo struct {
	GroupContext    GroupContext
	Extensions      Extensions
	ConfirmationTag []byte
	Signer          LeafIndex
	Signature       []byte
}

// Code walks the GroupInfo struct of §12.4.3.
func (g *GroupInfo) Code(c *syntax.Coder) {
	g.codeUnsigned(c)
	syntax.Opaque(c, &g.Signature)
}

func (g *GroupInfo) codeUnsigned(c *syntax.Coder) {
	g.GroupContext.Code(c)
	g.Extensions.Code(c)
	syntax.Opaque(c, &g.ConfirmationTag)
	syntax.Uint32(c, &g.Signer)
}

// groupInfoTBS is what a GroupInfo's signature covers (§12.4.3).
type groupInfoTBS struct{ *GroupInfo }

// Code writes the GroupInfoTBS struct of §12.4.3.
func (t groupInfoTBS) Code(c *syntax.Coder) { t.codeUnsigned(c) }
