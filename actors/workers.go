package actors

import "sync"

// workers run mailboxes on goroutines that stay for the next one: cryptography needs deep stacks, and a new goroutine for every message
// would grow its own each time. The one that was busy last goes first. It implements the library's dispatcher.
type workers struct {
	mu    sync.Mutex
	idle  []chan func()
	ended bool
}

const (
	idleWorkersMax    = 256
	messagesPerWorker = 300 // of one mailbox, before others are let run
)

// Schedule runs a mailbox.
func (w *workers) Schedule(run func()) {
	w.mu.Lock()
	n := len(w.idle)
	if n == 0 {
		w.mu.Unlock()
		go w.work(run)
		return
	}
	jobs := w.idle[n-1]
	w.idle = w.idle[:n-1]
	w.mu.Unlock()
	jobs <- run
}

// Throughput is how many messages of a mailbox a worker takes at a time.
func (*workers) Throughput() int { return messagesPerWorker }

func (w *workers) work(run func()) {
	jobs := make(chan func(), 1)
	for more := true; more; run, more = <-jobs {
		run()
		w.mu.Lock()
		if w.ended || len(w.idle) == idleWorkersMax {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, jobs)
		w.mu.Unlock()
	}
}

// end lets the workers go that have nothing to do; others go when they have done what they do.
func (w *workers) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, jobs := range w.idle {
		close(jobs)
	}
	w.idle, w.ended = nil, true
}
