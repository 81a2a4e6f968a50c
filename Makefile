# Everything that a person or CI runs. `make` alone lists it.
# Settings: SECONDS=n ends the demo by itself; WATCHTREE_MODELS=DIR names a directory with more models and footage.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test bench-outbox bench-restart bench-link bench-fleet bench-camera bench-clip clean

# The programs of a site, and those that test it.
PROGRAMS := --workspace --bins

help: ## What there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: ## Install what is missing (Debian packages; says what it installs)
	@tests/scripts/setup.sh

build: setup ## Build all programs
	@echo "build: the first takes some minutes"
	@cargo build --locked $(PROGRAMS)

demo: build ## Run a whole site on this machine, until Ctrl-C or for SECONDS=n
	@tests/scripts/demo.sh $(if $(SECONDS),--seconds $(SECONDS))

test: setup ## Everything that CI runs
	@tests/scripts/test.sh

bench-outbox: setup ## Measure the outbox: events made durable, against the disk alone
	@cargo bench --locked -p actors --bench outbox
	@cat target/bench/outbox.json

# The nodes that it kills and stops are measured as they are shipped.
bench-restart: setup ## Measure what a failure costs: actor against Erlang/OTP, camera port, a node's stop
	@echo "bench-restart: the first builds everything a second time, optimised"
	@cargo build --release --locked $(PROGRAMS)
	@cargo bench --locked -p tests --bench restart
	@cat target/bench/restart.json

bench-link: setup ## Measure a call over a link: against raw QUIC and NATS, and behind a clip on a slow link
	@echo "bench-link: the first builds much a second time, optimised"
	@cargo bench --locked -p tests --bench link
	@cat target/bench/link.json

# A relay as it is shipped, on the disk of the target directory.
bench-fleet: setup ## Measure what 1,000 edges cost a relay: acks, CPU, memory, all back after a kill -9
	@echo "bench-fleet: the first builds much a second time, optimised"
	@cargo build --release --locked -p nodes --bin watchtree-relay
	@cargo bench --locked -p tests --bench fleet
	@cat target/bench/fleet.json

# Nodes and ports as they are shipped.
bench-camera: setup ## Measure what a camera costs: CPU against ffmpeg and motion, memory, how many a core holds
	@echo "bench-camera: the first builds everything a second time, optimised"
	@cargo build --release --locked $(PROGRAMS)
	@cargo bench --locked -p tests --bench camera
	@cat target/bench/camera.json

bench-clip: setup ## Measure what a clip costs: until it plays, what is written for it, what a kill -9 leaves to mend
	@echo "bench-clip: the first builds everything a second time, optimised"
	@cargo build --release --locked $(PROGRAMS)
	@cargo bench --locked -p tests --bench clip
	@cat target/bench/clip.json

clean: ## Remove what was built
	@cargo clean
