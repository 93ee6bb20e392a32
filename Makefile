# Every target needs nothing but Go; the race detector also needs a C compiler.
GO ?= go
HAVE_CC := $(shell command -v $${CC:-cc} 2>/dev/null)
RACE := $(if $(HAVE_CC),-race,)

.PHONY: test fmt vet gen

test: fmt vet
	@$(if $(HAVE_CC),true,echo "no C compiler: running without the race detector")
	$(GO) test $(RACE) ./...

fmt:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt needed:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

# gen rewrites the generated protobuf code from its schemas.
gen:
	$(GO) run -C tools/gen . $(CURDIR)
