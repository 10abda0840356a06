# make run: everything on one machine. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SETTINGS ?= examples/settings.yaml
RUN ?= run

.PHONY: run serve check ui install test bench real lint types lock clean

run: install
	@$(BIN)/python -m local.run --settings "$(SETTINGS)" --run-dir "$(RUN)"

# The same, until Ctrl-C: Prefect's UI is the control room. Jobs go on; the next one attaches.
serve: install
	@$(BIN)/python -m local.run --serve --settings "$(SETTINGS)" --run-dir "$(RUN)"

# Is a settings file right? Touches nothing.
check: install
	@$(BIN)/python -m local.check "$(SETTINGS)"

ui: install
	@$(BIN)/python -m local.ui --run-dir "$(RUN)"

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d; use make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMP).dev: $(STAMP) requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

# Two tests at once, for most of them wait; make test TESTS=tests/worksets AT_ONCE=0 for one by one.
AT_ONCE ?= 2
TESTS ?= tests
test: $(STAMP).dev
	$(BIN)/python -m pytest -n $(AT_ONCE) --dist loadfile --no-loadscope-reorder --durations 15 $(TESTS)

# Figures against their targets; some take minutes. make bench NAME="plan_300 history" for some.
bench: $(STAMP).dev
	$(BIN)/python -m benchmarks $(NAME)

lint: $(STAMP).dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP).dev
	$(BIN)/mypy

# The real components, where they can be had; PostgreSQL comes as a wheel.
REAL := .real
real: $(REAL)/dynamodb/DynamoDBLocal.jar $(REAL)/snakemake/.installed
	@missing=""; PATH="$$PATH:/usr/sbin"; \
	command -v chromium >/dev/null || missing="$$missing chromium fonts-dejavu-core"; \
	command -v tmux >/dev/null || missing="$$missing tmux"; \
	command -v slurmctld >/dev/null || missing="$$missing slurmctld slurmd slurm-client munge"; \
	{ command -v slurmdbd && command -v mariadbd; } >/dev/null || missing="$$missing slurmdbd mariadb-server"; \
	[ -x /usr/sbin/sshd ] || missing="$$missing openssh-server"; \
	command -v java >/dev/null || missing="$$missing openjdk-17-jre-headless"; \
	for tool in fastp bwa samtools bcftools; do \
		command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then echo "chromium, tmux, Slurm with accounting, OpenSSH, Java, fastp: there"; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "missing, and not to be installed here (apt-get as root is needed):$$missing"; fi

# The workflow engine of examples/genomes, in an environment of its own.
$(REAL)/snakemake/.installed: requirements-snakemake.lock
	$(PYTHON) -m venv --clear $(REAL)/snakemake
	$(REAL)/snakemake/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# DynamoDB Local, by AWS, as it comes inside an npm package; it needs Java 17.
$(REAL)/dynamodb/DynamoDBLocal.jar:
	@mkdir -p $(REAL)/npm && cd $(REAL)/npm && \
	npm pack --silent amplify-dynamodb-simulator@2.9.30 && tar xzf amplify-dynamodb-simulator-*.tgz
	@rm -rf $(REAL)/dynamodb && mv $(REAL)/npm/package/emulator $(REAL)/dynamodb && rm -rf $(REAL)/npm
	@touch $@

# Needs uv; writes hashes and no address of any index. The second holds what only tests need.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --custom-compile-command "make lock"
lock:
	$(LOCK) pyproject.toml --extra local --extra dev -o requirements-dev.lock >/dev/null
	$(LOCK) pyproject.toml --extra local -c requirements-dev.lock -o requirements.lock >/dev/null
	$(LOCK) requirements-snakemake.in -o requirements-snakemake.lock >/dev/null

# Forgets the demo; keeps results. Asks before it forgets anything else (YES=1: does not ask).
clean:
	@python=$(BIN)/python; [ -x $$python ] || python="$(PYTHON)"; \
	command -v $$python >/dev/null || { echo "make clean needs Python 3.11 or newer: make clean PYTHON=python3.12" >&2; exit 2; }; \
	$$python -m local.clean --run-dir "$(RUN)" $(if $(filter 1 yes,$(YES)),--yes)
