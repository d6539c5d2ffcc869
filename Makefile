# `make` alone lists the targets. Everything runs on a fresh Debian machine as root; `make demo` needs
# only the Rust toolchain.
.DEFAULT_GOAL := help
.PHONY: help demo build images test test-unit test-codec test-search test-api test-crash test-gate test-report screenshot test-containers gate-bless gate-features e2e cluster-up cluster-demo cluster-down bench bench-peers scaling crds dashboards

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the main job on this machine: a target, 20 s of load, the verdict, every request in a file
	cargo build --release --locked -p loadtest-cli
	target/release/loadtest demo

build: ## release binaries
	cargo build --release --locked --workspace --bins

images: build ## both images as OCI archives in target/cluster/images
	tests/cluster/images/build-images.sh

test: ## all but images and report pages: unit, real HTTP and search servers, real API server and cluster, what a request costs
	tests/run.sh

test-unit: ## lints, unit tests, engine and exporter against scripted servers, local runs
	tests/run.sh unit

test-codec: ## our HTTP/1.1 against go-httpbin, nginx, Node and Python
	tests/run.sh codec

test-search: ## the exporter against a real OpenSearch and a real Elasticsearch
	tests/run.sh search

test-api: ## the API against a real kube-apiserver
	tests/run.sh api

test-crash: ## the operator dies, or the API server fails it, at each of its calls
	tests/run.sh crash

test-gate: ## instructions, system calls and allocations of one request against tests/gate/costs.txt
	tests/run.sh gate

test-report: ## the report pages of real runs in Chromium, with axe
	tests/run.sh report

screenshot: ## docs/report.png, from a run of half a minute
	cargo build --release --locked --workspace --bins
	tests/report/run.sh --screenshot docs/report.png

test-containers: ## the images and examples/compose in a Docker engine of its own
	tests/run.sh containers

gate-bless: ## writes that file anew, after a change that is worth its price
	cargo build --release --locked --workspace --bins
	tests/gate/run.sh --bless

gate-features: ## what each thing that a scenario may say costs, into tests/gate/features.md
	cargo build --release --locked --workspace --bins
	tests/gate/run.sh --features

e2e: ## the operator in a real cluster, from helm install to the verdict
	tests/run.sh e2e

cluster-up: ## a real one-node Kubernetes with the operator and a search server, to play with
	cargo build --release --locked --workspace --bins
	tests/environment.sh operator

cluster-demo: ## examples/httpbin.yaml in that cluster, from apply to verdict
	cargo build --release --locked --workspace --bins
	tests/environment.sh demo

cluster-down: ## stops it and leaves nothing behind
	tests/environment.sh down

bench: ## beside wrk, oha, Goose, k6, hey, vegeta and Locust, 45 min, into docs/performance.md
	tests/bench/run.sh

bench-peers: ## installs those of them that are missing, into target/bench/peers
	tests/bench/peers.sh

scaling: ## how much one operator holds, 10 min, for docs/scaling.md
	tests/run.sh scale

dashboards: ## regenerates the dashboards of the chart from dashboards/src/content
	cargo run --locked -p loadtest-dashboards --bin generate-dashboards

crds: ## regenerates the chart's CRD files and docs/api-reference.md from the types
	cargo run --locked -p loadtest-crds --bin generate-crds
