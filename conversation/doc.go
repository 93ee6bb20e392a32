// Package conversation is the domain around one MLS group, and around one
// client: pure, a pair of functions each.
package conversation
