//go:build !race

package checklist_test

const racing = false
