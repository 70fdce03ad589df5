# SPDX-License-Identifier: Apache-2.0
# What there is to do here. Each target sets up what it needs; a second run is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build test sanitize demo guests examples format clean
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

format: ## clang-format over src/
	@clang-format-19 -i $$(git ls-files 'src/*.cc' 'src/*.h')

clean: ## Remove build/ (the cache outside the tree stays)
	@rm -rf build
