// Package logtest is the suite that every backend of package events passes: what a Log, a RingStore and a SnapshotStore promise, and
// what a Journal makes of it.
package logtest
