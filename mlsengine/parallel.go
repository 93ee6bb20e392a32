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
	return eachPrepared(n, func(int) {}, task)
}

// eachPrepared is eachInParallel for tasks with a part that has to keep the
// order of a loop, such as a draw of entropy: beside the tasks prepare is
// called for each of them, in the caller's goroutine, whatever fails.
func eachPrepared(n int, prepare func(int), task func(int) error) error {
	q := taskQueue{tasks: make(chan int, n), end: n}
	var running sync.WaitGroup
	if n >= parallelMin {
		for range min(runtime.GOMAXPROCS(0), n) - 1 {
			running.Go(func() { q.work(task) })
		}
	}
	q.fill(n, prepare)
	q.work(task)
	running.Wait()
	return q.err
}

// taskQueue hands out tasks in their order, up to the first that failed.
type taskQueue struct {
	tasks chan int // with room for all of them

	mu  sync.Mutex
	end int   // tasks from here on need not run
	err error // of the task at end
}

func (q *taskQueue) fill(n int, prepare func(int)) {
	defer close(q.tasks) // a panic lets the others end too
	for i := range n {
		prepare(i)
		q.tasks <- i
	}
}

func (q *taskQueue) work(task func(int) error) {
	for i := range q.tasks {
		if !q.wants(i) {
			continue
		}
		if err := task(i); err != nil {
			q.fail(i, err)
		}
	}
}

func (q *taskQueue) wants(i int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return i < q.end
}

func (q *taskQueue) fail(i int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i < q.end {
		q.end, q.err = i, err
	}
}
