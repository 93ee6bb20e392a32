//go:build race

package checklist_test

// racing says that the race detector is on, under which everything takes several times as long.
const racing = true
