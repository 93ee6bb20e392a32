//go:build parley_sim

package sim

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// seeds is how many games are played unless PARLEY_SIM_SEEDS says otherwise.
const seeds = 10_000

// sizeOf draws the size of a game: one of twenty is larger than six members, and in a soak up to 64.
func sizeOf(seed uint64) Size {
	switch {
	case seed%20 != 0:
		return Size{Members: 2 + int(seed%5), Steps: 150}
	case os.Getenv("PARLEY_SOAK") != "":
		return Size{Members: 7 + int(seed/20%58), Steps: 600}
	}
	return Size{Members: 7 + int(seed/20%6), Steps: 250}
}

// TestSeeds plays games and checks the laws of the package. Encryptions are recorded by process, so each core plays in a process of its
// own, and each of them in one thread.
func TestSeeds(t *testing.T) {
	if seed, ok := number(t, "PARLEY_SIM_SEED"); ok {
		if _, v := Play(seed, sizeOf(seed)); v != nil {
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
		playAll(t, first, step, count)
		return
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	total := Tally{}
	cores := runtime.GOMAXPROCS(0)
	for i := range cores {
		wait.Go(func() {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestSeeds$", "-test.timeout", "0")
			c.Env = append(os.Environ(), fmt.Sprintf("PARLEY_SIM_FIRST=%d", i+1), fmt.Sprintf("PARLEY_SIM_STEP=%d", cores), fmt.Sprintf("PARLEY_SIM_SEEDS=%d", count), "GOMAXPROCS=1")
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(t, out)
		})
	}
	wait.Wait()
	for _, name := range tallies {
		t.Logf("%8d %s", total[name], name)
		if total[name] == 0 && count >= 1000 {
			t.Errorf("no %s in %d games", name, count)
		}
	}
}

// playAll plays every step-th seed, and ends with a line that says what was seen.
func playAll(t *testing.T, first, step, last uint64) {
	total := Tally{}
	for seed := first; seed <= last; seed += step {
		tally, v := Play(seed, sizeOf(seed))
		if v != nil {
			t.Fatal(v)
		}
		for name, n := range tally {
			total[name] += n
		}
	}
	line, err := json.Marshal(total)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s%s\n", tallyMark, line)
}

const tallyMark = "tally: "

// add takes over what a child has seen.
func (y Tally) add(t *testing.T, output []byte) {
	for line := range strings.Lines(string(output)) {
		text, ok := strings.CutPrefix(line, tallyMark)
		if !ok {
			continue
		}
		var seen Tally
		if err := json.Unmarshal([]byte(text), &seen); err != nil {
			t.Error(err)
		}
		for name, n := range seen {
			y[name] += n
		}
	}
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
