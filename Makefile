# Two commands do everything: `make demo` and `make test`. Each begins with `setup`, which is a no-op
# when neither the lock file nor pyproject.toml changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: setup demo test check bench mutants simulate model model-mutants clean lock

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"chartledger needs Python 3.11 or newer, this is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) (first time: under a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(BIN)/chartledger demo $(if $(KEEP),--keep) $(if $(FHIR),--fhir '$(FHIR)') $(if $(JSON),--json)

# Two files of tests at a time: they share nothing but the machine. JOBS=0 runs them one after the other.
JOBS ?= 2

test: setup
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/python -m pytest -q tests/structure

bench: setup
	@$(BIN)/chartledger bench --authorities 4 --seconds 20 --operations 1 $(if $(JSON),--json)
	@$(BIN)/chartledger bench --authorities 4 --seconds 20 --operations 100 $(if $(JSON),--json)

# Needs uv; writes exact versions with hashes and no index address.
lock:
	uv pip compile pyproject.toml --group dev --group build --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --output-file requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Hunts every mutant in plainly drawn histories and writes the table of docs/testing.md; takes minutes.
mutants: setup
	@$(BIN)/python -m tests.simulation.mutants $(ARGS)

# Ledger and model of who may read what, side by side; a minute or two. STEPS and SEED as wanted.
model: setup
	@$(BIN)/python -m tests.protocol.ledger.test_access_model $(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED))

# Breaks the ledger in every way of tests/protocol/ledger/access_mutants.py; takes minutes.
model-mutants: setup
	@$(BIN)/python -m tests.protocol.ledger.access_mutants

simulate: setup
	@$(BIN)/chartledger simulate $(ARGS)
