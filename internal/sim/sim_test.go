//go:build parley_sim

package sim

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// seeds is how many games are played unless PARLEY_SIM_SEEDS says otherwise.
const seeds = 10_000

// sizeOf draws the size of a game: one of twenty is larger than six members, and in a soak up to 64.
func sizeOf(seed uint64) Size {
	switch {
	case seed%20 != 0:
		return Size{Members: 2 + int(seed%5), Steps: 120}
	case os.Getenv("PARLEY_SOAK") != "":
		return Size{Members: 7 + int(seed/20%58), Steps: 600}
	}
	return Size{Members: 7 + int(seed/20%6), Steps: 200}
}

// TestSeeds plays games and checks the laws of the package. Encryptions are recorded by process, so each core plays in a process of its
// own, and each of them in one thread.
func TestSeeds(t *testing.T) {
	if seed, ok := number(t, "PARLEY_SIM_SEED"); ok {
		if v := Play(seed, sizeOf(seed)); v != nil {
			t.Fatal(v)
		}
		return
	}
	count, ok := number(t, "PARLEY_SIM_SEEDS")
	if !ok {
		count = seeds
	}
	first, child := number(t, "PARLEY_SIM_FIRST")
	if child {
		step, _ := number(t, "PARLEY_SIM_STEP")
		for seed := first; seed <= count; seed += step {
			if v := Play(seed, sizeOf(seed)); v != nil {
				t.Fatal(v)
			}
		}
		return
	}
	var wait sync.WaitGroup
	cores := runtime.GOMAXPROCS(0)
	for i := range cores {
		wait.Go(func() {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSeeds$", "-test.timeout", "0")
			c.Env = append(os.Environ(), fmt.Sprintf("PARLEY_SIM_FIRST=%d", i+1), fmt.Sprintf("PARLEY_SIM_STEP=%d", cores), fmt.Sprintf("PARLEY_SIM_SEEDS=%d", count), "GOMAXPROCS=1")
			if out, err := c.CombinedOutput(); err != nil && !errors.Is(t.Context().Err(), err) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wait.Wait()
}

func number(t *testing.T, name string) (uint64, bool) {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n, true
}
