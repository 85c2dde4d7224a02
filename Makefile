# Everything runs in an environment of its own, made from hashed pins. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -X faulthandler
READY := $(VENV)/.ready
PROTO := proto/ilk/v1/similarity.proto
PROTOC := -m grpc_tools.protoc -I proto $(PROTO)
LOCK := $(BIN)/uv pip compile --universal --python-version 3.10 --generate-hashes --no-header \
  --no-annotate --no-emit-index-url -q pyproject.toml
PYTHONS ?= python3.10 python3.11 python3.12 python3.13 python3.14
STORE ?= store
PORT ?= 50051
# A running server for `make loadtest`; without it, the one on port 50051, or one of its own.
TARGET ?=
# A MovieLens folder or zip for `make demo` and `make serve`; without it, the embedded sample.
DATA ?=
SOURCE = $(if $(DATA),--movielens "$(DATA)",--sample)

export PYTHONDONTWRITEBYTECODE ?= 1

.PHONY: help demo serve loadtest test pythons check format stubs lock audit sbom bench faults clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## Build a bundle, serve it, ask it everything (DATA=... for your own MovieLens)
	@exec $(RUN) -m examples.demo $(SOURCE)

serve: $(READY)  ## Build a bundle if there is none, and serve it until Ctrl-C (STORE=, PORT=, DATA=)
	@test -f "$(STORE)/CURRENT" || $(RUN) -m indexer build $(SOURCE) --store "$(STORE)"
	@exec $(RUN) -m server --store "$(STORE)" --port $(PORT) --reflection

loadtest: $(READY)  ## Load a server with every kind of query, plot what it did (TARGET=, ARGS="--rates 50,100")
	@$(RUN) -m loadtest $(if $(TARGET),--target $(TARGET)) --output .cache/loadtest $(ARGS)

test: $(READY)  ## Run every test
	$(RUN) -m pytest -q

pythons:  ## Run every test with each Python that is here (PYTHONS="python3.12 ...")
	@for python in $(PYTHONS); do \
	  version=$$($$python -c 'import platform; print(platform.python_version())' 2>/dev/null) || continue; \
	  echo "Python $$version"; \
	  $(MAKE) --no-print-directory test PYTHON=$$python VENV=.cache/pythons/$$version || exit 1; done

check: $(READY)  ## Format, lint, types, import contracts, proto lint, stub drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd proto && ../$(BIN)/buf lint && ../$(BIN)/buf format --exit-code --diff
	rm -rf .cache/stubs && mkdir -p .cache/stubs
	$(RUN) $(PROTOC) --python_out=.cache/stubs --pyi_out=.cache/stubs --grpc_python_out=.cache/stubs
	for f in .cache/stubs/ilk/v1/*; do diff -q $$f ilk/v1/ || { echo "run: make stubs"; exit 1; }; done

format: $(READY)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .

stubs: $(READY)  ## Generate ilk/v1 from proto/
	$(RUN) $(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=.

lock: $(READY)  ## Pin every dependency anew, with hashes, for all systems and Pythons
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --all-extras --group dev --upgrade -o requirements.lock
	for program in server indexer; do \
	  $(LOCK) --extra $$program --constraints requirements.lock -o deploy/$$program.lock || exit 1; done

audit: .cache/audit/.ready  ## Look every pin up in the database of known vulnerabilities
	@.cache/audit/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
	  -r requirements.lock || { echo "audit: a pin is vulnerable, or could not be looked up: see above"; exit 1; }

sbom: .cache/audit/.ready  ## Write .cache/sbom: what the whole and each image are made of, as CycloneDX
	@mkdir -p .cache/sbom
	@for lock in requirements.lock deploy/server.lock deploy/indexer.lock; do \
	  PYTHONWARNINGS=ignore .cache/audit/bin/cyclonedx-py requirements $$lock --pyproject pyproject.toml \
	    --output-reproducible --of JSON -o .cache/sbom/$$(basename $$lock .lock).cdx.json || exit 1; done
	@ls .cache/sbom/*

bench: $(READY)  ## Run the benchmarks, each a ratio in one run
	$(RUN) -m benchmarks

faults: $(READY)  ## Break disks, processes, files, requests and connections for two hours, and count what gives
	$(RUN) -m benchmarks.faults

clean:  ## Remove what these targets made, but the store
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(READY): requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

# Tools of their own environment: what looks at the pins is not among them.
.cache/audit/.ready:
	$(PYTHON) -m venv .cache/audit
	.cache/audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.9" "cyclonedx-bom>=7"
	@touch $@
