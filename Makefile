# SPDX-License-Identifier: Apache-2.0
# What there is to do here. Each target sets up what it needs; a second run is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build test sanitize conformance demo guests examples format clean sim sim-long sim-mutants
JOBS ?= $(shell nproc)

help: ## This list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Packages, wasm engine, control plane, wasm toolchains (first time: about 12 minutes)
	@scripts/setup

build: ## build/bin/dormouse, release (first time: about 4 minutes)
	@scripts/setup apt rust-target wasmtime
	@scripts/build release

test: ## Everything that can be tested here, but for the sanitizers (first time: about 30 minutes with set-up)
	@scripts/setup
	@scripts/build release
	@scripts/examples
	@scripts/test

sanitize: ## C++ tests and fuzz targets under ASan+UBSan, tests under TSan (about 15 minutes)
	@scripts/setup apt rust-target wasmtime
	@scripts/build asan
	@scripts/build tsan
	@scripts/test --sanitize

conformance: ## Peers' own suites and our claims, at the API server and through dormouse proxy (about 10 minutes; first time 20 more)
	@scripts/setup
	@scripts/build release
	@tests/conformance/run

demo: ## A real control plane, three operators in one host, before your eyes (first time: about 20 minutes)
	@scripts/setup
	@scripts/build release
	@scripts/demo

examples: ## Build the example operators, as guests and natively, into the cache
	@scripts/build release
	@scripts/examples

bench-%: ## A benchmark of bench/, such as make bench-first; its last line is one JSON object
	@scripts/setup
	@scripts/build release
	@bench/$*/run

sim: ## The shared watch cache against a model API server with faults: a million checked events (seconds)
	@scripts/build release
	@build/bin/watchcache_sim --events 1000000

sim-long: ## The same, 10^8 events (about ten minutes)
	@scripts/build release
	@build/bin/watchcache_sim --events 100000000

sim-mutants: ## Each bug of tests/sim/mutants must be found by the simulator (about seven minutes)
	@scripts/build release
	@tests/sim/run_mutants.py build

format: ## clang-format over src/
	@clang-format-19 -i $$(git ls-files 'src/*.cc' 'src/*.h')

clean: ## Remove build/ (the cache outside the tree stays)
	@rm -rf build
