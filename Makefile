# Two commands to know: make demo, make test.
# Another interpreter: make test PYTHON=python3.12
# Another build of torch: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check lint types docs kill long estimators zoo bench clean
.DELETE_ON_ERROR:

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch goes first: the rest then keeps the build that was chosen.
$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "node_oc needs Python 3.11 or later, and '$(PYTHON)' is not that. Try: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP) -e .
	@touch $@

$(VENV)/.done: $(VENV)/.runtime
	$(PIP) -e ".[dev,docs]"
	$(PIP) --no-deps torchvision timm
	@touch $@

demo: $(VENV)/.runtime  ## Find the depth of a network on two spirals; pictures and report in runs/spirals.
	$(BIN)/node-oc run spirals --overwrite

test: $(VENV)/.done  ## Run the test suite.
	$(BIN)/python -m pytest -n auto --dist loadfile

check: lint types test docs  ## Everything that continuous integration asks for.

lint: $(VENV)/.done  ## Style.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.done  ## Static types.
	$(BIN)/mypy

docs: $(VENV)/.done  ## Build the documentation into site/, warnings are errors.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

kill: $(VENV)/.done  ## Kill runs at random moments and resume them: same bits? Takes minutes.
	$(BIN)/python -m experiments.kill

long: $(VENV)/.done  ## Run the tests that take minutes: gradients of every solver, method and control.
	$(BIN)/python -m pytest -m long -n auto

estimators: $(VENV)/.done  ## All of scikit-learn's checks, for every estimator. Takes minutes.
	$(BIN)/python -m experiments.estimators.checks

zoo: $(VENV)/.done  ## Adopt 22 networks of torchvision, timm, transformers and by hand, and check them. Takes minutes.
	$(BIN)/python -m experiments.zoo

bench: $(VENV)/.runtime  ## Time a training step beside its peers, two minutes; their environments first (3.8 GB).
	$(BIN)/python -m benchmarks.training_step --quick

clean:  ## Remove what can be made again; .venv and runs/ stay.
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
