# make run: everything on one machine. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SETTINGS ?= examples/settings.yaml
RUN ?= run

.PHONY: run ui install test real lint types lock clean

run: install
	@$(BIN)/python -m local.run --settings $(SETTINGS) --run-dir $(RUN)

ui: install
	@$(BIN)/python -m local.ui --run-dir $(RUN)

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d; use make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# The real components: so far a browser, to look at Prefect's UI; PostgreSQL comes as a wheel.
real:
	@if command -v chromium >/dev/null; then echo "chromium: there"; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	else echo "chromium is missing and cannot be installed here (apt-get as root is needed)"; fi

# Needs uv; writes hashes and no address of any index.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --extra local --extra dev --custom-compile-command "make lock" \
		pyproject.toml -o requirements.lock

clean:
	@if [ -d $(RUN) ] && [ -x $(BIN)/python ]; then $(BIN)/python -m local.ui --run-dir $(RUN) --stop; fi
	rm -rf $(RUN)
