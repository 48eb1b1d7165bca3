# make check   format, vet, lint, import law, unit tests; no root, under 90 s once the linter is built
# make test    everything: installs what the tests need with apt, then check and the tests that need root; real kernel bonds among them
# make test-bond  real kernel bonds and VLAN ports alone, in a virtual machine with Debian's kernel, held to the promised time
# make matrix  the fault matrix on real packets, every case RUNS times, into docs/measurements.md; about half an hour
# make build   the static binary, bin/peerless
# make bench   failover beside the floor and other engines, small; about three minutes, needs root
# make sim     the simulator through SEEDS seeds (2000), and every mutant of the machines; a few minutes
# make engines medians of what a failover costs beside each routing engine, ENGINE_RUNS each; an hour, needs root
# make fuzz    every fuzz target, FUZZTIME each
GO       ?= go
FUZZTIME ?= 20s
ENGINE_RUNS ?= 20
SEEDS    ?= 2000
RUNS     ?= 5
VERSION  ?= $(shell git describe --always --dirty 2>/dev/null || echo devel)
LINT     := bin/golangci-lint
PACKAGES := frr bird2 chromium tcpdump iproute2 zsh fish
MEASURE  := peerless/internal/(bench|driver/bfd|lab|lab/(matrix|netns|probe|stories|vm))
BOND_PACKAGES := qemu-system-x86 busybox-static

.PHONY: engines check test build bench sim fuzz vuln format vet lint unit root deps deps-bond test-bond matrix clean

check: format vet lint unit

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/peerless ./cmd/peerless

format:
	@bad=$$(gofmt -l cmd internal); test -z "$$bad" || { echo "not formatted (run gofmt -w):"; echo "$$bad"; exit 1; }

vet:
	$(GO) vet ./...

# The linter is built from the versions pinned in tools/go.mod.
$(LINT): tools/go.mod tools/go.sum
	cd tools && $(GO) build -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

lint: $(LINT)
	$(LINT) run ./...

# The same packages as the whole run without the labs. What needs root skips and says why.
unit:
	$(GO) test -short ./...

# Known vulnerabilities in what we depend on; asks the Go vulnerability database over the network.
vuln:
	cd tools && $(GO) build -o ../bin/govulncheck golang.org/x/vuln/cmd/govulncheck
	bin/govulncheck ./...

deps:
	@if test "$$(id -u)" != 0; then echo "make test needs root: it builds network namespaces"; exit 1; fi
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if test -n "$$missing"; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; fi

# Packages that measure time have the machine for themselves, one after another. Bonds are given a second more than they have in test-bond,
# since a machine that ran the other tests just before is no idle one.
root: build
	CI=true $(GO) test -p 2 -count 1 -timeout 25m $$($(GO) list ./... | grep -Evx '$(MEASURE)')
	BOND=1 CI=true $(GO) test -p 1 -count 1 -timeout 25m $$($(GO) list ./... | grep -Ex '$(MEASURE)')

test: deps deps-bond format vet lint root

# What the running kernel lacks, in a machine of its own: qemu without KVM, Debian's kernel package (unpacked, not installed).
deps-bond:
	@if test "$$(id -u)" != 0; then echo "the tests of bonds need root: they build network namespaces"; exit 1; fi
	@missing=""; for p in $(BOND_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if test -n "$$missing" || ! apt-cache depends linux-image-amd64 2>/dev/null | grep -q Depends:; then apt-get update -qq; fi; \
	if test -n "$$missing"; then DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; fi

# Real kernel bonds and VLAN ports: servers without peerless, and one whose bond peerless drives. Less than four minutes.
test-bond: deps-bond
	BOND=strict CI=true $(GO) test -count 1 -timeout 10m -v -run '^TestBond_' ./internal/lab/vm

# Bounded; docs/measurements.md has the commands of the long ones.
bench: build
	bin/peerless bench failover --hosts 1,1000 --runs 3 --join bin/failover.json --svg bin/failover.svg

sim: build
	bin/peerless sim --seeds $(SEEDS)
	$(GO) test -count 1 -timeout 15m -run '^TestMutants' ./internal/sim

matrix: build
	bin/peerless lab run matrix --runs $(RUNS) --markdown docs/measurements.md

# One lab for each, and all faults gone through again and again on it.
engines: build
	@for c in "bgp peerless" "frr-ospf peerless" "frr-bgp peerless" "bird-ospf peerless" "bird-bgp peerless" "static peerless" "bgp frr" "bgp bird"; do \
	set -- $$c; bin/peerless lab run fig7 --engine $$1 --gateway $$2 --runs $(ENGINE_RUNS) || exit 1; done

fuzz:
	@set -e; $(GO) list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do \
	for target in $$(grep -ho 'func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go 2>/dev/null | cut -c6-); do \
	echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; done; done

clean:
	rm -rf bin
