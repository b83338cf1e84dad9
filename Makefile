# `make run` and `make test` are all a newcomer needs; `make help` lists the rest.

PYTHON ?= python3
DATA ?= ./scep-data
ARGS ?=
FUZZ_SECONDS ?= 60
CRASH_ROUNDS ?= 200
# Test files at a time. Each process starts databases and servers of its own.
TEST_PROCESSES ?= 2

# Peers and tools that the tests drive. A test whose package is missing is skipped, or fails where CI=true.
DEBIAN_PACKAGES := certmonger curl debootstrap docker-compose faketime git libstrongswan-extra-plugins nginx-light \
  openssl postgresql-15 procps redis-server scep strace strongswan-pki systemd util-linux

VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
FUZZ_STAMP := $(VENV)/.installed-fuzz

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help run test check bench crash fuzz wheel readme container-check constraints clean packages debian-packages

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

run: $(RUN_STAMP) ## install into .venv, make a CA under ./scep-data on the first run, and serve
	@exec $(BIN)/scep-server quickstart --data $(DATA) $(ARGS)

test: packages $(DEV_STAMP) ## run every test (as root on Debian: install the packages they need first)
	$(BIN)/python -m pytest -m "not bench" -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(DEV_STAMP) ## lint, format, types, import rules, command help in the README, tests of the pure rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/house/readme_help.py --check
	$(BIN)/python -m pytest -q tests/policy tests/fuzz

bench: packages $(DEV_STAMP) ## measure: our server, Debian's scepserver, and the ceiling of the processor
	$(BIN)/python -m tests.bench $(ARGS)

crash: packages $(DEV_STAMP) ## kill -9 under load, CRASH_ROUNDS times (200)
	CRASH_ROUNDS=$(CRASH_ROUNDS) $(BIN)/python -m pytest -m crash -s $(ARGS)

fuzz: $(FUZZ_STAMP) ## run every fuzz target for FUZZ_SECONDS (60) each
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS)

wheel: $(DEV_STAMP) ## build dist/scep_server-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

readme: $(DEV_STAMP) ## write the program's own help into README.md
	$(BIN)/python tests/house/readme_help.py --write

container-check: $(DEV_STAMP) ## run the Containerfile's steps in a clean Debian made by debootstrap (root; a few minutes)
	$(BIN)/python tests/deploy/containerfile_steps.py $(ARGS)

constraints: ## resolve pyproject.toml afresh and write constraints.txt
	@set -e; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	  $(PYTHON) -m venv $$scratch/venv; \
	  $$scratch/venv/bin/python -m pip install --quiet --upgrade setuptools; \
	  $$scratch/venv/bin/python -m pip install --quiet --no-build-isolation '.[dev,fuzz]'; \
	  { sed -n '/^#/p' constraints.txt; \
	    $$scratch/venv/bin/python -m pip freeze --all | grep -Ev '^(scep-server|pip|wheel)[ =@]' | LC_ALL=C sort -f; \
	  } > $$scratch/constraints.txt; \
	  cp $$scratch/constraints.txt constraints.txt

clean: ## remove what the targets made, except ./scep-data
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

debian-packages:
	@echo $(DEBIAN_PACKAGES)

# Installs what is missing when root on Debian; otherwise says what is missing and goes on.
packages:
	@if ! command -v dpkg-query >/dev/null; then \
	  echo "Not Debian: tests that drive other programs need what these packages hold: $(DEBIAN_PACKAGES)"; exit 0; fi; \
	missing=; for package in $(DEBIAN_PACKAGES); do \
	  case $$(dpkg-query --show --showformat '$${db:Status-Status}' $$package 2>/dev/null) in \
	    installed) ;; *) missing="$$missing $$package";; esac; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ $$(id -u) = 0 ]; then $(MAKE) apt-install APT="$$missing"; \
	else echo "Tests that need them are skipped; to run them all: apt-get install$$missing"; fi

.PHONY: apt-install
apt-install:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(APT)

# Debian keeps venv's installer in a package of its own, python3-venv.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "scep-server needs Python 3.11 or later; name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ $$(id -u) = 0 ] && command -v apt-get >/dev/null; then $(MAKE) apt-install APT=python3-venv; \
	  else echo "$(PYTHON) has no venv support; on Debian: apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

# setuptools comes first and pinned, so that building our own package fetches nothing that constraints.txt does not name.
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) setuptools
	$(INSTALL) --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP)
	$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

$(FUZZ_STAMP): $(DEV_STAMP)
	$(INSTALL) --no-build-isolation --editable '.[dev,fuzz]'
	@touch $@
