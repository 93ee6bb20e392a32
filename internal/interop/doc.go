// Package interop serves the interface through which the MLS working group plays implementations against each other (mlsclient has
// its schema). A Server plays any number of clients in any number of groups; everything that is MLS comes from the public API of
// mlsengine, so the server is also a proof that the API is enough to build on.
//
// What a call names by an id is one of four things: a state (one epoch of a member), a join that waits for its Welcome, a signer that
// is no member, or a member of a closed group on its way into the next one. All are kept in one bounded table.
//
// It is for tests and trusts its callers: it hands out private keys where the interface asks for them, keeps keys of past epochs, and has
// no access control. Bind it to loopback.
package interop
