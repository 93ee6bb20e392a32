// Package scripts plays random scripts against servers of the MLS working group's interop interface: any mix of implementations, or one
// against itself.
//
// A script is the history of one group, drawn from a seed. The package knows of MLS only what a script must know to ask for nothing
// invalid: who is a member, who proposed what, which keys everybody has. After every epoch it asks all members for the epoch
// authenticator and for an exported secret, and compares. What a script did is written down line by line, so that a failure can be read
// and, by its seed, repeated.
package scripts
