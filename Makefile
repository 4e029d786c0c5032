# Everything a user or a developer starts by hand. Each target is one script, so that it reads and runs without make.

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench bench-quick build install lint ebpf clean-testbeds

help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building, the demo and the tests need (says what it does)
	scripts/setup.sh

demo: ## a whole cluster in network namespaces: who may talk to whom, shown live (ARGS=--keep leaves it running)
	scripts/demo.sh $(ARGS)

test: ## every check of the tree, as CI runs it (STAGES="fmt lint" for some of them)
	scripts/test.sh $(STAGES)

bench: ## criterion benches and the comparisons between pods (BENCHES="pipeline" for some of the former)
	scripts/bench.sh $(BENCHES)

bench-quick: ## instructions for a frame, and the comparisons between pods with few and short rounds
	scripts/bench.sh --quick

build: ## the release binary, target/release/sluice
	scripts/setup.sh build
	cargo build --locked --release -p sluice

install: build ## binary, /etc/sluice and systemd unit (PREFIX, DESTDIR)
	scripts/install.sh

lint: ## formatting, clippy, dependency rules and shell scripts
	scripts/test.sh fmt lint deps shell

ebpf: ## rebuild the kernel program's object from source
	scripts/install-ebpf-toolchain.sh
	scripts/build-ebpf.sh

clean-testbeds: ## remove what kept or crashed demos left behind
	target/release/sluice demo --cleanup
