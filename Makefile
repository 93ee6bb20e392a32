# Every target needs nothing but Go; the race detector also needs a C compiler.
GO ?= go
HAVE_CC := $(shell command -v $${CC:-cc} 2>/dev/null)
RACE := $(if $(HAVE_CC),-race,)
FUZZTIME ?= 10s

.PHONY: demo test sim mutants fmt vet lint nats vectors interop bench fuzz soak gen schemas

# demo is the main job: three bots, two node processes, two kills, recovery by replay. Nothing is left behind.
demo:
	$(GO) run ./cmd/node demo

test: fmt vet lint
	@$(if $(HAVE_CC),true,echo "no C compiler: running without the race detector")
	$(GO) test $(RACE) -timeout 15m ./...
	$(MAKE) --no-print-directory sim
	cd examples/echo && $(GO) vet . && $(GO) test $(RACE) .

# sim plays SEEDS whole groups with every fault there is, one thread each; a failure names the seed to play again with PARLEY_SIM_SEED.
SEEDS ?= 10000
sim:
	$(GO) vet -tags parley_sim ./internal/sim ./mlsengine/...
	PARLEY_SIM_SEEDS=$(SEEDS) $(GO) test -tags parley_sim -count 1 -timeout 15m ./internal/sim

# mutants breaks rules on purpose, one at a time, and fails where no test notices. MUTANTS names some of them, or a set.
mutants:
	$(GO) run ./tools/mutants $(MUTANTS)

fmt:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt needed:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

# lint: a secret's type changes by saying so (S1016 would convert silently between kinds of secrets).
lint:
	$(GO) tool -modfile=tools/lint/go.mod staticcheck -checks inherit,-S1016 ./...

# nats runs a separate server, sync always, on NATS_PORT with its files in NATS_DIR.
NATS_DIR ?= nats-data
NATS_PORT ?= 4222
nats:
	$(GO) run ./internal/natsd/cmd --data $(NATS_DIR) --listen 127.0.0.1:$(NATS_PORT)

# vectors drives conversations that other implementations made through actors and log. DIR holds files of the passive-client kind.
DIR ?= $(or $(PARLEY_VECTORS),../shared/vectors)
vectors:
	$(GO) run ./cmd/vectors $(DIR)

# interop plays random scripts against servers of the MLS working group's interface: CLIENTS=host:port,host:port, or one of our own.
SCRIPTS ?= 1000
SEED ?= 1
interop:
	$(GO) run ./cmd/mls-interop run --scripts $(SCRIPTS) --seed $(SEED) $(if $(CLIENTS),--clients $(CLIENTS))

# bench prints every figure next to its unit: V, one Ed25519 verification, or F, one fsynced 1 KiB publish, measured in the same run.
bench:
	$(GO) test -run '^$$' -bench . -benchtime 1s -timeout 60m ./mlsengine ./events ./events/jetlog ./delivery .

# fuzz gives every fuzz target FUZZTIME. What is found is hardly made smaller: with coverage that differs a little from run to run, as with pools
# and maps, the search for smaller inputs would take up all of it.
fuzz:
	@for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$p || exit 1; \
		done; \
	done

# soak runs the long versions of the tests.
soak:
	PARLEY_SOAK=1 $(GO) test $(RACE) -timeout 4h ./...
	PARLEY_SOAK=1 PARLEY_SIM_SEEDS=100000 $(GO) test -tags parley_sim -count 1 -timeout 12h ./internal/sim

# gen rewrites the generated protobuf code from its schemas.
gen:
	$(GO) run -C tools/gen . $(CURDIR)

# schemas checks the style of the schemas, and that what BASE could read can still be read. The first run builds buf.
BASE ?= main
schemas:
	$(GO) -C tools/buf tool buf lint ../.. --config buf.yaml
	$(GO) -C tools/buf tool buf breaking ../.. --config buf.yaml --against '$(CURDIR)/.git#branch=$(BASE)'
