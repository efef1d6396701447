# make run and make test are the two to know; both install from Debian's packages what is missing.

SHELL := /bin/bash
# Where rustup puts cargo, for shells that have not been told.
export PATH := $(HOME)/.cargo/bin:$(PATH)

# What random tests draw from: the same in every run, so that what passed passes again. make soak draws anew.
export PROPTEST_RNG_SEED ?= 1

PGWEIR = $${CARGO_TARGET_DIR:-target}/release/pgweir

# The end-to-end tests that make test leaves out, with what they say.
ROUTING = cargo test --release --package pgweir-tests --test e2e -- --nocapture --include-ignored --test-threads=1

# $(call step,what it is,command): says what is being done, and when it fails how to do it again.
define step
@printf '\n== %s\n' '$(1)'; $(2) || { code=$$?; printf '\nFAILED: %s\n  again: %s\n' '$(1)' '$(2)' >&2; exit $$code; }
endef

.DEFAULT_GOAL := help
.PHONY: help run build test soak test-regress test-routing test-matrix lint fmt bench bench-routing

help: ## this text
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

run: ## 1,000 clients over 20 server connections, with a PostgreSQL of its own; DEMO_SECONDS=N ends it, REPLICAS=2 shows reads by replicas
	@.ci/install build postgresql
	@cargo build --release --package pgweir
	@$(PGWEIR) dev --demo $(if $(REPLICAS),--replicas $(REPLICAS)) $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

build: ## target/release/pgweir
	@.ci/install build
	@cargo build --release --package pgweir

test: ## everything: format, lints, unit, property and end-to-end tests
	@.ci/install build postgresql drivers lint
	@.ci/install ldap || echo "Tests against an LDAP server are left out."
	$(call step,format,cargo fmt --all --check)
	$(call step,lints,cargo clippy --workspace --all-targets --quiet -- -D warnings)
	$(call step,tests,cargo test --workspace --no-fail-fast)
	$(call step,benchmark arithmetic,python3 -m unittest discover -s benches)
	@printf '\nEverything passed.\n'

soak: ## random tests with new seeds and PROPTEST_CASES=2000 or as many as you say, until one fails
	@.ci/install build postgresql
	@unset PROPTEST_RNG_SEED; export PROPTEST_CASES=$${PROPTEST_CASES:-2000}; \
	while cargo test --quiet --package pgweir-session && cargo test --quiet --package pgweir-tests --test e2e session_state; do :; done; exit 1

test-regress: ## PostgreSQL's own regression suite, directly and through transaction mode; about 5 minutes, wants the network once; SPLIT=1: reads by a replica
	@.ci/install build regress
	@cargo build --release --package pgweir
	@python3 tests/regress/run.py $(if $(SPLIT),--split) $(REGRESS_OPTIONS) --pgweir "$(PGWEIR)"

test-routing: ## clients that read what they wrote before replicas that lag, and primaries that are killed under Patroni; about 15 minutes; ROUTING_OPERATIONS=200000 for long
	@.ci/install build postgresql patroni
	@export ROUTING_OPERATIONS=$${ROUTING_OPERATIONS:-20000}; $(ROUTING) routing::checker routing::many routing::shares patroni::

test-matrix: ## routing with other PostgreSQLs than Debian's (VERSIONS="13 17 18"), about 5 minutes; wants the network once
	@.ci/install build postgresql drivers
	@tests/matrix $(or $(VERSIONS),13 17 18)

lint: ## format and lints only
	@.ci/install build lint
	$(call step,format,cargo fmt --all --check)
	$(call step,lints,cargo clippy --workspace --all-targets --quiet -- -D warnings)

fmt: ## format the code
	@cargo fmt --all

bench: ## side by side with PgBouncer and HAProxy, about 17 minutes; writes benches/results.md
	@.ci/install build postgresql bench
	@cargo build --release --package pgweir
	@python3 benches/run.py

bench-routing: ## what reads on replicas bring, and what routing costs, about 5 minutes; writes benches/routing.md
	@.ci/install build postgresql bench
	@cargo build --release --package pgweir
	@python3 benches/routing.py
