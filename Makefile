# One target per habit. `make demo` and `make test` need Python, Node.js and make; they set up everything else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUNDLE := tb_ckptmeta/plugin/static/index.js
SOURCES := $(shell find frontend/src -name '*.ts')
DEMO ?= ckptmeta-demo
PORT ?= 6006
PYTEST_ARGS ?=
BENCH ?=
BEAM := .venv-beam
AZURITE := .azurite

# Tests start thousands of processes; each would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test remote-test slow-test bench-test beam-test corpus bench check lint types format frontend frontend-test chromium wheel clean

demo: $(VENV)/.legacy $(BUNDLE)
	$(BIN)/tb-ckptmeta demo $(DEMO) --port $(PORT)

test: $(VENV)/.test $(BUNDLE) frontend-test chromium
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

# What asks slow, silent and busy servers; a scan and a verdict over S3 `make test` runs, too.
remote-test: $(VENV)/.test $(BUNDLE) $(AZURITE)/.stamp
	$(BIN)/python -m pytest -m remote tests/remote $(PYTEST_ARGS)

# Rare states, each brought about by whole commands: batches that end and go on, corrupt weights, full disks, little memory.
slow-test: $(VENV)/.test $(BUNDLE)
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# Apache Beam has an environment of its own: it pins versions of what TensorFlow needs, too.
beam-test: $(BUNDLE)
	$(MAKE) VENV=$(BEAM) $(BEAM)/.beam-test
	$(BEAM)/bin/python -m pytest -m beam tests/batch tests/remote/test_remote_batch.py $(PYTEST_ARGS)

# Every model of tests/corpus: a table on the terminal, and in docs/models.md. It takes half an hour.
corpus: $(VENV)/.test $(VENV)/.corpus $(BUNDLE)
	$(BIN)/python -m pytest -m corpus -s tests/corpus $(PYTEST_ARGS)

# Whether the benchmarks run through, small and once; some of them `make test` runs, too.
bench-test: $(VENV)/.test $(BUNDLE)
	$(BIN)/python -m pytest -m bench tests/test_benchmarks.py $(PYTEST_ARGS)

# What docs/performance.md tells; BENCH="NAME…" runs some of it.
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks $(BENCH)

check: lint types test

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.test frontend/node_modules/.stamp
	$(BIN)/mypy
	cd frontend && npm run --silent check

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

frontend: $(BUNDLE)

frontend-test: frontend/node_modules/.stamp
	cd frontend && npm test --silent

# The browser tests drive Debian's Chromium, or the one that CHROMIUM names.
chromium:
	@if [ -z "$$CHROMIUM" ] && ! command -v chromium >/dev/null; then \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; \
	  elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then \
	    sudo apt-get update -qq && sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; \
	  else \
	    echo "The browser tests need Chromium: install it, or name one: make test CHROMIUM=/path/to/chromium" >&2; exit 1; \
	  fi; \
	fi

wheel: $(VENV)/.test $(BUNDLE)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(BEAM) $(AZURITE) build dist frontend/build frontend/node_modules tb_ckptmeta/plugin/static *.egg-info

export CHROMIUM

# Each extra has a stamp: what is installed is installed again when pyproject.toml changes.
$(VENV)/.%: pyproject.toml setup.py $(BUNDLE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	touch $@

# The server that the tests of abfs:// ask; it is Node.js'.
$(AZURITE)/.stamp:
	npm install --prefix $(AZURITE) --no-audit --no-fund --no-save --silent azurite@3
	touch $@

frontend/node_modules/.stamp: frontend/package.json frontend/package-lock.json
	cd frontend && npm ci --no-audit --no-fund --silent
	touch $@

$(BUNDLE): frontend/node_modules/.stamp frontend/build.mjs $(SOURCES)
	cd frontend && npm run --silent build
