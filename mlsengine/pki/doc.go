// Package pki judges X.509 credentials (RFC 9420 sections 5.3 and 5.3.1): a chain
// of certificates against trust anchors, intermediate certificates and
// revocation lists, at a given time. "§" is a section of RFC 5280.
//
// Chains are built and checked by the standard library; this package adds what
// it leaves out: the bounds, the key that must be the leaf node's, revocation,
// and what is to be said of a certificate that is not valid now but was.
//
// Nothing here reads a clock, a file or a network. A TrustStore is a value: its
// With methods return another one, so that a verdict is always of one state of
// knowledge. Where to look: chain.go (chains by themselves), store.go (anchors
// and intermediates), revocation.go (lists), verdict.go (all of it together).
package pki
