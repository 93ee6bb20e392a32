// Package sim plays whole groups in one thread: clients with their logs, the group's order, crashes at every durable step, writers that do
// not know that they were replaced, lost and repeated submissions, lost answers, publishes that arrive late, and members that mean harm.
// Everything is drawn from one seed, so a failure names the seed that plays it again.
//
// The code under test is what runs in production: conversation.Step and Fold, events.Journal with its sealing and fences, delivery.Decide.
// Only the shell around them, the clock and the store are the simulation's own.
//
// It is built with the tag parley_sim, which also lets package suite report every encryption, and the engine make commits that are signed
// and wrong:
//
//	go test -tags parley_sim ./internal/sim
//	PARLEY_SIM_SEED=4711 go test -tags parley_sim -run Seeds -v ./internal/sim
package sim
