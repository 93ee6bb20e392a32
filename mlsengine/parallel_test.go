package mlsengine

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
)

// TestParallelTasksFailAsALoopWould wants every task run once, and of several
// failures the first, whatever runs beside it.
func TestParallelTasksFailAsALoopWould(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for _, n := range []int{0, 1, 3, 4, 100} {
		runs := make([]atomic.Int32, n)
		if err := eachInParallel(n, func(i int) error { runs[i].Add(1); return nil }); err != nil {
			t.Fatal(err)
		}
		for i := range runs {
			if got := runs[i].Load(); got != 1 {
				t.Errorf("%d of %d ran %d times", i, n, got)
			}
		}
	}
	for first := range 100 {
		err := eachInParallel(100, func(i int) error {
			if i >= first && i%7 == first%7 {
				return fmt.Errorf("%w %d", errTask, i)
			}
			return nil
		})
		if !errors.Is(err, errTask) || err.Error() != fmt.Sprintf("%v %d", errTask, first) {
			t.Errorf("failed with %v, want %d", err, first)
		}
	}
}

var errTask = errors.New("task")

// TestPreparationKeepsTheOrder wants every task prepared, in order and before
// it runs, although some fail.
func TestPreparationKeepsTheOrder(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	const tasks = 200
	for failing := range 3 {
		var order []int
		prepared := make([]atomic.Bool, tasks)
		prepare := func(i int) { order = append(order, i); prepared[i].Store(true) }
		err := eachPrepared(tasks, prepare, func(i int) error {
			if !prepared[i].Load() {
				t.Errorf("%d ran unprepared", i)
			}
			if failing > 0 && i%failing == 0 {
				return errTask
			}
			return nil
		})
		if (err != nil) != (failing > 0) {
			t.Errorf("%d: %v", failing, err)
		}
		if len(order) != tasks || !slices.IsSorted(order) {
			t.Errorf("%d: prepared %v", failing, order)
		}
	}
}
