# `make` or `make help` explains itself. Each target makes the environment it needs.
PYTHON ?= python3
# Extras of pyproject.toml beside dev: make setup EXTRAS=cuda12
EXTRAS ?=
VENV := .venv
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup train test test-quick test-oldest test-extras parity pictures bench lint clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  e.g. make train ARGS="trainer.max_steps=1000 seed=1"; make setup EXTRAS=cuda12'

# Each environment is made once, and again when pyproject.toml changes. $(1): folder, $(2): what to install.
define environment
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  f"Python 3.11 to 3.13 is needed, $(PYTHON) is {v[0]}.{v[1]}; say which: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)
	@touch $@
endef

setup: $(VENV)/.made  ## make .venv with the package and its test tools

$(VENV)/.made: pyproject.toml
	$(call environment,$(VENV),--editable '.[dev$(if $(EXTRAS),$(comma)$(EXTRAS))]')

.venv-oldest/.made: pyproject.toml
	$(call environment,.venv-oldest,--editable '.[dev]' jax==0.7.2 jaxlib==0.7.2 flax==0.12.0)

.venv-extras/.made: pyproject.toml
	$(call environment,.venv-extras,--editable '.[dev$(comma)enhance$(comma)wsq$(comma)parquet$(comma)peers]')

.venv-parity/.made: pyproject.toml
	$(call environment,.venv-parity,--editable '.[parity]')

comma := ,

train: setup  ## train Module 1 on synthetic fingers, small enough for two CPU cores (more settings: ARGS="key=value ...")
	$(VENV)/bin/python train.py experiment=quickstart $(ARGS)

test: setup  ## run the tests, two at a time
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

test-quick: setup  ## run the tests that take no training, no rendering and little compilation: under two minutes
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

# What computes with JAX, and a run of either stage; all other tests do nothing that depends on its version.
RUN := ::test_what_a_run_leaves
TESTS ?= tests/models tests/enhancement tests/registration tests/comparison tests/weights tests/training/test_loop.py$(RUN) tests/training/test_matcher.py$(RUN)

test-oldest: .venv-oldest/.made  ## test on the oldest JAX supported (0.7.2, with flax 0.12.0: what Kaggle has); all: TESTS=tests
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile $(TESTS) $(ARGS)

test-extras: .venv-extras/.made  ## run the tests of what the extras enhance, wsq, parquet and peers add (pyfing is 85 MB)
	.venv-extras/bin/python -m pytest -n 2 --dist loadfile tests/enhancement \
	  tests/comparison/test_matcher_print.py tests/image tests/databases/test_manifest.py tests/evaluation/test_nbis.py $(ARGS)

parity: .venv-parity/.made  ## hold the models against PyTorch and kornia (downloads PyTorch: several GB on most machines)
	.venv-parity/bin/python -m pytest --override-ini addopts=-ra tests/parity $(ARGS)

pictures: setup  ## draw the pictures of docs/synthesis.md
	$(VENV)/bin/python docs/pictures.py

bench: setup  ## measure the speed: a table, a picture and JSON in bench/ (beside another commit: BASE=main)
	$(VENV)/bin/python benchmarks/bench.py $(if $(BASE),--base $(BASE)) $(ARGS)

lint: setup  ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:  ## remove the environments and caches; checkpoints stay
	rm -rf .venv .venv-oldest .venv-extras .venv-parity .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
