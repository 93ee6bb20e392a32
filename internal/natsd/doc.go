// Package natsd runs NATS servers with JetStream out of the nats-server module: one inside this process (Embedded), one as a
// process of its own (Process), or three of them as a cluster on loopback (Cluster). A node hosts its log in an embedded server;
// tests use all three; `make nats` runs the command in cmd.
//
// Every server here syncs each write to disk before it acknowledges it. The default of nats-server is to sync every two minutes,
// which loses acknowledged records with the power; RequireSyncAlways tells whether a server really runs with sync always, and
// Embedded refuses its own server where it does not.
//
// A server's files are in DIR/jetstream, wherever DIR is said to be.
package natsd
