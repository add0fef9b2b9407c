# Targets only dispatch: the work is in .ci/ and in integration/cmd/.
# Every target installs and builds what it needs, and says so.

.PHONY: help build frontend demo test conformance corpus lint fuzz bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

build: ## temper, temper-frontend, buildkitd and buildctl in bin/
	@.ci/build

frontend: ## the frontend image as an OCI layout in bin/frontend
	@.ci/frontend

demo: ## build, harden and run the nginx example, with no image registry
	@.ci/demo

test: ## all tests, with real builders, containers and registries
	@.ci/test

conformance: ## BuildKit's own Dockerfile tests against the frontend
	@.ci/conformance

corpus: ## real applications at every level of hardening, and the table
	@.ci/corpus

lint: ## formatting, go vet and the house rules
	@.ci/lint

fuzz: ## every fuzz target for FUZZTIME (default 60s)
	@.ci/fuzz

bench: ## what hardening costs beside cp, evidence beside syft, grype and cosign, a release beside all of them
	@.ci/bench

clean: ## remove bin/
	@rm -rf bin
