// Command mutants breaks rules on purpose, one at a time, and shows that a test catches each (make mutants):
//
//	go run ./tools/mutants [-list] [name or set ...]
//
// The source is not touched: the go command is given an overlay in which one text of one file is another. A mutant that no test catches is
// a survivor; a mutant whose text is not to be found any more, or which does not compile, is stale. Either makes the exit code 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"
)

func main() {
	list := flag.Bool("list", false, "list the mutants and do nothing")
	atOnce := flag.Int("p", 2, "mutants at once")
	flag.Parse()
	chosen := choose(flag.Args())
	if *list {
		for _, m := range chosen {
			fmt.Printf("%-36s %s: %s\n", m.Set+"/"+m.Name, m.File, m.Breaks)
		}
		return
	}
	if len(chosen) == 0 {
		fmt.Fprintln(os.Stderr, "no such mutant; mutants -list names them all")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if report(runAll(ctx, chosen, max(1, *atOnce))) > 0 {
		stop()
		os.Exit(1)
	}
}

// choose finds the mutants of the named sets, or with the names; none named means all.
func choose(names []string) []mutant {
	var out []mutant
	for _, m := range table() {
		if len(names) == 0 || slices.Contains(names, m.Set) || slices.Contains(names, m.Name) {
			out = append(out, m)
		}
	}
	return out
}

// outcome is what became of a mutant.
type outcome struct {
	mutant
	verdict verdict
	detail  string // the first test that failed, or what is stale
	took    time.Duration
}

func runAll(ctx context.Context, mutants []mutant, atOnce int) []outcome {
	outcomes := make([]outcome, len(mutants))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, m := range mutants {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			v, detail := m.run(ctx)
			outcomes[i] = outcome{m, v, detail, time.Since(began)}
			fmt.Printf("%-9s %-28s %-56s %5.1fs  %s\n", v, m.Set+"/"+m.Name, m.Breaks, outcomes[i].took.Seconds(), detail)
		})
	}
	wg.Wait()
	return outcomes
}

// report sums up, and counts what is not as it should be.
func report(outcomes []outcome) int {
	counts := map[verdict]int{}
	for _, o := range outcomes {
		counts[o.verdict]++
	}
	fmt.Printf("mutants: %d caught, %d survived, %d stale\n", counts[caught], counts[survived], counts[stale])
	for _, o := range outcomes {
		if o.verdict != caught {
			fmt.Printf("  %s %s (%s)\n", o.verdict, o.Name, o.File)
		}
	}
	return counts[survived] + counts[stale]
}
