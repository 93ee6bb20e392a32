package mlsengine

import (
	"runtime"
	"sync"
)

// parallelMin is from how many tasks on goroutines are worth their price. A
// task is at least one operation on a curve.
const parallelMin = 4

// eachInParallel calls task for 0 to n-1, on as many goroutines as may run at
// once, and returns when all of them have ended. Of several errors it returns
// the one that a loop would have met first, so that a replay meets it too.
func eachInParallel(n int, task func(int) error) error {
	workers := min(runtime.GOMAXPROCS(0), n)
	if n < parallelMin || workers < 2 {
		for i := range n {
			if err := task(i); err != nil {
				return err
			}
		}
		return nil
	}
	q := taskQueue{end: n}
	var running sync.WaitGroup
	for range workers - 1 {
		running.Go(func() { q.work(task) })
	}
	q.work(task)
	running.Wait()
	return q.err
}

// taskQueue hands out tasks in their order, up to the first that failed.
type taskQueue struct {
	mu   sync.Mutex
	next int
	end  int   // tasks from here on need not run
	err  error // of the task at end
}

func (q *taskQueue) work(task func(int) error) {
	for {
		q.mu.Lock()
		i := q.next
		if i >= q.end {
			q.mu.Unlock()
			return
		}
		q.next++
		q.mu.Unlock()
		if err := task(i); err != nil {
			q.fail(i, err)
		}
	}
}

func (q *taskQueue) fail(i int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i < q.end {
		q.end, q.err = i, err
	}
}
