# hafen: what a developer types. `make help` lists it.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help deps build dist verify fix test demo bench bench-plan conformance clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

deps: ## install what is missing (apt when root; never starts a service)
	@./e2e/deps.sh

build: deps ## build the program (debug)
	$(CARGO) build --locked

dist: deps ## build what is to be installed (release, slow): target/dist/hafen
	$(CARGO) build --locked --profile dist --bin hafen

verify: ## only looks: format, lints, docs, generated schemas, import rule
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --no-deps --document-private-items --quiet
	$(CARGO) test --locked --quiet --test tree
	$(CARGO) test --locked --quiet --lib schema

fix: ## may write: format, lints, schemas and golden files
	$(CARGO) fmt
	$(CARGO) clippy --fix --allow-dirty --allow-staged --all-targets
	UPDATE_EXPECT=1 $(CARGO) test --quiet --lib schema

test: deps ## all tests; as root the e2e tests too
	$(CARGO) test --locked

demo: deps ## three nodes, one push, one power cut; without root too
	@./e2e/demo.sh

bench: deps ## measure outages, cold start, pushes and the cost at rest (release build, as root)
	$(CARGO) build --locked --release
	$(CARGO) test --locked --release --test e2e bench_ -- --ignored --nocapture --test-threads=1

bench-plan: ## measure the planner over many sizes, beside crm_simulate where that is installed (release build)
	$(CARGO) build --locked --release --bin hafen --example plan_bench
	./target/release/examples/plan_bench

conformance: ## plan imported clusters directly and by way of their manifests: CTS=DIR holds the cases (not part of test)
	@test -d "$(CTS)/cases" || { echo "make conformance CTS=DIR: DIR/cases holds CIBs" >&2; exit 64; }
	$(CARGO) build --locked --bin hafen --example conformance
	@if test -f "$(CTS)/score.py"; then \
	  python3 "$(CTS)/score.py" --cases "$(CTS)/cases" --tool 'target/debug/hafen plan --cib {xml} --now {now} -o transition'; fi
	./target/debug/examples/conformance "$(CTS)"

clean: ## remove what was built
	$(CARGO) clean

include dist/install.mk
