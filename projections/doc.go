// Package projections holds read models built from the log: sentences, members, epochs and audit rows.
//
// A read model sees events and nothing else: no engine, no keys, no store. What it shows must therefore be in the open part of the
// events, and any reader of the log, this program or another, can build the same rows.
//
// Every model is a fold: a zero value, and Apply for each record of one log in order. Models never fail: a record of another log or an
// event of a later format leaves them as they are, because judging the history is the work of verification and not of reading.
package projections
