package mlsengine

import (
	"parley/internal/syntax"
	"parley/mlsengine/suite"
)

// Content is what somebody said in an epoch: an AuthenticatedContent (§6).
// Group.Open and PublicGroup.VerifyMessage give contents that are verified;
// those of ParseContent are as good as the log that they come from. The slices
// that its accessors give must not be changed.
type Content struct {
	authenticated authenticatedContent
	suite         CipherSuite
	ref           ProposalRef // of proposals
	generation    Generation  // of encrypted contents
}

// newContent makes the public view of a content and names it if it is a
// proposal.
func newContent(s *suite.Suite, a *authenticatedContent, generation Generation) *Content {
	c := &Content{authenticated: *a, suite: s.ID(), generation: generation}
	if a.Content.ContentType == ContentTypeProposal {
		c.ref = s.RefHash("MLS 1.0 Proposal Reference", syntax.Encode(a))
	}
	return c
}

// storedContent is how a content stands in a log: with what its own encoding
// leaves out and its reader needs.
type storedContent struct {
	suite      CipherSuite
	generation Generation
	content    authenticatedContent
}

// Code walks the struct.
func (s *storedContent) Code(c *syntax.Coder) {
	syntax.Uint16(c, &s.suite)
	syntax.Uint32(c, &s.generation)
	s.content.Code(c)
}

// ParseContent reads what Marshal wrote. It does not verify: the bytes must
// come from where only verified contents were written, or PublicGroup must
// verify the result.
func ParseContent(b []byte) (*Content, error) {
	stored, err := parse[storedContent](b)
	if err != nil {
		return nil, err
	}
	s, err := suite.Get(stored.suite)
	if err != nil {
		return nil, broken(UnsupportedCipherSuite, "%d", stored.suite)
	}
	return newContent(s, &stored.content, stored.generation), nil
}

// Marshal encodes the content for a log.
func (c *Content) Marshal() []byte {
	return syntax.Encode(&storedContent{c.suite, c.generation, c.authenticated})
}

// encoded is the AuthenticatedContent of §6: what transcripts and
// references cover.
func (c *Content) encoded() []byte { return syntax.Encode(&c.authenticated) }

// GroupID is the group in which it was said.
func (c *Content) GroupID() GroupID { return c.authenticated.Content.GroupID }

// Epoch is when it was said.
func (c *Content) Epoch() Epoch { return c.authenticated.Content.Epoch }

// Sender is who said it.
func (c *Content) Sender() Sender { return c.authenticated.Content.Sender }

// AAD is the data that was authenticated with it and not encrypted.
func (c *Content) AAD() []byte { return c.authenticated.Content.AAD }

// ContentType says which of the accessors below give something.
func (c *Content) ContentType() ContentType { return c.authenticated.Content.ContentType }

// Application is the application data, or nil.
func (c *Content) Application() []byte { return c.authenticated.Content.Application }

// Proposal is the proposal, or nil.
func (c *Content) Proposal() Proposal { return c.authenticated.Content.Proposal }

// ProposalRef names the proposal in a commit (§5.2); nil for other contents.
func (c *Content) ProposalRef() ProposalRef { return c.ref }

// Commit is the commit, or nil.
func (c *Content) Commit() *Commit { return c.authenticated.Content.Commit }

// ConfirmationTag is the tag of a commit, or nil.
func (c *Content) ConfirmationTag() []byte { return c.authenticated.ConfirmationTag }

// Encrypted reports whether it travelled as a PrivateMessage.
func (c *Content) Encrypted() bool { return c.authenticated.WireFormat == WireFormatPrivateMessage }

// Generation is the key that an encrypted content used; zero for others.
func (c *Content) Generation() Generation { return c.generation }
