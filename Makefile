PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes, of one thread each and about 1 GB.
WORKERS ?= 2
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test browser lint wheel bench docs notebooks site hooks clean

# One environment for everything, made anew when what it is made from changes.
# torch comes first: the constraint keeps pip from fetching a CUDA build.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	touch $@

demo: $(VENV)/ready
	$(BIN)/deltaspace demo --out runs/demo

# What is skipped, and why, stands at the end. Where Chromium cannot be had, the tests of the report's page are.
test: $(VENV)/ready
	@$(MAKE) --no-print-directory browser || echo "no Chromium: the tests of the report in a browser will be skipped"
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# Chromium, for the tests of the report.
browser: $(VENV)/ready
	@command -v chromium || command -v chromium-browser || command -v google-chrome \
	|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
	|| $(BIN)/playwright install --with-deps chromium

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The built wheel, in an environment and a folder that know nothing of this one.
wheel: $(VENV)/ready
	$(BIN)/python -m tests.wheel

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.planning
	$(BIN)/python -m benchmarks.engines engine-overhead workers-speedup
	$(BIN)/python -m benchmarks.report

docs: $(VENV)/ready
	$(BIN)/python -m deltaspace.report.methods docs/methods.md
	$(BIN)/python -m deltaspace.report.recipe_reference docs/recipes.md

# The notebooks that are to be read, with outputs of one run; minutes each.
notebooks: $(VENV)/ready
	$(BIN)/python -m tests.notebooks quickstart zoo landscape

# The documentation as a website, in site/. A warning is an error.
site: docs
	$(BIN)/zensical build --strict --clean

hooks: $(VENV)/ready
	$(BIN)/pre-commit install

clean:
	rm -rf $(VENV)
