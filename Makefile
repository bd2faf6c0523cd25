# make demo | test | test-fast | lint | docs | doctor | clean
# Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CORES := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test test-fast lint docs doctor clean

help:
	@echo "make demo       install, pretrain a small ViT with BAM, score it in every task, write a page"
	@echo "make test       run all tests"
	@echo "make test-fast  run the fast tests, in less than 90 seconds"
	@echo "make lint       rules and format (ruff), types (mypy), import directions (import-linter)"
	@echo "make docs       build the documentation into docs/_build/html; a broken link fails"
	@echo "make doctor     check the installation and print the fix for each fault"
	@echo "make clean      delete .venv, the toy world and the demo's results"

install: $(INSTALLED)

# Each step leaves a stamp, so an interrupted installation resumes where it stopped.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is required, this is " + sys.version) if sys.version_info < (3, 10) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[1/3] torch and torchvision (about 1 minute, 5 GB)"
	@$(PIP) install -q -c constraints.txt "setuptools" wheel ninja
	@$(PIP) install -q -c constraints.txt torch torchvision numpy
	@touch $@

# With pip's build isolation mmcv finds no torch and silently leaves its operators out; hence
# --no-build-isolation. A wheel kept by pip may belong to another torch: then it is built again.
$(VENV)/.mmcv: $(VENV)/.torch tools/doctor.py
	@echo "[2/3] mmcv: compiling its detection operators on $(CORES) cores (about 18 core-minutes the first time; pip keeps the wheel)"
	@MMCV_WITH_OPS=1 MAX_JOBS=$(CORES) $(PIP) install -q -c constraints.txt --no-build-isolation onedl-mmcv opencv-python-headless
	@$(BIN)/python tools/doctor.py --ops-only || \
		(echo "the kept wheel does not fit this torch: compiling again" && \
		MMCV_WITH_OPS=1 MAX_JOBS=$(CORES) $(PIP) install -q -c constraints.txt --no-build-isolation --no-deps --no-cache-dir --force-reinstall onedl-mmcv && \
		$(BIN)/python tools/doctor.py --ops-only)
	@touch $@

# opencv-python and -headless share their files; the headless one is written last and stays.
$(INSTALLED): $(VENV)/.mmcv pyproject.toml
	@echo "[3/3] mmpretrain, mmdet, mmseg, timm and the rest (about 1 minute)"
	@$(PIP) install -q -c constraints.txt --no-build-isolation -e ".[onedl,dev]"
	@$(PIP) install -q -c constraints.txt --no-deps --force-reinstall opencv-python-headless
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/python tools/demo.py

test: $(INSTALLED)
	@$(BIN)/python -m pytest -n $(CORES) --dist loadfile

test-fast: $(INSTALLED)
	@$(BIN)/python -m pytest -n $(CORES) --dist loadfile -m "not slow"

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(INSTALLED)
	@$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

doctor:
	@if test -x $(BIN)/python; then $(BIN)/python tools/doctor.py; else $(PYTHON) tools/doctor.py; fi

clean:
	rm -rf $(VENV) data/toy work_dirs/demo work_dirs/benchmark/toy build docs/_build *.egg-info
