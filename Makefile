# hafen: what a developer types. `make help` lists it.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help deps build dist verify fix agents test demo vm-test fuzz chaos bench bench-plan conformance sim mutants clean
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

agents: deps ## make the snapshot of agents' metadata anew, from the packages installed here: src/manifest/agents.txt
	UPDATE_EXPECT=1 $(CARGO) test --quiet --lib snapshot_of_agents

test: deps ## all tests; as root the e2e tests too
	$(CARGO) test --locked

demo: deps ## three nodes, one push, one power cut; without root too
	@./e2e/demo.sh

vm-test: build ## takeover by watchdog alone, in three virtual machines without any other fencing (as root, minutes; apt installs qemu)
	@./e2e/vm/watchdog.sh
	@WATCHDOG=softdog ./e2e/vm/watchdog.sh frozen

fuzz: ## feed the parsers what nobody would write: SECONDS=180 for each target (needs nightly; rustup installs it; not part of test)
	@./fuzz/run.sh $(or $(SECONDS),180)

chaos: deps ## break a real cluster in every way at once for MINUTES=15 (SEED=, NODES=3 or 5; as root)
	$(CARGO) build --locked --bin hafen --example chaos
	./target/debug/examples/chaos --minutes $(or $(MINUTES),15) $(if $(SEED),--seed $(SEED)) $(if $(NODES),--nodes $(NODES))

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

sim: ## simulated clusters under faults: SEEDS=N [FROM=M]; the first broken promise is shrunk and told (release build)
	$(CARGO) build --locked --release --bin hafen
	./target/release/hafen sim run --seeds $(or $(SEEDS),1000) --from $(or $(FROM),1)

mutants: ## plant every known fault in the code and see its checker fire (release build)
	$(CARGO) build --locked --release --features mutants --bin hafen --target-dir target/mutants
	./target/mutants/release/hafen sim mutants

clean: ## remove what was built
	$(CARGO) clean

include dist/install.mk
